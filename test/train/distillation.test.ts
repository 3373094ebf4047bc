// The term that holds replayed interests to a slow copy's, against finite differences; and the copy itself.
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import * as tf from '@tensorflow/tfjs-core'
import { configSchema } from '../../src/core/config/config.ts'
import { Rng } from '../../src/core/rng.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { historyTensors } from '../../src/model/historyTensors.ts'
import { createModel } from '../../src/model/model.ts'
import type { Weights } from '../../src/model/weights.ts'
import { BatchAssembler } from '../../src/train/batch/batchAssembler.ts'
import { CandidateSampler } from '../../src/train/batch/candidateSampler.ts'
import { ItemTable } from '../../src/train/batch/itemTable.ts'
import { cutWindows } from '../../src/train/batch/trainingWindow.ts'
import { unrolled, type WindowBatch } from '../../src/train/batch/windowBatch.ts'
import { ItemInputs } from '../../src/train/itemInputs.ts'
import { SlowCopy } from '../../src/train/step/slowCopy.ts'
import type { Distillation } from '../../src/train/step/stepArrays.ts'
import { stepGradients } from '../../src/train/step/stepGradients.ts'

before(() => loadBackend())

const historyMax = 4
const { model: options } = configSchema.parse({ model: { dimensions: 6, interestCount: 2 } })
const model = createModel(options, historyMax)
const rng = new Rng(4)
const items = new ItemTable({ dimensions: model.rowWidth, itemsMax: 100, admissionMin: 1, rng: rng.fork('items'), initialScale: 1 })
const features = new ItemTable({ dimensions: model.rowWidth, itemsMax: 100, admissionMin: 1, rng: rng.fork('features') })
const sampler = new CandidateSampler({ items })
for (let i = 0; i < 20; i++) sampler.observe(items.observe(`i${i}`, 0))
const assembler = new BatchAssembler({ items, features, sampler, historyMax, negatives: 4, rng: rng.fork('n'), featuresOf: () => [] })
const windows = Array.from({ length: 5 }, (_, u) => {
  const steps = Array.from({ length: 4 + u }, (_, i) => ({ itemId: `i${rng.integer(20)}`, type: 'click', eventTimeMs: 7000 * i * i }))
  return cutWindows(`u${u}`, steps, { historyMax, targetsMax: 3, weightOf: () => 1 })
}).flat()
const batch: WindowBatch = assembler.assembleWindows(windows, new Map())
/** The first target of the fourth window. */
const from = windows.slice(0, 3).reduce((sum, { targets }) => sum + targets.length, 0)
const inputs = new ItemInputs(items, features, model).gather(batch.items, batch.features)
const shaken = (weights: Weights, by: number): Weights =>
  Object.fromEntries(Object.entries(weights).map(([name, values]) => [name, values.map((x) => x + by * rng.normal())]))
const weights = shaken(model.initialWeights(rng.fork('weights')), 0.3)
const teacher = shaken(weights, 0.3)
const step = (
  distillation?: Distillation,
  given: { weights?: Weights; inputs?: Float32Array; batch?: Parameters<typeof stepGradients>[0] } = {}
) =>
  stepGradients(given.batch ?? batch, given.inputs ?? inputs, undefined, given.weights ?? weights, {
    model,
    loss: options,
    logQ: true,
    ...(distillation === undefined ? {} : { distillation })
  })
const close = (a: number, b: number, tolerance: number, what: string) =>
  assert.ok(Math.abs(a - b) <= tolerance * (1 + Math.abs(b)), `${what}: ${a}, expected ${b}`)

test('its gradient in every weight and row is the slope of what it adds to the loss', () => {
  const distillation = { teacher, weight: 20, from }
  const added = (given: Parameters<typeof step>[1]) => step(distillation, given).loss - step(undefined, given).loss
  const [withIt, without] = [step(distillation), step()]
  assert.ok(added({}) > 0.5, 'it counts')
  const slope = (moved: (by: number) => Parameters<typeof step>[1]) => (added(moved(5e-3)) - added(moved(-5e-3))) / 1e-2
  for (const [name, values] of Object.entries(weights)) {
    for (let i = 0; i < values.length; i += Math.max(1, Math.floor(values.length / 3))) {
      const moved = (by: number) => ({ weights: { ...weights, [name]: values.map((x, j) => (j === i ? x + by : x)) } })
      close(withIt.dense[name]![i]! - without.dense[name]![i]!, slope(moved), 2e-3, `${name}[${i}]`)
    }
  }
  for (let i = 0; i < inputs.length; i += 31) {
    // Rows are the copy's as well: only the student's share of the slope is followed.
    const moved = (by: number) => inputs.map((x, j) => (j === i ? x + by : x))
    const made = (by: number) => studentCosine(moved(by))
    close(withIt.inputs[i]! - without.inputs[i]!, (-20 * (made(5e-3) - made(-5e-3))) / 1e-2, 2e-3, `inputs[${i}]`)
  }
})

/** Weighted mean over the held examples of the mean cosine of interests made of `read` with those that the copy makes of the rows as they are. */
function studentCosine(read: Float32Array): number {
  const one = unrolled(batch, historyMax)
  return tf.tidy(() => {
    const interests = (dense: Weights, rows: Float32Array) => {
      const named = Object.fromEntries(
        Object.entries(model.shapes).map(([name, shape]) => [name, tf.tensor(dense[name]!, shape as number[])])
      )
      const steps = { size: one.size, length: one.length, steps: one.history, age: one.age }
      return model.user.interests(named, tf.tensor2d(rows, [batch.items.length, model.rowWidth]), historyTensors(steps, historyMax))
        .interests
    }
    const cosines = tf.sum(tf.mul(interests(weights, read), interests(teacher, inputs)), 2).arraySync() as number[][] // [K, B]
    const total = batch.weight.reduce((a, b) => a + b, 0)
    let sum = 0
    for (const of of cosines) for (let b = from; b < one.size; b++) sum += (of[b]! * batch.weight[b]!) / (total * cosines.length)
    return sum
  })
}

test('windows and one by one: the same', () => {
  const together = step({ teacher, weight: 20, from })
  const apart = step({ teacher, weight: 20, from }, { batch: unrolled(batch, historyMax) })
  close(together.loss, apart.loss, 1e-5, 'loss')
  for (const [name, gradient] of Object.entries(together.dense))
    for (const [i, x] of gradient.entries()) close(x, apart.dense[name]![i]!, 1e-4, `${name}[${i}]`)
})

test('a copy that is no different teaches nothing; nor does one that holds no example', () => {
  const without = step()
  for (const nothing of [
    { teacher: weights, weight: 20, from },
    { teacher, weight: 20, from: batch.size }
  ]) {
    const { loss, dense } = step(nothing)
    close(loss, without.loss, 1e-5, 'loss')
    for (const [name, gradient] of Object.entries(dense))
      for (const [i, x] of gradient.entries()) close(x, without.dense[name]![i]!, 1e-4, name)
  }
})

test('the slow copy: the mean of the first steps, then half of what was is left after its half-life', () => {
  const copy = new SlowCopy({ w: [1] }, 4)
  assert.equal(copy.weights, undefined)
  const follow = (x: number) => copy.follow({ w: Float32Array.of(x) })
  follow(1)
  follow(3)
  assert.equal(copy.weights!.w![0], 2)
  follow(5)
  assert.equal(copy.weights!.w![0], 3)
  // r = 1 − 2^(−1/4) = .159: one over the number of steps until the sixth.
  for (let i = 0; i < 3; i++) follow(3)
  for (let i = 0; i < 4; i++) follow(1)
  close(copy.weights!.w![0]!, 1 + (3 - 1) / 2, 1e-6, 'after the half-life')
  const again = new SlowCopy({ w: [1] }, 4)
  again.restore(copy.steps, { w: copy.state().get('w')! })
  follow(0)
  again.follow({ w: Float32Array.of(0) })
  assert.deepEqual(again.state(), copy.state())
})
