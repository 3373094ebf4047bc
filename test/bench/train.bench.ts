// One training step from examples to updated rows, on ids drawn by N^u, u uniform: as the PyTorch reference draws them.
//
//     npm run bench -- train [--json] [--items N] [--batch B] [--length L] [--dim D] [--model NAME] [--interests K]
//     [--negatives M] [--hot H] [--steps S] [--targets T]
//                            [--reference CMD]
//
// --targets T: windows of up to L + T steps with T targets each, B targets in all, computed together (see WindowBatch),
// instead of one history each.
// --reference CMD: runs CMD in the shell after the first and after the last step and prints what it says: a peer
// measured in the same minute.
// --hot H draws from the first H items only, whatever N: equal touched rows while the table grows. Negatives: 0 as in
// the reference (in-batch alone).
//
// What should be possible, B 256, L 50, D 64, K 4, H ≈ 5,500 unique rows in histories: scores 2·H·D·K·D = 180 MFLOP,
// pooling 2·B·L·K·D = 7, projections 2·B·K·D² = 8, logits 2·B·K·B·D = 34: some 230 MFLOP forward, three times that with
// the backward pass: 700 MFLOP: 3 ms of a core at 250 GFLOP/s (AVX-512). Bytes: the gathered steps [B·L, D] are 3.3 MB,
// passed over about six times; the hidden units [H, K·D] 5.6 MB, about eight times: 65 MB, 7 ms at 10 GB/s.

import '../../src/lab/models/comparisonModels.ts'
import { execSync } from 'node:child_process'
import os from 'node:os'
import { parseArgs } from 'node:util'
import * as tf from '@tensorflow/tfjs-core'
import { configSchema } from '../../src/core/config/config.ts'
import { modelSchema } from '../../src/core/config/modelOptions.ts'
import { Rng } from '../../src/core/rng.ts'
import type { TrainingWindow } from '../../src/lab/evaluation/trainingWindow.ts'
import { assembleWindows } from '../../src/lab/evaluation/windowBatch.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { createModel } from '../../src/model/model.ts'
import type { Example } from '../../src/records/example.ts'
import { BatchAssembler } from '../../src/train/batch/batchAssembler.ts'
import { CandidateSampler } from '../../src/train/batch/candidateSampler.ts'
import { ItemTable } from '../../src/train/batch/itemTable.ts'
import { ItemInputs } from '../../src/train/itemInputs.ts'
import { Adam } from '../../src/train/step/adam.ts'
import { updateRows } from '../../src/train/step/rowAdagrad.ts'
import { stepGradients } from '../support/stepGradients.ts'

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean' },
    items: { type: 'string', default: '500000' },
    batch: { type: 'string', default: '256' },
    length: { type: 'string', default: '50' },
    dim: { type: 'string', default: '64' },
    model: { type: 'string', default: 'mtmi' },
    interests: { type: 'string', default: '4' },
    negatives: { type: 'string', default: '0' },
    hot: { type: 'string' },
    targets: { type: 'string' },
    reference: { type: 'string' },
    steps: { type: 'string', default: '40' }
  }
})
const N = Number(flags.items)
const B = Number(flags.batch)
const L = Number(flags.length)
const D = Number(flags.dim)
const K = Number(flags.interests)
const steps = Number(flags.steps)
const warmUp = 8

const backend = await loadBackend()
const options = modelSchema.parse({ name: flags.model, dimensions: D, interestCount: K })
const { train } = configSchema.parse({})
const model = createModel(options, L)
const rng = new Rng(1)
const items = new ItemTable({ dimensions: D, itemsMax: N + 1, admissionMin: 1, rng: rng.fork('items') })
const features = new ItemTable({ dimensions: D, itemsMax: 16, admissionMin: 1, rng: rng.fork('features') })
for (let i = 0; i < N; i++) items.observe(`item-${i}`, 0)
items.takeDirty()
const sampler = new CandidateSampler({ items })
const negatives = Number(flags.negatives)
const assembler = new BatchAssembler({
  items,
  features,
  sampler,
  historyMax: L,
  negatives,
  rng: rng.fork('negatives'),
  featuresOf: () => []
})
const inputs = new ItemInputs(items, features, model)
const adam = new Adam({ learningRate: train.denseLearningRate })
const weights = model.initialWeights(rng.fork('weights'))

const reach = Number(flags.hot ?? N)
const draw = (i: number) => ({
  itemId: `item-${Math.min(reach - 1, Math.floor(reach ** rng.uniform()))}`,
  type: 'click',
  eventTimeMs: i * 60_000
})
const examplesOf = () =>
  Array.from({ length: B }, (_, b): Example => {
    const history = Array.from({ length: L }, (_, i) => draw(i))
    return { userId: `u${b}`, history, target: draw(L), source: { partition: 0, offset: 0n }, weight: 1 }
  })
const targets = flags.targets === undefined ? undefined : Number(flags.targets)
const windowsOf = (perWindow: number) =>
  Array.from({ length: Math.ceil(B / perWindow) }, (_, w): TrainingWindow => {
    const steps = Array.from({ length: L + perWindow }, (_, i) => draw(i))
    return { userId: `u${w}`, steps, targets: Array.from({ length: perWindow }, (_, t) => ({ at: L + t, weight: 1 })) }
  })

const references: string[] = []
const runReference = () => {
  if (flags.reference !== undefined) references.push(execSync(flags.reference, { encoding: 'utf8' }).trim())
}

const phases: Record<string, number[]> = { assemble: [], gather: [], gradients: [], update: [] }
const stepMs: number[] = []
let touched = 0
let learned = B
let tensors = 0
runReference()
let before = process.cpuUsage()
let cpuMs = 0
for (let i = 0; i < warmUp + steps; i++) {
  // Made before the clock starts.
  const examples = targets === undefined ? examplesOf() : []
  const windows = targets === undefined ? [] : windowsOf(targets)
  before = process.cpuUsage()
  const marks = [performance.now()]
  assembler.observe(examples)
  const batch =
    targets === undefined ? assembler.assemble(examples, new Map()) : assembleWindows(assembler, windows, new Map())
  learned = batch.size
  marks.push(performance.now())
  const rows = inputs.gather(batch.items, batch.features)
  marks.push(performance.now())
  const gradients = stepGradients(batch, rows, weights, model, options.logQ)
  marks.push(performance.now())
  adam.update(weights, gradients.dense, 1)
  touched = updateRows(items, batch.items, gradients.inputs, 1, 0.05)
  marks.push(performance.now())
  if (!Number.isFinite(gradients.loss)) throw new Error(`step ${i}: loss ${gradients.loss}`)
  if (i < warmUp) {
    tensors = tf.memory().numTensors
    continue
  }
  for (const [p, name] of Object.keys(phases).entries()) phases[name]!.push(marks[p + 1]! - marks[p]!)
  stepMs.push(marks.at(-1)! - marks[0]!)
  const { user, system } = process.cpuUsage(before)
  cpuMs += (user + system) / 1000 / steps
}
if (tf.memory().numTensors !== tensors) throw new Error(`${tf.memory().numTensors - tensors} tensors leaked`)

runReference()
const quantile = (values: readonly number[], q: number) =>
  Number([...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))]!.toFixed(2))
const p50 = quantile(stepMs, 0.5)
const result = {
  model: flags.model,
  parameters: Object.values(weights).reduce((sum, values) => sum + values.length, 0),
  items: N,
  batch: learned,
  length: L,
  dim: D,
  interests: K,
  negatives,
  ...(targets === undefined ? {} : { targets }),
  stepMs: { least: quantile(stepMs, 0), p50, p95: quantile(stepMs, 0.95) },
  cpuMs: Number(cpuMs.toFixed(2)),
  examplesPerSecond: Math.round((1000 * learned) / p50),
  phases: Object.fromEntries(Object.entries(phases).map(([name, values]) => [name, quantile(values, 0.5)])),
  touchedRows: touched,
  tensors,
  rssBytes: process.memoryUsage().rss,
  backend: backend.backend,
  tensorflow: backend.tensorflow,
  cpu: os.cpus()[0]?.model,
  cores: os.availableParallelism(),
  node: process.version,
  ...(references.length === 0 ? {} : { references })
}
process.stdout.write(`${JSON.stringify(result, undefined, flags.json ? undefined : 2)}\n`)
