// A step as one graph against the same operation by operation: losses and gradients are the same up to the rounding of
// sums.
import '../../../src/lab/models/comparisonModels.ts'
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import * as tf from '@tensorflow/tfjs-core'
import { modelSchema } from '../../../src/core/config/modelOptions.ts'
import { Rng } from '../../../src/core/rng.ts'
import { cutWindows } from '../../../src/lab/evaluation/trainingWindow.ts'
import { assembleWindows, unrolled } from '../../../src/lab/evaluation/windowBatch.ts'
import { loadBackend, peakTensorBytes } from '../../../src/model/backend.ts'
import { createModel } from '../../../src/model/model.ts'
import { BatchAssembler } from '../../../src/train/batch/batchAssembler.ts'
import { CandidateSampler } from '../../../src/train/batch/candidateSampler.ts'
import { ItemTable } from '../../../src/train/batch/itemTable.ts'
import { ItemInputs } from '../../../src/train/itemInputs.ts'
import { eagerStep } from '../../../src/train/step/eagerStep.ts'
import { graphStep, hasGraph } from '../../../src/train/step/graphStep.ts'
import { stepArrays } from '../../../src/train/step/stepArrays.ts'
import { stepGradients } from '../../support/stepGradients.ts'

before(() => loadBackend('tensorflow'))

const historyMax = 5

/**
 * Some examples in windows of 1 … 3 targets, of which a few have no row; every weight away from 0, so that every term
 * counts.
 */
function scenario(settings: Readonly<Record<string, unknown>>, items: number, idwAlpha?: number) {
  const options = modelSchema.parse({ dimensions: 8, interestCount: 3, temperature: 0.3, ...settings })
  const rng = new Rng(4)
  const model = createModel(idwAlpha === undefined ? options : { ...options, idwAlpha }, historyMax)
  const table = new ItemTable({
    dimensions: 8,
    itemsMax: 1000,
    admissionMin: 1,
    rng: rng.fork('items'),
    initialScale: 0.5
  })
  const features = new ItemTable({
    dimensions: 8,
    itemsMax: 100,
    admissionMin: 1,
    rng: rng.fork('features')
  })
  const sampler = new CandidateSampler({ items: table })
  for (let i = 2; i < items; i++) sampler.observe(table.observe(`i${i}`, 0))
  const assembler = new BatchAssembler({
    items: table,
    features,
    sampler,
    historyMax,
    negatives: 6,
    rng: rng.fork('n'),
    featuresOf: () => []
  })
  const windows = Array.from({ length: 6 }, (_, u) => {
    let seconds = 0
    const steps = Array.from({ length: 3 + rng.integer(9) }, () => {
      seconds += rng.integer(2) === 0 ? rng.integer(10) : rng.integer(100_000)
      return { itemId: `i${rng.integer(items)}`, type: 'click', eventTimeMs: 1000 * seconds }
    })
    return cutWindows(`u${u}`, steps, { historyMax, targetsMax: 3, weightOf: () => 1 })
  }).flat()
  const shaken = () => {
    const first = model.initialWeights(rng.fork('weights'))
    return Object.fromEntries(
      Object.entries(first).map(([name, values]) => [name, values.map((x) => x + 0.3 * rng.normal())])
    )
  }
  const together = assembleWindows(assembler, windows, new Map())
  const inputs = new ItemInputs(table, features, model).gather(together.items, together.features)
  return { model, options, together, oneByOne: unrolled(together, historyMax), inputs, weights: shaken(), rng }
}

function close(a: Float32Array, b: Float32Array, what: string): number {
  assert.equal(a.length, b.length, what)
  const largest = b.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
  const tolerance = 2e-5 * Math.max(largest, 1e-2)
  for (let i = 0; i < a.length; i++)
    assert.ok(Math.abs(a[i]! - b[i]!) <= tolerance, `${what}[${i}]: ${a[i]} against ${b[i]}`)
  return largest
}

for (const settings of [
  {},
  { idwAlpha: 'Infinity' },
  { idwAlpha: 0, repelBeta: 0 },
  { idwForm: 'gaussian', repelMargin: 0.3 },
  { interestCount: 1 }
]) {
  // With 6 items fewer rows are touched than the graph has parts for.
  for (const items of [30, 6]) {
    test(`${JSON.stringify(settings)}, ${items} items`, () => {
      const { idwAlpha, ...others } = settings as { idwAlpha?: unknown }
      const nearest = idwAlpha === 'Infinity'
      const { model, together, oneByOne, inputs, weights, rng } = scenario(
        nearest ? others : settings,
        items,
        nearest ? Number.POSITIVE_INFINITY : undefined
      )
      assert.ok(hasGraph(model))
      const dropout = inputs.map(() => (rng.uniform() < 0.2 ? 0 : 1.25))
      for (const batch of [together, oneByOne, { ...oneByOne, groups: new Int32Array(oneByOne.size) }]) {
        const step = stepArrays(batch, inputs, dropout, { historyMax, logQ: true })
        const tensors = tf.memory().numTensors
        const graph = graphStep(step, weights, model)
        assert.equal(tf.memory().numTensors, tensors)
        const eager = eagerStep(step, weights, model)
        assert.ok(
          Math.abs(graph.loss - eager.loss) < 1e-5 * (1 + Math.abs(eager.loss)),
          `loss: ${graph.loss} against ${eager.loss}`
        )
        const known = (losses: Float32Array) => losses.filter((_, b) => batch.weight[b]! > 0)
        close(known(graph.losses), known(eager.losses), 'losses')
        for (const [name, values] of Object.entries(graph.dense)) {
          const largest = close(values, eager.dense[name]!, name)
          if (items > 6 && batch === together) assert.ok(largest > 1e-3, `${name} has a gradient`)
        }
        close(graph.gradRows.subarray(0, eager.gradRows.length), eager.gradRows, 'rows')
        assert.ok(graph.gradRows.subarray(eager.gradRows.length).every((x) => x === 0))
        close(graph.gradCandidates, eager.gradCandidates, 'candidates')
      }
    })
  }
}

test('a libtensorflow that takes no graphs: steps go operation by operation, and the backend says so', async () => {
  const { model } = scenario({}, 30)
  const backend = tf.backend() as unknown as { binding: object }
  const { binding } = backend
  const names = Object.getOwnPropertyNames(binding)
  const others = Object.fromEntries(names.map((name) => [name, (binding as Record<string, unknown>)[name]]))
  const loadSavedModel = () => {
    throw new Error('Failed to load SavedModel: no such thing\nin these words')
  }
  backend.binding = { ...others, loadSavedModel }
  try {
    const { problems } = await loadBackend('tensorflow')
    assert.match(
      problems.join(),
      /^libtensorflow \S+ does not run graphs: Failed to load SavedModel: no such thing\. Training goes operation by operation/
    )
    assert.equal(hasGraph(model), false)
  } finally {
    backend.binding = binding
  }
  assert.deepEqual((await loadBackend('tensorflow')).problems, [])
  assert.ok(hasGraph(model))
})

test('what a step takes in memory is seen, though a graph would hide it', async () => {
  const { model, oneByOne, inputs, weights } = scenario({}, 30)
  const step = () => stepGradients(oneByOne, inputs, weights, model)
  const { result, bytes } = await peakTensorBytes(step)
  const hiddenUnits = 4 * oneByOne.items.length * 3 * 8
  assert.ok(bytes > 2 * hiddenUnits, `${bytes} bytes`)
  assert.ok(Math.abs(result.loss - step().loss) < 1e-5)
  assert.ok(hasGraph(model))
})

test('options that the graph does not compute are left to the other way', () => {
  for (const settings of [
    { loss: 'triplet' },
    { readout: 'hard' },
    { idwStopGradient: false },
    { communication: 'mean' },
    { context: 'time' },
    { name: 'mind' }
  ]) {
    const options = modelSchema.parse({ dimensions: 8, interestCount: 3, ...settings })
    assert.equal(hasGraph(createModel(options, historyMax)), false, JSON.stringify(settings))
  }
})

test('the same each time, bit by bit; and weights that are not finite give a loss that is none', () => {
  const { model, together, inputs, weights } = scenario({}, 30)
  const step = stepArrays(together, inputs, undefined, { historyMax, logQ: true })
  const first = graphStep(step, weights, model)
  // Whatever core was free first: often, for a sum in another order is rare.
  for (let i = 0; i < 100; i++) assert.deepEqual(graphStep(step, weights, model), first)
  for (const name of Object.keys(weights)) {
    const broken = { ...weights, [name]: weights[name]!.map(() => Number.NaN) }
    const { loss, dense } = graphStep(step, broken, model)
    const gradient = Object.values(dense).reduce((sum, values) => sum + values.reduce((a, b) => a + b, 0), 0)
    assert.ok(!Number.isFinite(loss + gradient), `${name}: loss ${loss}, gradient ${gradient}`)
  }
})
