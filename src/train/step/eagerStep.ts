// A training step operation by operation, with tfjs's gradients: for any model, on any backend. See
// docs/decisions/0050-studies-train-operation-by-operation.md.
//
// B examples, H rows that the histories touch, C unique candidates, K interests, D dimensions; W·P places of windows.

import * as tf from '@tensorflow/tfjs-core'
import { tensorsOf } from '../../model/historyTensors.ts'
import type { Model } from '../../model/model.ts'
import { gatherRows } from '../../model/tensorOps.ts'
import { mapShapes, type Weights, weightTensors } from '../../model/weights.ts'
import type { StepArrays, StepGradients } from './stepArrays.ts'

export function eagerStep(step: StepArrays, weights: Weights, model: Model): StepGradients {
  const { rows, candidates, positive, placeOf, blocked } = step
  const { dimensions: D, user } = model
  const B = positive.length
  const C = candidates.positions.length
  let loss = Number.NaN
  let losses: Float32Array = new Float32Array(B)
  let gradients: Float32Array[] = []
  // Numbers leave by variables: tf.tidy would walk every element of what it returns.
  tf.tidy(() => {
    const histories = tensorsOf(step.histories)
    const weight = tf.tensor1d(step.weight) //                                                                [B]
    const offered = {
      positive: tf.tensor1d(positive, 'int32'), //                                                            [B]
      logQ: tf.tensor1d(step.logQ), //                                                                        [C]
      ...(blocked === undefined ? {} : { blocked: tf.tensor2d(blocked, [B, C]) })
    }
    const leaves = [
      tf.tensor2d(rows.values, [rows.positions.length, D]), //                                                [H, D]
      tf.tensor2d(candidates.values, [C, D]), //                                                              [C, D]
      ...Object.values(weightTensors(weights, model.shapes))
    ]
    const { value, grads } = tf.valueAndGrads((...tensors: tf.Tensor[]) => {
      const dense = mapShapes(model.shapes, (_name, _shape, at) => tensors[2 + at]!)
      const found = user.interests(dense, tensors[0] as tf.Tensor2D, histories)
      const users = placeOf === undefined ? found : { interests: atPlaces(found.interests, placeOf) }
      const vectors = model.itemVectors(dense, tensors[1] as tf.Tensor2D) //                                  [C, D]
      return user.loss(users, histories, { vectors, ...offered }, weight, (examples) => {
        losses = examples.dataSync() as Float32Array
      })
    })(leaves)
    loss = value.dataSync()[0]!
    gradients = grads.map((gradient) => gradient.dataSync() as Float32Array)
  })
  const [gradRows, gradCandidates, ...dense] = gradients as [Float32Array, Float32Array, ...Float32Array[]]
  return { loss, losses, dense: mapShapes(model.shapes, (_name, _shape, at) => dense[at]!), gradRows, gradCandidates }
}

/** @param interests of all places [K, W·P, D] @param placeOf [B] @returns [K, B, D] */
function atPlaces(interests: tf.Tensor3D, placeOf: Int32Array): tf.Tensor3D {
  const [K, places, D] = interests.shape
  const B = placeOf.length
  const index = Int32Array.from({ length: K * B }, (_, i) => Math.floor(i / B) * places + placeOf[i % B]!)
  return tf.reshape(gatherRows(tf.reshape(interests, [K * places, D]), tf.tensor1d(index, 'int32')), [K, B, D])
}
