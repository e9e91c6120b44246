/** A hub that browsers reach, an app beside it, and the forms that people fill in. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Hub } from '../../lib/hub.mjs';

export const EMAIL = 'ada@example.com';
export const PASSWORD = 'a long and winding phrase 4711';
const SETUP_LINK_DEADLINE_MS = 10_000;
const POLL_MS = 20;

/** What is to be ended when a suite is over, the newest first. */
export function endings(after) {
  const ends = [];
  after(async () => {
    for (const end of ends.reverse()) await end();
  });
  return (end) => ends.push(end);
}

/** An app's server that shows what comes back to it. */
async function startApp(later) {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>app</title><p>back in the app</p>');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  later(() => server.close());
  return `http://127.0.0.1:${server.address().port}/cb`;
}

/** An empty hub on its own address with an app that the operator trusts and one that he does not. */
export async function openScene(later, { signUp = 'open' } = {}) {
  const callback = await startApp(later);
  const client = (id, name, trusted) => `
[[oauth.clients]]
id = "${id}"
name = "${name}"
type = "user-agent-based"
redirect_uris = ["${callback}"]
trusted = ${trusted}
`;
  const config = `
[sign_up]
policy = "${signUp}"
${client('fuji', 'Fuji', true)}${client('notes', 'Meadow Notes', false)}`;
  const hub = await Hub.start({ publicOrigin: null, config });
  later(() => hub.dispose());
  return { hub, callback };
}

/** The link that a hub without accounts leaves in its data directory. */
export async function setupLink(hub) {
  const file = path.join(hub.dataDir, 'setup-link');
  // It is written beside the hub that listens already, in one piece.
  const deadline = Date.now() + SETUP_LINK_DEADLINE_MS;
  for (;;) {
    const text = await readFile(file, 'utf8').catch(() => '');
    const link = /\S+#t=\S+/.exec(text)?.[0];
    if (link) return link;
    assert.ok(Date.now() < deadline, `no link in ${file}: ${JSON.stringify(text)}\n${hub.log}`);
    await setTimeout(POLL_MS);
  }
}

/** The address at which an app begins; with the verifier for its code. */
export function authorizeUrl(hub, clientId, redirectUri, more = {}) {
  const verifier = randomBytes(32).toString('base64url');
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: clientId,
    redirect_uri: redirectUri,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    resource: hub.origin,
    state: 'st-1',
    ...more,
  });
  return { url: `${hub.origin}/auth/oauth2/authorize?${query}`, verifier };
}

export function cliCallback(hub) {
  return `${hub.origin}/auth/cli-callback`;
}

export async function exchange(hub, { code, verifier, clientId, redirectUri }) {
  const response = await fetch(`${hub.origin}/auth/oauth2/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      client_id: clientId,
      redirect_uri: redirectUri,
      resource: hub.origin,
    }),
  });
  return { status: response.status, body: await response.json() };
}

export async function fillSignIn(page, { email = EMAIL, password = PASSWORD } = {}) {
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(password);
}

export async function heading(page, text) {
  await page.getByRole('heading', { level: 1, name: text, exact: true }).waitFor();
}

export function button(page, name) {
  return page.getByRole('button', { name, exact: true });
}
