/**
 * Random concurrent histories as lists of steps. Each step draws from a seed of its own, so that leaving one out changes
 * nothing about the others: this is what makes a failing history smaller.
 */
import * as Y from 'yjs';
import { Rng } from '../../lib/rng.mjs';
import { hex } from './algebra.mjs';
import { ROOTS, asAuthors, newDoc } from './judge.mjs';

// No lone halves here: Yjs loses the character behind one when it cuts there, so that its own documents
// disagree. Cuts between the halves of whole characters come from formats, deletions and typing.
const WORDS = ['a', 'bc', 'déf', '😀', '😀😁', 'x😀y', 'line\n', '𝄞', '\ufeffb', '日本', 'long enough to be cut in many places'];
const REPLACEMENT = 'efbfbd';
const KEYS = ['one', 'two', '', '__proto__x', 'ключ', '7'];
const NUMBERS = [NaN, Infinity, -Infinity, -0, 0.5, 0.1, 1e21, 1e-7, 2 ** 31, -(2 ** 31), 2 ** 53];

function value(rng, depth = 0) {
  switch (rng.below(depth > 2 ? 12 : 16)) {
    case 0: return null;
    case 1: return undefined;
    case 2: return rng.chance(0.5);
    case 3: return rng.below(1000) - 500;
    case 4: return rng.fraction() * 1e9;
    case 5: return rng.pick(NUMBERS);
    case 6: return rng.pick([0n, 7n, -(2n ** 63n), 2n ** 63n - 1n]);
    case 7: case 8: return rng.pick([...WORDS, 'x\ud83dy']);
    case 9: case 10: return rng.bytes(rng.below(6));
    case 11: return '';
    case 12: case 13: return Array.from({ length: rng.below(3) }, () => value(rng, depth + 1));
    default: return Object.fromEntries(Array.from({ length: rng.below(3) }, () => [rng.pick(KEYS), value(rng, depth + 1)]));
  }
}

function newType(rng) {
  switch (rng.below(7)) {
    case 0: return new Y.Text(rng.pick(WORDS));
    case 1: return new Y.Array();
    case 2: return new Y.Map([['k', value(rng)]]);
    case 3: return new Y.XmlElement(rng.pick(['p', 'div']));
    case 4: return new Y.XmlText();
    case 5: return new Y.Doc({ guid: `doc${rng.below(1000)}`, ...(rng.chance(0.5) ? { meta: { n: 1 } } : {}) });
    default: return new Y.Map();
  }
}

/** Every living shared type. */
function typesOf(doc) {
  const found = [];
  const open = ROOTS.map((name) => doc.share.get(name)).reverse();
  while (open.length > 0) {
    const type = open.pop();
    found.push(type);
    const children = type instanceof Y.Map ? [...type.values()] : type instanceof Y.Text ? [] : type.toArray();
    for (const child of children) if (child instanceof Y.AbstractType) open.push(child);
  }
  return found;
}

function changeText(rng, type) {
  const at = rng.below(type.length + 1);
  const span = Math.min(rng.below(6), type.length - at);
  switch (rng.below(8)) {
    case 0: case 1: if (span > 0) type.delete(at, span); break;
    case 2: if (span > 0) type.format(at, span, { [rng.pick(['bold', 'color'])]: rng.pick([true, null, 'red', { n: [1] }]) }); break;
    case 3: type.insertEmbed(at, { image: value(rng) }); break;
    case 4: type.insert(at, rng.pick(WORDS), { bold: true }); break;
    case 5: if (type instanceof Y.XmlText) type.setAttribute('lang', rng.pick(WORDS)); else type.insert(at, rng.pick(WORDS)); break;
    default: type.insert(at, rng.pick(WORDS));
  }
}

// An array takes these two only inside another value.
const listed = (entry) => (entry === undefined || typeof entry === 'bigint' ? [entry] : entry);

function change(rng, doc) {
  const type = rng.chance(0.4) ? doc.share.get(rng.pick(ROOTS)) : rng.pick(typesOf(doc));
  if (type instanceof Y.Map) {
    const key = rng.pick(KEYS);
    if (rng.chance(0.2)) type.delete(key);
    else type.set(key, rng.chance(0.4) ? newType(rng) : value(rng));
  } else if (type instanceof Y.Text) {
    changeText(rng, type);
  } else if (type instanceof Y.XmlFragment) {
    const at = rng.below(type.length + 1);
    if (rng.chance(0.25) && at < type.length) type.delete(at, 1);
    else if (rng.chance(0.3) && type instanceof Y.XmlElement) type.setAttribute(rng.pick(['id', 'class']), rng.pick(WORDS));
    else type.insert(at, [rng.chance(0.5) ? new Y.XmlElement(rng.pick(['p', 'ul'])) : new Y.XmlText(rng.pick(WORDS))]);
  } else {
    const at = rng.below(type.length + 1);
    const span = Math.min(rng.below(4), type.length - at);
    if (rng.chance(0.35) && span > 0) type.delete(at, span);
    else if (rng.chance(0.25)) type.insert(at, [newType(rng)]);
    else type.insert(at, Array.from({ length: 1 + rng.below(4) }, () => listed(value(rng))));
  }
}

function clientId(rng) {
  return rng.pick([1 + rng.below(100), 1 + rng.below(2 ** 32 - 1), 2 ** 33 + rng.below(2 ** 31), 2 ** 53 - 1 - rng.below(50)]);
}

/** The plan of one case. */
export function draw(seed) {
  const rng = new Rng(seed);
  const clients = [];
  for (const count = 2 + rng.below(3); clients.length < count;) {
    const id = clientId(rng);
    if (!clients.some((client) => client.id === id)) clients.push({ id, gc: rng.chance(0.7), undo: rng.chance(0.4) });
  }
  const stepSeed = () => rng.below(2 ** 32);
  const steps = [];
  // Most faults show in few steps, and the work grows with their square; some histories are long all the same.
  const rounds = rng.chance(0.08) ? 15 + rng.below(20) : 2 + rng.below(9);
  for (let left = rounds; left > 0; left -= 1) {
    const of = rng.below(clients.length);
    steps.push({ do: rng.chance(0.15) ? 'undo' : 'edit', of, seed: stepSeed(), count: 1 + rng.below(3) });
    if (rng.chance(0.4)) steps.push({ do: 'sync', of, from: rng.below(clients.length) });
    if (rng.chance(0.3)) steps.push({ do: 'deliver', of, seed: stepSeed() });
    // A whole state among the small updates, as a reconnecting client sends it.
    if (rng.chance(0.1)) steps.push({ do: 'state', of });
  }
  return { seed, clients, steps };
}

function run(step, doc, undo, docs, updates) {
  switch (step.do) {
    case 'edit': {
      const rng = new Rng(step.seed);
      doc.transact(() => {
        for (let left = step.count; left > 0; left -= 1) change(rng, doc);
      });
      break;
    }
    case 'undo':
      if (step.seed % 3 === 0) undo?.redo();
      else undo?.undo();
      break;
    case 'sync': {
      const from = docs[step.from];
      Y.applyUpdateV2(doc, Y.encodeStateAsUpdateV2(from, Y.encodeStateVector(doc)), 'remote');
      break;
    }
    case 'deliver':
      if (updates.length > 0) Y.applyUpdateV2(doc, updates[step.seed % updates.length], 'remote');
      break;
    default: {
      const state = Y.encodeStateAsUpdateV2(doc);
      // Where a document cut a character it has other text for the same clocks than the update that brought it:
      // documents of Yjs alone then show what came first.
      if (!hex(state).includes(REPLACEMENT)) updates.push(state);
    }
  }
}

/** The updates that clients send when they follow a plan, and their documents. */
export function write({ clients, steps }) {
  return asAuthors(() => {
    const updates = [];
    const docs = clients.map(({ id, gc }) => {
      const doc = newDoc(id, gc);
      doc.on('updateV2', (update, origin) => origin !== 'remote' && updates.push(update));
      return doc;
    });
    const undo = docs.map((doc, index) =>
      clients[index].undo ? new Y.UndoManager(ROOTS.map((name) => doc.share.get(name)), { captureTimeout: 0 }) : null,
    );
    for (const step of steps) run(step, docs[step.of], undo[step.of], docs, updates);
    return { docs, updates };
  });
}
