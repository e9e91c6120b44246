/**
 * Compaction beside garbage collection in Yjs: the same histories through clients that collect nothing, merged and compacted,
 * and through a document with `gc: true`. Exits with 1 where the compacted update has more than 1.1 times the bytes, shows
 * something else, or where an edit made offline against the uncompacted state or an undo does not merge in.
 *
 *   node update/size.mjs --algebra PATH
 */
import { parseArgs } from 'node:util';
import * as Y from 'yjs';
import { Rng } from '../lib/rng.mjs';
import { Algebra, hex, unhex } from './differential/algebra.mjs';
import { asAuthors, describe, load, newDoc, sameDocument } from './differential/judge.mjs';

const MOST = 1.1;

const { values: options } = parseArgs({ options: { algebra: { type: 'string' } } });
if (!options.algebra) throw new Error('--algebra PATH is required: the built example `algebra`');

/** Two clients that collect nothing; `sync` makes them equal. */
function workload(write) {
  const updates = [];
  const docs = [11, 22].map((id) => {
    const doc = newDoc(id, false);
    doc.on('updateV2', (update, origin) => origin !== 'remote' && updates.push(update));
    return doc;
  });
  const sync = () => {
    for (const [from, to] of [docs, [...docs].reverse()]) {
      Y.applyUpdateV2(to, Y.encodeStateAsUpdateV2(from, Y.encodeStateVector(to)), 'remote');
    }
  };
  asAuthors(() => write(docs, sync, new Rng(1)));
  return updates;
}

const WORKLOADS = {
  'key-value overwrites': ([one, two], sync, rng) => {
    for (let n = 0; n < 20000; n += 1) {
      rng.pick([one, two]).getMap('map').set(`key ${rng.below(500)}`, { n, text: 'value' });
      if (n % 100 === 0) sync();
    }
  },
  'key-value store on an array': ([one, two], sync, rng) => {
    for (let n = 0; n < 8000; n += 1) {
      const doc = rng.pick([one, two]);
      const list = doc.getArray('list');
      const key = `key ${rng.below(300)}`;
      doc.transact(() => {
        const at = list.toArray().findIndex((entry) => entry.key === key);
        if (at !== -1) list.delete(at);
        list.push([{ key, val: n, ts: 1767225600000 + n }]);
      });
      if (n % 100 === 0) sync();
    }
  },
  'a long text with deletions': ([one, two], sync, rng) => {
    for (let n = 0; n < 8000; n += 1) {
      const text = rng.pick([one, two]).getText('text');
      const at = rng.below(text.length + 1);
      if (rng.chance(0.4)) text.delete(at, Math.min(rng.below(30), text.length - at));
      else text.insert(at, rng.pick(['word ', 'a longer piece of text ', '😀', 'x']));
      if (n % 50 === 0) sync();
    }
  },
  'nested maps and arrays deleted at every depth': ([one, two], sync, rng) => {
    for (let n = 0; n < 800; n += 1) {
      const doc = rng.pick([one, two]);
      doc.transact(() => {
        let map = doc.getMap('map');
        for (let depth = 0; depth < 5; depth += 1) {
          const key = `k${rng.below(4)}`;
          if (rng.chance(0.25)) map.delete(key);
          if (!(map.get(key) instanceof Y.Map)) map.set(key, new Y.Map());
          map = map.get(key);
          if (!(map.get('list') instanceof Y.Array)) map.set('list', new Y.Array());
          const list = map.get('list');
          list.insert(rng.below(list.length + 1), [n, new Y.Map([['n', n]])]);
          if (rng.chance(0.3)) list.delete(rng.below(list.length), 1);
        }
      });
      if (n % 20 === 0) sync();
    }
  },
  'two offline clients that set the same nested key': ([one, two], sync) => {
    for (let n = 0; n < 300; n += 1) {
      for (const doc of [one, two]) {
        const map = doc.getMap('map');
        map.set('settings', new Y.Map());
        map.get('settings').set('theme', `theme ${n} of ${doc.clientID}`);
        map.get('settings').set('sizes', new Y.Array());
        map.get('settings').get('sizes').insert(0, [n, n + 1]);
      }
      sync();
    }
  },
  'formatted text': ([one, two], sync, rng) => {
    for (let n = 0; n < 3000; n += 1) {
      const text = rng.pick([one, two]).getText('text');
      const at = rng.below(text.length + 1);
      const span = Math.min(rng.below(20), text.length - at);
      if (rng.chance(0.3)) text.format(at, span, { [rng.pick(['bold', 'link'])]: rng.pick([true, null, { href: 'x' }]) });
      else if (rng.chance(0.3)) text.delete(at, span);
      else text.insert(at, 'some words ', rng.chance(0.3) ? { bold: true } : undefined);
      if (n % 50 === 0) sync();
    }
  },
};

/** Edits against the state before compaction, and an undo of what the compaction emptied. */
function later(updates) {
  const offline = newDoc(33, false);
  for (const update of updates) Y.applyUpdateV2(offline, update);
  const made = [];
  offline.on('updateV2', (update) => made.push(update));
  const undo = new Y.UndoManager([offline.getText('text'), offline.getMap('map'), offline.getArray('list')], { captureTimeout: 0 });
  offline.getText('text').insert(Math.floor(offline.getText('text').length / 2), 'offline');
  offline.getText('text').delete(0, Math.min(5, offline.getText('text').length));
  for (const key of [...offline.getMap('map').keys()].slice(0, 2)) offline.getMap('map').delete(key);
  offline.getArray('list').delete(0, Math.min(3, offline.getArray('list').length));
  const emptied = [...made];
  for (let left = undo.undoStack.length; left > 0; left -= 1) undo.undo();
  return { emptied, undone: made.slice(emptied.length) };
}

const algebra = new Algebra(options.algebra);
let failed = false;
for (const [name, write] of Object.entries(WORKLOADS)) {
  const updates = workload(write);
  const collected = load([Y.mergeUpdatesV2(updates)]);
  const yjs = Y.encodeStateAsUpdateV2(collected).length;
  const merged = await algebra.must({ op: 'merge', updates: updates.map(hex) });
  const compacted = unhex(await algebra.must({ op: 'compact', update: merged }));
  const ratio = compacted.length / yjs;
  const faults = ratio > MOST ? ['too large'] : [];
  try {
    sameDocument('compacted', load([compacted]), describe(collected));
    const { emptied, undone } = later(updates);
    const before = await algebra.must({ op: 'merge', updates: [hex(compacted), ...emptied.map(hex)] });
    const again = unhex(await algebra.must({ op: 'compact', update: before }));
    const expected = describe(load([...updates, ...emptied, ...undone]));
    sameDocument('offline edits and undo', load([again, ...undone]), expected);
  } catch (error) {
    faults.push(error.message.slice(0, 500));
  }
  failed ||= faults.length > 0;
  const log = merged.length / 2;
  console.log(`${name}: ${updates.length} updates, merged ${log}, compacted ${compacted.length}, Yjs ${yjs}, ratio ${ratio.toFixed(3)} ${faults.join('; ')}`);
}
algebra.end();
process.exitCode = failed ? 1 : 0;
