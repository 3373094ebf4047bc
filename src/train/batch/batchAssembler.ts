// Examples in, one mini-batch out: ids become rows, rows become positions in the batch's unique rows.
//
// B examples, L history positions, U unique rows touched, N sampled negatives.
//
// Order of `items`: the padding row; then by example its history, oldest first; then the targets; then the negatives;
// each row where it is first met. So what the histories read stands at the front, and is read and written back in one
// piece.

import { type NamedArrays, namedArray } from '../../core/namedArrays.ts'
import type { OffsetRanges } from '../../core/offsets.ts'
import { Rng } from '../../core/rng.ts'
import { UniqueRows } from '../../model/uniqueRows.ts'
import type { Example } from '../../records/example.ts'
import type { UserId } from '../../records/interaction.ts'
import type { CandidateSampler } from './candidateSampler.ts'
import { FeatureRows } from './featureRows.ts'
import type { ItemTable } from './itemTable.ts'
import type { BatchCandidates, MiniBatch } from './miniBatch.ts'
import { StoredExample } from './storedExample.ts'
import type { TrainingWindow } from './trainingWindow.ts'
import type { WindowBatch } from './windowBatch.ts'

export interface BatchAssemblerOptions {
  readonly items: ItemTable
  /** Rows of features, by `field=value`. */
  readonly features: ItemTable
  readonly sampler: CandidateSampler
  /** Newest steps of a history that are used. */
  readonly historyMax: number
  /** N */
  readonly negatives: number
  /** The assembler's own from now on. */
  readonly rng: Rng
  /**
   * `field=value` of an item, empty where the catalogue has none. Answers are remembered by row: say `forgetFeatures`
   * when one changes.
   */
  readonly featuresOf: (itemId: string) => readonly string[]
}

export class BatchAssembler {
  readonly #items: ItemTable
  readonly #features: ItemTable
  readonly #sampler: CandidateSampler
  readonly #historyMax: number
  readonly #negatives: number
  readonly #featuresOf: (itemId: string) => readonly string[]
  readonly #featureRows: FeatureRows
  readonly #unique = new UniqueRows()
  #rng: Rng
  // Rows and times of the batch before L is known; right-aligned. Kept between calls.
  #rows = new Int32Array(0) // [B, historyMax]
  #timesMs = new Float64Array(0) // [B, historyMax]
  #targets = new Int32Array(0) // [B]

  constructor(options: BatchAssemblerOptions) {
    const { historyMax, negatives } = options
    if (!(Number.isInteger(historyMax) && historyMax > 0))
      throw new RangeError(`historyMax must be a whole number above 0, not ${historyMax}`)
    if (!(Number.isInteger(negatives) && negatives >= 0))
      throw new RangeError(`negatives must be a whole number, not ${negatives}`)
    this.#items = options.items
    this.#features = options.features
    this.#sampler = options.sampler
    this.#historyMax = historyMax
    this.#negatives = negatives
    this.#rng = options.rng
    this.#featuresOf = options.featuresOf
    this.#featureRows = new FeatureRows(options.items, options.features, options.featuresOf)
  }

  /**
   * Counts nothing, admits nothing: what was never observed has no row and is left out of histories; an example whose
   * whole history is left out gets weight 0, and so does one whose target has no row. Ages count from the newest step
   * that is left. No negatives where no item is admitted.
   *
   * @param ranges the records that the examples were cut from; passed on
   * @returns arrays of its own
   */
  assemble(examples: readonly Example[], ranges: OffsetRanges): MiniBatch {
    const size = examples.length
    const length = this.#look(examples)
    const historyMax = this.#historyMax
    const unique = this.#unique
    unique.reset(size * (length + 1) + this.#negatives + 1)
    const history = new Int32Array(size * length) // [B, L]
    const age = new Float32Array(size * length) // [B, L]
    const target = new Int32Array(size) // [B]
    const weight = new Float32Array(size) // [B]
    for (let b = 0; b < size; b++) {
      const end = (b + 1) * historyMax
      const newestMs = this.#timesMs[end - 1]!
      for (let from = end - length, to = b * length; from < end; from++, to++) {
        const row = this.#rows[from]!
        if (row === 0) continue
        history[to] = unique.position(row)
        const seconds = (newestMs - this.#timesMs[from]!) / 1000
        age[to] = seconds > 0 ? seconds : 0
      }
    }
    for (let b = 0; b < size; b++) {
      target[b] = unique.position(this.#targets[b]!)
      if (target[b] !== 0 && this.#rows[(b + 1) * historyMax - 1] !== 0) weight[b] = examples[b]!.weight
    }
    return { length, history, age, ...this.#candidates(target, weight, ranges) }
  }

  /**
   * As `assemble`, of windows: a step without a row is left out of its window, and so of every history in it. Negatives
   * are drawn as for as many examples.
   *
   * @returns arrays of its own
   */
  assembleWindows(windows: readonly TrainingWindow[], ranges: OffsetRanges): WindowBatch {
    const R = this.#historyMax
    const W = windows.length
    let size = 0 // B
    let places = 1 // P
    let stepsMax = 1
    let positions = 0
    for (const { steps, targets } of windows) {
      for (const [t, { at }] of targets.entries()) {
        if (!(at < steps.length && at > (targets[t - 1]?.at ?? -1)))
          throw new RangeError(`targets must ascend and be steps of their window: ${at} is not, of ${steps.length}`)
      }
      size += targets.length
      places = Math.max(places, targets.length)
      stepsMax = Math.max(stepsMax, steps.length)
      positions += steps.length + targets.length
    }
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
        if (t === targets.length) break // Later steps are nobody's history.
        const step = steps[i]!
        const row = this.#items.rowOf(step.itemId)
        if (row === 0) continue
        rows[start + kept] = row
        times[start + kept++] = step.eventTimeMs
      }
      // Steps before the oldest history are read by nobody.
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
    const unique = this.#unique
    unique.reset(positions + this.#negatives + 1)
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
        target[b] = unique.position(this.#items.rowOf(window.steps[at]!.itemId))
        if (target[b] !== 0 && ends[place]! > 0) weight[b] = ofTarget
        placeOf[b] = place
        groups[b++] = group
      }
    }
    return {
      windows: W,
      length,
      places,
      steps,
      timesMs,
      ends,
      placeOf,
      ...this.#candidates(target, weight, ranges),
      groups
    }
  }

  /** Negatives, and what the step needs to know of the unique rows met so far and of theirs. */
  #candidates(target: Int32Array, weight: Float32Array, ranges: OffsetRanges): BatchCandidates {
    const unique = this.#unique
    const size = target.length
    const negatives = new Int32Array(this.#items.size === 0 ? 0 : this.#negatives) // [N]
    for (let n = 0; n < negatives.length; n++) negatives[n] = unique.position(this.#sampler.draw(this.#rng))
    const items = unique.take() // [U]
    const logQ = new Float32Array(items.length) // [U]
    for (const positions of [target, negatives])
      for (const u of positions)
        if (u !== 0 && logQ[u] === 0) logQ[u] = this.#sampler.logQ(items[u]!, size, negatives.length)
    return { size, items, features: this.#featureRows.of(items), target, weight, negatives, logQ, ranges }
  }

  /**
   * Takes notice of examples that are learned, after they were evaluated: counts their targets and the targets'
   * features, admits new ones, and remembers the targets for negatives. Not for replayed examples: they were observed
   * when they were new.
   */
  observe(examples: readonly Pick<Example, 'target'>[]): void {
    for (const { target } of examples) {
      const row = this.#items.observe(target.itemId, target.eventTimeMs)
      if (row === 0) continue
      this.#sampler.observe(row)
      for (const feature of this.#featuresOf(target.itemId)) this.#features.observe(feature, target.eventTimeMs)
    }
  }

  /** The catalogue changed what it says of an item. */
  forgetFeatures(itemId: string): void {
    this.#featureRows.forget(this.#items.rowOf(itemId))
  }

  /** Exact; tables and sampler have their own. */
  state(): NamedArrays {
    return new Map([['rng', Int32Array.from(this.#rng.state())]])
  }

  /** @throws CorruptError if an array is missing or does not fit */
  restore(arrays: NamedArrays): void {
    this.#rng = Rng.from([...namedArray(arrays, 'rng', Int32Array, 4)])
    this.#featureRows.clear()
  }

  /** Fills rows and times of all histories, and the rows of the targets. @returns L */
  #look(examples: readonly Example[]): number {
    const items = this.#items
    const historyMax = this.#historyMax
    if (this.#rows.length < examples.length * historyMax) {
      this.#rows = new Int32Array(examples.length * historyMax)
      this.#timesMs = new Float64Array(examples.length * historyMax)
    }
    const rows = this.#rows
    const timesMs = this.#timesMs
    rows.fill(0, 0, examples.length * historyMax)
    const ids: string[] = []
    for (const example of examples) {
      if (example instanceof StoredExample) continue
      const { history, target } = example
      for (let i = Math.max(0, history.length - historyMax); i < history.length; i++) ids.push(history[i]!.itemId)
      ids.push(target.itemId)
    }
    const found = new Int32Array(ids.length)
    items.rowsOf(ids, found)
    this.#targets = new Int32Array(examples.length)
    let longest = 1
    let next = 0
    for (let b = 0; b < examples.length; b++) {
      const example = examples[b]!
      const start = b * historyMax
      const end = start + historyMax
      let at = end
      if (example instanceof StoredExample) {
        for (let i = example.rows.length - 2; i >= 0 && at > start; i--) {
          if (!items.isAdmitted(example.rows[i]!)) continue
          rows[--at] = example.rows[i]!
          timesMs[at] = example.timesMs[i]!
        }
        const row = example.rows[example.rows.length - 1]!
        this.#targets[b] = items.isAdmitted(row) ? row : 0
      } else {
        const { history } = example
        const first = Math.max(0, history.length - historyMax)
        const last = next + history.length - first
        for (let i = history.length - 1; i >= 0 && at > start; i--) {
          const step = history[i]!
          // Older steps stand in for those without a row.
          const row = i >= first ? found[last - history.length + i]! : items.rowOf(step.itemId)
          if (row === 0) continue
          rows[--at] = row
          timesMs[at] = step.eventTimeMs
        }
        this.#targets[b] = found[last]!
        next = last + 1
      }
      if (end - at > longest) longest = end - at
    }
    return longest
  }
}
