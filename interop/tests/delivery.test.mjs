/** Updates as networks deliver them: with holes, twice, backwards, only deletions, very large, very many. */
import assert from 'node:assert/strict';
import { performance } from 'node:perf_hooks';
import { after, test } from 'node:test';
import * as Y from 'yjs';
import {
  assertSameDocument,
  clocksOf,
  contentOf,
  documentOf,
  isWaiting,
  updateOf,
} from '../lib/documents.mjs';
import { STEP2, UPDATE } from '../lib/frames.mjs';
import { assertHttpAgrees, push, readRoom } from '../lib/http.mjs';
import { hubWithUser } from '../lib/hub.mjs';
import { RawUpgrade } from '../lib/raw-upgrade.mjs';
import { Rng } from '../lib/rng.mjs';
import { RoomClient, converged } from '../lib/room-client.mjs';
import { RoomSocket } from '../lib/socket.mjs';

const ROOTS = { meta: 'map', list: 'array', body: 'text' };
/** For 100,000 updates, which the reader beside the writer takes in one by one: a slow machine has time for them. */
const MANY_DEADLINE_MS = 300_000;
const { hub, user } = await hubWithUser(after);

/** Small edits that build on each other: the updates in order, and the document they make. */
function someEdits(seed, count) {
  const rng = new Rng(seed);
  const doc = new Y.Doc();
  const updates = Array.from({ length: count }, (_, index) =>
    updateOf(doc, () => {
      const body = doc.getText('body');
      body.insert(rng.below(body.length + 1), `${index} `);
      if (rng.chance(0.4)) doc.getMap('meta').set(rng.pick(['a', 'b', 'c']), index);
      if (rng.chance(0.3) && body.length > 6) body.delete(rng.below(body.length - 3), 3);
      doc.getArray('list').insert(rng.below(doc.getArray('list').length + 1), [index]);
    }),
  );
  return { doc, updates };
}

test('a client that itself waits for a piece hands its pending structs on, and nothing of them is lost', async () => {
  const room = 'pending-client';
  const { doc, updates } = someEdits(1, 6);
  // This client never got the third update; the later ones wait inside its document.
  const waiting = documentOf(...updates.slice(0, 2), ...updates.slice(3));
  assert.ok(isWaiting(waiting));
  const holder = await RoomClient.connect(user, room, { doc: waiting });
  await holder.flush();
  const watching = await RoomClient.connect(user, room);
  await watching.until('the ready part', () => clocksOf(watching.doc)[doc.clientID] === clocksOf(waiting)[doc.clientID]);
  assert.deepEqual(clocksOf(await readRoom(user, room)), clocksOf(waiting), 'the clocks show no more than is ready');

  // The hub has not lost the rest: everybody who asks parks it too, also after a crash.
  await holder.disconnect();
  await watching.disconnect();
  await hub.restart('SIGKILL');
  assert.ok(isWaiting(await readRoom(user, room)), 'the snapshot holds the pending structs');
  const late = await RoomClient.connect(user, room);
  await watching.connect();

  // Only the missing piece comes; it frees what waited, for every open document.
  await push(user, room, updates[2]);
  await converged(late, watching);
  assertSameDocument(late.doc, doc, ROOTS, 'a client that connected with the gap');
  await assertHttpAgrees(user, room, doc, ROOTS);
  await holder.connect();
  await converged(holder, late);
});

test('a deletion that changes no clock reaches sockets, snapshots, pulls and the disk', async () => {
  const room = 'delete-only';
  const first = await RoomClient.connect(user, room);
  first.doc.getText('body').insert(0, 'keep drop keep');
  first.doc.getArray('list').push([1, 2, 3]);
  const second = await RoomClient.connect(user, room);
  await converged(first, second);
  const before = Y.encodeStateVector(first.doc);
  const stale = documentOf(Y.encodeStateAsUpdateV2(second.doc));

  first.doc.transact(() => {
    first.doc.getText('body').delete(5, 5);
    first.doc.getArray('list').delete(1, 1);
  });
  assert.deepEqual(Y.encodeStateVector(first.doc), before);
  await second.until('the deletion', () => second.doc.getText('body').toString() === 'keep keep');

  await hub.restart('SIGKILL');
  const asking = new RoomSocket(user, room);
  await asking.opened();
  Y.applyUpdateV2(stale, await asking.flush(before));
  assertSameDocument(stale, first.doc, ROOTS, 'step2 for an equal state vector');
  await assertHttpAgrees(user, room, first.doc, ROOTS);
});

test('updates in any order and twice give the document that Yjs makes of them', async () => {
  const { doc, updates } = someEdits(2, 24);
  const rng = new Rng(77);
  for (let round = 0; round < 8; round += 1) {
    const room = `any-order-${round}`;
    const deliveries = rng.shuffled([...updates, ...rng.shuffled(updates).slice(0, 12)]);
    const socket = await RoomSocket.open(user, room);
    const live = await RoomClient.connect(user, room);
    for (const update of deliveries) {
      if (rng.chance(0.3)) await push(user, room, update);
      else socket.send(rng.pick([STEP2, UPDATE]), update);
    }
    await socket.flush();
    await live.flush();
    assertSameDocument(live.doc, doc, ROOTS, `round ${round}, live`);
    assertSameDocument(await readRoom(user, room), doc, ROOTS, `round ${round}, snapshot`);
  }
});

test('a replayed update changes nothing and is not sent on', async () => {
  const room = 'replayed';
  const { updates } = someEdits(3, 5);
  const socket = await RoomSocket.open(user, room);
  for (const update of updates) socket.send(UPDATE, update);
  await socket.flush();
  const watching = await RoomSocket.open(user, room);
  const tag = (await user.request('GET', user.roomPath(room))).headers.etag;
  for (const update of updates) socket.send(UPDATE, update);
  await socket.flush();
  await watching.flush();
  assert.deepEqual(
    watching.frames.filter((frame) => frame.subtype === UPDATE),
    [],
  );
  assert.equal((await user.request('GET', user.roomPath(room))).headers.etag, tag);
});

test('an update never comes back to the socket it came from', async () => {
  const room = 'no-echo';
  const { updates } = someEdits(4, 5);
  const socket = await RoomSocket.open(user, room);
  const other = await RoomSocket.open(user, room);
  for (const update of updates) socket.send(UPDATE, update);
  await other.watch.until('the updates', () => other.frames.some((frame) => frame.subtype === UPDATE));
  await socket.flush();
  assert.equal(socket.frames.filter((frame) => frame.subtype === UPDATE).length, 0);
});

test('a 4 MiB update is stored, sent on and given back', async () => {
  const room = 'large';
  const rng = new Rng(4);
  const writer = await RoomClient.connect(user, room);
  const reader = await RoomClient.connect(user, room);
  const size = 4 * 1024 * 1024;
  const blob = new Uint8Array(size - 256);
  for (let index = 0; index < blob.length; index += 1) blob[index] = (index * 2654435761 + rng.below(2)) & 0xff;
  const update = updateOf(writer.doc, () => writer.doc.getMap('meta').set('blob', blob));
  assert.ok(update.length > size - 512 && update.length <= size, `${update.length} bytes`);
  await converged(writer, reader);
  assert.deepEqual(reader.doc.getMap('meta').get('blob'), blob);
  await hub.restart('SIGKILL');
  assert.deepEqual((await readRoom(user, room)).getMap('meta').get('blob'), blob);

  // The same size as one text, over HTTP.
  const text = 'abcdefg '.repeat(size / 8 - 64);
  const doc = new Y.Doc();
  await push(
    user,
    'large-text',
    updateOf(doc, () => doc.getText('body').insert(0, text)),
  );
  assert.equal((await readRoom(user, 'large-text')).getText('body').toString(), text);
});

test('a client that does not read is closed as a slow consumer, the others go on, and it catches up later', async () => {
  const room = 'slow';
  const slow = await RawUpgrade.open(hub, `${user.roomPath(room)}?deviceId=slow`, {
    'Sec-WebSocket-Protocol': `epicenter, bearer.${user.token}`,
  });
  await slow.watch.until('step1 and presence', () => slow.frames.length >= 2);
  const reader = await RoomClient.connect(user, room, { device: 'reader' });
  assert.deepEqual(reader.devices, ['slow']);
  slow.socket.pause();

  // More than its queue of 8 MiB and all that the kernel takes on the way.
  const writer = await RoomClient.connect(user, room, { device: 'writer' });
  for (let index = 0; index < 24; index += 1) {
    writer.doc.getArray('list').push([new Uint8Array(2 * 1024 * 1024).fill(index)]);
    await writer.flush();
  }
  await converged(writer, reader);
  await reader.until('the slow device to leave the list', () => !reader.devices.includes('slow'));
  slow.socket.resume();
  // The close frame is behind what the kernel holds; the hub does not wait for ever until somebody reads that.
  await slow.watch.until('the end of the slow connection', () => slow.closeFrame || slow.ended);
  if (slow.closeFrame) assert.deepEqual(slow.closeFrame, { code: 1013, reason: 'slow-consumer' });
  const late = await RoomClient.connect(user, room, { device: 'slow' });
  await converged(late, writer);
});

test('100,000 small updates through one socket', async (t) => {
  const room = 'many';
  const count = 100_000;
  const doc = new Y.Doc();
  const updates = [];
  doc.on('updateV2', (update) => updates.push(update));
  for (let index = 0; index < count; index += 1) {
    if (index % 4 === 0) doc.getMap('meta').set(`key ${index % 97}`, index);
    else if (index % 50 === 11) doc.getText('body').delete(0, 1);
    else doc.getText('body').insert(index % 7 === 0 ? 0 : doc.getText('body').length, 'x');
  }
  assert.equal(updates.length, count);
  let received = 0;
  const seen = new Y.Doc();
  const reader = await RoomSocket.open(user, room, {
    onFrame: ({ subtype, payload }) => {
      if (subtype !== UPDATE) return;
      received += 1;
      Y.applyUpdateV2(seen, payload);
    },
  });
  const writer = await RoomSocket.open(user, room);

  const started = performance.now();
  for (const update of updates) writer.send(UPDATE, update);
  // A state vector that covers everything keeps the answer small: this measures the updates, not the state.
  await writer.flush(Y.encodeStateVector(doc), MANY_DEADLINE_MS);
  const stored = performance.now() - started;
  await reader.flush(Y.encodeStateVector(doc), MANY_DEADLINE_MS);
  const delivered = performance.now() - started;
  const read = performance.now();
  const state = await readRoom(user, room);
  const reading = performance.now() - read;
  t.diagnostic(
    `${count} updates: durable in ${stored.toFixed(0)} ms (${((count / stored) * 1000).toFixed(0)}/s), ` +
      `delivered in ${delivered.toFixed(0)} ms in ${received} frames; snapshot read by Yjs in ${reading.toFixed(0)} ms`,
  );

  assertSameDocument(state, doc, ROOTS, 'the snapshot');
  assertSameDocument(seen, doc, ROOTS, 'what the reader was sent');
  await hub.restart('SIGKILL');
  const again = performance.now();
  assert.deepEqual(contentOf(await readRoom(user, room), ROOTS), contentOf(doc, ROOTS));
  t.diagnostic(`snapshot after a restart in ${(performance.now() - again).toFixed(0)} ms`);
});
