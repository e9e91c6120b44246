/**
 * The far side of AI: one server that plays every provider from a script and writes down what it was asked. A reply that
 * no script holds is an error of the test: it is written down too.
 */
import http from 'node:http';
import { once } from 'node:events';
import { Watch } from './waiting.mjs';

/** Small enough that events arrive in several pieces. */
const PIECE_BYTES = 700;

export const KEYS = { openai: 'sk-house', gemini: 'AIza-house', anthropic: 'sk-ant-house', compatible: 'sk-compatible' };

export class ScriptedProvider {
  #server;
  #replies = [];

  /** Requests since the last `play`, with the time at which each connection was seen to be closed. */
  requests = [];
  watch = new Watch();

  static async start() {
    const provider = new ScriptedProvider();
    provider.#server = http.createServer((request, response) => provider.#answer(request, response));
    // Hubs keep connections for longer than the five seconds of Node: one that is closed just when the next question
    // travels on it would be an error of the provider that no script holds.
    provider.#server.keepAliveTimeout = 0;
    provider.#server.listen(0, '127.0.0.1');
    await once(provider.#server, 'listening');
    return provider;
  }

  get origin() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Answers the next requests like this, in order. A reply may wait for something before its last event. */
  play(replies) {
    this.requests = [];
    this.#replies = [...replies];
  }

  get isSpent() {
    return this.#replies.length === 0;
  }

  async #answer(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const { method, url, headers } = request;
    const body = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    const seen = { method, url, headers, body, closedAt: undefined };
    this.requests.push(seen);
    this.watch.changed();
    response.once('close', () => {
      seen.closedAt = performance.now();
      this.watch.changed();
    });
    const reply = this.#replies.shift();
    if (reply === undefined) {
      response.writeHead(418).end('{"error":{"message":"the script has no reply for this request"}}');
      return;
    }
    response.writeHead(reply.status, reply.headers);
    const lastEvent = reply.beforeLastEvent ? reply.body.trimEnd().lastIndexOf('\n\n') : 0;
    await writeInPieces(response, reply.body.slice(0, lastEvent));
    await reply.beforeLastEvent?.();
    await writeInPieces(response, reply.body.slice(lastEvent));
    if (reply.end === 'connection kept open') return;
    if (reply.end === 'connection reset after the body') request.socket.destroy();
    else response.end();
  }

  close() {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

async function writeInPieces(response, text) {
  const bytes = Buffer.from(text, 'utf8');
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    response.write(bytes.subarray(at, at + PIECE_BYTES));
    await new Promise(setImmediate);
  }
}

/** What a hub is told so that all its providers are this one. */
export function hubOptions(provider) {
  return {
    config: `
[rate_limits]
ai = 1000000

[ai]
openai_base_url = "${provider.origin}/v1"
gemini_base_url = "${provider.origin}"
anthropic_base_url = "${provider.origin}"

[[ai.providers]]
name = "openai-chat-completions"
base_url = "${provider.origin}/v1"
key_env = "COMPATIBLE_KEY"
own_key = true

[[ai.models]]
provider = "openai-chat-completions"
model = "gpt-4o-mini"
`,
    env: {
      OPENAI_API_KEY: KEYS.openai,
      GEMINI_API_KEY: KEYS.gemini,
      ANTHROPIC_API_KEY: KEYS.anthropic,
      COMPATIBLE_KEY: KEYS.compatible,
    },
  };
}

const EVENT_STREAM = { 'content-type': 'text/event-stream; charset=utf-8' };

/** An answer of the Responses protocol: texts, and calls as `{ id, name, arguments }`. */
export function responses(...items) {
  const events = [{ type: 'response.created', response: { id: 'resp_1', model: 'gpt-4o-mini-2024-07-18' } }];
  for (const [index, item] of items.entries()) {
    const place = { output_index: index };
    if (typeof item === 'string') {
      const message = { ...place, item_id: `msg_${index}`, content_index: 0 };
      events.push({ type: 'response.output_item.added', ...place, item: { id: `msg_${index}`, type: 'message' } });
      for (const delta of item.match(/.{1,4}/gsu)) events.push({ type: 'response.output_text.delta', ...message, delta });
      events.push({ type: 'response.output_text.done', ...message, text: item });
      continue;
    }
    const call = { id: `fc_${index}`, type: 'function_call', call_id: item.id, name: item.name };
    const parts = { ...place, item_id: call.id };
    events.push({ type: 'response.output_item.added', ...place, item: { ...call, arguments: '' } });
    events.push({ type: 'response.function_call_arguments.delta', ...parts, delta: item.arguments });
    events.push({ type: 'response.function_call_arguments.done', ...parts, arguments: item.arguments });
    events.push({ type: 'response.output_item.done', ...place, item: { ...call, arguments: item.arguments } });
  }
  const usage = { input_tokens: 12, output_tokens: 5, total_tokens: 17 };
  events.push({ type: 'response.completed', response: { id: 'resp_1', status: 'completed', usage } });
  const body = events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('');
  return { status: 200, headers: EVENT_STREAM, body, end: 'close' };
}
