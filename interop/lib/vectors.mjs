/** The shared test vectors: beside the project where there are any, else the project's own copy. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const PLACES = ['../../../shared/vectors/', '../../vectors/'];

function find(name) {
  for (const place of PLACES) {
    const path = fileURLToPath(new URL(place + name, import.meta.url));
    if (existsSync(path)) return path;
  }
  throw new Error(`no vectors/${name}: copy it into the project's vectors folder`);
}

export function loadVectors(name) {
  return JSON.parse(readFileSync(find(name), 'utf8'));
}

/** Every file of a folder of vectors, by its name without `.json`. */
export function loadVectorFolder(name) {
  const files = readdirSync(find(name)).filter((file) => file.endsWith('.json'));
  return new Map(files.sort().map((file) => [file.slice(0, -'.json'.length), loadVectors(`${name}/${file}`)]));
}

export function casesOf(name, ...kinds) {
  const cases = loadVectors(name).cases.filter((entry) => kinds.includes(entry.kind));
  if (cases.length === 0) throw new Error(`${name} has no case of ${kinds.join(', ')}`);
  return cases;
}
