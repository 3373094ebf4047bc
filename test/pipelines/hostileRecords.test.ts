// No record can stop a stage. Hostile records, admissible and not, go into every topic: by HTTP, by ingest and straight
// into the log. At the end every stage has read everything, the results are those of a run without the bad records, and
// each bad record has one dead letter of each stage that met it.
//
// HOSTILE_RUNS=100 HOSTILE_SEED=7 node --import tsx --test test/pipelines/hostileRecords.test.ts   runs longer.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { before, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { accountText, unaccounted } from '../../src/core/account.ts'
import { EmbeddedIndex } from '../../src/index/embedded/embeddedIndex.ts'
import { type IngestOffset, IngestStage } from '../../src/ingest/ingestStage.ts'
import { openSource } from '../../src/ingest/sourceMapper.ts'
import { CatalogueReader } from '../../src/log/catalogueReader.ts'
import { readDeadLetter } from '../../src/log/deadLetter.ts'
import type { NewRecord } from '../../src/log/eventLog.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { DriftWatch } from '../../src/monitor/driftWatch.ts'
import { createMetrics } from '../../src/monitor/metricsRegistry.ts'
import { PublishStage } from '../../src/publish/publishStage.ts'
import type { CatalogueItem } from '../../src/records/catalogueItem.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import type { ModelUpdate } from '../../src/records/modelUpdate.ts'
import type { UserSequence } from '../../src/records/userSequence.ts'
import { LmdbSequenceStore } from '../../src/sequence/lmdbSequenceStore.ts'
import { SequenceStage } from '../../src/sequence/sequenceStage.ts'
import { EncodeStage } from '../../src/serve/encodeStage.ts'
import { createHttpService } from '../../src/serve/http/httpService.ts'
import { TrainStage } from '../../src/train/trainStage.ts'
import { BatchLedgerMemory } from '../support/batchLedgerMemory.ts'
import { CheckpointMemory } from '../support/checkpointMemory.ts'
import { MemoryUserDisk } from '../support/memoryUserStore.ts'
import { newTrainer, until } from '../support/smallStream.ts'
import { type TestStageIo, testStageIo } from '../support/stageIo.ts'

const runs = Number(process.env.HOSTILE_RUNS ?? 3)
const seed = Number(process.env.HOSTILE_SEED ?? 1)
const text = new TextEncoder()
const longest = `${'字'.repeat(341)}x` // 1,024 bytes
const names = [
  'constructor',
  '__proto__',
  'toString',
  'hasOwnProperty',
  longest,
  'a'.repeat(1024),
  '😀 ünï',
  '..',
  '%2F',
  'x y',
  'ada',
  'bob'
]
const startMs = Date.UTC(2026, 5, 30, 23)

const settings = {
  model: { dimensions: 8, interestCount: 2 },
  train: { batchSize: 32, negatives: 16, reservoirMax: 100, checkpointIntervalMs: 1000, updateIntervalMs: 1000 },
  popularity: { contexts: ['constructor', 'country'], contextMin: 1 },
  sources: [
    {
      topic: 'clicks',
      format: 'json',
      user: 'u',
      item: 'i',
      type: 't',
      time: 'ms',
      eventId: 'id',
      context: { country: 'c' }
    }
  ]
}

/** Sound, however strange: each name is a user and an item, some are a country. */
const good: readonly Interaction[] = Array.from({ length: 180 }, (_, n) => ({
  eventId: `good ${n}`,
  userId: names[n % names.length]!,
  itemId: names[(n * 7 + Math.floor(n / names.length)) % names.length]!,
  type: 'click',
  eventTimeMs: startMs + n * 10_000,
  ...(n % 5 === 0 ? { value: Number.MAX_VALUE } : {}),
  context: { country: names[n % 4]! }
}))
const items: readonly CatalogueItem[] = names.map((itemId, i) => ({
  ...{ itemId, title: `two\nlines ${i}`, updatedAtMs: startMs },
  features: { genre: [names[i % 5]!] }
}))

type Route = 'http' | 'clicks' | 'interactions' | 'items' | 'user-sequences' | 'model-updates'
/** Inserted before the good record number `at` of its route. */
interface Bad {
  readonly at: number
  readonly route: Route
  readonly record: (io: TestStageIo) => Partial<NewRecord> | string
}

const badId = fc.constantFrom(
  '',
  '字'.repeat(342),
  'x'.repeat(1025),
  'a\u0000b',
  '\u001b[2J',
  '\u0085',
  'x'.repeat(50_000)
)
const halfPair = fc.constantFrom('\ud83d', 'x\ude00')
const rubbish = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).filter((bytes) => bytes[0] !== 0),
  fc.uint8Array({ maxLength: 4 }),
  fc.constantFrom(
    Uint8Array.of(0, 255, 255, 255, 254, 1),
    Uint8Array.of(0, 0, 0, 16, 200, 2, 65),
    gzipSync('{"userId":"u"}')
  )
)
const fieldOf = <F extends string>(...fields: F[]) =>
  fc.tuple(fc.constantFrom(...fields), badId).map(([field, id]) => ({ [field]: id }))
const entries = (count: number, value: string) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`n${i}`, value]))

/** Rubbish, a record cut short, or a record that can be read and does not hold what it must. */
function broken<T>(
  route: Route,
  changes: fc.Arbitrary<T>,
  encode: (io: TestStageIo, change: T) => Partial<NewRecord>
): fc.Arbitrary<Omit<Bad, 'at'>> {
  const cut = ({ value, ...rest }: Partial<NewRecord>, share: number) => ({
    ...rest,
    value: value == null ? null : value.slice(0, Math.floor(share * (value.length - 1)))
  })
  return fc.oneof(
    rubbish.map((value) => ({ route, record: () => ({ value }) })),
    fc.tuple(changes, fc.double({ min: 0, max: 1, noNaN: true })).map(([change, share]) => ({
      route,
      record: (io: TestStageIo) => cut(encode(io, change), share)
    })),
    changes.map((change) => ({ route, record: (io: TestStageIo) => encode(io, change) }))
  )
}

const interactionChange: fc.Arbitrary<Partial<Interaction>> = fc.oneof(
  fieldOf('eventId', 'userId', 'itemId', 'type'),
  fc.constantFrom<Partial<Interaction>>(
    { eventTimeMs: -1 },
    { eventTimeMs: 2 ** 52 - 1 },
    { eventTimeMs: startMs + 86_400_000 },
    { value: Number.NaN },
    { value: Number.NEGATIVE_INFINITY },
    { context: { '': 'x' } },
    { context: { 'a\u0000': 'x' } },
    { context: JSON.parse('{"__proto__": "x"}') },
    { context: entries(257, '') },
    { context: entries(20, 'x'.repeat(8000)) },
    { source: { topic: '', partition: 0, offset: 0n } }
  )
)
const badInteraction = broken('interactions', interactionChange, ({ codecs }, change) => ({
  key: text.encode('ada'),
  value: codecs.interaction.encode({ ...good[0]!, eventId: 'bad', ...change })
}))

const badItem = broken(
  'items',
  fc.oneof(
    fieldOf('itemId'),
    fc.constantFrom<Partial<CatalogueItem>>(
      { title: '字'.repeat(3000) },
      { features: { genre: [''] } },
      { features: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`f${i}`, ['x']])) },
      { updatedAtMs: -5 }
    )
  ),
  ({ codecs }, change) => ({ key: text.encode('i'), value: codecs.item.encode({ ...items[0]!, ...change }) })
)

const step = { itemId: 'ada', type: 'click', eventTimeMs: startMs }
const sequence: UserSequence = {
  ...{ userId: 'ghost', partition: 0, committed: 0n, watermarkMs: startMs, acceptedAtMs: startMs, newestMs: startMs },
  ...{ steps: [step, step], fresh: [{ position: 1, offset: 3n }], recent: [] }
}
const badSequence = broken(
  'user-sequences',
  fc.oneof(
    fieldOf('userId'),
    fc.constantFrom<Partial<UserSequence>>(
      { userId: 'somebody else' },
      { partition: 3 },
      { committed: 2n ** 50n },
      { newestMs: 0 },
      { steps: [step, { ...step, eventTimeMs: 5 }] },
      { steps: [step, { ...step, itemId: '' }] },
      { fresh: [0, 0].map((position) => ({ position, offset: 3n })) }
    )
  ),
  ({ codecs }, change) => ({ key: text.encode('ghost'), value: codecs.userSequence.encode({ ...sequence, ...change }) })
)

const commit = {
  kind: 'commit',
  step: 1,
  modelVersion: 's',
  model: '{',
  weightsChanged: false,
  memoryWeight: 0,
  committedAtMs: startMs
} as const
const badUpdate = broken(
  'model-updates',
  fc.constantFrom<ModelUpdate>(
    { kind: 'item-row', itemId: '', row: new Float32Array(8), count: 1 },
    { kind: 'item-row', itemId: 'ada', row: new Float32Array(8), count: -1 },
    { kind: 'item-row', itemId: 'ada', row: Float32Array.of(1, Number.NaN), count: 1 },
    { kind: 'item-neighbours', itemId: '', neighbours: ['b'], weights: Float32Array.of(1) },
    { kind: 'item-neighbours', itemId: 'ada', neighbours: ['b'], weights: Float32Array.of(-1) },
    { kind: 'item-neighbours', itemId: 'ada', neighbours: ['b', 'b'], weights: Float32Array.of(2, 1) },
    { kind: 'item-neighbours', itemId: 'ada', neighbours: ['b', 'c'], weights: Float32Array.of(1) },
    { kind: 'item-neighbours', itemId: 'ada', neighbours: ['b', 'c'], weights: Float32Array.of(1, 2) },
    { kind: 'item-neighbours', itemId: 'ada', neighbours: ['ada'], weights: Float32Array.of(1) },
    { kind: 'feature-row', feature: '', row: new Float32Array(8) },
    { kind: 'feature-row', feature: 'a=b', row: new Float32Array(0) },
    { kind: 'weights', name: '', shape: [1], values: new Float32Array(1) },
    commit,
    { ...commit, step: -1 },
    { ...commit, memoryWeight: -1 },
    { ...commit, memoryWeight: Number.NaN },
    { ...commit, modelVersion: '' },
    { ...commit, model: '{"name":"constructor","interestCount":2,"dimensions":8,"historyMax":5}' },
    { kind: 'model-version', modelVersion: '', reason: 'rebuild', begunAtMs: startMs }
  ),
  ({ codecs }, update) => ({ key: text.encode(update.kind), value: codecs.modelUpdate.encode(update) })
)

const click = { u: 'ada', i: 'bob', t: 'click', ms: startMs, id: 'bad' }
const badClick = fc
  .oneof(
    fieldOf('u', 'i', 't', 'id'),
    halfPair.map((half) => ({ i: half })),
    fc.constantFrom(
      { ms: 1e300 },
      { ms: -1 },
      { ms: 'noon' },
      { u: {} },
      { u: ['ada'] },
      { i: null },
      { c: 'x'.repeat(9000) }
    )
  )
  .map(
    (change): Omit<Bad, 'at'> => ({
      route: 'clicks',
      record: () => ({ value: text.encode(JSON.stringify({ ...click, ...change })) })
    })
  )
const badClickBytes = rubbish.map((value): Omit<Bad, 'at'> => ({ route: 'clicks', record: () => ({ value }) }))
const badPost = fc
  .oneof(
    fieldOf('userId', 'itemId', 'type'),
    halfPair.map((half) => ({ userId: half })),
    fc.constantFrom(
      { eventTime: -1 },
      { eventTime: startMs + 86_400_000 },
      { value: 'much' },
      { context: { a: 1 } },
      { context: entries(257, '') }
    )
  )
  .map(
    (change): Omit<Bad, 'at'> => ({
      route: 'http',
      record: () => JSON.stringify({ userId: 'ada', itemId: 'bob', type: 'click', ...change })
    })
  )
const badText = fc
  .constantFrom('{', '"text"', '{"__proto__": {"userId": "u"}}', '[[]]')
  .map((body): Omit<Bad, 'at'> => ({ route: 'http', record: () => body }))

const anyBad = fc.array(
  fc
    .tuple(
      fc.nat(80),
      fc.oneof(badInteraction, badItem, badSequence, badUpdate, badClick, badClickBytes, badPost, badText)
    )
    .map(([at, bad]): Bad => ({ at, ...bad })),
  { minLength: 30, maxLength: 60 }
)

const stagesOf: Readonly<Record<Exclude<Route, 'http'>, readonly string[]>> = {
  clicks: ['ingest'],
  interactions: ['publish', 'sequence'],
  items: ['sequence', 'serve', 'train'],
  'user-sequences': ['publish', 'train'],
  'model-updates': ['publish', 'serve']
}

interface Outcome {
  readonly learned: readonly string[]
  readonly users: readonly unknown[]
  readonly items: readonly unknown[]
}

before(() => loadBackend())

/** Everything that outlives a process. */
async function openDisk(directory: string) {
  return {
    ...{
      directory,
      io: await testStageIo(settings),
      checkpoints: new CheckpointMemory(3),
      ledger: new BatchLedgerMemory()
    },
    learned: new Set<string>(),
    offsets: new Map<string, IngestOffset>()
  }
}
type Disk = Awaited<ReturnType<typeof openDisk>>

/** Puts good and bad records where they belong. @returns the dead letters to be: `topic/offset stage` */
async function lay(disk: Disk, bad: readonly Bad[]): Promise<string[]> {
  const { io } = disk
  const { log, codecs } = io
  const expected: string[] = []
  let refused = 0
  const metrics = createMetrics({ clock: io.clock, processMetrics: false })
  const { app } = createHttpService({
    ...{ recommender: {} as never, erase: async () => {}, readiness: () => ({ ready: true, detail: '' }) },
    ...{ metrics, options: io.config.serve, clock: io.clock, futureMaxMs: io.config.events.futureMaxMs },
    accept: (interactions) =>
      log.append(
        'interactions',
        interactions.map((one) => ({ key: text.encode(one.userId), value: codecs.interaction.encode(one) }))
      )
  })
  const post = async (payload: string) =>
    (await app.inject({ method: 'POST', url: '/v1/events', headers: { 'content-type': 'application/json' }, payload }))
      .statusCode
  const putBad = async ({ route, record }: Bad) => {
    const made = record(io)
    if (route === 'http') {
      const status = await post(made as string)
      assert(status >= 400 && status < 500, `${status} for ${String(made).slice(0, 200)}`)
      refused++
      return
    }
    const { key = text.encode('k'), value = null } = made as Partial<NewRecord>
    const offset = (await log.ends(route)).get(0)!
    await log.append(route, [{ key, value }])
    for (const stage of stagesOf[route]) expected.push(`${route}/${offset} ${stage}`)
  }
  const of = (route: Route) => bad.filter((one) => one.route === route).sort((a, b) => a.at - b.at)
  const weave = async <T>(route: Route, records: readonly T[], put: (record: T) => Promise<unknown>) => {
    const waiting = of(route)
    for (const [i, record] of records.entries()) {
      while ((waiting[0]?.at ?? Number.POSITIVE_INFINITY) <= i) await putBad(waiting.shift()!)
      await put(record)
    }
    for (const one of waiting) await putBad(one)
  }
  await weave('items', items, (item) =>
    log.append('items', [{ key: text.encode(item.itemId), value: codecs.item.encode(item) }])
  )
  for (const route of ['user-sequences', 'model-updates'] as const) for (const one of of(route)) await putBad(one)
  const third = (n: number) => good.filter((_, i) => i % 3 === n)
  await weave('clicks', third(0), ({ eventId: id, userId: u, itemId: i, type: t, eventTimeMs: ms, context }) =>
    log.append('clicks', [
      { key: new Uint8Array(), value: text.encode(JSON.stringify({ id, u, i, t, ms, c: context!.country })) }
    ])
  )
  await weave('http', third(1), async ({ eventTimeMs: eventTime, ...event }) =>
    assert.equal(await post(JSON.stringify({ ...event, eventTime })), 202)
  )
  await weave('interactions', third(2), (one) =>
    log.append('interactions', [{ key: text.encode(one.userId), value: codecs.interaction.encode(one) }])
  )
  if (bad.length > 0) {
    // Sound, and not counted: types that every object has.
    for (const type of ['constructor', '__proto__'])
      await log.append('interactions', [
        { key: text.encode('ada'), value: codecs.interaction.encode({ ...good[0]!, eventId: type, type }) }
      ])
  }
  await app.close()
  const posted = await metrics.registry.getSingleMetric('mtmi_stage_records_total')!.get()
  const counted =
    posted.values.find(({ labels: { reader, outcome } }) => reader === 'serve' && outcome === 'refused')?.value ?? 0
  assert(counted >= refused - of('http').length && counted <= refused)
  return expected
}

/** All stages, until each has read everything that there is for it. */
async function live(disk: Disk, hasBad: boolean): Promise<Outcome> {
  const { io, directory, checkpoints, ledger, learned } = disk
  const { log, config } = io
  const end = async (topic: string) => (await log.ends(topic)).get(0) ?? 0n
  await new IngestStage({
    ...{ ...io, sources: config.sources.map((source) => openSource(source, io)) },
    offsets: {
      load: (topic) => disk.offsets.get(topic),
      save: (topic, _partition, offset) => void disk.offsets.set(topic, offset)
    }
  }).run(new AbortController().signal, { untilEnd: true })

  const stop = new AbortController()
  const catalogue = new CatalogueReader(io, { stage: 'sequence' })
  const drift = new DriftWatch({ options: config.drift, clock: io.clock, catalogue: catalogue.catalogue })
  const sequencing = new SequenceStage({
    ...io,
    catalogue,
    drift,
    openStore: (partition) => LmdbSequenceStore.open(directory, partition)
  })
  sequencing.drain(true)
  const sequenced = sequencing.run(stop.signal)
  const interactions = await end('interactions')
  const catalogueEnd = await end('items')
  await until(
    async () =>
      sequencing.consumed().get(0) === interactions && sequencing.committed && catalogue.next === catalogueEnd,
    sequenced
  )
  const { account } = sequencing.status()
  const { ignored = 0, rejected = 0 } = account.outcomes
  assert.equal(unaccounted(account), 0)
  assert.equal(ignored, hasBad ? 2 : 0)
  assert.equal(rejected > 0, hasBad && log.records('interactions.mtmi.dlq').length > 0)
  stop.abort()
  await sequenced

  const stopModel = new AbortController()
  const index = await EmbeddedIndex.open(path.join(directory, 'index'), { searchThread: false })
  const shared = new CatalogueReader(io, { stage: 'train' })
  const publish = new PublishStage({
    ...{ ...io, catalogue: shared, index, replica: new ModelReplica({ gated: true }) },
    users: new MemoryUserDisk()
  })
  const train = new TrainStage({
    ...{ ...io, catalogue: shared, trainer: newTrainer(io), checkpoints, ledger },
    onTrained: (_batch, examples) => {
      for (const { userId, history, target } of examples)
        learned.add(JSON.stringify([userId, history.map(({ itemId }) => itemId), target.itemId]))
    }
  })
  const served = new CatalogueReader(io, { stage: 'serve' })
  const encode = new EncodeStage({ ...io, catalogue: served, index, replica: new ModelReplica({ gated: true }) })
  for (const stage of [train, publish]) stage.drain(true)
  const running = Promise.all([
    train.run(stopModel.signal),
    publish.run(stopModel.signal),
    encode.run(stopModel.signal)
  ]).then(() => {})
  running.catch(() => stopModel.abort())
  const sequences = await end('user-sequences')
  await until(async () => {
    const { sequences: read, model, interactions: counted } = publish.consumed()
    const { items: waitingItems, users: waitingUsers } = publish.waiting()
    return (
      [
        train.consumed().get(0) === sequences && train.updatesSent,
        read.get(0) === sequences && model === (await end('model-updates'))
      ].every(Boolean) &&
      counted.get(0) === interactions &&
      waitingItems === 0 &&
      waitingUsers === 0 &&
      shared.next === catalogueEnd &&
      served.next === catalogueEnd &&
      encode.ready &&
      BigInt(encode.account().read) === (await end('model-updates'))
    )
  }, running)
  for (const account of [train.account(), ...publish.accounts(), encode.account(), shared.account(), served.account()])
    assert.equal(unaccounted(account), 0, accountText(account))
  const letters = lettersOf(disk)
  const refused = (topic: string, stage: string) =>
    letters.filter((letter) => letter.startsWith(`${topic}/`) && letter.endsWith(` ${stage}`)).length
  for (const [topic, stage, account] of [
    ['items', 'train', shared.account()],
    ['items', 'serve', served.account()],
    ['model-updates', 'publish', publish.accounts()[2]],
    ['model-updates', 'serve', encode.account()]
  ] as const) {
    assert.equal(BigInt(account.read), await end(topic), `${stage} has read all of ${topic}`)
    assert.equal(account.outcomes.refused, refused(topic, stage), `${stage} of ${topic}: ${accountText(account)}`)
  }
  const outcome = {
    learned: [...learned].sort(),
    users: await Promise.all(names.map(async (id) => [id, await index.user(id)])),
    items: await Promise.all(names.map(async (id) => [id, await index.item(id)]))
  }
  stopModel.abort()
  await running
  await index.close()
  return outcome
}

async function withDisk<T>(body: (disk: Disk) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'mtmi-hostile-'))
  const disk = await openDisk(directory)
  try {
    return await body(disk)
  } finally {
    disk.io.dispose()
    rmSync(directory, { recursive: true, force: true })
  }
}

function lettersOf({ io }: Disk): string[] {
  return Object.keys(stagesOf).flatMap((topic) =>
    io.log.records(`${topic}.mtmi.dlq`).map((record) => {
      const letter = readDeadLetter(record)!
      assert(letter.message.length > 0)
      return `${letter.topic}/${letter.offset} ${letter.stage}`
    })
  )
}

test('hostile records in every topic stop no stage, change no result, and are all accounted for, once, also after a restart', async () => {
  const undisturbed = await withDisk(async (disk) => {
    await lay(disk, [])
    return live(disk, false)
  })
  assert(undisturbed.learned.length > 100)
  for (const [id, found] of [...undisturbed.users, ...undisturbed.items] as [string, unknown][])
    assert(found !== undefined, `${id} is in the index`)
  await fc.assert(
    fc.asyncProperty(anyBad, (bad) =>
      withDisk(async (disk) => {
        const expected = await lay(disk, bad)
        const outcome = await live(disk, true)
        assert.deepEqual(lettersOf(disk).sort(), expected.sort())
        assert.deepEqual(outcome, undisturbed)
        await live(disk, true)
        assert.deepEqual(lettersOf(disk).sort(), expected)
      })
    ),
    { numRuns: runs, seed, endOnFailure: true, includeErrorInReport: true }
  )
})
