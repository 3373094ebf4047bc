import assert from 'node:assert/strict'
import test from 'node:test'
import { BadEventError } from '../../src/core/errors.ts'
import { deadLetterOf, deadLetterTopic, readDeadLetter } from '../../src/log/deadLetter.ts'
import type { LogRecord } from '../../src/log/eventLog.ts'

const bytes = (from: string) => new TextEncoder().encode(from)
const record: LogRecord = {
  key: Uint8Array.of(0, 255),
  value: Uint8Array.of(1, 2, 128),
  headers: { trace: bytes('own') },
  partition: 3,
  offset: 2n ** 60n,
  timestampMs: 5
}
const asRead = (letter: ReturnType<typeof deadLetterOf>): LogRecord => ({
  key: letter.key,
  value: letter.value,
  headers: letter.headers ?? {},
  partition: 0,
  offset: 9n,
  timestampMs: 6
})

test('keeps the bytes and the headers, and says where and why', () => {
  const letter = readDeadLetter(
    asRead(
      deadLetterOf(record, { topic: 'interactions', topicId: '' }, new BadEventError('userId is empty'), 'sequence')
    )
  )!
  assert.deepEqual(letter.original, { key: record.key, value: record.value, headers: record.headers })
  assert.equal(letter.exception, 'BadEventError')
  assert.equal(letter.message, 'userId is empty')
  assert.match(letter.stacktrace, /deadLetter\.test/)
  assert.deepEqual([letter.topic, letter.partition, letter.offset], ['interactions', 3, 2n ** 60n])
})

test('a letter that fails again tells of the later failure only, and a null stays null', () => {
  const first = asRead(
    deadLetterOf({ ...record, value: null }, { topic: 'a', topicId: '' }, new Error('first'), 'sequence')
  )
  const second = readDeadLetter(
    asRead(deadLetterOf(first, { topic: 'b', topicId: '' }, new TypeError('second'), 'sequence'))
  )!
  assert.deepEqual([second.exception, second.message, second.topic, second.offset], ['TypeError', 'second', 'b', 9n])
  assert.equal(second.original.value, null)
  assert.deepEqual(second.original.headers, record.headers)
})

test('a record without the headers is no dead letter', () => {
  assert.equal(readDeadLetter(record), undefined)
  const headers = {
    ...deadLetterOf(record, { topic: 't', topicId: '' }, new Error('x'), 'sequence').headers,
    '__streams.errors.offset': bytes('many')
  }
  assert.equal(readDeadLetter({ ...record, headers }), undefined)
})

test('the topic is named after the topic and the stage', () => {
  assert.equal(deadLetterTopic('interactions', 'sequence'), 'interactions.sequence.dlq')
})
