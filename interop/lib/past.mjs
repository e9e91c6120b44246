/**
 * The passing of time, where the hub has no clock to turn: what is stored is moved into the past while it is stopped.
 * Python comes with SQLite, and the other suites need Python anyway.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';

const PYTHON = process.env.EPICENTER_PYTHON ?? 'python3';

const SCRIPT = `
import sqlite3, sys
changed = 0
for name in sys.argv[2:]:
    database = sqlite3.connect(name)
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'refresh_tokens'").fetchone():
        update = "UPDATE refresh_tokens SET rotated_at = rotated_at - ? WHERE rotated_at IS NOT NULL"
        changed += database.execute(update, (int(sys.argv[1]),)).rowcount
        database.commit()
    database.close()
sys.exit(0 if changed else "no rotated refresh token is stored")
`;

/** Every rotation so far was so much earlier. The hub is restarted for it. */
export async function moveRotationsIntoPast(hub, milliseconds) {
  await hub.stop();
  const databases = readdirSync(hub.dataDir)
    .filter((name) => /\.(sqlite3?|db)$/.test(name))
    .map((name) => path.join(hub.dataDir, name));
  const { status, stderr } = spawnSync(PYTHON, ['-c', SCRIPT, String(milliseconds), ...databases], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the past could not be changed: ${stderr}`);
  await hub.boot();
}
