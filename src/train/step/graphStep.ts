// A training step as one graph that libtensorflow runs, where the model has one (towerGraph.ts).
//
// B examples, W windows of L steps with P histories each, H rows that the histories touch, C candidates, K towers, D
// dimensions.

import { own } from '../../core/own.ts'
import type { Model } from '../../model/model.ts'
import { type GraphFeed, NativeGraph, runsGraphs } from '../../model/nativeGraph.ts'
import { type BatchKind, rowParts, type TowerGraphOptions, towerGraph } from '../../model/towerGraph.ts'
import { mapShapes, type Weights } from '../../model/weights.ts'
import type { StepArrays, StepGradients } from './stepArrays.ts'

/** Graphs kept: a trainer has one for each kind of batch, and tuning tries many losses one after the other. */
const graphsMax = 16

/** By options, the one used last at the end. tfjs has one engine per process, and so has this. */
const graphs = new Map<string, NativeGraph<string>>()

/** Whether `graphStep` computes this model's steps. */
export function hasGraph(model: Model): boolean {
  return model.user.graph !== undefined && runsGraphs()
}

/** @param model one that has a graph */
export function graphStep(step: StepArrays, weights: Weights, model: Model): StepGradients {
  const { histories, positive, weight, logQ, placeOf, blocked } = step
  const { values: rows } = step.rows
  const { values: candidates } = step.candidates
  const { dimensions: D, interestCount: K } = model
  const { length: L, perWindow: P } = histories
  const W = histories.size / P
  const B = positive.length
  const H = rows.length / D
  const C = candidates.length / D
  const partRows = 16 * Math.ceil(H / rowParts / 16) // parts that begin at a whole cache line are not copied
  const ints = (...values: number[]): GraphFeed => ({ shape: [values.length], values: Int32Array.from(values) })
  const count = (value: number): GraphFeed => ({ shape: [], values: Int32Array.of(value) })
  const places = [W, P, L]
  const feeds: Record<string, GraphFeed> = {
    ...mapShapes(model.shapes, (name, shape) => ({ shape, values: own(weights, name)! })),
    rows: { shape: [H, D], values: rows },
    sizes: ints(...Array.from({ length: rowParts }, (_, i) => Math.max(0, Math.min(partRows, H - i * partRows)))),
    rowCount: count(H),
    steps: { shape: [W, L], values: histories.steps },
    age: { shape: places, values: histories.age },
    blocked: { shape: [...places, 1], values: histories.blocked },
    position:
      histories.position === undefined
        ? ints(...Array.from({ length: L }, (_, l) => model.historyMax - L + l))
        : { shape: places, values: histories.position },
    ...(placeOf === undefined ? {} : { placeOf: { shape: [B], values: placeOf }, placeCount: count(W * P) }),
    candidates: { shape: [C, D], values: candidates },
    candidateCount: count(C),
    positive: { shape: [B], values: positive },
    weight: { shape: [B], values: weight },
    minusLogQ: { shape: [C], values: logQ.map((x) => -x) },
    ...(blocked === undefined ? {} : { blockedCandidates: { shape: [B, 1, C], values: blocked } }),
    attention: ints(W, P * K, L),
    places: ints(W, P, K, L),
    pooled: ints(W, P * K, D),
    joint: ints(B, K * C),
    pairs: ints(B, K, C),
    flat: ints(B * K, C),
    spare: ints(step.spare, D)
  }
  const graph = graphOf(model.user.graph!, { windows: placeOf !== undefined, groups: blocked !== undefined })
  const { loss, losses, rows: gradRows, candidates: gradCandidates, ...dense } = graph.run(feeds)
  return {
    loss: loss![0]!,
    losses: losses!,
    dense: mapShapes(model.shapes, (name) => own(dense, name)!),
    gradRows: gradRows!,
    gradCandidates: gradCandidates!
  }
}

function graphOf(options: TowerGraphOptions, kind: BatchKind): NativeGraph<string> {
  const { interestCount, dimensions, historyMax, loss } = options
  const { temperature, idwForm, idwAlpha, idwSoftness, repelBeta, repelMargin } = loss
  const numbers = [temperature, idwForm, idwAlpha, idwSoftness, repelBeta, repelMargin]
  const key = [interestCount, dimensions, historyMax, ...numbers, kind.windows, kind.groups].join()
  const known = graphs.get(key)
  graphs.delete(key)
  if (known === undefined && graphs.size === graphsMax) {
    const [oldest, graph] = graphs.entries().next().value!
    graph.dispose()
    graphs.delete(oldest)
  }
  const live = known ?? compiled(options, kind)
  graphs.set(key, live)
  return live
}

function compiled(options: TowerGraphOptions, kind: BatchKind): NativeGraph<string> {
  const { graph, outputs } = towerGraph(options, kind)
  return new NativeGraph(graph, outputs)
}
