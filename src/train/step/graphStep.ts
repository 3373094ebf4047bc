// A training step as libtensorflow runs it by itself, where the model and its options have a graph (towerGraph.ts).
//
// B examples, W windows of L steps with P histories each, H rows that the histories touch, C candidates, K towers, I
// interests, D dimensions.

import { own } from '../../core/own.ts'
import { daysApart, hoursApart } from '../../model/historyTensors.ts'
import { isPlainSoftmax } from '../../model/lossOptions.ts'
import type { Model } from '../../model/model.ts'
import { type Fed, NativeGraph, runsGraphs } from '../../model/nativeGraph.ts'
import { type ObjectiveOptions, readoutOf } from '../../model/objective.ts'
import { rowParts, type TowerGraphOptions, towerGraph } from '../../model/towerGraph.ts'
import { mapShapes, type Weights } from '../../model/weights.ts'
import type { ComputedStep } from './eagerStep.ts'
import type { StepArrays } from './stepArrays.ts'

/** Graphs kept: a trainer has one for each kind of batch, and tuning tries many losses one after the other. */
const graphsMax = 16

/** By what they are made from, the one used last at the end. tfjs has one engine a process, and so has this. */
const graphs = new Map<string, NativeGraph<string>>()

/** Whether `graphStep` computes this model's steps. */
export function hasGraph(model: Model, loss: ObjectiveOptions): boolean {
  return (
    model.graph !== undefined &&
    isPlainSoftmax(loss) &&
    readoutOf(loss, model.user.readout) === 'idw' &&
    loss.routingRegularisation === 0 &&
    runsGraphs()
  )
}

/** @param model one that has a graph */
export function graphStep(step: StepArrays, weights: Weights, model: Model, loss: ObjectiveOptions): ComputedStep {
  const { histories, positive, weight, logQ, placeOf, blocked } = step
  const { values: rows } = step.rows
  const { values: candidates } = step.candidates
  const { dimensions: D, interestCount: I } = model
  const { length: L, perWindow: P } = histories
  const { towerCount: K, towers } = model.graph!
  const W = histories.size / P
  const B = positive.length
  const H = rows.length / D
  const C = candidates.length / D
  const partRows = 16 * Math.ceil(H / rowParts / 16) // parts that begin at a whole cache line are not copied
  const ints = (...values: number[]): Fed => ({ shape: [values.length], values: Int32Array.from(values) })
  const count = (value: number): Fed => ({ shape: [], values: Int32Array.of(value) })
  const places = [W, P, L]
  const fed: Record<string, Fed> = {
    ...mapShapes(model.shapes, (name, shape) => ({ shape, values: own(weights, name)! })),
    rows: { shape: [H, D], values: rows },
    sizes: ints(...Array.from({ length: rowParts }, (_, i) => Math.max(0, Math.min(partRows, H - i * partRows)))),
    rowCount: count(H),
    steps: { shape: [W, L], values: histories.steps },
    age: { shape: places, values: histories.age },
    ...(towers.readsTime
      ? {
          hour: { shape: places, values: hoursApart(histories.seconds) },
          day: { shape: places, values: daysApart(histories.seconds) }
        }
      : {}),
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
    joint: ints(B, I * C),
    pairs: ints(B, I, C),
    flat: ints(B * I, C),
    spare: ints(step.spare, D)
  }
  const graph = graphOf({
    ...model.graph!,
    loss,
    windows: placeOf !== undefined,
    groups: blocked !== undefined
  })
  const { loss: total, losses, rows: ofRows, candidates: ofCandidates, ...made } = graph.run(fed)
  return {
    loss: total![0]!,
    losses: losses!,
    dense: mapShapes(model.shapes, (name) => own(made, name)!),
    ofRows: ofRows!,
    ofCandidates: ofCandidates!
  }
}

function graphOf(options: TowerGraphOptions): NativeGraph<string> {
  const key = JSON.stringify(options, (_name, value: unknown) =>
    value === Number.POSITIVE_INFINITY ? 'Infinity' : value
  )
  const known = graphs.get(key)
  graphs.delete(key)
  if (known === undefined && graphs.size === graphsMax) {
    const [oldest, graph] = graphs.entries().next().value!
    graph.dispose()
    graphs.delete(oldest)
  }
  const live = known ?? made(options)
  graphs.set(key, live)
  return live
}

function made(options: TowerGraphOptions): NativeGraph<string> {
  const { graph, outputs } = towerGraph(options)
  return new NativeGraph(graph, outputs)
}
