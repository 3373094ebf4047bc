// Several processes of `ingest`, `sequence` and `publish` and one of `train` on a real broker, killed and stopped at
// random while events keep coming. Afterwards the histories must be, byte for byte, those of one process that nobody
// disturbed; every step must have been emitted exactly once; and the dead letters must be exactly the records that were
// made to be refused.
//
//     node infra/kafka/broker.mjs -- node --import tsx test/services/campaign.ts --kills 30 --stops 10 --users 20000
//     --events 300000 [--seed 1]

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { openStageIo, readIndex } from '../../pipelines/parts.ts'
import { systemClock } from '../../src/core/clock.ts'
import { type Config, resolveConfig } from '../../src/core/config/config.ts'
import { BadEventError } from '../../src/core/errors.ts'
import { Rng } from '../../src/core/rng.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { loadItems } from '../../src/ingest/load.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import { deadLetterTopic, readDeadLetter } from '../../src/log/deadLetter.ts'
import type { LogRecord, NewRecord } from '../../src/log/eventLog.ts'
import { applyTopics, wantedTopics } from '../../src/log/kafka/kafkaTopics.ts'
import type { StageIo } from '../../src/log/stageIo.ts'
import type { UserSequence } from '../../src/records/userSequence.ts'
import { SequenceStage } from '../../src/sequence/sequenceStage.ts'
import type { SequenceStore } from '../../src/sequence/sequenceStore.ts'
import { RepeatFilter } from '../../src/train/repeatFilter.ts'
import { MemoryLog } from '../support/memoryLog.ts'
import { MemorySequenceStore } from '../support/memorySequenceStore.ts'
import { canonicalWindow, liveWindows } from '../support/windows.ts'
import { Fleet, strike } from './campaignFleet.ts'
import { brokers } from './kafka.ts'
import { TopicTail, whileMoving } from './topicTail.ts'

export interface CampaignOptions {
  readonly seed: number
  readonly kills: number
  /** Besides the kills: a `sequence` is stopped for longer than its session lasts, and then let go on. */
  readonly stops: number
  readonly users: number
  readonly events: number
  readonly partitions: number
  /** Of `ingest`. 0: events are put into interactions directly. */
  readonly ingesters: number
  readonly sequencers: number
  readonly publishers: number
  readonly train: boolean
  /**
   * Events come as evenly as can be over the time of the blows; otherwise at once, so that every blow falls on a busy
   * process.
   */
  readonly paced: boolean
  /** Between two blows, milliseconds. */
  readonly blowIntervalMs: number
  readonly say: (text: string) => void
}

export const campaignDefaults: Omit<CampaignOptions, 'say'> = {
  seed: 1,
  kills: 6,
  stops: 2,
  users: 1000,
  events: 20_000,
  partitions: 6,
  ingesters: 3,
  sequencers: 3,
  publishers: 3,
  train: true,
  paced: true,
  blowIntervalMs: 4000
}

export interface CampaignReport {
  readonly kills: number
  readonly stops: number
  readonly restarts: number
  readonly records: number
  readonly users: number
  readonly emitted: number
  readonly deadLetters: number
  readonly indexedUsers: number
  readonly seconds: number
}

const text = new TextEncoder()
const sessionTimeoutMs = 2000
/** Ten processes start in some seconds; where many things run at once, in minutes. */
const startMsMax = 600_000
const appendMax = 500

/** @throws AssertionError with what differs */
export async function runCampaign(options: CampaignOptions): Promise<CampaignReport> {
  const startedMs = performance.now()
  const dataDir = mkdtempSync(path.join(os.tmpdir(), 'mtmi-campaign-'))
  // Topics and groups of its own: other tests use the same broker.
  const name = `campaign-${process.pid}-${options.seed}`
  const settings = {
    dataDir,
    log: 'kafka',
    kafka: { brokers, clientId: name, sessionTimeoutMs },
    topics: {
      interactions: `${name}.interactions`,
      items: `${name}.items`,
      userSequences: `${name}.user-sequences`,
      modelUpdates: `${name}.model-updates`,
      partitions: options.partitions
    },
    sources: [
      {
        topic: `${name}.clicks`,
        format: 'json',
        user: 'user',
        item: 'item',
        type: 'type',
        time: 'at',
        eventId: { path: 'id', scope: 'global' }
      }
    ],
    progressive: { share: 0 },
    train: { replayRatio: 0, updateIntervalMs: 2000 }
  }
  const config = resolveConfig({}, {}, settings)
  const run = new RunDirectory(dataDir, 'live')
  mkdirSync(run.root, { recursive: true })
  const source = config.sources[0]!.topic
  await applyTopics(config.kafka, [
    ...wantedTopics(config),
    { topic: source, partitions: options.partitions, settings: {} }
  ])
  const io = await openStageIo(config, run)
  const rng = new Rng(options.seed)
  const fleet = new Fleet(settings, dataDir, options.say)
  try {
    for (let i = 0; i < options.ingesters; i++) fleet.start('ingest')
    for (let i = 0; i < options.sequencers; i++) fleet.start('sequence')
    for (let i = 0; i < options.publishers; i++) fleet.start('publish')
    if (options.train) fleet.start('train')
    const feeding = feed(io, options, rng.fork('feed'))
    const blows = { kills: 0, stops: 0 }
    const striking = untilAllEmit(io).then(() =>
      strike(fleet, { ...options, sessionTimeoutMs }, rng.fork('blows'), blows)
    )
    const [fed] = await Promise.all([feeding, striking])
    options.say(`${blows.kills} kills, ${blows.stops} stops, ${fleet.restarts} restarts; waiting for rest`)

    const lap = (what: string) => options.say(`${what} after ${((performance.now() - startedMs) / 1000).toFixed(1)} s`)
    lap('blows done')
    const interactions = new TopicTail(io, config.topics.interactions)
    if (options.ingesters > 0) {
      await untilIngested(interactions, fed.events, fleet)
      lap('everything is ingested')
      await compareSourceLetters(io, source, fed.sourcePoison)
      // From here on nothing is added, not even a repeat.
      await fleet.retire('ingest')
    }
    const records = await interactions.records()
    lap('read')
    const expected = await undisturbed(io, records)
    lap('one process is through')
    const emitted = await untilEmitted(io, expected, fleet)
    lap('everything is emitted')
    compareHistories(expected.histories, emitted.histories)
    compareFresh(expected.fresh, emitted.fresh)
    const deadLetters = await compareDeadLetters(io, records, expected, fed.poison)
    const indexedUsers =
      options.train && options.publishers > 0 ? await untilIndexed(io.config, run, expected.histories.size, fleet) : 0
    return {
      ...blows,
      restarts: fleet.restarts,
      records: records.length,
      users: expected.histories.size,
      emitted: emitted.fresh.length,
      deadLetters,
      indexedUsers,
      seconds: Math.round((performance.now() - startedMs) / 1000)
    }
  } finally {
    await fleet.end()
    if (process.env.CAMPAIGN_VERBOSE !== undefined)
      for (const words of fleet.lastWords) process.stderr.write(`${words}\n-----\n`)
    await io.log.close()
    rmSync(dataDir, { recursive: true, force: true })
  }
}

/** Until every partition has an owner that is at work: before, there is nothing to disturb. */
async function untilAllEmit({ log, config }: StageIo): Promise<void> {
  const startedMs = performance.now()
  while ([...(await log.ends(config.topics.userSequences)).values()].some((end) => end === 0n)) {
    if (performance.now() - startedMs > startMsMax) assert.fail('not every partition has an owner at work')
    await pause(50)
  }
}

interface Fed {
  /** Ids of all events, those that were sent twice once. */
  readonly events: ReadonlySet<string>
  /** Keys of the records of interactions that nobody can use, */
  readonly poison: Set<string>
  /** and of the source. */
  readonly sourcePoison: Set<string>
}

/**
 * Puts the events into the topic, as evenly over the time of the blows as can be, and between them what nobody can use.
 */
async function feed(io: StageIo, options: CampaignOptions, rng: Rng): Promise<Fed> {
  const { log, codecs, config } = io
  const { seed, users, events } = options
  const simulation = simulate({
    seed,
    users,
    events,
    items: Math.max(500, users / 5),
    duplicateShare: 0.02,
    lateShare: 0.005,
    badShare: 0
  })
  await loadItems(simulation.items(), { log, codecs, topic: config.topics.items, signal: new AbortController().signal })
  const durationMs = (options.kills + options.stops) * options.blowIntervalMs
  const blockMs = (durationMs * appendMax) / events
  const fed = { events: new Set<string>(), poison: new Set<string>(), sourcePoison: new Set<string>() }
  const toSource = options.ingesters > 0
  let direct: NewRecord[] = []
  let sourced: NewRecord[] = []
  const startedMs = performance.now()
  let blocks = 0
  const flush = async () => {
    await log.append(config.topics.interactions, direct)
    await log.append(config.sources[0]!.topic, sourced)
    direct = []
    sourced = []
    blocks++
    if (options.paced) await pause(Math.max(0, startedMs + blocks * blockMs - performance.now()))
  }
  for (const interaction of simulation.interactions()) {
    const { eventId, userId, itemId, type, eventTimeMs } = interaction
    const value = codecs.interaction.encode(interaction)
    const key = text.encode(userId)
    fed.events.add(eventId)
    // Keyed by user there as well: what members of a group read of several partitions has no order that anybody could
    // rely on.
    if (toSource)
      sourced.push({
        key,
        value: text.encode(JSON.stringify({ id: eventId, user: userId, item: itemId, type, at: eventTimeMs }))
      })
    else direct.push({ key, value })
    if (rng.uniform() < 0.001) {
      const bad = `poison-${fed.poison.size}`
      direct.push({ key: text.encode(bad), value: poisonValue(fed.poison.size, value) })
      fed.poison.add(bad)
    }
    if (toSource && rng.uniform() < 0.001) {
      const bad = `source-poison-${fed.sourcePoison.size}`
      sourced.push({ key: text.encode(bad), value: sourcePoisonValue(fed.sourcePoison.size) })
      fed.sourcePoison.add(bad)
    }
    if (direct.length + sourced.length >= appendMax) await flush()
  }
  await flush()
  options.say(`fed in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`)
  return fed
}

/** A record without a value is no dead letter of a source: it is left out, as a deletion. */
function sourcePoisonValue(number: number): Uint8Array {
  const kinds = [
    '',
    '{"id": "half of',
    '[1, 2]',
    '{"id": "x", "user": "", "item": "i", "type": "click", "at": 1700000000000}',
    '{"user": "u", "at": -1}'
  ]
  return text.encode(kinds[number % kinds.length])
}

function poisonValue(number: number, good: Uint8Array): Uint8Array {
  const kinds: (() => Uint8Array)[] = [
    () => Uint8Array.of(0, 0),
    () => new Uint8Array(0),
    () => text.encode('{"userId": "json in a topic of Avro"}'),
    () => good.subarray(0, good.length - 3),
    () => Uint8Array.from([0, 0, 0, 99, 99, ...good.subarray(5)]),
    () => Uint8Array.from([7, ...good.subarray(1)])
  ]
  return kinds[number % kinds.length]!()
}

interface Outcome {
  /** partition/user → bytes of the history. */
  readonly histories: Map<string, string>
  /** partition:offset of every step that was emitted, sorted; a repeat would be in it twice. */
  readonly fresh: string[]
}

/** What one process makes of the same records in memory, from the first to the last, without being disturbed. */
async function undisturbed(
  io: StageIo,
  records: readonly LogRecord[]
): Promise<Outcome & { readonly rejected: Set<string> }> {
  const { config } = io
  const { interactions, userSequences } = config.topics
  const log = new MemoryLog({
    partitions: (topic) => (topic === interactions || topic === userSequences ? config.topics.partitions : 1),
    clock: systemClock
  })
  for (const { key, value, partition, offset } of records) {
    await log.append(interactions, [{ key, value, partition }])
    assert.equal((await log.ends(interactions)).get(partition), offset + 1n, 'the copy has the offsets of the original')
  }
  const stores = new Map<number, SequenceStore>()
  const stage = new SequenceStage({
    ...io,
    log,
    openStore: async (partition) => {
      const store = new MemorySequenceStore()
      stores.set(partition, store)
      return store
    }
  })
  const stop = new AbortController()
  const running = stage.run(stop.signal)
  const ends = await log.ends(interactions)
  while (![...ends].every(([partition, end]) => (stage.consumed().get(partition) ?? 0n) >= end))
    await Promise.race([pause(20), running])
  stop.abort()
  await running
  const rejected = new Set<string>()
  for (const record of log.records(deadLetterTopic(interactions, 'mtmi'))) {
    const letter = readDeadLetter(record)
    assert(letter !== undefined)
    rejected.add(`${letter.partition}:${letter.offset}`)
  }
  return { histories: historiesOf(stores, config), fresh: freshOf(io, log.records(userSequences)), rejected }
}

function historiesOf(stores: ReadonlyMap<number, SequenceStore>, config: Config): Map<string, string> {
  const histories = new Map<string, string>()
  for (const [partition, store] of stores) {
    for (const [userId, window] of liveWindows(store, config.sequence.idleMaxMs))
      histories.set(`${partition}/${userId}`, Buffer.from(canonicalWindow(userId, window)).toString('latin1'))
  }
  return histories
}

/** As those downstream count them. */
function freshOf({ codecs }: StageIo, records: readonly LogRecord[]): string[] {
  const filter = new RepeatFilter()
  const fresh: string[] = []
  for (const { value } of records) {
    if (value === null) continue
    const sequence = filter.admit(codecs.userSequence.decode(value))
    for (const { offset } of sequence.fresh) fresh.push(`${sequence.partition}:${offset}`)
  }
  return fresh.sort()
}

/** Until every event that was fed is in interactions, however often. */
async function untilIngested(interactions: TopicTail, events: ReadonlySet<string>, fleet: Fleet): Promise<void> {
  const left = new Set(events)
  let looked = 0
  const done = await whileMoving(async () => {
    const records = await interactions.records()
    for (; looked < records.length; looked++) {
      const { value } = records[looked]!
      if (value === null) continue
      try {
        left.delete(interactions.io.codecs.interaction.decode(value).eventId)
      } catch (error) {
        assert(error instanceof BadEventError) // poison
      }
    }
    return { done: left.size === 0, amount: left.size }
  })
  if (!done) complain(fleet)
  assert.equal(left.size, 0, `events that ingest has lost, such as ${[...left].slice(0, 3).join(', ')}`)
}

/** `ingest` is at least once: each of those that were injected, perhaps more than once, and nothing else. */
async function compareSourceLetters(io: StageIo, source: string, poison: ReadonlySet<string>): Promise<void> {
  const letters = await new TopicTail(io, deadLetterTopic(source, 'mtmi')).records()
  const keys = new Set(letters.map((record) => new TextDecoder().decode(readDeadLetter(record)!.original.key)))
  assert.deepEqual([...keys].sort(), [...poison].sort())
}

function complain(fleet: Fleet): void {
  for (const complaint of fleet.complaints) process.stderr.write(`${complaint}\n`)
}

/** What user-sequences hold once as many steps have come as are expected. */
async function untilEmitted(io: StageIo, expected: Outcome, fleet: Fleet): Promise<Outcome> {
  const { config, codecs } = io
  const tail = new TopicTail(io, config.topics.userSequences)
  const filter = new RepeatFilter()
  const fresh: string[] = []
  const newest = new Map<string, UserSequence>()
  let looked = 0
  const done = await whileMoving(async () => {
    const records = await tail.records()
    for (; looked < records.length; looked++) {
      const { value } = records[looked]!
      if (value === null) continue
      const sequence = codecs.userSequence.decode(value)
      newest.set(`${sequence.partition}/${sequence.userId}`, sequence)
      for (const { offset } of filter.admit(sequence).fresh) fresh.push(`${sequence.partition}:${offset}`)
    }
    return { done: fresh.length >= expected.fresh.length, amount: records.length }
  })
  if (!done) complain(fleet)
  const histories = new Map<string, string>()
  for (const [key, sequence] of newest) {
    const recent = sequence.recent.map((event) => ({ ...event, idHash: BigInt.asIntN(64, event.idHash) }))
    histories.set(key, Buffer.from(canonicalWindow(sequence.userId, { ...sequence, recent })).toString('latin1'))
  }
  return { histories, fresh: fresh.sort() }
}

function compareHistories(expected: ReadonlyMap<string, string>, found: ReadonlyMap<string, string>): void {
  const different = [...expected].filter(([key, bytes]) => found.get(key) !== bytes).map(([key]) => key)
  const first = different[0]
  const example =
    first === undefined ? '' : `; ${first}\n  expected ${expected.get(first)}\n  found    ${found.get(first)}`
  assert.equal(different.length, 0, `${different.length} of ${expected.size} histories differ${example}`)
  assert.equal(found.size, expected.size)
}

function compareFresh(expected: readonly string[], found: readonly string[]): void {
  assert.equal(new Set(found).size, found.length, 'a step was emitted twice and counted twice')
  assert.deepEqual(found, expected)
}

async function compareDeadLetters(
  io: StageIo,
  records: readonly LogRecord[],
  expected: { readonly rejected: ReadonlySet<string> },
  poison: ReadonlySet<string>
): Promise<number> {
  const originals = new Map(records.map((record) => [`${record.partition}:${record.offset}`, record]))
  const found = new Map<string, string>()
  for (const record of await new TopicTail(io, deadLetterTopic(io.config.topics.interactions, 'mtmi')).records()) {
    const letter = readDeadLetter(record)
    assert(letter !== undefined, 'a dead letter without its headers')
    const at = `${letter.partition}:${letter.offset}`
    const original = originals.get(at)
    assert(original !== undefined)
    assert.deepEqual(
      letter.original.value === null ? null : Buffer.from(letter.original.value),
      original.value === null ? null : Buffer.from(original.value)
    )
    found.set(at, new TextDecoder().decode(letter.original.key))
  }
  assert.deepEqual([...found.keys()].sort(), [...expected.rejected].sort())
  assert.deepEqual([...found.values()].sort(), [...poison].sort(), 'exactly those that were injected')
  return found.size
}

/** Until the index has as many users as there are histories. */
async function untilIndexed(config: Config, run: RunDirectory, users: number, fleet: Fleet): Promise<number> {
  let found = 0
  let failure: unknown
  const done = await whileMoving(async () => {
    try {
      found = (await readIndex(config, run, (index) => index.live()))?.users ?? 0
      failure = undefined
    } catch (error) {
      failure = error // one that is being replaced
    }
    return { done: failure === undefined && found === users, amount: found }
  })
  if (done) return found
  complain(fleet)
  if (failure !== undefined) throw failure
  assert.equal(found, users, 'users in the index')
  return found
}

if (process.argv[1] === import.meta.filename) {
  const number = (value: string | boolean | undefined, otherwise: number) =>
    typeof value === 'string' ? Number(value) : otherwise
  const names = [
    'seed',
    'kills',
    'stops',
    'users',
    'events',
    'partitions',
    'ingesters',
    'sequencers',
    'publishers',
    'blowIntervalMs'
  ] as const
  const flags = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]))
  const { values } = parseArgs({
    options: { ...flags, 'no-train': { type: 'boolean' as const }, busy: { type: 'boolean' as const } }
  }) as {
    values: Record<string, string | boolean | undefined>
  }
  const given = Object.fromEntries(names.map((name) => [name, number(values[name], campaignDefaults[name])]))
  const say = (line: string) => process.stderr.write(`campaign: ${line}\n`)
  const report = await runCampaign({
    ...campaignDefaults,
    ...given,
    train: values['no-train'] !== true,
    paced: values.busy !== true,
    say
  })
  process.stdout.write(`${JSON.stringify(report)}\n`)
}
