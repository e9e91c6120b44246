/**
 * The peer of `epicenter-bench update`: writes the inputs of its workloads into a folder, runs Yjs on them and prints what
 * each operation took, as JSON. Yjs has an operation for most; where it has none, what an application would do instead is
 * measured, and said in OPERATIONS.
 *
 *   node update/bench.mjs FOLDER LARGEST LIMIT
 *   node update/bench.mjs --operation NAME FILE
 *
 * LIMIT are seconds of the processors: an operation that needs more for one run is reported as `{"limit": LIMIT}`.
 * Every operation runs in a process of its own, so that its high-water mark of memory is its own.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as Y from 'yjs';
import { Rng } from '../lib/rng.mjs';

/** Updates that Yjs merges at once: its work grows with the square of this, so that a log is merged by parts. */
const AT_ONCE = 64;
/**
 * An operation is repeated for so much time of the processors. One run in ten may be faster than the one that counts: the
 * clock of a machine that is shared steps now and then.
 */
const SECONDS = 1;

function document(clientID) {
  const doc = new Y.Doc({ gc: false, guid: '' });
  doc.clientID = clientID;
  return doc;
}

function recorded(clientID, edit) {
  const doc = document(clientID);
  const updates = [];
  doc.on('updateV2', (update) => updates.push(update));
  edit(doc, new Rng(7));
  return updates;
}

const typed = (count) => () =>
  recorded(1234567890, (doc, rng) => {
    const text = doc.getText('body');
    let at = 0;
    for (let n = 0; n < count; n += 1) {
      // People type in a row, then move; now and then they delete.
      if (rng.chance(0.02)) at = rng.below(text.length + 1);
      if (rng.chance(0.05) && at > 0) text.delete((at -= 1), 1);
      else text.insert(at++, 'abcdefgh '[n % 9]);
    }
  });

/** A thousand entries of a map, each an update of exactly so many bytes: a copy of the document tells how long the value is. */
const entries = (size) => () =>
  recorded(1234567890, (doc) => {
    for (let n = 0; n < 1000; n += 1) {
      const length = (value) => {
        const copy = document(1);
        Y.applyUpdateV2(copy, Y.encodeStateAsUpdateV2(doc));
        copy.clientID = doc.clientID;
        let update;
        copy.on('updateV2', (bytes) => (update = bytes));
        copy.getMap('documents').set(`k${n % 10}`, value);
        return update.length;
      };
      let value = 'x'.repeat(size - length(''));
      while (length(value) > size) value = value.slice(1);
      while (length(value) < size) value += 'x';
      doc.getMap('documents').set(`k${n % 10}`, value);
    }
  });

const WORKLOADS = {
  'updates-43': entries(43),
  'updates-1024': entries(1024),
  'log-10000': typed(10_000),
  'log-100000': typed(100_000),
  'log-1000000': typed(1_000_000),
  'state-key-values': () => [
    Y.mergeUpdatesV2([
      nothing(),
      ...recorded(1234567890, (doc, rng) => {
        doc.transact(() => {
          for (let n = 0; n < 5000; n += 1) doc.getMap('table').set(`key ${n}`, { n, text: 'a value' });
          for (let n = 0; n < 20000; n += 1) doc.getMap('table').set(`key ${rng.below(5000)}`, { n, text: 'another' });
        });
      }),
    ]),
  ],
  'state-text': () => [inParts(typed(100_000)())],
};

const nothing = () => Y.encodeStateAsUpdateV2(new Y.Doc());

function inParts(updates) {
  let parts = updates;
  while (parts.length > 1) {
    const next = [];
    for (let at = 0; at < parts.length; at += AT_ONCE) next.push(Y.mergeUpdatesV2(parts.slice(at, at + AT_ONCE)));
    parts = next;
  }
  return parts[0];
}

function half(update) {
  const clocks = Y.decodeStateVector(Y.encodeStateVectorFromUpdateV2(update));
  return Y.encodeStateVector(new Map([...clocks].map(([client, clock]) => [client, Math.floor(clock / 2)])));
}

const OPERATIONS = {
  validate: (updates) => updates.forEach((update) => Y.decodeUpdateV2(update)),
  // A document that takes each update in, which is what a server on Yjs does.
  ingest: (updates) => {
    const doc = new Y.Doc({ guid: '' });
    for (const update of updates) Y.applyUpdateV2(doc, update);
  },
  merge: inParts,
  diff: ([update]) => Y.diffUpdateV2(update, half(update)),
  // A document that collects, and its state.
  compact: ([update]) => {
    const doc = new Y.Doc({ guid: '' });
    Y.applyUpdateV2(doc, update);
    return Y.encodeStateAsUpdateV2(doc);
  },
  to_v1: ([update]) => Y.convertUpdateFormatV2ToV1(update),
};

/** Each update behind its length, 32 bits little endian. */
function toFile(path, updates) {
  const parts = updates.flatMap((update) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(update.length);
    return [length, update];
  });
  writeFileSync(path, Buffer.concat(parts));
}

function fromFile(path) {
  const bytes = readFileSync(path);
  const updates = [];
  for (let at = 0; at < bytes.length;) {
    const length = bytes.readUInt32LE(at);
    updates.push(new Uint8Array(bytes.subarray(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  return updates;
}

/** Of all threads of this process, so that collecting garbage counts. */
function processorTime() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function measure(operation, path) {
  const updates = fromFile(path);
  const before = process.resourceUsage().maxRSS;
  const begin = processorTime();
  const times = [];
  let memory;
  do {
    const start = processorTime();
    OPERATIONS[operation](updates);
    times.push(processorTime() - start);
    // Of one run: what the next ones leave behind is not the operation's.
    memory ??= (process.resourceUsage().maxRSS - before) * 1024;
  } while (processorTime() - begin < SECONDS);
  times.sort((left, right) => left - right);
  return { seconds: times[Math.floor(times.length / 10)], memory };
}

const [first, second, third] = process.argv.slice(2);
if (first === '--operation') {
  console.log(JSON.stringify(measure(second, third)));
} else {
  const limit = Number(third);
  const results = {};
  for (const [name, make] of Object.entries(WORKLOADS)) {
    const size = Number(name.split('-')[1]);
    if (name.startsWith('log') && size > Number(second)) continue;
    const path = `${first}/${name}`;
    toFile(path, make());
    const wanted = name.startsWith('state') ? ['validate', 'diff', 'compact', 'to_v1'] : ['validate', 'ingest', 'merge'];
    for (const operation of wanted) {
      // The shell sets the limit: Node cannot.
      const limited = ['-c', `ulimit -t ${limit}; exec "$0" "$@"`, process.execPath];
      const child = spawnSync('sh', [...limited, fileURLToPath(import.meta.url), '--operation', operation, path], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const isOver = child.signal === 'SIGXCPU' || child.signal === 'SIGKILL';
      if (child.status !== 0 && !isOver) throw new Error(`${name} ${operation} ended with ${child.status ?? child.signal}`);
      const result = isOver ? { limit } : JSON.parse(child.stdout);
      (results[name] ??= {})[operation] = result;
    }
  }
  console.log(JSON.stringify(results));
}
