// What `GET /v1/status` tells: the whole flow in one small answer, for a page that asks every second.

import type { AccountNumbers } from '../../core/account.ts'
import type { IndexState } from '../../index/vectorIndex.ts'

/**
 * What a process knows of the pipeline it runs, or that runs beside it. All counts are since the run's beginning unless
 * they say otherwise.
 */
export interface PipelineNumbers {
  /** Where the events come from, in words. */
  readonly source?: string
  /** What the model is computed with, in words. */
  readonly backend?: string
  /** Newest event time of the stream, milliseconds since the Unix epoch: where its clock stands. */
  readonly newestEventMs?: number
  /** What became of every record that each stage has read, in the order of the flow; `text` says it in words. */
  readonly records?: readonly (AccountNumbers & { readonly text: string })[]
  /** Events of types without a weight, by type: of many types the most frequent. */
  readonly ignoredTypes?: Readonly<Record<string, number>>
  /** Users with a history. */
  readonly users?: number
  readonly stages?: readonly StageNumbers[]
  readonly training?: {
    readonly examplesLearned: number
    readonly batches: number
    readonly batchesDropped: number
    readonly rollbacks: number
    readonly loss: number
    /** Mean cosine between two interests of one user, −1 … 1. */
    readonly intraUserCosine: number
    /** Over the newest targets. */
    readonly recent: QualityNumbers
    /** Over the whole stream, in periods that each stand for themselves. */
    readonly curve: readonly (QualityNumbers & { readonly examples: number; readonly timeMs: number })[]
  }
  /** Empty lists: the reference is still being gathered, and nothing was noticed yet. */
  readonly drift?: {
    /** Population stability index of each watched feature of the input, and from where on it is an alarm. */
    readonly inputs: readonly { readonly feature: string; readonly psi: number; readonly threshold: number }[]
    /** Newest first. */
    readonly detections: readonly {
      readonly signal: string
      readonly detector: string
      readonly value: number
      readonly eventTimeMs: number
    }[]
  }
  /** From the log's taking a click to its user's new vectors being searchable, by this process. */
  readonly freshnessMs?: { readonly p50: number; readonly p99: number }
}

export interface StageNumbers {
  readonly stage: 'sequence' | 'train' | 'publish'
  readonly lagSeconds: number
  /** Records that wait for it. */
  readonly waiting: number
  /** Records that it has worked off. */
  readonly done: number
}

/** Progressive hit rate@20, 0 … 1: targets ranked before they were learned. */
export interface QualityNumbers {
  readonly targets: number
  readonly model: number
  readonly popularity: number
  readonly cooccurrence: number
}

export interface ServiceStatus extends PipelineNumbers {
  /** Of the program. */
  readonly version: string
  readonly nowMs: number
  readonly ready: boolean
  readonly detail: string
  /** null: nothing is published yet, or the index does not answer. */
  readonly index: IndexState | null
  readonly answers: AnswerNumbers
  /** Event types that count; what a click on the page is sent as comes first. */
  readonly eventTypes: readonly string[]
}

export interface AnswerNumbers {
  /** Lists answered by this process. */
  readonly lists: number
  /** Events taken by this process over HTTP. */
  readonly events: number
  /** Of the newest lists, milliseconds; absent before the first. */
  readonly p50Ms?: number
  readonly p99Ms?: number
}

/** Newest lists that the quantiles are taken of: p99 is then the tenth slowest. */
const latenciesMax = 1000

/** Counts the answers of a process, with the times of the newest ones. */
export class AnswerCount {
  readonly #latencies = new Float64Array(latenciesMax) // a ring
  #lists = 0
  #events = 0

  list(ms: number): void {
    this.#latencies[this.#lists++ % latenciesMax] = ms
  }

  events(count: number): void {
    this.#events += count
  }

  numbers(): AnswerNumbers {
    const counted = { lists: this.#lists, events: this.#events }
    if (this.#lists === 0) return counted
    const sorted = this.#latencies.slice(0, Math.min(this.#lists, latenciesMax)).sort()
    const quantile = (q: number) =>
      Math.round(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]! * 100) / 100
    return { ...counted, p50Ms: quantile(0.5), p99Ms: quantile(0.99) }
  }
}
