/**
 * Every scenario of `vectors/ai` through the running hub, asked by the stock clients of both generations: what the provider
 * is asked, what the hub sends, and what the client makes of it. Tools run in the client, and the conversation goes on
 * until the client rests.
 */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Chat, GENERATIONS } from '../lib/ai-clients.mjs';
import { KEYS, ScriptedProvider, hubOptions } from '../lib/ai-provider.mjs';
import { hubWithUser } from '../lib/hub.mjs';
import { Placeholders } from '../lib/placeholders.mjs';
import { loadVectorFolder } from '../lib/vectors.mjs';

const provider = await ScriptedProvider.start();
after(() => provider.close());
const { hub, user } = await hubWithUser(after, hubOptions(provider));

const SCENARIOS = loadVectorFolder('ai');
const TOOLS = {
  get_weather: () => ({ c: 4 }),
  files_search: () => ['a.md'],
  tabs_close: () => ({ closed: 1 }),
  now: () => 'noon',
};
/** What the model says to the results of tools: a scenario of the same protocol, and its text. */
const FOLLOW_UPS = {
  openai: ['openai-text-single', 'Hello!'],
  gemini: ['gemini-text-single', 'Hello!'],
  anthropic: ['extra-anthropic-text', 'Hello'],
  'openai-chat-completions': ['extra-completions-text', 'Hello'],
};
const followUp = (data) => SCENARIOS.get(FOLLOW_UPS[data.provider][0]).upstream[0];
/** Of every scenario that the hub's part is written down for. */
const withHub = [...SCENARIOS].filter(([, { hub: expect }]) => expect);
/** Other protocols: `[text, thinking, calls, how it ends]`. */
const OTHERS = {
  'extra-anthropic-error-midstream': ['Pa', '', 0, 'overloaded_error'],
  'extra-anthropic-max-tokens': ['Once', '', 0, 'length'],
  'extra-anthropic-text': ['Hello', '', 0, 'stop'],
  'extra-anthropic-thinking': ['Four', 'Hmm.', 0, 'stop'],
  'extra-anthropic-tool-parallel': ['Let me look.', '', 2, 'tool_calls'],
  'extra-completions-content-filter': ['I', '', 0, 'content_filter'],
  'extra-completions-error-chunk': ['Pa', '', 0, 'overloaded'],
  'extra-completions-length': ['Once', '', 0, 'length'],
  'extra-completions-no-done': ['Par', '', 0, 'upstream_truncated'],
  'extra-completions-reasoning': ['Four', 'Hmm.', 0, 'stop'],
  'extra-completions-reasoning-content': ['Four', 'Hmm.', 0, 'stop'],
  'extra-completions-refusal': ['', '', 0, 'refusal'],
  'extra-completions-text': ['Hello', '', 0, 'stop'],
  'extra-completions-tool-finish-stop': ['', '', 1, 'tool_calls'],
  'extra-completions-tool-onechunk-ollama': ['', '', 1, 'tool_calls'],
  'extra-completions-tool-parallel': ['', '', 2, 'tool_calls'],
};

/**
 * The hub asks the model a second time within the response. The pinned client looks at the conversation when the response
 * ends, whether or not it has taken in all of it: should the second answer come in one burst, it may ask once more. So the
 * provider takes its time, as models do.
 */
const ASKED_AGAIN = ['openai-tool-unknown', 'openai-tool-none-declared'];

/** Where the current client says something else than the pinned one, the expectation follows it. */
const CURRENT = {
  // It names its own thread.
  'openai-req-options': nameOwnThread,
  'gemini-req-options': nameOwnThread,
  // It joins the texts of a turn that the result of a tool stands between; nobody can part them again.
  'openai-req-history-tools': ({ upstreamRequests: [{ body }] }) => {
    const [later] = body.input.splice(4, 1);
    body.input[2].content += later.content;
  },
  'gemini-req-history-tools': ({ upstreamRequests: [{ body }] }) => {
    const [later, next] = body.contents.splice(3, 2);
    body.contents[1].parts[0].text += later.parts[0].text;
    body.contents[2].parts.push(...next.parts);
  },
};

function nameOwnThread({ events }) {
  for (const event of events) if (event.threadId) event.threadId = '<thread-1>';
}

function expectationOf(name, { hub: expect }, { isCurrent }) {
  const own = structuredClone(expect);
  if (isCurrent) CURRENT[name]?.(own);
  return own;
}

/** A client with the history of a scenario, whose last message is yet to be asked. */
function begin(generation, { messages, data, apiKey }, test) {
  const chat = new Chat(generation, user, { data, apiKey, history: messages.slice(0, -1), tools: TOOLS });
  test.after(() => chat.dispose());
  chat.historyLength = messages.length;
  return chat;
}

function assertAsked(expected) {
  const seen = provider.requests.slice(0, expected.length);
  assert.equal(seen.length, expected.length, `${seen.length} requests reached the provider`);
  const placeholders = new Placeholders();
  for (const [index, expect] of expected.entries()) {
    const { method, url, body, headers } = seen[index];
    const named = Object.keys(expect.headers).map((name) => [name, headers[name]]);
    const actual = { method, url, headers: Object.fromEntries(named), body };
    assert.equal(placeholders.difference(expect, actual), undefined, `request ${index + 1}`);
  }
}

/** What the client shows is what the events said, and the text of what came after the tools ran. */
function assertShown(chat, events, after) {
  const joined = (type) => events.filter((event) => event.type === type).map(({ delta }) => delta).join('');
  assert.equal(chat.text(), joined('TEXT_MESSAGE_CONTENT') + after);
  assert.equal(chat.text('thinking'), joined('REASONING_MESSAGE_CONTENT'));
  const calls = events.filter(({ type }) => type === 'TOOL_CALL_START').map(({ toolCallId: id, toolName: name }) => {
    const deltas = events.filter(({ type, toolCallId }) => type === 'TOOL_CALL_ARGS' && toolCallId === id);
    return { id, name, arguments: deltas.map(({ delta }) => delta).join('') };
  });
  assert.deepEqual(
    chat.parts('tool-call').map(({ id, name, arguments: input }) => ({ id, name, arguments: input })),
    calls,
  );
}

function assertFailed(chat, message) {
  assert.equal(chat.client.status, 'error');
  assert.deepEqual(chat.errors.map((error) => error.message), [message], 'an error is told once');
  assert.equal(chat.client.error.message, message);
  assert.deepEqual(chat.finished, [], 'a run that failed has not finished');
  assert.equal(chat.posts.length, 1);
}

/** Errors before the first byte are HTTP errors, whose envelope holds what the scenario shows as an event. */
function assertRefused(chat, scenario) {
  const [{ status, error }] = chat.posts;
  const { status: said } = scenario.upstream[scenario.hub.upstreamRequests.length - 1];
  const expected = { 429: [429, 'ProviderRateLimited'], 404: [400, 'UnknownModel'], 400: [400, 'InvalidRequest'] };
  assert.deepEqual([status, error.name], expected[said] ?? [502, 'ProviderUnavailable']);
  const { message, code } = scenario.hub.events.at(-1);
  assert.ok(error.message.includes(message.replace(/^\d+ /, `${said}: `)), error.message);
  assert.equal(error.providerCode, code);
  assert.equal(chat.client.status, 'error');
  assert.equal(chat.errors.length, 1);
  assert.match(chat.client.error.message, new RegExp(`^HTTP error! status: ${status} `));
}

/** A key of the caller's own goes to the provider's public address only, and this one is elsewhere. */
function assertOwnKeyRefused(chat, apiKey) {
  const [{ status, error }] = chat.posts;
  assert.deepEqual([status, error.name], [400, 'OwnKeyNotAllowed']);
  assert.deepEqual(provider.requests, []);
  assert.ok(!JSON.stringify(error).includes(apiKey));
  assert.equal(chat.client.status, 'error');
}

async function abort(generation, scenario, test) {
  // The provider never comes to its last event, so that the answer is under way for certain when the client leaves.
  provider.play(scenario.upstream.map((reply) => ({ ...reply, beforeLastEvent: () => new Promise(() => {}) })));
  const { messages, data } = scenario.request;
  const chat = new Chat(generation, user, { data });
  test.after(() => chat.dispose());
  const asking = chat.client.append(structuredClone(messages.at(-1)));
  const count = scenario.clientAbortsAfterEvents;
  await chat.watch.until('the first events', () => chat.posts[0]?.events.length >= count);
  assert.equal(provider.requests[0].closedAt, undefined, 'the provider is still connected');
  const stoppedAt = performance.now();
  chat.client.stop();
  await asking;
  const { closedAt } = await provider.watch.until('the provider to be left', () => {
    const [request] = provider.requests;
    return request.closedAt && request;
  });
  assert.ok(closedAt - stoppedAt < 1_000, `the provider was left after ${closedAt - stoppedAt} ms`);
  assertAsked(scenario.hub.upstreamRequests);
  const events = chat.posts[0].events.slice(0, count);
  assert.equal(new Placeholders().difference(scenario.hub.events, events), undefined);
  assert.equal(chat.client.isLoading, false);
  assert.deepEqual(chat.errors, []);
}

for (const generation of GENERATIONS) {
  describe(generation.name, () => {
    for (const [name, scenario] of withHub) {
      test(name, async (test) => {
        if (scenario.clientAbortsAfterEvents) {
          await abort(generation, scenario, test);
          return;
        }
        const { upstreamRequests, events, done } = expectationOf(name, scenario, generation);
        const replies = scenario.upstream.slice(0, upstreamRequests.length);
        const chat = begin(generation, scenario.request, test);
        if (ASKED_AGAIN.includes(name)) {
          const isShown = () => chat.text() === 'Hello!';
          replies[1] = { ...replies[1], beforeLastEvent: () => chat.watch.until('the text to be shown', isShown) };
        }
        provider.play([...replies, followUp(scenario.request.data)]);
        await chat.append(scenario.request.messages.at(-1));
        if (scenario.request.apiKey) {
          assertOwnKeyRefused(chat, scenario.request.apiKey);
          return;
        }
        assertAsked(upstreamRequests);
        if (chat.posts[0].status !== 200) {
          assertRefused(chat, scenario);
          return;
        }
        assert.match(chat.posts[0].contentType, /^text\/event-stream/);
        assert.equal(new Placeholders().difference(events, chat.posts[0].events), undefined);
        assert.equal(chat.posts[0].isDone, done);
        const failure = events.find(({ type }) => type === 'RUN_ERROR');
        if (failure) {
          assertShown(chat, chat.posts[0].events, '');
          assertFailed(chat, failure.message);
          return;
        }
        const after = await completeTools(chat, scenario.request.data, events);
        assertShown(chat, chat.posts[0].events, after);
      });
    }

    for (const [name, [text, thinking, calls, end]] of Object.entries(OTHERS)) {
      test(name, async (test) => {
        const scenario = SCENARIOS.get(name);
        const request = structuredClone(scenario.request);
        request.data.provider ??= 'openai-chat-completions';
        provider.play([scenario.upstream[0], followUp(request.data)]);
        const chat = begin(generation, request, test);
        await chat.append(request.messages.at(-1));
        const { events } = chat.posts[0];
        const [{ headers }] = provider.requests;
        const isAnthropic = name.startsWith('extra-anthropic');
        if (isAnthropic) assert.equal(headers['x-api-key'], KEYS.anthropic);
        else assert.equal(headers.authorization, `Bearer ${KEYS.compatible}`);
        const last = events.findLast(({ type }) => ['RUN_FINISHED', 'RUN_ERROR'].includes(type));
        assert.equal(last.finishReason ?? last.code, end);
        if (last.type === 'RUN_ERROR') {
          assert.equal(chat.text(), text);
          assertFailed(chat, last.message);
          return;
        }
        assert.equal(chat.text('thinking'), thinking);
        assert.equal(chat.parts('tool-call').length, calls);
        const after = await completeTools(chat, request.data, events);
        assert.equal(chat.text(), text + after);
      });
    }
  });
}

/**
 * Runs a conversation to its end: tools that need approval are approved, and the model hears what the tools gave. What it
 * says to that is returned.
 */
async function completeTools(chat, data, events) {
  const handed = (name) => events.filter((event) => event.name === name).map(({ value }) => value);
  const [running, asking] = [handed('tool-input-available'), handed('approval-requested')];
  if (asking.length > 0) await chat.approve(true);
  const ran = [...running, ...asking];
  assert.deepEqual(
    chat.toolsRun,
    ran.map(({ toolName, input }) => ({ name: toolName, args: input })),
  );
  assert.equal(chat.client.status, 'ready');
  assert.deepEqual(chat.errors, []);
  // A turn with calls, the approved ones handed over, and what the model makes of them.
  const posts = 1 + (ran.length > 0 ? 1 : 0) + (asking.length > 0 ? 1 : 0);
  assert.equal(chat.posts.length, posts, 'no surplus request');
  for (const post of chat.posts) assert.equal(post.isDone, true);
  if (ran.length === 0) return '';
  assert.ok(provider.isSpent, 'the model was asked again');
  const told = JSON.stringify(provider.requests.at(-1).body);
  for (const { toolName } of ran) {
    const result = JSON.stringify(TOOLS[toolName]());
    assert.ok(told.includes(JSON.stringify(result).slice(1, -1)) || told.includes(result), `${toolName}: ${told}`);
  }
  return FOLLOW_UPS[data.provider][1];
}

test('the hub ran through it all and told nobody its keys', () => {
  for (const key of Object.values(KEYS)) assert.ok(!hub.log.includes(key), key);
});
