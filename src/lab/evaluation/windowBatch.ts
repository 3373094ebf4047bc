// Windows in, one batch out: the targets of a window share its steps.
//
// B targets, W windows, S steps of the longest, P places in each, R newest steps of a history, U unique rows.

import type { OffsetRanges } from '../../core/offsets.ts'
import { UniqueRows } from '../../model/uniqueRows.ts'
import type { UserId } from '../../records/interaction.ts'
import type { BatchAssembler } from '../../train/batch/batchAssembler.ts'
import type { MiniBatch, WindowBatch } from '../../train/batch/miniBatch.ts'
import type { TrainingWindow } from './trainingWindow.ts'

/**
 * As `BatchAssembler.assemble`, of windows: a step without a row is left out of its window, and so of every history in
 * it. Negatives are drawn as for as many examples.
 */
export function assembleWindows(
  assembler: BatchAssembler,
  windows: readonly TrainingWindow[],
  ranges: OffsetRanges
): WindowBatch {
  const { items, historyMax: R } = assembler
  const W = windows.length
  const { size, places, stepsMax, positions } = sizesOf(windows)
  const rows = new Int32Array(W * stepsMax) // [W, stepsMax]
  const times = new Float64Array(W * stepsMax) // [W, stepsMax]
  const ends = new Int32Array(W * places) // [W, P]
  const lengths = new Int32Array(W)
  for (const [w, { steps, targets }] of windows.entries()) {
    const start = w * stepsMax
    let kept = 0
    let t = 0
    for (let i = 0; t < targets.length; i++) {
      if (targets[t]!.at === i) ends[w * places + t++] = kept
      if (t === targets.length) break // later steps are in no history
      const step = steps[i]!
      const row = items.rowOf(step.itemId)
      if (row === 0) continue
      rows[start + kept] = row
      times[start + kept++] = step.eventTimeMs
    }
    // Steps before the oldest history are not read.
    const unread = Math.max(0, ends[w * places]! - R)
    if (unread > 0) {
      rows.copyWithin(start, start + unread, start + kept)
      times.copyWithin(start, start + unread, start + kept)
      for (let p = 0; p < targets.length; p++) ends[w * places + p]! -= unread
    }
    lengths[w] = kept - unread
  }
  const length = Math.max(
    1,
    lengths.reduce((a, b) => Math.max(a, b), 0)
  ) // S
  const unique = new UniqueRows()
  unique.reset(positions + assembler.negatives + 1)
  const steps = new Int32Array(W * length) // [W, S]
  const timesMs = new Float64Array(W * length) // [W, S]
  const target = new Int32Array(size) // [B]
  const weight = new Float32Array(size) // [B]
  const placeOf = new Int32Array(size) // [B]
  const groups = new Int32Array(size) // [B]
  const groupOf = new Map<UserId, number>()
  for (let w = 0; w < W; w++) {
    for (let i = 0; i < lengths[w]!; i++) {
      steps[w * length + i] = unique.position(rows[w * stepsMax + i]!)
      timesMs[w * length + i] = times[w * stepsMax + i]!
    }
  }
  let b = 0
  for (const [w, window] of windows.entries()) {
    const group = groupOf.get(window.userId) ?? groupOf.size
    groupOf.set(window.userId, group)
    for (const [p, { at, weight: ofTarget }] of window.targets.entries()) {
      const place = w * places + p
      target[b] = unique.position(items.rowOf(window.steps[at]!.itemId))
      if (target[b] !== 0 && ends[place]! > 0) weight[b] = ofTarget
      placeOf[b] = place
      groups[b++] = group
    }
  }
  const shape = { windows: W, length, places, steps, timesMs, ends, placeOf, groups }
  return { ...assembler.candidates(unique, target, weight, ranges), ...shape }
}

/** @throws RangeError for targets that do not ascend, or are no steps of their window */
function sizesOf(windows: readonly TrainingWindow[]) {
  const sizes = { size: 0 /* B */, places: 1 /* P */, stepsMax: 1, positions: 0 }
  for (const { steps, targets } of windows) {
    for (const [t, { at }] of targets.entries()) {
      if (!(at < steps.length && at > (targets[t - 1]?.at ?? -1)))
        throw new RangeError(`targets must ascend and be steps of their window: ${at} is not, of ${steps.length}`)
    }
    sizes.size += targets.length
    sizes.places = Math.max(sizes.places, targets.length)
    sizes.stepsMax = Math.max(sizes.stepsMax, steps.length)
    sizes.positions += steps.length + targets.length
  }
  return sizes
}

/**
 * The same targets with a history each, for models that cannot read windows. Interests, loss and gradients are the same
 * numbers but for the order of sums.
 *
 * @param historyMax R
 */
export function unrolled(batch: WindowBatch, historyMax: number): MiniBatch {
  const { size, windows: _windows, places, steps, timesMs, ends, placeOf, length: S, ...candidates } = batch
  let length = 1
  for (const end of ends) length = Math.max(length, Math.min(end, historyMax))
  const history = new Int32Array(size * length) // [B, L]
  const age = new Float32Array(size * length) // [B, L]
  for (let b = 0; b < size; b++) {
    const place = placeOf[b]!
    const window = Math.floor(place / places) * S
    const end = ends[place]!
    const newestMs = timesMs[window + end - 1]!
    let to = (b + 1) * length - Math.min(end, historyMax)
    for (let step = Math.max(0, end - historyMax); step < end; step++, to++) {
      history[to] = steps[window + step]!
      age[to] = Math.max(0, (newestMs - timesMs[window + step]!) / 1000)
    }
  }
  return { ...candidates, size, length, history, age }
}
