/** Python's Authlib, unmodified, against the hub; `EPICENTER_PYTHON` names an interpreter that has it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Hub, PASSWORD } from '../lib/hub.mjs';
import { CLIENTS, oauthConfig } from '../lib/oauth.mjs';

const PYTHON = process.env.EPICENTER_PYTHON ?? 'python3';
const SCRIPT = fileURLToPath(new URL('../python/authlib_client.py', import.meta.url));
const EMAIL = 'ada@example.com';

const hub = await Hub.start({ publicOrigin: null, config: oauthConfig() });
after(() => hub.dispose());
await hub.addUser(EMAIL, { admin: true });

async function runPython(input) {
  const child = spawn(PYTHON, [SCRIPT], { stdio: ['pipe', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  child.stderr.on('data', (chunk) => (stderr += chunk));
  child.stdin.end(JSON.stringify(input));
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const hint = /No module named/.test(stderr)
    ? 'hint: python3 -m venv target/python && target/python/bin/pip install -r interop/python/requirements.txt, then set EPICENTER_PYTHON'
    : '';
  assert.equal(code, 0, `${stderr}${hint}`);
  return JSON.parse(stdout);
}

for (const { id, redirectUri, secret } of [CLIENTS.spa, CLIENTS.site]) {
  test(`Authlib as ${secret ? 'a confidential' : 'a public'} app`, async () => {
    const seen = await runPython({
      origin: hub.origin,
      email: EMAIL,
      password: PASSWORD,
      client_id: id,
      redirect_uri: redirectUri,
      client_secret: secret,
    });
    assert.equal(seen.email, EMAIL);
    assert.deepEqual(seen.session.user, { id: seen.sub, email: EMAIL });
    assert.equal(seen.session.keyring.length, 1);
  });
}
