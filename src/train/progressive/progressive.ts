// Test, then train: how well a model ranks targets that it has not been trained on, with the memory and without it,
// beside two simple methods on the same targets, with the same items left out and with knowledge of the same earlier
// batches. Ranks of the model and of co-occurrence, which is the memory alone, come from the trainer (targetRanker.ts).
//
// Where only a sample is ranked, a target counts with 1 / its probability (Horvitz and Thompson): the figures of the
// whole stream are those of all its targets, within the standard error. Those of the window and of the curve are means
// over the ranked targets. Popularity counts every example, ranked or not, of `itemsMax` items.

import { type NamedArray, type NamedArrays, namedArray } from '../../core/namedArrays.ts'
import type { Example } from '../../records/example.ts'
import type { EvaluationReport } from '../trainer.ts'
import { type CurvePoint, PeriodCurve } from './periodCurve.ts'
import { PopularityRanking } from './popularityRanking.ts'
import { addRank, metricCount, metricsFrom, missRank, type RankingMetrics } from './rankingMetrics.ts'

/**
 * `model` is as lists are served: with the memory at the weight in effect. `popularity` is of late: older interactions
 * fade.
 */
export const progressiveMethods = ['model', 'withoutMemory', 'popularity', 'cooccurrence'] as const
export type ProgressiveMethod = (typeof progressiveMethods)[number]

interface ProgressiveOptions {
  /** Targets that the window holds. */
  readonly windowTargets: number
  /** Targets in a period of the curve at first; it doubles when there are 64 periods. */
  readonly periodTargets: number
  /** Of popularity, in examples. */
  readonly popularityHalfLife: number
  /** Items that popularity can count. Later ones it never knows. */
  readonly itemsMax: number
}

const progressiveDefaults: ProgressiveOptions = {
  windowTargets: 5000, // ± .013 at a hit rate of .3: a fall by a tenth is seen
  periodTargets: 250,
  popularityHalfLife: 5000, // of 1,000 … 20,000 the best, or near it, on MovieLens 100k, Video Games and the simulation
  itemsMax: 50_000
}

export interface ProgressiveReport extends RankingMetrics {
  /** Examples seen, the ones not ranked and the repeats included. */
  readonly examples: number
  /** Share of the examples that could be a target (no repeats) and were ranked. */
  readonly evaluatedShare: number
  /** Of the model's hit rate@20, from the sampling: 0 where all were ranked. */
  readonly standardError: number
  /**
   * Examples whose target is in its own history: with history left out it cannot be found, so they are left out for
   * every method.
   */
  readonly repeats: number
  readonly withoutMemory: RankingMetrics
  readonly popularity: RankingMetrics
  readonly cooccurrence: RankingMetrics
  /** Over the last `windowTargets` targets. */
  readonly window: Readonly<Record<ProgressiveMethod, RankingMetrics>>
  readonly curve: readonly CurvePoint<ProgressiveMethod>[]
}

const methodCount = progressiveMethods.length
/** Behind the sums of the methods: Σw, and over batches (1 − p) times S², S·W and W², of the weights W and hits S. */
const weightAt = methodCount * metricCount

export class ProgressiveEvaluator {
  readonly options: ProgressiveOptions
  readonly #popularity: PopularityRanking
  #examples = 0
  #repeats = 0
  #targets = 0
  readonly #sums = new Float64Array(weightAt + 4)
  readonly #windowSums = new Float64Array(weightAt)
  readonly #window: Uint8Array // [windowTargets, methods]  ranks, a ring; beyond missRank all the same
  readonly #curve: PeriodCurve<ProgressiveMethod>
  #newestMs = 0
  constructor(options: Partial<ProgressiveOptions> = {}) {
    this.options = { ...progressiveDefaults, ...options }
    this.#popularity = new PopularityRanking(this.options.popularityHalfLife, this.options.itemsMax)
    this.#window = new Uint8Array(this.options.windowTargets * methodCount)
    this.#curve = new PeriodCurve(progressiveMethods, this.options.periodTargets)
  }

  /** Targets ranked so far. */
  get targets(): number {
    return this.#targets
  }

  /**
   * Tests the ranked targets of a batch, then counts all of its examples.
   *
   * @param examples in the order in which they are trained on, without replayed ones
   * @param ranks [B] the model's, from before it was trained on the batch: 0 best, −1 not in the sample, `unknownRank`
   *   where the target has no row
   * @param inclusion probability of each example to be in the sample
   * @param withoutMemory [B] as `ranks`; default: the same
   * @param cooccurrence [B] as EvaluationReport has it; default: nothing was counted with any target
   */
  observe(
    examples: readonly Example[],
    ranks: Int32Array,
    {
      inclusion = 1,
      withoutMemory = ranks,
      cooccurrence
    }: Partial<Pick<EvaluationReport, 'inclusion' | 'withoutMemory' | 'cooccurrence'>> = {}
  ): void {
    if (ranks.length < examples.length)
      throw new RangeError(`${examples.length} examples came with ${ranks.length} ranks: give one for each`)
    if (ranks.some((rank) => rank >= 0))
      this.#popularity.refresh(examples.reduce((longest, { history }) => Math.max(longest, history.length), 0))
    const tested = new Uint8Array(methodCount)
    let [hits, ranked] = [0, 0]
    for (const [b, { history, target }] of examples.entries()) {
      this.#examples++
      if (target.eventTimeMs > this.#newestMs) this.#newestMs = target.eventTimeMs
      if (history.some(({ itemId }) => itemId === target.itemId)) this.#repeats++
      else if (ranks[b]! >= 0) {
        tested[0] = Math.min(missRank, ranks[b]!)
        tested[1] = Math.min(missRank, withoutMemory[b]!)
        this.#test(examples[b]!, cooccurrence?.[b] ?? -1, tested)
        this.#record(tested, 1 / inclusion)
        ranked++
        if (tested[0] < 20) hits++
      }
    }
    const [S, W, unsure] = [hits / inclusion, ranked / inclusion, 1 - inclusion]
    if (ranked > 0)
      for (const [i, value] of [W, unsure * S * S, unsure * S * W, unsure * W * W].entries())
        this.#sums[weightAt + i]! += value
    for (const { history, target } of examples) {
      // A user's first step is never a target; the model sees it in the next one's history, and so does this.
      if (history.length === 1) this.#popularity.count(history[0]!.itemId)
      this.#popularity.count(target.itemId)
    }
  }

  /** @param cooccurrence its rank, or −1 − the items that come before those of no count */
  #test({ history, target }: Example, cooccurrence: number, tested: Uint8Array): void {
    tested[2] = this.#popularity.rank(target.itemId, new Set(history.map(({ itemId }) => itemId)))
    // Where the history says nothing of the target popularity follows. Items on both lists count twice.
    tested[3] = Math.min(missRank, cooccurrence >= 0 ? cooccurrence : -1 - cooccurrence + tested[2])
  }

  #record(ranks: Uint8Array, weight: number): void {
    const slot = (this.#targets % this.options.windowTargets) * methodCount
    const full = this.#targets >= this.options.windowTargets
    for (let m = 0; m < methodCount; m++) {
      if (full) addRank(this.#windowSums, m * metricCount, this.#window[slot + m]!, -1)
      this.#window[slot + m] = ranks[m]!
      addRank(this.#windowSums, m * metricCount, ranks[m]!)
      addRank(this.#sums, m * metricCount, ranks[m]!, weight)
    }
    this.#targets++
    this.#curve.add(ranks, this.#examples, this.#newestMs)
  }

  /** Of the last `windowTargets` ranked targets. */
  windowed(method: ProgressiveMethod = 'model'): RankingMetrics {
    const at = progressiveMethods.indexOf(method) * metricCount
    return metricsFrom(this.#windowSums, at, Math.min(this.#targets, this.options.windowTargets))
  }

  report(): ProgressiveReport {
    const [weight, SS, SW, WW] = this.#sums.subarray(weightAt) as unknown as [number, number, number, number]
    const of = (method: ProgressiveMethod) =>
      metricsFrom(this.#sums, progressiveMethods.indexOf(method) * metricCount, weight, this.#targets)
    const model = of('model')
    const hitRate = model['hitRate@20']
    // The variance of a ratio, over independent batches. Rounding may leave less than 0.
    const variance = Math.max(0, SS - 2 * hitRate * SW + hitRate * hitRate * WW)
    return {
      ...model,
      examples: this.#examples,
      evaluatedShare: this.#examples === this.#repeats ? 0 : this.#targets / (this.#examples - this.#repeats),
      standardError: weight === 0 ? 0 : Math.sqrt(variance) / weight,
      repeats: this.#repeats,
      withoutMemory: of('withoutMemory'),
      popularity: of('popularity'),
      cooccurrence: of('cooccurrence'),
      window: {
        model: this.windowed('model'),
        withoutMemory: this.windowed('withoutMemory'),
        popularity: this.windowed('popularity'),
        cooccurrence: this.windowed('cooccurrence')
      },
      curve: this.#curve.points()
    }
  }

  /** The state as it is at this moment, for the trainer's checkpoint. The arrays are to be read once. */
  copy(): ProgressiveCopy {
    const curve = this.#curve.save()
    const own = new Map<string, NamedArray>([
      ['sums', this.#sums.slice()],
      ['window', this.#window.slice()],
      ['curve', curve.values]
    ])
    const popularity = this.#popularity.copy()
    const header: Header = {
      format,
      examples: this.#examples,
      repeats: this.#repeats,
      targets: this.#targets,
      newestMs: this.#newestMs,
      periodTargets: curve.periodTargets,
      options: JSON.stringify(this.options)
    }
    const parts = function* (): Iterable<NamedArrays> {
      yield new Map([...own, ...popularity()])
    }
    return { header: { ...header }, parts: parts() }
  }

  /**
   * Continues where a copy was taken.
   *
   * @returns false, and starts from nothing, if it is of another format or was taken with other options
   * @throws CorruptError if an array is missing or does not fit
   */
  restore(saved: ProgressiveCopy['header'], arrays: NamedArrays): boolean {
    const header = saved as unknown as Header
    if (header.format !== format || header.options !== JSON.stringify(this.options)) return false
    this.#examples = header.examples
    this.#repeats = header.repeats
    this.#targets = header.targets
    this.#newestMs = header.newestMs
    this.#popularity.restore(arrays)
    this.#sums.set(namedArray(arrays, 'sums', Float64Array, this.#sums.length))
    this.#window.set(namedArray(arrays, 'window', Uint8Array, this.#window.length))
    const values = namedArray(arrays, 'curve', Float64Array)
    this.#curve.load({ periodTargets: header.periodTargets, values })
    this.#windowSums.fill(0)
    for (let slot = 0; slot < Math.min(this.#targets, this.options.windowTargets); slot++) {
      for (let m = 0; m < methodCount; m++)
        addRank(this.#windowSums, m * metricCount, this.#window[slot * methodCount + m]!)
    }
    return true
  }
}

/** Of a moment. */
interface ProgressiveCopy {
  /** JSON-able. */
  readonly header: Readonly<Record<string, unknown>>
  /** One, made when it is fetched: counting continues meanwhile. */
  readonly parts: Iterable<NamedArrays>
}

const format = 'progressive/5'
interface Header {
  readonly format: string
  readonly examples: number
  readonly repeats: number
  readonly targets: number
  readonly newestMs: number
  readonly periodTargets: number
  readonly options: string
}
