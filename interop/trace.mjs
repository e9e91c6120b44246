/**
 * Durable before visible, seen from outside: the release binary runs under strace, and for every update the trace must
 * show, in this order,
 *
 *   1. its receipt on the sender's connection,
 *   2. the write of its bytes, and of the rest of its commit, to the room log,
 *   3. an fsync or fdatasync of the log that begins after that write and has returned,
 *   4. the first byte of it to anybody else: live update, step2, snapshot, answer to a POST, or its clock in a state
 *      vector. For an update that came in a POST also the answer to that POST.
 *
 * Each sync is delayed by the tracer, so that everybody asks for the update while it is not durable yet.
 *
 * Exit status: 0 the order held for every update on every path; 3 it did not; anything else: it could not be tested.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import WebSocket from 'ws';
import * as Y from 'yjs';
import { UPDATE, encodeFrame, parseFrame } from './lib/frames.mjs';
import { Requests, postSync, snapshot } from './lib/http.mjs';
import { BINARY, Hub, requireBinary } from './lib/hub.mjs';
import { RoomSocket } from './lib/socket.mjs';
import { TRACED_CALLS, connectionsOf, historyOf, offsetsOf, parseTrace } from './lib/system-calls.mjs';
import { Watch } from './lib/waiting.mjs';

const ORDER_HELD = 0;
const COULD_NOT_TEST = 2;
const ORDER_VIOLATED = 3;

const ROUNDS = Number(process.env.TRACE_ROUNDS ?? 20);
const SYNC_DELAY_MICROSECONDS = 30_000;
const ROOM = 'trace';
/** SQLite's write-ahead log: a frame is a header of 24 bytes, whose second word is not zero in a commit, and a page. */
const FRAME_HEADER_BYTES = 24;
const METHOD = /^(GET|POST) /;

const WHAT_KILL_PROVES = `\
kill -9 ends the process, not the system: what was written stays in the page cache and reaches the disk, synced or not.
A test with kill -9 shows that updates are written before they are sent, and that the log is read back whole.
That they are synced before they are sent shows in this trace only, and that a sync reaches the medium is up to the disk.
`;

/** A hub that is a child of strace. */
class TracedHub extends Hub {
  #strace;
  #ended;

  async boot() {
    this.traceFile = path.join(this.folder, 'trace');
    const options = ['-f', '-yy', '-s', String(8 << 20), '-o', this.traceFile];
    options.push('-e', `trace=${TRACED_CALLS.join(',')}`);
    options.push('-e', `inject=fsync,fdatasync:delay_enter=${SYNC_DELAY_MICROSECONDS}`);
    this.#strace = spawn('strace', [...options, BINARY, ...this.serveArguments()], {
      cwd: this.folder,
      env: { PATH: process.env.PATH, HOME: process.env.HOME },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    this.#strace.stderr.on('data', (chunk) => (stderr += chunk));
    this.#strace.stdout.on('data', (chunk) => {
      stdout += chunk;
      this.watch.changed();
    });
    this.#ended = new Promise((resolve) => this.#strace.once('close', resolve));
    this.#ended.then((code) => this.watch.fail(new Error(`the traced hub ended with ${code}:\n${stderr}`)));
    this.url = await this.watch.until('the hub to listen', () => /^listening on (\S+)\n/.exec(stdout)?.[1]);
    this.requests = new Requests(this.url);
  }

  /** Ends the hub; strace ends when its last line is written. */
  async stop() {
    this.requests?.close();
    const trace = await readFile(this.traceFile, 'utf8').catch(() => '');
    // The first line is the execve of the hub's first thread. A fatal signal to strace would only be held back.
    const hub = Number(/^\d+/.exec(trace)?.[0]);
    if (hub > 0 && this.#strace.exitCode === null) process.kill(hub, 'SIGTERM');
    await this.#ended;
  }
}

/** A Yjs document whose edits travel unmasked (a mask of zeros), so that the trace can be searched for them. */
class ReadableWriter {
  constructor(user, room, clientId) {
    this.doc = new Y.Doc();
    this.doc.clientID = clientId;
    this.watch = new Watch();
    this.socket = new WebSocket(
      `${user.hub.url.replace('http', 'ws')}${user.roomPath(room)}?deviceId=writer`,
      ['epicenter'],
      {
        headers: { Authorization: `Bearer ${user.token}` },
        perMessageDeflate: false,
        generateMask: (mask) => mask.fill(0),
      },
    );
    this.socket.on('open', () => this.watch.changed());
    this.socket.on('error', (error) => this.watch.fail(error));
    this.socket.on('close', (code) => this.watch.fail(new Error(`the writer's socket closed: ${code}`)));
  }

  async opened() {
    await this.watch.until('the writer to open', () => this.socket.readyState === WebSocket.OPEN);
  }

  /** Appends the marker and sends the update. */
  write(marker) {
    const { update, clock } = edit(this.doc, marker);
    this.socket.send(encodeFrame(UPDATE, update), { binary: true });
    return { marker, client: this.doc.clientID, clock };
  }
}

/** Appends a marker to a document: the update, and the clock it has. */
function edit(doc, marker) {
  const clock = Y.getState(doc.store, doc.clientID);
  let update;
  doc.once('updateV2', (bytes) => (update = bytes));
  doc.getArray('markers').push([marker]);
  return { update, clock };
}

/** Produces updates and asks for them on every path while they are on their way to the disk. Returns the updates. */
async function exercise(hub) {
  const user = await hub.user('ada@example.com', { admin: true });
  const writer = new ReadableWriter(user, ROOM, 0x5ca1ab1e);
  const poster = new Y.Doc();
  poster.clientID = 0x7e57ab1e;
  await writer.opened();
  const reader = await RoomSocket.open(user, ROOM, { device: 'reader' });
  const asking = await RoomSocket.open(user, ROOM, { device: 'asking' });
  const updates = [];
  const arrived = (markers) =>
    reader.watch.until(`${markers.length} markers at the reader`, () =>
      markers.every((marker) => reader.frames.some((frame) => Buffer.from(frame.payload).includes(marker))),
    );

  for (let round = 0; round < ROUNDS; round += 1) {
    const socketMarker = markerOf('socket', round);
    const postMarker = markerOf('post', round);
    updates.push(writer.write(socketMarker));
    await nextTurn();
    const pushed = edit(poster, postMarker);
    updates.push({ marker: postMarker, client: poster.clientID, clock: pushed.clock });
    const joining = RoomSocket.open(user, ROOM, { device: `joining-${round}` });
    await Promise.all([
      asking.flush(),
      snapshot(user, ROOM),
      postSync(user, ROOM),
      postSync(user, ROOM, { update: pushed.update }),
      joining.then((socket) => socket.close(1000)),
      arrived([socketMarker, postMarker]),
    ]);
    reader.frames.length = 0;
  }
  const burst = Array.from({ length: ROUNDS }, (_, index) => markerOf('burst', index));
  updates.push(...burst.map((marker) => writer.write(marker)));
  await arrived(burst);
  // Once more at the end, so that every path has shown every update; twice at a time over HTTP, as what is shown on the
  // connection that an update came in on does not count.
  const overHttp = [0, 1].flatMap(() => [snapshot(user, ROOM), postSync(user, ROOM)]);
  await Promise.all([asking.flush(), ...overHttp]);
  const last = await RoomSocket.open(user, ROOM, { device: 'last' });
  await last.close(1000);
  return updates;
}

function markerOf(kind, number) {
  return `<${kind} ${String(number).padStart(4, '0')} of the trace>`;
}

/** Where in the trace each update was received and became durable. */
function findCommits(updates, calls, connections) {
  const logFile = calls.find((call) => call.file?.endsWith('/rooms.db-wal'))?.file;
  if (!logFile) throw new Error('the trace shows no use of rooms.db-wal');
  const history = historyOf(calls, logFile);
  return updates.map((update) => {
    for (const [name, { received }] of connections) {
      const { bytes } = received;
      const offset = bytes.indexOf(update.marker);
      if (offset < 0) continue;
      const receipt = received.callAt(offset + update.marker.length - 1).exit;
      return { ...update, origin: name, receipt, ...findCommit(update.marker, receipt, history) };
    }
    throw new Error(`the trace does not show the receipt of ${update.marker}`);
  });
}

/** The write of the marker after its receipt, the end of its commit, and the first sync that covers both. */
function findCommit(marker, receipt, history) {
  const written = history.findIndex((step) => step.enter > receipt && step.bytes?.includes(marker));
  if (written < 0) throw new Error(`the trace does not show ${marker} being written to the log`);
  const headerAt = history.findIndex(
    (step, index) => index >= written - 1 && step.bytes?.length === FRAME_HEADER_BYTES && step.bytes.readUInt32BE(4) > 0,
  );
  if (headerAt < 0) throw new Error(`the commit that holds ${marker} has no end in the trace`);
  const committed = history.slice(headerAt + 1).find((step) => step.bytes).exit;
  const sync = history.find((step) => step.bytes === null && step.enter > committed);
  return { written: history[written].enter, durable: sync?.exit ?? Infinity };
}

/** Everything that was shown to anybody: `{update, path, connection, enter, asked}`. */
function* sightings(commits, connections) {
  for (const [connection, { received, sent }] of connections) {
    const { bytes } = sent;
    const frames = framesOf(bytes);
    const seen = (update, offset, shown) => {
      const { enter } = sent.callAt(offset);
      return { update, path: shown, connection, enter, asked: received.lastBefore(enter)?.call.exit ?? 0 };
    };
    const requestBefore = (offset) => {
      const head = received.lastBefore(sent.callAt(offset).enter, (piece) => METHOD.test(piece.toString('latin1')));
      return METHOD.exec(head?.bytes.toString('latin1') ?? '')?.[1];
    };

    for (const update of commits) {
      for (const offset of offsetsOf(update.marker, bytes)) {
        const frame = frames?.find(({ start, end }) => offset >= start && offset < end);
        yield seen(update, offset, frame ? frame.path : `answer to ${requestBefore(offset)}`);
      }
    }
    for (const frame of frames ?? []) {
      if (frame.path !== 'state vector') continue;
      const clocks = Y.decodeStateVector(parseFrame(frame.payload).payload);
      for (const update of commits) {
        if (update.clock < (clocks.get(update.client) ?? 0)) yield seen(update, frame.start, frame.path);
      }
    }
  }
  // The answer to a POST says that what it pushed is kept.
  for (const update of commits.filter(({ marker }) => marker.startsWith('<post'))) {
    const { sent } = connections.get(update.origin);
    const answer = sent.firstAfter(update.receipt);
    if (answer) {
      yield { update, path: 'acknowledgement', connection: update.origin, enter: answer.call.enter, asked: update.receipt };
    }
  }
}

const PATH_OF_SUBTYPE = ['state vector', 'step2', 'live update'];

/** The WebSocket messages in what a connection was sent; null for one that stayed HTTP. */
function framesOf(bytes) {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0 || !bytes.subarray(0, headEnd).toString('latin1').startsWith('HTTP/1.1 101')) return null;
  const frames = [];
  let offset = headEnd + 4;
  while (offset + 2 <= bytes.length) {
    const start = offset;
    const opcode = bytes[offset] & 0x0f;
    let length = bytes[offset + 1] & 0x7f;
    offset += 2;
    if (length === 126) {
      length = bytes.readUInt16BE(offset);
      offset += 2;
    } else if (length === 127) {
      length = Number(bytes.readBigUInt64BE(offset));
      offset += 8;
    }
    const payload = bytes.subarray(offset, offset + length);
    offset += length;
    const shown = opcode === 2 ? PATH_OF_SUBTYPE[payload[0]] : 'text';
    frames.push({ start, end: offset, payload, path: shown });
  }
  return frames;
}

/** The paths on which an update must have been seen, with the number of updates that travel on each. */
function expectedPaths() {
  return new Map([
    ['live update', 3 * ROUNDS],
    ['step2', 3 * ROUNDS],
    ['answer to GET', 3 * ROUNDS],
    ['answer to POST', 3 * ROUNDS],
    ['state vector', 3 * ROUNDS],
    ['acknowledgement', ROUNDS],
  ]);
}

function judge(updates, trace) {
  const calls = parseTrace(trace);
  const connections = connectionsOf(calls);
  const commits = findCommits(updates, calls, connections);
  const violations = [];
  const paths = new Map();
  for (const { update, path: shown, connection, enter, asked } of sightings(commits, connections)) {
    if (connection === update.origin && shown !== 'acknowledgement') continue;
    const first = paths.get(shown) ?? paths.set(shown, new Map()).get(shown);
    const earlier = first.get(update.marker);
    if (!earlier || enter < earlier.enter) first.set(update.marker, { enter, early: asked < update.durable });
    if (enter > update.durable) continue;
    violations.push(
      `${update.marker}: ${shown} on ${connection} at line ${enter + 1}, ` +
        `received at ${update.receipt + 1}, written at ${update.written + 1}, durable at ${update.durable + 1}`,
    );
  }
  return { violations, paths };
}

function report({ violations, paths }) {
  for (const violation of violations.slice(0, 20)) console.log(`violation: ${violation}`);
  if (violations.length > 0) {
    console.log(`${violations.length} times something of an update left before the update was durable`);
    return ORDER_VIOLATED;
  }
  for (const [shown, count] of expectedPaths()) {
    const first = [...(paths.get(shown)?.values() ?? [])];
    const early = first.filter((sighting) => sighting.early).length;
    console.log(`${shown}: ${first.length} updates, ${early} of them asked for before they were durable`);
    if (first.length < count) throw new Error(`${count} updates should have been seen as ${shown}`);
    if (early === 0) throw new Error(`nobody asked early for a ${shown}, so the trace proves nothing about it`);
  }
  console.log('every update was synced to the log before anything of it left');
  return ORDER_HELD;
}

/** strace, installed where that is possible. */
function requireStrace() {
  const run = (program, ...args) => spawnSync(program, args, { encoding: 'utf8' });
  if (run('strace', '--version').status !== 0) {
    console.log('strace is not installed; installing it with apt-get');
    const install = ['install', '--yes', '--no-install-recommends', 'strace'];
    if (run('apt-get', ...install).status !== 0) {
      run('apt-get', 'update');
      const second = run('apt-get', ...install);
      if (second.status !== 0) throw new Error(`strace cannot be installed: ${second.error ?? second.stderr}`);
    }
  }
  const probe = run('strace', '-f', '-o', '/dev/null', 'true');
  if (probe.status !== 0) {
    throw new Error(`this system does not let a process be traced: ${probe.stderr.trim()}\nhint: allow ptrace`);
  }
}

async function main() {
  requireBinary();
  requireStrace();
  const folder = await mkdtemp(path.join(tmpdir(), 'epicenter-trace-'));
  try {
    const hub = new TracedHub({ folder });
    let updates;
    try {
      await hub.boot();
      updates = await exercise(hub);
    } finally {
      await hub.stop();
    }
    const outcome = report(judge(updates, await readFile(hub.traceFile, 'utf8')));
    console.log(`\n${WHAT_KILL_PROVES}`);
    return outcome;
  } finally {
    if (process.env.KEEP_TRACE) console.log(`the trace is in ${folder}`);
    else await rm(folder, { recursive: true, force: true });
  }
}

process.exitCode = await main().catch((error) => {
  console.error(`could not test: ${error.message}`);
  return COULD_NOT_TEST;
});
