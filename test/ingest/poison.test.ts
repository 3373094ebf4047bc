// Records that nobody can use, of every kind that has been met: each goes to the dead letters with its bytes unchanged,
// and the stream goes on.

import assert from 'node:assert/strict'
import test from 'node:test'
import { gzipSync } from 'node:zlib'
import { IngestStage } from '../../src/ingest/ingestStage.ts'
import { openSource } from '../../src/ingest/sourceMapper.ts'
import { deadLetterTopic, readDeadLetter } from '../../src/log/deadLetter.ts'
import type { NewRecord } from '../../src/log/eventLog.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { SequenceStage } from '../../src/sequence/sequenceStage.ts'
import { MemoryDisk, MemorySequenceStore } from '../support/memorySequenceStore.ts'
import { type TestStageIo, testStageIo } from '../support/stageIo.ts'

const text = new TextEncoder()
const dayMs = 86_400_000

interface Poison {
  readonly kind: string
  readonly value: Uint8Array | null
  /** What the dead letter says, whichever stage it was. */
  readonly reason: RegExp
}

function interaction(io: TestStageIo, more: Partial<Interaction> = {}): Interaction {
  return { eventId: 'e', userId: 'ada', itemId: 'lamp', type: 'click', eventTimeMs: io.clock.nowMs(), ...more }
}

async function poisons(io: TestStageIo): Promise<Poison[]> {
  const encode = (more: Partial<Interaction>) => Buffer.from(io.codecs.interaction.encode(interaction(io, more)))
  const sound = encode({ eventId: 'poisoned' })
  const otherSchema = JSON.stringify({ type: 'record', name: 'Other', fields: [{ name: 'a', type: 'string' }] })
  const other = await io.registry.idFor('other-value', otherSchema)
  const schemaId = (bytes: Buffer, id: number) => {
    const copy = Buffer.from(bytes)
    copy.writeInt32BE(id, 1)
    return copy
  }
  const badText = encode({ userId: 'adaX' })
  badText[badText.indexOf('adaX') + 3] = 0xc3
  // An id of a billion characters is announced, and two bytes follow.
  const announced = Buffer.concat([sound.subarray(0, 5), Buffer.from([0xfe, 0xff, 0xff, 0xff, 0x07, 1, 2])])
  return [
    {
      kind: 'magic byte',
      value: Buffer.concat([Buffer.from([7]), sound.subarray(1)]),
      reason: /first byte is 7 instead of the magic byte 0/
    },
    { kind: 'no header', value: Buffer.from([0, 0]), reason: /truncated/ },
    { kind: 'no bytes', value: new Uint8Array(), reason: /truncated/ },
    { kind: 'unknown schema id', value: schemaId(sound, 4711), reason: /no schema with id 4711/ },
    { kind: 'negative schema id', value: schemaId(sound, -2), reason: /no schema with id -2/ },
    { kind: 'truncated', value: sound.subarray(0, sound.length - 4), reason: /truncated/ },
    { kind: 'trailing bytes', value: Buffer.concat([sound, sound]), reason: /trailing bytes/ },
    {
      kind: 'wrong type',
      value: Buffer.concat([sound.subarray(0, 5), Buffer.from(Float64Array.of(-1.5, 2.5, 1e9).buffer)]),
      reason: /context: no branch 4092 in a union of 2/
    },
    { kind: 'announced length', value: announced, reason: /truncated in eventId/ },
    {
      kind: 'incompatible schema',
      value: Buffer.concat([schemaId(sound, other).subarray(0, 5), Buffer.from([2, 0x61])]),
      reason: /incompatible|is missing/
    },
    { kind: 'null value', value: null, reason: /the record has no value/ },
    { kind: 'oversized', value: encode({ userId: 'x'.repeat(100_000) }), reason: /userId has 100000 bytes/ },
    { kind: 'bad UTF-8', value: badText, reason: /userId: not UTF-8/ },
    {
      kind: 'far future',
      value: encode({ eventTimeMs: io.clock.nowMs() + 365 * dayMs }),
      reason: /ahead of when the log took it/
    },
    {
      kind: 'microseconds for milliseconds',
      value: encode({ eventTimeMs: io.clock.nowMs() * 1000 }),
      reason: /is the unit right|it looks like microseconds/
    },
    { kind: 'negative time', value: encode({ eventTimeMs: -1 }), reason: /eventTimeMs is -1|found "-1"/ },
    { kind: 'empty event id', value: encode({ eventId: '' }), reason: /eventId is (""|missing)/ },
    { kind: 'empty user id', value: encode({ userId: '' }), reason: /user(Id is ""| is missing)/ },
    { kind: 'empty item id', value: encode({ itemId: '' }), reason: /item(Id is ""| is missing)/ },
    { kind: 'empty type', value: encode({ type: '' }), reason: /type is (""|missing)/ },
    {
      kind: 'value that is no number',
      value: encode({ value: Number.POSITIVE_INFINITY }),
      reason: /value (is|\(value\) is) Infinity/
    },
    { kind: 'unknown codec', value: gzipSync(sound), reason: /first byte is 31 instead of the magic byte/ },
    { kind: 'text', value: text.encode('{"userId": "ada"}'), reason: /first byte is 123 instead of the magic byte/ }
  ]
}

/** Good, poisoned, good, poisoned, …, good. @returns what was poisoned, by offset */
async function lay(io: TestStageIo, topic: string, kinds: readonly Poison[]): Promise<NewRecord[]> {
  const poisoned = kinds.map(
    ({ kind, value }): NewRecord => ({ key: Uint8Array.of(255, 0), value, headers: { kind: text.encode(kind) } })
  )
  const good = (i: number) => ({
    key: text.encode('ada'),
    value: io.codecs.interaction.encode(interaction(io, { eventId: `good ${i}`, itemId: `item ${i}` }))
  })
  await io.log.append(topic, [...poisoned.flatMap((record, i) => [good(i), record]), good(kinds.length)])
  return poisoned
}

function checkLetters(io: TestStageIo, topic: string, kinds: readonly Poison[], poisoned: readonly NewRecord[]): void {
  const letters = io.log.records(deadLetterTopic(topic, 'mtmi'))
  assert.equal(letters.length, kinds.length)
  for (const [i, record] of letters.entries()) {
    const { kind, reason } = kinds[i]!
    const letter = readDeadLetter(record)!
    assert.deepEqual(record.key, poisoned[i]!.key, kind)
    assert.equal(
      record.value === null ? null : Buffer.from(record.value).toString('hex'),
      kinds[i]!.value === null ? null : Buffer.from(kinds[i]!.value!).toString('hex'),
      kind
    )
    assert.deepEqual(letter.original.headers, poisoned[i]!.headers, kind)
    assert.deepEqual([letter.topic, letter.partition, letter.offset], [topic, 0, BigInt(2 * i + 1)], kind)
    assert.match(letter.exception, /^BadEventError$/, kind)
    assert.match(letter.message, reason, kind)
  }
}

test('through ingest: dead letters as they came, all others mapped', async () => {
  const settings = {
    sources: [
      {
        topic: 'clicks',
        format: 'avro-registry',
        user: 'userId',
        item: 'itemId',
        type: 'type',
        time: 'eventTimeMs',
        eventId: 'eventId',
        value: 'value'
      }
    ]
  }
  const io = await testStageIo(settings)
  // A tombstone of a topic of others is no dead letter.
  const kinds = (await poisons(io)).filter(({ kind }) => kind !== 'null value')
  const poisoned = await lay(io, 'clicks', kinds)
  const stage = new IngestStage({
    ...io,
    sources: [openSource(io.config.sources[0]!, io)],
    offsets: { load: () => undefined, save: () => {} }
  })
  await stage.run(new AbortController().signal, { untilEnd: true })
  checkLetters(io, 'clicks', kinds, poisoned)
  assert.deepEqual(stage.accounts().get('clicks'), {
    ...{ reader: 'ingest', read: 2 * kinds.length + 1, waiting: 0 },
    outcomes: { mapped: kinds.length + 1, filtered: 0, partly: 0, refused: kinds.length }
  })
  const ids = io.log.records('interactions').map(({ value }) => io.codecs.interaction.decode(value!).eventId)
  assert.deepEqual(
    ids,
    Array.from({ length: kinds.length + 1 }, (_, i) => `clicks/good ${i}`)
  )
  io.dispose()
})

test('through sequence: dead letters as they came, all others in their window', async () => {
  const io = await testStageIo()
  const kinds = await poisons(io)
  const poisoned = await lay(io, 'interactions', kinds)
  const disk = new MemoryDisk()
  const stop = new AbortController()
  const stage = new SequenceStage({ ...io, openStore: async () => new MemorySequenceStore(disk) })
  stage.drain(true)
  const running = stage.run(stop.signal)
  const end = BigInt(2 * kinds.length + 1)
  while ((stage.consumed().get(0) ?? 0n) < end || !stage.committed)
    await Promise.race([running, new Promise((resolve) => setImmediate(resolve))])
  stop.abort()
  await running
  checkLetters(io, 'interactions', kinds, poisoned)
  assert.equal(disk.counts.account.outcomes.rejected, kinds.length)
  const newest = io.log.records('user-sequences').at(-1)!
  const { steps } = io.codecs.userSequence.decode(newest.value!)
  assert.deepEqual(
    steps.map(({ itemId }) => itemId),
    Array.from({ length: kinds.length + 1 }, (_, i) => `item ${i}`)
  )
  io.dispose()
})

test('through ingest of JSON and CloudEvents', async () => {
  const paths = { user: 'u', item: 'i' }
  const io = await testStageIo({
    sources: [
      { topic: 'json', format: 'json', ...paths, type: '=click', time: 't' },
      { topic: 'cloud', format: 'cloudevents', ...paths }
    ]
  })
  const t = io.clock.nowMs()
  const good = { u: 'ada', i: 'lamp', t }
  const json: readonly [string | Uint8Array | null, RegExp][] = [
    ['', /not JSON/],
    ['{"u": "ada"', /not JSON/],
    [Uint8Array.of(0x22, 0xff, 0x22), /not UTF-8/],
    [gzipSync(JSON.stringify(good)), /not UTF-8/],
    ['null', /user is missing/],
    [JSON.stringify({ ...good, u: '' }), /user is missing: u is ""/],
    [JSON.stringify({ ...good, u: {} }), /user \(u\) is an object/],
    [JSON.stringify({ ...good, u: 'x'.repeat(2000) }), /userId has 2000 bytes/],
    [JSON.stringify({ ...good, u: '\ud800' }), /half of a surrogate pair/],
    [JSON.stringify({ ...good, t: t + 365 * dayMs }), /ahead of when the log took it/],
    [JSON.stringify({ ...good, t: -5 }), /found "-5"/],
    [JSON.stringify({ ...good, t: null }), /time is missing/]
  ]
  const bytes = (value: string | Uint8Array | null) => (typeof value === 'string' ? text.encode(value) : value)
  await io.log.append('json', [
    ...json.map(([value]) => ({ key: new Uint8Array(), value: bytes(value) })),
    { key: new Uint8Array(), value: bytes(JSON.stringify(good)) }
  ])
  const ce = {
    ce_specversion: text.encode('1.0'),
    ce_id: text.encode('1'),
    ce_source: text.encode('/s'),
    ce_type: text.encode('click')
  }
  const { ce_id: _, ...anonymous } = ce
  await io.log.append('cloud', [
    { key: new Uint8Array(), value: bytes(JSON.stringify(good)), headers: {} },
    { key: new Uint8Array(), value: bytes(JSON.stringify(good)), headers: anonymous },
    { key: new Uint8Array(), value: bytes(JSON.stringify(good)), headers: { ...ce, ce_source: Uint8Array.of(0xff) } },
    { key: new Uint8Array(), value: bytes(JSON.stringify(good)), headers: { ...ce, ce_time: text.encode('noon') } },
    { key: new Uint8Array(), value: null, headers: ce },
    { key: new Uint8Array(), value: bytes(JSON.stringify(good)), headers: ce }
  ])
  const sources = io.config.sources.map((source) => openSource(source, io))
  await new IngestStage({ ...io, sources, offsets: { load: () => undefined, save: () => {} } }).run(
    new AbortController().signal,
    {
      untilEnd: true
    }
  )
  const letters = io.log.records('json.mtmi.dlq')
  assert.equal(letters.length, json.length)
  for (const [i, letter] of letters.entries()) {
    const [value, reason] = json[i]!
    assert.deepEqual(letter.value === null ? null : [...letter.value], value === null ? null : [...bytes(value)!])
    assert.match(readDeadLetter(letter)!.message, reason)
  }
  const reasons = io.log.records('cloud.mtmi.dlq').map((letter) => readDeadLetter(letter)!.message)
  assert.equal(reasons.length, 5)
  for (const [i, reason] of [
    /ce_specversion is missing/,
    /eventId is missing: there is no header:ce_id/,
    /header:ce_source is not UTF-8/,
    /expected an ISO time, found "noon"/,
    /user is missing: u of a record without a value/
  ].entries())
    assert.match(reasons[i]!, reason)
  assert.equal(io.log.records('interactions').length, 2)
  io.dispose()
})
