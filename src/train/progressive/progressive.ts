// Test, then learn, as the quality number: how well targets are ranked by a model that has not seen them yet, beside
// simple methods on the same targets, with the same items left out and with knowledge of the same earlier batches.

import { CorruptError } from '../../core/errors.ts'
import { type NamedArray, type NamedArrays, namedArray, unpackTexts } from '../../core/namedArrays.ts'
import type { Example } from '../../records/example.ts'
import { ChangedRows, type Extent } from '../batch/changedRows.ts'
import { CountedItemBlock } from './countedItemBlock.ts'
import { ItemSet } from './itemSet.ts'
import { cooccurrenceDefaults, ItemToItem, type ItemToItemOptions, markovDefaults } from './itemToItem.ts'
import { type CurvePoint, PeriodCurve } from './periodCurve.ts'
import { PopularityRanking } from './popularityRanking.ts'
import { addRank, metricCount, metricsFrom, missRank, type RankingMetrics } from './rankingMetrics.ts'

export const progressiveMethods = ['model', 'popularity', 'decayedPopularity', 'cooccurrence', 'markov'] as const
export type ProgressiveMethod = (typeof progressiveMethods)[number]

export interface ProgressiveOptions {
  /** Targets that the window holds. */
  readonly windowTargets: number
  /** Targets in a period of the curve at first; it doubles when there are 64 periods. */
  readonly periodTargets: number
  /** Of decayed popularity, in learned targets. */
  readonly popularityHalfLife: number
  readonly cooccurrence: ItemToItemOptions
  readonly markov: ItemToItemOptions
  /** Items that the simple methods can count, some 2 KiB each. Later ones they never learn. */
  readonly itemsMax: number
}

export const progressiveDefaults: ProgressiveOptions = {
  windowTargets: 5000, // ± .013 at a hit rate of .3: a fall by a tenth is seen
  periodTargets: 250,
  popularityHalfLife: 5000, // of 1,000 … 20,000 the best, or near it, on MovieLens 100k, Video Games and the simulation
  cooccurrence: cooccurrenceDefaults,
  markov: markovDefaults,
  itemsMax: 500_000
}

export interface ProgressiveReport extends RankingMetrics {
  /** Examples seen, the ones not evaluated and the repeats included. */
  readonly examples: number
  /** Share of the examples that could be a target (no repeats) and were ranked. */
  readonly evaluatedShare: number
  /**
   * Examples whose target is in its own history: with history left out it cannot be found, so they are left out for
   * every method.
   */
  readonly repeats: number
  readonly popularity: RankingMetrics
  readonly decayedPopularity: RankingMetrics
  /** Whichever of the two has the higher hit rate@20. */
  readonly bestPopularity: RankingMetrics & { readonly method: 'popularity' | 'decayedPopularity' }
  readonly cooccurrence: RankingMetrics
  readonly markov: RankingMetrics
  /** Over the last `windowTargets` targets. */
  readonly window: Readonly<Record<ProgressiveMethod, RankingMetrics>>
  readonly curve: readonly CurvePoint<ProgressiveMethod>[]
}

const methodCount = progressiveMethods.length

export class ProgressiveEvaluator {
  readonly options: ProgressiveOptions
  readonly #itemIndex = new Map<string, number>()
  /** By index. */
  #itemIds: string[] = []
  readonly #changed = new ChangedRows()
  readonly #popularity: PopularityRanking
  readonly #decayed: PopularityRanking
  readonly #cooccurrence: ItemToItem
  readonly #markov: ItemToItem
  readonly #excluded = new ItemSet()
  readonly #scored = new ItemSet()
  #examples = 0
  #notEvaluated = 0
  #repeats = 0
  #targets = 0
  readonly #sums = new Float64Array(methodCount * metricCount)
  readonly #windowSums = new Float64Array(methodCount * metricCount)
  readonly #window: Uint8Array // [windowTargets, methods]  ranks, a ring; beyond missRank all the same
  readonly #curve: PeriodCurve<ProgressiveMethod>
  #newestMs = 0
  /** Of the copy that is being restored. */
  #restored: Header | undefined

  constructor(options: Partial<ProgressiveOptions> = {}) {
    this.options = { ...progressiveDefaults, ...options }
    const beforeAll = () => this.#changed.allWillChange(this.#itemIds.length)
    this.#popularity = new PopularityRanking(Number.POSITIVE_INFINITY, beforeAll)
    this.#decayed = new PopularityRanking(this.options.popularityHalfLife, beforeAll)
    this.#cooccurrence = new ItemToItem(this.options.cooccurrence, beforeAll)
    this.#markov = new ItemToItem(this.options.markov, beforeAll)
    this.#window = new Uint8Array(this.options.windowTargets * methodCount)
    this.#curve = new PeriodCurve(progressiveMethods, this.options.periodTargets)
  }

  /** Targets ranked so far. */
  get targets(): number {
    return this.#targets
  }

  /**
   * Tests all targets of a batch, then learns all of them.
   *
   * @param examples fresh ones, in the order in which they are learned; no replayed ones
   * @param ranks [B] the model's, from before it learned the batch: 0 best, −1 not evaluated, `unknownRank` where it
   *   knows no row of the target
   */
  observe(examples: readonly Example[], ranks: Int32Array): void {
    if (ranks.length < examples.length) {
      throw new RangeError(`${examples.length} examples came with ${ranks.length} ranks: give one for each`)
    }
    const histories: Int32Array[] = []
    const targets = new Int32Array(examples.length)
    const repeated = new Uint8Array(examples.length)
    let longest = 0
    for (let b = 0; b < examples.length; b++) {
      const { history, target } = examples[b]!
      const indices = new Int32Array(history.length)
      for (let i = 0; i < history.length; i++) {
        const itemId = history[i]!.itemId
        indices[i] = this.#index(itemId)
        if (itemId === target.itemId) repeated[b] = 1
      }
      histories.push(indices)
      targets[b] = this.#index(target.itemId)
      longest = Math.max(longest, history.length)
    }
    const size = this.#itemIndex.size
    for (const part of [
      this.#popularity,
      this.#decayed,
      this.#cooccurrence,
      this.#markov,
      this.#excluded,
      this.#scored
    ])
      part.grow(size)
    this.#popularity.refresh(longest)
    this.#decayed.refresh(longest)

    const tested = new Uint8Array(methodCount)
    for (let b = 0; b < examples.length; b++) {
      this.#examples++
      const { eventTimeMs } = examples[b]!.target
      if (eventTimeMs > this.#newestMs) this.#newestMs = eventTimeMs
      if (repeated[b] === 1) this.#repeats++
      else if (ranks[b]! < 0) this.#notEvaluated++
      else {
        const history = histories[b]!
        const target = targets[b]!
        tested[0] = Math.min(missRank, ranks[b]!)
        if (target < 0) tested.fill(missRank, 1)
        else {
          this.#excluded.clear()
          for (const item of history) if (item >= 0) this.#excluded.add(item)
          tested[1] = this.#popularity.rank(target, this.#excluded)
          tested[2] = this.#decayed.rank(target, this.#excluded)
          tested[3] = this.#cooccurrence.rank(
            history,
            history.length,
            target,
            this.#excluded,
            this.#popularity,
            this.#scored
          )
          tested[4] = this.#markov.rank(history, history.length, target, this.#excluded, this.#popularity, this.#scored)
        }
        this.#record(tested)
      }
    }
    for (let b = 0; b < examples.length; b++) this.#learn(histories[b]!, targets[b]!)
  }

  #record(ranks: Uint8Array): void {
    const slot = (this.#targets % this.options.windowTargets) * methodCount
    const full = this.#targets >= this.options.windowTargets
    for (let m = 0; m < methodCount; m++) {
      if (full) addRank(this.#windowSums, m * metricCount, this.#window[slot + m]!, -1)
      this.#window[slot + m] = ranks[m]!
      addRank(this.#windowSums, m * metricCount, ranks[m]!)
      addRank(this.#sums, m * metricCount, ranks[m]!)
    }
    this.#targets++
    this.#curve.add(ranks, this.#examples, this.#newestMs)
  }

  #learn(history: Int32Array, target: number): void {
    if (target < 0) return
    this.#changed.willChange(target)
    for (let i = Math.max(0, history.length - this.options.cooccurrence.window, 0); i < history.length; i++)
      if (history[i]! >= 0) this.#changed.willChange(history[i]!)
    // A user's first step is never a target; the model sees it in the next one's history, and so do these.
    if (history.length === 1 && history[0]! >= 0) {
      this.#popularity.count(history[0]!)
      this.#decayed.count(history[0]!)
    }
    this.#popularity.count(target)
    this.#decayed.count(target)
    this.#cooccurrence.learn(history, history.length, target)
    this.#markov.learn(history, history.length, target)
  }

  /** @returns −1 once `itemsMax` items are known */
  #index(itemId: string): number {
    const known = this.#itemIndex.get(itemId)
    if (known !== undefined) return known
    if (this.#itemIndex.size >= this.options.itemsMax) return -1
    const index = this.#itemIndex.size
    this.#changed.willChange(index)
    this.#itemIndex.set(itemId, index)
    this.#itemIds.push(itemId)
    return index
  }

  /** What a gauge shows between reports: the model's hit rate@20 over the window, and the targets in it. */
  windowed(method: ProgressiveMethod = 'model'): RankingMetrics {
    return metricsFrom(
      this.#windowSums,
      progressiveMethods.indexOf(method) * metricCount,
      Math.min(this.#targets, this.options.windowTargets)
    )
  }

  report(): ProgressiveReport {
    const all = progressiveMethods.map((_, m) => metricsFrom(this.#sums, m * metricCount, this.#targets))
    const [model, popularity, decayedPopularity, cooccurrence, markov] = all as [
      RankingMetrics,
      RankingMetrics,
      RankingMetrics,
      RankingMetrics,
      RankingMetrics
    ]
    const fading = decayedPopularity['hitRate@20'] > popularity['hitRate@20']
    return {
      ...model,
      examples: this.#examples,
      evaluatedShare: this.#examples === this.#repeats ? 0 : this.#targets / (this.#examples - this.#repeats),
      repeats: this.#repeats,
      popularity,
      decayedPopularity,
      bestPopularity: fading
        ? { ...decayedPopularity, method: 'decayedPopularity' }
        : { ...popularity, method: 'popularity' },
      cooccurrence,
      markov,
      window: Object.fromEntries(progressiveMethods.map((method) => [method, this.windowed(method)])) as Record<
        ProgressiveMethod,
        RankingMetrics
      >,
      curve: this.#curve.points()
    }
  }

  /** Blocks of a copy that wait to be fetched. */
  get waitingBlocks(): number {
    return this.#changed.waitingBlocks
  }

  /** All that the numbers go on from as it is at this moment, for the trainer's checkpoint: as `ItemTable.copy`. */
  copy(extent: Extent): ProgressiveCopy {
    const curve = this.#curve.save()
    const small = new Map<string, NamedArray>([
      ['units', Float64Array.from(this.#countings(), ({ unit }) => unit)],
      ['sums', this.#sums.slice()],
      ['window', this.#window.slice()],
      ['curve', curve.values]
    ])
    const counted = {
      idOf: (item: number) => this.#itemIds[item]!,
      popularities: { popularity: this.#popularity, decayed: this.#decayed },
      neighbours: { cooccurrence: this.#cooccurrence.neighbours, markov: this.#markov.neighbours }
    }
    const blocks = this.#changed.copy(extent, this.#itemIds.length, () => new CountedItemBlock(counted))
    const header: Header = {
      format,
      examples: this.#examples,
      notEvaluated: this.#notEvaluated,
      repeats: this.#repeats,
      targets: this.#targets,
      newestMs: this.#newestMs,
      periodTargets: curve.periodTargets,
      items: this.#itemIds.length,
      options: JSON.stringify(this.options)
    }
    const parts = function* (): Iterable<NamedArrays> {
      yield small
      yield* blocks
    }
    return { header: { ...header }, parts: parts() }
  }

  /**
   * Goes on where copies were taken: `beginRestore` with the header of the last, every part in its order, `endRestore`.
   *
   * @returns false, and starts from nothing, if they are of another format or were taken with other options: then their
   *   numbers cannot be gone on with
   */
  beginRestore(saved: ProgressiveCopy['header']): boolean {
    this.#changed.forget()
    this.#itemIndex.clear()
    this.#itemIds = []
    for (const part of this.#countings()) part.clear(1)
    const header = saved as unknown as Header
    if (header.format !== format || header.options !== JSON.stringify(this.options)) return false
    this.#examples = header.examples
    this.#notEvaluated = header.notEvaluated
    this.#repeats = header.repeats
    this.#targets = header.targets
    this.#newestMs = header.newestMs
    this.#restored = header
    return true
  }

  /** @throws CorruptError if an array is missing or does not fit */
  restorePart(arrays: NamedArrays): void {
    if (arrays.has('items')) this.#restoreItems(arrays)
    else this.#restoreSmall(arrays)
  }

  /** @throws CorruptError if parts are missing */
  endRestore(): void {
    const items = this.#restored?.items ?? this.#itemIndex.size
    if (this.#restored === undefined || this.#itemIndex.size !== items)
      throw new CorruptError(
        `the saved progressive evaluation has ${this.#itemIndex.size} items of ${items}: use an earlier checkpoint, or reset`
      )
    this.#restored = undefined
    this.#windowSums.fill(0)
    for (let slot = 0; slot < Math.min(this.#targets, this.options.windowTargets); slot++) {
      for (let m = 0; m < methodCount; m++)
        addRank(this.#windowSums, m * metricCount, this.#window[slot * methodCount + m]!)
    }
  }

  #restoreSmall(arrays: NamedArrays): void {
    const units = namedArray(arrays, 'units', Float64Array, 4)
    // Counts are in the units of the copy that they came with: between two of them all of them came, or the units only
    // grew.
    for (const [i, part] of this.#countings().entries()) part.unit = units[i]!
    this.#sums.set(namedArray(arrays, 'sums', Float64Array, this.#sums.length))
    this.#window.set(namedArray(arrays, 'window', Uint8Array, this.#window.length))
    this.#curve.load({
      periodTargets: this.#restored!.periodTargets,
      values: namedArray(arrays, 'curve', Float64Array)
    })
  }

  #restoreItems(arrays: NamedArrays): void {
    const items = namedArray(arrays, 'items', Int32Array)
    const n = items.length
    const ids = unpackTexts(namedArray(arrays, 'ids', Uint8Array), namedArray(arrays, 'idLengths', Int32Array, n))
    let size = this.#itemIds.length
    for (const item of items) if (item >= size) size = item + 1
    for (const part of [
      this.#popularity,
      this.#decayed,
      this.#cooccurrence,
      this.#markov,
      this.#excluded,
      this.#scored
    ])
      part.grow(size)
    for (const [i, item] of items.entries()) {
      this.#itemIndex.set(ids[i]!, item)
      this.#itemIds[item] = ids[i]!
    }
    for (const [name, part] of Object.entries({ popularity: this.#popularity, decayed: this.#decayed })) {
      const counts = namedArray(arrays, `${name}.counts`, Float64Array, n)
      for (const [i, item] of items.entries()) part.restore(item, counts[i]!)
    }
    for (const [name, { neighbours }] of Object.entries({ cooccurrence: this.#cooccurrence, markov: this.#markov })) {
      const used = namedArray(arrays, `${name}.used`, Int32Array, n)
      const sum = used.reduce((a, b) => a + b, 0)
      const saved = {
        ids: namedArray(arrays, `${name}.ids`, Int32Array, sum),
        counts: namedArray(arrays, `${name}.counts`, Float32Array, sum)
      }
      const totals = namedArray(arrays, `${name}.totals`, Float64Array, n)
      for (let i = 0, at = 0; i < n; at += used[i++]!)
        neighbours.restore(items[i]!, totals[i]!, { ...saved, at, used: used[i]! })
    }
  }

  /** Whatever fades, in the order of its unit in a checkpoint. */
  #countings(): readonly { unit: number; clear(unit: number): void }[] {
    return [this.#popularity, this.#decayed, this.#cooccurrence.neighbours, this.#markov.neighbours]
  }
}

/** Of a moment. */
export interface ProgressiveCopy {
  /** JSON-able. */
  readonly header: Readonly<Record<string, unknown>>
  /** To be walked through once, while it goes on counting. */
  readonly parts: Iterable<NamedArrays>
}

const format = 'progressive/2'
interface Header {
  readonly format: string
  readonly examples: number
  readonly notEvaluated: number
  readonly repeats: number
  readonly targets: number
  readonly newestMs: number
  readonly periodTargets: number
  readonly items?: number
  readonly options: string
}
