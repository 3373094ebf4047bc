// A metric over the stream in some fifty points, however long the stream turns out to be.

import { addRank, metricCount, metricsFrom, type RankingMetrics } from './rankingMetrics.ts'

export interface CurvePoint<Method extends string> {
  /** Examples seen by the end of the period, not evaluated and repeated ones included: where on the stream it lies. */
  readonly examples: number
  /** Newest event time of a target by then, milliseconds since the Unix epoch. */
  readonly timeMs: number
  /** Of the period alone. */
  readonly metrics: Readonly<Record<Method, RankingMetrics>>
}

/** When so many periods are full, neighbours are merged in pairs: 32 to 64 points from then on. */
const periodsMax = 64

export class PeriodCurve<Method extends string> {
  readonly #methods: readonly Method[]
  /** Numbers of a period: targets, examples, timeMs, then the sums of each method. */
  readonly #width: number
  #periodTargets: number
  #periods: Float64Array[] = [] // the last one is being filled

  /** @param periodTargets targets in a period at first */
  constructor(methods: readonly Method[], periodTargets: number) {
    this.#methods = methods
    this.#width = 3 + methods.length * metricCount
    this.#periodTargets = periodTargets
  }

  /** @param ranks one per method */
  add(ranks: ArrayLike<number>, examples: number, timeMs: number): void {
    let period = this.#periods.at(-1)
    if (period === undefined || period[0]! >= this.#periodTargets) {
      if (this.#periods.length === periodsMax) this.#merge()
      period = new Float64Array(this.#width)
      this.#periods.push(period)
    }
    period[0] = period[0]! + 1
    period[1] = examples
    period[2] = Math.max(timeMs, period[2]!, this.#periods.at(-2)?.[2] ?? 0)
    for (let m = 0; m < this.#methods.length; m++) addRank(period, 3 + m * metricCount, ranks[m]!)
  }

  #merge(): void {
    this.#periods = Array.from({ length: periodsMax / 2 }, (_, i) => {
      const [a, b] = [this.#periods[2 * i]!, this.#periods[2 * i + 1]!]
      return a.map((value, at) => (at === 1 || at === 2 ? b[at]! : value + b[at]!))
    })
    this.#periodTargets *= 2
  }

  /** Full periods; the last, unfinished one only if it is at least half full, so that no point is mere noise. */
  points(): CurvePoint<Method>[] {
    return this.#periods
      .filter((period) => period[0]! * 2 >= this.#periodTargets)
      .map((period) => ({
        examples: period[1]!,
        timeMs: period[2]!,
        metrics: Object.fromEntries(
          this.#methods.map((method, m) => [method, metricsFrom(period, 3 + m * metricCount, period[0]!)])
        ) as unknown as Record<Method, RankingMetrics>
      }))
  }

  save(): { periodTargets: number; values: Float64Array } {
    const values = new Float64Array(this.#periods.length * this.#width)
    this.#periods.forEach((period, i) => {
      values.set(period, i * this.#width)
    })
    return { periodTargets: this.#periodTargets, values }
  }

  load(saved: { periodTargets: number; values: Float64Array }): void {
    this.#periodTargets = saved.periodTargets
    this.#periods = Array.from({ length: saved.values.length / this.#width }, (_, i) =>
      saved.values.slice(i * this.#width, (i + 1) * this.#width)
    )
  }
}
