// The update algebra beside Yjs, with Yjs as the judge.
//
//   node differential.mjs --algebra PATH [--seeds N] [--first N] [--mutations N] [--vectors DIR]
//
// Random concurrent histories are delivered to a model of a room (the algebra behind a pipe) and to
// Yjs documents in any order, twice, with gaps and with a reload in the middle. After each step both
// must hold the same content, state vector and delete set. Broken input is classified: what Yjs takes
// is never malformed, what Yjs cannot decode is never taken.
import { spawn } from 'node:child_process'
import { readFileSync, existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual, parseArgs } from 'node:util'
import * as Y from 'yjs'

const { values: options } = parseArgs({
  options: {
    algebra: { type: 'string' },
    seeds: { type: 'string', default: '1000' },
    first: { type: 'string', default: '1' },
    mutations: { type: 'string', default: '20' },
    vectors: { type: 'string', default: fileURLToPath(new URL('../../vectors', import.meta.url)) }
  }
})
if (!options.algebra) throw new Error('--algebra PATH is required: the built example `algebra`')

// Yjs reports faults of half-integrated documents on the console; every fault that counts is thrown.
console.warn = console.error = () => {}

// ---- the algebra behind a pipe ----

const algebra = spawn(options.algebra, { stdio: ['pipe', 'pipe', 'inherit'] })
const waiting = []
createInterface({ input: algebra.stdout }).on('line', line => waiting.shift()(JSON.parse(line)))
let finished = false
algebra.on('exit', code => {
  if (finished) return
  console.log(`the algebra ended with ${code}; last command: ${lastCommand}`)
  process.exit(1)
})
let lastCommand = ''
const ask = command => {
  lastCommand = JSON.stringify(command)
  algebra.stdin.write(lastCommand + '\n')
  return new Promise(resolve => waiting.push(resolve))
}
const must = async command => {
  const answer = await ask(command)
  if (!('ok' in answer)) throw new Error(`${JSON.stringify(answer)} for ${JSON.stringify(command)}`)
  return answer.ok
}

const hex = bytes => Buffer.from(bytes).toString('hex')
const nothing = new Uint8Array([0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0])
const unhex = text => new Uint8Array(Buffer.from(text, 'hex'))

// ---- seeded randomness ----

const random = seed => {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
  const below = limit => Math.floor(next() * limit)
  return { next, below, chance: share => next() < share, pick: list => list[below(list.length)] }
}
const shuffled = (rng, list) => {
  const copy = [...list]
  for (let i = copy.length - 1; i > 0; i--) {
    const j = rng.below(i + 1);
    [copy[i], copy[j]] = [copy[j], copy[i]]
  }
  return copy
}

// ---- comparing documents ----

const roots = { text: 'text', list: 'array', map: 'map', tree: 'xml' }
const newDoc = (clientID, gc = true) => {
  const doc = new Y.Doc({ gc })
  if (clientID) doc.clientID = clientID
  doc.getText('text'); doc.getArray('list'); doc.getMap('map'); doc.getXmlFragment('tree')
  return doc
}
const plain = value => {
  if (value === undefined) return '$undefined'
  if (typeof value === 'bigint') return { $bigint: String(value) }
  if (typeof value === 'number') return Object.is(value, -0) ? '$-0' : Number.isFinite(value) ? value : `$${value}`
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Uint8Array) return { $bytes: hex(value) }
  if (value instanceof Y.Text) return { $text: delta(value), $attributes: plain(value.getAttributes()) }
  if (value instanceof Y.XmlElement) {
    return { $element: value.nodeName, $attributes: plain(value.getAttributes()), $children: value.toArray().map(plain) }
  }
  if (value instanceof Y.XmlFragment) return value.toArray().map(plain)
  if (value instanceof Y.Array) return { $array: value.toArray().map(plain) }
  if (value instanceof Y.Map) return { $map: Object.fromEntries([...value.entries()].map(([k, v]) => [k, plain(v)])) }
  if (value instanceof Y.Doc) return { $doc: value.guid, $meta: plain(value.meta) }
  if (Array.isArray(value)) return value.map(plain)
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]))
}
// Runs of equal attributes are joined, since where they are cut has no meaning.
const delta = text => {
  const runs = []
  for (const run of text.toDelta()) {
    const attributes = plain(run.attributes ?? {})
    const insert = typeof run.insert === 'string' ? run.insert : { $embed: plain(run.insert) }
    const last = runs.at(-1)
    if (last && typeof last.insert === 'string' && typeof insert === 'string' && isDeepStrictEqual(last.attributes, attributes)) {
      last.insert += insert
    } else {
      runs.push({ insert, attributes })
    }
  }
  return runs
}
const content = doc => Object.fromEntries(Object.keys(roots).map(name => [name, plain(doc.share.get(name))]))
const vector = doc => Object.fromEntries([...Y.decodeStateVector(Y.encodeStateVector(doc))].filter(([, clock]) => clock > 0))
const clocks = bytes => Object.fromEntries(Y.decodeStateVector(bytes))
// Whoever applies a formatted text removes formats that turned out redundant, depending on what came in
// one transaction: those deletions are a document's own and say nothing about an update.
const formats = new Set()
const collectFormats = updates => {
  formats.clear()
  for (const update of updates) {
    for (const { id, content } of Y.decodeUpdateV2(update).structs) {
      if (content instanceof Y.ContentFormat) formats.add(`${id.client}:${id.clock}`)
    }
  }
}
const deleteSet = doc => {
  const set = {}
  for (const [client, ranges] of Y.createDeleteSetFromStructStore(doc.store).clients) {
    const clocks = ranges.flatMap(({ clock, len }) => Array.from({ length: len }, (_, n) => clock + n))
    const kept = clocks.filter(clock => !formats.has(`${client}:${clock}`))
    if (kept.length > 0) set[client] = kept
  }
  return set
}
const load = updates => {
  const doc = newDoc()
  for (const update of updates) Y.applyUpdateV2(doc, update)
  return doc
}
const same = (what, actual, expected) => {
  if (!isDeepStrictEqual(actual, expected)) {
    throw new Error(`${what}\n  is       ${JSON.stringify(actual)}\n  expected ${JSON.stringify(expected)}`)
  }
}
const sameDocs = (what, actual, expected) => {
  try {
    same(`${what}: content`, content(actual), content(expected))
    same(`${what}: state vector`, vector(actual), vector(expected))
    same(`${what}: delete set`, deleteSet(actual), deleteSet(expected))
  } catch (error) {
    throw Object.assign(error, { isDocument: true })
  }
}

// ---- random histories ----

// No lone halves here: Yjs loses the character behind one when it cuts there, so that its own documents
// disagree.
const words = ['a', 'bc', 'déf', '😀', '😀😁', 'x😀y', 'line\n', '𝄞', '\ufeffb', '日本', 'long enough to be cut in many places']
const keys = ['one', 'two', '', '__proto__x', 'ключ']
const value = (rng, depth = 0) => {
  switch (rng.below(depth > 2 ? 12 : 16)) {
    case 0: return null
    case 1: return undefined
    case 2: return rng.below(2) === 0
    case 3: return rng.below(1000) - 500
    case 4: return rng.next() * 1e9
    case 5: return rng.pick([NaN, Infinity, -Infinity, -0, 0.5, 2 ** 31, -(2 ** 31), 2 ** 53])
    case 6: return rng.pick([0n, 7n, -(2n ** 63n), 2n ** 63n - 1n])
    case 7: case 8: return rng.pick([...words, 'x\ud83dy'])
    case 9: case 10: return new Uint8Array(Array.from({ length: rng.below(6) }, () => rng.below(256)))
    case 11: return ''
    case 12: case 13: return Array.from({ length: rng.below(3) }, () => value(rng, depth + 1))
    default: return Object.fromEntries(Array.from({ length: rng.below(3) }, () => [rng.pick(keys), value(rng, depth + 1)]))
  }
}
const newType = rng => {
  switch (rng.below(7)) {
    case 0: return new Y.Text(rng.pick(words))
    case 1: return new Y.Array()
    case 2: return new Y.Map([['k', value(rng)]])
    case 3: return new Y.XmlElement(rng.pick(['p', 'div']))
    case 4: return new Y.XmlText()
    case 5: return new Y.Doc({ guid: `doc${rng.below(1000)}`, ...(rng.chance(0.5) ? { meta: { n: 1 } } : {}) })
    default: return new Y.Map()
  }
}
// An array takes these two only inside another value.
const listed = value => value === undefined || typeof value === 'bigint' ? [value] : value
// Every live shared type below a root.
const types = doc => {
  const found = []
  const visit = type => {
    found.push(type)
    const children = type instanceof Y.Map ? [...type.values()] : type instanceof Y.Text ? [] : type.toArray()
    for (const child of children) if (child instanceof Y.AbstractType) visit(child)
  }
  for (const root of doc.share.values()) visit(root)
  return found
}
const change = (rng, doc) => {
  const type = rng.chance(0.5) ? rng.pick([...doc.share.values()]) : rng.pick(types(doc))
  if (type instanceof Y.Map) {
    const key = rng.pick(keys)
    if (rng.chance(0.25)) type.delete(key)
    else type.set(key, rng.chance(0.3) ? newType(rng) : value(rng))
  } else if (type instanceof Y.Text) {
    const at = rng.below(type.length + 1)
    const span = Math.min(rng.below(6), type.length - at)
    switch (rng.below(7)) {
      case 0: if (span > 0) type.delete(at, span); break
      case 1: if (span > 0) type.format(at, span, { [rng.pick(['bold', 'color'])]: rng.pick([true, null, 'red']) }); break
      case 2: type.insertEmbed(at, { image: value(rng) }); break
      case 3: type.insert(at, rng.pick(words), { bold: true }); break
      case 4: if (type instanceof Y.XmlText) type.setAttribute('lang', rng.pick(words)); else type.insert(at, rng.pick(words)); break
      default: type.insert(at, rng.pick(words))
    }
  } else if (type instanceof Y.XmlFragment) {
    const at = rng.below(type.length + 1)
    if (rng.chance(0.25) && at < type.length) type.delete(at, 1)
    else if (rng.chance(0.3) && type instanceof Y.XmlElement) type.setAttribute(rng.pick(['id', 'class']), rng.pick(words))
    else type.insert(at, [rng.chance(0.5) ? new Y.XmlElement(rng.pick(['p', 'ul'])) : new Y.XmlText(rng.pick(words))])
  } else {
    const at = rng.below(type.length + 1)
    const span = Math.min(rng.below(4), type.length - at)
    if (rng.chance(0.3) && span > 0) type.delete(at, span)
    else if (rng.chance(0.25)) type.insert(at, [newType(rng)])
    else type.insert(at, Array.from({ length: 1 + rng.below(4) }, () => listed(value(rng))))
  }
}

const history = rng => {
  const clients = []
  while (clients.length < 2 + rng.below(3)) {
    const id = rng.pick([1 + rng.below(100), 1 + rng.below(2 ** 32 - 1), 2 ** 33 + rng.below(2 ** 31), 2 ** 53 - 1 - rng.below(50)])
    if (!clients.includes(id)) clients.push(id)
  }
  const updates = []
  const docs = clients.map(id => {
    const doc = newDoc(id, rng.chance(0.7))
    doc.on('updateV2', (update, origin) => { if (origin !== 'remote') updates.push(update) })
    return doc
  })
  const rounds = 3 + rng.below(20)
  for (let round = 0; round < rounds; round++) {
    const doc = rng.pick(docs)
    doc.transact(() => { for (let n = 1 + rng.below(3); n > 0; n--) change(rng, doc) })
    if (rng.chance(0.4)) {
      const to = rng.pick(docs)
      const from = rng.pick(docs)
      Y.applyUpdateV2(to, Y.encodeStateAsUpdateV2(from, Y.encodeStateVector(to)), 'remote')
    }
    if (rng.chance(0.3) && updates.length > 0) Y.applyUpdateV2(rng.pick(docs), rng.pick(updates), 'remote')
    // A whole state among the small updates, as a reconnecting client sends it.
    if (rng.chance(0.1)) updates.push(Y.encodeStateAsUpdateV2(rng.pick(docs)))
  }
  return { docs, updates: updates.filter(update => update.length > 0) }
}

// ---- a model of a room ----

const newRoom = () => ({ ready: [], pending: [], known: {}, live: newDoc() })
const knownHex = known => {
  const entries = Object.entries(known)
  const encoded = Y.encodeStateVector(new Map(entries.map(([client, clock]) => [Number(client), clock])))
  return hex(encoded)
}
const receive = async (room, update) => {
  const queue = [update]
  while (queue.length > 0) {
    const result = await must({ op: 'ingest', update: hex(queue.shift()), known: knownHex(room.known) })
    if (result.ready !== null) {
      const bytes = unhex(result.ready)
      room.ready.push(bytes)
      // What is fanned out is causal: nothing of it ever waits at a receiver that saw all before it.
      Y.applyUpdateV2(room.live, bytes)
      if (room.live.store.pendingStructs || room.live.store.pendingDs) throw new Error('a ready update had to wait')
    }
    const advanced = clocks(unhex(result.advanced))
    Object.assign(room.known, advanced)
    if (result.pending !== null) room.pending.push(unhex(result.pending))
    // Everything that waited is looked at again once something moved.
    if (Object.keys(advanced).length > 0) queue.push(...room.pending.splice(0))
    for (const [client, clock] of Object.entries(clocks(unhex(result.missing)))) {
      if ((advanced[client] ?? room.known[client] ?? 0) >= clock) throw new Error(`missing names a known clock: ${client} ${clock}`)
    }
  }
}
const reload = async room => {
  const fresh = newRoom()
  if (room.ready.length > 0) {
    const merged = await must({ op: 'merge', updates: room.ready.map(hex) })
    await receive(fresh, unhex(merged))
    if (fresh.pending.length > 0) throw new Error('ready rows came back as pending')
    same('reloaded clocks', fresh.known, room.known)
  }
  for (const update of room.pending) await receive(fresh, update)
  return fresh
}

// Removing redundant formats can change what a text shows, and depends on what came in one transaction:
// rarely documents of Yjs alone do not agree about a history. Such a history judges nobody.
const yjsAgrees = (rng, updates, whole) => {
  for (let round = 0; round < 40; round++) {
    const order = shuffled(rng, updates)
    const joined = rng.below(order.length + 1)
    const doc = load([Y.mergeUpdatesV2([nothing, ...order.slice(0, joined)]), ...order.slice(joined)])
    if (!isDeepStrictEqual([content(doc), vector(doc), deleteSet(doc)], [content(whole), vector(whole), deleteSet(whole)])) return false
  }
  return true
}

const runSeed = async (seed, mutations) => {
  const rng = random(seed)
  const { docs, updates } = history(rng)
  try {
    await compare(rng, docs, updates, mutations)
  } catch (error) {
    if (error.isDocument && !yjsAgrees(rng, updates, load(updates))) counts.yjsDisagrees++
    else throw error
  }
}

const compare = async (rng, docs, updates, mutations) => {
  if (updates.length === 0) return
  collectFormats(updates)
  const whole = load(updates)
  const state = Y.encodeStateAsUpdateV2(whole)

  for (const update of [...updates, state]) {
    await must({ op: 'validate', update: hex(update) })
    same('state vector', clocks(unhex(await must({ op: 'state_vector', update: hex(update) }))), clocks(Y.encodeStateVectorFromUpdateV2(update)))
    // A merge of one update writes the bytes that Yjs writes for the same structs.
    const rewritten = await must({ op: 'merge', updates: [hex(update)] })
    same('rewritten bytes', rewritten, hex(Y.mergeUpdatesV2([update, nothing])))
  }

  // Merge: any order, the same bytes; the content that Yjs has.
  const merged = await must({ op: 'merge', updates: shuffled(rng, updates).map(hex) })
  const again = await must({ op: 'merge', updates: shuffled(rng, [...updates, ...updates]).map(hex) })
  same('merge in another order, with repetitions', again, merged)
  same('merge of a merge', await must({ op: 'merge', updates: [merged] }), merged)
  sameDocs('merge', load([unhex(merged)]), whole)

  // Diff: every client ends up with everything.
  for (const doc of docs) {
    const peer = load([Y.encodeStateAsUpdateV2(doc)])
    for (const base of [merged, hex(state)]) {
      const missing = unhex(await must({ op: 'diff', update: base, known: hex(Y.encodeStateVector(peer)) }))
      const expected = Y.diffUpdateV2(unhex(base), Y.encodeStateVector(peer))
      const one = load([Y.encodeStateAsUpdateV2(peer), missing])
      sameDocs('diff', one, load([Y.encodeStateAsUpdateV2(peer), expected]))
    }
  }

  // The room: any order, twice, with gaps, reloaded in the middle.
  const deliveries = shuffled(rng, [...updates, ...updates.filter(() => rng.chance(0.3))])
  const lost = rng.chance(0.3) ? rng.below(deliveries.length) : -1
  const cut = rng.below(deliveries.length)
  let room = newRoom()
  const reference = newDoc()
  for (const [index, update] of deliveries.entries()) {
    if (index === lost) continue
    await receive(room, update)
    Y.applyUpdateV2(reference, update)
    if (index === cut) room = await reload(room)
    // Yjs may hold a whole transaction back where single structs are ready; the room never has less.
    const ours = vector(room.live)
    same('clocks', ours, Object.fromEntries(Object.entries(room.known)))
    for (const [client, clock] of Object.entries(vector(reference))) {
      if ((ours[client] ?? 0) < clock) throw new Error(`the room is behind Yjs: ${client} ${ours[client]} < ${clock}`)
    }
    if (index % 5 === 0 || index === deliveries.length - 1) {
      // Whoever gets everything, pending parts included, and then the rest, has it all.
      const rows = [...room.ready, ...room.pending]
      const step2 = rows.length > 0 ? [unhex(await must({ op: 'merge', updates: rows.map(hex) }))] : []
      const reader = load(step2)
      for (const rest of deliveries.slice(index + 1)) Y.applyUpdateV2(reader, rest)
      if (lost >= 0) Y.applyUpdateV2(reader, deliveries[lost])
      sameDocs('step2 and the rest', reader, whole)
    }
  }
  if (lost >= 0) await receive(room, deliveries[lost])
  if (room.pending.length > 0) throw new Error('something is still pending in the end')
  sameDocs('room', room.live, whole)
  sameDocs('room, merged', load([unhex(await must({ op: 'merge', updates: room.ready.map(hex) }))]), whole)

  for (let n = 0; n < mutations; n++) await classify(mutate(rng, rng.pick([...updates, state])), whole)
}

// ---- broken input ----

const mutate = (rng, update) => {
  let bytes = [...update]
  for (let n = 1 + rng.below(3); n > 0; n--) {
    const at = rng.below(bytes.length)
    switch (rng.below(6)) {
      case 0: bytes.splice(at, 1); break
      case 1: bytes.splice(at, 0, rng.below(256)); break
      case 2: bytes = bytes.slice(0, at); break
      case 3: bytes[at] ^= 1 << rng.below(8); break
      case 4: bytes[at] = rng.pick([0, 1, 127, 128, 255]); break
      default: bytes[at] = rng.below(256)
    }
    if (bytes.length === 0) bytes = [0]
  }
  return new Uint8Array(bytes)
}
const counts = { ok: 0, malformed: 0, refused: 0, laterThrow: 0, yjsDisagrees: 0 }
const classify = async update => {
  const answer = await ask({ op: 'validate', update: hex(update) })
  // Yjs is not asked: it would not come back from some of what the limits refuse.
  if ('refused' in answer) { counts.refused++; return }
  let decodes = true
  try { Y.decodeUpdateV2(update) } catch { decodes = false }
  let applies = true
  const doc = newDoc()
  try { Y.applyUpdateV2(doc, update) } catch { applies = false }
  if ('malformed' in answer) {
    counts.malformed++
    if (decodes || applies) throw new Error(`Yjs takes it, we say ${JSON.stringify(answer)}: ${hex(update)}`)
    return
  }
  counts.ok++
  if (!decodes) throw new Error(`Yjs cannot decode it, we take it: ${hex(update)}`)
  // A struct may name a parent that is no type, and the like: only a document can know.
  if (!applies) counts.laterThrow++
  const known = '00'
  const rewritten = await must({ op: 'merge', updates: [hex(update)] })
  await must({ op: 'validate', update: rewritten })
  if (applies) sameDocs('rewritten mutation', load([unhex(rewritten)]), load([update]))
  const split = await must({ op: 'ingest', update: hex(update), known })
  for (const part of [split.ready, split.pending]) if (part !== null) await must({ op: 'validate', update: part })
}

// ---- run ----

let failed = 0
const report = (name, error) => {
  failed++
  console.log(`FAILED ${name}: ${error.message.slice(0, 3000)}`)
}
const first = Number(options.first)
const last = first + Number(options.seeds)
for (let seed = first; seed < last && failed < 10; seed++) {
  try { await runSeed(seed, Number(options.mutations)) } catch (error) { report(`seed ${seed}`, error) }
}
if (options.vectors && existsSync(options.vectors)) {
  const cases = name => JSON.parse(readFileSync(`${options.vectors}/${name}`, 'utf8')).cases
  for (const { id, hex: bytes, kind } of cases('hostile-updates.json')) {
    if (kind !== 'hostile') continue
    try { await classify(unhex(bytes)) } catch (error) { report(id, error) }
  }
}
finished = true
algebra.stdin.end()
console.log(`seeds ${first}..${last - 1}: ${failed} failed; classified ${JSON.stringify(counts)}`)
process.exitCode = failed === 0 ? 0 : 1
