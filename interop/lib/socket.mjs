/**
 * One WebSocket to a room, as bytes and text, without a document. It only watches what arrives; `RoomClient` adds the
 * behaviour of a Yjs client.
 */
import WebSocket from 'ws';
import { EMPTY_STATE_VECTOR, STEP1, STEP2, encodeFrame, parseFrame } from './frames.mjs';
import { Watch } from './waiting.mjs';

let nextDevice = 1;

export class RoomSocket {
  #socket;

  /**
   * `via` says how the token travels: `subprotocol` as a browser must, or `header`. `frames` and `texts` collect what
   * arrives; `onFrame` sees a binary frame instead of collecting it, `onText` sees text as it was written.
   */
  constructor(user, room, { device = `device-${nextDevice++}`, owner, via = 'subprotocol', token, onFrame } = {}) {
    const bearer = token ?? user.token;
    const base = user.hub.url.replace('http', 'ws');
    const path = user.roomPath(room, { owner });
    const offered = via === 'subprotocol' ? ['epicenter', `bearer.${bearer}`] : ['epicenter'];
    const headers = via === 'header' ? { Authorization: `Bearer ${bearer}` } : {};
    this.device = device;
    this.watch = new Watch();
    this.frames = [];
    this.texts = [];
    this.pongs = 0;
    this.answers = 0;
    this.closed = null;
    this.onFrame = onFrame;
    this.#socket = new WebSocket(`${base}${path}?deviceId=${encodeURIComponent(device)}`, offered, {
      headers,
      perMessageDeflate: false,
      maxPayload: 64 * 1024 * 1024,
    });
    this.#socket.on('open', () => this.watch.changed());
    this.#socket.on('message', (data, isBinary) => this.#receive(data, isBinary));
    this.#socket.on('pong', () => {
      this.pongs += 1;
      this.watch.changed();
    });
    this.#socket.on('error', (error) => {
      this.error = error;
    });
    this.#socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString('utf8') };
      this.watch.fail(new Error(`the socket closed: ${code} ${this.closed.reason} ${this.error ?? ''}`));
    });
  }

  static async open(user, room, options) {
    const socket = new RoomSocket(user, room, options);
    await socket.opened();
    return socket;
  }

  get protocol() {
    return this.#socket.protocol;
  }

  get isOpen() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /** Waits for the handshake and for the two things that the hub says first: its step1 and a presence list. */
  async opened() {
    await this.watch.until('the socket to open', () => this.isOpen);
    await this.watch.until('step1 and presence of the hub', () => this.greeting && this.presence);
    return this;
  }

  #receive(data, isBinary) {
    if (isBinary) {
      const frame = parseFrame(new Uint8Array(data));
      if (frame.subtype === STEP1) this.greeting ??= frame.payload;
      if (frame.subtype === STEP2) {
        this.answers += 1;
        this.lastAnswer = frame.payload;
      }
      if (this.onFrame) this.onFrame(frame);
      else this.frames.push(frame);
    } else {
      const text = data.toString('utf8');
      this.onText?.(text);
      const message = text === 'pong' ? text : JSON.parse(text);
      if (message.type === 'presence') this.presence = message.devices;
      this.texts.push(message);
    }
    this.watch.changed();
  }

  send(subtype, payload, done) {
    this.sendBytes(encodeFrame(subtype, payload), done);
  }

  sendBytes(bytes, done) {
    this.#socket.send(bytes, { binary: true }, done);
  }

  sendText(value) {
    this.#socket.send(typeof value === 'string' ? value : JSON.stringify(value), { binary: false });
  }

  sendProtocolPing() {
    this.#socket.ping();
  }

  /**
   * Asks for the room's state and waits for the answer. One room handles one message at a time and an answer waits for
   * the disk, so this also says that everything sent before on this socket was handled and is durable.
   */
  async flush(stateVector = EMPTY_STATE_VECTOR, deadlineMs) {
    const before = this.answers;
    this.send(STEP1, stateVector);
    await this.watch.until('step2 of the hub', () => this.answers > before, deadlineMs);
    return this.lastAnswer;
  }

  /** Waits for the close frame of the hub (or for the end of the connection: code 1006). */
  async closing() {
    return this.watch.until('the hub to close the socket', () => this.closed);
  }

  /** A close of our own; without a code the close frame is empty. Resolves when the hub has answered it. */
  async close(code, reason) {
    this.#socket.close(code, reason);
    return this.closing();
  }

  /** Drops the connection without a word. */
  terminate() {
    this.#socket.terminate();
  }
}
