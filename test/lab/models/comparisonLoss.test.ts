// Readouts against plain loops, values and gradients. IDW and repel: mtmi.test.ts.
import * as tf from '@tensorflow/tfjs-core'
import { modelSchema } from '../../../src/core/config/modelOptions.ts'
import { Rng } from '../../../src/core/rng.ts'
import { comparisonLoss, type Readout } from '../../../src/lab/models/comparisonLoss.ts'
import { onEveryBackend } from '../../model/backends.ts'
import { checkGradients } from '../../model/gradientCheck.ts'

const [K, B, C, D] = [3, 4, 5, 4]
const positive = [0, 3, 3, 4]
const logQ = [-1, -2, -0.5, -3, -1.5]
const weight = [0.1, 0.4, 0.2, 0.3]
const options = (model: Record<string, unknown>) => {
  const parsed = modelSchema.parse({ temperature: 0.3, ...model })
  return { ...parsed, readout: parsed.readout as Readout }
}

const rng = new Rng(7)
const floats = (n: number) => Float64Array.from({ length: n }, () => rng.normal())
const unitRows = (rows: number) => {
  const values = floats(rows * D)
  for (let r = 0; r < rows; r++) {
    const length = Math.hypot(...values.subarray(r * D, (r + 1) * D))
    for (let d = 0; d < D; d++) values[r * D + d]! /= length
  }
  return values
}
const parts = {
  users: { values: unitRows(K * B), shape: [K, B, D] },
  vectors: { values: unitRows(C), shape: [C, D] }
}
type Values = Readonly<Record<keyof typeof parts, ArrayLike<number>>>

const row = (values: ArrayLike<number>, r: number) => Array.from({ length: D }, (_, d) => values[r * D + d]!)
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)
const unit = (a: readonly number[]) => a.map((x) => x / Math.sqrt(dot(a, a)))

/** One vector instead of K, then −ln softmax among the candidates. */
function referenceReadout({ users, vectors }: Values, shareOf: (cosines: number[]) => number[]): number {
  let total = 0
  for (let b = 0; b < B; b++) {
    const interests = Array.from({ length: K }, (_, k) => row(users, k * B + b))
    const share = shareOf(interests.map((u) => dot(u, row(vectors, positive[b]!))))
    const mixed = unit(Array.from({ length: D }, (_, d) => interests.reduce((sum, u, k) => sum + share[k]! * u[d]!, 0)))
    total += weight[b]! * referenceSoftmax(mixed, vectors, b)
  }
  return total
}

/** −ln softmax of one vector among the candidates. */
function referenceSoftmax(u: readonly number[], vectors: ArrayLike<number>, b: number): number {
  const score = (i: number) => dot(u, row(vectors, i)) / 0.3 - logQ[i]!
  const all = Array.from({ length: C }, (_, i) => Math.exp(score(i))).reduce((sum, x) => sum + x)
  return Math.log(all) - score(positive[b]!)
}

const softmax = (x: readonly number[]) => {
  const total = x.reduce((sum, y) => sum + Math.exp(y), 0)
  return x.map((y) => Math.exp(y) / total)
}
const hardChoice = (cosines: number[]) => cosines.map((c) => (c === Math.max(...cosines) ? 1 : 0))
const labelAware = (p: number) => (cosines: number[]) =>
  softmax(cosines.map((c) => Math.sign(c) * Math.abs(c / 0.3) ** p))

const candidatesOf = (vectors: tf.Tensor) => ({
  vectors: vectors as tf.Tensor2D,
  positive: tf.tensor1d(positive, 'int32'),
  logQ: tf.tensor1d(logQ)
})

onEveryBackend(async (t) => {
  const readouts: [string, Record<string, unknown>, (values: Values) => number][] = [
    ['hard', { readout: 'hard' }, (values) => referenceReadout(values, hardChoice)],
    [
      'label-aware, p 2',
      { readout: 'label-aware', labelAwarePower: 2 },
      (values) => referenceReadout(values, labelAware(2))
    ],
    [
      'label-aware, p 1',
      { readout: 'label-aware', labelAwarePower: 1 },
      (values) => referenceReadout(values, labelAware(1))
    ],
    [
      'label-aware, p 0: the mean',
      { readout: 'label-aware', labelAwarePower: 0 },
      (values) => referenceReadout(values, () => [1, 1, 1])
    ]
  ]
  for (const [name, model, reference] of readouts) {
    await t.test(`readout ${name}`, () => {
      const { users, vectors } = parts
      checkGradients(
        { users, vectors },
        (x) => comparisonLoss(x.users as tf.Tensor3D, candidatesOf(x.vectors), tf.tensor1d(weight), options(model)),
        reference
      )
    })
  }
})
