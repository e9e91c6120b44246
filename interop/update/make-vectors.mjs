/**
 * Writes `vectors/update-forms.json`: the same updates in both encodings, and histories with the state that a document of
 * Yjs with `gc: true` holds after them. Everything is made by Yjs with fixed client ids, so that running this again changes
 * nothing.
 *
 *   node update/make-vectors.mjs
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as Y from 'yjs';

const hex = (bytes) => Buffer.from(bytes).toString('hex');

function document(clientID, gc = true) {
  const doc = new Y.Doc({ gc, guid: 'fixed' });
  doc.clientID = clientID;
  return doc;
}

function form(id, note, edit) {
  const doc = document(7);
  edit(doc);
  return { id, note, v1: hex(Y.encodeStateAsUpdate(doc)), v2: hex(Y.encodeStateAsUpdateV2(doc)) };
}

const json = {
  text: 'quotes " and \\ and / and \u0000\u001f\u2028 and ключ 😀',
  numbers: [0, 1, -1, 0.1, 1.5e-10, 1e-7, 123456789012, 2 ** 31, -(2 ** 31), 2 ** 53, 1e21, 1.5e300, 5e-324],
  half: 0.5,
  10: 'ten',
  9: 'nine',
  '01': 'no index',
  empty: [{}, [], ''],
  no: [null, true, false],
};

const forms = [
  form('empty', 'no structs and no deletes', () => {}),
  form('map-values', 'every kind of value in a map', (doc) => {
    const map = doc.getMap('m');
    doc.transact(() => {
      map.set('undefined', undefined);
      map.set('null', null);
      map.set('yes', true);
      map.set('no', false);
      map.set('integer', -5);
      map.set('zero', -0);
      map.set('float', 0.5);
      map.set('double', 0.1);
      map.set('nan', NaN);
      map.set('big', -(2n ** 63n));
      map.set('text', 'déjà 😀');
      map.set('bytes', new Uint8Array([0, 255]));
      map.set('json', json);
      map.set('', 'no name');
    });
  }),
  form('array', 'values in a row, and one deleted between them', (doc) => {
    doc.getArray('a').insert(0, [1, 'two', [3], { four: 4 }, new Uint8Array([5])]);
    doc.getArray('a').delete(1, 1);
  }),
  form('text', 'letters, a cut character, formats and embeds', (doc) => {
    const text = doc.getText('t');
    text.insert(0, 'ab😀cd');
    text.insert(3, 'x');
    text.format(0, 2, { bold: true, 'link to': { href: 'a', n: [1, 0.1, null] } });
    text.insertEmbed(1, json);
    text.delete(5, 1);
  }),
  form('types', 'every kind of shared type below another', (doc) => {
    const map = doc.getMap('m');
    map.set('array', new Y.Array());
    map.set('map', new Y.Map([['k', 1]]));
    map.set('text', new Y.Text('t'));
    map.set('element', new Y.XmlElement('p'));
    map.set('fragment', new Y.XmlFragment());
    map.set('hook', new Y.XmlHook('h'));
    map.set('xml-text', new Y.XmlText('x'));
    map.get('element').setAttribute('class', 'c');
    map.get('element').insert(0, [new Y.XmlText('inside')]);
    map.get('map').set('deep', new Y.Map());
    map.delete('array');
  }),
  form('subdocument', 'a document in a map and one in an array', (doc) => {
    doc.getMap('m').set('d', new Y.Doc({ guid: 'one', meta: { n: 1 } }));
    doc.getArray('a').insert(0, [new Y.Doc({ guid: 'two', autoLoad: true })]);
  }),
  form('large-clients', 'ids and clocks of several bytes', (doc) => {
    doc.getText('t').insert(0, 'x'.repeat(300));
    const other = document(2 ** 53 - 1);
    Y.applyUpdateV2(other, Y.encodeStateAsUpdateV2(doc));
    other.getText('t').insert(200, 'y');
    other.getText('t').delete(10, 250);
    Y.applyUpdateV2(doc, Y.encodeStateAsUpdateV2(other));
  }),
  (() => {
    const doc = document(7);
    const updates = [];
    doc.on('updateV2', (update) => updates.push(update));
    for (const word of ['one', 'two', 'three', 'four']) doc.getText('t').insert(0, word);
    const v2 = Y.mergeUpdatesV2([updates[0], updates[2]]);
    return { id: 'gap', note: 'clocks 3 to 5 are missing', v1: hex(Y.convertUpdateFormatV2ToV1(v2)), v2: hex(v2) };
  })(),
];

/** What clients wrote, offline from each other, and what a collecting document makes of it. */
function history(id, note, ...authors) {
  const updates = [];
  const docs = authors.map((edit, index) => {
    const doc = document(5 + 4 * index, false);
    doc.on('updateV2', (update, origin) => origin !== 'remote' && updates.push(update));
    return [doc, edit];
  });
  // Each author may name a step at which all have seen everything.
  const sync = () => {
    for (const update of [...updates]) for (const [doc] of docs) Y.applyUpdateV2(doc, update, 'remote');
  };
  const steps = Math.max(...authors.map((edit) => edit.length));
  for (let step = 0; step < steps; step += 1) {
    for (const [doc, edit] of docs) edit[step]?.(doc);
    sync();
  }
  const state = document(1);
  state.transact(() => {
    for (const update of updates) Y.applyUpdateV2(state, update);
  });
  return {
    id,
    note,
    updates: updates.map(hex),
    state: hex(Y.encodeStateAsUpdateV2(state)),
  };
}

const histories = [
  history('overwrites', 'two clients overwrite the same keys, also offline', [
    (doc) => { for (let n = 0; n < 40; n += 1) doc.getMap('m').set(`k${n % 7}`, n); },
    (doc) => doc.getMap('m').set('k1', 'late'),
  ], [
    (doc) => { for (let n = 0; n < 30; n += 1) doc.getMap('m').set(`k${n % 5}`, -n); },
    (doc) => doc.getMap('m').delete('k2'),
  ]),
  history('text', 'a text with deletions, and typing where others delete', [
    (doc) => doc.getText('t').insert(0, 'The quick brown fox 😀 jumps over the lazy dog'),
    (doc) => doc.getText('t').delete(4, 22),
  ], [
    () => {},
    (doc) => doc.getText('t').insert(10, 'red '),
    (doc) => doc.getText('t').delete(0, 3),
  ]),
  history('nested', 'types below types, deleted at each depth', [
    (doc) => {
      const map = doc.getMap('m');
      for (const name of ['a', 'b', 'c']) {
        map.set(name, new Y.Map());
        map.get(name).set('list', new Y.Array());
        map.get(name).get('list').insert(0, [new Y.Map([['n', 1]]), 'x', new Y.Text('deep')]);
      }
    },
    (doc) => {
      doc.getMap('m').delete('a');
      doc.getMap('m').get('b').delete('list');
      doc.getMap('m').get('c').get('list').delete(0, 1);
    },
  ], [
    () => {},
    (doc) => {
      doc.getMap('m').get('a').get('list').insert(0, ['offline']);
      doc.getMap('m').get('c').get('list').get(0).set('n', 2);
    },
  ]),
  history('same-nested-key', 'two clients make the same nested map offline and fill it', [
    (doc) => {
      doc.getMap('m').set('settings', new Y.Map());
      doc.getMap('m').get('settings').set('theme', 'dark');
    },
    (doc) => doc.getMap('m').get('settings').set('size', 2),
  ], [
    (doc) => {
      doc.getMap('m').set('settings', new Y.Map());
      doc.getMap('m').get('settings').set('theme', 'light');
      doc.getMap('m').get('settings').set('theme', 'blue');
    },
  ]),
  history('undo', 'what was deleted is brought back', [
    (doc) => {
      doc.getMap('m').set('k', new Y.Map([['inner', new Y.Text('kept')]]));
      doc.getText('t').insert(0, 'undo me');
    },
    (doc) => {
      const undo = new Y.UndoManager([doc.getMap('m'), doc.getText('t')], { captureTimeout: 0 });
      doc.getMap('m').delete('k');
      doc.getText('t').delete(0, 4);
      undo.undo();
      undo.undo();
      undo.redo();
    },
  ], [() => {}]),
];

const { version } = JSON.parse(readFileSync(new URL('../node_modules/yjs/package.json', import.meta.url), 'utf8'));
const file = {
  about:
    'Made by interop/update/make-vectors.mjs. "cases" are one update in both encodings, as Yjs writes it. "histories" are V2 updates of clients that collect nothing, and the V2 state of a document with gc: true that got them all.',
  made_with: { yjs: version },
  cases: forms,
  histories,
};
writeFileSync(fileURLToPath(new URL('../../vectors/update-forms.json', import.meta.url)), `${JSON.stringify(file, null, 1)}\n`);
