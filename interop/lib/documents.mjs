/** What two Yjs documents have in common; Yjs is the judge everywhere. */
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import * as Y from 'yjs';

/** A document built from updates, in this order. */
export function documentOf(...updates) {
  const doc = new Y.Doc();
  for (const update of updates) Y.applyUpdateV2(doc, update);
  return doc;
}

/**
 * Looks at a document built from updates before the transaction ends. At its end Yjs removes formatting marks that it finds
 * redundant, which depends on the order in which the updates came; what is seen here depends on the updates alone.
 */
export function lookAt(updates, look) {
  // Drawing a random guid would cost more than a small document.
  const doc = new Y.Doc({ guid: '' });
  let seen;
  doc.transact(() => {
    for (const update of updates) Y.applyUpdateV2(doc, update);
    seen = look(doc);
  });
  return seen;
}

/** The decoded state vector with decimal keys; a client at clock 0 is no client. */
export function clocksOf(doc) {
  return clocksOfStateVector(Y.encodeStateVector(doc));
}

export function clocksOfStateVector(stateVector) {
  const entries = [...Y.decodeStateVector(stateVector)].filter(([, clock]) => clock > 0);
  return Object.fromEntries(entries.map(([client, clock]) => [String(client), clock]));
}

/** Deleted clock ranges of every client (tombstones and collected structs alike), sorted and joined. */
function deletionsOf(doc) {
  const deletions = {};
  for (const [client, ranges] of Y.snapshot(doc).ds.clients) {
    const joined = [];
    for (const { clock, len } of [...ranges].sort((left, right) => left.clock - right.clock)) {
      const last = joined.at(-1);
      if (last && clock <= last[1]) last[1] = Math.max(last[1], clock + len);
      else joined.push([clock, clock + len]);
    }
    if (joined.length > 0) deletions[client] = joined;
  }
  return deletions;
}

/** Whether the document still waits for structs or deletions that depend on something it has not got. */
export function isWaiting(doc) {
  return doc.store.pendingStructs !== null || doc.store.pendingDs !== null;
}

const READ = {
  map: (doc, name) => doc.getMap(name),
  array: (doc, name) => doc.getArray(name),
  text: (doc, name) => doc.getText(name),
  xml: (doc, name) => doc.getXmlFragment(name),
};

/** Content as plain values, read by the kind of each root; byte arrays as `{$bytes}`. */
export function contentOf(doc, roots) {
  return Object.fromEntries(Object.entries(roots).map(([name, kind]) => [name, plain(READ[kind](doc, name))]));
}

/** Formatted text of a root, neighbours of equal attributes joined. */
export function deltaOf(doc, name) {
  const joined = [];
  for (const part of doc.getText(name).toDelta()) {
    const last = joined.at(-1);
    const sameAttributes =
      last && JSON.stringify(sortedKeys(last.attributes)) === JSON.stringify(sortedKeys(part.attributes));
    if (sameAttributes && typeof last.insert === 'string' && typeof part.insert === 'string') {
      last.insert += part.insert;
    } else {
      joined.push({ ...part, insert: typeof part.insert === 'string' ? part.insert : plain(part.insert) });
    }
  }
  return joined;
}

function plain(value) {
  if (value instanceof Y.Text && !(value instanceof Y.XmlText)) return value.toString();
  if (value instanceof Y.XmlFragment || value instanceof Y.XmlText) return value.toString();
  if (value instanceof Y.Array) return value.toArray().map(plain);
  if (value instanceof Y.Map) return Object.fromEntries([...value.entries()].map(([key, item]) => [key, plain(item)]));
  if (value instanceof Y.Doc) return { $subdocument: value.guid };
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('hex') };
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'bigint') return { $bigint: value.toString() };
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
  }
  return value;
}

function sortedKeys(attributes = {}) {
  return Object.entries(attributes).sort(([left], [right]) => (left < right ? -1 : 1));
}

/** What must be equal for two documents to be the same: content, clocks, deletions, nothing waiting. */
export function describe(doc, roots) {
  const deltas = Object.entries(roots)
    .filter(([, kind]) => kind === 'text')
    .map(([name]) => [name, deltaOf(doc, name)]);
  return {
    waiting: isWaiting(doc),
    clocks: clocksOf(doc),
    deletions: deletionsOf(doc),
    content: contentOf(doc, roots),
    deltas: Object.fromEntries(deltas),
  };
}

export function assertSameDocument(actual, expected, roots, message = 'the document') {
  assertSameDescription(describe(actual, roots), describe(expected, roots), message);
}

export function assertSameDescription(actual, expected, message) {
  if (!isDeepStrictEqual(actual, expected)) assert.fail(`${message}: ${firstDifference(actual, expected)}`);
}

function firstDifference(actual, expected) {
  for (const key of Object.keys(expected)) {
    if (isDeepStrictEqual(actual[key], expected[key])) continue;
    const left = JSON.stringify(actual[key]);
    const right = JSON.stringify(expected[key]);
    return `${key}: ${left.slice(0, 400)} instead of ${right.slice(0, 400)}`;
  }
  return 'they differ';
}

/** Whether `whole` already holds every clock and every deletion of `part`. */
export function holds(whole, part) {
  const clocks = clocksOf(whole);
  const deletions = deletionsOf(whole);
  const covered = ([client, clock]) => (clocks[client] ?? 0) >= clock;
  const deleted = ([client, ranges]) =>
    ranges.every(([from, to]) => (deletions[client] ?? []).some((range) => range[0] <= from && to <= range[1]));
  return Object.entries(clocksOf(part)).every(covered) && Object.entries(deletionsOf(part)).every(deleted);
}

/** Every update that `doc` makes while `edit` runs, joined into one. */
export function updateOf(doc, edit) {
  const updates = [];
  const keep = (update) => updates.push(update);
  doc.on('updateV2', keep);
  try {
    doc.transact(edit);
  } finally {
    doc.off('updateV2', keep);
  }
  assert.ok(updates.length > 0, 'the edit changed nothing');
  return updates.length === 1 ? updates[0] : Y.mergeUpdatesV2(updates);
}
