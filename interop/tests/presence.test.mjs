/** Presence and dispatch at the level of text frames: what exactly is said, to whom, and what is opaque. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Hub, hubWithUser } from '../lib/hub.mjs';
import { RoomSocket } from '../lib/socket.mjs';

const { user } = await hubWithUser(after);
const ofType = (socket, type) => socket.texts.filter((text) => text.type === type);
const next = async (socket, type, count = 1) => {
  await socket.watch.until(`${count} ${type}`, () => ofType(socket, type).length >= count);
  return ofType(socket, type)[count - 1];
};
const query = { type: 'query' };

test('a list holds everybody else, sorted, one entry a device, with the time of connecting', async () => {
  const before = Date.now() - 2_000;
  const first = await RoomSocket.open(user, 'list', { device: 'b' });
  await RoomSocket.open(user, 'list', { device: 'c' });
  await RoomSocket.open(user, 'list', { device: 'a' });
  await RoomSocket.open(user, 'list', { device: 'a' });
  const tab = await RoomSocket.open(user, 'list', { device: 'b' });
  const shown = ({ deviceId, connectedAt, actions, ...rest }) => {
    assert.ok(connectedAt >= before && connectedAt <= Date.now() + 2_000);
    assert.deepEqual([actions, rest], [{}, {}]);
    return deviceId;
  };
  // One's own device is left out, with all its tabs.
  await first.watch.until('both others', () => first.presence.length === 2);
  assert.deepEqual(first.presence.map(shown), ['a', 'c']);
  assert.deepEqual(tab.presence.map(shown), ['a', 'c']);
});

test('what a device offers goes to all, as it was written, and changes with the newest connection', async () => {
  const other = await RoomSocket.open(user, 'offer', { device: 'other' });
  const first = await RoomSocket.open(user, 'offer', { device: 'device' });
  const actions = {
    open: { type: 'mutation', title: 'Öffnen', input: { type: 'object', 'x-extra': [1, 2.5] }, own: true },
    look: query,
  };
  first.sendText({ type: 'presence_publish', actions });
  await other.watch.until('the actions', () => other.presence[0]?.actions.open);
  assert.deepEqual(other.presence[0].actions, actions);
  // The publisher gets a list too.
  await next(first, 'presence', 2);

  const second = await RoomSocket.open(user, 'offer', { device: 'device' });
  second.sendText({ type: 'presence_publish', actions: { newer: query } });
  await other.watch.until('the newer actions', () => other.presence[0]?.actions.newer);
  assert.deepEqual(Object.keys(other.presence[0].actions), ['newer']);
  await second.close(1000);
  await other.watch.until('the older actions again', () => other.presence[0]?.actions.open);
});

test('a tab that hands over to another is never seen to leave', async (t) => {
  // A minute instead of 300 ms: the new tab is in time however long this machine stands still between the two.
  const patient = await Hub.start({ config: '[rooms]\ndeparture_delay = "1m"\n' });
  t.after(() => patient.dispose());
  const user = await patient.user('ada@example.com', { admin: true });
  const other = await RoomSocket.open(user, 'hand-over', { device: 'other' });
  const first = await RoomSocket.open(user, 'hand-over', { device: 'tab' });
  await other.watch.until('the tab', () => other.presence.length === 1);
  const lists = ofType(other, 'presence').length;
  await first.close(1000);
  const second = await RoomSocket.open(user, 'hand-over', { device: 'tab' });
  second.sendText({ type: 'presence_publish', actions: { still: query } });
  await other.watch.until('the new tab', () => other.presence[0]?.actions.still);
  for (const list of ofType(other, 'presence').slice(lists)) {
    assert.deepEqual(
      list.devices.map(({ deviceId }) => deviceId),
      ['tab'],
    );
  }
});

test('a call goes to the newest socket of the device and only its answer counts, once', async () => {
  const caller = await RoomSocket.open(user, 'call', { device: 'caller' });
  const older = await RoomSocket.open(user, 'call', { device: 'callee' });
  const newer = await RoomSocket.open(user, 'call', { device: 'callee' });
  caller.sendText({ type: 'dispatch_request', id: 'c1', to: 'callee', action: 'add', input: { a: 1 } });
  const inbound = await next(newer, 'dispatch_inbound');
  assert.deepEqual(inbound, { type: 'dispatch_inbound', id: 'c1', action: 'add', input: { a: 1 } });

  const answer = (data) => ({ type: 'dispatch_response', id: inbound.id, result: { data, error: null } });
  older.sendText(answer('from the wrong tab'));
  caller.sendText(answer('from the caller itself'));
  await Promise.all([older.flush(), caller.flush()]);
  newer.sendText(answer('right'));
  newer.sendText(answer('again'));
  await newer.flush();
  assert.deepEqual(await next(caller, 'dispatch_result'), {
    type: 'dispatch_result',
    id: 'c1',
    result: { data: 'right', error: null },
  });
  await caller.flush();
  assert.equal(ofType(caller, 'dispatch_result').length, 1);
  assert.equal(ofType(older, 'dispatch_inbound').length, 0);
});

test('an absent input stays absent, and errors of the callee travel whole', async () => {
  const caller = await RoomSocket.open(user, 'errors', { device: 'caller' });
  const callee = await RoomSocket.open(user, 'errors', { device: 'callee' });
  caller.sendText({ type: 'dispatch_request', id: 'e', to: 'callee', action: 'fail' });
  const inbound = await next(callee, 'dispatch_inbound');
  assert.deepEqual(Object.keys(inbound).sort(), ['action', 'id', 'type']);
  const error = { name: 'ActionFailed', action: 'fail', cause: 'no paper', extra: { tray: 2 } };
  callee.sendText({ type: 'dispatch_response', id: inbound.id, result: { data: null, error } });
  assert.deepEqual((await next(caller, 'dispatch_result')).result, { data: null, error });
});

test('JSON that is not the hub’s business is never passed through a number type', async () => {
  const caller = await RoomSocket.open(user, 'opaque', { device: 'caller' });
  const callee = await RoomSocket.open(user, 'opaque', { device: 'callee' });
  const big = '{"n":12345678901234567890,"f":1.10,"e":1e400,"dup":1,"dup":2}';
  const raw = [];
  callee.onText = (text) => raw.push(text);
  caller.onText = (text) => raw.push(text);
  caller.sendText(`{"type":"dispatch_request","id":"o","to":"callee","action":"echo","input":${big}}`);
  await callee.watch.until('the call', () => raw.some((text) => text.includes('dispatch_inbound')));
  assert.ok(raw.find((text) => text.includes('dispatch_inbound')).includes(big));
  callee.sendText(`{"type":"dispatch_response","id":"o","result":{"data":${big},"error":null}}`);
  await caller.watch.until('the result', () => raw.some((text) => text.includes('dispatch_result')));
  assert.ok(raw.find((text) => text.includes('dispatch_result')).includes(big));
});

test('two callers may use one id, and each gets its own result', async () => {
  const callers = [
    await RoomSocket.open(user, 'same-id', { device: 'one' }),
    await RoomSocket.open(user, 'same-id', { device: 'two' }),
  ];
  const callee = await RoomSocket.open(user, 'same-id', { device: 'callee' });
  for (const caller of callers) {
    caller.sendText({ type: 'dispatch_request', id: 'x', to: 'callee', action: 'who', input: caller.device });
  }
  await next(callee, 'dispatch_inbound', 2);
  const inbound = ofType(callee, 'dispatch_inbound');
  assert.notEqual(inbound[0].id, inbound[1].id);
  for (const { id, input } of inbound.reverse()) {
    callee.sendText({ type: 'dispatch_response', id, result: { data: input, error: null } });
  }
  for (const caller of callers) {
    const result = await next(caller, 'dispatch_result');
    assert.deepEqual([result.id, result.result.data], ['x', caller.device]);
  }
});

test('when the asked socket closes, the caller learns that the recipient is offline', async () => {
  const caller = await RoomSocket.open(user, 'gone', { device: 'caller' });
  const callee = await RoomSocket.open(user, 'gone', { device: 'callee' });
  caller.sendText({ type: 'dispatch_request', id: 'g', to: 'callee', action: 'wait' });
  await next(callee, 'dispatch_inbound');
  callee.terminate();
  assert.deepEqual((await next(caller, 'dispatch_result')).result, {
    data: null,
    error: { name: 'RecipientOffline', to: 'callee' },
  });
});

test('the 257th call in flight is answered at once', async () => {
  const caller = await RoomSocket.open(user, 'too-many', { device: 'caller' });
  const callee = await RoomSocket.open(user, 'too-many', { device: 'callee' });
  for (let index = 0; index < 257; index += 1) {
    caller.sendText({ type: 'dispatch_request', id: `call ${index}`, to: 'callee', action: 'wait' });
  }
  const result = await next(caller, 'dispatch_result');
  assert.equal(result.id, 'call 256');
  assert.deepEqual(result.result, { data: null, error: { name: 'ActionFailed', action: 'wait', cause: 'too many calls' } });
  await next(callee, 'dispatch_inbound', 256);
});

test('an action is called over HTTP, and a bad body is 400', async () => {
  const callee = await RoomSocket.open(user, 'http', { device: 'callee' });
  const path = user.roomPath('http', { suffix: '/dispatch' });
  const call = (body) => user.request('POST', path, { body: typeof body === 'string' ? body : JSON.stringify(body) });
  const calling = call({ to: 'callee', action: 'add', input: [1, 2] });
  const inbound = await next(callee, 'dispatch_inbound');
  assert.deepEqual([inbound.action, inbound.input], ['add', [1, 2]]);
  callee.sendText({ type: 'dispatch_response', id: inbound.id, result: { data: 3, error: null } });
  const answer = await calling;
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.json(), { data: 3, error: null });

  const offline = await call({ to: 'nobody', action: 'add' });
  assert.equal(offline.status, 200);
  assert.deepEqual(offline.json(), { data: null, error: { name: 'RecipientOffline', to: 'nobody' } });

  for (const bad of [
    '',
    'nonsense',
    '[]',
    { to: 'callee' },
    { action: 'add' },
    { to: 7, action: 'add' },
    { to: 'a/b', action: 'add' },
    { to: 'callee', action: 'Add' },
    { to: 'callee', action: '1add' },
    { to: 'callee', action: 'x'.repeat(65) },
  ]) {
    const refused = await call(bad);
    assert.equal(refused.status, 400, JSON.stringify(bad));
    assert.equal(refused.json().data, null);
    assert.equal(typeof refused.errorName(), 'string');
  }
});
