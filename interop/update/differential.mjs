/**
 * The update algebra beside Yjs, with Yjs as the judge.
 *
 *   node update/differential.mjs --algebra PATH [--seeds N] [--first N] [--mutations N] [--workers N] [--vectors DIR]
 *   node update/differential.mjs --algebra PATH --plan FILE
 *
 * Random concurrent histories go through every operation of the crate: checked, merged, compared, delivered to a model of a
 * room in any order, twice, with gaps, reloaded and compacted anywhere, converted and hashed. After each step a document of
 * Yjs holds the same content, clocks and deletions. Broken input is classified as Yjs classifies it. A history that fails is
 * made smaller and printed as a plan; `named.json` holds plans that failed once.
 */
import { fork } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Algebra, hex, unhex } from './differential/algebra.mjs';
import { classify } from './differential/broken.mjs';
import { check } from './differential/checks.mjs';
import { draw, write } from './differential/histories.mjs';
import { keyValueCases } from './differential/key-values.mjs';
import { faultOf, shrink } from './differential/shrink.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const { values: options } = parseArgs({
  options: {
    algebra: { type: 'string' },
    seeds: { type: 'string', default: '1000' },
    first: { type: 'string', default: '1' },
    mutations: { type: 'string', default: '3' },
    workers: { type: 'string', default: '2' },
    vectors: { type: 'string', default: here('../../vectors') },
    plan: { type: 'string' },
    worker: { type: 'boolean', default: false },
  },
});
if (!options.algebra) throw new Error('--algebra PATH is required: the built example `algebra`');

/** Histories under way at once in one worker, so that neither side of the pipe waits for the other. */
const AT_ONCE = 16;
/** After so many failures a run ends: there is enough to look at. */
const ENOUGH = 5;

const counts = { ok: 0, malformed: 0, refused: 0, laterThrow: 0, noV1: 0, cutCharacters: 0, largest: 0 };
let failed = 0;

function report(name, error, plan) {
  failed += 1;
  console.log(`FAILED ${name}: ${error.message.slice(0, 3000)}`);
  if (plan) {
    console.log(`plan: ${JSON.stringify(plan)}`);
    for (const update of write(plan).updates) console.log(`  update ${hex(update)}`);
  }
}

async function faultIn(algebra, plan) {
  try {
    await check(algebra, write(plan), plan.seed, Number(options.mutations), { ...counts });
    return null;
  } catch (error) {
    return error;
  }
}

async function runSeed(algebra, seed) {
  const plan = draw(seed);
  try {
    await check(algebra, write(plan), seed, Number(options.mutations), counts);
  } catch (error) {
    const fault = faultOf(error);
    const smallest = await shrink(plan, async (candidate) => {
      const other = await faultIn(algebra, candidate);
      return other !== null && faultOf(other) === fault;
    });
    report(`seed ${seed}`, (await faultIn(algebra, smallest)) ?? error, smallest);
  }
}

async function runSeeds(algebra, first, last, stride) {
  let next = first;
  const line = async () => {
    while (next < last && failed < ENOUGH) {
      const seed = next;
      next += stride;
      await runSeed(algebra, seed);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, line));
}

/** What is in files: plans that failed once, hostile vectors, key-value stores. */
async function runFiles(algebra) {
  for (const { name, plan } of JSON.parse(readFileSync(here('differential/named.json'), 'utf8'))) {
    const error = await faultIn(algebra, plan);
    if (error) report(name, error);
  }
  const casesOf = (name) => {
    const path = `${options.vectors}/${name}`;
    return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).cases : [];
  };
  for (const { id, hex: bytes, kind } of casesOf('hostile-updates.json')) {
    if (kind === 'hostile' && bytes) await classify(algebra, unhex(bytes), counts).catch((error) => report(id, error));
  }
  await keyValueCases(algebra, casesOf('kv-lww.json'), report);
}

// Yjs reports faults of half-integrated documents on the console; every fault that counts is thrown.
console.warn = console.error = () => {};

const first = Number(options.first);
const last = first + Number(options.seeds);
const workers = Number(options.workers);

if (options.worker) {
  const algebra = new Algebra(options.algebra);
  await runSeeds(algebra, first, last, workers);
  algebra.end();
  process.send({ failed, counts }, () => process.disconnect());
} else if (options.plan) {
  const algebra = new Algebra(options.algebra);
  const plan = JSON.parse(readFileSync(options.plan, 'utf8'));
  const error = await faultIn(algebra, plan);
  if (error) report(options.plan, error, plan);
  algebra.end();
  process.exitCode = error ? 1 : 0;
} else {
  const started = performance.now();
  const results = Array.from({ length: workers }, (_, index) => runWorker(index));
  const algebra = new Algebra(options.algebra);
  await runFiles(algebra);
  algebra.end();
  await Promise.all(results);
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  counts.largest = counts.largest.toFixed(3);
  console.log(`seeds ${first}..${last - 1}: ${failed} failed in ${seconds} s; ${JSON.stringify(counts)}`);
  process.exitCode = failed === 0 ? 0 : 1;
}

function runWorker(index) {
  const own = ['--worker', '--first', String(first + index), '--seeds', String(last - first - index)];
  const given = ['algebra', 'mutations', 'workers'].flatMap((name) => [`--${name}`, options[name]]);
  const child = fork(here('differential.mjs'), [...own, ...given], { stdio: 'inherit' });
  return new Promise((resolve) => {
    let result = null;
    child.on('message', (message) => {
      result = message;
    });
    child.on('exit', (code, signal) => {
      if (!result) {
        console.log(`FAILED: worker ${index} ended with ${code ?? signal}`);
        failed += 1;
      } else {
        failed += result.failed;
        for (const [name, count] of Object.entries(result.counts)) {
          counts[name] = name === 'largest' ? Math.max(counts[name], count) : counts[name] + count;
        }
      }
      resolve();
    });
  });
}
