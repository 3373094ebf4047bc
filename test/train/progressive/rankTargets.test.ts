// Ranks against the plain definition: count the items that score no less.
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import * as tf from '@tensorflow/tfjs-core'
import { Rng } from '../../../src/core/rng.ts'
import { type InterestScore, nearestInterest } from '../../../src/index/interestScore.ts'
import { loadBackend } from '../../../src/model/backend.ts'
import { rankTargets } from '../../../src/train/progressive/rankTargets.ts'
import { unknownRank } from '../../../src/train/trainer.ts'

before(() => loadBackend())

/** What is excluded of each user, the target included. @param excluded [B, L] */
function columnsOf(excluded: Int32Array, target: Int32Array): Set<number>[] {
  const L = excluded.length / target.length
  return Array.from(target, (own, b) => new Set(excluded.subarray(b * L, (b + 1) * L)).add(own))
}

function rank(
  users: Float32Array,
  [K, B, D]: [number, number, number],
  items: Float32Array,
  target: Int32Array,
  excluded: Int32Array,
  score: InterestScore = nearestInterest
) {
  const N = items.length / D
  tf.engine().startScope()
  const all = tf.tensor2d(items, [N, D])
  const of = tf.gather(
    all,
    tf.tensor1d(
      target.map((column) => Math.max(0, column)),
      'int32'
    )
  ) as tf.Tensor2D
  const vectors = (from: number, to: number) => tf.slice(all, [from, 0], [to - from, D])
  const ranking = rankTargets({
    users: tf.tensor3d(users, [K, B, D]),
    vectors,
    items: N,
    target,
    targetVectors: of,
    excluded: columnsOf(excluded, target),
    score
  })
  tf.engine().endScope()
  return { ...ranking, ranks: ranking.ranks[0]! }
}

test('ranks are the number of better items, whatever the chunks: 3 interests, 200,000 items, histories excluded', () => {
  const rng = new Rng(7)
  const [K, B, D, L] = [3, 16, 4, 5] as const
  const N = 200_000 // 3 × 16 × 200,000 scores are more than one chunk
  const floats = (n: number) => Float32Array.from({ length: n }, () => rng.normal())
  const users = floats(K * B * D)
  const items = floats(N * D)
  const target = Int32Array.from({ length: B }, (_, b) => (b === 3 ? -1 : rng.integer(N)))
  const excluded = Int32Array.from({ length: B * L }, (_, i) =>
    i % 7 === 0 ? -1 : i % 5 === 1 ? N - 1 : rng.integer(N)
  )
  excluded[2 * L] = target[2]! // a repeat of the history: still ranked
  excluded[2 * L + 1] = excluded[2 * L + 2]! // excluded once
  const { ranks } = rank(users, [K, B, D], items, target, excluded)
  for (let b = 0; b < B; b++) {
    if (b === 3) {
      assert.equal(ranks[b], unknownRank)
      continue
    }
    const score = (n: number) => {
      let best = Number.NEGATIVE_INFINITY
      for (let k = 0; k < K; k++) {
        let sum = 0
        for (let d = 0; d < D; d++) sum += users[(k * B + b) * D + d]! * items[n * D + d]!
        best = Math.max(best, sum)
      }
      return best
    }
    const own = score(target[b]!)
    const left = columnsOf(excluded, target)[b]!
    let least = 0
    let most = 0
    for (let n = 0; n < N; n++) {
      if (left.has(n)) continue
      const s = score(n)
      if (s >= own + 1e-4) least++
      if (s >= own - 1e-4) most++
    }
    assert.ok(ranks[b]! >= least && ranks[b]! <= most, `user ${b}: ${ranks[b]}, expected ${least} … ${most}`)
  }
})

for (const form of ['nearest', 'mixture'] as const)
  test(`with the memory ranks are those of the sum of both scores, at every weight: ${form}`, () => {
    const rng = new Rng(11)
    const [K, B, D, N, temperature] = [2, 6, 4, 300, 0.2] as const
    const unit = (n: number) =>
      Float32Array.from(
        Array.from({ length: n }, () => {
          const vector = Array.from({ length: D }, () => rng.normal())
          const length = Math.hypot(...vector)
          return vector.map((value) => value / length)
        }).flat()
      )
    const users = unit(K * B)
    const items = unit(N)
    const target = Int32Array.from({ length: B }, (_, b) => 40 * b)
    const excluded = Int32Array.from({ length: B }, (_, b) => b + 1)
    const memory = Array.from({ length: B }, (_, b) => {
      const columns = Array.from({ length: 60 }, (_column, i) => 5 * i)
      const shares = columns.map(() => rng.uniform() * 0.3)
      const at = columns.indexOf(target[b]!)
      if (b % 2 === 0) return { target: shares[at]!, columns, shares }
      return { target: 0, columns: columns.filter((_c, i) => i !== at), shares: shares.filter((_c, i) => i !== at) }
    })
    const weights = [0, 5, 40]
    tf.engine().startScope()
    const all = tf.tensor2d(items, [N, D])
    const { ranks } = rankTargets({
      users: tf.tensor3d(users, [K, B, D]),
      vectors: (from, to) => tf.slice(all, [from, 0], [to - from, D]),
      items: N,
      target,
      targetVectors: tf.gather(all, tf.tensor1d(target, 'int32')) as tf.Tensor2D,
      excluded: columnsOf(excluded, target),
      score: { form, temperature },
      memory,
      weights
    })
    tf.engine().endScope()
    for (const [w, weight] of weights.entries())
      for (let b = 0; b < B; b++) {
        const score = (n: number) => {
          const cosines = Array.from({ length: K }, (_, k) => {
            let sum = 0
            for (let d = 0; d < D; d++) sum += users[(k * B + b) * D + d]! * items[n * D + d]!
            return sum
          })
          const alone =
            form === 'nearest'
              ? Math.max(...cosines) / temperature
              : Math.log(cosines.reduce((sum, cosine) => sum + Math.exp(cosine / temperature), 0))
          const at = memory[b]!.columns.indexOf(n)
          return alone + weight * (at < 0 ? 0 : memory[b]!.shares[at]!)
        }
        const own = score(target[b]!)
        let expected = 0
        for (let n = 0; n < N; n++) if (n !== target[b] && n !== excluded[b] && score(n) >= own) expected++
        assert.equal(ranks[w]![b], expected, `weight ${weight}, user ${b}`)
      }
    assert.notDeepEqual(ranks[0], ranks[2])
  })

test('ties and scores that are not numbers count against the model', () => {
  // One user looking along x; items: target (1, 0), an equal one, a worse one, a broken one.
  const items = Float32Array.of(1, 0, 1, 0, 0, 1, Number.NaN, 0)
  assert.deepEqual([...rank(Float32Array.of(1, 0), [1, 1, 2], items, Int32Array.of(0), Int32Array.of(-1)).ranks], [2])
  // Without the equal one.
  assert.deepEqual([...rank(Float32Array.of(1, 0), [1, 1, 2], items, Int32Array.of(0), Int32Array.of(1)).ranks], [1])
  // A broken user: everything is better.
  assert.deepEqual(
    [...rank(Float32Array.of(Number.NaN, 0), [1, 1, 2], items, Int32Array.of(0), Int32Array.of(-1)).ranks],
    [3]
  )
})
