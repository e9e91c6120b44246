/** `kv-lww.json` as far as documents go: what the array shows, in order, after every operation. */
import * as Y from 'yjs';
import { hex, unhex } from './algebra.mjs';
import { same } from './judge.mjs';

function plain(value) {
  if (value instanceof Uint8Array) return { $bytes: hex(value) };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, plain(entry)]));
}

function entriesOf(name, updates) {
  const doc = new Y.Doc();
  for (const update of updates) Y.applyUpdateV2(doc, update);
  return doc.getArray(name).toArray().map(plain);
}

export async function keyValueCases(algebra, cases, report) {
  for (const { id, array, updates, docV2, entries } of cases) {
    if (!docV2) continue;
    try {
      const expected = entriesOf(array, [unhex(docV2)]);
      // Some values have no JSON of their own; the others are in the file.
      same('what Yjs shows', JSON.stringify(expected), JSON.stringify(entries));
      for (const order of [updates, [...updates].reverse()]) {
        const merged = await algebra.must({ op: 'merge', updates: order });
        const compacted = await algebra.must({ op: 'compact', update: merged });
        const back = await algebra.must({ op: 'to_v2', update: await algebra.must({ op: 'to_v1', update: compacted }) });
        for (const [what, bytes] of Object.entries({ merged, compacted, back })) {
          same(what, entriesOf(array, [unhex(bytes)]), expected);
        }
      }
    } catch (error) {
      report(id, error);
    }
  }
}
