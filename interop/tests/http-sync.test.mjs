/** One-round-trip sync and snapshots: who is told 200, 204 or 304, and under which tag. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import * as Y from 'yjs';
import { assertSameDocument, contentOf, documentOf, updateOf } from '../lib/documents.mjs';
import { EMPTY_STATE_VECTOR, EMPTY_UPDATE, UPDATE, encodeSyncBody } from '../lib/frames.mjs';
import { postSync, push, readRoom, snapshot } from '../lib/http.mjs';
import { hubWithUser } from '../lib/hub.mjs';
import { RoomSocket } from '../lib/socket.mjs';
import { answerToTooMuch } from '../lib/waiting.mjs';

const ROOTS = { list: 'array', body: 'text' };
const { user } = await hubWithUser(after);

/** A room that holds what `doc` holds. */
async function roomOf(room, edit) {
  const doc = new Y.Doc();
  await push(
    user,
    room,
    updateOf(doc, () => edit(doc)),
  );
  return doc;
}

const withDeletion = (doc) => {
  doc.getText('body').insert(0, 'one two three');
  doc.getText('body').delete(4, 4);
};
const withoutDeletion = (doc) => doc.getText('body').insert(0, 'one two three');
const stateVectorOf = (doc) => Y.encodeStateVector(doc);

test('an unknown room is the empty update, and reading it stores nothing', async () => {
  const answer = await user.request('GET', user.roomPath('never-written'));
  assert.equal(answer.status, 200);
  assert.deepEqual(new Uint8Array(answer.body), EMPTY_UPDATE);
  const { rooms } = (await user.request('GET', user.roomsPath())).json();
  assert.ok(!rooms.some(({ id }) => id === 'never-written'));
});

test('the snapshot answers 304 to its own tag, whose value changes with every change and with nothing else', async () => {
  const room = 'tags';
  const doc = await roomOf(room, withoutDeletion);
  const tags = [];
  const read = async () => {
    const answer = await user.request('GET', user.roomPath(room));
    assert.match(answer.headers.etag, /^W\/"[0-9a-f]{32}"$/);
    return answer.headers.etag;
  };
  tags.push(await read());
  const same = await user.request('GET', user.roomPath(room), { headers: { 'If-None-Match': tags[0] } });
  assert.equal(same.status, 304);
  assert.equal(same.body.length, 0);
  assert.equal(same.headers.etag, tags[0]);
  for (const condition of [`"other", ${tags[0]}`, '*', tags[0].slice(2)]) {
    const answer = await user.request('GET', user.roomPath(room), { headers: { 'If-None-Match': condition } });
    assert.equal(answer.status, 304, `If-None-Match: ${condition}`);
  }

  // A deletion moves no clock but is a change; so is a struct that must wait.
  await push(
    user,
    room,
    updateOf(doc, () => doc.getText('body').delete(0, 4)),
  );
  tags.push(await read());
  const skipped = updateOf(doc, () => doc.getText('body').insert(0, 'never sent '));
  await push(
    user,
    room,
    updateOf(doc, () => doc.getText('body').insert(0, 'waits ')),
  );
  tags.push(await read());
  await push(user, room, skipped);
  tags.push(await read());
  assert.equal(new Set(tags).size, tags.length, tags.join(' '));

  const stale = await user.request('GET', user.roomPath(room), { headers: { 'If-None-Match': tags[0] } });
  assert.equal(stale.status, 200);
  assertSameDocument(documentOf(new Uint8Array(stale.body)), doc, ROOTS);
  assert.equal(await read(), tags.at(-1));
});

test('a caller who lacks nothing gets 204 without a body, where the room has no deletions', async () => {
  const room = 'no-deletions';
  const doc = await roomOf(room, withoutDeletion);
  const answer = await postSync(user, room, { stateVector: stateVectorOf(doc) });
  assert.equal(answer.status, 204);
  assert.equal(answer.body.length, 0);
  assert.equal(answer.headers['content-type'], undefined);
  assert.equal(answer.headers.etag, (await user.request('GET', user.roomPath(room))).headers.etag);

  const pushed = updateOf(doc, () => doc.getArray('list').push([1]));
  assert.equal((await postSync(user, room, { stateVector: stateVectorOf(doc), update: pushed })).status, 204);
  assertSameDocument(await readRoom(user, room), doc, ROOTS);
});

test('where the room has deletions, an equal state vector alone is told the deletions', async () => {
  const room = 'deletions';
  const doc = await roomOf(room, withDeletion);
  const stateVector = stateVectorOf(doc);
  const pulled = await postSync(user, room, { stateVector });
  assert.equal(pulled.status, 200);
  // Somebody who missed the deletion has the same clocks; the answer deletes for him.
  assert.ok(Y.decodeUpdateV2(new Uint8Array(pulled.body)).ds.clients.size > 0);

  // The tag of the room says that the caller has the deletions, and so does a pushed delete set that covers the room's.
  const tag = pulled.headers.etag;
  assert.equal((await postSync(user, room, { stateVector, headers: { 'If-None-Match': tag } })).status, 204);
  const everything = Y.encodeStateAsUpdateV2(doc);
  assert.equal((await postSync(user, room, { stateVector, update: everything })).status, 204);
  const deletionsOnly = Y.encodeStateAsUpdateV2(doc, stateVector);
  assert.equal((await postSync(user, room, { stateVector, update: deletionsOnly })).status, 204);

  // An old tag, another room's tag, or a delete set that covers only a part do not.
  const other = (await user.request('GET', user.roomPath('deletions-elsewhere'))).headers.etag;
  assert.equal((await postSync(user, room, { stateVector, headers: { 'If-None-Match': other } })).status, 200);
  const part = new Y.Doc();
  part.clientID = doc.clientID;
  part.getText('body').insert(0, 'one two three');
  const partial = updateOf(part, () => part.getText('body').delete(5, 1));
  assert.equal((await postSync(user, room, { stateVector, update: partial })).status, 200);
});

test('the tag that counts is the one after the push', async () => {
  const room = 'tag-after-push';
  const doc = await roomOf(room, withDeletion);
  const before = (await user.request('GET', user.roomPath(room))).headers.etag;
  const update = updateOf(doc, () => doc.getArray('list').push(['new']));
  const answer = await postSync(user, room, {
    stateVector: stateVectorOf(doc),
    update,
    headers: { 'If-None-Match': before },
  });
  assert.equal(answer.status, 200);
  assert.notEqual(answer.headers.etag, before);
  assert.equal(answer.headers.etag, (await user.request('GET', user.roomPath(room))).headers.etag);
});

test('while something waits in the room nobody is told 204, and the answer holds what waits', async () => {
  const room = 'waiting';
  const doc = await roomOf(room, withoutDeletion);
  const known = stateVectorOf(doc);
  const missing = updateOf(doc, () => doc.getArray('list').push([1]));
  const early = updateOf(doc, () => doc.getArray('list').push([2]));
  const answer = await postSync(user, room, { stateVector: known, update: early });
  assert.equal(answer.status, 200);
  const tag = answer.headers.etag;
  const asked = await postSync(user, room, { stateVector: known, headers: { 'If-None-Match': tag } });
  assert.equal(asked.status, 200);
  // A caller who has the missing piece completes himself from the answer.
  const holder = documentOf(await snapshot(user, room), missing);
  assert.deepEqual(contentOf(holder, ROOTS).list, [1, 2]);
  assert.equal((await postSync(user, room, { stateVector: stateVectorOf(doc), update: missing })).status, 204);
});

test('a push reaches every open socket, and a replayed one reaches none', async () => {
  const room = 'pushed';
  const sockets = await Promise.all([1, 2].map(() => RoomSocket.open(user, room)));
  const doc = new Y.Doc();
  const update = updateOf(doc, () => doc.getArray('list').push(['pushed']));
  await push(user, room, update);
  const updatesOf = (socket) => socket.frames.filter(({ subtype }) => subtype === UPDATE);
  for (const socket of sockets) {
    await socket.watch.until('the push', () => updatesOf(socket).length > 0);
    assertSameDocument(documentOf(updatesOf(socket)[0].payload), doc, ROOTS);
  }
  await push(user, room, update);
  for (const socket of sockets) {
    await socket.flush();
    assert.equal(updatesOf(socket).length, 1);
  }
});

test('bytes after the update field are ignored', async () => {
  const doc = new Y.Doc();
  const update = updateOf(doc, () => doc.getArray('list').push([1]));
  const body = Buffer.concat([encodeSyncBody(EMPTY_STATE_VECTOR, update), Buffer.from('more')]);
  const answer = await user.request('POST', user.roomPath('trailing'), { body });
  assert.equal(answer.status, 200);
  assertSameDocument(await readRoom(user, 'trailing'), doc, ROOTS);
});

test('a body over 5 MiB is 413, one just below is stored', async () => {
  const limit = 5 * 1024 * 1024;
  // More than once: an answer that is followed by a reset gets lost every other time.
  for (const size of [limit + 1, limit + 1, limit + 1, 2 * limit, 2 * limit, 2 * limit]) {
    const body = Buffer.alloc(size);
    const over = await answerToTooMuch(() => user.request('POST', user.roomPath('too-large'), { body }));
    assert.equal(over.status, 413);
    assert.equal(over.errorName(), 'PayloadTooLarge');
  }

  const doc = new Y.Doc();
  const update = updateOf(doc, () => doc.getArray('list').push([new Uint8Array(limit - 200)]));
  const body = encodeSyncBody(EMPTY_STATE_VECTOR, update);
  assert.ok(body.length > limit - 200 && body.length <= limit);
  assert.equal((await user.request('POST', user.roomPath('just-fits'), { body })).status, 200);
  assertSameDocument(await readRoom(user, 'just-fits'), doc, ROOTS);
});
