// What is wrong with the log now, for readiness, metrics and people: brokers that do not answer, records that retention
// removed unread, and partitions without a reader.

import type { Clock } from '../core/clock.ts'
import type { MetricsEntry, MetricsReport } from '../monitor/metrics.ts'

/** Records that retention removed before they were read. */
export interface LogGap {
  readonly topic: string
  readonly partition: number
  /** The first offset that was not read, and the one that reading continues at. */
  readonly from: bigint
  readonly to: bigint
}

export interface PartitionLag {
  readonly topic: string
  readonly partition: number
  /** Records, markers of transactions included, before the high watermark that no member of the group has read. */
  readonly records: number
  /** A transaction that was opened and not ended keeps readers from everything behind it. */
  readonly isBlocked: boolean
}

/** Retries of a moment are no outage. */
const graceMs = 3000
/** A transaction that is open for longer is reported: those of this product last some 20 ms. */
const blockedMsMin = 10_000

export class LogHealth {
  readonly #clock: Clock
  readonly #onProblem: (message: string) => void
  readonly #failing = new Map<object, { readonly what: string; readonly sinceMs: number; isReported: boolean }>()
  readonly #skipped = new Map<string, number>()
  readonly #blockedSinceMs = new Map<string, number>()
  #lags: readonly PartitionLag[] = []
  #wasAway = true

  /** @param onProblem called with each outage and each gap, once */
  constructor(clock: Clock, onProblem: (message: string) => void) {
    this.#clock = clock
    this.#onProblem = onProblem
  }

  /** @param source what waits for the brokers @param what that fails, with its error */
  failing(source: object, what: string): void {
    const nowMs = this.#clock.nowMs()
    const known = this.#failing.get(source)
    const failure = { what, sinceMs: known?.sinceMs ?? nowMs, isReported: known?.isReported ?? false }
    this.#failing.set(source, failure)
    if (failure.isReported || nowMs - failure.sinceMs < graceMs) return
    failure.isReported = true
    this.#onProblem(`the brokers do not answer, and are tried again: ${what}`)
  }

  answering(source: object): void {
    this.#failing.delete(source)
  }

  gap({ topic, partition, from, to }: LogGap): void {
    this.#skipped.set(topic, (this.#skipped.get(topic) ?? 0) + Number(to - from))
    this.#onProblem(
      `${topic}, partition ${partition}: offsets ${from} to ${to - 1n} were removed by retention before they were read; reading continues at ${to}. Raise the topic's retention.ms, or the number of processes that read it`
    )
  }

  /** @param lags of every partition of the topics that are read */
  observe(lags: readonly PartitionLag[]): void {
    const nowMs = this.#clock.nowMs()
    this.#lags = lags
    for (const { topic, partition, isBlocked } of lags) {
      const key = `${topic}/${partition}`
      if (!isBlocked) this.#blockedSinceMs.delete(key)
      else if (!this.#blockedSinceMs.has(key)) this.#blockedSinceMs.set(key, nowMs)
    }
  }

  /** Why the stage is not ready; undefined: the brokers answer, and nothing blocks a partition. */
  problem(): string | undefined {
    const nowMs = this.#clock.nowMs()
    for (const { what, sinceMs } of this.#failing.values())
      if (nowMs - sinceMs >= graceMs)
        return `the brokers have not answered for ${Math.round((nowMs - sinceMs) / 1000)} s: ${what}`
    for (const [key, sinceMs] of this.#blockedSinceMs)
      if (nowMs - sinceMs >= blockedMsMin)
        return `${key} is blocked by an open transaction since ${new Date(sinceMs).toISOString()}`
    return undefined
  }

  /** Skipped records since the last call; lag and outage as they are now. */
  takeReport(): MetricsReport {
    const nowMs = this.#clock.nowMs()
    const sinceMs = Math.min(nowMs, ...[...this.#failing.values()].map((failure) => failure.sinceMs))
    const report: MetricsEntry[] = []
    // 0 is reported once: another thread of the process, with a log of its own, may know better.
    if (sinceMs < nowMs || this.#wasAway) report.push({ metric: 'brokersAway', value: (nowMs - sinceMs) / 1000 })
    this.#wasAway = sinceMs < nowMs
    for (const [topic, value] of this.#skipped) report.push({ metric: 'skippedRecords', labels: { topic }, value })
    this.#skipped.clear()
    for (const { topic, partition, records } of this.#lags) {
      const labels = { partition: `${topic}/${partition}` }
      const blockedMs = nowMs - (this.#blockedSinceMs.get(labels.partition) ?? nowMs)
      report.push({ metric: 'partitionLag', labels, value: records })
      report.push({ metric: 'partitionBlocked', labels, value: blockedMs / 1000 })
    }
    return report
  }
}
