/**
 * A Yjs client of a room: an unmodified `Y.Doc` whose V2 updates travel as frames, with presence and dispatch. This is
 * the behaviour of the public clients, without their user interface: step1 and step2 on every connect, updates while
 * online, edits kept in the document while offline.
 */
import { randomUUID } from 'node:crypto';
import * as Y from 'yjs';
import { holds, isWaiting } from './documents.mjs';
import { STEP1, STEP2, UPDATE } from './frames.mjs';
import { RoomSocket } from './socket.mjs';
import { Watch, until } from './waiting.mjs';

export class RoomClient {
  #socketOptions;
  #handlers = new Map();
  #results = new Map();

  constructor(user, room, { doc = new Y.Doc(), ...socketOptions } = {}) {
    this.user = user;
    this.room = room;
    this.doc = doc;
    this.socket = null;
    this.watch = new Watch();
    this.#socketOptions = socketOptions;
    doc.on('updateV2', (update, origin) => {
      if (origin !== this && this.socket?.isOpen) this.socket.send(UPDATE, update);
    });
    doc.on('afterTransaction', () => this.watch.changed());
  }

  static async connect(user, room, options) {
    const client = new RoomClient(user, room, options);
    await client.connect();
    return client;
  }

  /** Opens a socket and waits until both sides have exchanged what the other lacked. */
  async connect() {
    const received = { first: false };
    const socket = new RoomSocket(this.user, this.room, {
      ...this.#socketOptions,
      onFrame: (frame) => this.#receive(frame, received),
    });
    this.socket = socket;
    this.#socketOptions = { ...this.#socketOptions, device: socket.device };
    socket.watch.subscribe(() => this.#notice(socket));
    await socket.opened();
    socket.send(STEP1, Y.encodeStateVector(this.doc));
    await socket.watch.until('the first step2 or update', () => received.first);
  }

  get device() {
    return this.socket.device;
  }

  /** The devices of the newest presence list, without this one. */
  get devices() {
    return (this.socket.presence ?? []).map((entry) => entry.deviceId);
  }

  presenceOf(device) {
    return this.socket.presence.find((entry) => entry.deviceId === device);
  }

  #receive({ subtype, payload }, received) {
    if (subtype === STEP1) {
      this.socket.send(STEP2, Y.encodeStateAsUpdateV2(this.doc, payload));
      return;
    }
    received.first = true;
    Y.applyUpdateV2(this.doc, payload, this);
    this.watch.changed();
  }

  #notice(socket) {
    for (const message of socket.texts.splice(0)) this.#hear(socket, message);
    this.watch.changed();
  }

  #hear(socket, message) {
    if (message.type === 'dispatch_inbound') {
      const handler = this.#handlers.get(message.action);
      const result = handler
        ? { data: handler(message.input, message), error: null }
        : { data: null, error: { name: 'ActionNotFound', action: message.action } };
      socket.sendText({ type: 'dispatch_response', id: message.id, result });
    }
    if (message.type === 'dispatch_result') this.#results.set(message.id, message.result);
  }

  /** Offers actions to the room: name to function. */
  publish(handlers) {
    this.#handlers = new Map(Object.entries(handlers));
    const actions = Object.fromEntries([...this.#handlers.keys()].map((name) => [name, { type: 'query' }]));
    this.socket.sendText({ type: 'presence_publish', actions });
  }

  /** Calls an action on a device and waits for its result. */
  async dispatch(to, action, input) {
    const id = randomUUID();
    this.socket.sendText({ type: 'dispatch_request', id, to, action, input });
    await this.until(`the result of ${action}`, () => this.#results.has(id));
    return this.#results.get(id);
  }

  until(what, condition) {
    return this.watch.until(what, condition);
  }

  /** Everything sent so far was handled and is on disk. */
  flush() {
    return this.socket.flush(Y.encodeStateVector(this.doc));
  }

  async disconnect() {
    const { socket } = this;
    this.socket = null;
    await socket.close(1000);
  }

  /** The connection breaks. */
  drop() {
    this.socket.terminate();
    this.socket = null;
  }
}

/** Waits until all clients hold the same clocks and deletions, and none waits for anything. */
export function converged(...clients) {
  const [first, ...others] = clients;
  const same = (client) => holds(client.doc, first.doc) && holds(first.doc, client.doc);
  return until(
    `${clients.length} clients to converge`,
    clients.map((client) => client.watch),
    () => clients.every((client) => !isWaiting(client.doc)) && others.every(same),
  );
}
