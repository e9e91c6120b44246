/** HTTP as bytes: paths go out exactly as written, headers may repeat, and nothing is followed or decoded. */
import assert from 'node:assert/strict';
import http from 'node:http';
import * as Y from 'yjs';
import { assertSameDocument, documentOf } from './documents.mjs';
import { EMPTY_STATE_VECTOR, encodeSyncBody } from './frames.mjs';

const ignore = () => {};

class Answer {
  constructor(response, body) {
    this.status = response.statusCode;
    this.headers = response.headers;
    this.body = body;
  }

  text() {
    return this.body.toString('utf8');
  }

  json() {
    return JSON.parse(this.text());
  }

  /** The name in the error envelope. */
  errorName() {
    return this.json().error?.name;
  }
}

export class Requests {
  #base;
  /** Idle connections are given up long before the hub closes them (30 s), so that none is used just when it does. */
  #agent = new http.Agent({ keepAlive: true, maxSockets: 32, timeout: 5_000 });

  constructor(base) {
    this.#base = new URL(base);
  }

  send(method, path, { token, headers = {}, body } = {}) {
    const authorization = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const length = body === undefined ? {} : { 'Content-Length': body.length };
    return new Promise((resolve, reject) => {
      const request = http.request({
        agent: this.#agent,
        host: this.#base.hostname,
        port: this.#base.port,
        method,
        path,
        headers: { ...authorization, ...length, ...headers },
      });
      // A hub may answer before it has read the whole body; failing to write the rest then changes nothing.
      request.on('error', reject);
      request.once('socket', (socket) => {
        if (!socket.listeners('error').includes(ignore)) socket.on('error', ignore);
      });
      request.once('response', (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.once('error', reject);
        response.once('end', () => resolve(new Answer(response, Buffer.concat(chunks))));
      });
      request.end(body);
    });
  }

  close() {
    this.#agent.destroy();
  }
}

/** The whole room as the hub stores it, as a Yjs update. */
export async function snapshot(user, room, options) {
  const answer = await user.request('GET', user.roomPath(room), options);
  if (answer.status !== 200) throw new Error(`snapshot of ${room}: ${answer.status} ${answer.text()}`);
  return new Uint8Array(answer.body);
}

/** The room in a new Yjs document. */
export async function readRoom(user, room) {
  return documentOf(await snapshot(user, room));
}

/** One round trip: pushes `update`, asks for what `stateVector` lacks. */
export async function postSync(user, room, { stateVector = EMPTY_STATE_VECTOR, update, headers } = {}) {
  return user.request('POST', user.roomPath(room), { body: encodeSyncBody(stateVector, update), headers });
}

/** Pushes one update over HTTP; anything but success is an error. */
export async function push(user, room, update, stateVector) {
  const answer = await postSync(user, room, { update, stateVector });
  if (answer.status !== 200 && answer.status !== 204) {
    throw new Error(`push to ${room}: ${answer.status} ${answer.text()}`);
  }
  return answer;
}

/** Snapshot and `POST` sync give the same document, under the same tag, and it is `expected`. */
export async function assertHttpAgrees(user, room, expected, roots) {
  const whole = await user.request('GET', user.roomPath(room));
  assert.equal(whole.status, 200);
  assert.equal(whole.headers['content-type'], 'application/octet-stream');
  assertSameDocument(documentOf(new Uint8Array(whole.body)), expected, roots, 'the snapshot');
  assert.match(whole.headers.etag, /^W\/"[0-9a-f]{32}"$/);

  const pulled = await postSync(user, room);
  assert.equal(pulled.status, 200);
  assertSameDocument(documentOf(new Uint8Array(pulled.body)), expected, roots, 'a first pull');
  assert.equal(pulled.headers.etag, whole.headers.etag);

  const caughtUp = await postSync(user, room, { stateVector: Y.encodeStateVector(expected) });
  assert.ok([200, 204].includes(caughtUp.status), `a pull of nothing new: ${caughtUp.status}`);
  assert.equal(caughtUp.headers.etag, whole.headers.etag);
  if (caughtUp.status === 200) {
    const again = documentOf(Y.encodeStateAsUpdateV2(expected), new Uint8Array(caughtUp.body));
    assertSameDocument(again, expected, roots, 'a pull of nothing new');
  }
}
