/**
 * Gapped histories: updates of three people shuffled, lost and sent later, delivered twice, over sockets and HTTP, with a
 * restart of the hub at a random point of each. `HISTORIES` and `SEED` choose how many and from which seed.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { History } from '../lib/histories.mjs';
import { hubWithUser } from '../lib/hub.mjs';
import { inParallel } from '../lib/waiting.mjs';

const HISTORIES = Number(process.env.HISTORIES ?? 2000);
const FIRST_SEED = Number(process.env.SEED ?? 1);
const BATCH = 100;
const WIDTH = 100;
/** One person may have 256 connections, so the histories are spread over several. */
const USERS = 4;

const { hub, user } = await hubWithUser(after);
const users = [user];
while (users.length < USERS) users.push(await hub.user(`user${users.length}@example.com`));

const failures = [];

/** Runs one half of a history; a failing one is noted with the command that repeats it. */
async function attempt(history, half) {
  if (failures.some(({ seed }) => seed === history.seed)) return;
  try {
    await history[half]();
  } catch (error) {
    failures.push({ seed: history.seed, error });
  }
}

/** An even seed is restarted by kill -9, an odd one gracefully, so that a seed alone repeats its history. */
function batches() {
  const seeds = Array.from({ length: HISTORIES }, (_, index) => FIRST_SEED + index);
  return ['SIGKILL', 'SIGTERM'].flatMap((signal, parity) => {
    const chosen = seeds.filter((seed) => seed % 2 === parity);
    const count = Math.ceil(chosen.length / BATCH);
    const batch = (index) => chosen.slice(index * BATCH, (index + 1) * BATCH);
    return Array.from({ length: count }, (_, index) => ({ signal, seeds: batch(index) }));
  });
}

for (const { signal, seeds } of batches()) {
  test(`histories ${seeds[0]} to ${seeds.at(-1)} across ${signal}`, async () => {
    const histories = seeds.map((seed) => new History(seed, users[(seed >> 1) % USERS]));
    await inParallel(histories, WIDTH, (history) => attempt(history, 'run'));
    await hub.restart(signal);
    await inParallel(histories, WIDTH, (history) => attempt(history, 'resume'));
    const failed = failures.filter(({ seed }) => seeds.includes(seed));
    const report = failed.map(
      ({ seed, error }) =>
        `history ${seed}: ${error.message.slice(0, 1000)}\n` +
        `  repeat with: SEED=${seed} HISTORIES=1 node --test tests/histories.test.mjs`,
    );
    assert.equal(failed.length, 0, report.join('\n'));
  });
}
