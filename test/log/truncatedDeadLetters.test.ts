// A record that its dead-letter topic does not take is kept as far as it fits, and stops nothing.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import test from 'node:test'
import { BadEventError, TooLargeError } from '../../src/core/errors.ts'
import { readDeadLetter } from '../../src/log/deadLetter.ts'
import { DeadLetters } from '../../src/log/deadLetters.ts'
import type { LogRecord, NewRecord } from '../../src/log/eventLog.ts'
import { testStageIo } from '../support/stageIo.ts'

const sizeOf = ({ key, value, headers = {} }: NewRecord) =>
  key.length + (value?.length ?? 0) + Object.values(headers).reduce((sum, bytes) => sum + bytes.length, 0)

const record = (offset: bigint, value: Uint8Array, key = 'k', header = 'h'): LogRecord => ({
  ...{ key: Buffer.from(key), value, headers: { from: Buffer.from(header) } },
  ...{ partition: 0, offset, timestampMs: 0 }
})

for (const max of [1_000_000, 100_000, 20_000, 2000])
  test(`a dead letter that does not fit ${max} bytes is truncated; the others keep theirs`, async () => {
    const io = await testStageIo()
    const append = io.log.append.bind(io.log)
    io.log.append = async (topic, records, fence) => {
      if (records.some((each) => sizeOf(each) > max)) throw new TooLargeError(`larger than ${max}`)
      await append(topic, records, fence)
    }
    const letters = new DeadLetters({ log: io.log, topic: 'clicks', stage: 'ingest' })
    const large = Buffer.alloc(3_000_000, 'abc')
    letters.add(record(0n, Buffer.from('small')), new BadEventError('no user'))
    letters.add(record(1n, large), new BadEventError('no user'))
    letters.add(record(2n, Buffer.alloc(0), 'k'.repeat(1_500_000), 'h'.repeat(1_500_000)), new BadEventError('no user'))
    letters.add(record(3n, Buffer.from('last')), new BadEventError('no user'))
    await letters.flush()
    const [first, second, third, last] = io.log.records('clicks.mtmi.dlq').map((each) => readDeadLetter(each)!)
    for (const whole of [first, last]) if (max > 20_000) assert.equal(whole!.truncated, undefined)
    if (max > 20_000) assert.equal(Buffer.from(first!.original.value!).toString(), 'small')
    const sha256 = createHash('sha256').update(large).digest('hex')
    assert.deepEqual(second!.truncated, { bytes: 3_000_000, sha256 })
    const kept = second!.original.value!
    assert(kept.length < max && (kept.length > 0 || max < 25_000))
    assert(large.subarray(0, kept.length).equals(kept), 'what is kept is the beginning')
    assert.equal(third!.truncated?.bytes, 0)
    assert.deepEqual([second!.offset, third!.offset, last!.offset], [1n, 2n, 3n])
    assert.equal(second!.message, 'no user')
    io.dispose()
  })

test('a dead-letter topic that takes nothing at all ends the stage with what to do', async () => {
  const io = await testStageIo()
  io.log.append = async () => {
    throw new TooLargeError('larger than the topic takes')
  }
  const letters = new DeadLetters({ log: io.log, topic: 'clicks', stage: 'ingest' })
  letters.add(record(0n, Buffer.from('small')), new BadEventError('no user'))
  await assert.rejects(letters.flush(), TooLargeError)
  io.dispose()
})
