/** A hub in shared mode: one owner, those who are admitted, and what they may do to each other. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { asBrowser } from '../lib/browser-socket.mjs';
import { contentOf } from '../lib/documents.mjs';
import { assertHttpAgrees } from '../lib/http.mjs';
import { Hub, User } from '../lib/hub.mjs';
import { RoomClient, converged } from '../lib/room-client.mjs';
import { RoomSocket } from '../lib/socket.mjs';

const ROOTS = { list: 'array' };
const config = (more = '') => `mode = "shared"

[shared]
admit = { emails = ["ada@example.com", "bob@example.com"] }
${more}`;

const hub = await Hub.start({ config: config() });
after(() => hub.dispose());
const ada = await hub.user('ada@example.com', { admin: true });
const bob = await hub.user('bob@example.com');
await hub.addUser('eve@example.com');
// Eve has an account and a good token, and is not admitted.
const eve = new User(hub, 'eve@example.com', await hub.token('eve@example.com'), { user: { id: 'eve' }, ownerId: 'shared' });

test('the hub says that it is shared; all who are admitted have one owner and one keyring', async () => {
  assert.equal((await hub.requests.send('GET', '/')).json().mode, 'shared');
  assert.equal(ada.ownerId, 'shared');
  assert.equal(bob.ownerId, 'shared');
  assert.notEqual(ada.id, bob.id);
  assert.deepEqual(ada.keyring, bob.keyring);
});

test('who is not admitted gets 403 on every route and 4403 on upgrades', async () => {
  for (const [method, path] of [
    ['GET', '/api/session'],
    ['GET', eve.roomPath('wiki')],
    ['POST', eve.roomPath('wiki')],
    ['PUT', eve.roomPath('wiki')],
    ['DELETE', eve.roomPath('wiki')],
    ['GET', eve.roomsPath()],
  ]) {
    const answer = await eve.request(method, path);
    assert.equal(answer.status, 403, `${method} ${path}`);
    assert.equal(answer.errorName(), 'NotAdmitted');
  }
  const url = `${hub.url.replace('http', 'ws')}${eve.roomPath('wiki')}?deviceId=eve`;
  const [seen] = await asBrowser([{ url, protocols: ['epicenter', `bearer.${eve.token}`] }]);
  assert.deepEqual([seen.opened, seen.protocol, seen.code], [true, 'epicenter', 4403]);
  assert.equal(JSON.parse(seen.reason).name, 'NotAdmitted');
});

test("a path with one's own id is not the shared owner", async () => {
  const answer = await ada.request('GET', ada.roomPath('wiki', { owner: ada.id }));
  assert.equal(answer.status, 403);
  assert.equal(answer.errorName(), 'OwnerMismatch');
});

test('two people edit one document and see whose device is whose', async () => {
  const first = await RoomClient.connect(ada, 'wiki', { device: 'ada-laptop' });
  const second = await RoomClient.connect(bob, 'wiki', { device: 'bob-laptop' });
  first.doc.getArray('list').push(['from ada']);
  second.doc.getArray('list').push(['from bob']);
  await converged(first, second);
  assert.equal(contentOf(first.doc, ROOTS).list.length, 2);
  await assertHttpAgrees(bob, 'wiki', first.doc, ROOTS);
  await first.until('bob in the list', () => first.presenceOf('bob-laptop'));
  assert.equal(first.presenceOf('bob-laptop').userId, bob.id);
  assert.equal(second.presenceOf('ada-laptop').userId, ada.id);
});

test("another person's device cannot be called, by socket or by HTTP", async () => {
  const first = await RoomClient.connect(ada, 'calls', { device: 'ada-caller' });
  const second = await RoomClient.connect(bob, 'calls', { device: 'bob-callee' });
  second.publish({ secret: () => 'never' });
  await first.until('its actions', () => first.presenceOf('bob-callee')?.actions.secret);
  const offline = { data: null, error: { name: 'RecipientOffline', to: 'bob-callee' } };
  assert.deepEqual(await first.dispatch('bob-callee', 'secret'), offline);
  const answer = await ada.request('POST', ada.roomPath('calls', { suffix: '/dispatch' }), {
    body: JSON.stringify({ to: 'bob-callee', action: 'secret' }),
  });
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.json(), offline);

  // One's own other device can be, and is told who asks.
  const tablet = await RoomClient.connect(ada, 'calls', { device: 'ada-tablet' });
  tablet.publish({ who: (_, call) => call.from });
  await first.until('the tablet', () => first.presenceOf('ada-tablet')?.actions.who);
  assert.deepEqual((await first.dispatch('ada-tablet', 'who')).data, { deviceId: 'ada-caller', userId: ada.id });
  const called = await ada.request('POST', ada.roomPath('calls', { suffix: '/dispatch' }), {
    body: JSON.stringify({ to: 'ada-tablet', action: 'who' }),
  });
  assert.deepEqual(called.json().data, { deviceId: null, userId: ada.id });
});

test('a device id belongs to who opened it first, in every room and after a restart', async () => {
  const first = await RoomSocket.open(ada, 'devices', { device: 'kitchen' });
  const taken = async (room) => {
    const socket = new RoomSocket(bob, room, { device: 'kitchen' });
    const { code, reason } = await socket.closing();
    assert.equal(code, 4400);
    assert.equal(JSON.parse(reason).name, 'DeviceTaken');
    assert.equal(JSON.parse(reason).code, 'device_taken');
  };
  await taken('devices');
  await taken('another room');
  await first.close(1000);
  await taken('devices');
  await hub.restart('SIGKILL');
  await taken('devices');
  // The same person may use it again, also with a new token.
  const again = await RoomSocket.open(ada, 'devices', { device: 'kitchen', token: await hub.token(ada.email) });
  await again.flush();
  await (await RoomSocket.open(bob, 'devices', { device: 'garage' })).flush();
});

test('with cross_user_dispatch the other device answers', async (t) => {
  const open = await Hub.start({ config: config('cross_user_dispatch = true\n') });
  t.after(() => open.dispose());
  const one = await open.user('ada@example.com', { admin: true });
  const two = await open.user('bob@example.com');
  const first = await RoomClient.connect(one, 'calls', { device: 'first' });
  const second = await RoomClient.connect(two, 'calls', { device: 'second' });
  second.publish({ who: (_, call) => call.from });
  await first.until('the actions', () => first.presenceOf('second')?.actions.who);
  assert.deepEqual(await first.dispatch('second', 'who'), { data: { deviceId: 'first', userId: one.id }, error: null });
});

test('a data directory keeps its mode', async (t) => {
  const personal = await Hub.start();
  t.after(() => personal.dispose());
  await personal.stop();
  personal.configPath = hub.configPath;
  await assert.rejects(personal.boot(), /the hub ended/);
  personal.configPath = undefined;
  await personal.boot();
});
