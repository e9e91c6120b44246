/** Broken input: what Yjs takes is never malformed, what Yjs cannot decode is never taken. */
import * as Y from 'yjs';
import { hex, unhex } from './algebra.mjs';
import { describe, load, newDoc, sameDocument } from './judge.mjs';

export function mutate(rng, update) {
  let bytes = [...update];
  for (let left = 1 + rng.below(3); left > 0; left -= 1) {
    const at = rng.below(bytes.length);
    switch (rng.below(6)) {
      case 0: bytes.splice(at, 1); break;
      case 1: bytes.splice(at, 0, rng.below(256)); break;
      case 2: bytes = bytes.slice(0, at); break;
      case 3: bytes[at] ^= 1 << rng.below(8); break;
      case 4: bytes[at] = rng.pick([0, 1, 127, 128, 255]); break;
      default: bytes[at] = rng.below(256);
    }
    if (bytes.length === 0) bytes = [0];
  }
  return new Uint8Array(bytes);
}

function succeeds(action) {
  try {
    action();
    return true;
  } catch {
    return false;
  }
}

export async function classify(algebra, update, counts) {
  const answer = await algebra.ask({ op: 'validate', update: hex(update) });
  // Yjs is not asked: it would not come back from some of what the limits refuse.
  if ('refused' in answer) {
    counts.refused += 1;
    return;
  }
  const decodes = succeeds(() => Y.decodeUpdateV2(update));
  const applies = succeeds(() => Y.applyUpdateV2(newDoc(), update));
  if ('malformed' in answer) {
    counts.malformed += 1;
    if (decodes || applies) throw new Error(`Yjs takes it, we say ${JSON.stringify(answer)}: ${hex(update)}`);
    return;
  }
  counts.ok += 1;
  if (!decodes) throw new Error(`Yjs cannot decode it, we take it: ${hex(update)}`);
  // A struct may name a parent that is no type, and the like: only a document can know.
  if (!applies) counts.laterThrow += 1;
  const [rewritten, split, forms] = await Promise.all([
    algebra.must({ op: 'merge', updates: [hex(update)] }),
    algebra.must({ op: 'ingest', update: hex(update), known: '00' }),
    algebra.must({ op: 'forms', update: hex(update) }),
  ]);
  if (applies) sameDocument('rewritten mutation', load([unhex(rewritten)]), describe(load([update])));
  if (forms.again !== forms.compact) throw new Error(`compacts to something else the second time: ${hex(update)}`);
  if (forms.digest !== forms.digest_compact) throw new Error(`compaction changes the digest: ${hex(update)}`);
  const outputs = [rewritten, split.ready, split.pending, forms.compact, forms.join, forms.back];
  for (const output of outputs) if (output !== null) await algebra.must({ op: 'validate', update: output });
}
