// One forward and backward pass: a mini-batch's loss, and its gradients as typed arrays.
//
// B examples, H rows that the histories touch, C unique candidates, U unique rows of the batch, D dimensions.

import type { Weights } from '../../model/weights.ts'
import type { MiniBatch } from '../batch/miniBatch.ts'
import type { WindowBatch } from '../batch/windowBatch.ts'
import { type ComputedStep, eagerStep } from './eagerStep.ts'
import { graphStep, hasGraph } from './graphStep.ts'
import { addGradients, dropOut, type StepArrays, type StepOptions, stepArrays } from './stepArrays.ts'

export interface StepGradients {
  readonly loss: number
  /** Of each example, by the weights before the step; of no meaning where its weight is 0. [B] */
  readonly losses: Float32Array
  readonly dense: Weights
  /** With respect to the inputs of the batch's items. [U, D] */
  readonly inputs: Float32Array
}

/**
 * Gradients of the weighted mean of the examples' losses: by one graph where the model has one, else operation by
 * operation.
 *
 * @param inputs of the batch's items (see ItemInputs). [U, D]
 * @param dropout multiplies what the user towers read, not the candidates. [U, D], or undefined
 */
export function stepGradients(
  batch: MiniBatch | WindowBatch,
  inputs: Float32Array,
  dropout: Float32Array | undefined,
  weights: Weights,
  options: StepOptions
): StepGradients {
  const { model, loss } = options
  const step = stepArrays(batch, inputs, dropout, options)
  const computed = hasGraph(model, loss) ? graphStep(step, weights, model, loss) : eagerStep(step, weights, model, loss)
  return byRow(step, computed, batch.items.length, model.rowWidth)
}

function byRow(
  step: StepArrays,
  { loss, losses, dense, ofRows, ofCandidates }: ComputedStep,
  U: number,
  d: number
): StepGradients {
  const isWhole = ofRows.length === U * d
  const inputs = isWhole ? ofRows : new Float32Array(U * d)
  if (isWhole) dropOut(inputs, step.rows.dropout)
  else addGradients(step.rows, ofRows, inputs, d)
  addGradients(step.candidates, ofCandidates, inputs, d)
  return { loss, losses, dense, inputs }
}
