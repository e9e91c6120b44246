/**
 * The durability harness: rounds of writing and reading in many rooms at once, in each of which the hub is killed with
 * SIGKILL at a random moment. After the restart every room must hold what anybody but its writer had received: a second
 * client over a socket, a reader over HTTP, or a writer over HTTP whose push was answered.
 *
 *   node kill.mjs            100 rounds (ROUNDS), 20 rooms (ROOMS), 500 updates a second (RATE), seed SEED
 *
 * Exit code 1 when anything is lost, when fewer than half of the rounds had appends in flight, or when the rate stayed
 * below 200 updates a second. `kill -9` keeps the page cache: this proves the order of writing and sending, not the fsync.
 */
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import * as Y from 'yjs';
import { clocksOf, documentOf, holds } from './lib/documents.mjs';
import { UPDATE } from './lib/frames.mjs';
import { postSync, readRoom, snapshot } from './lib/http.mjs';
import { Hub } from './lib/hub.mjs';
import { Rng } from './lib/rng.mjs';
import { RoomSocket } from './lib/socket.mjs';
import { inParallel } from './lib/waiting.mjs';

const LEAST_RATE = 200;
/** Rooms are compacted as often as the settings allow, so that kills meet that too. */
const COMPACTING = `[rooms]
idle = "1s"
compaction_after_close = "0ms"
compaction_close_entries = 2
compaction_load_entries = 20
compaction_busy_entries = 20
compaction_busy_bytes = "1KiB"
`;
const TICK_MS = 10;
const SHORTEST_ROUND_MS = 300;
const LONGEST_ROUND_MS = 900;

/** One room: somebody who writes, somebody who reads, and what has been seen of it so far. */
class Room {
  constructor(user, name, { writesByHttp, readsByHttp }) {
    this.user = user;
    this.name = name;
    this.writesByHttp = writesByHttp;
    this.readsByHttp = readsByHttp;
    this.written = new Y.Doc();
    this.seen = new Y.Doc();
    this.sent = 0;
    this.roundSent = 0;
    this.written.on('updateV2', (update) => {
      this.latest = update;
    });
  }

  async open() {
    this.roundSent = 0;
    this.over = false;
    this.busy = [];
    this.writer = this.writesByHttp ? null : await RoomSocket.open(this.user, this.name);
    this.reader = await RoomSocket.open(this.user, this.name, {
      onFrame: ({ subtype, payload }) => {
        if (subtype === UPDATE) Y.applyUpdateV2(this.seen, payload);
      },
    });
    if (this.readsByHttp) this.busy.push(this.#readByHttp());
    if (this.writesByHttp) this.busy.push(this.#writeByHttp());
  }

  /** The next edit: mostly additions, now and then a deletion, which no clock shows. */
  #edit() {
    const list = this.written.getArray('list');
    this.sent += 1;
    this.roundSent += 1;
    if (this.sent % 17 === 0) list.delete(0, 1);
    else list.push([this.sent]);
    return this.latest;
  }

  write() {
    if (!this.writesByHttp && this.writer.isOpen) this.writer.send(UPDATE, this.#edit());
  }

  /** One push after the other until the hub is gone; an answered push has been seen by somebody: its sender. */
  async #writeByHttp() {
    while (!this.over) {
      const update = this.#edit();
      try {
        const answer = await postSync(this.user, this.name, {
          update,
          stateVector: Y.encodeStateVector(this.written),
        });
        if (answer.status === 200 || answer.status === 204) Y.applyUpdateV2(this.seen, update);
      } catch {
        return;
      }
    }
  }

  async #readByHttp() {
    while (!this.over) {
      try {
        Y.applyUpdateV2(this.seen, await snapshot(this.user, this.name));
      } catch {
        return;
      }
    }
  }

  /** After the kill: waits until everything that the hub had said is read. */
  async settle() {
    this.over = true;
    await Promise.all([this.writer?.closing(), this.reader.closing(), ...this.busy]);
  }

  /** Updates that were sent and never seen by anybody else. */
  inFlight() {
    const clock = (doc) => clocksOf(doc)[this.written.clientID] ?? 0;
    return clock(this.written) - clock(this.seen);
  }

  /** Checks the room after the restart; what was lost in flight is written again, as a real client would. */
  async check() {
    const stored = await readRoom(this.user, this.name);
    const kept = holds(stored, this.seen);
    await postSync(this.user, this.name, { update: Y.encodeStateAsUpdateV2(this.written) });
    Y.applyUpdateV2(this.seen, Y.encodeStateAsUpdateV2(this.written));
    return kept;
  }
}

/** Writes at `rate` over all rooms, until `ms` have passed. */
function writeFor(rooms, rate, ms) {
  return new Promise((resolve) => {
    const started = performance.now();
    const socketRooms = rooms.filter(({ writesByHttp }) => !writesByHttp);
    let written = 0;
    const timer = setInterval(() => {
      const elapsed = performance.now() - started;
      for (const due = Math.floor((elapsed / 1000) * rate); written < due; written += 1) {
        socketRooms[written % socketRooms.length].write();
      }
      if (elapsed < ms) return;
      clearInterval(timer);
      resolve(elapsed);
    }, TICK_MS);
  });
}

/** Runs the rounds and gives back a row for each. `onRow` is told as they come. */
export async function killRounds({ rounds, roomCount = 20, rate = 500, seed = 1, onRow = () => {} }) {
  const rng = new Rng(seed);
  const hub = await Hub.start({ config: COMPACTING });
  const rows = [];
  try {
    const user = await hub.user('ada@example.com', { admin: true, ttl: 86_400 });
    const rooms = Array.from(
      { length: roomCount },
      (_, index) => new Room(user, `room ${index}`, { writesByHttp: index % 5 === 1, readsByHttp: index % 5 === 2 }),
    );
    for (let round = 1; round <= rounds; round += 1) {
      await inParallel(rooms, 8, (room) => room.open());
      const elapsed = await writeFor(rooms, rate, rng.between(SHORTEST_ROUND_MS, LONGEST_ROUND_MS) + rng.fraction());
      await hub.kill();
      await Promise.all(rooms.map((room) => room.settle()));
      const inFlight = rooms.reduce((total, room) => total + Math.max(0, room.inFlight()), 0);
      await hub.boot();
      const kept = await inParallel(rooms, 8, (room) => room.check());
      const row = {
        round,
        ms: Math.round(elapsed),
        sent: rooms.reduce((total, room) => total + room.roundSent, 0),
        inFlight,
        lostIn: rooms.filter((_, index) => !kept[index]).map(({ name }) => name),
      };
      rows.push(row);
      onRow(row);
    }
    // In the end every room is what its writer has, whatever was killed in between.
    for (const room of rooms) {
      const complete = documentOf(await snapshot(user, room.name));
      if (!holds(complete, room.written)) rows.at(-1).lostIn.push(room.name);
    }
  } finally {
    await hub.dispose();
  }
  return rows;
}

/** What the rounds prove, and why they do not if they do not. */
export function verdict(rows) {
  const lost = rows.filter(({ lostIn }) => lostIn.length > 0);
  const withFlight = rows.filter(({ inFlight }) => inFlight > 0).length;
  const sent = rows.reduce((total, row) => total + row.sent, 0);
  const rate = Math.round((sent * 1000) / rows.reduce((total, row) => total + row.ms, 0));
  const problems = [
    ...lost.map(({ round, lostIn }) => `round ${round} lost what somebody had received in ${lostIn.join(', ')}`),
    ...(withFlight * 2 < rows.length ? [`only ${withFlight} of ${rows.length} rounds had appends in flight`] : []),
    ...(rate < LEAST_RATE ? [`only ${rate} updates a second`] : []),
  ];
  const summary =
    `${rows.length} rounds, ${sent} updates at ${rate}/s, ` +
    `${withFlight} with appends in flight, ${lost.length} with losses`;
  return { problems, summary };
}

export function tableLine({ round, ms, sent, inFlight, lostIn }) {
  const cells = [round, ms, sent, inFlight].map((cell) => String(cell).padStart(9));
  return [...cells, `  ${lostIn.join(', ') || '-'}`].join('');
}

export const TABLE_HEAD = ['round', 'ms', 'updates', 'in flight'].map((cell) => cell.padStart(9)).join('') + '  lost in';

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(TABLE_HEAD);
  const rows = await killRounds({
    rounds: Number(process.env.ROUNDS ?? 100),
    roomCount: Number(process.env.ROOMS ?? 20),
    rate: Number(process.env.RATE ?? 500),
    seed: Number(process.env.SEED ?? Date.now() % 2 ** 31),
    onRow: (row) => console.log(tableLine(row)),
  });
  const { problems, summary } = verdict(rows);
  console.log(summary);
  for (const problem of problems) console.error(`error: ${problem}`);
  process.exit(problems.length > 0 ? 1 : 0);
}
