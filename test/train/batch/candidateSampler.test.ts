import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { Rng } from '../../../src/core/rng.ts'
import { CandidateSampler } from '../../../src/train/batch/candidateSampler.ts'
import { ItemTable } from '../../../src/train/batch/itemTable.ts'

const tableOf = (itemsMax = 1000) => new ItemTable({ dimensions: 1, itemsMax, admissionMin: 1, rng: new Rng(1) })
const near = (actual: number, expected: number, title?: string) =>
  assert(Math.abs(actual - expected) < 1e-12, `${title ?? ''} ${actual}, not ${expected}`)

test('q mixes recent popularity with an equal share for every item', () => {
  const items = tableOf()
  const sampler = new CandidateSampler({ items, uniformShare: 0.1 })
  const [a, b, c] = ['a', 'b', 'c'].map((id) => items.observe(id, 1)) as [number, number, number]
  near(sampler.probability(a), 1 / 3) // nothing observed: uniform
  for (const row of [a, a, a, b]) sampler.observe(row)
  sampler.observe(0)
  assert.equal(sampler.targets, 4)
  near(sampler.probability(a), 0.9 * 0.75 + 0.1 / 3)
  near(sampler.probability(b), 0.9 * 0.25 + 0.1 / 3)
  near(sampler.probability(c), 0.1 / 3)
  assert.equal(sampler.probability(0), 0)
  assert.equal(sampler.probability(99), 0)
})

test('logQ is of a candidate out of B in-batch positives and N draws', () => {
  const items = tableOf()
  const sampler = new CandidateSampler({ items, uniformShare: 0.5 })
  const [a, b] = ['a', 'b'].map((id) => items.observe(id, 1)) as [number, number]
  sampler.observe(a)
  // p(a) = 1, q(a) = .5 + .25 = .75; Q = (2·1 + 6·.75) / 8 = .8125. p(b) = 0, q(b) = .25; Q = 6·.25 / 8 = .1875
  near(sampler.logQ(a, 2, 6), Math.log(0.8125))
  near(sampler.logQ(b, 2, 6), Math.log(0.1875))
  // Without draws, b can only be a positive that the ring does not know: q stands in.
  near(sampler.logQ(b, 2, 0), Math.log(0.25))
  assert.equal(sampler.logQ(0, 2, 6), 0)
})

test('draws are as frequent as q says', () => {
  // Zipf-like ring over 50 of 60 items, 56 of them left at the end. χ² with 55 degrees of freedom: mean 55, standard
  // deviation 10.5; 110 is beyond the .9999 quantile. The seed is fixed.
  const items = tableOf()
  const sampler = new CandidateSampler({ items, targetsMax: 2000 })
  for (let i = 0; i < 60; i++) items.observe(`item${i}`, i)
  const rng = new Rng(11)
  for (let i = 0; i < 5000; i++) sampler.observe(items.rowOf(`item${Math.floor(50 * rng.uniform() ** 3)}`))
  // Some expire: the ring then has dead entries, and rows are reused.
  items.expire(10)
  items.releaseFreed()
  for (let i = 60; i < 66; i++) sampler.observe(items.observe(`item${i}`, i))
  const n = 200_000
  const counts = new Map<number, number>()
  for (let i = 0; i < n; i++) {
    const row = sampler.draw(rng)
    counts.set(row, (counts.get(row) ?? 0) + 1)
  }
  let chiSquare = 0
  let total = 0
  for (const row of items.admitted()) {
    const expected = n * sampler.probability(row)
    total += sampler.probability(row)
    chiSquare += ((counts.get(row) ?? 0) - expected) ** 2 / expected
    counts.delete(row)
  }
  near(total, 1)
  assert.equal(counts.size, 0, 'only admitted rows are drawn')
  assert(chiSquare < 110, `χ² ${chiSquare}`)
})

test('an expired item leaves at once, and its row’s next item does not inherit', () => {
  const items = tableOf()
  const sampler = new CandidateSampler({ items, targetsMax: 8 })
  const a = items.observe('a', 1)
  const b = items.observe('b', 9)
  for (const row of [a, a, b, b, b]) sampler.observe(row)
  items.expire(5)
  assert.equal(sampler.targets, 3)
  assert.equal(sampler.targetShare(a), 0)
  assert.equal(sampler.targetShare(b), 1)
  items.releaseFreed()
  assert.equal(items.observe('c', 10), a)
  assert.equal(sampler.targetShare(a), 0)
  sampler.observe(a)
  near(sampler.targetShare(a), 1 / 4)
})

test('with no item there is nothing to draw; with nothing observed all are drawn', () => {
  const items = tableOf()
  const sampler = new CandidateSampler({ items })
  const rng = new Rng(1)
  assert.equal(sampler.draw(rng), 0)
  items.observe('a', 1)
  items.observe('b', 1)
  assert.deepEqual(new Set(Array.from({ length: 50 }, () => sampler.draw(rng))), new Set([1, 2]))
})

test('shares are those of the last M targets, whatever expires in between, and a restored one draws the same', () => {
  const command = fc.oneof(
    { weight: 20, arbitrary: fc.record({ kind: fc.constant('observe' as const), id: fc.nat(12) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('expire' as const), age: fc.nat(12) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('release' as const) }) }
  )
  fc.assert(
    fc.property(fc.array(command, { maxLength: 150 }), fc.integer({ min: 1, max: 20 }), (commands, targetsMax) => {
      const items = tableOf()
      const sampler = new CandidateSampler({ items, targetsMax })
      let nowMs = 100
      const lastMs = new Map<string, number>()
      // Dead entries count against M until they are compacted away: the model keeps all live ones of the longest
      // possible ring and checks what must hold.
      let seen: string[] = []
      for (const command of commands) {
        nowMs++
        if (command.kind === 'observe') {
          const id = `item${command.id}`
          sampler.observe(items.observe(id, nowMs))
          lastMs.set(id, nowMs)
          seen.push(id)
          seen = seen.slice(-targetsMax)
        } else if (command.kind === 'expire') {
          items.expire(nowMs - command.age)
          seen = seen.filter((id) => lastMs.get(id)! >= nowMs - command.age)
        } else items.releaseFreed()
        assert(sampler.targets <= targetsMax)
      }
      let total = 0
      for (const row of items.admitted()) total += sampler.targetShare(row)
      near(total, sampler.targets === 0 ? 0 : 1)
      if (!commands.some(({ kind }) => kind === 'expire')) {
        assert.equal(sampler.targets, seen.length)
        for (const row of items.admitted())
          near(sampler.targetShare(row), seen.filter((id) => id === items.idOf(row)).length / (seen.length || 1))
      }
      const again = new CandidateSampler({ items, targetsMax })
      again.restore(sampler.state())
      assert.equal(again.targets, sampler.targets)
      const [one, other] = [new Rng(4), new Rng(4)]
      for (let i = 0; i < 20; i++) assert.equal(again.draw(one), sampler.draw(other))
    }),
    { numRuns: 200, seed: 5 }
  )
})

test('states that do not fit are refused', () => {
  const items = tableOf()
  const sampler = new CandidateSampler({ items, targetsMax: 4 })
  sampler.observe(items.observe('a', 1))
  const empty = new CandidateSampler({ items: tableOf(), targetsMax: 4 })
  assert.throws(() => empty.restore(sampler.state()), { code: 'CORRUPT', message: /row 1 of an item table of 1 rows/ })
  assert.throws(() => empty.restore(new Map()), { code: 'CORRUPT' })
})
