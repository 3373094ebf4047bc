// Readouts, hard negatives and the routing regulariser against plain loops, values and gradients. IDW and repel:
// mtmi.test.ts.
import * as tf from '@tensorflow/tfjs-core'
import { modelSchema } from '../../../src/core/config/modelOptions.ts'
import { Rng } from '../../../src/core/rng.ts'
import {
  comparisonLoss,
  hardSoftmaxLosses,
  type Readout,
  routingConcentration
} from '../../../src/lab/models/comparisonLoss.ts'
import type { HistoryTensors } from '../../../src/model/historyTensors.ts'
import { softmaxLosses } from '../../../src/model/loss.ts'
import { onEveryBackend } from '../../model/backends.ts'
import { checkGradients, close } from '../../model/gradientCheck.ts'

const [K, B, C, D, L] = [3, 4, 5, 4, 3]
const positive = [0, 3, 3, 4]
const logQ = [-1, -2, -0.5, -3, -1.5]
const weight = [0.1, 0.4, 0.2, 0.3]
/** User b has b steps of L. */
const real = (b: number, l: number) => l >= L - b
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
  vectors: { values: unitRows(C), shape: [C, D] },
  routing: { values: floats(B * K * L).map((x) => Math.abs(x) / 3), shape: [B, K, L] }
}
type Values = Readonly<Record<keyof typeof parts, ArrayLike<number>>>

const row = (values: ArrayLike<number>, r: number) => Array.from({ length: D }, (_, d) => values[r * D + d]!)
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)
const unit = (a: readonly number[]) => a.map((x) => x / Math.sqrt(dot(a, a)))

/** One vector instead of K, then −ln softmax among the candidates. */
function referenceReadout({ users, vectors }: Values, shareOf: (cosines: number[]) => number[], beta = 0): number {
  let total = 0
  for (let b = 0; b < B; b++) {
    const interests = Array.from({ length: K }, (_, k) => row(users, k * B + b))
    const share = shareOf(interests.map((u) => dot(u, row(vectors, positive[b]!))))
    const mixed = unit(Array.from({ length: D }, (_, d) => interests.reduce((sum, u, k) => sum + share[k]! * u[d]!, 0)))
    total += weight[b]! * referenceHard([mixed], vectors, b, beta)[0]!
  }
  return total
}

/** ℓ_k of each interest, by the formula. */
function referenceHard(interests: number[][], vectors: ArrayLike<number>, b: number, beta: number): number[] {
  const p = positive[b]!
  const score = (u: number[], i: number) => dot(u, row(vectors, i)) / 0.3
  let [above, below, count, ofPositive] = [0, 0, 0, 0]
  for (const u of interests) {
    for (let i = 0; i < C; i++) {
      const q = Math.exp(logQ[i]!)
      if (i === p) ofPositive += Math.exp(score(u, i)) / q
      else {
        above += Math.exp((beta + 1) * score(u, i)) / q
        below += Math.exp(beta * score(u, i)) / q
        count += 1 / q
      }
    }
  }
  const all = ofPositive + above / (below / count)
  return interests.map((u) => Math.log(all) - (score(u, p) - logQ[p]!))
}

const softmax = (x: readonly number[]) => {
  const total = x.reduce((sum, y) => sum + Math.exp(y), 0)
  return x.map((y) => Math.exp(y) / total)
}
const hardChoice = (cosines: number[]) => cosines.map((c) => (c === Math.max(...cosines) ? 1 : 0))
const labelAware = (p: number) => (cosines: number[]) =>
  softmax(cosines.map((c) => Math.sign(c) * Math.abs(c / 0.3) ** p))

const history = (): HistoryTensors => ({
  size: B,
  length: L,
  steps: tf.zeros([B * L], 'int32'),
  age: tf.zeros([B * L], 'int32'),
  seconds: new Float32Array(B * L),
  blocked: tf.tensor3d(
    Float32Array.from({ length: B * L }, (_, i) => (real(Math.floor(i / L), i % L) ? 0 : -1e9)),
    [B, L, 1]
  )
})
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
    ],
    [
      'hard, with hard negatives',
      { readout: 'hard', hardNegativesBeta: 0.7 },
      (values) => referenceReadout(values, hardChoice, 0.7)
    ]
  ]
  for (const [name, model, reference] of readouts) {
    await t.test(`readout ${name}`, () => {
      const { users, vectors } = parts
      checkGradients(
        { users, vectors },
        (x) =>
          comparisonLoss(
            { interests: x.users as tf.Tensor3D },
            history(),
            candidatesOf(x.vectors),
            tf.tensor1d(weight),
            options(model)
          ),
        (values) => reference({ ...values, routing: [] })
      )
    })
  }

  await t.test('hard negatives over all interests: every ℓ_k; and with β 0 the plain softmax', () => {
    const [users, vectors] = [
      tf.tensor3d(Float32Array.from(parts.users.values), [K, B, D]),
      tf.tensor2d(Float32Array.from(parts.vectors.values), [C, D])
    ]
    const candidates = candidatesOf(vectors)
    const losses = hardSoftmaxLosses(users, candidates, 0.3, 1.5).arraySync()
    const plain = softmaxLosses(users, candidates, 0.3).arraySync()
    const withoutHardness = hardSoftmaxLosses(users, candidates, 0.3, 0).arraySync()
    for (let b = 0; b < B; b++) {
      const interests = Array.from({ length: K }, (_, k) => row(parts.users.values, k * B + b))
      for (const [k, expected] of referenceHard(interests, parts.vectors.values, b, 1.5).entries()) {
        close(losses[k]![b]!, expected, 1e-5, `user ${b}, interest ${k}`)
        close(withoutHardness[k]![b]!, plain[k]![b]!, 1e-5, `β 0: user ${b}, interest ${k}`)
      }
    }
    // Two negatives at cosines 1 and 0, τ 1, β 1: N = (e² + 1)/((e + 1)/2) = 4.512; without hardness e + 1 = 3.718. The
    // target is at 0.
    const two = {
      vectors: tf.tensor2d([0, 1, 1, 0, 0, -1], [3, 2]),
      positive: tf.tensor1d([0], 'int32'),
      logQ: tf.zeros([3]) as tf.Tensor1D
    }
    const user = tf.tensor3d([[[1, 0]]])
    close(
      hardSoftmaxLosses(user, two, 1, 1).dataSync()[0]!,
      Math.log(1 + (2 * (Math.E ** 2 + 1)) / (Math.E + 1)),
      1e-5,
      'β 1'
    )
    close(hardSoftmaxLosses(user, two, 1, 0).dataSync()[0]!, Math.log(1 + Math.E + 1), 1e-5, 'β 0')
    // One that is blocked does not count: then N = (e²)/(e) = e.
    const blocked = { ...two, blocked: tf.tensor2d([[0, 0, -1e9]]) }
    close(hardSoftmaxLosses(user, blocked, 1, 1).dataSync()[0]!, Math.log(1 + Math.E), 1e-5, 'blocked')
  })

  await t.test('routing regularisation: the squared variances over the real steps', () => {
    // Shares 1 and 0 of two steps: variance ¼, squared 1/16. Even shares: 0. Nothing real: 0, whatever stands there.
    const routing = tf.tensor3d([[[9, 1, 0]], [[9, 0.5, 0.5]], [[1, 2, 3]]])
    const blocked = tf.tensor3d([-1e9, 0, 0, -1e9, 0, 0, -1e9, -1e9, -1e9], [3, 3, 1])
    const found = routingConcentration(routing, blocked).dataSync()
    for (const [b, expected] of [1 / 16, 0, 0].entries()) close(found[b]!, expected, 1e-6, `user ${b}`)
    const lambda = 5
    let ofExamples: Float32Array = new Float32Array(0)
    checkGradients(
      parts,
      (x) =>
        comparisonLoss(
          { interests: x.users as tf.Tensor3D, routing: x.routing as tf.Tensor3D },
          history(),
          candidatesOf(x.vectors),
          tf.tensor1d(weight),
          options({ readout: 'hard', routingRegularisation: lambda }),
          (losses) => {
            ofExamples = losses.dataSync() as Float32Array
          }
        ),
      (values) => {
        let total = referenceReadout(values, hardChoice)
        for (let b = 0; b < B; b++) {
          for (let k = 0; k < K; k++) {
            const shares = Array.from({ length: L }, (_, l) => values.routing[(b * K + k) * L + l]!).filter((_, l) =>
              real(b, l)
            )
            if (shares.length === 0) continue
            const mean = shares.reduce((x, y) => x + y) / shares.length
            total += weight[b]! * lambda * (shares.reduce((sum, x) => sum + (x - mean) ** 2, 0) / shares.length) ** 2
          }
        }
        return total
      }
    )
    const values = { users: parts.users.values, vectors: parts.vectors.values, routing: parts.routing.values }
    const withoutIt = referenceReadout(values, hardChoice)
    const sum = ofExamples.reduce((total, loss, b) => total + weight[b]! * loss, 0)
    if (!(sum > withoutIt))
      throw new Error(`what is shown of the examples must include the regulariser: ${sum}, without ${withoutIt}`)
  })
})
