// Test, then learn, as the quality number: how well targets are ranked by a model that has not seen them yet, beside simple methods on the same
// targets, with the same items left out and with knowledge of the same earlier batches.

import { CorruptError } from '../base/errors.ts'
import type { NamedArrays } from '../batch/namedArrays.ts'
import type { Example } from '../sequence/example.ts'
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
  /** Examples whose target is in its own history: with history left out it cannot be found, so they are left out for every method. */
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
  readonly #popularity = new PopularityRanking(Number.POSITIVE_INFINITY)
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

  constructor(options: Partial<ProgressiveOptions> = {}) {
    this.options = { ...progressiveDefaults, ...options }
    this.#decayed = new PopularityRanking(this.options.popularityHalfLife)
    this.#cooccurrence = new ItemToItem(this.options.cooccurrence)
    this.#markov = new ItemToItem(this.options.markov)
    this.#window = new Uint8Array(this.options.windowTargets * methodCount)
    this.#curve = new PeriodCurve(progressiveMethods, this.options.periodTargets)
  }

  /**
   * Tests all targets of a batch, then learns all of them.
   *
   * @param examples fresh ones, in the order in which they are learned; no replayed ones
   * @param ranks [B] the model's, from before it learned the batch: 0 best, −1 not evaluated, `unknownRank` where it knows no row of the target
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
    for (const part of [this.#popularity, this.#decayed, this.#cooccurrence, this.#markov, this.#excluded, this.#scored]) part.grow(size)
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
          tested[3] = this.#cooccurrence.rank(history, history.length, target, this.#excluded, this.#popularity, this.#scored)
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
    this.#itemIndex.set(itemId, index)
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
      bestPopularity: fading ? { ...decayedPopularity, method: 'decayedPopularity' } : { ...popularity, method: 'popularity' },
      cooccurrence,
      markov,
      window: Object.fromEntries(progressiveMethods.map((method) => [method, this.windowed(method)])) as Record<
        ProgressiveMethod,
        RankingMetrics
      >,
      curve: this.#curve.points()
    }
  }

  /** All that the numbers go on from, for the trainer's checkpoint. The arrays are the caller's. */
  save(): SavedProgressive {
    const size = this.#itemIndex.size
    const popularity = this.#popularity.save(size)
    const decayed = this.#decayed.save(size)
    const curve = this.#curve.save()
    const arrays = new Map<string, Float32Array | Float64Array | Int32Array | Uint8Array>([
      // Ids may contain anything but are text; JSON keeps them apart.
      ['items', new TextEncoder().encode(JSON.stringify([...this.#itemIndex.keys()]))],
      ['popularity.counts', popularity.counts],
      ['decayed.counts', decayed.counts],
      ['sums', this.#sums.slice()],
      ['window', this.#window.slice()],
      ['curve', curve.values]
    ])
    const weights: Record<string, number> = { popularity: popularity.weight, decayed: decayed.weight }
    for (const [name, part] of [
      ['cooccurrence', this.#cooccurrence],
      ['markov', this.#markov]
    ] as const) {
      const saved = part.save(size)
      arrays.set(`${name}.used`, saved.used)
      arrays.set(`${name}.ids`, saved.ids)
      arrays.set(`${name}.counts`, saved.counts)
      arrays.set(`${name}.totals`, saved.totals)
      weights[name] = saved.weight
    }
    const header = {
      format,
      examples: this.#examples,
      notEvaluated: this.#notEvaluated,
      repeats: this.#repeats,
      targets: this.#targets,
      newestMs: this.#newestMs,
      periodTargets: curve.periodTargets,
      weights,
      options: JSON.stringify(this.options)
    }
    return { header, arrays }
  }

  /**
   * Goes on where `save` was called.
   *
   * @returns false, and starts from nothing, if it was saved by another format or with other options: then its numbers cannot be gone on with
   * @throws CorruptError if an array is missing
   */
  load(saved: SavedProgressive): boolean {
    const header = saved.header as unknown as Header
    if (header.format !== format || header.options !== JSON.stringify(this.options)) return false
    const array = <T extends Float32Array | Float64Array | Int32Array | Uint8Array>(name: string): T => {
      const found = saved.arrays.get(name)
      if (found === undefined)
        throw new CorruptError(`the saved progressive evaluation has no array ${name}: use an earlier checkpoint, or reset`)
      return found as T
    }
    const items = JSON.parse(new TextDecoder().decode(array<Uint8Array>('items'))) as string[]
    this.#itemIndex.clear()
    for (let i = 0; i < items.length; i++) this.#itemIndex.set(items[i]!, i)
    this.#popularity.load({ counts: array('popularity.counts'), weight: header.weights.popularity })
    this.#decayed.load({ counts: array('decayed.counts'), weight: header.weights.decayed })
    for (const [name, part] of [
      ['cooccurrence', this.#cooccurrence],
      ['markov', this.#markov]
    ] as const) {
      part.load({
        used: array(`${name}.used`),
        ids: array(`${name}.ids`),
        counts: array(`${name}.counts`),
        totals: array(`${name}.totals`),
        weight: header.weights[name]
      })
    }
    this.#examples = header.examples
    this.#notEvaluated = header.notEvaluated
    this.#repeats = header.repeats
    this.#targets = header.targets
    this.#newestMs = header.newestMs
    this.#sums.set(array<Float64Array>('sums'))
    this.#window.set(array<Uint8Array>('window'))
    this.#windowSums.fill(0)
    for (let slot = 0; slot < Math.min(this.#targets, this.options.windowTargets); slot++) {
      for (let m = 0; m < methodCount; m++) addRank(this.#windowSums, m * metricCount, this.#window[slot * methodCount + m]!)
    }
    this.#curve.load({ periodTargets: header.periodTargets, values: array('curve') })
    return true
  }
}

export interface SavedProgressive {
  /** JSON-able. */
  readonly header: Readonly<Record<string, unknown>>
  readonly arrays: NamedArrays
}

const format = 'progressive/1'

interface Header {
  readonly format: string
  readonly examples: number
  readonly notEvaluated: number
  readonly repeats: number
  readonly targets: number
  readonly newestMs: number
  readonly periodTargets: number
  readonly weights: Readonly<Record<'popularity' | 'decayed' | 'cooccurrence' | 'markov', number>>
  readonly options: string
}
