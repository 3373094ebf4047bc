import assert from 'node:assert/strict'
import test from 'node:test'
import {
  contextEntriesMax,
  entriesBytesMax,
  futureProblem,
  idBytesMax,
  interactionProblem,
  itemProblem,
  textBytesMax
} from '../../src/records/admission.ts'
import type { CatalogueItem } from '../../src/records/catalogueItem.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { latestMs } from '../../src/records/value/eventTime.ts'

const good: Interaction = { eventId: 'e', userId: 'u', itemId: 'i', type: 'click', eventTimeMs: 1000 }
const problemOf = (change: object) => interactionProblem({ ...good, ...change } as Interaction)
const item: CatalogueItem = { itemId: 'i', features: {}, updatedAtMs: 0 }
const problemOfItem = (change: object) => itemProblem({ ...item, ...change } as CatalogueItem)
/** The longest id there is, of characters of several bytes. */
const longest = `${'字'.repeat(341)}x`

test('an interaction may be all that it should be, to the edges', () => {
  assert.equal(Buffer.byteLength(longest), idBytesMax)
  for (const change of [
    {},
    { eventTimeMs: 0 },
    { eventTimeMs: latestMs - 1 },
    { userId: longest, itemId: longest, eventId: longest, type: longest },
    { userId: 'constructor', itemId: '__proto__', type: 'toString' },
    { itemId: '😀 ünï' },
    { value: -0.5 },
    { value: Number.MAX_VALUE },
    { context: {} },
    { context: { page: '', constructor: 'toString' } },
    { context: { page: 'two\nlines' } },
    { context: { page: 'x'.repeat(textBytesMax) } },
    { source: { topic: 't', partition: 0, offset: 2n ** 63n - 1n } }
  ])
    assert.equal(problemOf(change), undefined, JSON.stringify(Object.keys(change)))
})

test('an interaction that holds anything else is refused, with the field named', () => {
  const entries = (count: number, text = '') =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`n${i}`, text]))
  const wrong: [string, object][] = [
    ['eventId', { eventId: '' }],
    ['userId', { userId: undefined }],
    ['userId', { userId: 7 }],
    ['userId', { userId: `${longest}x` }],
    ['itemId has 1026 bytes', { itemId: '字'.repeat(342) }],
    ['itemId', { itemId: 'half \ud83d' }],
    ['itemId', { itemId: '\ude00 other half' }],
    ['control character', { itemId: 'a\u0000b' }],
    ['control character', { userId: '\u001b[31m' }],
    ['control character', { type: 'a\u0085' }],
    ['type', { type: '' }],
    ['eventTimeMs', { eventTimeMs: -1 }],
    ['eventTimeMs', { eventTimeMs: 1.5 }],
    ['eventTimeMs', { eventTimeMs: Number.NaN }],
    ['eventTimeMs', { eventTimeMs: latestMs }],
    ['eventTimeMs', { eventTimeMs: 1000n }],
    ['value', { value: Number.NaN }],
    ['value', { value: Number.POSITIVE_INFINITY }],
    ['value', { value: '3' }],
    ['context', { context: ['a'] }],
    ['context', { context: { a: 1 } }],
    ['context', { context: { '': 'a' } }],
    ['context', { context: JSON.parse('{"__proto__": "a"}') }],
    ['context', { context: { a: '\ud83d' } }],
    ['context', { context: { a: 'x'.repeat(textBytesMax + 1) } }],
    ['context', { context: entries(contextEntriesMax + 1) }],
    [`at most ${entriesBytesMax}`, { context: entries(17, 'x'.repeat(textBytesMax)) }],
    ['source.topic', { source: { topic: '', partition: 0, offset: 0n } }],
    ['source.partition', { source: { topic: 't', partition: -1, offset: 0n } }],
    ['source.offset', { source: { topic: 't', partition: 0, offset: -1n } }],
    ['source.offset', { source: { topic: 't', partition: 0, offset: 5 } }]
  ]
  for (const [expected, change] of wrong)
    assert(problemOf(change)?.includes(expected), `${expected}: ${problemOf(change)}`)
})

test('an event time may lie ahead of when the log took it by so much and no more', () => {
  assert.equal(futureProblem({ ...good, eventTimeMs: 1500 }, 1000, 500), undefined)
  assert.match(futureProblem({ ...good, eventTimeMs: 1501 }, 1000, 500)!, /ahead of when the log took it/)
})

test('an item may have titles as people write them, and features that are categories, not documents', () => {
  for (const change of [
    { title: 'Line one\n\tline two' },
    { title: '字'.repeat(2000) },
    { features: { constructor: ['toString'], genre: ['a', 'b'] } },
    { features: { genre: Array.from({ length: 256 }, (_, i) => `${i}`) } }
  ])
    assert.equal(problemOfItem(change), undefined)
  const wrong: [string, object][] = [
    ['itemId', { itemId: '' }],
    ['title', { title: '字'.repeat(3000) }],
    ['title', { title: '\ud83d' }],
    ['updatedAtMs', { updatedAtMs: -1 }],
    ['features', { features: { genre: [''] } }],
    ['features', { features: { genre: ['a\u0007'] } }],
    ['features', { features: { genre: Array.from({ length: 257 }, (_, i) => `${i}`) } }],
    ['features', { features: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`f${i}`, ['x']])) }],
    ['features', { features: JSON.parse('{"__proto__": ["a"]}') }]
  ]
  for (const [expected, change] of wrong)
    assert(problemOfItem(change)?.includes(expected), `${expected}: ${problemOfItem(change)}`)
})
