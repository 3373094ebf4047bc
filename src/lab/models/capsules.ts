// Dynamic routing from the steps of a history (low capsules) to interests (high capsules): what MIND and ComiRec-DR
// share.
//
// B users, L history positions, K interests, D dimensions.
// Source: Sabour et al. 2017; MIND (Li et al., CIKM 2019); ComiRec (Cen et al., KDD 2020), whose code stops the
// gradient at the routing.

import * as tf from '@tensorflow/tfjs-core'
import { stopGradient } from '../../model/tensorOps.ts'

/** Keeps the length of a capsule of zeros differentiable. */
const lengthFloorSquared = 1e-9

/**
 * How much of each step goes into each interest.
 *
 *     c(k, l) = softmax over k of b(k, l), 0 at padding
 *     u_k     = squash( Σ_l c(k, l) ê(k, l) )          squash(z) = z ‖z‖ / (1 + ‖z‖²)
 *     b(k, l) ← b(k, l) + ⟨u_k, ê(k, l)⟩               between two iterations
 *
 * @param votes ê: what step l says interest k should be. [B, K, L, D], or [B, 1, L, D] where it says the same to all
 * @param logits b at first. [1, K, L]
 * @param blocked [B, L, 1]
 * @returns c of the last iteration. [B, K, L]
 */
export function routeVotes(
  votes: tf.Tensor4D,
  logits: tf.Tensor3D,
  blocked: tf.Tensor3D,
  iterations: number
): tf.Tensor3D {
  const route = (votes: tf.Tensor4D, first: tf.Tensor3D) => {
    const real = tf.transpose(tf.cast(tf.greaterEqual(blocked, 0), 'float32'), [0, 2, 1]) //                      [B, 1, L]
    let raw: tf.Tensor = first //                                                                                [1 or B, K, L]
    let coupling = shares(raw, real) //                                                                          [B, K, L]
    for (let i = 1; i < iterations; i++) {
      raw = tf.add(raw, agreement(squash(combine(coupling, votes)), votes))
      coupling = shares(raw, real)
    }
    return coupling
  }
  return stopGradient([votes, logits], route)
}

/** z_k = Σ_l c(k, l) ê(k, l). @param coupling [B, K, L] @param votes [B, K or 1, L, D] @returns [B, K, D] */
export function combine(coupling: tf.Tensor3D, votes: tf.Tensor4D): tf.Tensor3D {
  const [B, each, L, D] = votes.shape
  const K = coupling.shape[1]
  if (each === 1) return tf.matMul(coupling, tf.reshape(votes, [B, L, D])) //                                     [B, K, D]
  return tf.reshape(tf.matMul(tf.reshape(coupling, [B * K, 1, L]), tf.reshape(votes, [B * K, L, D])), [B, K, D])
}

/** ⟨u_k, ê(k, l)⟩. @param capsules [B, K, D] @returns [B, K, L] */
function agreement(capsules: tf.Tensor3D, votes: tf.Tensor4D): tf.Tensor3D {
  const [B, each, L, D] = votes.shape
  const K = capsules.shape[1]
  if (each === 1) return tf.matMul(capsules, tf.reshape(votes, [B, L, D]), false, true) //                        [B, K, L]
  return tf.reshape(tf.matMul(tf.reshape(capsules, [B * K, 1, D]), tf.reshape(votes, [B * K, L, D]), false, true), [
    B,
    K,
    L
  ])
}

function squash(z: tf.Tensor3D): tf.Tensor3D {
  const squared = tf.add(tf.sum(tf.square(z), -1, true), lengthFloorSquared) //                                   [B, K, 1]
  return tf.mul(z, tf.div(tf.sqrt(squared), tf.add(squared, 1)))
}

/** Softmax over the interests; 0 at padding. @param logits [1 or B, K, L] @param real [B, 1, L] @returns [B, K, L] */
function shares(logits: tf.Tensor, real: tf.Tensor): tf.Tensor3D {
  return tf.mul(tf.transpose(tf.softmax(tf.transpose(logits, [0, 2, 1])), [0, 2, 1]), real)
}
