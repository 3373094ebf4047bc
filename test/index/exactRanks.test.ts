// Against plain loops, with more interests than fit one group of the kernel and more items than one block.
import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../src/core/rng.ts'
import { ExactRanks } from '../../src/index/exactRanks.ts'
import { type InterestScore, nearestInterest, scoreOf } from '../../src/index/interestScore.ts'

function unit(rng: Rng, dimensions: number): Float32Array {
  const vector = Float32Array.from({ length: dimensions }, () => rng.normal())
  const length = Math.hypot(...vector)
  return vector.map((x) => x / length)
}

const scorings: InterestScore[] = [nearestInterest, { form: 'mixture', temperature: 0.2 }]
for (const [K, scoring] of [1, 3, 4, 6].flatMap((K) => scorings.map((scoring) => [K, scoring] as const))) {
  test(`ranks and lists of ${K} interests are those of plain loops: ${scoring.form}`, () => {
    const rng = new Rng(K)
    const D = 8
    const N = 1500
    const items = Array.from({ length: N }, () => unit(rng, D))
    const ranks = new ExactRanks(D, scoring)
    for (const item of items) ranks.add(item)
    for (let user = 0; user < 20; user++) {
      const interests = Float32Array.from(Array.from({ length: K }, () => [...unit(rng, D)]).flat())
      const score = (item: Float32Array) => {
        const cosines = Array.from({ length: K }, (_, k) =>
          item.reduce((sum, x, d) => sum + x * interests[k * D + d]!, 0)
        )
        return scoring.form === 'nearest'
          ? Math.max(...cosines)
          : cosines.reduce((sum, x) => sum + Math.exp(x / 0.2), 0)
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
  const ranks = new ExactRanks(2)
  for (let i = 0; i < 100; i++) ranks.add(Float32Array.of(1, 0))
  assert.equal(ranks.rank(Float32Array.of(1, 0), 7, []), 99)
  ranks.add(Float32Array.of(Number.NaN, 0))
  assert.equal(ranks.rank(Float32Array.of(1, 0), 100, []), Number.POSITIVE_INFINITY)
})

test('an item whose vector is not a number is in no list, however few there are', () => {
  for (const scoring of scorings) {
    const ranks = new ExactRanks(2, scoring)
    for (const x of [1, Number.NaN, 0.5]) ranks.add(Float32Array.of(x, x))
    assert.deepEqual(ranks.list(Float32Array.of(1, 0, 0, 1), 3, new Set()), [0, 2], scoring.form)
  }
})

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
    const top = new ExactRanks(D)
    top.load(vectors)
    for (const limit of [1, 20, 70])
      assert.deepEqual(top.list(interests, limit), byHand(vectors, interests, D, limit), `${N} ${K} ${limit}`)
  }
})

test('scores below zero count: an interest that is not there is not one that scores 0', () => {
  const top = new ExactRanks(8)
  top.load(Float32Array.from({ length: 16 }, (_, i) => (i < 8 ? -2 : -1)))
  assert.deepEqual(top.list(new Float32Array(8).fill(1), 5), [1, 0])
})

test('what is loaded replaces what was there', () => {
  const top = new ExactRanks(8)
  top.load(new Float32Array(80).fill(1))
  top.load(new Float32Array(16).fill(1))
  assert.equal(top.list(new Float32Array(8).fill(1), 50).length, 2)
  assert.equal(top.list(new Float32Array(8).fill(1), 0).length, 0)
})

test('with votes, rank and list are those of the sums of score and votes, by both scores', () => {
  const rng = new Rng(11)
  const D = 8
  const vectors = Array.from({ length: 1500 }, () => unit(rng, D))
  const sums = new Map(Array.from({ length: 300 }, () => [rng.integer(1500), rng.uniform()] as const))
  const votes = { rows: sums.keys(), sum: (row: number) => sums.get(row) ?? 0 }
  for (const scoring of [nearestInterest, { form: 'mixture', temperature: 0.2 }] as const) {
    const ranks = new ExactRanks(D, scoring)
    for (const vector of vectors) ranks.add(vector)
    for (let query = 0; query < 20; query++) {
      const interests = Float32Array.from([...unit(rng, D), ...unit(rng, D), ...unit(rng, D)])
      const excluded = new Set(Array.from({ length: 20 }, () => rng.integer(1500)))
      const scores = vectors.map((vector, row) => {
        const cosines = [0, 1, 2].map((k) => vector.reduce((sum, value, d) => sum + value * interests[k * D + d]!, 0))
        return scoreOf(cosines, 0, 3, scoring) + votes.sum(row)
      })
      const order = scores.map((_, row) => row).sort((a, b) => scores[b]! - scores[a]!)
      const best = order.filter((row) => !excluded.has(row))
      const given = { ...votes, rows: [...sums.keys()] }
      assert.deepEqual(ranks.list(interests, 30, excluded, given), best.slice(0, 30))
      for (const place of [0, 5, 700]) assert.equal(ranks.rank(interests, best[place]!, excluded, given), place)
      const [voted] = [...sums.keys()].filter((row) => !excluded.has(row))
      assert.equal(ranks.rank(interests, voted!, excluded, given), best.indexOf(voted!))
    }
  }
})
