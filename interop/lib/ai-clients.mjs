/**
 * The stock chat clients of both generations, driven as the apps drive them: `fetchServerSentEvents` with a `body` of the
 * app's own, tools that run here, and a `fetch` that reads the error envelope. What passes through that `fetch` is kept.
 */
import * as current from 'ai-client-current';
import * as pinned from 'ai-client-pinned';
import { Watch } from './waiting.mjs';

export const GENERATIONS = [
  { name: '@tanstack/ai-client@0.7.7', library: pinned, isCurrent: false },
  { name: '@tanstack/ai-client@0.33.2', library: current, isCurrent: true },
];

/** Turns of the event loop in which a client that does nothing shows that it will do nothing. */
const IDLE_TURNS = 5;

/** One conversation of one client. */
export class Chat {
  /** Events that the client has taken in, and tools that it runs now. */
  #heard = 0;
  #running = 0;

  /** What came back for each request: status, events, whether `[DONE]` came, the error of the envelope. */
  posts = [];
  errors = [];
  finished = [];
  toolsRun = [];
  approvals = [];
  watch = new Watch();

  /** `tools` run here by name; what they return is the result. `history` is there before the first question. */
  constructor({ library }, user, { data, apiKey, history = [], tools = {} }) {
    const connection = library.fetchServerSentEvents(`${user.hub.url}/api/ai/chat`, () => ({
      headers: { Authorization: `Bearer ${user.token}` },
      body: { data, ...(apiKey === undefined ? {} : { apiKey }) },
      fetchClient: (url, options) => this.#fetch(url, options),
    }));
    this.client = new library.ChatClient({
      connection,
      initialMessages: structuredClone(history),
      tools: (data.tools ?? []).map((tool) => ({ ...tool, execute: (input) => this.#run(tool.name, tools, input) })),
      onChunk: () => {
        this.#heard += 1;
        this.watch.changed();
      },
      onError: (error) => this.errors.push(error),
      onFinish: (message) => this.finished.push(message),
      onStatusChange: () => this.watch.changed(),
      onLoadingChange: () => this.watch.changed(),
      onMessagesChange: () => this.watch.changed(),
    });
    this.historyLength = history.length;
  }

  async #run(name, tools, input) {
    this.toolsRun.push({ name, args: input });
    this.#running += 1;
    try {
      return await tools[name](input);
    } finally {
      this.#running -= 1;
      this.watch.changed();
    }
  }

  async #fetch(url, options) {
    const post = { text: '', events: [], isDone: false, isOver: false };
    this.posts.push(post);
    const response = await fetch(url, options);
    post.status = response.status;
    post.contentType = response.headers.get('content-type');
    if (!response.ok) {
      post.error = (await response.clone().json()).error;
      post.isOver = true;
      return response;
    }
    const decoder = new TextDecoder();
    const keep = new TransformStream({
      transform: (chunk, controller) => {
        post.text += decoder.decode(chunk, { stream: true });
        readEvents(post);
        controller.enqueue(chunk);
        this.watch.changed();
      },
      flush: () => {
        post.isOver = true;
        this.watch.changed();
      },
    });
    return new Response(response.body.pipeThrough(keep), response);
  }

  /** Adds a message to the history and asks; resolves when the client has nothing more to do by itself. */
  async append(message) {
    await this.client.append(structuredClone(message));
    await this.#rest();
  }

  async send(content) {
    await this.client.sendMessage(content);
    await this.#rest();
  }

  async approve(approved) {
    for (const part of this.parts('tool-call')) {
      if (part.state !== 'approval-requested') continue;
      await this.client.addToolApprovalResponse({ id: part.approval.id, approved });
    }
    await this.#rest();
  }

  /** The client works on after its promise: it takes in what was sent after the end of a run, runs tools, and asks again. */
  async #rest() {
    const isIdle = () => {
      const sent = this.posts.reduce((sum, { events }) => sum + events.length, 0);
      const rests = ['ready', 'error'].includes(this.client.status) && !this.client.isLoading;
      return rests && this.#running === 0 && this.#heard >= sent && this.posts.every(({ isOver }) => isOver);
    };
    for (let turns = 0; turns < IDLE_TURNS; turns = isIdle() ? turns + 1 : 0) {
      await this.watch.until('the client to rest', isIdle);
      await new Promise((resolve) => setTimeout(resolve));
    }
  }

  /** Parts of what the model said since the history ended. */
  parts(type) {
    const said = this.client.getMessages().slice(this.historyLength);
    return said.flatMap(({ role, parts }) => (role === 'assistant' ? parts : [])).filter((part) => part.type === type);
  }

  text(type = 'text') {
    return this.parts(type).map(({ content }) => content).join('');
  }

  dispose() {
    this.client.stop();
    this.client.unsubscribe?.();
  }
}

/** Whole events of a post so far. Anything but `data: ` lines, comments and blank lines is an error. */
function readEvents(post) {
  const blocks = post.text.split('\n\n');
  post.events = [];
  for (const block of blocks.slice(0, -1)) {
    if (block.startsWith(': ')) continue;
    if (!block.startsWith('data: ') || block.includes('\n')) throw new Error(`no event: ${block}`);
    if (post.isDone && block !== 'data: [DONE]') throw new Error(`an event after [DONE]: ${block}`);
    if (block === 'data: [DONE]') post.isDone = true;
    else post.events.push(JSON.parse(block.slice('data: '.length)));
  }
}
