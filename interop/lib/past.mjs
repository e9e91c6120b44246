/**
 * The passing of time, where the hub has no clock to turn: what is stored is moved into the past while it is stopped.
 * Python comes with SQLite, and the other suites need Python anyway.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';

const PYTHON = process.env.EPICENTER_PYTHON ?? 'python3';

const TIMES = {
  sessions: ['created_at', 'updated_at', 'expires_at', 'authenticated_at'],
  codes: ['expires_at', 'authenticated_at'],
  grants: ['created_at', 'expires_at', 'authenticated_at'],
  refresh_tokens: ['created_at', 'expires_at', 'rotated_at'],
};

const SCRIPT = `
import json, sqlite3, sys
database = sqlite3.connect(f"file:{sys.argv[1]}?mode=rw", uri=True)
for table, columns in json.loads(sys.argv[3]).items():
    changes = ", ".join(f"{column} = {column} - {int(sys.argv[2])}" for column in columns)
    database.execute(f"UPDATE {table} SET {changes}")
database.commit()
`;

/** All that is stored of sessions, codes and grants happened so much earlier. The hub is restarted for it. */
export async function moveIntoPast(hub, milliseconds) {
  await hub.stop();
  const database = path.join(hub.dataDir, 'identity.db');
  const args = ['-c', SCRIPT, database, String(milliseconds), JSON.stringify(TIMES)];
  const { status, stderr } = spawnSync(PYTHON, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the past could not be changed: ${stderr}`);
  await hub.boot();
}
