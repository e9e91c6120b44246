/**
 * Waiting without sleeping: a condition is looked at again whenever something that it depends on reports a change, and
 * it must hold before a deadline. Every wait names what it waits for, so that a timeout says what was missing.
 */

const DEADLINE_MS = Number(process.env.DEADLINE_MS ?? 30_000);

export class Watch {
  #listeners = new Set();
  #failure = null;

  /** Something changed: every waiter looks again. */
  changed() {
    for (const listener of [...this.#listeners]) listener();
  }

  /** Nothing will change any more: waiters whose condition does not hold are rejected, now and later. */
  fail(error) {
    this.#failure ??= error;
    this.changed();
  }

  /** A new life after `fail`. */
  revive() {
    this.#failure = null;
  }

  get failure() {
    return this.#failure;
  }

  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  until(what, condition, deadlineMs) {
    return until(what, [this], condition, deadlineMs);
  }
}

/** Resolves with the first truthy value of `condition`, which is looked at whenever one of `watches` changes. */
export function until(what, watches, condition, deadlineMs = DEADLINE_MS) {
  return new Promise((resolve, reject) => {
    const stops = [];
    const finish = (settle, value) => {
      clearTimeout(timer);
      for (const stop of stops) stop();
      settle(value);
    };
    const look = () => {
      let value;
      try {
        value = condition();
      } catch (error) {
        finish(reject, error);
        return;
      }
      if (value) {
        finish(resolve, value);
        return;
      }
      const broken = watches.find((watch) => watch.failure);
      if (broken) finish(reject, new Error(`waiting for ${what}: ${broken.failure.message}`));
    };
    const timer = setTimeout(
      () => finish(reject, new Error(`waiting for ${what}: nothing in ${deadlineMs} ms`)),
      deadlineMs,
    );
    for (const watch of watches) stops.push(watch.subscribe(look));
    look();
  });
}

/** How long the hub reads on behind its last word, so that what still comes does not reset the connection. */
const LINGER_MS = 2_000;
const LINGER_ATTEMPTS = 3;

/**
 * What the hub says to something too large while that is still being sent. Where this machine stands still for longer
 * than the hub lingers, the reset can eat the answer: such an attempt proves nothing and is made again.
 */
export async function answerToTooMuch(attempt) {
  for (let left = LINGER_ATTEMPTS; ; left -= 1) {
    const begin = performance.now();
    try {
      return await attempt();
    } catch (error) {
      if (left === 1 || performance.now() - begin < LINGER_MS) throw error;
    }
  }
}

/** Runs `work` over `items`, at most `width` at a time, and waits for all of them. */
export async function inParallel(items, width, work) {
  const queue = [...items.entries()];
  const results = new Array(queue.length);
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) results[next[0]] = await work(next[1], next[0]);
  };
  await Promise.all(Array.from({ length: Math.min(width, queue.length) }, worker));
  return results;
}
