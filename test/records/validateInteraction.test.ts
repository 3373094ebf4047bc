import assert from 'node:assert/strict'
import test from 'node:test'
import { BadEventError } from '../../src/core/errors.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { idLengthMax, validateInteraction } from '../../src/records/validateInteraction.ts'

const good: Interaction = { eventId: 'e', userId: 'u', itemId: 'i', type: 'click', eventTimeMs: 1000 }
const options = { futureMaxMs: 500 }
const validate = (change: object) => validateInteraction({ ...good, ...change } as Interaction, 1000, options)

test('takes what is as it should be, to the edges', () => {
  const source = { topic: 't', partition: 0, offset: 2n ** 63n - 1n }
  for (const change of [
    {},
    { eventTimeMs: 0 },
    { eventTimeMs: 1500 },
    { userId: 'x'.repeat(idLengthMax) },
    { itemId: '😀 ünï' },
    { value: -0.5 },
    { context: {} },
    { context: { page: '' } },
    { source }
  ]) {
    validate(change)
  }
})

test('refuses everything else, naming the field', () => {
  const wrong: [string, object][] = [
    ['eventId', { eventId: '' }],
    ['userId', { userId: undefined }],
    ['userId', { userId: 7 }],
    ['userId', { userId: 'x'.repeat(idLengthMax + 1) }],
    ['itemId', { itemId: 'half \ud83d' }],
    ['itemId', { itemId: '\ude00 other half' }],
    ['type', { type: '' }],
    ['eventTimeMs', { eventTimeMs: -1 }],
    ['eventTimeMs', { eventTimeMs: 1.5 }],
    ['eventTimeMs', { eventTimeMs: Number.NaN }],
    ['eventTimeMs', { eventTimeMs: 2 ** 53 }],
    ['eventTimeMs', { eventTimeMs: 1000n }],
    ['ahead', { eventTimeMs: 1501 }],
    ['value', { value: Number.NaN }],
    ['value', { value: Number.POSITIVE_INFINITY }],
    ['value', { value: '3' }],
    ['context', { context: ['a'] }],
    ['context', { context: { a: 1 } }],
    ['context', { context: { a: '\ud83d' } }],
    ['context', { context: { a: 'x'.repeat(8193) } }],
    ['context', { context: Object.fromEntries(Array.from({ length: 257 }, (_, i) => [i, ''])) }],
    ['source.topic', { source: { topic: '', partition: 0, offset: 0n } }],
    ['source.partition', { source: { topic: 't', partition: -1, offset: 0n } }],
    ['source.offset', { source: { topic: 't', partition: 0, offset: -1n } }],
    ['source.offset', { source: { topic: 't', partition: 0, offset: 5 } }]
  ]
  for (const [field, change] of wrong) {
    assert.throws(
      () => validate(change),
      (error: unknown) => error instanceof BadEventError && error.message.includes(field),
      `${field}: ${Object.keys(change)}`
    )
  }
})
