// The model against a second, plain implementation: values of the towers and of both losses, and the gradient of every
// weight and row against finite differences of that other implementation. On every backend that loads.
import assert from 'node:assert/strict'
import test from 'node:test'
import * as tf from '@tensorflow/tfjs-core'
import { modelSchema } from '../../src/core/config/modelOptions.ts'
import { Rng } from '../../src/core/rng.ts'
import { type ComparisonLossOptions, comparisonLoss } from '../../src/lab/models/comparisonLoss.ts'
import { dayApart, hourApart } from '../../src/lab/models/mtmiVariants.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { ageGroup } from '../../src/model/historyTensors.ts'
import { mtmiLoss } from '../../src/model/loss.ts'
import { createModel } from '../../src/model/model.ts'
import { mapShapes, type Weights, weightTensors } from '../../src/model/weights.ts'
import {
  type ReferenceInput,
  referenceDistances,
  referenceIdw,
  referenceInterests,
  referenceItem,
  referenceLoss
} from './reference.ts'

const shape = { interestCount: 3, dimensions: 4, historyMax: 5 }
const model = createModel(modelSchema.parse({ name: 'mtmi', interestCount: 3, dimensions: 4 }), shape.historyMax)
const weightNames = Object.keys(model.shapes)
const softmax: ComparisonLossOptions = {
  readout: 'idw',
  loss: 'softmax',
  temperature: 0.3,
  margin: 0.5,
  idwForm: 'power',
  idwAlpha: 2,
  idwSoftness: 1.3,
  idwStopGradient: true,
  repelBeta: 0.7,
  repelMargin: 1.2,
  labelAwarePower: 2
}

/** Four users with 1 … 4 steps (one step twice), six items in histories, five candidates. */
function makeInput(options: ComparisonLossOptions, seed = 1): ReferenceInput {
  const rng = new Rng(seed)
  const floats = (n: number) => Float32Array.from({ length: n }, () => rng.normal())
  const first = model.initialWeights(rng)
  // Nothing at zero, so that no gradient is tested where it vanishes.
  const weights: Weights = mapShapes(model.shapes, (name) => first[name]!.map((x) => x + 0.3 * rng.normal()))
  return {
    shape,
    weights,
    historyRows: floats(6 * 4),
    history: [
      [{ row: 1, ageGroup: 0 }],
      [
        { row: 2, ageGroup: 3 },
        { row: 5, ageGroup: 0 }
      ],
      [
        { row: 3, ageGroup: 9 },
        { row: 1, ageGroup: 3 },
        { row: 3, ageGroup: 0 }
      ],
      [
        { row: 4, ageGroup: 9 },
        { row: 2, ageGroup: 3 },
        { row: 1, ageGroup: 3 },
        { row: 5, ageGroup: 0 }
      ]
    ],
    candidateRows: floats(5 * 4),
    positive: [0, 3, 3, 4],
    logQ: [-1, -2, -0.5, -3, -1.5],
    weight: [0.1, 0.4, 0.2, 0.3],
    options
  }
}

function historyTensors(input: ReferenceInput) {
  const B = input.history.length
  const L = 4
  const steps = new Int32Array(B * L)
  const age = new Int32Array(B * L)
  const blocked = new Float32Array(B * L).fill(-1e9)
  for (const [b, list] of input.history.entries()) {
    for (const [i, step] of list.entries()) {
      const at = b * L + L - list.length + i
      steps[at] = step.row
      age[at] = step.ageGroup
      blocked[at] = 0
    }
  }
  return {
    size: B,
    length: L,
    steps: tf.tensor1d(steps, 'int32'),
    age: tf.tensor1d(age, 'int32'),
    seconds: new Float32Array(B * L),
    blocked: tf.tensor3d(blocked, [B, L, 1])
  }
}

const asTensors = (input: ReferenceInput) => [
  tf.tensor2d(Float32Array.from(input.historyRows), [6, 4]),
  tf.tensor2d(Float32Array.from(input.candidateRows), [5, 4]),
  ...Object.values(weightTensors(input.weights as Weights, model.shapes))
]

type Integers = ReturnType<typeof integersOf>
const integersOf = (input: ReferenceInput) => ({
  history: historyTensors(input),
  positive: tf.tensor1d(input.positive as number[], 'int32'),
  logQ: tf.tensor1d(input.logQ as number[]),
  weight: tf.tensor1d(input.weight as number[])
})

function lossOf(integers: Integers, options: ComparisonLossOptions, tensors: readonly tf.Tensor[]): tf.Scalar {
  const weights = mapShapes(model.shapes, (_name, _shape, at) => tensors[2 + at]!)
  const users = model.user.interests(weights, tensors[0] as tf.Tensor2D, integers.history).interests
  const vectors = model.itemVectors(weights, tensors[1] as tf.Tensor2D)
  const candidates = { vectors, positive: integers.positive, logQ: integers.logQ }
  // MTMI's own loss where it has these options, else that of the studies.
  return options.loss === 'softmax' && options.idwStopGradient
    ? mtmiLoss(users, candidates, integers.weight, options)
    : comparisonLoss(users, candidates, integers.weight, options)
}

const close = (a: number, b: number, tolerance: number, what: string) =>
  assert.ok(Math.abs(a - b) <= tolerance * (1 + Math.abs(b)), `${what}: ${a}, expected ${b}`)

for (const backend of ['tensorflow', 'wasm'] as const) {
  test(`with ${backend}`, async (t) => {
    try {
      await loadBackend(backend)
    } catch (error) {
      t.skip(`SKIPPED: ${backend} does not load here: ${(error as Error).message}`)
      return
    }

    await t.test('the towers compute what the equations say', () => {
      const input = makeInput(softmax)
      const users = tf.tidy(() =>
        model.user
          .interests(
            weightTensors(input.weights as Weights, model.shapes),
            asTensors(input)[0] as tf.Tensor2D,
            historyTensors(input)
          )
          .interests.arraySync()
      )
      for (const [b, interests] of referenceInterests(input).entries())
        for (const [k, interest] of interests.entries())
          for (const [d, x] of interest.entries())
            close(users[k]![b]![d]!, x, 1e-5, `user ${b}, interest ${k}, dimension ${d}`)
      const items = tf.tidy(() =>
        model
          .itemVectors(weightTensors(input.weights as Weights, model.shapes), asTensors(input)[1] as tf.Tensor2D)
          .arraySync()
      )
      for (let i = 0; i < 5; i++)
        for (const [d, x] of referenceItem(input, i).entries()) close(items[i]![d]!, x, 1e-5, `item ${i}`)
    })

    const variants: [string, ComparisonLossOptions][] = [
      ['softmax', softmax],
      ['softmax, weights not stopped', { ...softmax, idwStopGradient: false }],
      ['softmax, mean over the towers', { ...softmax, idwAlpha: 0 }],
      ['softmax, nearest tower alone', { ...softmax, idwAlpha: Number.POSITIVE_INFINITY }],
      ['softmax, gaussian weights', { ...softmax, idwForm: 'gaussian' }],
      ['softmax, gaussian weights, not stopped', { ...softmax, idwForm: 'gaussian', idwStopGradient: false }],
      ['softmax, no repel', { ...softmax, repelBeta: 0 }],
      ['triplet', { ...softmax, loss: 'triplet' }],
      ['triplet, weights not stopped', { ...softmax, loss: 'triplet', idwStopGradient: false, idwAlpha: 1 }]
    ]
    for (const [name, options] of variants) {
      await t.test(`${name}: the loss and the gradient of every weight and row`, () => {
        const input = makeInput(options)
        const stopped = options.idwStopGradient
        const frozen = stopped ? referenceDistances(input).map((d) => referenceIdw(d, options)) : undefined
        const reference = frozen === undefined ? input : { ...input, frozen }
        const { value, grads } = tf.tidy(() => {
          const integers = integersOf(input)
          const { value, grads } = tf.valueAndGrads((...tensors) => lossOf(integers, options, tensors))(
            asTensors(input)
          )
          return { value: tf.keep(value), grads: grads.map((g) => tf.keep(g)) }
        })
        close(value.dataSync()[0]!, referenceLoss(input), 1e-5, 'loss')
        const parts: [string, (x: Float64Array) => ReferenceInput, ArrayLike<number>][] = [
          ['history rows', (x) => ({ ...reference, historyRows: x }), input.historyRows],
          ['candidate rows', (x) => ({ ...reference, candidateRows: x }), input.candidateRows],
          ...weightNames.map((name): [string, (x: Float64Array) => ReferenceInput, ArrayLike<number>] => [
            name,
            (x) => ({ ...reference, weights: { ...reference.weights, [name]: x } }),
            input.weights[name]!
          ])
        ]
        for (const [p, [part, changed, values]] of parts.entries()) {
          const gradient = grads[p]!.dataSync()
          assert.equal(gradient.length, values.length, part)
          for (let i = 0; i < values.length; i++) {
            const h = 1e-5
            const up = Float64Array.from(values)
            const down = Float64Array.from(values)
            up[i]! += h
            down[i]! -= h
            close(
              gradient[i]!,
              (referenceLoss(changed(up)) - referenceLoss(changed(down))) / (2 * h),
              2e-4,
              `${part}[${i}]`
            )
          }
        }
        tf.dispose([value, ...grads])
      })
    }

    await t.test('a blocked candidate is no negative', () => {
      // One user, two candidates besides the target, at 90° each: ℓ = ln(1 + e^(0−1)) with one of them, ln(1 + 2
      // e^(−1)) with both.
      const loss = (blocked: number) =>
        tf.tidy(() => {
          const users = tf.tensor3d([[[1, 0, 0]]])
          const vectors = tf.tensor2d([1, 0, 0, 0, 1, 0, 0, 0, 1], [3, 3])
          const candidates = {
            vectors,
            positive: tf.tensor1d([0], 'int32'),
            logQ: tf.zeros([3]) as tf.Tensor1D,
            blocked: tf.tensor2d([[0, blocked, 0]])
          }
          return mtmiLoss(users, candidates, tf.tensor1d([1]), {
            ...softmax,
            temperature: 1,
            repelBeta: 0
          }).dataSync()[0]!
        })
      close(loss(0), Math.log(1 + 2 * Math.exp(-1)), 1e-6, 'both')
      close(loss(-1e9), Math.log(1 + Math.exp(-1)), 1e-6, 'one')
    })

    await t.test('logQ: an item drawn twice as surely counts half', () => {
      // Scores 1 (target) and 0; ln q = 0 and ln 2: ℓ = ln(e¹ + e⁰/2) − 1.
      const loss = tf.tidy(() => {
        const vectors = tf.tensor2d([1, 0, 0, 1], [2, 2])
        const candidates = { vectors, positive: tf.tensor1d([0], 'int32'), logQ: tf.tensor1d([0, Math.log(2)]) }
        return mtmiLoss(tf.tensor3d([[[1, 0]]]), candidates, tf.tensor1d([1]), {
          ...softmax,
          temperature: 1
        }).dataSync()[0]!
      })
      close(loss, Math.log(Math.E + 0.5) - 1, 1e-6, 'loss')
    })

    await t.test('repel is bounded by its margin: never below −m_r', () => {
      // The triplet form has nothing to lose where there are no negatives. Opposite towers are 2 apart, more than m_r =
      // 1.2; equal ones 0 (to the floor of 1e-3).
      const empty = { vectors: tf.tensor2d([[1, 0]]), positive: tf.tensor1d([0], 'int32'), logQ: tf.tensor1d([0]) }
      const loss = (users: number[][][]) =>
        tf.tidy(
          () =>
            comparisonLoss(tf.tensor3d(users), empty, tf.tensor1d([1]), {
              ...softmax,
              loss: 'triplet',
              repelBeta: 1
            }).dataSync()[0]!
        )
      close(loss([[[1, 0]], [[-1, 0]]]), -1.2, 1e-6, 'opposite')
      close(loss([[[1, 0]], [[1, 0]]]), -1e-3, 1e-5, 'equal')
    })

    await t.test('where no step is real the towers are finite', () => {
      const input = { ...makeInput(softmax), history: [[], [], [], []] }
      const users = tf.tidy(() =>
        model.user
          .interests(weightTensors(input.weights as Weights, model.shapes), tf.zeros([6, 4]), historyTensors(input))
          .interests.dataSync()
      )
      assert.ok(users.every(Number.isFinite))
    })
  })
}

test('age groups are doublings of seconds', () => {
  assert.deepEqual([0, 0.5, 1, 3, 7, 3600, 1e12].map(ageGroup), [0, 0, 1, 2, 3, 11, 31])
  assert.deepEqual([Number.NaN, -5].map(ageGroup), [0, 0])
})

test('apart in the day and in the week: rounded, the same whatever the time zone', () => {
  const hours = (n: number) => 3600 * n
  assert.deepEqual([0, hours(0.4), hours(0.6), hours(23), hours(23.7), hours(49)].map(hourApart), [0, 0, 1, 23, 0, 1])
  assert.deepEqual(
    [0, hours(11), hours(13), hours(24 * 6), hours(24 * 7), hours(24 * 8)].map(dayApart),
    [0, 0, 1, 6, 0, 1]
  )
  assert.deepEqual(
    [Number.NaN, -5].flatMap((age) => [hourApart(age), dayApart(age)]),
    [0, 0, 0, 0]
  )
})
