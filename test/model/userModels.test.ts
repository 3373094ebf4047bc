// Every user model against its equations in plain loops: interests, and the gradient of every weight and row.
// And what holds for all of them.
import assert from 'node:assert/strict'
import test from 'node:test'
import * as tf from '@tensorflow/tfjs-core'
import { interestCountOf, modelSchema } from '../../src/core/config/modelOptions.ts'
import { Rng } from '../../src/core/rng.ts'
import { comparedModels } from '../../src/lab/models/comparisonModels.ts'
import { type HistoryTensors, historyTensors } from '../../src/model/historyTensors.ts'
import { createModel } from '../../src/model/model.ts'
import { mapShapes, sizeOf, type Weights, weightTensors } from '../../src/model/weights.ts'
import { onEveryBackend } from './backends.ts'
import { checkGradients, close, type Part } from './gradientCheck.ts'
import {
  referenceComirecDr,
  referenceComirecSa,
  referenceMind,
  referenceMtmi,
  referenceOneVector,
  type UserInput,
  type UserOutput
} from './userReferences.ts'

const [D, R, U] = [4, 5, 6]
type ModelName = keyof typeof comparedModels
const references: Record<ModelName, (input: UserInput) => UserOutput> = {
  mtmi: referenceMtmi,
  mind: referenceMind,
  'comirec-dr': referenceComirecDr,
  'comirec-sa': referenceComirecSa,
  'one-vector': referenceOneVector
}
/** Row by row with seconds before the newest step: 1 … 4 of them, a step twice; the last user has more than is read. */
type List = readonly (readonly [row: number, seconds: number])[]
const histories: readonly List[] = [
  [[1, 0]],
  [
    [2, 9],
    [5, 0]
  ],
  [
    [3, 600],
    [1, 9],
    [3, 0]
  ],
  [
    [5, 90_000],
    [4, 600],
    [2, 9],
    [1, 9],
    [5, 4],
    [2, 0]
  ]
]
const groupOf = (seconds: number) => Math.floor(Math.log2(1 + seconds))

/** @param length L, at least that of the longest */
function tensorsOf(lists: readonly List[], length: number): HistoryTensors {
  const steps = new Int32Array(lists.length * length)
  const age = new Float32Array(lists.length * length)
  for (const [b, list] of lists.entries()) {
    for (const [i, [row, seconds]] of list.entries()) {
      steps[b * length + length - list.length + i] = row
      age[b * length + length - list.length + i] = seconds
    }
  }
  return historyTensors({ size: lists.length, length, steps, age }, R)
}

function make(name: ModelName, options: Record<string, unknown> = {}) {
  const settings = modelSchema.parse({ name, dimensions: D, interestCount: 3, heads: 2, ...options })
  const interestCount = interestCountOf(settings)
  const user = comparedModels[name]({ interestCount, dimensions: D, historyMax: R }, settings)
  const rng = new Rng(5)
  const first = user.initialWeights(rng)
  // Nothing at zero, so that no gradient is tested where it vanishes.
  const weights: Weights = mapShapes(user.shapes, (name) => first[name]!.map((x) => x + 0.3 * rng.normal()))
  const width = D
  const rows = Float64Array.from({ length: U * width }, (_, i) => (i < width ? 0 : rng.normal()))
  const { heads, routingIterations: iterations } = settings
  const input = (b: number, values: Record<string, ArrayLike<number>>): UserInput => ({
    ...{ dimensions: D, historyMax: R, interestCount, heads, iterations },
    weights: values,
    rows: values.rows!,
    steps: histories[b]!.slice(-R).map(([row, seconds]) => ({ row, ageGroup: groupOf(seconds), seconds }))
  })
  const read = (lists: readonly List[], length: number, scores?: tf.Tensor2D) =>
    user.interests(
      weightTensors(weights, user.shapes),
      tf.tensor2d(Float32Array.from(rows), [U, width]),
      tensorsOf(lists, length),
      scores
    )
  return { user, K: interestCount, weights, rows, width, input, read }
}

const variants: [ModelName, Record<string, unknown>][] = [
  ['mtmi', {}],
  ['mtmi', { interestCount: 1 }],
  ['mtmi', { communication: 'mean', context: 'time' }],
  ['mtmi', { communication: 'mean' }],
  ['one-vector', { context: 'time' }],
  ['mind', {}],
  ['mind', { routingIterations: 1 }],
  ['comirec-dr', {}],
  ['comirec-sa', {}],
  ['one-vector', {}]
]

test('every model has a reference and is among those tested', () => {
  assert.deepEqual(Object.keys(references), Object.keys(comparedModels))
  assert.deepEqual([...new Set(variants.map(([name]) => name))].sort(), Object.keys(comparedModels).sort())
})

test('one vector has as many weights as MTMI with as many towers as it has heads', () => {
  const countOf = (name: 'mtmi' | 'one-vector') =>
    Object.values(createModel(modelSchema.parse({ name, interestCount: 4, heads: 4 }), 50).shapes).reduce(
      (sum, shape) => sum + sizeOf(shape),
      0
    )
  assert.equal(countOf('one-vector'), countOf('mtmi'))
})

onEveryBackend(async (t) => {
  await t.test(
    'towers that communicate or read the time start as those that do not; one tower has nobody to talk to',
    () => {
      const plain = make('mtmi')
      for (const options of [{ communication: 'mean' }, { context: 'time' }]) {
        const { user } = make('mtmi', options)
        const first = user.initialWeights(new Rng(5))
        assert.deepEqual(Object.keys(first), Object.keys(user.shapes))
        const of = (model: typeof user, weights: Weights) =>
          tf.tidy(() =>
            model
              .interests(weightTensors(weights, model.shapes), tf.ones([U, D]), tensorsOf(histories, 6))
              .interests.dataSync()
          )
        assert.deepEqual(of(user, first), of(plain.user, plain.user.initialWeights(new Rng(5))))
        assert.deepEqual(user.architecture, options)
      }
      assert.deepEqual(make('mtmi', { communication: 'mean', interestCount: 1 }).user.architecture, {})
    }
  )

  for (const [name, options] of variants) {
    await t.test(`${name} ${JSON.stringify(options)}`, () => {
      const { user, K, weights, rows, width, input, read } = make(name, options)
      const reference = references[name]
      const outputs = histories.map((_, b) => reference(input(b, { ...weights, rows })))
      const found = read(histories, 6)
      const interests = found.interests.arraySync()
      for (const [b, output] of outputs.entries()) {
        assert.equal(output.interests.length, K)
        for (const [k, u] of output.interests.entries())
          for (const [d, x] of u.entries())
            close(interests[k]![b]![d]!, x, 2e-5, `user ${b}, interest ${k}, dimension ${d}`)
      }

      // The routing is a constant to the gradient.
      const frozen = name === 'mind' || name === 'comirec-dr'
      const slopes = Float32Array.from({ length: K * histories.length * D }, (_, i) => Math.sin(1 + 2 * i))
      const parts: Record<string, Part> = { rows: { values: rows, shape: [U, width] } }
      for (const [weight, shape] of Object.entries(user.shapes)) parts[weight] = { values: weights[weight]!, shape }
      checkGradients<string>(
        parts,
        (x) =>
          tf.sum(
            tf.mul(
              user.interests(x, x.rows as tf.Tensor2D, tensorsOf(histories, 6)).interests,
              tf.tensor3d(slopes, [K, histories.length, D])
            )
          ) as tf.Scalar,
        (moved) => {
          let sum = 0
          for (const [b, { routing }] of outputs.entries()) {
            const { interests } = reference({ ...input(b, moved), frozen: frozen ? routing : undefined })
            for (const [k, u] of interests.entries())
              for (const [d, x] of u.entries()) sum += x * slopes[(k * histories.length + b) * D + d]!
          }
          return sum
        },
        { constants: name === 'mind' ? ['routing.logits'] : [], tolerance: 5e-4 }
      )
    })
  }

  for (const name of Object.keys(comparedModels) as ModelName[]) {
    await t.test(`${name}: padding, empty histories and users beside one another change nothing`, () => {
      const { read } = make(name)
      const of = (lists: readonly List[], length: number) => read(lists, length).interests.arraySync()
      const [short, , middle] = histories as [List, List, List]
      const empty: List = []
      const alone = of([short], 1)
      const together = of([middle, empty, short], 5)
      for (const [k, users] of alone.entries())
        for (const [d, x] of users[0]!.entries()) close(together[k]![2]![d]!, x, 1e-5, `interest ${k}, dimension ${d}`)
      // A history shorter than K still has K interests, of length 1.
      for (const users of alone) close(Math.hypot(...users[0]!), 1, 1e-5, 'length')
      const [one, five] = [of([empty], 1), of([empty], 5)]
      for (const [k, users] of one.entries()) {
        for (const [d, x] of users[0]!.entries()) {
          close(five[k]![0]![d]!, x, 1e-5, `empty, interest ${k}, dimension ${d}`)
          close(together[k]![1]![d]!, x, 1e-5, `empty beside others, interest ${k}, dimension ${d}`)
        }
        // Where there is a bias, an unknown user has an interest; where there is none, none: a zero vector, which
        // scores all items alike.
        const length = Math.hypot(...users[0]!)
        close(
          length,
          ['mind', 'comirec-dr', 'comirec-sa'].includes(name) ? 0 : 1,
          1e-5,
          'length of an empty history’s interest'
        )
      }
    })

    await t.test(`${name}: what is read once is remembered as well`, () => {
      const { user, weights, rows, width, read } = make(name)
      assert.equal(user.rowScores === undefined, (user.rowScoreCount ?? 0) === 0)
      if (user.rowScores === undefined) return
      const scores = user.rowScores(
        weightTensors(weights, user.shapes),
        tf.tensor2d(Float32Array.from(rows), [U, width])
      )
      assert.deepEqual(scores.shape, [U, user.rowScoreCount])
      assert.deepEqual(read(histories, 6, scores).interests.dataSync(), read(histories, 6).interests.dataSync())
    })
  }
})
