/** The life of a room: it comes into being, is listed, deleted, refused, created again; which names it may have. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import * as Y from 'yjs';
import { assertSameDocument, updateOf } from '../lib/documents.mjs';
import { EMPTY_UPDATE, UPDATE } from '../lib/frames.mjs';
import { postSync, push, readRoom } from '../lib/http.mjs';
import { hubWithUser } from '../lib/hub.mjs';
import { RoomSocket } from '../lib/socket.mjs';
import { inParallel } from '../lib/waiting.mjs';

const ROOTS = { list: 'array' };
const { hub, user } = await hubWithUser(after);

function oneItem(value = 'kept') {
  const doc = new Y.Doc();
  return { doc, update: updateOf(doc, () => doc.getArray('list').push([value])) };
}

async function listed(room) {
  const answer = await user.request('GET', user.roomsPath());
  assert.equal(answer.status, 200);
  return answer.json().rooms.find(({ id }) => id === room);
}

/** Every way in must say that the room is deleted. */
async function assertDeleted(room) {
  const { update } = oneItem();
  for (const answer of [
    await user.request('GET', user.roomPath(room)),
    await postSync(user, room, { update }),
    await user.request('POST', user.roomPath(room, { suffix: '/dispatch' }), {
      body: JSON.stringify({ to: 'a', action: 'b' }),
    }),
  ]) {
    assert.equal(answer.status, 410, answer.text());
    assert.equal(answer.errorName(), 'RoomDeleted');
  }
  const socket = new RoomSocket(user, room);
  const { code, reason } = await socket.closing();
  assert.equal(code, 4410);
  assert.equal(JSON.parse(reason).name, 'RoomDeleted');
  assert.equal(JSON.parse(reason).code, 'room_deleted');
  assert.equal(socket.protocol, 'epicenter');
}

test('a deleted room stays deleted, for open sockets, new ones and HTTP, also after kill -9', async () => {
  const room = 'to-delete';
  await push(user, room, oneItem().update);
  const sockets = await Promise.all([1, 2].map(() => RoomSocket.open(user, room)));
  const deleted = await user.request('DELETE', user.roomPath(room));
  assert.equal(deleted.status, 204);
  for (const socket of sockets) assert.equal((await socket.closing()).code, 4410);
  assert.equal((await user.request('DELETE', user.roomPath(room))).status, 204);
  await assertDeleted(room);
  assert.equal(await listed(room), undefined);

  await hub.restart('SIGKILL');
  await assertDeleted(room);
});

test('PUT makes a deleted room again, empty; a live room is 409', async () => {
  const room = 'put';
  const created = await user.request('PUT', user.roomPath(room));
  assert.equal(created.status, 201, created.text());
  const again = await user.request('PUT', user.roomPath(room));
  assert.equal(again.status, 409);
  assert.equal(again.errorName(), 'RoomExists');

  await push(user, room, oneItem('old').update);
  await user.request('DELETE', user.roomPath(room));
  await assertDeleted(room);
  assert.equal((await user.request('PUT', user.roomPath(room))).status, 201);
  assert.deepEqual(new Uint8Array((await user.request('GET', user.roomPath(room))).body), EMPTY_UPDATE);
  const { doc, update } = oneItem('new');
  await push(user, room, update);
  await hub.restart('SIGKILL');
  assertSameDocument(await readRoom(user, room), doc, ROOTS, 'only what came after the PUT');
});

test('deleting a room that never was is 204 as well', async () => {
  assert.equal((await user.request('DELETE', user.roomPath('never-was'))).status, 204);
});

test('what a socket sends into a room while it is deleted is not stored', async () => {
  const room = 'race';
  const socket = await RoomSocket.open(user, room);
  socket.send(UPDATE, oneItem('before').update);
  await socket.flush();
  const deleting = user.request('DELETE', user.roomPath(room));
  for (let index = 0; index < 50 && socket.isOpen; index += 1) socket.send(UPDATE, oneItem(index).update);
  await deleting;
  await socket.closing();
  assert.equal((await user.request('PUT', user.roomPath(room))).status, 201);
  assert.deepEqual(new Uint8Array((await user.request('GET', user.roomPath(room))).body), EMPTY_UPDATE);
});

test('the list names rooms with their size, last access and connections', async () => {
  const started = Date.now();
  await push(user, 'listed', oneItem().update);
  const quiet = await listed('listed');
  assert.equal(quiet.connections, 0);
  assert.ok(quiet.storageBytes > 0);
  assert.ok(quiet.lastAccessedAt >= started - 60_000 && quiet.lastAccessedAt <= Date.now() + 60_000);
  assert.deepEqual(quiet.refusals, []);
  const sockets = await Promise.all([1, 2, 3].map(() => RoomSocket.open(user, 'listed')));
  assert.equal((await listed('listed')).connections, 3);
  await Promise.all(sockets.map((socket) => socket.close(1000)));

  // A socket alone brings a room into being.
  const silent = await RoomSocket.open(user, 'silent');
  assert.equal((await listed('silent')).connections, 1);
  await silent.close(1000);
  assert.ok(await listed('silent'));
});

test('the list comes in pages of 500, each room once', async () => {
  const many = await hub.user('many@example.com');
  const names = Array.from({ length: 520 }, (_, index) => `page ${String(index).padStart(3, '0')}`);
  await inParallel(names, 8, async (name) => {
    assert.equal((await many.request('PUT', many.roomPath(name))).status, 201);
  });
  const pages = [];
  let next;
  do {
    const query = next === undefined ? '' : `?after=${encodeURIComponent(next)}`;
    const page = (await many.request('GET', many.roomsPath() + query)).json();
    pages.push(page.rooms.map(({ id }) => id));
    ({ next } = page);
  } while (next !== undefined);
  assert.deepEqual(
    pages.map(({ length }) => length),
    [500, 20],
  );
  assert.deepEqual(pages.flat().sort(), names);
});

describe('room ids', () => {
  const { doc, update } = oneItem();
  const odd = ['a/b', '...', 'a%2Fb', 'ünï/✎ 👋🏽', 'a b+c', '?#&=', "'; drop table rooms; --", '~'];
  const legal = [...odd, 'x'.repeat(256), '✎'.repeat(85)];
  for (const room of legal) {
    test(`legal: ${room.slice(0, 30)}`, async () => {
      const socket = await RoomSocket.open(user, room);
      socket.send(UPDATE, update);
      await socket.flush();
      await socket.close(1000);
      assertSameDocument(await readRoom(user, room), doc, ROOTS);
      assert.ok(await listed(room), 'it is listed by its decoded name');
    });
  }

  test('names that differ only in spelling are one room, in composition two', async () => {
    const base = `/api/owners/${user.ownerId}/rooms/`;
    await push(user, 'plain name', update);
    for (const spelling of ['plain%20name', 'pl%61in%20name', '%70lain%20name']) {
      const answer = await user.request('GET', base + spelling);
      assert.notDeepEqual(new Uint8Array(answer.body), EMPTY_UPDATE, spelling);
    }
    await push(user, '\u00e9', update);
    assert.deepEqual(new Uint8Array((await user.request('GET', user.roomPath('e\u0301'))).body), EMPTY_UPDATE);
  });

  test('dots alone are names like any other', async () => {
    for (const dots of ['.', '..']) {
      const path = `/api/owners/${user.ownerId}/rooms/${dots}`;
      assert.equal((await user.request('PUT', path)).status, 201, dots);
      assert.ok(await listed(dots));
    }
  });

  const refused = {
    'a control character': 'a%00b',
    'a line break': 'a%0Ab',
    'delete': 'a%7Fb',
    'not UTF-8': 'a%FFb',
    '257 bytes': 'x'.repeat(257),
    '86 three-byte letters': encodeURIComponent('✎'.repeat(86)),
  };
  for (const [what, spelling] of Object.entries(refused)) {
    test(`refused: ${what}`, async () => {
      const path = `/api/owners/${user.ownerId}/rooms/${spelling}`;
      for (const method of ['GET', 'PUT', 'DELETE']) {
        const answer = await user.request(method, path);
        assert.equal(answer.status, 400, `${method}: ${answer.text()}`);
        assert.equal(answer.errorName(), 'InvalidRoomId');
      }
    });
  }

  test('a slash of its own is no room', async () => {
    for (const path of ['a/b', 'a/b/c']) {
      const answer = await user.request('GET', `/api/owners/${user.ownerId}/rooms/${path}`);
      assert.equal(answer.status, 404, path);
    }
  });
});
