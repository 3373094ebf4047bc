// MTMI's training step as one graph, with its gradient written out: what mtmi.ts, the item tower (model.ts) and loss.ts
// compute.
//
// B examples; W windows of L steps with P histories each (W = B, P = 1 where each example has its own), H rows that
// they touch; C candidates; K towers; D dimensions, A = D hidden units; R positions with a term of their own. gradX is
// the gradient of the loss in x.

import { GraphBuilder, type Output } from './graphBuilder.ts'
import { ageGroups } from './historyTensors.ts'
import { distanceFloorSquared, type LossOptions, probabilityFloor, weightEpsilon } from './loss.ts'
import type { ModelShape } from './userModel.ts'

export interface TowerGraphOptions extends ModelShape {
  readonly loss: LossOptions
}

/** What of a batch decides which graph it needs. */
export interface BatchKind {
  /** Histories share windows: an example's interests are then at `placeOf`. */
  readonly windows: boolean
  /** Some candidates are no negatives of some examples. */
  readonly groups: boolean
}

/**
 * The rows' hidden units are computed in this many parts, each on a free core. A constant, not the number of cores, so
 * that sums are in the same order everywhere. On two cores 2, 4 and 8 parts take the same time; splitting windows and
 * examples as well gained nothing.
 */
export const rowParts = 4

/**
 * The gradient of each dense weight under the weight's name; `loss`, `losses` [B], `candidates` [C, D] and `rows` [H +
 * spare, D], the last ones 0.
 */
type TowerGraphOutputs = Readonly<Record<string, Output>>

/**
 * Inputs, all to be fed: every dense weight by its name, and
 *
 *     rows [H, D]              rowCount, candidateCount: H, C      placeCount: W·P, with windows
 *     steps [W, L]             places in `rows`                    age [W, P, L]: groups
 *     blocked [W, P, L, 1]     position [L], with windows [W, P, L]       placeOf [B], with windows
 *     candidates [C, D]        positive [B]        weight [B]      minusLogQ [C]
 *     blockedCandidates [B, 1, C], with groups
 *     sizes [rowParts], of the parts of H
 *     shapes: attention (W, P·K, L), places (W, P, K, L), pooled (W, P·K, D), joint (B, K·C), pairs (B, K, C), flat
 *     (B·K, C), spare (rows, D)
 */
export function towerGraph(
  options: TowerGraphOptions,
  { windows, groups }: BatchKind
): { graph: GraphBuilder; outputs: TowerGraphOutputs } {
  const { interestCount: K, dimensions: D, loss } = options
  const g = new GraphBuilder()

  // Forward: interests of the histories, and those of the examples.
  const rows = rowScores(g, K, D)
  const pooling = pool(g, rows, options, windows)
  const pooled = g.transpose(pooling.pooled, [1, 0, 2]) //                                                         [K, W·P, D]
  const userWeight = g.input('user.weight', [K, D, D])
  const projected = g.add(g.batchMatMul(pooled, userWeight), g.input('user.bias', [K, 1, D])) //                   [K, W·P, D]
  const ofHistories = g.unit(g.transpose(projected, [1, 0, 2])) //                                                 [W·P, K, D]
  const placeOf = windows ? g.inputInts('placeOf', [-1]) : undefined //                                            [B]
  const users = placeOf === undefined ? ofHistories.y : g.gather(ofHistories.y, placeOf) //                        [B, K, D]

  // The item tower, and the loss.
  const candidates = g.input('candidates', [-1, D]) //                                                             [C, D]
  const itemWeight = g.input('item.weight', [D, D])
  const items = g.unit(g.apply('BiasAdd', g.matMul(candidates, itemWeight), g.input('item.bias', [D]))) //         [C, D]
  const { gradUsers, gradVectors, ...losses } = lossOf(g, { users, vectors: items.y, K, D, groups, loss })

  // Back through the item tower.
  const gradItems = g.unitGradient(items, gradVectors) //                                                          [C, D]

  // Back through the projections.
  const gradEach = placeOf === undefined ? gradUsers : g.sumByIndex(gradUsers, placeOf, g.inputInts('placeCount', [])) // [W·P, K, D]
  const gradProjected = g.transpose(g.unitGradient(ofHistories, gradEach), [1, 0, 2]) //                           [K, W·P, D]
  const gradPooled = g.batchMatMul(gradProjected, userWeight, 'second') //                                         [K, W·P, D]

  // Back through attention and scores.
  const { gradScores, gradRead, ...gradTerms } = pooling.back(g.transpose(gradPooled, [1, 0, 2]))
  const outputs = {
    ...losses,
    candidates: g.matMul(gradItems, itemWeight, 'second'), //                                                      [C, D]
    'item.weight': g.matMul(candidates, gradItems, 'first'), //                                                    [D, D]
    'item.bias': g.sum(gradItems, [0]), //                                                                         [D]
    'user.weight': g.batchMatMul(pooled, gradProjected, 'first'), //                                               [K, D, D]
    'user.bias': g.sum(gradProjected, [1], 'axes'), //                                                             [K, 1, D]
    ...gradTerms,
    ...rows.back(gradScores, gradRead)
  }
  return { graph: g, outputs }
}

interface RowScores {
  readonly rows: Output // [H, D]
  readonly scores: Output // [H, K]
  /** @param gradScores [H, K] @param gradRead to be added to the gradient of the rows [H, D] */
  back(gradScores: Output, gradRead: Output): Record<string, Output>
}

/** q_k · tanh(e W_k + b_k) of each row. */
function rowScores(g: GraphBuilder, K: number, D: number): RowScores {
  const rows = g.input('rows', [-1, D]) //                                                                         [H, D]
  const sizes = g.inputInts('sizes', [rowParts])
  const weight = g.input('attention.weight', [D, K * D]) //                                                        [D, K·A]
  const bias = g.input('attention.bias', [K * D]) //                                                               [K·A]
  /** The queries stand on the diagonal of a block matrix, so that all towers' scores are one product. */
  const ownBlock = g.floats(
    Float32Array.from({ length: K * D * K }, (_, i) => (Math.floor(i / (D * K)) === i % K ? 1 : 0)),
    [K * D, K]
  )
  const queries = g.mul(g.reshape(g.input('attention.query', [K, D]), [K * D, 1]), ownBlock) //                    [K·A, K]
  const parts = g.split(rows, sizes, rowParts) //                                                                  [h, D] each
  const hidden = parts.map((part) => g.apply('Tanh', g.apply('BiasAdd', g.matMul(part, weight), bias))) //         [h, K·A]
  const scores = hidden.map((units) => g.matMul(units, queries)) //                                                [h, K]
  return {
    rows,
    scores: g.concat(scores, 0),
    back: (gradScores, gradRead) => {
      const given = g.split(gradScores, sizes, rowParts) //                                                        [h, K] each
      const inner = hidden.map((units, i) => g.apply('TanhGrad', units, g.matMul(given[i]!, queries, 'second'))) // [h, K·A]
      const gradQueries = g.sumOf(hidden.map((units, i) => g.matMul(units, given[i]!, 'first'))) //                [K·A, K]
      const read = g.split(gradRead, sizes, rowParts) //                                                           [h, D] each
      const gradParts = inner.map((each, i) => g.add(g.matMul(each, weight, 'second'), read[i]!)) //               [h, D]
      return {
        'attention.query': g.sum(g.mul(gradQueries, ownBlock), [1]), //                                            [K·A]
        'attention.weight': g.sumOf(inner.map((each, i) => g.matMul(parts[i]!, each, 'first'))), //                [D, K·A]
        'attention.bias': g.sumOf(inner.map((each) => g.sum(each, [0]))), //                                       [K·A]
        rows: g.concat([...gradParts, g.zeros(g.inputInts('spare', [2]))], 0) //                                   [H + spare, D]
      }
    }
  }
}

/** Attention over the steps of each history, and what it pools. */
function pool(
  g: GraphBuilder,
  { rows, scores }: RowScores,
  { interestCount: K, dimensions: D, historyMax: R }: TowerGraphOptions,
  windows: boolean
) {
  const steps = g.inputInts('steps', [-1, -1]) //                                                                  [W, L]
  const position = g.inputInts('position', windows ? [-1, -1, -1] : [-1]) //                                       [W, P, L] or [L]
  const age = g.inputInts('age', [-1, -1, -1]) //                                                                  [W, P, L]
  const ofPosition = g.add(
    g.gather(g.input('attention.position', [R, K]), position),
    g.input('blocked', [-1, -1, -1, 1])
  ) // [W, P, L, K]
  const ofPlace = g.add(ofPosition, g.gather(g.input('attention.age', [ageGroups, K]), age)) //                    [W, P, L, K]
  const logits = g.add(g.expand(g.gather(scores, steps), 1), ofPlace) //                                           [W, P, L, K]
  const shape = g.inputInts('attention', [3])
  const attention = g.reshape(g.apply('Softmax', g.transpose(logits, [0, 1, 3, 2])), shape) //                     [W, P·K, L]
  const read = g.gather(rows, steps) //                                                                            [W, L, D]
  return {
    pooled: g.reshape(g.batchMatMul(attention, read), [-1, K, D]), //                                              [W·P, K, D]
    /** @param given gradient of `pooled` */
    back: (given: Output) => {
      const rowCount = g.inputInts('rowCount', [])
      const gradPooled = g.reshape(given, g.inputInts('pooled', [3])) //                                           [W, P·K, D]
      const gradRead = g.batchMatMul(attention, gradPooled, 'first') //                                            [W, L, D]
      const weighted = g.mul(attention, g.batchMatMul(gradPooled, read, 'second')) //                              [W, P·K, L]
      const gradAttention = g.sub(weighted, g.mul(attention, g.sum(weighted, [2], 'axes'))) //                     [W, P·K, L]
      const gradLogits = g.transpose(g.reshape(gradAttention, g.inputInts('places', [4])), [0, 1, 3, 2]) //        [W, P, L, K]
      // Where all histories end with their window a position is one place of each.
      const gradPositions = windows ? gradLogits : g.sum(gradLogits, [0, 1]) //                                    [W, P, L, K] or [L, K]
      return {
        gradScores: g.sumByIndex(g.sum(gradLogits, [1]), steps, rowCount), //                                      [H, K]
        gradRead: g.sumByIndex(gradRead, steps, rowCount), //                                                      [H, D]
        'attention.position': g.sumByIndex(gradPositions, position, g.int(R)), //                                  [R, K]
        'attention.age': g.sumByIndex(gradLogits, age, g.int(ageGroups)) //                                        [G, K]
      }
    }
  }
}

interface LossInputs {
  readonly users: Output // [B, K, D]
  readonly vectors: Output // [C, D]
  readonly K: number
  readonly D: number
  readonly groups: boolean
  readonly loss: LossOptions
}

/**
 * As loss.ts, with its gradient.
 *
 *     g_k         = weight(b) · w_k / τ,  G = Σ_k g_k = weight(b) / τ
 *     ∂L/∂u_k     = G Σ_i p(k, i) v_i − g_k v₊ + Σ_l r(k, l) u_l
 *     ∂L/∂v_i     = Σ_b Σ_k ( G p(k, i) − g_k [i = i₊] ) u_k
 *     r(k, l)     = weight(b) · β · 2/(K(K−1)) / d(u_k, u_l)   where k ≠ l and d(u_k, u_l) ≤ m_r, else 0
 */
function lossOf(g: GraphBuilder, { users, vectors, K, D, groups, loss }: LossInputs) {
  const weight = g.input('weight', [-1]) //                                                                        [B]
  const positive = g.inputInts('positive', [-1]) //                                                                [B]
  const weights = g.reshape(weight, [-1, 1, 1]) //                                                                 [B, 1, 1]
  const all = g.mul(weights, g.scalar(1 / loss.temperature)) //                                                    [B, 1, 1]  G
  const pairs = g.inputInts('pairs', [3])
  const scaled = g.reshape(g.mul(users, g.scalar(1 / loss.temperature)), [-1, D]) //                               [B·K, D]
  let logits = g.apply('BiasAdd', g.matMul(scaled, vectors, 'second'), g.input('minusLogQ', [-1])) //              [B·K, C]
  if (groups) logits = g.add(g.reshape(logits, pairs), g.input('blockedCandidates', [-1, 1, -1])) //               [B, K, C]
  const share = g.apply('Softmax', g.reshape(logits, g.inputInts('joint', [2]))) //                                [B, K·C]
  const shares = g.reshape(share, g.inputInts('flat', [2])) //                                                     [B·K, C]
  const ofPositive = g.gather(g.reshape(share, pairs), g.expand(positive, 1, 'int32'), 2, 1) //                    [B, K, 1]
  const mixed = g.reshape(g.matMul(shares, vectors), [-1, K, D]) //                                                [B, K, D]
  const targets = g.expand(g.gather(vectors, positive), 1) //                                                      [B, 1, D]
  const towers = towerShares(g, g.sum(g.mul(users, targets), [2], 'axes'), K, loss) //                             [B, K, 1]  w_k
  const logs = g.apply('Log', g.apply('Maximum', ofPositive, g.scalar(probabilityFloor))) //                       [B, K, 1]
  const own = g.mul(all, towers) //                                                                                [B, K, 1]  g_k
  let losses = g.apply('Neg', g.sum(g.mul(towers, logs), [1, 2])) //                                               [B]
  let gradUsers = g.sub(g.mul(all, mixed), g.mul(own, targets)) //                                                 [B, K, D]
  const { repelBeta: beta, repelMargin } = loss
  if (beta !== 0 && K > 1) {
    const { squared, apart } = distance(g, g.batchMatMul(users, users, 'second')) //                               [B, K, K]
    const perPair = (2 * beta) / (K * (K - 1))
    const once = pairMask(g, K, (k, l) => (k < l ? -perPair : 0))
    losses = g.add(losses, g.sum(g.mul(g.apply('Minimum', apart, g.scalar(repelMargin)), once), [1, 2])) //        [B]
    const near = g.indicator(
      g.apply('LessEqual', apart, g.scalar(repelMargin)),
      g.apply('Greater', squared, g.scalar(0))
    )
    const both = pairMask(g, K, (k, l) => (k === l ? 0 : perPair))
    const push = g.mul(g.div(g.mul(near, both), apart), weights) //                                                [B, K, K]  r(k, l)
    gradUsers = g.add(gradUsers, g.batchMatMul(push, users))
  }
  const pulled = g.sumByIndex(g.sum(g.mul(own, users), [1]), positive, g.inputInts('candidateCount', [])) //       [C, D]
  const pushed = g.matMul(shares, g.reshape(g.mul(all, users), [-1, D]), 'first') //                               [C, D]
  return { loss: g.sum(g.mul(weight, losses), [0]), losses, gradUsers, gradVectors: g.sub(pushed, pulled) }
}

/** w_k by either form. @param cosines with the target [B, K, 1] */
function towerShares(
  g: GraphBuilder,
  cosines: Output,
  K: number,
  { idwForm, idwAlpha, idwSoftness, temperature }: LossOptions
): Output {
  if (idwForm === 'gaussian') {
    const widths = g.mul(cosines, g.scalar(1 / (idwSoftness * temperature)))
    return g.expand(g.apply('Softmax', g.reshape(widths, [-1, K])), 2)
  }
  const { apart } = distance(g, cosines)
  const nearest = g.least(apart, [1]) //                                                                           [B, 1, 1]
  const epsilon = g.scalar(weightEpsilon)
  const powers =
    idwAlpha === Number.POSITIVE_INFINITY
      ? g.indicator(g.apply('LessEqual', apart, nearest))
      : // Relative to the nearest, so that no power overflows.
        g.apply('Pow', g.div(g.add(apart, epsilon), g.add(nearest, epsilon)), g.scalar(-idwAlpha))
  return g.div(powers, g.sum(powers, [1], 'axes'))
}

/** Of unit vectors. */
function distance(g: GraphBuilder, cosines: Output): { squared: Output; apart: Output } {
  const squared = g.apply('Maximum', g.sub(g.scalar(2), g.mul(g.scalar(2), cosines)), g.scalar(0))
  return { squared, apart: g.apply('Sqrt', g.add(squared, g.scalar(distanceFloorSquared))) }
}

function pairMask(g: GraphBuilder, K: number, of: (k: number, l: number) => number): Output {
  return g.floats(
    Float32Array.from({ length: K * K }, (_, i) => of(Math.floor(i / K), i % K)),
    [K, K]
  )
}
