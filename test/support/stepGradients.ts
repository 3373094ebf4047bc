// One forward and backward pass of a mini-batch, as the trainer makes it.

import type { Model } from '../../src/model/model.ts'
import type { Weights } from '../../src/model/weights.ts'
import type { MiniBatch, WindowBatch } from '../../src/train/batch/miniBatch.ts'
import { eagerStep } from '../../src/train/step/eagerStep.ts'
import { graphStep, hasGraph } from '../../src/train/step/graphStep.ts'
import { gradientOfInputs, stepArrays } from '../../src/train/step/stepArrays.ts'

/** @param inputs of the batch's items [U, D] @returns `inputs`: the gradient with respect to them */
export function stepGradients(
  batch: MiniBatch | WindowBatch,
  inputs: Float32Array,
  weights: Weights,
  model: Model,
  logQ = true
) {
  const arrays = stepArrays(batch, inputs, undefined, { historyMax: model.historyMax, logQ })
  const computed = (hasGraph(model) ? graphStep : eagerStep)(arrays, weights, model)
  const { loss, losses, dense } = computed
  return { loss, losses, dense, inputs: gradientOfInputs(arrays, computed, batch.items.length) }
}
