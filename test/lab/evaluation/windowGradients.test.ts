// Windows against one by one: the same losses, and the same gradient of every weight and row, up to the rounding of
// sums in another order.
import '../../../src/lab/models/comparisonModels.ts'
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import * as tf from '@tensorflow/tfjs-core'
import { configSchema } from '../../../src/core/config/config.ts'
import { modelSchema } from '../../../src/core/config/modelOptions.ts'
import { Rng } from '../../../src/core/rng.ts'
import { learnWindows } from '../../../src/lab/evaluation/offlineTrainer.ts'
import { cutWindows, type TrainingWindow } from '../../../src/lab/evaluation/trainingWindow.ts'
import { assembleWindows, unrolled } from '../../../src/lab/evaluation/windowBatch.ts'
import { loadBackend } from '../../../src/model/backend.ts'
import { createModel } from '../../../src/model/model.ts'
import { BatchAssembler } from '../../../src/train/batch/batchAssembler.ts'
import { CandidateSampler } from '../../../src/train/batch/candidateSampler.ts'
import { ItemTable } from '../../../src/train/batch/itemTable.ts'
import { IncrementalTrainer } from '../../../src/train/incrementalTrainer.ts'
import { ItemInputs } from '../../../src/train/itemInputs.ts'
import { stepGradients } from '../../support/stepGradients.ts'

before(() => loadBackend())

const historyMax = 5

/** Users of 2 … 12 steps among 30 items, at uneven times. */
function windowsOf(rng: Rng, users: number, targetsMax: number): TrainingWindow[] {
  return Array.from({ length: users }, (_, u) => {
    let seconds = 0
    const steps = Array.from({ length: 2 + rng.integer(11) }, () => {
      seconds += rng.integer(2) === 0 ? rng.integer(10) : rng.integer(100_000)
      return { itemId: `i${rng.integer(30)}`, type: 'click', eventTimeMs: 1000 * seconds }
    })
    return cutWindows(`u${u}`, steps, { historyMax, targetsMax, weightOf: () => 1 })
  }).flat()
}

const close = (a: Float32Array, b: Float32Array, what: string) => {
  assert.equal(a.length, b.length, what)
  const largest = a.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
  for (let i = 0; i < a.length; i++)
    assert.ok(Math.abs(a[i]! - b[i]!) <= 1e-5 * Math.max(largest, 1e-3), `${what}[${i}]: ${a[i]} against ${b[i]}`)
}

for (const settings of [
  { loss: 'softmax' },
  { loss: 'triplet' },
  { readout: 'hard' },
  { communication: 'mean', context: 'time' },
  { name: 'one-vector' },
  { name: 'comirec-sa' }
] as const) {
  for (const targetsMax of [1, 4]) {
    test(`${JSON.stringify(settings)}, at most ${targetsMax} targets a window: losses and gradients are those of one by one`, () => {
      const options = modelSchema.parse({ dimensions: 8, interestCount: 3, ...settings })
      const rng = new Rng(4)
      const model = createModel(options, historyMax)
      const items = new ItemTable({
        dimensions: 8,
        itemsMax: 100,
        admissionMin: 1,
        rng: rng.fork('items')
      })
      const features = new ItemTable({
        dimensions: 8,
        itemsMax: 100,
        admissionMin: 1,
        rng: rng.fork('features')
      })
      const sampler = new CandidateSampler({ items })
      // Two of the 30 items have no row.
      for (let i = 0; i < 28; i++) sampler.observe(items.observe(`i${i}`, 0))
      const assembler = new BatchAssembler({
        items,
        features,
        sampler,
        historyMax,
        negatives: 6,
        rng: rng.fork('n'),
        featuresOf: () => []
      })
      const first = model.initialWeights(rng.fork('weights'))
      // Nothing at zero, so that every term counts.
      const weights = Object.fromEntries(
        Object.entries(first).map(([name, values]) => [name, values.map((x) => x + 0.3 * rng.normal())])
      )
      const batch = assembleWindows(assembler, windowsOf(rng, 6, targetsMax), new Map())
      const inputs = new ItemInputs(items, features, model).gather(batch.items, batch.features)
      const tensors = tf.memory().numTensors
      // A model that cannot read windows is given none.
      assert.equal(model.user.readsWindows, !('name' in settings && settings.name === 'comirec-sa'))
      const together = stepGradients(
        model.user.readsWindows ? batch : unrolled(batch, historyMax),
        inputs,
        weights,
        model
      )
      const oneByOne = stepGradients(unrolled(batch, historyMax), inputs, weights, model)
      assert.equal(tf.memory().numTensors, tensors)
      const known = (losses: Float32Array) => losses.filter((_, b) => batch.weight[b]! > 0)
      assert.ok(known(together.losses).length > 15)
      close(known(together.losses), known(oneByOne.losses), 'losses')
      close(together.inputs, oneByOne.inputs, 'inputs')
      for (const [name, gradient] of Object.entries(together.dense)) {
        close(gradient, oneByOne.dense[name]!, name)
        assert.ok(
          gradient.some((x) => x !== 0),
          `${name} has a gradient`
        )
      }
    })
  }
}

test("a user's other targets are not negatives", () => {
  const options = modelSchema.parse({ dimensions: 8, interestCount: 2, repelBeta: 0 })
  const rng = new Rng(4)
  const items = new ItemTable({ dimensions: 8, itemsMax: 100, admissionMin: 1, rng: rng.fork('items') })
  const features = new ItemTable({ dimensions: 8, itemsMax: 100, admissionMin: 1, rng: rng.fork('features') })
  const sampler = new CandidateSampler({ items })
  for (const id of ['a', 'b', 'c']) items.observe(id, 0)
  const assembler = new BatchAssembler({
    items,
    features,
    sampler,
    historyMax,
    negatives: 0,
    rng: rng.fork('n'),
    featuresOf: () => []
  })
  const model = createModel(options, historyMax)
  const steps = ['a', 'b', 'c'].map((itemId, i) => ({ itemId, type: 'click', eventTimeMs: i }))
  const batch = assembleWindows(
    assembler,
    cutWindows('u', steps, { historyMax, targetsMax: 9, weightOf: () => 1 }),
    new Map()
  )
  const inputs = new ItemInputs(items, features, model).gather(batch.items, batch.features)
  const run = (groups: Int32Array) =>
    stepGradients({ ...batch, groups }, inputs, model.initialWeights(new Rng(2)), model, false).losses
  // Candidates are b and c alone. One group: each target's only rivals are blocked, and with two equal interests a
  // softmax over 2 × 1 columns is left.
  const together = run(Int32Array.of(0, 0))
  for (const loss of together) assert.ok(Math.abs(loss - Math.LN2) < 0.2, `${loss}`)
  const apart = run(Int32Array.of(0, 1))
  for (const [b, loss] of apart.entries()) assert.ok(loss > together[b]!, 'a rival more, a greater loss')
})

test('learnWindows: learns what comes next on rings of items', () => {
  const config = configSchema.parse({
    model: { dimensions: 16, interestCount: 2 },
    train: { negatives: 16, reservoirMax: 0, replayRatio: 0 }
  })
  const trainer = new IncrementalTrainer({ model: config.model, train: config.train, historyMax, seed: 1 })
  const rng = new Rng(3)
  const walk = (user: number) => {
    const ring = rng.integer(4)
    const start = rng.integer(10)
    const steps = Array.from({ length: 8 }, (_, i) => ({
      itemId: `r${ring}-${(start + i) % 10}`,
      type: 'click',
      eventTimeMs: 1000 * i
    }))
    return cutWindows(`u${user}`, steps, { historyMax, targetsMax: 8, weightOf: () => 1 })
  }
  const examples = Array.from({ length: 40 }, (_, i) => ({
    userId: 'x',
    history: [{ itemId: `r${Math.floor(i / 10)}-${i % 10}`, type: 'click', eventTimeMs: 0 }],
    target: { itemId: `r${Math.floor(i / 10)}-${(i + 1) % 10}`, type: 'click', eventTimeMs: 1000 },
    source: { partition: 0, offset: BigInt(i) },
    weight: 1
  }))
  trainer.step(examples, new Map())
  for (let step = 0; step < 60; step++) learnWindows(trainer, Array.from({ length: 8 }, (_, u) => walk(u)).flat())
  const evaluation = trainer.evaluateExamples(examples)
  // By chance 3 of 39 are among the first three: .08.
  const hits = evaluation.ranks.filter((rank) => rank < 3).length
  assert.ok(hits >= 30, `${hits} of 40`)
})
