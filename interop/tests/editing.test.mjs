/** The main job: documents edit together, one is offline for a while, the hub is killed, nothing is lost. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import * as Y from 'yjs';
import { assertSameDocument, contentOf } from '../lib/documents.mjs';
import { assertHttpAgrees, readRoom } from '../lib/http.mjs';
import { hubWithUser } from '../lib/hub.mjs';
import { RoomClient, converged } from '../lib/room-client.mjs';

const ROOTS = { meta: 'map', list: 'array', body: 'text' };
const { hub, user } = await hubWithUser(after);

test('two documents edit one room, part and meet again, and a third gets everything after kill -9', async () => {
  const room = 'notes/first draft ✎';
  const laptop = await RoomClient.connect(user, room, { device: 'laptop' });
  const phone = await RoomClient.connect(user, room, { device: 'phone', via: 'header' });

  laptop.doc.getMap('meta').set('title', 'draft');
  laptop.doc.getText('body').insert(0, 'hello world');
  phone.doc.getArray('list').push([1, { nested: [true, null] }, new Uint8Array([1, 2, 3])]);
  await converged(laptop, phone);

  // Both write at the same place and delete what the other holds, while the phone is away.
  phone.drop();
  phone.doc.getText('body').insert(5, ', offline');
  phone.doc.getText('body').format(0, 5, { bold: true });
  phone.doc.getMap('meta').set('title', 'from the phone');
  phone.doc.getArray('list').delete(0, 1);
  laptop.doc.getText('body').insert(5, ', online 👋🏽');
  laptop.doc.getMap('meta').set('title', 'from the laptop');
  laptop.doc.getMap('meta').set('nested', new Y.Map([['deep', new Y.Array()]]));
  await phone.connect();
  await converged(laptop, phone);
  assert.equal(contentOf(phone.doc, ROOTS).list.length, 2);

  // The last edits are visible to the other side, hence on disk.
  laptop.doc.getText('body').delete(0, 2);
  phone.doc.getMap('meta').get('nested').get('deep').push(['late']);
  await converged(laptop, phone);
  await hub.restart('SIGKILL');

  const tablet = await RoomClient.connect(user, room, { device: 'tablet' });
  assertSameDocument(tablet.doc, laptop.doc, ROOTS, 'the third document after kill -9');
  await assertHttpAgrees(user, room, laptop.doc, ROOTS);

  // The first two come back with edits of their own.
  laptop.doc.getArray('list').push(['while the hub was down']);
  phone.doc.getText('body').insert(0, '¡');
  await Promise.all([laptop.connect(), phone.connect()]);
  await converged(laptop, phone, tablet);
  await assertHttpAgrees(user, room, tablet.doc, ROOTS);
});

test('each client sees the presence of the other and calls its actions', async () => {
  const room = 'presence-and-dispatch';
  const laptop = await RoomClient.connect(user, room, { device: 'laptop' });
  assert.deepEqual(laptop.devices, []);
  const phone = await RoomClient.connect(user, room, { device: 'phone' });
  assert.deepEqual(phone.devices, ['laptop']);
  await laptop.until('the phone in the list', () => laptop.devices.includes('phone'));

  laptop.publish({ open_tab: (input) => ({ opened: input.url }) });
  phone.publish({ take_photo: () => 'click', title: () => phone.doc.getMap('meta').get('title') ?? null });
  await phone.until("the laptop's actions", () => phone.presenceOf('laptop').actions.open_tab);
  await laptop.until("the phone's actions", () => laptop.presenceOf('phone').actions.take_photo);

  assert.deepEqual(await phone.dispatch('laptop', 'open_tab', { url: 'https://example.com' }), {
    data: { opened: 'https://example.com' },
    error: null,
  });
  assert.deepEqual(await laptop.dispatch('phone', 'take_photo'), { data: 'click', error: null });
  assert.deepEqual(await laptop.dispatch('phone', 'fly'), {
    data: null,
    error: { name: 'ActionNotFound', action: 'fly' },
  });
  assert.deepEqual(await laptop.dispatch('nobody', 'fly'), {
    data: null,
    error: { name: 'RecipientOffline', to: 'nobody' },
  });

  // What a client wrote before it calls is there when the callee looks.
  laptop.doc.getMap('meta').set('title', 'fresh');
  assert.deepEqual(await laptop.dispatch('phone', 'title'), { data: 'fresh', error: null });

  await phone.disconnect();
  await laptop.until('the phone to leave the list', () => laptop.devices.length === 0);
  assert.deepEqual(await laptop.dispatch('phone', 'take_photo'), {
    data: null,
    error: { name: 'RecipientOffline', to: 'phone' },
  });
});

test('a graceful restart keeps what was sent, and clients that reconnect continue', async () => {
  const room = 'graceful';
  const writer = await RoomClient.connect(user, room);
  for (let index = 0; index < 50; index += 1) writer.doc.getArray('list').push([index]);
  await writer.flush();
  await hub.restart('SIGTERM');
  assert.equal((await writer.socket.closing()).code, 1001);
  assertSameDocument(await readRoom(user, room), writer.doc, ROOTS, 'the room after SIGTERM');
  writer.doc.getArray('list').push(['after']);
  await writer.connect();
  await writer.flush();
  assertSameDocument(await readRoom(user, room), writer.doc, ROOTS, 'the room after the reconnect');
});
