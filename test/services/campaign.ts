// Several processes of `sequence` and `publish` and one of `train` on a real broker, killed and stopped at random while events keep coming. Afterwards the
// histories must be, byte for byte, those of one process that nobody disturbed; every step must have been emitted exactly once; and the dead letters must be
// exactly the records that were made to be refused.
//
//     node infra/kafka/broker.mjs -- node --import tsx test/services/campaign.ts --kills 30 --stops 10 --users 20000 --events 300000 [--seed 1]

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { openIndexToRead, openWire, RunDirectory, type Wire } from '../../pipelines/parts.ts'
import { feedItems } from '../../pipelines/stages/feed.ts'
import { SequenceStage } from '../../pipelines/stages/sequenceStage.ts'
import { systemClock } from '../../src/base/clock.ts'
import { type Config, resolveConfig } from '../../src/base/config.ts'
import { Rng } from '../../src/base/rng.ts'
import { deadLetterTopic, readDeadLetter } from '../../src/event/deadLetter.ts'
import type { LogRecord, NewRecord } from '../../src/event/eventLog.ts'
import { simulate } from '../../src/event/simulation.ts'
import { applyTopics, wantedTopics } from '../../src/io/kafka/kafkaTopics.ts'
import { liveWindows } from '../../src/sequence/liveWindows.ts'
import { canonicalWindow } from '../../src/sequence/packWindow.ts'
import { RepeatFilter } from '../../src/sequence/repeatFilter.ts'
import type { SequenceStore } from '../../src/sequence/sequenceStore.ts'
import type { UserSequence } from '../../src/sequence/userSequence.ts'
import { MemoryLog } from '../support/memoryLog.ts'
import { MemorySequenceStore } from '../support/memorySequenceStore.ts'
import { MtmiProcess } from '../support/mtmiProcess.ts'
import { brokers } from './kafka.ts'

export interface CampaignOptions {
  readonly seed: number
  readonly kills: number
  /** Besides the kills: a `sequence` is stopped for longer than its session lasts, and then let go on. */
  readonly stops: number
  readonly users: number
  readonly events: number
  readonly partitions: number
  readonly sequencers: number
  readonly publishers: number
  readonly train: boolean
  /** Events come as evenly as can be over the time of the blows; otherwise at once, so that every blow falls on a busy process. */
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
  sequencers: 3,
  publishers: 2,
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
/** How long after the last event everything may take to come to rest. */
const restMsMax = 180_000
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
    kafka: { brokers, clientId: name, sessionTimeoutMs, heartbeatMs: 100 },
    topics: {
      interactions: `${name}.interactions`,
      items: `${name}.items`,
      userSequences: `${name}.user-sequences`,
      modelUpdates: `${name}.model-updates`,
      partitions: options.partitions
    },
    train: { evaluateItemsMax: 0, replayRatio: 0, updateIntervalMs: 2000 }
  }
  const config = resolveConfig({}, {}, settings)
  const run = RunDirectory.current(dataDir)
  mkdirSync(run.root, { recursive: true })
  await applyTopics(config.kafka, wantedTopics(config))
  const wire = await openWire(config, run)
  const rng = new Rng(options.seed)
  const fleet = new Fleet(settings, dataDir, options.say)
  try {
    for (let i = 0; i < options.sequencers; i++) fleet.start('sequence')
    for (let i = 0; i < options.publishers; i++) fleet.start('publish')
    if (options.train) fleet.start('train')
    const feeding = feed(wire, options, rng.fork('feed'))
    const blows = { kills: 0, stops: 0 }
    const striking = untilAllEmit(wire).then(() => strike(fleet, options, rng.fork('blows'), blows))
    const [poison] = await Promise.all([feeding, striking])
    options.say(`${blows.kills} kills, ${blows.stops} stops, ${fleet.restarts} restarts; waiting for rest`)

    const lap = (what: string) => options.say(`${what} after ${((performance.now() - startedMs) / 1000).toFixed(1)} s`)
    lap('blows done')
    const records = await readTopic(wire, config.topics.interactions)
    lap('read')
    const expected = await undisturbed(wire, records)
    lap('one process is through')
    const emitted = await untilEmitted(wire, expected, fleet)
    lap('everything is emitted')
    compareHistories(expected.histories, emitted.histories)
    compareFresh(expected.fresh, emitted.fresh)
    const deadLetters = await compareDeadLetters(wire, records, expected, poison)
    const indexedUsers = options.train && options.publishers > 0 ? await untilIndexed(wire.config, run, expected.histories.size, fleet) : 0
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
    if (process.env.CAMPAIGN_VERBOSE !== undefined) for (const words of fleet.lastWords) process.stderr.write(`${words}\n-----\n`)
    await wire.log.close()
    rmSync(dataDir, { recursive: true, force: true })
  }
}

/** Until every partition has an owner that is at work: before, there is nothing to disturb. */
async function untilAllEmit({ log, config }: Wire): Promise<void> {
  const startedMs = performance.now()
  while ([...(await log.ends(config.topics.userSequences)).values()].some((end) => end === 0n)) {
    if (performance.now() - startedMs > restMsMax) assert.fail('not every partition has an owner at work')
    await pause(50)
  }
}

type Role = 'sequence' | 'publish' | 'train'

interface Running {
  readonly role: Role
  process: MtmiProcess
  /** Not to be struck again before it goes on. */
  stopped: boolean
}

/** Processes that are started again when they end, as a supervisor does. */
class Fleet {
  readonly #settings: object
  readonly #dataDir: string
  readonly #say: (text: string) => void
  readonly #running: Running[] = []
  #ending = false
  restarts = 0
  readonly lastWords: string[] = []
  /** What a process said that ended though nobody had killed it: the last of each, for a failure's report. */
  readonly complaints: string[] = []

  constructor(settings: object, dataDir: string, say: (text: string) => void) {
    this.#settings = settings
    this.#dataDir = dataDir
    this.#say = say
  }

  start(role: Role): void {
    const running: Running = { role, process: this.#spawn(role), stopped: false }
    this.#running.push(running)
    void this.#supervise(running)
  }

  /** Not one that is stopped just now. */
  any(rng: Rng, role?: Role): Running | undefined {
    const able = this.#running.filter((running) => !running.stopped && (role === undefined || running.role === role))
    return able[Math.floor(rng.uniform() * able.length)]
  }

  async end(): Promise<void> {
    this.#ending = true
    await Promise.all(
      this.#running.map(async ({ process }) => {
        process.signal('SIGCONT')
        process.signal('SIGTERM')
        const late = setTimeout(() => process.signal('SIGKILL'), 20_000)
        const { stderr } = await process.ended
        clearTimeout(late)
        this.lastWords.push(stderr)
      })
    )
  }

  #spawn(role: Role): MtmiProcess {
    const set = Object.entries(this.#settings).flatMap(([key, value]) => ['--set', `${key}=${JSON.stringify(value)}`])
    return new MtmiProcess([role, '--data-dir', this.#dataDir, ...set], { cwd: this.#dataDir })
  }

  async #supervise(running: Running): Promise<void> {
    for (;;) {
      const { status, stderr } = await running.process.ended
      if (this.#ending) return
      if (status !== null) {
        const last = stderr.trim().split('\n').slice(-2).join(' | ')
        this.complaints.push(`${running.role} ended with ${status}: ${last}`)
        this.#say(this.complaints.at(-1)!)
        // Configuration and corruption are nothing that a restart mends.
        if (status !== 1) return
      }
      this.restarts++
      running.process = this.#spawn(running.role)
    }
  }
}

async function strike(fleet: Fleet, options: CampaignOptions, rng: Rng, blows: { kills: number; stops: number }): Promise<void> {
  const stops: Promise<void>[] = []
  while (blows.kills < options.kills || blows.stops < options.stops) {
    await pause(options.blowIntervalMs * (0.5 + rng.uniform()))
    const [killsLeft, stopsLeft] = [options.kills - blows.kills, options.stops - blows.stops]
    const stop = rng.uniform() * (killsLeft + stopsLeft) >= killsLeft
    const victim = fleet.any(rng, stop ? 'sequence' : undefined)
    if (victim === undefined) continue
    const { process, role } = victim
    if (stop) {
      blows.stops++
      victim.stopped = true
      options.say(`stop ${role} ${process.pid}`)
      process.signal('SIGSTOP')
      const goOn = async () => {
        await pause(sessionTimeoutMs * (1.5 + rng.uniform()))
        process.signal('SIGCONT')
        victim.stopped = false
      }
      stops.push(goOn())
    } else {
      blows.kills++
      options.say(`kill ${role} ${process.pid}`)
      process.signal('SIGKILL')
    }
  }
  await Promise.all(stops)
}

/** Puts the events into the topic, as evenly over the time of the blows as can be. @returns keys of the records that nobody can use */
async function feed(wire: Wire, options: CampaignOptions, rng: Rng): Promise<Set<string>> {
  const { log, codecs, config } = wire
  const { seed, users, events } = options
  const simulation = simulate({ seed, users, events, items: Math.max(500, users / 5), duplicateShare: 0.02, lateShare: 0.005, badShare: 0 })
  await feedItems(simulation.items(), { log, codecs, topic: config.topics.items, signal: new AbortController().signal })
  const durationMs = (options.kills + options.stops) * options.blowIntervalMs
  const blockMs = (durationMs * appendMax) / events
  const poison = new Set<string>()
  let block: NewRecord[] = []
  let startedMs = performance.now()
  let blocks = 0
  const flush = async () => {
    await log.append(config.topics.interactions, block)
    block = []
    blocks++
    if (options.paced) await pause(Math.max(0, startedMs + blocks * blockMs - performance.now()))
  }
  startedMs = performance.now()
  for (const interaction of simulation.interactions()) {
    block.push({ key: text.encode(interaction.userId), value: codecs.interaction.encode(interaction) })
    if (rng.uniform() < 0.001) {
      const key = `poison-${poison.size}`
      poison.add(key)
      block.push({ key: text.encode(key), value: poisonValue(poison.size, codecs.interaction.encode(interaction)) })
    }
    if (block.length >= appendMax) await flush()
  }
  await flush()
  options.say(`fed in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`)
  return poison
}

function poisonValue(number: number, good: Uint8Array): Uint8Array | null {
  const kinds: (() => Uint8Array | null)[] = [
    () => null,
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
async function undisturbed(wire: Wire, records: readonly LogRecord[]): Promise<Outcome & { readonly rejected: Set<string> }> {
  const { config } = wire
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
    ...wire,
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
  while (![...ends].every(([partition, end]) => (stage.consumed().get(partition) ?? 0n) >= end)) await Promise.race([pause(20), running])
  stop.abort()
  await running
  const rejected = new Set<string>()
  for (const record of log.records(deadLetterTopic(interactions, 'mtmi'))) {
    const letter = readDeadLetter(record)
    assert(letter !== undefined)
    rejected.add(`${letter.partition}:${letter.offset}`)
  }
  return { histories: historiesOf(stores, config), fresh: freshOf(wire, log.records(userSequences)), rejected }
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
function freshOf({ codecs }: Wire, records: readonly LogRecord[]): string[] {
  const filter = new RepeatFilter()
  const fresh: string[] = []
  for (const { value } of records) {
    if (value === null) continue
    const sequence = filter.admit(codecs.userSequence.decode(value))
    for (const { offset } of sequence.fresh) fresh.push(`${sequence.partition}:${offset}`)
  }
  return fresh.sort()
}

async function readTopic({ log }: Wire, topic: string): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  for await (const event of log.read(topic, { resume: async () => 0n, signal: new AbortController().signal, untilEnd: true })) {
    if (event.kind === 'records') records.push(...event.records)
  }
  return records
}

/** What user-sequences hold once as many steps have come as are expected. */
async function untilEmitted(wire: Wire, expected: Outcome, fleet: Fleet): Promise<Outcome> {
  const { config, codecs } = wire
  const startedMs = performance.now()
  for (;;) {
    const records = await readTopic(wire, config.topics.userSequences)
    const fresh = freshOf(wire, records)
    const late = performance.now() - startedMs > restMsMax
    if (fresh.length >= expected.fresh.length || late) {
      if (late) for (const complaint of fleet.complaints) process.stderr.write(`${complaint}\n`)
      const newest = new Map<string, UserSequence>()
      for (const { value } of records) {
        if (value === null) continue
        const sequence = codecs.userSequence.decode(value)
        newest.set(`${sequence.partition}/${sequence.userId}`, sequence)
      }
      const histories = new Map<string, string>()
      for (const [key, sequence] of newest) {
        const recent = sequence.recent.map((event) => ({ ...event, idHash: BigInt.asIntN(64, event.idHash) }))
        histories.set(key, Buffer.from(canonicalWindow(sequence.userId, { ...sequence, recent })).toString('latin1'))
      }
      return { histories, fresh }
    }
    await pause(1000)
  }
}

function compareHistories(expected: ReadonlyMap<string, string>, found: ReadonlyMap<string, string>): void {
  const different = [...expected].filter(([key, bytes]) => found.get(key) !== bytes).map(([key]) => key)
  const first = different[0]
  const example = first === undefined ? '' : `; ${first}\n  expected ${expected.get(first)}\n  found    ${found.get(first)}`
  assert.equal(different.length, 0, `${different.length} of ${expected.size} histories differ${example}`)
  assert.equal(found.size, expected.size)
}

function compareFresh(expected: readonly string[], found: readonly string[]): void {
  assert.equal(new Set(found).size, found.length, 'a step was emitted twice and counted twice')
  assert.deepEqual(found, expected)
}

async function compareDeadLetters(
  wire: Wire,
  records: readonly LogRecord[],
  expected: { readonly rejected: ReadonlySet<string> },
  poison: ReadonlySet<string>
): Promise<number> {
  const originals = new Map(records.map((record) => [`${record.partition}:${record.offset}`, record]))
  const found = new Map<string, string>()
  for (const record of await readTopic(wire, deadLetterTopic(wire.config.topics.interactions, 'mtmi'))) {
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
  const startedMs = performance.now()
  for (;;) {
    let found = 0
    try {
      const index = await openIndexToRead(config, run)
      found = (await index.live())?.users ?? 0
      await index.close()
    } catch (error) {
      if (performance.now() - startedMs > restMsMax) throw error
    }
    if (found === users) return found
    if (performance.now() - startedMs > restMsMax) {
      for (const complaint of fleet.complaints) process.stderr.write(`${complaint}\n`)
      assert.equal(found, users, 'users in the index')
    }
    await pause(1000)
  }
}

if (process.argv[1] === import.meta.filename) {
  const number = (value: string | boolean | undefined, otherwise: number) => (typeof value === 'string' ? Number(value) : otherwise)
  const names = ['seed', 'kills', 'stops', 'users', 'events', 'partitions', 'sequencers', 'publishers', 'blowIntervalMs'] as const
  const flags = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]))
  const { values } = parseArgs({ options: { ...flags, 'no-train': { type: 'boolean' as const }, busy: { type: 'boolean' as const } } }) as {
    values: Record<string, string | boolean | undefined>
  }
  const given = Object.fromEntries(names.map((name) => [name, number(values[name], campaignDefaults[name])]))
  const say = (line: string) => process.stderr.write(`campaign: ${line}\n`)
  const report = await runCampaign({ ...campaignDefaults, ...given, train: values['no-train'] !== true, paced: values.busy !== true, say })
  process.stdout.write(`${JSON.stringify(report)}\n`)
}
