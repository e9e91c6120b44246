/** The shared test vectors: beside the project where there are any, else the project's own copy. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const PLACES = ['../../../shared/vectors/', '../../vectors/'];

export function loadVectors(name) {
  for (const place of PLACES) {
    const path = fileURLToPath(new URL(place + name, import.meta.url));
    if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8'));
  }
  throw new Error(`no vectors/${name}: copy it into the project's vectors folder`);
}

export function casesOf(name, ...kinds) {
  const cases = loadVectors(name).cases.filter((entry) => kinds.includes(entry.kind));
  if (cases.length === 0) throw new Error(`${name} has no case of ${kinds.join(', ')}`);
  return cases;
}
