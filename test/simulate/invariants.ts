// What must be true after every run, whatever went wrong in it.

import { accountText, unaccounted } from '../../src/core/account.ts'
import { deadLetterTopic, readDeadLetter } from '../../src/log/deadLetter.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { featureKeys } from '../../src/records/catalogueItem.ts'
import { catalogueOf, type Expected, eventsByUser, expectedOf, popularityOf } from './expected.ts'
import { clicks, goods } from './scenario.ts'
import type { SimDisk } from './simState.ts'
import { type Parts, updateIn } from './stages.ts'
import type { World } from './world.ts'

const text = new TextDecoder()
/** Of numbers of a vector of length 1: batches of another size are summed in another order. */
const tolerance = 1e-4
/** A level that moved by less than a tenth of the interactions is not written again. */
const popularityTolerance = Math.log2(1.1) + 1e-6

export async function checkInvariants(
  parts: Parts,
  processes: readonly { readonly disk: SimDisk }[],
  world: World
): Promise<void> {
  const violated = (what: string) => world.violated(what)
  const expected = await expectedOf(parts)
  checkIngest(parts, violated)
  checkHistories(parts, expected, processes, violated)
  checkExamples(parts, expected, violated)
  checkModelUpdates(parts, violated)
  await checkIndex(parts, expected, violated)
}

/**
 * As soon as nothing waits, without anybody's hurry: who clicked is in the index with what was clicked, by whatever
 * weights.
 */
export async function checkAtRest(parts: Parts, world: World): Promise<void> {
  const { index, published } = parts
  if (published?.ready !== true) return
  const { windows } = await expectedOf(parts)
  for (const [userId, { newestMs, steps }] of windows) {
    const found = await index.user(userId)
    // Who has clicked only items that the model does not know keeps the vectors of before.
    if (found === undefined || published.interests([steps]).known[0] === 0) continue
    if (found.payload.newestMs !== newestMs || found.payload.historyLength !== steps.length)
      world.violated(`user ${userId} is in the index with an older history though nothing waits`)
  }
}

type Violated = (what: string) => void

/** Every click of the source is an interaction, its user's in the source's order, or a dead letter; nothing else is. */
function checkIngest(parts: Parts, violated: Violated): void {
  const { broker } = parts
  const wanted = new Map<string, string[]>()
  const seen = new Set<string>()
  const bad = new Set<string>()
  for (const { partition, offset, value } of broker.records(clicks)) {
    if (value === null) continue // says that a row of a source was deleted
    const event = parsed(value)
    if (event === undefined || typeof event.item !== 'string' || typeof event.time !== 'number') {
      bad.add(`${clicks}/${partition}/${offset}`)
      continue
    }
    const { id, user, item, type, time } = event as Record<string, string>
    if (seen.has(id!)) continue
    seen.add(id!)
    wanted.set(user!, [...(wanted.get(user!) ?? []), `${id} ${type} ${item} ${time}`])
  }
  for (const { partition, offset, value } of broker.records(goods))
    if (value !== null && typeof parsed(value)?.item !== 'string') bad.add(`${goods}/${partition}/${offset}`)
  same('events of a user in interactions', wanted, eventsByUser(parts), violated)
  checkDeadLetters(parts, [clicks, goods], bad, violated)
}

function parsed(value: Uint8Array | null): Record<string, unknown> | undefined {
  try {
    return value === null ? undefined : (JSON.parse(text.decode(value)) as Record<string, unknown>)
  } catch {
    return undefined
  }
}

/** Those that no stage can use, at least once each; nothing else. */
function checkDeadLetters(
  { broker }: Parts,
  topics: readonly string[],
  bad: ReadonlySet<string>,
  violated: Violated
): void {
  const found = new Set<string>()
  for (const topic of topics) {
    for (const record of broker.records(deadLetterTopic(topic, 'mtmi'))) {
      const letter = readDeadLetter(record)
      if (letter === undefined) violated(`a dead letter of ${topic} does not say where it is from`)
      else found.add(`${letter.topic}/${letter.partition}/${letter.offset}`)
    }
  }
  for (const name of bad) if (!found.has(name)) violated(`${name} cannot be used, and is no dead letter`)
  for (const name of found) if (!bad.has(name)) violated(`${name} is a dead letter, and could have been used`)
}

/** What was emitted last of each user, and what is kept on disk, is the fold over the log. */
function checkHistories(
  parts: Parts,
  expected: Expected,
  processes: readonly { readonly disk: SimDisk }[],
  violated: Violated
): void {
  const { broker, codecs, config } = parts
  const emitted = new Map<string, string>()
  for (const { key, value } of broker.records(config.topics.userSequences)) {
    if (value === null) emitted.delete(text.decode(key))
    else if (!isPoison(key)) emitted.set(text.decode(key), shown(codecs.userSequence.decode(value).steps))
  }
  const wanted = new Map([...expected.windows].map(([userId, { steps }]) => [userId, shown(steps)]))
  same('history in user-sequences', wanted, emitted, violated)
  // The partition's last owner has the newest state.
  for (const partition of broker.topic(config.topics.interactions).keys()) {
    const disks = processes.flatMap(({ disk }) => disk.sequences.get(partition) ?? [])
    const newest = disks.reduce((best, disk) => (disk.next > best.next ? disk : best), disks[0]!)
    const end = BigInt(broker.topic(config.topics.interactions)[partition]!.length)
    if (newest.next !== end) violated(`partition ${partition} is committed to ${newest.next}, not to its end ${end}`)
    const { account } = newest.counts
    if (unaccounted(account) !== 0) violated(`partition ${partition}: ${accountText(account)}`)
    const alone = processes.length <= 3
    if (alone && (BigInt(account.read) !== end || account.outcomes.erasure !== expected.erased[partition]))
      violated(
        `partition ${partition} has ${end} records and ${expected.erased[partition]} erasures, but: ${accountText(account)}`
      )
  }
  const { interactions, items, userSequences, modelUpdates } = config.topics
  checkDeadLetters(parts, [interactions], expected.bad, violated)
  const bad = [items, userSequences, modelUpdates].flatMap((topic) =>
    broker
      .records(topic)
      .filter(({ key }) => isPoison(key))
      .map(({ partition, offset }) => `${topic}/${partition}/${offset}`)
  )
  checkDeadLetters(parts, [items, userSequences, modelUpdates], new Set(bad), violated)
}

function isPoison(key: Uint8Array): boolean {
  return text.decode(key).startsWith('poison-')
}

function checkExamples(parts: Parts, { examples, maybe }: Expected, violated: Violated): void {
  const learned = new Set<string>()
  for (const name of parts.trainer?.learned ?? []) {
    if (learned.has(name)) violated(`example ${name} was learned twice`)
    if (!examples.has(name)) violated(`${name} was learned, and is no example`)
    learned.add(name)
  }
  // What a rollback or a divergence undoes is not learned again.
  const undone = parts.isUndone ? parts.seen : new Set()
  for (const name of examples)
    if (!learned.has(name) && !maybe.has(name) && !undone.has(name))
      violated(`example ${name} was not learned; fresh in ${freshIn(parts, name)}`)
}

/** What was learned is in the log: an index can be filled again from it alone. */
function checkModelUpdates({ broker, codecs, config, trainer }: Parts, violated: Violated): void {
  const rows = new Map<string, Float32Array | null>()
  for (const { value } of broker.records(config.topics.modelUpdates)) {
    const update = updateIn(codecs, value)
    if (update?.kind === 'item-row') rows.set(update.itemId, update.row)
  }
  for (const [itemId, row] of trainer?.sentRows() ?? [])
    if (!near(rows.get(itemId) ?? new Float32Array(0), row))
      violated(`the newest row of item ${itemId} is not in model-updates, and does not wait to be sent`)
}

/** Records of user-sequences in which it was to be learned. */
function freshIn({ broker, codecs, config }: Parts, name: string): string {
  const found: string[] = []
  for (const { key, value, partition, offset } of broker.records(config.topics.userSequences)) {
    if (value === null || isPoison(key)) continue
    const { userId, fresh, committed } = codecs.userSequence.decode(value)
    if (fresh.some((step) => `${partition}/${step.offset}` === name))
      found.push(
        `${userId}'s ${partition}/${offset} (committed ${committed}, fresh ${fresh.map((step) => `${step.offset}@${step.position}`)})`
      )
  }
  return found.join(', ') || 'none'
}

/** The index holds what a reader of the whole log would encode: no older vectors, no other users, of one version. */
async function checkIndex(parts: Parts, expected: Expected, violated: Violated): Promise<void> {
  const { broker, codecs, config, index } = parts
  const replica = new ModelReplica()
  parts.replicas.push(replica)
  const catalogue = catalogueOf(parts)
  const featuresOf = (itemId: string) => (catalogue.get(itemId) == null ? [] : featureKeys(catalogue.get(itemId)!))
  replica.useCatalogue(featuresOf)
  const rows = new Set<string>()
  for (const { value } of broker.records(config.topics.modelUpdates)) {
    const update = updateIn(codecs, value)
    if (update === undefined) continue
    if (update.kind === 'item-row') rows.add(update.itemId)
    replica.apply(update)
  }
  if (!replica.ready) return
  const live = await index.live()
  if (live?.indexVersion !== replica.modelVersion)
    return violated(`the index answers from ${live?.indexVersion}, the model version is ${replica.modelVersion}`)
  const { dimensions, interestCount } = replica
  const held = index.contents(live.indexVersion)

  const items = [...new Set([...catalogue.keys(), ...rows])].sort()
  const encodedItems = replica.itemVectors(items.map((itemId) => ({ itemId, features: featuresOf(itemId) })))
  const counted = popularityOf(parts)
  const hasCatalogue = [...catalogue.values()].some((item) => item !== null)
  const isCandidate = (itemId: string) =>
    hasCatalogue ? catalogue.get(itemId) != null : catalogue.get(itemId) !== null
  const wantedItems = items.filter((itemId, i) => encodedItems.known[i] === 1 && isCandidate(itemId))
  sameList('items in the index', wantedItems, held.items, violated)
  for (const [i, itemId] of items.entries()) {
    const found = await index.item(itemId)
    if (found === undefined || encodedItems.known[i] === 0) continue
    if (!near(found.vector, encodedItems.vectors.subarray(i * dimensions, (i + 1) * dimensions)))
      violated(`item ${itemId} is in the index with an older vector`)
    const { popularity = 0 } = found.payload
    const wanted = counted.of(itemId).popularity
    if (Math.abs(popularity - wanted) > popularityTolerance)
      violated(`item ${itemId} is in the index with popularity ${popularity}, which is ${wanted}`)
    if (found.payload.title !== catalogue.get(itemId)?.title)
      violated(`item ${itemId} is in the index with title ${found.payload.title}`)
  }

  const users = [...expected.windows.keys()].sort()
  const encodedUsers = replica.interests(users.map((userId) => expected.windows.get(userId)!.steps))
  const wantedUsers = users.filter((_, b) => encodedUsers.known[b] === 1)
  // Who has clicked only items that the model does not know keeps the vectors of before: after a divergence it may not
  // have learned the newest.
  const keptUsers = parts.isUndone ? users.filter((_, b) => encodedUsers.known[b] === 0) : []
  const heldUsers = held.users.filter((userId) => !keptUsers.includes(userId))
  sameList('users in the index', wantedUsers, heldUsers, violated)
  const length = dimensions * interestCount
  for (const [b, userId] of users.entries()) {
    const found = await index.user(userId)
    if (found === undefined || encodedUsers.known[b] === 0) continue
    if (!near(found.vectors, encodedUsers.interests.subarray(b * length, (b + 1) * length)))
      violated(`user ${userId} is in the index with older vectors`)
    const { newestMs, steps } = expected.windows.get(userId)!
    if (found.payload.newestMs !== newestMs || found.payload.historyLength !== steps.length)
      violated(`user ${userId} is in the index with an older history`)
  }
}

function near(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, i) => Math.abs(value - b[i]!) <= tolerance)
}

function shown(value: unknown): string {
  return JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? String(inner) : inner))
}

function same(
  what: string,
  wanted: ReadonlyMap<string, unknown>,
  found: ReadonlyMap<string, unknown>,
  violated: Violated
): void {
  for (const name of new Set([...wanted.keys(), ...found.keys()])) {
    const [w, f] = [shown(wanted.get(name)), shown(found.get(name))]
    if (w !== f) violated(`${what} ${name}: expected ${w}, found ${f}`)
  }
}

function sameList(what: string, wanted: readonly string[], found: readonly string[], violated: Violated): void {
  if (wanted.join() !== [...found].sort().join())
    violated(`${what}: expected ${wanted.join()}, found ${[...found].sort().join()}`)
}
