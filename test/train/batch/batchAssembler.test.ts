import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { Rng } from '../../../src/core/rng.ts'
import type { Example } from '../../../src/records/example.ts'
import { BatchAssembler } from '../../../src/train/batch/batchAssembler.ts'
import { CandidateSampler } from '../../../src/train/batch/candidateSampler.ts'
import { ItemTable } from '../../../src/train/batch/itemTable.ts'
import type { MiniBatch } from '../../../src/train/batch/miniBatch.ts'
import { Reservoir } from '../../../src/train/batch/reservoir.ts'

function partsOf({
  negatives = 0,
  historyMax = 3,
  featuresOf = (_: string): readonly string[] => [],
  itemsMax = 100
} = {}) {
  const rng = new Rng(1)
  const items = new ItemTable({ dimensions: 2, itemsMax, admissionMin: 1, rng: rng.fork('items') })
  const features = new ItemTable({ dimensions: 2, itemsMax: 100, admissionMin: 1, rng: rng.fork('features') })
  const sampler = new CandidateSampler({ items, uniformShare: 0.2 })
  const assembler = new BatchAssembler({
    items,
    features,
    sampler,
    historyMax,
    negatives,
    rng: rng.fork('draws'),
    featuresOf
  })
  return { items, features, sampler, assembler }
}

/** Letters are items; a letter's time is 1 s after the one before it. */
function exampleOf(history: string, target: string, weight = 1): Example {
  const stepOf = (itemId: string, i: number) => ({ itemId, type: 'view', eventTimeMs: 1_000_000 + 1000 * i })
  return {
    userId: 'u',
    history: [...history].map(stepOf),
    target: stepOf(target, history.length),
    source: { partition: 0, offset: 1n },
    weight
  }
}

const ranges = new Map([[0, { from: 3n, to: 5n }]])
const listed = (batch: MiniBatch) => ({
  items: [...batch.items],
  history: [...batch.history],
  age: [...batch.age],
  target: [...batch.target],
  weight: [...batch.weight]
})

test('rows become positions, left-padded, in the order in which they are first met', () => {
  const { items, assembler } = partsOf()
  for (const id of 'abcd') items.observe(id, 1) // rows 1 … 4
  const batch = assembler.assemble([exampleOf('cb', 'a', 2), exampleOf('b', 'd')], ranges)
  assert.equal(batch.size, 2)
  assert.equal(batch.length, 2)
  assert.deepEqual(listed(batch), {
    items: [0, 3, 2, 1, 4], // padding, c, b, a, d
    history: [1, 2, 0, 2],
    age: [1, 0, 0, 0],
    target: [3, 4],
    weight: [2, 1]
  })
  assert.equal(batch.negatives.length, 0)
  assert.deepEqual([...batch.features.start], [0, 0, 0, 0, 0, 0])
  assert.equal(batch.features.rows.length, 0)
  assert.equal(batch.ranges, ranges)
})

test('items without a row are left out; what is left counts', () => {
  const { items, assembler } = partsOf()
  for (const id of 'ab') items.observe(id, 1)
  const batch = assembler.assemble([exampleOf('axbxx', 'a'), exampleOf('xx', 'b'), exampleOf('a', 'x')], ranges)
  assert.deepEqual(listed(batch), {
    items: [0, 1, 2],
    history: [1, 2, 0, 0, 0, 1],
    age: [2, 0, 0, 0, 0, 0], // from b, the newest that is left
    target: [1, 2, 0],
    weight: [1, 0, 0] // no history; no target
  })
})

test('the newest historyMax steps that have a row are used', () => {
  const { items, assembler } = partsOf({ historyMax: 3 })
  for (const id of 'abcde') items.observe(id, 1)
  const batch = assembler.assemble([exampleOf('abcxde', 'a')], ranges)
  assert.deepEqual(
    [...batch.history].map((position) => items.idOf(batch.items[position]!)),
    ['c', 'd', 'e']
  )
  assert.deepEqual([...batch.age], [3, 1, 0])
})

test('nothing known gives one position of padding', () => {
  const { assembler } = partsOf({ negatives: 5 })
  const batch = assembler.assemble([exampleOf('ab', 'c')], ranges)
  assert.deepEqual(listed(batch), { items: [0], history: [0], age: [0], target: [0], weight: [0] })
  assert.equal(batch.length, 1)
  assert.equal(batch.negatives.length, 0)
  assert.deepEqual(listed(assembler.assemble([], ranges)), { items: [0], history: [], age: [], target: [], weight: [] })
})

test('negatives are admitted rows, and logQ is the sampler’s for every candidate', () => {
  const { items, sampler, assembler } = partsOf({ negatives: 64 })
  assembler.observe([exampleOf('ab', 'c'), exampleOf('ab', 'd'), exampleOf('ab', 'c')])
  const batch = assembler.assemble([exampleOf('c', 'd')], ranges)
  assert.equal(batch.negatives.length, 64)
  for (const position of batch.negatives) assert(items.isAdmitted(batch.items[position]!))
  assert.equal(batch.logQ[0], 0)
  for (let u = 1; u < batch.items.length; u++)
    assert.equal(batch.logQ[u], Math.fround(sampler.logQ(batch.items[u]!, 1, 64)))
  const { assembler: withoutDraws } = partsOf()
  withoutDraws.observe([exampleOf('ab', 'c'), exampleOf('ab', 'd')])
  const { logQ, history, target } = withoutDraws.assemble([exampleOf('c', 'd')], ranges)
  assert.equal(logQ[history[0]!], 0, 'what is only read is no candidate')
  assert.ok(logQ[target[0]!]! < 0)
})

test('observe counts targets and admits them with their features; assemble does not', () => {
  const { items, features, sampler, assembler } = partsOf({
    featuresOf: (id) => (id === 'c' ? ['genre=x', 'genre=y'] : [])
  })
  assembler.assemble([exampleOf('ab', 'c')], ranges)
  assert.equal(items.size, 0)
  assembler.observe([exampleOf('ab', 'c'), exampleOf('ab', 'c'), exampleOf('b', 'd')])
  assert.deepEqual([items.rowOf('c'), items.rowOf('d')], [1, 2])
  assembler.observe([exampleOf('ab', 'c')])
  assert.equal(items.count(items.rowOf('c')), 3)
  assert.equal(features.count(features.rowOf('genre=y')), 3)
  assert.equal(sampler.targets, 4)
  assert.equal(items.rowOf('a'), 0)
})

test('features follow the catalogue, admission and expiry', () => {
  const catalogue = new Map<string, string[]>([
    ['a', ['genre=x', 'genre=y']],
    ['b', []],
    ['c', ['genre=y']]
  ])
  const { items, features, assembler } = partsOf({ featuresOf: (id) => catalogue.get(id) ?? [] })
  for (const id of 'abc') items.observe(id, 1)
  const namesOf = (history: string) => {
    const batch = assembler.assemble([exampleOf(history, 'c')], ranges)
    return [...batch.items].map((_, u) =>
      [...batch.features.rows.subarray(batch.features.start[u], batch.features.start[u + 1])].map((row) =>
        features.idOf(row)
      )
    )
  }
  assert.deepEqual(namesOf('ab'), [[], [], [], []]) // no feature has a row yet
  features.observe('genre=y', 100)
  assert.deepEqual(namesOf('ab'), [[], ['genre=y'], [], ['genre=y']])
  features.observe('genre=x', 200)
  assert.deepEqual(namesOf('ab'), [[], ['genre=x', 'genre=y'], [], ['genre=y']])
  features.expire(150)
  features.releaseFreed()
  features.observe('genre=z', 300) // takes y's row
  assert.deepEqual(namesOf('ab'), [[], ['genre=x'], [], []])
  catalogue.set('a', ['genre=z', 'genre=x'])
  catalogue.set('b', ['genre=z'])
  for (const id of 'ab') assembler.featureRows.forget(items.rowOf(id))
  assert.deepEqual(namesOf('ab'), [[], ['genre=z', 'genre=x'], ['genre=z'], []])
  items.expire(2)
  items.releaseFreed()
  for (const id of 'cba') items.observe(id, 1) // rows change hands
  assert.deepEqual(namesOf('ab'), [[], ['genre=z', 'genre=x'], ['genre=z'], []])
})

test('a replayed example makes the same batch as the example it was', () => {
  const { items, assembler } = partsOf({ historyMax: 4 })
  for (const id of 'abcde') items.observe(id, 1)
  const reservoir = new Reservoir({ items, examplesMax: 1, historyMax: 4, rng: new Rng(1) })
  const example = exampleOf('abxcde', 'b', 3)
  reservoir.add(example)
  const [replayed] = reservoir.draw(1)
  assert.deepEqual(listed(assembler.assemble([replayed!], ranges)), listed(assembler.assemble([example], ranges)))
  // Items may lose their rows between draw and assemble.
  items.expire(2)
  assert.deepEqual(listed(assembler.assemble([replayed!], ranges)), {
    items: [0],
    history: [0],
    age: [0],
    target: [0],
    weight: [0]
  })
})

test('every batch says what its examples said', () => {
  const letters = fc.string({ unit: fc.constantFrom(...'abcdefghij'), minLength: 1, maxLength: 6 })
  const known = fc.uniqueArray(fc.constantFrom(...'abcdefghij'))
  fc.assert(
    fc.property(
      fc.array(fc.tuple(letters, fc.constantFrom(...'abcdefghij'))),
      known,
      fc.nat(20),
      (pairs, knownIds, negatives) => {
        const { items, assembler } = partsOf({ negatives, historyMax: 4 })
        for (const id of knownIds) items.observe(id, 1)
        const batch = assembler.assemble(
          pairs.map(([history, target]) => exampleOf(history, target)),
          ranges
        )
        assert.equal(batch.items[0], 0)
        assert.equal(new Set(batch.items).size, batch.items.length)
        const used = new Set([0, ...batch.history, ...batch.target, ...batch.negatives])
        assert.equal(used.size, batch.items.length)
        for (const [b, [history, target]] of pairs.entries()) {
          const ids = [...batch.history.subarray(b * batch.length, (b + 1) * batch.length)].map((position) =>
            items.idOf(batch.items[position]!)
          )
          const expected = [...history].filter((id) => knownIds.includes(id)).slice(-4)
          assert.deepEqual(ids, [...new Array<string>(batch.length - expected.length).fill(''), ...expected])
          assert.equal(items.idOf(batch.items[batch.target[b]!]!), knownIds.includes(target) ? target : '')
          assert.equal(batch.weight[b], expected.length > 0 && knownIds.includes(target) ? 1 : 0)
        }
      }
    ),
    { numRuns: 200, seed: 2 }
  )
})

test('a restored assembler draws the same negatives', () => {
  const { items, features, sampler, assembler } = partsOf({ negatives: 32 })
  for (const id of 'abcdefgh') items.observe(id, 1)
  assembler.assemble([exampleOf('a', 'b')], ranges)
  const again = new BatchAssembler({
    items,
    features,
    sampler,
    historyMax: 3,
    negatives: 32,
    rng: new Rng(77),
    featuresOf: () => []
  })
  again.restore(assembler.state())
  assert.deepEqual(again.assemble([exampleOf('a', 'b')], ranges), assembler.assemble([exampleOf('a', 'b')], ranges))
})
