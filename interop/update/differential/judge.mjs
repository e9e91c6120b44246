/** What two Yjs documents have in common. */
import { isDeepStrictEqual } from 'node:util';
import * as Y from 'yjs';
import { hex } from './algebra.mjs';

// A document that receives formatted text removes formats that turned out redundant. What it removes, and
// rarely even what the text shows then, depends on what came in one transaction, so that documents of
// Yjs alone do not always agree. Authors do it, and their removals are part of the histories; the
// documents that judge do not.
let removesFormats = false;
Object.defineProperty(Y.Text.prototype, '_hasFormatting', {
  get() {
    return removesFormats && this.sawFormats;
  },
  set(value) {
    this.sawFormats = value;
  },
});

/** Runs `write` with documents as applications have them. */
export function asAuthors(write) {
  removesFormats = true;
  try {
    return write();
  } finally {
    removesFormats = false;
  }
}

export const ROOTS = ['text', 'list', 'map', 'tree'];

export function newDoc(clientID, gc = true) {
  // Drawing a random guid would cost more than a small document.
  const doc = new Y.Doc({ gc, guid: '' });
  if (clientID) doc.clientID = clientID;
  doc.getText('text');
  doc.getArray('list');
  doc.getMap('map');
  doc.getXmlFragment('tree');
  return doc;
}

export function load(updates) {
  const doc = newDoc();
  for (const update of updates) Y.applyUpdateV2(doc, update);
  return doc;
}

function plain(value) {
  if (value === undefined) return '$undefined';
  if (typeof value === 'bigint') return { $bigint: String(value) };
  if (typeof value === 'number') return Object.is(value, -0) ? '$-0' : Number.isFinite(value) ? value : `$${value}`;
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array) return { $bytes: hex(value) };
  if (value instanceof Y.Text) return { $text: delta(value), $attributes: plain(value.getAttributes()) };
  if (value instanceof Y.XmlElement) {
    return {
      $element: value.nodeName,
      $attributes: plain(value.getAttributes()),
      $children: value.toArray().map(plain),
    };
  }
  if (value instanceof Y.XmlFragment) return value.toArray().map(plain);
  if (value instanceof Y.Array) return { $array: value.toArray().map(plain) };
  if (value instanceof Y.Map) {
    return { $map: Object.fromEntries([...value.entries()].map(([key, entry]) => [key, plain(entry)])) };
  }
  if (value instanceof Y.Doc) return { $doc: value.guid, $meta: plain(value.meta) };
  if (Array.isArray(value)) return value.map(plain);
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, plain(entry)]));
}

/** Runs of equal attributes are joined, since where they are cut has no meaning. */
function delta(text) {
  const runs = [];
  for (const run of text.toDelta()) {
    const attributes = plain(run.attributes ?? {});
    const insert = typeof run.insert === 'string' ? run.insert : { $embed: plain(run.insert) };
    const last = runs.at(-1);
    const isText = typeof last?.insert === 'string' && typeof insert === 'string';
    if (isText && isDeepStrictEqual(last.attributes, attributes)) last.insert += insert;
    else runs.push({ insert, attributes });
  }
  return runs;
}

export const contentOf = (doc) => Object.fromEntries(ROOTS.map((name) => [name, plain(doc.share.get(name))]));

export const clocksOf = (bytes) => Object.fromEntries([...Y.decodeStateVector(bytes)].filter(([, clock]) => clock > 0));

export const vectorOf = (doc) => clocksOf(Y.encodeStateVector(doc));

function deletesOf(doc) {
  const set = {};
  for (const [client, ranges] of Y.createDeleteSetFromStructStore(doc.store).clients) {
    set[client] = ranges.map(({ clock, len }) => [clock, clock + len]);
  }
  return set;
}

/** Everything that must be equal for two documents to be the same. */
export const describe = (doc) => ({ content: contentOf(doc), vector: vectorOf(doc), deletes: deletesOf(doc) });

export function same(what, actual, expected) {
  if (isDeepStrictEqual(actual, expected)) return;
  throw new Error(`${what}:\n  is       ${JSON.stringify(actual)}\n  expected ${JSON.stringify(expected)}`);
}

export function sameDocument(what, doc, expected) {
  const actual = describe(doc);
  for (const part of ['content', 'vector', 'deletes']) same(`${what}, ${part}`, actual[part], expected[part]);
}
