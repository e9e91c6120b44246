/**
 * Random histories of three people who edit one document over bad connections. A history is made of a seed alone: the
 * edits, the order in which their updates arrive, what is lost and sent later, what comes twice, who listens when, and
 * where the hub is restarted. `History` runs one in two halves, so that many share a restart.
 */
import assert from 'node:assert/strict';
import * as Y from 'yjs';
import { assertSameDescription, describe, holds, lookAt } from './documents.mjs';
import { STEP1, STEP2, UPDATE } from './frames.mjs';
import { postSync, snapshot } from './http.mjs';
import { Rng } from './rng.mjs';
import { RoomSocket } from './socket.mjs';

export const ROOTS = { meta: 'map', list: 'array', body: 'text' };
const PEOPLE = 3;
const WORDS = ['a', 'be', 'cat', 'ünï', '👋🏽', '日本', '\n', 'long longer longest '];
const KEYS = ['title', 'done', 'tags', 'x'];

function value(rng) {
  return rng.pick([
    () => rng.below(1000),
    () => rng.pick(WORDS),
    () => ({ deep: [rng.below(5), null, { deeper: rng.pick(WORDS) }] }),
    () => rng.chance(0.5),
    () => rng.bytes(rng.below(6)),
    () => ({ big: BigInt(rng.below(1000)), nothing: undefined }),
    () => new Y.Map([[rng.pick(KEYS), rng.below(9)]]),
    () => Y.Array.from([rng.pick(WORDS), rng.below(9)]),
    () => new Y.Text(rng.pick(WORDS)),
  ])();
}

/** A type somewhere in the document: a root, or one nested in the map or the list. */
function anyType(rng, doc) {
  const roots = [doc.getMap('meta'), doc.getArray('list'), doc.getText('body')];
  const nested = [...roots[0].values(), ...roots[1].toArray()].filter((item) => item instanceof Y.AbstractType);
  return rng.pick(rng.chance(0.4) && nested.length > 0 ? nested : roots);
}

function editMap(rng, map) {
  if (rng.chance(0.25)) map.delete(rng.pick(KEYS));
  else map.set(rng.pick(KEYS), value(rng));
}

function editArray(rng, array) {
  if (array.length > 2 && rng.chance(0.35)) {
    const at = rng.below(array.length);
    array.delete(at, rng.between(1, Math.min(3, array.length - at)));
  } else {
    array.insert(rng.below(array.length + 1), Array.from({ length: rng.between(1, 3) }, () => value(rng)));
  }
}

function editText(rng, text) {
  const at = rng.below(text.length + 1);
  const rest = text.length - at;
  const kind = rng.fraction();
  if (kind < 0.25 && rest > 0) text.delete(at, rng.between(1, Math.min(5, rest)));
  else if (kind < 0.4 && rest > 0) {
    text.format(at, rng.between(1, rest), { [rng.pick(['bold', 'em'])]: rng.pick([true, null]) });
  } else if (kind < 0.45) text.insertEmbed(at, { image: rng.below(9) });
  else text.insert(at, rng.pick(WORDS));
}

function edit(rng, doc) {
  doc.transact(() => {
    for (let count = rng.between(1, 3); count > 0; count -= 1) {
      const type = anyType(rng, doc);
      if (type instanceof Y.Map) editMap(rng, type);
      else if (type instanceof Y.Array) editArray(rng, type);
      else editText(rng, type);
    }
  });
}

/** The updates that three people make, with what each knew of the others at the time. */
function makeUpdates(rng) {
  const updates = [];
  const ids = new Set();
  while (ids.size < PEOPLE) ids.add(rng.clientId());
  const docs = [...ids].map((id) => {
    const doc = new Y.Doc();
    doc.clientID = id;
    doc.on('updateV2', (update, origin) => {
      if (origin !== 'exchange') updates.push(update);
    });
    return doc;
  });
  for (let steps = rng.between(12, 24); steps > 0; steps -= 1) {
    const doc = rng.pick(docs);
    if (rng.chance(0.3)) {
      const other = rng.pick(docs);
      Y.applyUpdateV2(doc, Y.encodeStateAsUpdateV2(other, Y.encodeStateVector(doc)), 'exchange');
    } else {
      edit(rng, doc);
    }
  }
  return updates;
}

/**
 * Somebody who listens and carries updates: `heard` is what the hub has said; `known` is that and, in the order of events,
 * what this one sent on the open socket, which never comes back to it.
 */
class Listener {
  constructor(history, answersStep1) {
    this.history = history;
    this.answersStep1 = answersStep1;
    this.heard = [];
    this.forget();
  }

  /** The connection is gone. */
  forget() {
    this.socket = null;
    this.inFlight = [];
    this.known = [...this.heard];
  }

  stateVector() {
    return lookAt(this.heard, Y.encodeStateVector);
  }

  async open() {
    const socket = new RoomSocket(this.history.user, this.history.room, { onFrame: (frame) => this.#receive(frame) });
    this.socket = socket;
    this.joined = false;
    await socket.opened();
    socket.send(STEP1, this.stateVector());
    await socket.watch.until('the first step2', () => this.joined);
  }

  #receive({ subtype, payload }) {
    if (subtype === STEP1) {
      // A listener that holds pending structs hands them on here, as every Yjs client does.
      const answer = (doc) => Y.encodeStateAsUpdateV2(doc, payload);
      if (this.answersStep1) this.socket.send(STEP2, lookAt(this.heard, answer));
      return;
    }
    // Later answers are barriers of the test: what a listener knows, it knows from joining and from live updates.
    if (subtype === STEP2 && this.joined) return;
    if (subtype === STEP2) this.joined = true;
    this.hear(payload);
  }

  hear(update) {
    this.heard.push(update);
    this.known.push(update);
  }

  send(subtype, index, update) {
    this.socket.send(subtype, update);
    this.inFlight.push(index);
    this.known.push(update);
  }

  /** Waits until all that this socket sent is handled and durable; returns which updates that were. */
  async flush() {
    await this.socket.flush();
    return this.inFlight.splice(0);
  }
}

export class History {
  constructor(seed, user) {
    this.seed = seed;
    this.user = user;
    this.room = `history ${seed}`;
    const rng = new Rng(seed);
    this.rng = rng;
    this.updates = makeUpdates(rng);
    this.model = lookAt(this.updates, (doc) => describe(doc, ROOTS));
    assert.ok(!this.model.waiting, 'the history itself has no gap');
    const indexes = [...this.updates.keys()];
    const lost = indexes.filter(() => rng.chance(0.15));
    const arriving = indexes.filter((index) => !lost.includes(index));
    const twice = indexes.filter(() => rng.chance(0.2));
    const shuffled = rng.shuffled([...arriving, ...twice]);
    this.cut = rng.below(shuffled.length + 1);
    this.before = shuffled.slice(0, this.cut);
    // What is left: the rest, and at last what was lost on the way.
    this.later = [...shuffled.slice(this.cut), ...rng.shuffled(lost)];
    this.listeners = Array.from({ length: PEOPLE }, () => new Listener(this, rng.chance(0.5)));
    this.acknowledged = new Set();
  }

  /** Everything until the restart. */
  async run() {
    for (const listener of this.listeners) {
      if (this.rng.chance(0.6)) await listener.open();
    }
    await this.#deliver(this.before, 0.3);
    if (this.rng.chance(0.5)) await this.#flushAll();
  }

  /** The hub is up again: nothing acknowledged is gone, and the rest brings the whole document. */
  async resume() {
    const stored = await snapshot(this.user, this.room);
    for (const listener of this.listeners) {
      const kept = lookAt([stored], (whole) => lookAt(listener.heard, (part) => holds(whole, part)));
      assert.ok(kept, 'what a listener had received survives the restart');
      listener.forget();
    }
    const unacknowledged = this.updates.filter((_, index) => !this.acknowledged.has(index));
    // Twice: parked structs that wait for each other across updates are not always retried by Yjs (the hub does).
    const everything = [stored, ...unacknowledged];
    this.#assertModel([...everything, ...everything], 'what was acknowledged survives the restart');

    for (const listener of this.listeners) await listener.open();
    const resent = this.before.filter((index) => !this.acknowledged.has(index));
    await this.#deliver([...this.rng.shuffled(resent), ...this.later], 0.1);
    // Once for what was sent, and once more for what that sent on to the others.
    await this.#flushAll();
    await this.#flushAll();
    for (const [index, { known }] of this.listeners.entries()) this.#assertModel(known, `listener ${index}`);
    this.#assertModel([await snapshot(this.user, this.room)], 'the snapshot');
    for (const { socket } of this.listeners) await socket.close(1000);
  }

  #assertModel(updates, what) {
    const described = lookAt(updates, (doc) => describe(doc, ROOTS));
    assertSameDescription(described, this.model, what);
  }

  async #deliver(indexes, flushing) {
    const { rng } = this;
    for (const index of indexes) {
      const update = this.updates[index];
      const listener = rng.pick(this.listeners);
      if (rng.chance(0.2)) await this.#post(index, update, listener);
      else {
        if (!listener.socket) await listener.open();
        listener.send(rng.pick([UPDATE, UPDATE, STEP2]), index, update);
        if (rng.chance(flushing)) this.#acknowledge(await listener.flush());
      }
    }
  }

  async #post(index, update, listener) {
    const stateVector = this.rng.chance(0.5) ? listener.stateVector() : undefined;
    const answer = await postSync(this.user, this.room, { stateVector, update });
    assert.ok([200, 204].includes(answer.status), `POST: ${answer.status} ${answer.text()}`);
    this.#acknowledge([index]);
    if (answer.status === 200 && stateVector) listener.hear(new Uint8Array(answer.body));
  }

  #acknowledge(indexes) {
    for (const index of indexes) this.acknowledged.add(index);
  }

  async #flushAll() {
    for (const listener of this.listeners) {
      if (listener.socket) this.#acknowledge(await listener.flush());
    }
  }
}
