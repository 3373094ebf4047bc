// Against plain loops, with more interests than fit one group of the kernel and more items than one block.
import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../src/base/rng.ts'
import { TargetRanks } from '../../src/retrieval/targetRanks.ts'

function unit(rng: Rng, dimensions: number): Float32Array {
  const vector = Float32Array.from({ length: dimensions }, () => rng.normal())
  const length = Math.hypot(...vector)
  return vector.map((x) => x / length)
}

for (const K of [1, 3, 4, 6]) {
  test(`ranks and lists of ${K} interests are those of plain loops`, () => {
    const rng = new Rng(K)
    const D = 8
    const N = 1500
    const items = Array.from({ length: N }, () => unit(rng, D))
    const ranks = new TargetRanks(D)
    for (const item of items) ranks.add(item)
    for (let user = 0; user < 20; user++) {
      const interests = Float32Array.from(Array.from({ length: K }, () => [...unit(rng, D)]).flat())
      const score = (item: Float32Array) => {
        let best = Number.NEGATIVE_INFINITY
        for (let k = 0; k < K; k++) {
          let sum = 0
          for (let d = 0; d < D; d++) sum += interests[k * D + d]! * item[d]!
          best = Math.max(best, sum)
        }
        return best
      }
      const target = rng.integer(N)
      const excluded = new Set(Array.from({ length: 30 }, () => rng.integer(N)).filter((row) => row !== target))
      const order = items
        .map((item, row) => ({ row, score: score(item) }))
        .filter(({ row }) => !excluded.has(row))
        .sort((a, b) => b.score - a.score)
      assert.equal(
        ranks.rank(interests, target, excluded),
        order.findIndex(({ row }) => row === target)
      )
      assert.deepEqual(
        ranks.list(interests, 20, excluded),
        order.slice(0, 20).map(({ row }) => row)
      )
    }
  })
}

test('items that are all alike are not found, and a target that is not a number is last', () => {
  const ranks = new TargetRanks(2)
  for (let i = 0; i < 100; i++) ranks.add(Float32Array.of(1, 0))
  assert.equal(ranks.rank(Float32Array.of(1, 0), 7, []), 99)
  ranks.add(Float32Array.of(Number.NaN, 0))
  assert.equal(ranks.rank(Float32Array.of(1, 0), 100, []), Number.POSITIVE_INFINITY)
})
