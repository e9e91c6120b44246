/** The program itself: how it starts, what it prints, how it stops, what it leaves on the disk. */
import assert from 'node:assert/strict';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import * as Y from 'yjs';
import { assertSameDocument, updateOf } from '../lib/documents.mjs';
import { UPDATE } from '../lib/frames.mjs';
import { readRoom } from '../lib/http.mjs';
import { Hub, hubWithUser, runProgram } from '../lib/hub.mjs';
import { RoomSocket } from '../lib/socket.mjs';

const ROOTS = { list: 'array' };
const { hub, user } = await hubWithUser(after);

test('GET / says what this is, without a credential; the probes answer', async () => {
  const answer = await hub.requests.send('GET', '/');
  assert.equal(answer.status, 200);
  const about = answer.json();
  assert.equal(about.mode, 'hub');
  assert.equal(about.runtime, 'native');
  assert.match(about.version, /^\d+\.\d+\.\d+/);
  assert.match(about.sourceUrl, /^https:\/\//);
  for (const probe of ['/healthz', '/readyz']) assert.equal((await hub.requests.send('GET', probe)).status, 200);
});

test('every answer has a request id, and unknown paths are 404', async () => {
  const ids = new Set();
  for (const requestPath of ['/', '/api/session', '/nowhere', '/api/nowhere']) {
    const answer = await hub.requests.send('GET', requestPath);
    ids.add(answer.headers['x-request-id']);
    if (requestPath.endsWith('nowhere')) assert.equal(answer.status, 404);
  }
  assert.ok(!ids.has(undefined));
  assert.equal(ids.size, 4);
});

test('SIGTERM: sockets get 1001, nothing that was sent before is lost, the program ends with 0', async () => {
  const sockets = await Promise.all([1, 2, 3].map(() => RoomSocket.open(user, 'shutdown')));
  const doc = new Y.Doc();
  for (let index = 0; index < 200; index += 1) {
    sockets[index % 3].send(
      UPDATE,
      updateOf(doc, () => doc.getArray('list').push([index])),
    );
  }
  for (const socket of sockets) await socket.flush();
  const stopped = hub.stop();
  for (const socket of sockets) assert.equal((await socket.closing()).code, 1001);
  await stopped;
  await hub.boot();
  assertSameDocument(await readRoom(user, 'shutdown'), doc, ROOTS);
});

test('SIGTERM while updates pour in: what a reader had seen is there, and the program ends with 0', async () => {
  const seen = new Y.Doc();
  const reader = await RoomSocket.open(user, 'pouring', {
    onFrame: ({ subtype, payload }) => {
      if (subtype === UPDATE) Y.applyUpdateV2(seen, payload);
    },
  });
  const writer = await RoomSocket.open(user, 'pouring');
  const doc = new Y.Doc();
  for (let index = 0; index < 3000; index += 1) {
    writer.send(
      UPDATE,
      updateOf(doc, () => doc.getArray('list').push([index])),
    );
  }
  await reader.watch.until('the first updates', () => seen.getArray('list').length > 10);
  await hub.stop();
  await reader.closing();
  await hub.boot();
  const stored = (await readRoom(user, 'pouring')).getArray('list').toArray();
  const received = seen.getArray('list').toArray();
  assert.deepEqual(stored.slice(0, received.length), received);
  assert.deepEqual(stored, doc.getArray('list').toArray().slice(0, stored.length), 'and only what was sent, in order');
});

test('a second serve on the same data directory refuses, and the first goes on', async () => {
  const second = await runProgram(hub.serveArguments(), { cwd: hub.folder });
  assert.notEqual(second.code, 0);
  assert.equal(second.stdout, '');
  assert.match(second.stderr, /hint:/);
  assert.equal((await user.request('GET', '/api/session')).status, 200);
});

test('the data directory belongs to its owner alone', async () => {
  const everything = await readdir(hub.dataDir, { recursive: true, withFileTypes: true });
  assert.ok(everything.length > 0);
  assert.equal((await stat(hub.dataDir)).mode & 0o777, 0o700);
  for (const entry of everything) {
    const { mode } = await stat(path.join(entry.parentPath ?? entry.path, entry.name));
    assert.equal(mode & 0o077, 0, `${entry.name} is ${(mode & 0o777).toString(8)}`);
  }
});

test('stdout holds the one line and nothing else', async () => {
  assert.equal(hub.stdout(), `listening on ${hub.url}\n`);
});

test('without a public origin, the address is the origin, and admin token finds it in the data directory', async (t) => {
  const plain = await Hub.start({ publicOrigin: null });
  t.after(() => plain.dispose());
  const ada = await plain.user('ada@example.com', { admin: true });
  assert.equal((await ada.request('GET', '/api/session')).status, 200);
  const socket = await RoomSocket.open(ada, 'plain');
  await socket.flush();
});

test('the first account must be an admin, an address is used once, weak passwords are refused', async (t) => {
  const fresh = await Hub.start();
  t.after(() => fresh.dispose());
  const add = (email, password, ...more) =>
    runProgram(['admin', 'user', 'add', '--email', email, '--password-stdin', ...more, '--data-dir', fresh.dataDir], {
      input: `${password}\n`,
      cwd: fresh.folder,
    });
  const good = 'correct horse battery staple 9177';
  const notAdmin = await add('ada@example.com', good);
  assert.notEqual(notAdmin.code, 0);
  assert.match(notAdmin.stderr, /hint:.*--admin/s);
  assert.notEqual((await add('ada@example.com', '', '--admin')).code, 0);
  assert.notEqual((await add('ada@example.com', 'short', '--admin')).code, 0);
  assert.notEqual((await add('not an address', good, '--admin')).code, 0);
  assert.equal((await add('ada@example.com', good, '--admin')).code, 0);
  assert.notEqual((await add('ADA@example.com', good)).code, 0);
  assert.equal((await add('bob@example.com', good)).code, 0);
  const unknown = await runProgram(['admin', 'token', '--email', 'nobody@example.com', '--data-dir', fresh.dataDir], {
    cwd: fresh.folder,
  });
  assert.notEqual(unknown.code, 0);
  assert.match(unknown.stderr, /hint:/);
});

test('an unknown key in the configuration stops the start with a suggestion', async () => {
  await assert.rejects(Hub.start({ config: 'mod = "shared"\n' }), /the hub ended[^]*hint:/);
});
