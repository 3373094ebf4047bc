// Against kafkajs' own reader and writer, which were made by others from the same protocol.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import test from 'node:test'
import { CorruptError } from '../../../src/core/errors.ts'
import { Rng } from '../../../src/core/rng.ts'
import type { LogRecord, NewRecord } from '../../../src/log/eventLog.ts'
import { compressionTypes, registerCompressionCodecs } from '../../../src/log/kafka/compressionCodecs.ts'
import { readRecordBatches, readRecords, recordBytesMax, writeRecordBatch } from '../../../src/log/kafka/recordBatch.ts'

const require = createRequire(import.meta.url)
interface Encoder {
  readonly buffer: Buffer
}
interface KafkajsRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Record<string, Buffer>
  readonly offset: string
  readonly timestamp: string
}
const kafkajs = {
  Decoder: require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => object,
  read: require('kafkajs/src/protocol/recordBatch/v0/decoder') as (
    decoder: object
  ) => Promise<{ records: KafkajsRecord[] }>,
  record: require('kafkajs/src/protocol/recordBatch/record/v0') as (record: object) => Encoder,
  write: (require('kafkajs/src/protocol/recordBatch/v0') as { RecordBatch: (batch: object) => Promise<Encoder> })
    .RecordBatch
}

const plain = { producerId: 7n, producerEpoch: 3, firstSequence: 1234, transactional: false }
const timestampMs = 1_767_571_408_775

/** Keys, values and headers of lengths on both sides of each length of a varint. */
function someRecords(seed: number, count: number): NewRecord[] {
  const rng = new Rng(seed)
  const lengths = [0, 1, 63, 64, 200, 8191, 8192]
  const some = () => Uint8Array.from({ length: lengths[rng.integer(lengths.length)]! }, () => rng.integer(256))
  return Array.from({ length: count }, (_, i) => ({
    key: some(),
    value: i % 7 === 3 ? null : some(),
    ...(i % 3 === 0 ? { headers: { ce_id: some(), größe: some() } } : {})
  }))
}

function hex(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString('hex')
}

function shown({
  key,
  value,
  headers = {}
}: {
  key: Uint8Array | null
  value: Uint8Array | null
  headers?: Readonly<Record<string, Uint8Array>>
}) {
  return [hex(key), hex(value), Object.entries(headers).map(([name, bytes]) => [name, hex(bytes)])]
}

function asBuffers({ key, value, headers = {} }: NewRecord): object {
  return {
    key: Buffer.from(key),
    value: value === null ? null : Buffer.from(value),
    headers: Object.fromEntries(Object.entries(headers).map(([name, bytes]) => [name, Buffer.from(bytes)]))
  }
}

async function read(bytes: Buffer, from = 0n): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  for (const batch of (await readRecordBatches(bytes))!) readRecords(batch, 5, from, records)
  return records
}

for (const [name, type] of Object.entries(compressionTypes)) {
  test(`what is written with ${name} is what kafkajs reads, and what is read again`, async () => {
    await registerCompressionCodecs()
    const records = someRecords(1, 200)
    const bytes = await writeRecordBatch(records, timestampMs, type, plain)
    const theirs = (await kafkajs.read(new kafkajs.Decoder(bytes))).records
    assert.deepEqual(theirs.map(shown), records.map(shown))
    assert.deepEqual(
      theirs.map(({ offset, timestamp }) => [offset, timestamp]),
      records.map((_, i) => [String(i), String(timestampMs)])
    )
    const ours = await read(bytes)
    assert.deepEqual(ours.map(shown), records.map(shown))
    assert.deepEqual(
      ours.map(({ offset, partition, timestampMs: at }) => [offset, partition, at]),
      records.map((_, i) => [BigInt(i), 5, timestampMs])
    )
  })
}

test('uncompressed, the bytes are those of kafkajs, checksum and all', async () => {
  const records = someRecords(2, 300)
  for (const transactional of [false, true]) {
    const theirs = await kafkajs.write({
      records: records.map((record, offsetDelta) => kafkajs.record({ ...asBuffers(record), offsetDelta })),
      firstTimestamp: timestampMs,
      maxTimestamp: timestampMs,
      producerId: '7',
      producerEpoch: 3,
      firstSequence: 1234,
      transactional,
      lastOffsetDelta: records.length - 1
    })
    const ours = await writeRecordBatch(records, timestampMs, 0, { ...plain, transactional })
    assert.equal(hex(ours), hex(theirs.buffer))
  }
})

test("records of a producer's own times; those before the asked offset are left out", async () => {
  const records = [0, 1, 2, 3].map((i) =>
    kafkajs.record({ key: Buffer.from('k'), value: Buffer.from(`${i}`), offsetDelta: i, timestampDelta: i * 100 - 150 })
  )
  const { buffer } = await kafkajs.write({
    records,
    firstOffset: '9007199254740993',
    firstTimestamp: timestampMs,
    maxTimestamp: timestampMs + 150,
    lastOffsetDelta: 3
  })
  const [batch] = (await readRecordBatches(buffer))!
  assert.deepEqual([batch!.firstOffset, batch!.next], [9007199254740993n, 9007199254740997n])
  const found: LogRecord[] = []
  // Two records of one byte of key and value each.
  assert.equal(readRecords(batch!, 0, 9007199254740995n, found), 4)
  assert.deepEqual(
    found.map(({ offset, timestampMs: at }) => [offset, at - timestampMs]),
    [
      [9007199254740995n, 50],
      [9007199254740996n, 150]
    ]
  )
})

test('a broker cuts what it sends at a number of bytes: the batch that is not whole is left out', async () => {
  const one = await writeRecordBatch(someRecords(3, 5), timestampMs, 0, plain)
  const two = Buffer.concat([one, one])
  for (const length of [0, 10, 61, one.length - 1])
    assert.equal((await read(two.subarray(0, length))).length, 0, `${length}`)
  for (const length of [one.length, one.length + 60, two.length - 1])
    assert.equal((await read(two.subarray(0, length))).length, 5, `${length}`)
  assert.equal((await read(two)).length, 10)
})

test('batches before format 2 are told apart; what is none, or claims an unknown codec, is refused', async () => {
  const bytes = await writeRecordBatch(someRecords(4, 3), timestampMs, 0, plain)
  const changed = (at: number, value: number) => {
    const copy = Buffer.from(bytes)
    copy[at] = value
    return copy
  }
  assert.equal(await readRecordBatches(changed(16, 1)), undefined)
  await assert.rejects(
    readRecordBatches(changed(22, 6)),
    (error: Error) => error instanceof CorruptError && /codec 6/.test(error.message)
  )
  // 61: the first record's length.
  await assert.rejects(
    read(changed(61, 3)),
    (error: Error) => error instanceof CorruptError && /cannot be read/.test(error.message)
  )
  // 60: the number of records, of which there are three.
  await assert.rejects(read(changed(60, 4)), CorruptError)
})

test('what a record takes is never more than was announced', () => {
  for (const record of someRecords(5, 50)) {
    const { buffer } = kafkajs.record({ ...asBuffers(record), offsetDelta: 1e6 })
    assert(buffer.length <= recordBytesMax(record))
  }
})

test('many small batches are unpacked without waiting for another thread, whatever they are compressed with', async () => {
  await registerCompressionCodecs()
  for (const [name, compression] of Object.entries(compressionTypes)) {
    const records = Array.from({ length: 4 }, (_, i) => ({
      key: new Uint8Array(20).fill(i),
      value: new Uint8Array(500).fill(i)
    }))
    const batch = await writeRecordBatch(records, timestampMs, compression, plain)
    let turns = 0
    let counting = true
    const count = () => {
      turns++
      if (counting) setImmediate(count)
    }
    setImmediate(count)
    const batches = await readRecordBatches(Buffer.concat(Array.from({ length: 200 }, () => batch)))
    counting = false
    assert.equal(batches?.length, 200)
    assert.equal(turns, 0, `${name}: a busy thread would have kept them waiting for ${turns} of its turns`)
  }
})
