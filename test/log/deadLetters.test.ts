import assert from 'node:assert/strict'
import test from 'node:test'
import { ManualClock } from '../../src/core/clock.ts'
import { BadEventError, UnavailableError } from '../../src/core/errors.ts'
import { readDeadLetter } from '../../src/log/deadLetter.ts'
import { DeadLetters } from '../../src/log/deadLetters.ts'
import type { LogRecord } from '../../src/log/eventLog.ts'
import { MemoryLog } from '../support/memoryLog.ts'

const record = (offset: bigint, partition = 0): LogRecord => ({
  ...{ key: Uint8Array.of(7), value: Uint8Array.of(Number(offset)), headers: {}, partition, offset, timestampMs: 1 }
})
const newLog = () => new MemoryLog({ partitions: () => 2, clock: new ManualClock(1) })
const open = (log: MemoryLog, stage = 'train', resumes = false) => new DeadLetters({ log, topic: 't', stage, resumes })
const bad = new BadEventError('bad')
const written = (log: MemoryLog) =>
  log.records('t.mtmi.dlq').map((letter) => {
    const { stage, partition, offset } = readDeadLetter(letter)!
    return `${stage} ${partition}/${offset}`
  })

test('a record that cannot be used becomes one letter of each stage, also when a restart reads it again', async () => {
  const log = newLog()
  for (const resumes of [false, true, false]) {
    for (const stage of ['train', 'publish']) {
      const letters = open(log, stage, resumes)
      for (const one of [record(5n), record(5n, 1), record(9n)]) letters.add(one, bad)
      await letters.flush()
      letters.add(record(5n), bad)
      await letters.flush()
    }
  }
  assert.deepEqual(
    written(log).sort(),
    ['train 0/5', 'train 1/5', 'train 0/9', 'publish 0/5', 'publish 1/5', 'publish 0/9'].sort()
  )
})

test('only a BadEventError makes a dead letter; anything else is thrown', async () => {
  const log = newLog()
  const letters = open(log)
  assert.equal(
    letters.attempt(record(1n), () => {}),
    true
  )
  assert.equal(
    letters.attempt(record(2n), () => {
      throw bad
    }),
    false
  )
  assert.throws(() =>
    letters.attempt(record(3n), () => {
      throw new TypeError('our bug')
    })
  )
  assert.equal(letters.waiting, 1)
  await letters.flush()
  assert.deepEqual(written(log), ['train 0/2'])
})

test('a letter that could not be written fails its flush, and the next flush is tried all the same', async () => {
  const log = newLog()
  let down = true
  const append = log.append.bind(log)
  log.append = async (...args) => {
    if (down) throw new UnavailableError('down')
    return append(...args)
  }
  const letters = open(log)
  letters.add(record(1n), bad)
  await assert.rejects(letters.flush(), UnavailableError)
  down = false
  letters.add(record(1n), bad)
  await letters.flush()
  assert.deepEqual(written(log), ['train 0/1'])
})

test('after a rebalance what another process has written is seen', async () => {
  const log = newLog()
  const [one, other] = [open(log), open(log)]
  one.add(record(1n), bad)
  await one.flush()
  other.add(record(2n), bad)
  await other.flush()
  one.reassigned()
  one.add(record(2n), bad)
  await one.flush()
  assert.deepEqual(written(log), ['train 0/1', 'train 0/2'])
})
