// The fallback engine does the whole of a step, and does the same: WASM lacks some kernels, and has one that is wrong.
import '../../src/lab/models/comparisonModels.ts'
import assert from 'node:assert/strict'
import test from 'node:test'
import * as tf from '@tensorflow/tfjs-core'
import { configSchema } from '../../src/core/config/config.ts'
import { modelSchema } from '../../src/core/config/modelOptions.ts'
import { Rng } from '../../src/core/rng.ts'
import { loadBackend } from '../../src/model/backend.ts'
import type { Example } from '../../src/records/example.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'

function someExamples(seed: number): Example[] {
  const rng = new Rng(seed)
  return Array.from({ length: 16 }, (_, b) => {
    const step = (i: number) => ({ itemId: `i${rng.integer(20)}`, type: 'click', eventTimeMs: 1e12 + i * 1000 })
    return {
      userId: `u${b}`,
      history: [step(0), step(1), step(2)],
      target: step(3),
      source: { partition: 0, offset: BigInt(b) },
      weight: 1
    }
  })
}

test('WASM is reported as what it is', async () => {
  const report = await loadBackend('wasm')
  assert.equal(report.backend, 'wasm')
  assert.equal(report.threads, 1)
  assert.equal(report.tensorflow, undefined)
  assert.equal(tf.getBackend(), 'wasm')
})

test('the same steps on WASM and on libtensorflow: losses and ranks agree', async (t) => {
  const run = (loss: 'softmax' | 'triplet') => {
    const model = modelSchema.parse({ loss, dimensions: 8, dropout: 0.1 })
    const { train } = configSchema.parse({ train: { negatives: 8 } })
    const trainer = new IncrementalTrainer({ model, train, historyMax: 4, seed: 1 })
    return Array.from({ length: 6 }, (_, i) => trainer.step(someExamples(i), new Map()))
  }
  await loadBackend('wasm')
  const wasm = [run('softmax'), run('triplet')]
  try {
    await loadBackend('tensorflow')
  } catch (error) {
    t.skip(`SKIPPED the comparison: libtensorflow does not load here: ${(error as Error).message}`)
    return
  }
  const native = [run('softmax'), run('triplet')]
  for (const [l, steps] of native.entries()) {
    for (const [i, { report, evaluation }] of steps.entries()) {
      const other = wasm[l]![i]!
      assert.ok(
        Math.abs(other.report.loss - report.loss) < 1e-3,
        `loss ${l}, step ${i}: ${other.report.loss}, ${report.loss}`
      )
      const apart = evaluation.ranks.filter((rank, b) => Math.abs(rank - other.evaluation.ranks[b]!) > 1).length
      assert.ok(apart <= 1, `loss ${l}, step ${i}: ${apart} ranks differ by more than one`)
    }
  }
})
