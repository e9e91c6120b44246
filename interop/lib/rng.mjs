/** A seeded generator (mulberry32), so that a failing random test can be repeated from its printed seed. */
export class Rng {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** A number in [0, 1). */
  fraction() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** An integer in [0, limit). */
  below(limit) {
    return Math.floor(this.fraction() * limit);
  }

  /** An integer in [from, to]. */
  between(from, to) {
    return from + this.below(to - from + 1);
  }

  chance(probability) {
    return this.fraction() < probability;
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  shuffled(list) {
    const result = [...list];
    for (let index = result.length - 1; index > 0; index -= 1) {
      const other = this.below(index + 1);
      [result[index], result[other]] = [result[other], result[index]];
    }
    return result;
  }

  /** A Yjs client id: mostly 32 bits as Yjs draws them, sometimes near the ends of the legal range. */
  clientId() {
    const kind = this.below(8);
    if (kind === 0) return 1 + this.below(100);
    if (kind === 1) return Number.MAX_SAFE_INTEGER - this.below(1000);
    return 1 + this.below(2 ** 32 - 1);
  }

  bytes(length) {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}
