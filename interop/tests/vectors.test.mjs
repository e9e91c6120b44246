/** Every case of `sync-frames.json` through the running hub, over HTTP and over sockets, read back by Yjs. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import * as Y from 'yjs';
import {
  clocksOf,
  clocksOfStateVector,
  contentOf,
  deltaOf,
  documentOf,
  isWaiting,
  updateOf,
} from '../lib/documents.mjs';
import { EMPTY_UPDATE, STEP1, STEP2, UPDATE, encodeFrame, fromHex, parseFrame, yjsDecodes } from '../lib/frames.mjs';
import { postSync, push, readRoom } from '../lib/http.mjs';
import { hubWithUser } from '../lib/hub.mjs';
import { RoomSocket } from '../lib/socket.mjs';
import { casesOf, loadVectors } from '../lib/vectors.mjs';
import { inParallel } from '../lib/waiting.mjs';

const { hub, user } = await hubWithUser(after);

/** The two ways of writing to a room. Both return when the update is durable. */
const WAYS = {
  socket: async (room, updates) => {
    const socket = await RoomSocket.open(user, room);
    for (const update of updates) socket.send(UPDATE, update);
    await socket.flush();
    await socket.close(1000);
  },
  http: async (room, updates) => {
    for (const update of updates) await push(user, room, update);
  },
};

/** The three ways of reading a whole room. */
async function everyReading(room) {
  const snapshot = await readRoom(user, room);
  const pulled = await postSync(user, room);
  // 204 tells a caller with nothing that the room holds nothing either.
  assert.ok([200, 204].includes(pulled.status), `a first pull of ${room}: ${pulled.status}`);
  const pull = pulled.status === 204 ? EMPTY_UPDATE : new Uint8Array(pulled.body);
  const socket = await RoomSocket.open(user, room);
  const answer = await socket.flush();
  const greeting = clocksOfStateVector(socket.greeting);
  await socket.close(1000);
  return { snapshot, pull: documentOf(pull), socket: documentOf(answer), greeting };
}

/** `room` shows exactly `expect`, whichever way it is read. */
async function assertRoom(room, roots, expect, message) {
  const { greeting, ...readings } = await everyReading(room);
  assert.deepEqual(greeting, expect.clocks, `${message}: the hub's own state vector`);
  for (const [way, doc] of Object.entries(readings)) {
    assert.deepEqual(contentOf(doc, roots), expect.content, `${message}: content by ${way}`);
    assert.deepEqual(clocksOf(doc), expect.clocks, `${message}: clocks by ${way}`);
    assert.equal(isWaiting(doc), expect.waiting ?? false, `${message}: waiting by ${way}`);
    for (const [name, delta] of Object.entries(expect.deltas ?? {})) {
      assert.deepEqual(deltaOf(doc, name), delta, `${message}: formatting of ${name} by ${way}`);
    }
  }
}

describe('doc', () => {
  for (const entry of casesOf('sync-frames.json', 'doc')) {
    test(entry.id, async () => {
      const updates = entry.updates.map(({ updateV2 }) => fromHex(updateV2));
      for (const { frame, updateV2 } of entry.updates) {
        assert.deepEqual(encodeFrame(UPDATE, fromHex(updateV2)), fromHex(frame));
      }
      const filled = {
        [`${entry.id} by frames`]: () => WAYS.socket(`${entry.id} by frames`, updates),
        [`${entry.id} by posts`]: () => WAYS.http(`${entry.id} by posts`, updates),
        [`${entry.id} by state`]: () => WAYS.http(`${entry.id} by state`, [fromHex(entry.stateV2)]),
        [`${entry.id} by merged`]: () => WAYS.socket(`${entry.id} by merged`, entry.merged ? [fromHex(entry.merged)] : []),
      };
      if (!entry.merged) delete filled[`${entry.id} by merged`];
      for (const [room, fill] of Object.entries(filled)) {
        await fill();
        await assertRoom(room, entry.roots, entry, room);
        await assertDiffs(room, entry, updates);
      }
    });
  }
});

/** For every state vector of the case: what the hub sends brings a document that far to the whole content. */
async function assertDiffs(room, entry, updates) {
  const socket = await RoomSocket.open(user, room);
  for (const diff of entry.diffs) {
    const base = () => documentOf(...updates.slice(0, Number(/^after update (\d+)$/.exec(diff.of)?.[1] ?? 0)));
    assert.deepEqual(fromHex(diff.step1), encodeFrame(STEP1, fromHex(diff.stateVector)));
    const answered = base();
    Y.applyUpdateV2(answered, await socket.flush(fromHex(diff.stateVector)));
    assert.deepEqual(contentOf(answered, entry.roots), entry.content, `${room}: step2 for ${diff.of}`);

    const posted = await postSync(user, room, { stateVector: fromHex(diff.stateVector) });
    const synced = base();
    if (posted.status === 200) Y.applyUpdateV2(synced, new Uint8Array(posted.body));
    else assert.equal(posted.status, 204);
    assert.deepEqual(contentOf(synced, entry.roots), entry.content, `${room}: POST for ${diff.of}`);
  }
  await socket.close(1000);
}

describe('delete-only', () => {
  for (const entry of casesOf('sync-frames.json', 'delete-only')) {
    for (const [way, send] of Object.entries(WAYS)) {
      test(`${entry.id} by ${way}`, async () => {
        const room = `${entry.id} by ${way}`;
        await send(room, [fromHex(entry.before.stateV2)]);
        await assertRoom(room, entry.roots, entry.before, 'before');
        const watching = await RoomSocket.open(user, room);
        await send(room, [fromHex(entry.updateV2)]);
        await watching.watch.until('the deletions', () => watching.frames.some(({ subtype }) => subtype === UPDATE));
        await assertRoom(room, entry.roots, entry.after, 'after');

        const asking = await RoomSocket.open(user, room);
        assert.deepEqual(fromHex(entry.step1), encodeFrame(STEP1, fromHex(entry.before.stateVector)));
        const stale = documentOf(fromHex(entry.before.stateV2), await asking.flush(fromHex(entry.before.stateVector)));
        assert.deepEqual(contentOf(stale, entry.roots), entry.after.content, 'step2 for an equal state vector');
      });
    }
  }
});

describe('concurrent', () => {
  for (const entry of casesOf('sync-frames.json', 'concurrent')) {
    test(entry.id, async () => {
      const base = fromHex(entry.base);
      const inOrder = (order) => order.map((client) => fromHex(entry.updates[client]));
      const deliveries = [
        ...entry.orders.map((order) => [base, ...inOrder(order)]),
        ...entry.orders.map((order) => [...inOrder(order), base]),
        [fromHex(entry.merged)],
      ];
      await inParallel(deliveries, 4, async (updates, index) => {
        const way = index % 2 === 0 ? 'socket' : 'http';
        const room = `${entry.id} ${index}`;
        await WAYS[way](room, updates);
        await assertRoom(room, entry.roots, entry.expect, `delivery ${index} by ${way}`);
      });
    });
  }
});

test('pending: every step, with kill -9 and a restart after each', async () => {
  const cases = casesOf('sync-frames.json', 'pending');
  const longest = Math.max(...cases.map(({ steps }) => steps.length));
  for (let index = 0; index < longest; index += 1) {
    const stepping = cases.filter(({ steps }) => index < steps.length);
    const rooms = stepping.flatMap((entry) => Object.keys(WAYS).map((way) => ({ entry, way })));
    const check = ({ entry, way }) => {
      const message = `${entry.id} by ${way}, step ${index + 1}`;
      return assertRoom(`${entry.id} by ${way}`, entry.roots, entry.steps[index], message);
    };
    await inParallel(rooms, 4, async ({ entry, way }) => {
      await WAYS[way](`${entry.id} by ${way}`, [fromHex(entry.steps[index].apply)]);
      await check({ entry, way });
    });
    await hub.restart('SIGKILL');
    await inParallel(rooms, 4, check);
  }
  for (const { id, roots, expect } of cases) await assertRoom(`${id} by socket`, roots, expect, `${id} at the end`);
});

describe('pending, from a stored state', () => {
  for (const entry of casesOf('sync-frames.json', 'pending')) {
    test(entry.id, async () => {
      for (const { afterStep, stateV2 } of entry.reloads) {
        for (const [way, send] of Object.entries(WAYS)) {
          const room = `${entry.id} reloaded after ${afterStep} by ${way}`;
          await send(room, [fromHex(stateV2)]);
          const { content, clocks, waiting } = entry.steps[afterStep - 1];
          await assertRoom(room, entry.roots, { content, clocks, waiting }, room);
          await send(room, entry.steps.slice(afterStep).map(({ apply }) => fromHex(apply)));
          await assertRoom(room, entry.roots, entry.expect, `${room}, then the rest`);
        }
      }
    });
  }
});

describe('http-sync', () => {
  for (const entry of casesOf('sync-frames.json', 'http-sync')) {
    test(entry.id, async () => {
      const room = entry.id;
      await push(user, room, fromHex(entry.serverBefore));
      const watching = await RoomSocket.open(user, room);
      const answer = await user.request('POST', user.roomPath(room), { body: fromHex(entry.body) });
      assert.ok([200, 204].includes(answer.status), `${answer.status} ${answer.text()}`);
      const client = documentOf(fromHex(entry.clientBefore));
      if (answer.status === 200) Y.applyUpdateV2(client, new Uint8Array(answer.body));
      else assert.equal(answer.body.length, 0);
      assert.deepEqual(contentOf(client, entry.roots), entry.expect.clientAfter.content);
      assert.deepEqual(clocksOf(client), entry.expect.clientAfter.clocks);
      await assertRoom(room, entry.roots, entry.expect.server, 'the room');

      await watching.flush();
      const fanned = watching.frames.filter(({ subtype }) => subtype === UPDATE);
      assert.equal(fanned.length > 0, entry.expect.serverChanged, 'a push is sent on exactly when it changed something');
    });
  }
});

describe('frames', () => {
  for (const entry of casesOf('sync-frames.json', 'frame')) {
    test(entry.id, async () => {
      const room = entry.id;
      const { subtype, payload } = parseFrame(fromHex(entry.frame));
      assert.equal(['step1', 'step2', 'update'][subtype], entry.expect.subtype);
      assert.deepEqual(payload, fromHex(entry.expect.payload));
      const socket = await RoomSocket.open(user, room);
      socket.sendBytes(fromHex(entry.frame));
      if (subtype === STEP1) {
        await socket.watch.until('step2', () => socket.answers === 1);
        assert.deepEqual(clocksOf(documentOf(socket.lastAnswer)), {});
        return;
      }
      await socket.flush();
      assert.deepEqual(clocksOf(await readRoom(user, room)), clocksOf(documentOf(payload)));
    });
  }
});

/** Sends one frame into a room with content while somebody watches; returns whether anything was stored. */
async function frameChanges(room, bytes) {
  const doc = new Y.Doc();
  doc.clientID = 424242;
  await push(
    user,
    room,
    updateOf(doc, () => doc.getText('body').insert(0, 'there before')),
  );
  const tagOf = async () => (await user.request('GET', user.roomPath(room))).headers.etag;
  const before = await tagOf();
  const sender = await RoomSocket.open(user, room);
  const watching = await RoomSocket.open(user, room);
  sender.sendBytes(bytes);
  await sender.flush();
  await watching.flush();
  assert.ok(sender.isOpen, 'the socket stays open');
  const forwarded = watching.frames.filter(({ subtype }) => subtype === UPDATE).length > 0;
  const stored = before !== (await tagOf());
  assert.equal(forwarded, stored, 'stored and forwarded go together');
  return stored;
}

describe('frames that stock Yjs cannot decode are dropped: the socket stays open, nothing is stored or sent on', () => {
  for (const entry of casesOf('sync-frames.json', 'frame-error')) {
    test(entry.id, async () => {
      assert.equal(await frameChanges(entry.id, fromHex(entry.frame)), false);
    });
  }
});

describe('frames that the formats leave open are treated as stock Yjs treats them', () => {
  for (const entry of loadVectors('sync-frames.json').ambiguous.filter(({ frame }) => frame)) {
    test(entry.id, async () => {
      const { subtype, payload } = parseFrame(fromHex(entry.frame));
      const decodable = [STEP2, UPDATE].includes(subtype) && yjsDecodes(payload);
      assert.equal(await frameChanges(entry.id, fromHex(entry.frame)), decodable);
    });
  }
});

describe('sync bodies that are refused change nothing', () => {
  for (const entry of casesOf('sync-frames.json', 'http-error')) {
    test(entry.id, async () => {
      const room = entry.id;
      const answer = await user.request('POST', user.roomPath(room), { body: fromHex(entry.body) });
      assert.equal(answer.status, 400);
      assert.equal(answer.errorName(), 'MalformedSyncBody');
      assert.equal(answer.json().data, null);
      assert.equal(answer.json().error.status, 400);
      const stored = await user.request('GET', user.roomPath(room));
      assert.deepEqual(new Uint8Array(stored.body), EMPTY_UPDATE);
    });
  }
});

test('every kind of case is known', () => {
  const known = ['doc', 'delete-only', 'concurrent', 'pending', 'http-sync', 'frame', 'frame-error', 'http-error'];
  const readByLib0 = ['varuint', 'varuint-error'];
  const kinds = new Set(loadVectors('sync-frames.json').cases.map(({ kind }) => kind));
  assert.deepEqual(
    [...kinds].filter((kind) => ![...known, ...readByLib0].includes(kind)),
    [],
  );
});
