/**
 * The house's keys: whatever the provider does with them, they are in nothing that the hub writes. Logs at their most
 * talkative, the page of metrics, every response, every file of the data directory.
 */
import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { ScriptedProvider, hubOptions } from '../lib/ai-provider.mjs';
import { hubWithUser } from '../lib/hub.mjs';
import { loadVectorFolder } from '../lib/vectors.mjs';

const CANARIES = { OPENAI_API_KEY: 'sk-canary-5f1c', GEMINI_API_KEY: 'AIza-canary-77aa', ANTHROPIC_API_KEY: 'sk-ant-canary-09', COMPATIBLE_KEY: 'plain-canary-e4' };
const OWN_KEY = 'own-canary-b3';
const QUESTION = 'what-only-the-person-knows';
const MODELS = {
  openai: 'gpt-4o-mini',
  gemini: 'gemini-2.5-flash',
  anthropic: 'claude-sonnet-4-5',
  'openai-chat-completions': 'gpt-4o-mini',
};

const provider = await ScriptedProvider.start();
after(() => provider.close());
const { config } = hubOptions(provider);
const { hub, user } = await hubWithUser(after, {
  config: `log.level = "trace"\nadmin.listen = "127.0.0.1:0"\n${config}`,
  env: CANARIES,
  keptLogBytes: Infinity,
});

const everything = [];

async function ask(name, { apiKey, model = MODELS[name] } = {}) {
  const messages = [{ role: 'user', content: QUESTION }];
  const body = Buffer.from(JSON.stringify({ messages, data: { provider: name, model }, apiKey }));
  const answer = await user.request('POST', '/api/ai/chat', { body, headers: { 'Content-Type': 'application/json' } });
  everything.push(JSON.stringify(answer.headers), answer.text());
  return answer;
}

/** What a provider may say that has just been sent a key. */
function telltales(key) {
  const json = { 'content-type': 'application/json' };
  const stream = { 'content-type': 'text/event-stream' };
  const error = { error: { message: `Bad key ${key} (Bearer ${key}) of "${key}".`, code: key, type: key, status: key } };
  const bodies = [JSON.stringify(error), JSON.stringify([error]), JSON.stringify({ message: key, detail: key }), key, `<h1>${key}</h1>`];
  const refusals = [400, 401, 403, 404, 418].flatMap((status) =>
    bodies.map((body) => ({ status, headers: { ...json, 'x-key': key, location: `http://127.0.0.1:9/${key}` }, body, end: 'close' })),
  );
  const text = JSON.stringify({ choices: [{ delta: { content: 'hello' } }], candidates: [{ content: { parts: [{ text: 'hello' }] } }] });
  const streams = [`data: ${JSON.stringify(error)}\n\n`, `data: ${text}\n\ndata: ${JSON.stringify(error)}\n\n`, `${JSON.stringify(error)}\n`, `data: ${key}\n\n`, `: ${key}\n`];
  return [
    ...refusals,
    ...streams.map((body) => ({ status: 200, headers: { ...stream, 'x-key': key }, body, end: 'close' })),
    ...streams.map((body) => ({ status: 200, headers: stream, body, end: 'connection reset after the body' })),
  ];
}

/** What a file holds; one that is gone since it was listed, as the link to the first account soon is, holds nothing. */
const contentsOf = (file) =>
  readFile(file, 'latin1').catch((error) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });

async function filesBelow(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath ?? entry.path, entry.name));
}

test('keys and questions are in nothing that the hub writes', async () => {
  const keys = Object.values(CANARIES);
  for (const [index, name] of Object.keys(MODELS).entries()) {
    for (const reply of telltales(keys[index])) {
      provider.play([reply]);
      await ask(name);
      assert.equal(provider.requests.length, 1, `${name}: ${JSON.stringify(reply)}`);
      assert.ok(JSON.stringify(provider.requests[0].headers).includes(keys[index]), 'the provider got the key');
    }
  }
  for (const reply of telltales(OWN_KEY)) {
    provider.play([reply]);
    await ask('openai-chat-completions', { apiKey: OWN_KEY });
    assert.equal(provider.requests[0].headers.authorization, `Bearer ${OWN_KEY}`);
  }
  // Refusals of the hub's own, good answers, and a provider that is not there.
  await ask('openai', { apiKey: OWN_KEY });
  await ask('openai', { apiKey: OWN_KEY, model: 'nope' });
  const scenarios = loadVectorFolder('ai');
  for (const [name, scenario] of [['openai', 'openai-text-single'], ['gemini', 'gemini-text-single']]) {
    provider.play(scenarios.get(scenario).upstream);
    const answer = await ask(name);
    assert.equal(answer.status, 200);
    assert.match(answer.text(), /\[DONE\]/);
  }
  provider.close();
  assert.equal((await ask('gemini')).status, 502);
  const models = await user.request('GET', '/api/ai/models');
  everything.push(models.text());

  const served = /"metrics are served","address":"([^"]+)"/.exec(hub.log);
  const metrics = await (await fetch(`http://${served[1]}/metrics`)).text();
  assert.match(metrics, /epicenter_http_requests_total/);
  everything.push(metrics);
  const files = await filesBelow(hub.folder);
  assert.ok(files.some((file) => file.includes('identity.db')), files.join(' '));
  const look = async (what) => {
    const places = [['the log', hub.log], ['stdout', hub.stdout()], ['a response or metrics', everything.join('\n')]];
    for (const file of await filesBelow(hub.folder)) places.push([file, await contentsOf(file)]);
    for (const secret of [...keys, OWN_KEY, QUESTION]) {
      for (const [place, text] of places) assert.ok(!text.includes(secret), `${secret} is in ${place} ${what}`);
    }
  };
  await look('while it runs');
  assert.ok(hub.log.length > 10_000, 'the log is talkative');
  await hub.restart('SIGTERM');
  await look('after a restart');
});
