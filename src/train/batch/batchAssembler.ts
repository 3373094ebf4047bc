// Examples in, one mini-batch out: ids become rows, rows become positions among the batch's unique rows.
//
// B examples, L history positions, U unique rows touched, N sampled negatives.
//
// Order of `items`: the padding row; then by example its history, oldest first; then the targets; then the negatives;
// each row where it first occurs. So the rows that histories read come first, and are read and written in one piece.

import { type NamedArrays, namedArray } from '../../core/namedArrays.ts'
import type { OffsetRanges } from '../../core/offsets.ts'
import { Rng } from '../../core/rng.ts'
import { UniqueRows } from '../../model/uniqueRows.ts'
import type { Example } from '../../records/example.ts'
import type { CandidateSampler } from './candidateSampler.ts'
import { FeatureRows } from './featureRows.ts'
import type { ItemTable } from './itemTable.ts'
import type { BatchCandidates, MiniBatch } from './miniBatch.ts'
import { examplesByRow, type StoredExample } from './storedExample.ts'

interface BatchAssemblerOptions {
  readonly items: ItemTable
  /** Rows of features, by `field=value`. */
  readonly features: ItemTable
  readonly sampler: CandidateSampler
  /** Newest steps of a history that are used. */
  readonly historyMax: number
  /** N */
  readonly negatives: number
  /** Owned by the assembler. */
  readonly rng: Rng
  /** `field=value` of an item, empty where the catalogue has none. Cached by row: see `FeatureRows.forget`. */
  readonly featuresOf: (itemId: string) => readonly string[]
}

export class BatchAssembler {
  readonly items: ItemTable
  readonly historyMax: number
  readonly featureRows: FeatureRows
  readonly #features: ItemTable
  readonly #sampler: CandidateSampler
  readonly #negatives: number
  readonly #featuresOf: (itemId: string) => readonly string[]
  readonly #unique = new UniqueRows()
  #rng: Rng
  // Rows and times of the batch before L is known; right-aligned. Reused between calls.
  #rows = new Int32Array(0) // [B, historyMax]
  #timesMs = new Float64Array(0) // [B, historyMax]
  #targets = new Int32Array(0) // [B]

  constructor(options: BatchAssemblerOptions) {
    this.items = options.items
    this.historyMax = options.historyMax
    this.featureRows = new FeatureRows(options.items, options.features, options.featuresOf)
    this.#features = options.features
    this.#sampler = options.sampler
    this.#negatives = options.negatives
    this.#rng = options.rng
    this.#featuresOf = options.featuresOf
  }

  /**
   * Counts and admits nothing: items without a row are left out of histories; an example whose whole history is left
   * out, or whose target has no row, gets weight 0. Ages count from the newest step that is left. No negatives where no
   * item is admitted.
   *
   * @param ranges the records that the examples were cut from; passed on
   * @param negatives `none` for ranking, which must not shift what training draws
   * @returns arrays of its own
   */
  assemble(
    examples: readonly (Example | StoredExample)[],
    ranges: OffsetRanges,
    negatives: 'drawn' | 'none' = 'drawn'
  ): MiniBatch {
    const size = examples.length
    const length = this.#look(examplesByRow(this.items, examples, this.historyMax))
    const { historyMax } = this
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
        age[to] = Math.max(0, (newestMs - this.#timesMs[from]!) / 1000)
      }
    }
    for (let b = 0; b < size; b++) {
      target[b] = unique.position(this.#targets[b]!)
      if (target[b] !== 0 && this.#rows[(b + 1) * historyMax - 1] !== 0) weight[b] = examples[b]!.weight
    }
    return { length, history, age, ...this.candidates(unique, target, weight, ranges, negatives) }
  }

  /** Draws negatives and adds them to the unique rows met so far. @returns what a step needs to know of all of them */
  candidates(
    unique: UniqueRows,
    target: Int32Array,
    weight: Float32Array,
    ranges: OffsetRanges,
    drawn: 'drawn' | 'none' = 'drawn'
  ): BatchCandidates {
    const size = target.length
    const negatives = new Int32Array(this.items.size === 0 || drawn === 'none' ? 0 : this.#negatives) // [N]
    for (let n = 0; n < negatives.length; n++) negatives[n] = unique.position(this.#sampler.draw(this.#rng))
    const items = unique.take() // [U]
    const logQ = new Float32Array(items.length) // [U]
    for (const positions of [target, negatives])
      for (const u of positions)
        if (u !== 0 && logQ[u] === 0) logQ[u] = this.#sampler.logQ(items[u]!, size, negatives.length)
    return { size, items, features: this.featureRows.of(items), target, weight, negatives, logQ, ranges }
  }

  /** Upper bound of the rows that `candidates` adds. */
  get negatives(): number {
    return this.#negatives
  }

  /**
   * Counts the targets and their features, admits new ones, and remembers the targets for negatives. To be called for
   * each new example once, after it was ranked; not for replayed ones.
   */
  observe(examples: readonly Pick<Example, 'target'>[]): void {
    for (const { target } of examples) {
      const row = this.items.observe(target.itemId, target.eventTimeMs)
      if (row === 0) continue
      this.#sampler.observe(row)
      for (const feature of this.#featuresOf(target.itemId)) this.#features.observe(feature, target.eventTimeMs)
    }
  }

  /** Exact; tables and sampler have their own. */
  state(): NamedArrays {
    return new Map([['rng', Int32Array.from(this.#rng.state())]])
  }

  /** @throws CorruptError if an array is missing or does not fit */
  restore(arrays: NamedArrays): void {
    this.#rng = Rng.from([...namedArray(arrays, 'rng', Int32Array, 4)])
    this.featureRows.clear()
  }

  /** Fills rows and times of all histories, and the rows of the targets. @returns L */
  #look(examples: readonly StoredExample[]): number {
    const { items, historyMax } = this
    if (this.#rows.length < examples.length * historyMax) {
      this.#rows = new Int32Array(examples.length * historyMax)
      this.#timesMs = new Float64Array(examples.length * historyMax)
    }
    const rows = this.#rows
    const timesMs = this.#timesMs
    rows.fill(0, 0, examples.length * historyMax)
    this.#targets = new Int32Array(examples.length)
    let longest = 1
    for (const [b, example] of examples.entries()) {
      const start = b * historyMax
      const end = start + historyMax
      let at = end
      // Since it was looked up an item may have lost its row.
      for (let i = example.rows.length - 2; i >= 0 && at > start; i--) {
        if (!items.isAdmitted(example.rows[i]!)) continue
        rows[--at] = example.rows[i]!
        timesMs[at] = example.timesMs[i]!
      }
      const target = example.rows.at(-1)!
      this.#targets[b] = items.isAdmitted(target) ? target : 0
      longest = Math.max(longest, end - at)
    }
    return longest
  }
}
