/**
 * What a process did, as `strace -f -yy` saw it: the bytes on each of its connections, and the writes and syncs of one
 * of its files. A call has two positions in the trace, where it began (`enter`) and where it ended (`exit`).
 *
 * The order of positions in different threads can be trusted: a thread stands still at the end of a call until the
 * tracer has seen it, so whatever it causes afterwards, in any thread, comes later in the trace.
 */

/** The calls a trace must hold. */
export const TRACED_CALLS = [
  ...['execve', 'read', 'readv', 'recvfrom', 'recvmsg', 'pread64'],
  ...['write', 'writev', 'sendto', 'sendmsg', 'sendmmsg', 'sendfile', 'splice', 'pwrite64', 'pwritev', 'pwritev2'],
  ...['fsync', 'fdatasync', 'sync_file_range', 'io_uring_enter'],
];

const RECEIVING = new Set(['read', 'readv', 'recvfrom', 'recvmsg']);
const SENDING = new Set(['write', 'writev', 'sendto', 'sendmsg']);
const WRITING = new Set(['write', 'writev', 'pwrite64', 'pwritev', 'pwritev2']);
const SYNCING = new Set(['fsync', 'fdatasync']);
/** Ways to move bytes that would have to be understood first. */
const UNREADABLE = new Set(['sendmmsg', 'sendfile', 'splice', 'io_uring_enter']);

const LINE = /^(\d+)\s+(.*)$/s;
const CALL = /^(\w+)\((.*)$/s;
const RESUMED = /^<\.\.\. (\w+) resumed>(.*)$/s;
const UNFINISHED = ' <unfinished ...>';
const RESULT = /\)\s+= (-?\d+|\?)[^"]*$/;
const CONNECTION = /^\d+<TCP:\[([^\]]*->[^\]]*)\]>/;
const FILE = /^\d+<(\/[^>]*)>/;
const STRING = /"((?:[^"\\]|\\.)*)"(\.\.\.)?/gs;

/** Every finished call of a trace, in the order in which they ended. */
export function parseTrace(text) {
  const calls = [];
  const unfinished = new Map();
  for (const [position, line] of text.split('\n').entries()) {
    const [, thread, rest] = LINE.exec(line) ?? [];
    if (rest === undefined) continue;
    const resumed = RESUMED.exec(rest);
    if (resumed) {
      const begun = unfinished.get(thread);
      unfinished.delete(thread);
      if (begun) finish(calls, { ...begun, text: begun.text + resumed[2], exit: position });
      continue;
    }
    const call = CALL.exec(rest);
    if (!call) continue;
    const begun = { name: call[1], thread, enter: position };
    if (rest.endsWith(UNFINISHED)) {
      unfinished.set(thread, { ...begun, text: call[2].slice(0, -UNFINISHED.length) });
    } else {
      finish(calls, { ...begun, text: call[2], exit: position });
    }
  }
  return calls;
}

function finish(calls, call) {
  const result = RESULT.exec(call.text);
  if (!result || result[1] === '?') return;
  const connection = CONNECTION.exec(call.text)?.[1];
  const file = FILE.exec(call.text)?.[1];
  calls.push({ ...call, text: call.text.slice(0, result.index), result: Number(result[1]), connection, file });
}

/** The bytes that a call moved. */
function bytesOf(call) {
  const parts = [];
  for (const [, quoted, cut] of call.text.matchAll(STRING)) {
    if (cut) throw new Error(`the trace cuts the bytes of a ${call.name} short`);
    parts.push(unescape(quoted));
  }
  return Buffer.concat(parts).subarray(0, Math.max(call.result, 0));
}

const NAMED = { n: 10, t: 9, r: 13, v: 11, f: 12, '\\': 92, '"': 34 };

function unescape(quoted) {
  const bytes = [];
  for (const [, plain, named, octal, hex] of quoted.matchAll(/([^\\])|\\([ntrvf\\"])|\\([0-7]{1,3})|\\x([0-9a-f]{2})/gs)) {
    if (plain !== undefined) bytes.push(plain.charCodeAt(0));
    else if (named !== undefined) bytes.push(NAMED[named]);
    else bytes.push(octal === undefined ? parseInt(hex, 16) : parseInt(octal, 8));
  }
  return Buffer.from(bytes);
}

/** Bytes in the order in which they travelled, with the calls that moved them. */
export class Stream {
  #pieces = [];
  #length = 0;

  add(bytes, call) {
    this.#pieces.push({ start: this.#length, end: this.#length + bytes.length, bytes, call });
    this.#length += bytes.length;
  }

  get bytes() {
    return Buffer.concat(this.#pieces.map((piece) => piece.bytes));
  }

  /** The call that moved the byte at this offset. */
  callAt(offset) {
    return this.#pieces.find((piece) => offset >= piece.start && offset < piece.end).call;
  }

  /** The first piece that was begun after a position of the trace. */
  firstAfter(position) {
    return this.#pieces.find((piece) => piece.call.enter > position);
  }

  /** The last piece that was moved before a position of the trace and looks as asked. */
  lastBefore(position, looksRight = () => true) {
    return this.#pieces.findLast((piece) => piece.call.exit < position && looksRight(piece.bytes));
  }
}

/** Connection ("here->there") to `{received, sent}`. */
export function connectionsOf(calls) {
  const connections = new Map();
  for (const call of calls) {
    if (UNREADABLE.has(call.name)) throw new Error(`the hub used ${call.name}, whose bytes this test cannot read`);
    if (call.connection === undefined || call.result <= 0) continue;
    if (!connections.has(call.connection)) {
      connections.set(call.connection, { received: new Stream(), sent: new Stream() });
    }
    const { received, sent } = connections.get(call.connection);
    if (RECEIVING.has(call.name)) received.add(bytesOf(call), call);
    if (SENDING.has(call.name)) sent.add(bytesOf(call), call);
  }
  return connections;
}

/** Successful writes and syncs of a file, in order: `{enter, exit, bytes}`, `bytes` null for a sync. */
export function historyOf(calls, file) {
  return calls
    .filter((call) => call.file === file && call.result >= 0)
    .filter((call) => WRITING.has(call.name) || SYNCING.has(call.name))
    .map((call) => ({
      enter: call.enter,
      exit: call.exit,
      bytes: SYNCING.has(call.name) ? null : bytesOf(call),
    }));
}

/** Every offset at which `needle` begins. */
export function offsetsOf(needle, bytes) {
  const offsets = [];
  for (let offset = bytes.indexOf(needle); offset >= 0; offset = bytes.indexOf(needle, offset + 1)) offsets.push(offset);
  return offsets;
}
