import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../../src/core/rng.ts'
import { ExactTop } from '../../../src/lab/evaluation/exactTop.ts'

/** Sorted by hand: every score, no block, no heap. */
function byHand(vectors: Float32Array, interests: Float32Array, D: number, limit: number): number[] {
  const scores = Array.from({ length: vectors.length / D }, (_, row) =>
    Math.max(
      ...Array.from({ length: interests.length / D }, (_, k) => {
        let sum = 0
        for (let d = 0; d < D; d++) sum += vectors[row * D + d]! * interests[k * D + d]!
        return sum
      })
    )
  )
  return scores
    .map((score, row) => ({ score, row }))
    .sort((a, b) => b.score - a.score || a.row - b.row)
    .slice(0, limit)
    .map(({ row }) => row)
}

test('the best by the nearest interest: as when all are sorted, over several blocks and groups of interests', () => {
  const rng = new Rng(3)
  const D = 12
  for (const [N, K] of [
    [5, 1],
    [1500, 3],
    [2500, 4],
    [2500, 6]
  ] as const) {
    // Small whole numbers: sums are exact in any order, and there are many ties.
    const vectors = Float32Array.from({ length: N * D }, () => rng.integer(5) - 2)
    const interests = Float32Array.from({ length: K * D }, () => rng.integer(5) - 2)
    const top = new ExactTop(D)
    top.load(vectors)
    for (const limit of [1, 20, 70])
      assert.deepEqual([...top.top(interests, limit)], byHand(vectors, interests, D, limit), `${N} ${K} ${limit}`)
  }
})

test('scores below zero count: an interest that is not there is not one that scores 0', () => {
  const top = new ExactTop(8)
  top.load(Float32Array.from({ length: 16 }, (_, i) => (i < 8 ? -2 : -1)))
  assert.deepEqual([...top.top(new Float32Array(8).fill(1), 5)], [1, 0])
})

test('what is loaded replaces what was there', () => {
  const top = new ExactTop(8)
  top.load(new Float32Array(80).fill(1))
  top.load(new Float32Array(16).fill(1))
  assert.equal(top.top(new Float32Array(8).fill(1), 50).length, 2)
  assert.equal(top.top(new Float32Array(8).fill(1), 0).length, 0)
})
