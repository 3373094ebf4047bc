// A training step operation by operation, with tfjs's gradients: any model, any of its options, on any backend.
//
// B examples, H rows that the histories touch, C unique candidates, K interests, D dimensions.

import * as tf from '@tensorflow/tfjs-core'
import { tensorsOf } from '../../model/historyTensors.ts'
import type { Model } from '../../model/model.ts'
import { type ObjectiveOptions, objective } from '../../model/objective.ts'
import { mapShapes, type Weights, weightTensors } from '../../model/weights.ts'
import { ofPlaces, placesByInterest, type StepArrays } from './stepArrays.ts'

export interface ComputedStep {
  readonly loss: number
  readonly losses: Float32Array // [B]
  readonly dense: Weights
  /** With respect to the values of `rows`; zeros may follow, in place of the batch's other rows. [H, D] or [U, D] */
  readonly ofRows: Float32Array
  readonly ofCandidates: Float32Array // [C, D]
}

export function eagerStep(step: StepArrays, weights: Weights, model: Model, options: ObjectiveOptions): ComputedStep {
  const { rows, candidates, positive, placeOf, blocked } = step
  const { interestCount: K, rowWidth: d } = model
  const B = positive.length
  const C = candidates.positions.length
  let loss = Number.NaN
  let losses: Float32Array = new Float32Array(B)
  let gradients: Float32Array[] = []
  // Numbers leave by variables: tf.tidy would walk every element of what it returns.
  tf.tidy(() => {
    const histories = tensorsOf(step.histories)
    const places = placeOf === undefined ? undefined : placesByInterest(placeOf, step.histories.size, K) //      [K·B]
    const weight = tf.tensor1d(step.weight) //                                                                [B]
    const offered = {
      positive: tf.tensor1d(positive, 'int32'), //                                                            [B]
      logQ: tf.tensor1d(step.logQ), //                                                                        [C]
      ...(blocked === undefined ? {} : { blocked: tf.tensor2d(blocked, [B, C]) })
    }
    const leaves = [
      tf.tensor2d(rows.values, [rows.positions.length, d]), //                                                [H, D]
      tf.tensor2d(candidates.values, [C, d]), //                                                              [C, D]
      ...Object.values(weightTensors(weights, model.shapes))
    ]
    const { value, grads } = tf.valueAndGrads((...tensors: tf.Tensor[]) => {
      const dense = mapShapes(model.shapes, (_name, _shape, at) => tensors[2 + at]!)
      const made = model.user.interests(dense, tensors[0] as tf.Tensor2D, histories) //                       [K, B, D], of places [K, W·P, D]
      const user = places === undefined ? made : { interests: ofPlaces(made.interests, places) }
      const vectors = model.itemVectors(dense, tensors[1] as tf.Tensor2D) //                                  [C, D]
      return objective(user, histories, { vectors, ...offered }, weight, options, model.user.readout, (examples) => {
        losses = examples.dataSync() as Float32Array
      })
    })(leaves)
    loss = value.dataSync()[0]!
    gradients = grads.map((gradient) => gradient.dataSync() as Float32Array)
  })
  const [ofRows, ofCandidates, ...ofWeights] = gradients as [Float32Array, Float32Array, ...Float32Array[]]
  return { loss, losses, dense: mapShapes(model.shapes, (_name, _shape, at) => ofWeights[at]!), ofRows, ofCandidates }
}
