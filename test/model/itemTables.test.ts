// Rows of their own for every tower, and items without a tower.
import '../../src/lab/models/comparisonModels.ts'
import assert from 'node:assert/strict'
import * as tf from '@tensorflow/tfjs-core'
import { modelSchema } from '../../src/core/config/modelOptions.ts'
import { Rng } from '../../src/core/rng.ts'
import { historyTensors } from '../../src/model/historyTensors.ts'
import { createModel } from '../../src/model/model.ts'
import { weightTensors } from '../../src/model/weights.ts'
import { onEveryBackend } from './backends.ts'
import { checkGradients, close } from './gradientCheck.ts'
import { referenceInterests, referenceItem } from './reference.ts'

const [K, D, R, U] = [2, 4, 5, 4]
const options = (model: Record<string, unknown>) => modelSchema.parse({ interestCount: K, dimensions: D, ...model })
const apart = createModel(options({ itemTables: 'per-tower' }), R)
const shape = { interestCount: K, dimensions: D, historyMax: R }
const rng = new Rng(3)
const weights = apart.initialWeights(rng)
// Row 0 is padding: zeros.
const rows = Float64Array.from({ length: U * 3 * D }, (_, i) => (i < 3 * D ? 0 : rng.normal()))
const steps = Int32Array.from([0, 0, 1, 2, 3, 1])
const histories = () => historyTensors({ size: 2, length: 3, steps, age: new Float32Array(6) }, R)
/** Table t of rows [U, 3·D]. */
const table = (values: ArrayLike<number>, t: number) =>
  Float64Array.from({ length: U * D }, (_, i) => values[Math.floor(i / D) * 3 * D + t * D + (i % D)]!)
/** Tower k reads what MTMI with one table would read, were it this one. */
const reference = (values: ArrayLike<number>) =>
  [0, 1].map((k) =>
    referenceInterests({
      shape,
      weights,
      historyRows: table(values, 1 + k),
      history: [[1], [2, 3, 1]].map((list) => list.map((row) => ({ row, ageGroup: 0 }))),
      candidateRows: [],
      positive: [],
      logQ: [],
      weight: [],
      options: options({})
    }).map((interests) => interests[k]!)
  )

onEveryBackend(async (t) => {
  await t.test('every tower reads its own part of a row', () => {
    assert.equal(apart.rowWidth, 3 * D)
    const tensors = () => weightTensors(weights, apart.shapes)
    const slopes = Float32Array.from({ length: K * 2 * D }, () => rng.normal())
    checkGradients(
      { rows: { values: rows, shape: [U, 3 * D] } },
      (x) =>
        tf.sum(
          tf.mul(
            apart.user.interests(tensors(), x.rows as tf.Tensor2D, histories()).interests,
            tf.tensor3d(slopes, [K, 2, D])
          )
        ) as tf.Scalar,
      (values) =>
        reference(values.rows)
          .flat(2)
          .reduce((sum, u, i) => sum + u * slopes[i]!, 0)
    )
    const scores = apart.user.rowScores!(tensors(), tf.tensor2d(Float32Array.from(rows), [U, 3 * D]))
    const known = apart.user
      .interests(tensors(), tf.tensor2d(Float32Array.from(rows), [U, 3 * D]), histories(), scores)
      .interests.arraySync()
    for (const [k, users] of reference(rows).entries())
      for (const [b, u] of users.entries())
        for (const [d, x] of u.entries()) close(known[k]![b]![d]!, x, 1e-5, `${k} ${b} ${d}`)
  })

  await t.test('the item tower reads the first part', () => {
    const vectors = apart
      .itemVectors(weightTensors(weights, apart.shapes), tf.tensor2d(Float32Array.from(rows), [U, 3 * D]))
      .arraySync()
    const input = { shape, weights, candidateRows: table(rows, 0) } as unknown as Parameters<typeof referenceItem>[0]
    for (let i = 1; i < U; i++)
      for (const [d, x] of referenceItem(input, i).entries()) close(vectors[i]![d]!, x, 1e-5, `${i} ${d}`)
  })

  await t.test('without a tower an item is its row, of length 1', () => {
    const plain = createModel(options({ itemTower: 'none' }), R)
    assert.deepEqual(
      Object.keys(plain.shapes).filter((name) => name.startsWith('item.')),
      []
    )
    const vectors = plain.itemVectors({}, tf.tensor2d([3, 0, 4, 0], [1, 4])).dataSync()
    for (const [d, x] of [0.6, 0, 0.8, 0].entries()) close(vectors[d]!, x, 1e-6, `dimension ${d}`)
  })
})
