/** What is refused on an upgrade or on an open socket, and how a browser gets to see it. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import * as Y from 'yjs';
import { asBrowser } from '../lib/browser-socket.mjs';
import { assertSameDocument, updateOf } from '../lib/documents.mjs';
import { UPDATE, encodeFrame } from '../lib/frames.mjs';
import { readRoom } from '../lib/http.mjs';
import { hubWithUser } from '../lib/hub.mjs';
import { RawUpgrade, clientFrame } from '../lib/raw-upgrade.mjs';
import { RoomSocket } from '../lib/socket.mjs';
import { answerToTooMuch } from '../lib/waiting.mjs';

const ROOTS = { list: 'array' };
const MAX_FRAME_BYTES = 5 * 1024 * 1024;
const TEXT = 1;
const BINARY = 2;
const { hub, user } = await hubWithUser(after);
const bob = await hub.user('bob@example.com');

/** Opens an upgrade by hand and returns the close frame's code and reason as JSON. */
async function refusal(path, headers) {
  const raw = await RawUpgrade.open(hub, path, headers);
  assert.equal(raw.status, 101, raw.body);
  const { code, reason } = await raw.closing();
  assert.ok(Buffer.byteLength(reason) <= 123, `${Buffer.byteLength(reason)} bytes of reason`);
  raw.end();
  const error = JSON.parse(reason);
  assert.equal(typeof error.name, 'string');
  assert.equal(error.code, snakeCase(error.name));
  assert.equal(typeof error.status, 'number');
  return { code, ...error, close: code, protocol: raw.headers['sec-websocket-protocol'] };
}

const snakeCase = (name) => name.replace(/(?<=[a-z])[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
const offering = (...protocols) => ({ 'Sec-WebSocket-Protocol': protocols.join(', ') });
const device = '?deviceId=laptop';
/** A good upgrade whose frames are then written by hand. */
const joinByHand = (room) =>
  RawUpgrade.open(hub, user.roomPath(room) + device, offering('epicenter', `bearer.${user.token}`));

describe('refused upgrades complete the handshake, echo epicenter and close with a reason', () => {
  const bearer = () => `bearer.${user.token}`;
  const good = (who = user) => who.roomPath('upgrade') + device;
  const cases = {
    'no token': [() => good(), () => offering('epicenter'), 4401, 'InvalidToken'],
    'an empty bearer': [() => good(), () => offering('epicenter', 'bearer.'), 4401, 'InvalidToken'],
    'a bad token': [() => good(), () => offering('epicenter', 'bearer.nonsense'), 4401, 'InvalidToken'],
    'a cookie only': [
      () => good(),
      () => ({ ...offering('epicenter'), Cookie: `__Host-epicenter_session=abc; better-auth.session_token=${user.token}` }),
      4401,
      'InvalidToken',
    ],
    'the token in the query': [
      () => `${good()}&access_token=${user.token}`,
      () => offering('epicenter'),
      4401,
      'InvalidToken',
    ],
    'another scheme': [
      () => good(),
      () => ({ ...offering('epicenter'), Authorization: `Basic ${user.token}` }),
      4401,
      'InvalidToken',
    ],
    'two bearers': [() => good(), () => offering('epicenter', bearer(), `bearer.${bob.token}`), 4400, 'MultipleCredentials'],
    'the same bearer twice': [() => good(), () => offering('epicenter', bearer(), bearer()), 4400, 'MultipleCredentials'],
    'header and subprotocol differ': [
      () => good(),
      () => ({ ...offering('epicenter', bearer()), Authorization: `Bearer ${bob.token}` }),
      4400,
      'MultipleCredentials',
    ],
    'two headers that differ': [
      () => good(),
      () => ({ ...offering('epicenter'), Authorization: [`Bearer ${user.token}`, `Bearer ${bob.token}`] }),
      4400,
      'MultipleCredentials',
    ],
    "another user's room": [() => good(bob), () => offering('epicenter', bearer()), 4403, 'OwnerMismatch'],
    'the shared owner of a personal hub': [
      () => user.roomPath('upgrade', { owner: 'shared' }) + device,
      () => offering('epicenter', bearer()),
      4403,
      'OwnerMismatch',
    ],
    'no deviceId': [() => user.roomPath('upgrade'), () => offering('epicenter', bearer()), 4400, 'MissingDeviceId'],
    'an empty deviceId': [
      () => `${user.roomPath('upgrade')}?deviceId=`,
      () => offering('epicenter', bearer()),
      4400,
      'MissingDeviceId',
    ],
    'a room id with a control character': [
      () => `/api/owners/${user.ownerId}/rooms/a%01b${device}`,
      () => offering('epicenter', bearer()),
      4400,
      'InvalidRoomId',
    ],
    'a room id that is too long': [
      () => user.roomPath('x'.repeat(257)) + device,
      () => offering('epicenter', bearer()),
      4400,
      'InvalidRoomId',
    ],
  };
  for (const id of ['a/b', 'a?b', 'a#b', 'a\u0000b', 'a\nb', 'x'.repeat(129), '✎'.repeat(43)]) {
    cases[`the deviceId ${JSON.stringify(id.slice(0, 10))} (${Buffer.byteLength(id)} bytes)`] = [
      () => `${user.roomPath('upgrade')}?deviceId=${encodeURIComponent(id)}`,
      () => offering('epicenter', bearer()),
      4400,
      'InvalidDeviceId',
    ];
  }
  for (const [what, [path, headers, close, name]] of Object.entries(cases)) {
    test(what, async () => {
      const seen = await refusal(path(), headers());
      assert.equal(seen.close, close);
      assert.equal(seen.name, name);
      assert.equal(seen.protocol, 'epicenter');
      // Without an offer there is nothing to echo.
      const { 'Sec-WebSocket-Protocol': offered, ...rest } = headers();
      const others = offered.split(', ').filter((protocol) => protocol !== 'epicenter');
      const unoffered = await refusal(path(), others.length > 0 ? { ...rest, ...offering(...others) } : rest);
      assert.equal(unoffered.close, close);
      assert.equal(unoffered.protocol, undefined);
    });
  }

  test('the first reason counts: credential, then owner, then names', async () => {
    const bad = offering('epicenter', 'bearer.nonsense');
    assert.equal((await refusal(`/api/owners/${bob.ownerId}/rooms/a%01b`, bad)).name, 'InvalidToken');
    const own = offering('epicenter', bearer());
    assert.equal((await refusal(`/api/owners/${bob.ownerId}/rooms/a%01b`, own)).name, 'OwnerMismatch');
    const both = offering('epicenter', bearer(), 'bearer.nonsense');
    assert.equal((await refusal(`/api/owners/${bob.ownerId}/rooms/a%01b`, both)).name, 'MultipleCredentials');
  });
});

describe('good upgrades', () => {
  const path = () => user.roomPath('good upgrade') + device;
  const cases = {
    'subprotocol': () => offering('epicenter', `bearer.${user.token}`),
    'subprotocol in another order, with others and empty entries': () =>
      offering('other', '', `bearer.${user.token}`, ' ', 'epicenter'),
    'header': () => ({ ...offering('epicenter'), Authorization: `Bearer ${user.token}` }),
    'header in lower case': () => ({ ...offering('epicenter'), authorization: `bearer ${user.token}` }),
    'header and subprotocol that are equal': () => ({
      ...offering('epicenter', `bearer.${user.token}`),
      Authorization: `Bearer ${user.token}`,
    }),
    'a cookie beside the bearer is dropped': () => ({
      ...offering('epicenter', `bearer.${user.token}`),
      Cookie: '__Host-epicenter_session=abc',
    }),
  };
  for (const [what, headers] of Object.entries(cases)) {
    test(what, async () => {
      const raw = await RawUpgrade.open(hub, path(), headers());
      assert.equal(raw.status, 101);
      assert.equal(raw.headers['sec-websocket-protocol'], 'epicenter');
      await raw.watch.until('step1 and presence', () => raw.frames.length >= 2);
      assert.deepEqual([...raw.frames[0].payload], [0, 1, 0]);
      assert.deepEqual(
        raw.frames.slice(0, 2).map(({ opcode }) => opcode),
        [BINARY, TEXT],
      );
      raw.end();
    });
  }

  test('without epicenter in the offer no subprotocol comes back', async () => {
    const raw = await RawUpgrade.open(hub, path(), offering(`bearer.${user.token}`));
    assert.equal(raw.status, 101);
    assert.equal(raw.headers['sec-websocket-protocol'], undefined);
    await raw.watch.until('step1 and presence', () => raw.frames.length >= 2);
    raw.end();
  });
});

test('a browser sees every refusal as a close code with a reason', async () => {
  await user.request('PUT', user.roomPath('deleted'));
  await user.request('DELETE', user.roomPath('deleted'));
  const at = (path) => hub.url.replace('http', 'ws') + path;
  const own = ['epicenter', `bearer.${user.token}`];
  const attempts = [
    [{ url: at(user.roomPath('room') + device), protocols: ['epicenter', 'bearer.nonsense'] }, 4401, 'invalid_token'],
    [{ url: at(user.roomPath('room') + device), protocols: ['epicenter'] }, 4401, 'invalid_token'],
    [{ url: at(bob.roomPath('room') + device), protocols: own }, 4403, 'owner_mismatch'],
    [{ url: at(user.roomPath('room')), protocols: own }, 4400, 'missing_device_id'],
    [{ url: at(user.roomPath('room') + device), protocols: [...own, `bearer.${bob.token}`] }, 4400, 'multiple_credentials'],
    [{ url: at(user.roomPath('deleted') + device), protocols: own }, 4410, 'room_deleted'],
  ];
  const seen = await asBrowser(attempts.map(([attempt]) => attempt));
  for (const [index, [, code, name]] of attempts.entries()) {
    assert.equal(seen[index].opened, true, `${name}: the handshake must succeed, or the page learns nothing`);
    assert.equal(seen[index].protocol, 'epicenter', name);
    assert.equal(seen[index].code, code, name);
    assert.equal(JSON.parse(seen[index].reason).code, name);
  }
  const [joined] = await asBrowser([{ url: at(user.roomPath('room') + device), protocols: own, closeWhenOpen: true }]);
  assert.deepEqual(joined, { opened: true, protocol: 'epicenter', code: 1000, reason: 'done' });
});

describe('requests without an upgrade', () => {
  const refused = {
    'no token': [() => ({}), 401, 'InvalidToken'],
    'a bad token': [() => ({ Authorization: 'Bearer nonsense' }), 401, 'InvalidToken'],
    'an empty bearer': [() => ({ Authorization: 'Bearer ' }), 401, 'InvalidToken'],
    'a cookie only': [
      () => ({ Cookie: `__Host-epicenter_session=${user.token}`, Origin: hub.origin }),
      401,
      'InvalidToken',
    ],
    'two bearers': [
      () => ({ Authorization: [`Bearer ${user.token}`, `Bearer ${bob.token}`] }),
      400,
      'MultipleCredentials',
    ],
    "another user's token": [() => ({ Authorization: `Bearer ${bob.token}` }), 403, 'OwnerMismatch'],
  };
  const routes = () => [
    ['GET', user.roomPath('http refusals')],
    ['POST', user.roomPath('http refusals')],
    ['PUT', user.roomPath('http refusals')],
    ['DELETE', user.roomPath('http refusals')],
    ['POST', user.roomPath('http refusals', { suffix: '/dispatch' })],
    ['GET', user.roomsPath()],
  ];
  for (const [what, [headers, status, name]] of Object.entries(refused)) {
    test(what, async () => {
      for (const [method, path] of routes()) {
        const answer = await hub.requests.send(method, path, { headers: headers() });
        assert.equal(answer.status, status, `${method} ${path}: ${answer.text()}`);
        const body = answer.json();
        assert.equal(body.data, null);
        assert.equal(body.error.name, name);
        assert.equal(body.error.status, status);
        if (status !== 401) continue;
        assert.match(answer.headers['www-authenticate'], /^Bearer\b.*error="invalid_token"/);
        assert.deepEqual([body.name, body.status, typeof body.message], [name, 401, 'string']);
      }
    });
  }

  test('nothing of it left a trace in the room', async () => {
    const { rooms } = (await user.request('GET', user.roomsPath())).json();
    assert.ok(!rooms.some(({ id }) => id === 'http refusals'));
  });

  test('a foreign Host is 421, loopback names are fine', async () => {
    const path = user.roomPath('host');
    for (const host of ['evil.example', `evil.example:${hub.port}`, '127.0.0.1:1']) {
      assert.equal((await user.request('GET', path, { headers: { Host: host } })).status, 421, host);
    }
    for (const host of ['hub.example', `localhost:${hub.port}`, `127.0.0.1:${hub.port}`]) {
      assert.equal((await user.request('GET', path, { headers: { Host: host } })).status, 200, host);
    }
  });

  test('an unfinished WebSocket handshake is answered in HTTP', async () => {
    const path = user.roomPath('handshake') + device;
    const raw = await RawUpgrade.open(hub, path, {
      ...offering('epicenter', `bearer.${user.token}`),
      'Sec-WebSocket-Version': '8',
    });
    assert.ok(raw.status === 400 || raw.status === 426, `${raw.status}`);
  });
});

describe('frames over the limit', () => {
  /** How the hub closes a new socket that sends this; a connection that breaks off without a close frame is an error. */
  const closeAfter = (room, payload) =>
    answerToTooMuch(async () => {
      const socket = await RoomSocket.open(user, room);
      if (typeof payload === 'string') socket.sendText(payload);
      else socket.sendBytes(payload);
      const closed = await socket.closing();
      assert.notEqual(closed.code, 1006, `no close frame: ${socket.error}`);
      return closed;
    });

  test('6 MiB are closed with 1009 and the name of the setting, as bytes and as text', async () => {
    for (const payload of [Buffer.alloc(6 * 1024 * 1024, 1), 'x'.repeat(6 * 1024 * 1024)]) {
      const { code, reason } = await closeAfter('six', payload);
      assert.equal(code, 1009);
      assert.match(reason, /max_frame_bytes/);
    }
  });

  test('text is measured in bytes', async () => {
    assert.equal((await closeAfter('bytes of text', '€'.repeat(2 * 1024 * 1024))).code, 1009);
  });

  test('the last frame that fits is stored, one byte more is not', async () => {
    const fill = (bytes) => {
      const doc = new Y.Doc();
      doc.clientID = 1;
      const frame = encodeFrame(
        UPDATE,
        updateOf(doc, () => doc.getArray('list').push([new Uint8Array(bytes)])),
      );
      return { doc, frame };
    };
    const overhead = fill(MAX_FRAME_BYTES - 1000).frame.length - (MAX_FRAME_BYTES - 1000);
    const fits = fill(MAX_FRAME_BYTES - overhead);
    assert.equal(fits.frame.length, MAX_FRAME_BYTES);
    const socket = await RoomSocket.open(user, 'fits');
    socket.sendBytes(fits.frame);
    await socket.flush();
    assertSameDocument(await readRoom(user, 'fits'), fits.doc, ROOTS);

    assert.equal((await closeAfter('one more', fill(MAX_FRAME_BYTES - overhead + 1).frame)).code, 1009);
    assertSameDocument(await readRoom(user, 'one more'), new Y.Doc(), ROOTS);
  });

  test('fragments are added up', async () => {
    const half = Buffer.alloc(3 * 1024 * 1024, 1);
    const { code } = await answerToTooMuch(async () => {
      const raw = await joinByHand('fragments');
      raw.send(clientFrame(BINARY, half, { final: false }));
      raw.send(clientFrame(0, half));
      const closed = await raw.closing();
      raw.end();
      return closed;
    });
    assert.equal(code, 1009);
  });

  test('a length that nobody could send is refused before it is believed', async () => {
    const raw = await joinByHand('announced');
    raw.send(clientFrame(BINARY, Buffer.alloc(10), { announced: 2 ** 40 }));
    assert.equal((await raw.closing()).code, 1009);
    raw.end();
  });
});

describe('broken frames', () => {
  test('a connection that ends inside a frame harms nobody', async () => {
    const doc = new Y.Doc();
    const update = updateOf(doc, () => doc.getArray('list').push(['whole']));
    const other = await RoomSocket.open(user, 'truncated');
    for (const cut of [1, 2, 5, 9]) {
      const raw = await RawUpgrade.open(
        hub,
        `${user.roomPath('truncated')}?deviceId=broken`,
        offering('epicenter', `bearer.${user.token}`),
      );
      raw.send(clientFrame(BINARY, encodeFrame(UPDATE, update)).subarray(0, cut));
      raw.end();
    }
    await other.flush();
    assertSameDocument(await readRoom(user, 'truncated'), new Y.Doc(), ROOTS);
    other.send(UPDATE, update);
    await other.flush();
    assertSameDocument(await readRoom(user, 'truncated'), doc, ROOTS);
  });

  test('an unmasked frame is a protocol error of WebSocket', async () => {
    const raw = await joinByHand('unmasked');
    raw.send(Buffer.from([0x82, 0x03, 0x00, 0x01, 0x00]));
    const { code } = await raw.closing();
    assert.ok([1002, 4400].includes(code), `${code}`);
    raw.end();
  });

  test('an unknown subtype is dropped and the socket stays open', async () => {
    const socket = await RoomSocket.open(user, 'subtype');
    for (const subtype of [3, 4, 127, 128, 256, 2 ** 32, 2 ** 53 - 1]) socket.send(subtype, new Uint8Array([0]));
    await socket.flush();
    assert.ok(socket.isOpen);
  });

  const protocolErrors = {
    'not JSON': 'hello',
    'half JSON': '{"type":"presence_publish"',
    'an array': '[]',
    'a string': '"ping"',
    'a number': '1',
    'null': 'null',
    'no type': '{}',
    'a type that is no string': '{"type":1}',
    'an unknown type': '{"type":"awareness"}',
    'a list of the hub': '{"type":"presence","devices":[]}',
    'a result of the hub': '{"type":"dispatch_result","id":"1","result":{"data":1,"error":null}}',
    'an inbound call of the hub': '{"type":"dispatch_inbound","id":"1","action":"a"}',
    'PING in capitals': 'PING',
    'a ping with a space': 'ping ',
    'nothing': '',
  };
  for (const [what, text] of Object.entries(protocolErrors)) {
    test(`text that is ${what} closes with 4400`, async () => {
      const socket = await RoomSocket.open(user, 'text');
      socket.sendText(text);
      assert.deepEqual(await socket.closing(), { code: 4400, reason: 'protocol-error' });
    });
  }

  test('a known type with malformed fields is dropped', async () => {
    const socket = await RoomSocket.open(user, 'fields', { device: 'fields' });
    const dropped = [
      { type: 'presence_publish' },
      { type: 'presence_publish', actions: [] },
      { type: 'presence_publish', actions: { a: {} } },
      { type: 'presence_publish', actions: { a: { type: 'subscription' } } },
      { type: 'presence_publish', actions: { a: { type: 'query' }, b: null } },
      { type: 'dispatch_request' },
      { type: 'dispatch_request', id: 1, to: 'fields', action: 'a' },
      { type: 'dispatch_request', id: '', to: 'fields', action: 'a' },
      { type: 'dispatch_request', id: 'x'.repeat(129), to: 'fields', action: 'a' },
      { type: 'dispatch_request', id: '1', action: 'a' },
      { type: 'dispatch_request', id: '1', to: 'fields' },
      { type: 'dispatch_request', id: '1', to: 'fields', action: 'x'.repeat(129) },
      { type: 'dispatch_response' },
      { type: 'dispatch_response', id: '1' },
      { type: 'dispatch_response', id: '1', result: 7 },
      { type: 'dispatch_response', id: '1', result: { data: 1, error: null } },
    ];
    const heard = socket.texts.length;
    for (const message of dropped) socket.sendText(message);
    await socket.flush();
    assert.ok(socket.isOpen);
    assert.equal(socket.texts.length, heard, JSON.stringify(socket.texts.slice(heard)));
  });
});

describe('keeping alive and parting', () => {
  test('the text ping is answered with the text pong, and only that', async () => {
    const socket = await RoomSocket.open(user, 'ping');
    socket.sendText('ping');
    await socket.watch.until('pong', () => socket.texts.includes('pong'));
    socket.sendBytes(Buffer.from('ping'));
    await socket.flush();
    assert.equal(socket.texts.filter((text) => text === 'pong').length, 1);
  });

  test('a protocol ping is answered with a protocol pong', async () => {
    const socket = await RoomSocket.open(user, 'protocol ping');
    socket.sendProtocolPing();
    await socket.watch.until('a protocol pong', () => socket.pongs === 1);
  });

  test('an empty close frame is answered at once', async () => {
    const socket = await RoomSocket.open(user, 'bare close');
    const started = Date.now();
    const { code } = await socket.close();
    assert.ok([1000, 1005].includes(code), `${code}`);
    assert.ok(Date.now() - started < 5_000);

    const raw = await joinByHand('bare close');
    raw.send(clientFrame(8, Buffer.alloc(0)));
    await raw.closing();
    await raw.watch.until('the end of the connection', () => raw.ended);
  });

  test('a close frame with a code is answered with that code', async () => {
    for (const code of [1000, 3001, 4999]) {
      const socket = await RoomSocket.open(user, 'coded close');
      assert.equal((await socket.close(code, 'bye')).code, code);
    }
  });

  test('a connection that breaks leaves the room within a moment', async () => {
    const staying = await RoomSocket.open(user, 'breaks', { device: 'staying' });
    const breaking = await RoomSocket.open(user, 'breaks', { device: 'breaking' });
    await staying.watch.until('the other device', () => staying.presence.length === 1);
    breaking.terminate();
    await staying.watch.until('its departure', () => staying.presence.length === 0);
  });
});

test('the log holds no token and no address', async () => {
  // A graceful end flushes what is still to be written.
  await hub.restart('SIGTERM');
  for (const secret of [user.token, user.token.split('.')[2], bob.token, user.email, bob.email]) {
    assert.ok(!hub.log.includes(secret), 'a secret is in the log');
  }
});
