/** Comparing with expectations that hold placeholders: equal ones stand for equal values, different ones for different. */

const PLACEHOLDER = /^(.*)<([a-z0-9]+-[a-z0-9]+)>(.*)$/s;

export class Placeholders {
  #bound = new Map();

  /** Where the two differ first, if they do. */
  difference(expect, actual, place = '') {
    const differ = () => `${place}: expected ${JSON.stringify(expect)}, got ${JSON.stringify(actual)}`;
    if (expect === '<ts>') return typeof actual === 'number' ? undefined : differ();
    if (typeof expect === 'string') return this.#matches(expect, actual) ? undefined : differ();
    if (typeof expect !== 'object' || expect === null) return expect === actual ? undefined : differ();
    if (typeof actual !== 'object' || actual === null || Array.isArray(expect) !== Array.isArray(actual)) return differ();
    if (Array.isArray(expect) && expect.length !== actual.length) return differ();
    // The names of required members are a set.
    if (place.endsWith('.required')) [expect, actual] = [expect.toSorted(), actual.toSorted()];
    const extra = Object.keys(actual).find((key) => !(key in expect));
    if (extra !== undefined) return `${place}: unexpected ${extra} in ${JSON.stringify(actual)}`;
    for (const [key, value] of Object.entries(expect)) {
      if (!(key in actual)) return `${place}.${key} is missing in ${JSON.stringify(actual)}`;
      const found = this.difference(value, actual[key], `${place}.${key}`);
      if (found) return found;
    }
    return undefined;
  }

  #matches(expect, actual) {
    const found = PLACEHOLDER.exec(expect);
    if (!found) return expect === actual;
    const [, before, name, after] = found;
    if (typeof actual !== 'string' || !actual.startsWith(before) || !actual.endsWith(after)) return false;
    const value = actual.slice(before.length, actual.length - after.length);
    if (this.#bound.has(name)) return this.#bound.get(name) === value;
    if (value === '' || [...this.#bound.values()].includes(value)) return false;
    this.#bound.set(name, value);
    return true;
  }
}
