// MTMI's training step as one graph, with its gradient written out: what `userTowers` (mtmi.ts), the item tower and
// `softmaxLoss` compute.
//
// B examples; W windows of L steps with P histories each (W = B, P = 1 where each example has its own), H rows that
// they touch; C candidates; K towers, I interests (K, or 1 where the towers are summed); D dimensions, A = D hidden
// units; R positions with a term of their own. ofX is the gradient of the loss in x.

import type { ModelOptions } from '../core/config/modelOptions.ts'
import { GraphBuilder, type Output } from './graphBuilder.ts'
import { ageGroups } from './historyTensors.ts'
import { distanceFloorSquared, type LossOptions, probabilityFloor, weightEpsilon } from './lossOptions.ts'

/** What the towers are. */
export interface TowerOptions {
  /** One vector: the sum over k before the length is made 1. */
  readonly summed: boolean
  readonly communicates: boolean
  readonly readsTime: boolean
}

export interface TowerGraphOptions {
  readonly towers: TowerOptions
  readonly towerCount: number // K
  readonly dimensions: number // D
  readonly historyMax: number // R
  readonly itemTower: ModelOptions['itemTower']
  readonly loss: LossOptions
  /** Whether histories share windows: an example's interests are then at `placeOf`. */
  readonly windows: boolean
  /** Whether some candidates are no negatives of some examples. */
  readonly groups: boolean
}

/**
 * The rows' hidden units are computed in so many parts, each on the core that is free. A constant, not the number of
 * cores: so sums are in the same order everywhere. On two cores 2, 4 and 8 parts take the same time; splitting windows
 * and examples as well gained nothing.
 */
export const rowParts = 4

/**
 * The gradient of each dense weight under the weight's name; `loss`, `losses` [B], `candidates` [C, D] and `rows` [H +
 * spare, D], the last ones 0.
 */
export type TowerGraphOutputs = Readonly<Record<string, Output>>

/**
 * Inputs, all to be fed: every dense weight by its name, and
 *
 *     rows [H, D]              rowCount, candidateCount: H, C      placeCount: W·P, with windows
 *     steps [W, L]             places in `rows`                    age, and where they are read hour and day [W, P, L]: groups
 *     blocked [W, P, L, 1]     position [L], with windows [W, P, L]       placeOf [B], with windows
 *     candidates [C, D]        positive [B]        weight [B]      minusLogQ [C]
 *     blockedCandidates [B, 1, C], with groups
 *     sizes [rowParts], of the parts of H
 *     shapes: attention (W, P·K, L), places (W, P, K, L), pooled (W, P·K, D), joint (B, I·C), pairs (B, I, C), flat
 *     (B·I, C), spare (rows, D)
 */
export function towerGraph(options: TowerGraphOptions): { graph: GraphBuilder; outputs: TowerGraphOutputs } {
  const { towerCount: K, dimensions: D, windows, loss } = options
  const { summed, communicates } = options.towers
  const g = new GraphBuilder()
  const I = summed ? 1 : K

  // Forward: interests of the histories, and those of the examples.
  const rows = rowScores(g, K, D)
  const pooling = pool(g, rows, options)
  const pooled = g.transpose(pooling.pooled, [1, 0, 2]) //                                                         [K, W·P, D]
  const userWeight = g.input('user.weight', [K, D, D])
  const exchange = communicates ? g.input('user.exchange', [K, D, D]) : undefined
  const others = exchange === undefined ? undefined : ofOthers(g, pooled, K) //                                    [K, W·P, D]
  let projected = g.add(g.batchMatMul(pooled, userWeight), g.input('user.bias', [K, 1, D])) //                     [K, W·P, D]
  if (exchange !== undefined && others !== undefined) projected = g.add(projected, g.batchMatMul(others, exchange))
  const before = summed ? g.sum(projected, [0], 'axes') : projected //                                             [I, W·P, D]
  const ofHistories = g.unit(g.transpose(before, [1, 0, 2])) //                                                    [W·P, I, D]
  const placeOf = windows ? g.inputInts('placeOf', [-1]) : undefined //                                            [B]
  const users = placeOf === undefined ? ofHistories.y : g.gather(ofHistories.y, placeOf) //                        [B, I, D]

  // The item tower, and the loss.
  const candidates = g.input('candidates', [-1, D]) //                                                             [C, D]
  const item =
    options.itemTower === 'linear'
      ? { weight: g.input('item.weight', [D, D]), bias: g.input('item.bias', [D]) }
      : undefined
  const items = g.unit(
    item === undefined ? candidates : g.apply('BiasAdd', g.matMul(candidates, item.weight), item.bias)
  ) // [C, D]
  const judged = lossOf(g, { users, vectors: items.y, I, D, groups: options.groups, loss })
  const outputs: Record<string, Output> = { loss: judged.loss, losses: judged.losses }
  const { ofUsers } = judged //                                                                                    [B, I, D]

  // Back through the item tower.
  const ofItems = g.unitGradient(items, judged.ofVectors) //                                                       [C, D]
  outputs.candidates = item === undefined ? ofItems : g.matMul(ofItems, item.weight, 'second') //                  [C, D]
  if (item !== undefined) {
    outputs['item.weight'] = g.matMul(candidates, ofItems, 'first') //                                             [D, D]
    outputs['item.bias'] = g.sum(ofItems, [0]) //                                                                  [D]
  }

  // Back through the projections.
  const ofEach = placeOf === undefined ? ofUsers : g.sumByIndex(ofUsers, placeOf, g.inputInts('placeCount', [])) // [W·P, I, D]
  const ofBefore = g.transpose(g.unitGradient(ofHistories, ofEach), [1, 0, 2]) //                                  [I, W·P, D]
  const ofProjected = summed ? g.concat(new Array<Output>(K).fill(ofBefore), 0) : ofBefore //                      [K, W·P, D]
  outputs['user.weight'] = g.batchMatMul(pooled, ofProjected, 'first') //                                          [K, D, D]
  outputs['user.bias'] = g.sum(ofProjected, [1], 'axes') //                                                        [K, 1, D]
  let ofPooled = g.batchMatMul(ofProjected, userWeight, 'second') //                                               [K, W·P, D]
  if (exchange !== undefined && others !== undefined) {
    outputs['user.exchange'] = g.batchMatMul(others, ofProjected, 'first') //                                      [K, D, D]
    // The mean over the others is a symmetric map: its own transpose.
    ofPooled = g.add(ofPooled, ofOthers(g, g.batchMatMul(ofProjected, exchange, 'second'), K))
  }

  // Back through attention and scores.
  const { ofScores, ofRead, ofTerms } = pooling.back(g.transpose(ofPooled, [1, 0, 2]))
  return { graph: g, outputs: { ...outputs, ...ofTerms, ...rows.back(ofScores, ofRead) } }
}

/** The mean over the other towers. @param pooled [K, N, D] */
function ofOthers(g: GraphBuilder, pooled: Output, K: number): Output {
  return g.div(g.sub(g.sum(pooled, [0], 'axes'), pooled), g.scalar(K - 1))
}

interface RowScores {
  readonly rows: Output // [H, D]
  readonly scores: Output // [H, K]
  /** @param ofScores [H, K] @param ofRead to be added to the gradient of the rows [H, D] */
  back(ofScores: Output, ofRead: Output): Record<string, Output>
}

/** q_k · tanh(e W_k + b_k) of each row. */
function rowScores(g: GraphBuilder, K: number, D: number): RowScores {
  const rows = g.input('rows', [-1, D]) //                                                                         [H, D]
  const sizes = g.inputInts('sizes', [rowParts])
  const weight = g.input('attention.weight', [D, K * D]) //                                                        [D, K·A]
  const bias = g.input('attention.bias', [K * D]) //                                                               [K·A]
  /** The queries stand on the diagonal of a block matrix: so all towers' scores are one product. */
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
    back: (given, ofRead) => {
      const ofScores = g.split(given, sizes, rowParts) //                                                          [h, K] each
      const inner = hidden.map((units, i) => g.apply('TanhGrad', units, g.matMul(ofScores[i]!, queries, 'second'))) // [h, K·A]
      const ofQueries = g.sumOf(hidden.map((units, i) => g.matMul(units, ofScores[i]!, 'first'))) //               [K·A, K]
      const read = g.split(ofRead, sizes, rowParts) //                                                             [h, D] each
      const ofParts = inner.map((each, i) => g.add(g.matMul(each, weight, 'second'), read[i]!)) //                  [h, D]
      return {
        'attention.query': g.sum(g.mul(ofQueries, ownBlock), [1]), //                                              [K·A]
        'attention.weight': g.sumOf(inner.map((each, i) => g.matMul(parts[i]!, each, 'first'))), //                [D, K·A]
        'attention.bias': g.sumOf(inner.map((each) => g.sum(each, [0]))), //                                       [K·A]
        rows: g.concat([...ofParts, g.zeros(g.inputInts('spare', [2]))], 0) //                                     [H + spare, D]
      }
    }
  }
}

interface Pooling {
  readonly pooled: Output // [W·P, K, D]
  /** @param ofPooled [W·P, K, D] */
  back(ofPooled: Output): {
    readonly ofScores: Output // [H, K]
    readonly ofRead: Output // [H, D]
    /** Of the weights of places in the history. */
    readonly ofTerms: Record<string, Output>
  }
}

/** Attention over the steps of each history, and what it pools. */
function pool(
  g: GraphBuilder,
  { rows, scores }: RowScores,
  { towerCount: K, dimensions: D, towers, historyMax, windows }: TowerGraphOptions
): Pooling {
  const steps = g.inputInts('steps', [-1, -1]) //                                                                  [W, L]
  const position = g.inputInts('position', windows ? [-1, -1, -1] : [-1]) //                                       [W, P, L] or [L]
  const terms = [
    { name: 'attention.age', index: 'age', count: ageGroups },
    ...(towers.readsTime
      ? [
          { name: 'attention.hour', index: 'hour', count: 24 },
          { name: 'attention.day', index: 'day', count: 7 }
        ]
      : [])
  ].map(({ name, index, count }) => ({
    name,
    count,
    index: g.inputInts(index, [-1, -1, -1]),
    weights: g.input(name, [count, K])
  }))
  let ofPlace = g.add(
    g.gather(g.input('attention.position', [historyMax, K]), position),
    g.input('blocked', [-1, -1, -1, 1])
  ) // [W, P, L, K]
  for (const { weights, index } of terms) ofPlace = g.add(ofPlace, g.gather(weights, index))
  const logits = g.add(g.expand(g.gather(scores, steps), 1), ofPlace) //                                           [W, P, L, K]
  const shape = g.inputInts('attention', [3])
  const attention = g.reshape(g.apply('Softmax', g.transpose(logits, [0, 1, 3, 2])), shape) //                     [W, P·K, L]
  const read = g.gather(rows, steps) //                                                                            [W, L, D]
  return {
    pooled: g.reshape(g.batchMatMul(attention, read), [-1, K, D]), //                                              [W·P, K, D]
    back: (given) => {
      const rowCount = g.inputInts('rowCount', [])
      const ofPooled = g.reshape(given, g.inputInts('pooled', [3])) //                                             [W, P·K, D]
      const ofRead = g.batchMatMul(attention, ofPooled, 'first') //                                                [W, L, D]
      const weighted = g.mul(attention, g.batchMatMul(ofPooled, read, 'second')) //                                [W, P·K, L]
      const ofAttention = g.sub(weighted, g.mul(attention, g.sum(weighted, [2], 'axes'))) //                       [W, P·K, L]
      const ofLogits = g.transpose(g.reshape(ofAttention, g.inputInts('places', [4])), [0, 1, 3, 2]) //            [W, P, L, K]
      // Where all histories end with their window a position is one place of each.
      const ofPositions = windows ? ofLogits : g.sum(ofLogits, [0, 1]) //                                          [W, P, L, K] or [L, K]
      return {
        ofScores: g.sumByIndex(g.sum(ofLogits, [1]), steps, rowCount), //                                          [H, K]
        ofRead: g.sumByIndex(ofRead, steps, rowCount), //                                                          [H, D]
        ofTerms: {
          'attention.position': g.sumByIndex(ofPositions, position, g.int(historyMax)), //                         [R, K]
          ...Object.fromEntries(
            terms.map(({ name, index, count }) => [name, g.sumByIndex(ofLogits, index, g.int(count))])
          )
        }
      }
    }
  }
}

interface Judged {
  readonly users: Output // [B, I, D]
  readonly vectors: Output // [C, D]
  readonly I: number
  readonly D: number
  readonly groups: boolean
  readonly loss: LossOptions
}

/** As softmaxLoss.ts, whose names these are. */
function lossOf(g: GraphBuilder, { users, vectors, I, D, groups, loss }: Judged) {
  const weight = g.input('weight', [-1]) //                                                                        [B]
  const positive = g.inputInts('positive', [-1]) //                                                                [B]
  const weights = g.reshape(weight, [-1, 1, 1]) //                                                                 [B, 1, 1]
  const all = g.mul(weights, g.scalar(1 / loss.temperature)) //                                                    [B, 1, 1]  G
  const pairs = g.inputInts('pairs', [3])
  const scaled = g.reshape(g.mul(users, g.scalar(1 / loss.temperature)), [-1, D]) //                               [B·I, D]
  let logits = g.apply('BiasAdd', g.matMul(scaled, vectors, 'second'), g.input('minusLogQ', [-1])) //              [B·I, C]
  if (groups) logits = g.add(g.reshape(logits, pairs), g.input('blockedCandidates', [-1, 1, -1])) //               [B, I, C]
  const share = g.apply('Softmax', g.reshape(logits, g.inputInts('joint', [2]))) //                                [B, I·C]
  const shares = g.reshape(share, g.inputInts('flat', [2])) //                                                     [B·I, C]
  const ofPositive = g.gather(g.reshape(share, pairs), g.expand(positive, 1, 'int32'), 2, 1) //                    [B, I, 1]
  const mixed = g.reshape(g.matMul(shares, vectors), [-1, I, D]) //                                                [B, I, D]
  const targets = g.expand(g.gather(vectors, positive), 1) //                                                      [B, 1, D]
  const towers = towerShares(g, g.sum(g.mul(users, targets), [2], 'axes'), I, loss) //                             [B, I, 1]
  const logs = g.apply('Log', g.apply('Maximum', ofPositive, g.scalar(probabilityFloor))) //                       [B, I, 1]
  const own = g.mul(all, towers) //                                                                                [B, I, 1]  g_k
  let losses = g.apply('Neg', g.sum(g.mul(towers, logs), [1, 2])) //                                               [B]
  let ofUsers = g.sub(g.mul(all, mixed), g.mul(own, targets)) //                                                   [B, I, D]
  const { repelBeta: beta, repelMargin } = loss
  if (beta !== 0 && I > 1) {
    const { squared, apart } = distance(g, g.batchMatMul(users, users, 'second')) //                               [B, I, I]
    const perPair = (2 * beta) / (I * (I - 1))
    const once = pairMask(g, I, (k, l) => (k < l ? -perPair : 0))
    losses = g.add(losses, g.sum(g.mul(g.apply('Minimum', apart, g.scalar(repelMargin)), once), [1, 2])) //        [B]
    const near = g.indicator(
      g.apply('LessEqual', apart, g.scalar(repelMargin)),
      g.apply('Greater', squared, g.scalar(0))
    )
    const both = pairMask(g, I, (k, l) => (k === l ? 0 : perPair))
    const push = g.mul(g.div(g.mul(near, both), apart), weights) //                                                [B, I, I]  r(k, l)
    ofUsers = g.add(ofUsers, g.batchMatMul(push, users))
  }
  const pulled = g.sumByIndex(g.sum(g.mul(own, users), [1]), positive, g.inputInts('candidateCount', [])) //       [C, D]
  const pushed = g.matMul(shares, g.reshape(g.mul(all, users), [-1, D]), 'first') //                               [C, D]
  return { loss: g.sum(g.mul(weight, losses), [0]), losses, ofUsers, ofVectors: g.sub(pushed, pulled) }
}

/** w_k by either form. @param cosines with the target [B, I, 1] */
function towerShares(
  g: GraphBuilder,
  cosines: Output,
  I: number,
  { idwForm, idwAlpha, idwSoftness, temperature }: LossOptions
): Output {
  if (idwForm === 'gaussian') {
    const widths = g.mul(cosines, g.scalar(1 / (idwSoftness * temperature)))
    return g.expand(g.apply('Softmax', g.reshape(widths, [-1, I])), 2)
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

function pairMask(g: GraphBuilder, I: number, of: (k: number, l: number) => number): Output {
  return g.floats(
    Float32Array.from({ length: I * I }, (_, i) => of(Math.floor(i / I), i % I)),
    [I, I]
  )
}
