/**
 * A WebSocket handshake written by hand, for what no WebSocket library lets a caller send: repeated headers, two equal
 * subprotocols, broken frames.
 */
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import { Watch } from './waiting.mjs';

const OPCODE_CLOSE = 8;

/** The unmasked frames in `bytes` and what is left over. */
function serverFrames(bytes) {
  const frames = [];
  let at = 0;
  for (;;) {
    if (bytes.length - at < 2) break;
    let length = bytes[at + 1] & 0x7f;
    let start = at + 2;
    if (length === 126) {
      if (bytes.length - at < 4) break;
      length = bytes.readUInt16BE(at + 2);
      start = at + 4;
    } else if (length === 127) {
      if (bytes.length - at < 10) break;
      length = Number(bytes.readBigUInt64BE(at + 2));
      start = at + 10;
    }
    if (bytes.length < start + length) break;
    frames.push({ opcode: bytes[at] & 0x0f, payload: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return { frames, rest: bytes.subarray(at) };
}

/** A masked client frame. `announced` may claim a length that the payload does not have. */
export function clientFrame(opcode, payload, { announced = payload.length, final = true } = {}) {
  const head = [(final ? 0x80 : 0) | opcode];
  if (announced < 126) head.push(0x80 | announced);
  else if (announced < 65536) head.push(0x80 | 126, announced >> 8, announced & 0xff);
  else {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(announced));
    head.push(0x80 | 127, ...length);
  }
  const mask = randomBytes(4);
  const masked = Buffer.from(payload);
  for (let index = 0; index < masked.length; index += 1) masked[index] ^= mask[index % 4];
  return Buffer.concat([Buffer.from(head), mask, masked]);
}

/**
 * Performs the handshake. `status` and `headers` are the hub's answer; after a 101 `frames` collects what it sends and
 * `closeFrame` is its close frame with code and reason (both absent in an empty one).
 */
export class RawUpgrade {
  frames = [];
  closeFrame = null;
  ended = false;
  watch = new Watch();

  static async open(hub, path, headers = {}) {
    const raw = new RawUpgrade();
    await new Promise((resolve, reject) => {
      const request = http.request({
        host: '127.0.0.1',
        port: hub.port,
        path,
        headers: {
          Connection: 'Upgrade',
          Upgrade: 'websocket',
          'Sec-WebSocket-Version': '13',
          'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
          ...headers,
        },
      });
      request.once('error', reject);
      request.once('response', (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.once('end', () => {
          raw.status = response.statusCode;
          raw.headers = response.headers;
          raw.body = Buffer.concat(chunks).toString('utf8');
          resolve();
        });
      });
      request.once('upgrade', (response, socket, head) => {
        raw.status = response.statusCode;
        raw.headers = response.headers;
        raw.#attach(socket, head);
        resolve();
      });
      request.end();
    });
    return raw;
  }

  #attach(socket, head) {
    this.socket = socket;
    let pending = Buffer.alloc(0);
    const receive = (chunk) => {
      const { frames, rest } = serverFrames(Buffer.concat([pending, chunk]));
      pending = rest;
      for (const frame of frames) this.#hear(frame);
      this.watch.changed();
    };
    socket.on('data', receive);
    socket.on('error', () => {});
    socket.on('close', () => {
      this.ended = true;
      this.watch.fail(new Error('the connection ended'));
    });
    if (head.length > 0) receive(head);
  }

  #hear(frame) {
    this.frames.push(frame);
    if (frame.opcode !== OPCODE_CLOSE) return;
    const { payload } = frame;
    this.closeFrame =
      payload.length < 2 ? {} : { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString('utf8') };
  }

  /** Waits for the hub's close frame. */
  closing() {
    return this.watch.until('a close frame of the hub', () => this.closeFrame);
  }

  send(bytes) {
    this.socket.write(bytes);
  }

  end() {
    this.socket?.destroy();
  }
}
