import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { progressOf } from '../../pipelines/ingest.ts'
import { type AccountNumbers, unaccounted } from '../../src/core/account.ts'
import { ManualClock, systemClock } from '../../src/core/clock.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { MtmiError } from '../../src/core/errors.ts'
import { Rng } from '../../src/core/rng.ts'
import { type IngestOffset, type IngestOffsets, IngestStage } from '../../src/ingest/ingestStage.ts'
import { openSource } from '../../src/ingest/sourceMapper.ts'
import { deadLetterTopic, readDeadLetter } from '../../src/log/deadLetter.ts'
import type { EventLog, LogRecord, NewRecord } from '../../src/log/eventLog.ts'
import { LocalLog } from '../../src/log/local/localLog.ts'
import { partitionOf } from '../../src/log/partitioner.ts'
import { createMetrics } from '../../src/monitor/metricsRegistry.ts'
import { createCodecs } from '../../src/records/avro/avroCodecs.ts'
import { HttpRegistry } from '../../src/records/registry/httpRegistry.ts'
import { loadSchemas } from '../../src/records/registry/schemaRegistry.ts'
import { foreignType } from '../support/foreignAvro.ts'
import { RegistryServer } from '../support/registryServer.ts'
import { type TestStageIo, testStageIo } from '../support/stageIo.ts'

const utf8 = new TextEncoder()
const never = new AbortController().signal

class MemoryOffsets implements IngestOffsets {
  readonly saved = new Map<string, bigint>()
  topicId = ''
  load(topic: string, partition: number): IngestOffset | undefined {
    const next = this.saved.get(`${topic}/${partition}`)
    return next === undefined ? undefined : { next, topicId: this.topicId }
  }
  save(topic: string, partition: number, { next, topicId }: IngestOffset): void {
    this.saved.set(`${topic}/${partition}`, next)
    this.topicId = topicId
  }
}

async function recordsOf(log: EventLog, topic: string): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  for await (const event of log.read(topic, { resume: async () => 0n, signal: never, untilEnd: true }))
    if (event.kind === 'records') records.push(...event.records)
  return records
}

const account = (read: number, outcomes: AccountNumbers<'ingest'>['outcomes']) => ({
  reader: 'ingest',
  read,
  outcomes,
  waiting: 0
})

test('a JSON, an Avro and a CloudEvents topic become interactions keyed by user, on the local log', async () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'mtmi-ingest-'))
  const server = await new RegistryServer().start()
  const clock = new ManualClock(Date.UTC(2024, 0, 1))
  const config = resolveConfig(
    {
      topics: { partitions: 3 },
      registry: { url: server.url },
      sources: [
        {
          topic: 'shop.clicks',
          format: 'json',
          user: ['payload.user.id', 'payload.visitor'],
          item: 'payload.items[0].sku',
          type: { path: 'event', names: { product_view: 'view', add_to_cart: 'addtocart' } },
          time: { path: 'payload.ts', unit: 's' },
          value: 'payload.items[0].price',
          context: { device: 'payload.device', channel: '=web' },
          filter: { path: 'payload.bot', exists: false }
        },
        {
          topic: 'shop.orders',
          format: 'avro-registry',
          user: 'buyer.account',
          item: 'line.article',
          type: '=purchase',
          time: { path: 'at', unit: 'us' },
          eventId: 'header:trace',
          value: 'line.amount'
        },
        {
          topic: 'app.events',
          format: 'cloudevents',
          user: 'header:ce_subject',
          item: 'data.item',
          context: { country: 'data.country' }
        }
      ]
    },
    {}
  )
  const log = await LocalLog.open(directory, { partitions: (topic) => (topic === 'interactions' ? 3 : 1), clock })
  try {
    const registry = new HttpRegistry(config.registry, { clock: systemClock, rng: new Rng(1), retryFirstMs: 1 })
    const codecs = await createCodecs(registry, config.topics)
    const orderSchema = {
      type: 'record',
      name: 'Order',
      namespace: 'shop',
      fields: [
        { name: 'buyer', type: { type: 'record', name: 'Buyer', fields: [{ name: 'account', type: 'long' }] } },
        { name: 'at', type: { type: 'long', logicalType: 'timestamp-micros' } },
        {
          name: 'line',
          type: [
            'null',
            {
              type: 'record',
              name: 'Line',
              fields: [
                { name: 'article', type: 'string' },
                { name: 'amount', type: 'float' }
              ]
            }
          ]
        }
      ]
    }
    const orderId = server.add('shop.orders-value', orderSchema)
    const order = foreignType(JSON.stringify(orderSchema)).toBuffer({
      buyer: { account: 2n ** 62n + 1n },
      at: 1_700_000_000_987_654n,
      line: { article: 'B2', amount: 2.5 }
    })
    const none = new Uint8Array()
    const json = (value: unknown) => utf8.encode(JSON.stringify(value))
    await log.append('shop.clicks', [
      {
        key: none,
        value: json({
          event: 'product_view',
          payload: { user: { id: 12 }, items: [{ sku: 'A1', price: 9.5 }], ts: 1_700_000_000, device: 'phone' }
        })
      },
      { key: none, value: json({ event: 'newsletter', payload: { visitor: 'v' } }) },
      {
        key: none,
        value: json({ event: 'product_view', payload: { visitor: 'v', items: [{ sku: 'A1' }], ts: 1, bot: true } })
      },
      {
        key: none,
        value: json({
          event: 'add_to_cart',
          payload: { visitor: 'väter', items: [{ sku: 'A1' }], ts: 1_700_000_001.5 }
        })
      }
    ])
    await log.append('shop.orders', [
      {
        key: none,
        value: Buffer.concat([Buffer.from([0, 0, 0, 0, orderId]), order]),
        headers: { trace: utf8.encode('trace-1') }
      }
    ])
    const ce = {
      ce_specversion: '1.0',
      ce_id: '7',
      ce_source: '//app',
      ce_type: 'view',
      ce_time: '2023-11-14T22:13:21Z',
      ce_subject: 'ada',
      'content-type': 'application/json'
    }
    await log.append('app.events', [
      {
        key: none,
        value: json({ data: { item: 'C3', country: 'AT' } }),
        headers: Object.fromEntries(Object.entries(ce).map(([name, value]) => [name, utf8.encode(value)]))
      }
    ])

    const io = { config, clock, log, registry, codecs }
    const stage = new IngestStage({
      ...io,
      sources: config.sources.map((source) => openSource(source, io)),
      offsets: new MemoryOffsets()
    })
    await stage.run(never, { untilEnd: true })

    const id = (await log.describe('shop.clicks')).id.slice(0, 8)
    const records = await recordsOf(log, 'interactions')
    await loadSchemas(registry, records)
    const interactions = records.map((record) => ({ record, interaction: codecs.interaction.decode(record.value!) }))
    interactions.sort((a, b) => (a.interaction.eventId < b.interaction.eventId ? -1 : 1))
    assert.deepEqual(
      interactions.map(({ interaction }) => interaction),
      [
        {
          eventId: '//app/7',
          userId: 'ada',
          itemId: 'C3',
          type: 'view',
          eventTimeMs: 1_700_000_001_000,
          context: { country: 'AT' },
          source: { topic: 'app.events', partition: 0, offset: 0n }
        },
        {
          eventId: `shop.clicks:${id}/0/0`,
          userId: '12',
          itemId: 'A1',
          type: 'view',
          eventTimeMs: 1_700_000_000_000,
          value: 9.5,
          context: { device: 'phone', channel: 'web' },
          source: { topic: 'shop.clicks', partition: 0, offset: 0n }
        },
        {
          eventId: `shop.clicks:${id}/0/3`,
          userId: 'väter',
          itemId: 'A1',
          type: 'addtocart',
          eventTimeMs: 1_700_000_001_500,
          context: { channel: 'web' },
          source: { topic: 'shop.clicks', partition: 0, offset: 3n }
        },
        {
          eventId: 'shop.orders/trace-1',
          userId: '4611686018427387905',
          itemId: 'B2',
          type: 'purchase',
          eventTimeMs: 1_700_000_000_988,
          value: 2.5,
          source: { topic: 'shop.orders', partition: 0, offset: 0n }
        }
      ]
    )
    for (const { record, interaction } of interactions) {
      assert.equal(new TextDecoder().decode(record.key), interaction.userId)
      assert.equal(record.partition, partitionOf(utf8.encode(interaction.userId), 3))
    }
    assert.deepEqual(stage.accounts().get('shop.clicks'), account(4, { mapped: 2, filtered: 2, partly: 0, refused: 0 }))
    for (const topic of ['shop.clicks', 'shop.orders', 'app.events'])
      assert.deepEqual([...(await log.ends(deadLetterTopic(topic, 'mtmi'))).values()], [0n])
  } finally {
    await log.close()
    await server.stop()
    rmSync(directory, { recursive: true })
  }
})

// ---------------------------------------------------------------------------------------------------------------------

const simple = {
  sources: [{ topic: 'clicks', format: 'json', user: 'u', item: 'i', type: '=click', time: 'log:time' }]
}
const click = (u: string, i: string): NewRecord => ({
  key: new Uint8Array(),
  value: utf8.encode(JSON.stringify({ u, i }))
})

function stageOf(io: TestStageIo, offsets: IngestOffsets): IngestStage {
  return new IngestStage({ ...io, sources: io.config.sources.map((source) => openSource(source, io)), offsets })
}

const idsOf = (io: TestStageIo) =>
  io.log.records('interactions').map(({ value }) => io.codecs.interaction.decode(value!).eventId)

test('reads on from where it was; without that everything again, under the same event ids', async () => {
  const io = await testStageIo(simple)
  const offsets = new MemoryOffsets()
  await io.log.append('clicks', [click('a', 'x'), click('b', 'y')])
  await stageOf(io, offsets).run(never, { untilEnd: true })
  assert.deepEqual([...offsets.saved], [['clicks/0', 2n]])
  await io.log.append('clicks', [click('c', 'z')])
  const stage = stageOf(io, offsets)
  await stage.run(never, { untilEnd: true })
  assert.deepEqual(stage.accounts().get('clicks'), account(1, { mapped: 1, filtered: 0, partly: 0, refused: 0 }))
  assert.deepEqual(idsOf(io), ['clicks/0/0', 'clicks/0/1', 'clicks/0/2'])
  await stageOf(io, new MemoryOffsets()).run(never, { untilEnd: true })
  assert.deepEqual(idsOf(io).slice(3), ['clicks/0/0', 'clicks/0/1', 'clicks/0/2'])
  io.dispose()
})

test('goes on from where its group was, if that is further than it remembers', async () => {
  const io = await testStageIo(simple)
  await io.log.append('clicks', [click('a', 'x'), click('b', 'y'), click('c', 'z')])
  const groups: (string | undefined)[] = []
  /** A log that keeps offsets of groups, as Kafka does. */
  const kept = (committed: bigint): EventLog => ({
    read: (topic, options) => {
      groups.push(options.group)
      return io.log.read(topic, { ...options, resume: (partition) => options.resume(partition, committed) })
    },
    append: (...args) => io.log.append(...args),
    ends: (topic) => io.log.ends(topic),
    describe: (topic) => io.log.describe(topic),
    close: () => io.log.close()
  })
  const read = async (remembered: bigint | undefined, committed: bigint) => {
    const offsets = new MemoryOffsets()
    if (remembered !== undefined) offsets.save('clicks', 0, { next: remembered, topicId: '' })
    const stage = new IngestStage({
      ...io,
      log: kept(committed),
      sources: [openSource(io.config.sources[0]!, io)],
      offsets
    })
    await stage.run(never, { untilEnd: true })
    return stage.accounts().get('clicks')?.read
  }
  assert.equal(await read(undefined, 2n), 1)
  assert.equal(await read(1n, 2n), 1)
  assert.equal(await read(2n, 1n), 1)
  assert.deepEqual(new Set(groups), new Set(['mtmi-ingest']))
  io.dispose()
})

test('what is not durable is not remembered', async () => {
  const io = await testStageIo(simple)
  const offsets = new MemoryOffsets()
  await io.log.append('clicks', [click('a', 'x')])
  const full: EventLog = {
    read: (...args) => io.log.read(...args),
    append: async () => {
      throw new MtmiError('UNAVAILABLE', 'no space left')
    },
    ends: (topic) => io.log.ends(topic),
    describe: (topic) => io.log.describe(topic),
    close: async () => {}
  }
  const stage = new IngestStage({ ...io, log: full, sources: [openSource(io.config.sources[0]!, io)], offsets })
  await assert.rejects(stage.run(never, { untilEnd: true }), /no space left/)
  assert.equal(offsets.saved.size, 0)
  io.dispose()
})

test('a catalogue topic becomes items: the newest state, and deletions', async () => {
  const source = {
    topic: 'products',
    kind: 'items',
    format: 'json',
    item: 'key',
    title: 'name',
    features: { brand: 'brand' }
  }
  const io = await testStageIo({ sources: [source] })
  const product = (key: string, value: object | null): NewRecord => ({
    key: utf8.encode(key),
    value: value === null ? null : utf8.encode(JSON.stringify(value))
  })
  await io.log.append('products', [
    product('a', { name: 'Lamp', brand: 'Lux' }),
    product('b', { name: 7 }),
    product('a', null),
    product('', { name: 'x' })
  ])
  await stageOf(io, new MemoryOffsets()).run(never, { untilEnd: true })
  const items = io.log
    .records('items')
    .map(({ key, value }) => [new TextDecoder().decode(key), value === null ? null : io.codecs.item.decode(value)])
  const updatedAtMs = io.clock.nowMs()
  assert.deepEqual(items, [
    ['a', { itemId: 'a', title: 'Lamp', features: { brand: ['Lux'] }, updatedAtMs }],
    ['b', { itemId: 'b', title: '7', features: {}, updatedAtMs }],
    ['a', null]
  ])
  assert.equal(io.log.records(deadLetterTopic('products', 'mtmi')).length, 1)
  io.dispose()
})

test('too many bad records stop it before they are taken; another topic’s good ones are kept', async () => {
  const other = { topic: 'other', format: 'json', user: 'u', item: 'i', type: '=click', time: 'log:time' }
  const io = await testStageIo({ sources: [...simple.sources, other] })
  const offsets = new MemoryOffsets()
  const wrong = Array.from(
    { length: 1400 },
    (_, i): NewRecord => ({ key: new Uint8Array(), value: utf8.encode(JSON.stringify({ user: i })) })
  )
  await io.log.append('clicks', [click('a', 'x'), ...wrong])
  await io.log.append('other', [click('b', 'y')])
  await assert.rejects(stageOf(io, offsets).run(never, { untilEnd: true }), (error) => {
    assert(error instanceof MtmiError && error.code === 'BAD_EVENT')
    assert.match(
      error.message,
      /999 of the last 1000 records of clicks were refused \(events\.badShareMax 0\.5\): see `mtmi mapping try --topic clicks`/
    )
    return true
  })
  // What is behind the remembered offset is among the dead letters, and nothing beyond it.
  const letters = io.log.records(deadLetterTopic('clicks', 'mtmi'))
  assert.equal(BigInt(letters.length) + 1n, offsets.saved.get('clicks/0'))
  assert(letters.length < 1000)
  assert.deepEqual(idsOf(io).sort(), ['clicks/0/0', 'other/0/0'])
  io.dispose()
})

test('while the registry is away it waits, and loses nothing', async () => {
  const server = await new RegistryServer().start()
  const io = await testStageIo({
    registry: { url: server.url },
    sources: [{ topic: 'clicks', format: 'avro-registry', user: 'u', item: 'i', type: '=click', time: 'log:time' }]
  })
  const schema = {
    type: 'record',
    name: 'Click',
    fields: [
      { name: 'u', type: 'string' },
      { name: 'i', type: 'string' }
    ]
  }
  const id = server.add('clicks-value', schema)
  await server.stop()
  const body = foreignType(JSON.stringify(schema)).toBuffer({ u: 'ada', i: 'lamp' })
  const value = Buffer.concat([Buffer.from([0, 0, 0, 0, id]), body])
  await io.log.append(
    'clicks',
    Array.from({ length: 20 }, () => ({ key: new Uint8Array(), value }))
  )

  let failed = () => {}
  const failing = new Promise<void>((resolve) => {
    failed = resolve
  })
  const registry = new HttpRegistry(io.config.registry, {
    clock: systemClock,
    rng: new Rng(1),
    retryFirstMs: 1,
    onProblem: () => failed()
  })
  const source = openSource(io.config.sources[0]!, { ...io, registry })
  const running = new IngestStage({ ...io, sources: [source], offsets: new MemoryOffsets() }).run(never, {
    untilEnd: true
  })
  await failing
  assert.equal(io.log.records('interactions').length, 0)
  server.fail(3, 500)
  await server.start()
  await running
  assert.equal(io.log.records('interactions').length, 20)
  assert.equal(io.log.records(deadLetterTopic('clicks', 'mtmi')).length, 0)

  // Asked to end meanwhile, it ends at once, and leaves the records for the next start.
  await server.stop()
  const again = new HttpRegistry(io.config.registry, {
    clock: systemClock,
    rng: new Rng(1),
    retryFirstMs: 60_000,
    onProblem: () => stop.abort()
  })
  const stop = new AbortController()
  stop.signal.addEventListener('abort', () => again.close())
  const offsets = new MemoryOffsets()
  await new IngestStage({
    ...io,
    sources: [openSource(io.config.sources[0]!, { ...io, registry: again })],
    offsets
  }).run(stop.signal)
  assert.equal(offsets.saved.size, 0)
  io.dispose()
})

test('what was read and what came of it is counted, and how far the stage is, over all sources', async () => {
  const mapping = {
    format: 'json',
    user: 'u',
    item: 'i',
    type: '=click',
    time: 't',
    filter: { path: 'bot', exists: false }
  }
  const io = await testStageIo({
    sources: [
      { topic: 'clicks', ...mapping },
      { topic: 'views', ...mapping }
    ]
  })
  const record = (value: object) => ({ key: utf8.encode('k'), value: utf8.encode(JSON.stringify(value)) })
  const good = { u: 'ada', i: 'lamp', t: io.clock.nowMs() }
  await io.log.append('clicks', [
    record(good),
    record({ ...good, bot: true }),
    record({ ...good, i: '' }),
    { key: utf8.encode('k'), value: null }
  ])
  await io.log.append('views', [record(good)])
  const metrics = createMetrics({ clock: io.clock, processMetrics: false })
  const sources = io.config.sources.map((source) => openSource(source, io))
  const stage = new IngestStage({
    ...io,
    sources,
    offsets: new MemoryOffsets(),
    measure: (report) => metrics.apply(report)
  })
  const stop = new AbortController()
  const running = stage.run(stop.signal)
  const done = async () => {
    const { consumed, ends } = await progressOf(stage, io.log)
    return consumed.size === 2 && [...ends].every(([number, end]) => consumed.get(number) === end)
  }
  while (!(await done())) await Promise.race([running, new Promise((resolve) => setImmediate(resolve))])
  // Two sources of one partition each: four records and one.
  assert.deepEqual([...(await progressOf(stage, io.log)).ends.values()].sort(), [1n, 4n])
  assert.equal((await progressOf(stage, io.log)).takenAtMs, io.clock.nowMs())
  stop.abort()
  await running
  const { body } = await metrics.expose()
  const value = (name: string) =>
    Number(
      body
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')[1]
    )
  assert.equal(value('mtmi_stage_read_records_total{reader="ingest"}'), 5)
  // Five keys of one byte, and the values.
  const bytes = [good, { ...good, bot: true }, { ...good, i: '' }, good].map((one) => JSON.stringify(one).length)
  assert.equal(
    value('mtmi_ingest_read_bytes_total'),
    bytes.reduce((sum, one) => sum + one, 5)
  )
  assert.deepEqual(
    ['mapped', 'filtered', 'refused'].map((outcome) =>
      value(`mtmi_stage_records_total{reader="ingest",outcome="${outcome}"}`)
    ),
    [2, 2, 1]
  )
  io.dispose()
})

test('a record with bad elements is one record of the account, one dead letter, and its good elements are used', async () => {
  const io = await testStageIo({ sources: [{ ...simple.sources[0], item: 'items[*].sku' }] })
  const cart = (...items: object[]) => ({
    key: utf8.encode('k'),
    value: utf8.encode(JSON.stringify({ u: 'a', items }))
  })
  await io.log.append('clicks', [
    cart({ sku: 'x' }, { sku: 'y' }),
    cart({ sku: 'z' }, {}, { sku: 7 }, {}),
    cart({}),
    cart()
  ])
  const stage = stageOf(io, new MemoryOffsets())
  await stage.run(never, { untilEnd: true })
  const counts = stage.accounts().get('clicks')!
  assert.deepEqual(counts, account(4, { mapped: 1, filtered: 1, partly: 1, refused: 1 }))
  assert.equal(unaccounted(counts), 0)
  assert.deepEqual(idsOf(io), ['clicks/0/0#0', 'clicks/0/0#1', 'clicks/0/1#0', 'clicks/0/1#2'])
  const letters = io.log.records(deadLetterTopic('clicks', 'mtmi')).map((record) => readDeadLetter(record)!)
  assert.deepEqual(
    letters.map(({ offset }) => offset),
    [1n, 2n]
  )
  assert.match(letters[0]!.message, /^element 1: item is missing.*; element 3: item is missing/)
  io.dispose()
})
