/** What must hold for every history: each operation of the algebra against documents of Yjs. */
import * as Y from 'yjs';
import { Rng } from '../../lib/rng.mjs';
import { hex, unhex } from './algebra.mjs';
import { classify, mutate } from './broken.mjs';
import { clocksOf, describe, load, same, sameDocument, vectorOf } from './judge.mjs';
import { Room } from './room.mjs';

const NOTHING = unhex('00000000000001000000000000');

/** Runs every check on one history; throws what does not hold. */
export async function check(algebra, { docs, updates }, seed, mutations, counts) {
  if (updates.length === 0) return;
  const rng = new Rng(seed ^ 0x5eed);
  const whole = load(updates);
  const state = Y.encodeStateAsUpdateV2(whole);
  const expected = describe(whole);
  const merged = await merges(algebra, rng, updates, state, expected);
  await Promise.all([
    ...[...updates, state, unhex(merged)].map((update) => single(algebra, update, counts)),
    diffs(algebra, docs, merged, state),
    compaction(algebra, rng, updates, merged, state, expected, counts),
    deliveries(algebra, rng, updates, expected),
  ]);
  const broken = Array.from({ length: mutations }, () => mutate(rng, rng.pick([...updates, state])));
  await Promise.all(broken.map((update) => classify(algebra, update, counts)));
}

async function merges(algebra, rng, updates, state, expected) {
  const [merged, again] = await Promise.all([
    algebra.must({ op: 'merge', updates: rng.shuffled(updates).map(hex) }),
    algebra.must({ op: 'merge', updates: rng.shuffled([...updates, ...updates]).map(hex) }),
  ]);
  same('merge in another order, with repetitions', again, merged);
  same('merge of a merge', await algebra.must({ op: 'merge', updates: [merged] }), merged);
  sameDocument('merge', load([unhex(merged)]), expected);
  // By halves, as a log is merged.
  const middle = rng.below(updates.length + 1);
  const halves = await Promise.all(
    [updates.slice(0, middle), updates.slice(middle)].map((part) => algebra.must({ op: 'merge', updates: part.map(hex) })),
  );
  same('merge of merges', await algebra.must({ op: 'merge', updates: halves }), merged);
  return merged;
}

/** One update alone: the bytes that Yjs writes for the same structs, in both encodings. */
async function single(algebra, update, counts) {
  const [, vector, rewritten, forms] = await Promise.all([
    algebra.must({ op: 'validate', update: hex(update) }),
    algebra.must({ op: 'state_vector', update: hex(update) }),
    algebra.must({ op: 'merge', updates: [hex(update)] }),
    algebra.must({ op: 'forms', update: hex(update) }),
  ]);
  same('state vector', clocksOf(unhex(vector)), clocksOf(Y.encodeStateVectorFromUpdateV2(update)));
  same('rewritten bytes', rewritten, hex(Y.mergeUpdatesV2([update, NOTHING])));
  let v1 = null;
  try {
    v1 = Y.convertUpdateFormatV2ToV1(update);
  } catch {
    counts.noV1 += 1;
  }
  same('bytes in V1', forms.v1, v1 && hex(v1));
  if (v1) same('bytes back in V2', forms.back, hex(Y.convertUpdateFormatV1ToV2(v1)));
  sameForms(forms);
}

function sameForms(forms) {
  same('compacted again', forms.again, forms.compact);
  same('compacted after joining', forms.later, forms.compact);
  same('digest after compaction', forms.digest_compact, forms.digest);
}

/** Every client ends up with everything. */
async function diffs(algebra, docs, merged, state) {
  const bases = docs.flatMap((doc) => [merged, hex(state)].map((base) => [Y.encodeStateAsUpdateV2(doc), base]));
  await Promise.all(
    bases.map(async ([had, base]) => {
      const peer = load([had]);
      const vector = Y.encodeStateVector(peer);
      const missing = unhex(await algebra.must({ op: 'diff', update: base, known: hex(vector) }));
      Y.applyUpdateV2(peer, missing);
      sameDocument('diff', peer, describe(load([had, Y.diffUpdateV2(unhex(base), vector)])));
    }),
  );
}

async function compaction(algebra, rng, updates, merged, state, expected, counts) {
  const forms = await algebra.must({ op: 'forms', update: merged });
  sameForms(forms);
  sameDocument('compacted', load([unhex(forms.compact)]), expected);
  sameDocument('joined', load([unhex(forms.join)]), expected);
  // Yjs replaces both halves of a character when somebody types between them; updates keep it whole until then.
  if (JSON.stringify(expected.content).includes('\ufffd')) counts.cutCharacters += 1;
  else same('digest of the state in Yjs', await algebra.must({ op: 'digest', update: hex(state) }), forms.digest);
  // Yjs writes what one document holds, so that both sides are what compaction is to reach.
  const size = forms.compact.length / 2;
  counts.largest = Math.max(counts.largest, size / state.length);
  if (size > state.length * 1.1 + 16) throw new Error(`compacted to ${size} bytes, Yjs has ${state.length}: ${merged}`);

  // Whatever had arrived when it was compacted, all later edits still find their places.
  const order = rng.chance(0.5) ? updates : rng.shuffled(updates);
  const middle = rng.below(order.length + 1);
  const early = await algebra.must({ op: 'merge', updates: order.slice(0, middle).map(hex) });
  const small = await algebra.must({ op: 'compact', update: early });
  const rest = order.slice(middle);
  sameDocument('edits after compaction', load([unhex(small), ...rng.shuffled(rest)]), expected);
  const late = await algebra.must({ op: 'merge', updates: [small, ...rest.map(hex)] });
  sameDocument('edits merged with the compacted state', load([unhex(late)]), expected);
  same('digest with the compacted state', await algebra.must({ op: 'digest', update: late }), forms.digest);
}

/** The room: any order, twice, with gaps, reloaded and compacted anywhere. */
async function deliveries(algebra, rng, updates, expected) {
  const order = rng.shuffled([...updates, ...updates.filter(() => rng.chance(0.3))]);
  const lost = rng.chance(0.3) ? rng.below(order.length) : -1;
  let room = new Room(algebra);
  const reference = load([]);
  for (const [index, update] of order.entries()) {
    if (index === lost) continue;
    await room.receive(update);
    Y.applyUpdateV2(reference, update);
    if (rng.chance(0.25)) room = await room.reloaded(rng.pick(['merge', 'compact', 'join']));
    // Yjs may hold a whole transaction back where single structs are ready; the room never has less.
    for (const [client, clock] of Object.entries(vectorOf(reference))) {
      if ((room.known[client] ?? 0) < clock) throw new Error(`the room is behind Yjs: ${client} ${room.known[client]} < ${clock}`);
    }
    if (index % 7 === 0) {
      // Whoever gets everything, pending parts included, and then the rest, has it all.
      const rest = order.slice(index + 1);
      if (lost >= 0) rest.push(order[lost]);
      sameDocument('step 2 and the rest', load([...(await room.everything()), ...rest]), expected);
    }
  }
  if (lost >= 0) await room.receive(order[lost]);
  if (room.pending.length > 0) throw new Error('something is still pending in the end');
  sameDocument('room', room.live, expected);
  sameDocument('room, merged', load(await room.everything()), expected);
}
