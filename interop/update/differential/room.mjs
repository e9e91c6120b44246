/** A room in miniature: the rows it keeps, what it knows, and the document of somebody who saw every row as it came. */
import * as Y from 'yjs';
import { hex, unhex } from './algebra.mjs';
import { clocksOf, newDoc, same, vectorOf } from './judge.mjs';

const encoded = (known) =>
  hex(Y.encodeStateVector(new Map(Object.entries(known).map(([client, clock]) => [Number(client), clock]))));

export class Room {
  ready = [];
  pending = [];
  known = {};
  live = newDoc();

  constructor(algebra) {
    this.algebra = algebra;
  }

  async receive(update) {
    const queue = [update];
    while (queue.length > 0) {
      const result = await this.algebra.must({ op: 'ingest', update: hex(queue.shift()), known: encoded(this.known) });
      if (result.ready !== null) this.#show(unhex(result.ready));
      const advanced = clocksOf(unhex(result.advanced));
      Object.assign(this.known, advanced);
      if (result.pending !== null) this.pending.push(unhex(result.pending));
      for (const [client, clock] of Object.entries(clocksOf(unhex(result.missing)))) {
        if ((this.known[client] ?? 0) >= clock) throw new Error(`missing names a known clock: ${client} ${clock}`);
      }
      // Everything that waited is looked at again once something moved.
      if (Object.keys(advanced).length > 0) queue.push(...this.pending.splice(0));
    }
    same('the clocks of the room', vectorOf(this.live), this.known);
  }

  /** What is fanned out is causal: nothing of it ever waits at a receiver that saw all before it. */
  #show(update) {
    this.ready.push(update);
    Y.applyUpdateV2(this.live, update);
    if (this.live.store.pendingStructs || this.live.store.pendingDs) throw new Error('a ready update had to wait');
  }

  merged(rows) {
    return this.algebra.must({ op: 'merge', updates: rows.map(hex) });
  }

  /** The room after its memory was lost: one row in place of the ready ones, and the pending ones again. */
  async reloaded(how) {
    const fresh = new Room(this.algebra);
    if (this.ready.length > 0) {
      let row = await this.merged(this.ready);
      if (how !== 'merge') row = await this.algebra.must({ op: how, update: row });
      await fresh.receive(unhex(row));
      if (fresh.pending.length > 0) throw new Error('ready rows came back as pending');
      same('reloaded clocks', fresh.known, this.known);
    }
    for (const update of this.pending) await fresh.receive(update);
    same('clocks after the pending rows', fresh.known, this.known);
    return fresh;
  }

  /** What somebody gets who asks now, pending parts included. */
  async everything() {
    const rows = [...this.ready, ...this.pending];
    return rows.length > 0 ? [unhex(await this.merged(rows))] : [];
  }
}
