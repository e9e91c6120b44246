/** A few rounds of the durability harness; `node kill.mjs` runs a hundred. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TABLE_HEAD, killRounds, tableLine, verdict } from '../kill.mjs';

test('kill -9 under load loses nothing that anybody had received', async (t) => {
  t.diagnostic(TABLE_HEAD);
  const rows = await killRounds({
    rounds: Number(process.env.ROUNDS ?? 5),
    seed: Number(process.env.SEED ?? 1),
    onRow: (row) => t.diagnostic(tableLine(row)),
  });
  const { problems, summary } = verdict(rows);
  t.diagnostic(summary);
  assert.deepEqual(problems, []);
});
