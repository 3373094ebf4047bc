// The log that everything between click and recommendation is a fold over.

import type { Offsets } from '../core/offsets.ts'

export interface NewRecord {
  /** Decides the partition (murmur2, as Kafka's own clients do) and what compaction keeps. */
  readonly key: Uint8Array
  /** null deletes the key in a compacted topic. */
  readonly value: Uint8Array | null
  readonly headers?: Readonly<Record<string, Uint8Array>>
  /** Instead of the key's hash. */
  readonly partition?: number
}

export interface LogRecord {
  readonly key: Uint8Array
  readonly value: Uint8Array | null
  readonly headers: Readonly<Record<string, Uint8Array>>
  readonly partition: number
  readonly offset: bigint
  /** When the log took it, milliseconds since the Unix epoch. Never goes back within a partition. */
  readonly timestampMs: number
}

export type LogEvent =
  /** Partitions that are now this reader's; their records follow, from what `resume` says. */
  | { readonly kind: 'assigned'; readonly partitions: readonly number[] }
  /**
   * Partitions that are about to be reassigned. The reader commits their state before it requests the next event: only
   * then are they released.
   */
  | { readonly kind: 'revoked'; readonly partitions: readonly number[] }
  /** Records of ONE partition in offset order. `end`: the next offset that the log will give out there, for lag. */
  | {
      readonly kind: 'records'
      readonly partition: number
      readonly records: readonly LogRecord[]
      readonly end: bigint
    }
  /**
   * No records at the moment; repeated several times a second, so that the reader can do what is due by the clock.
   */
  | { readonly kind: 'idle' }

export interface ReadOptions {
  /**
   * The NEXT offset to read in a partition; called when the partition is assigned. Before the log's start means from
   * its start. `committed`: the committed offset of the consumer group, if there is one. Never beyond the offset that
   * the reader has resumed from, so a reader without state of its own may resume there; for all others it is a hint.
   * `reset`: an offset that was set with the tools of the log; the reader continues there.
   */
  readonly resume: (partition: number, committed?: bigint, reset?: bigint) => Promise<bigint>
  readonly signal: AbortSignal
  /** Ends after the last record that was in the log when reading began. Default: follows for ever. */
  readonly untilEnd?: boolean
  /** Group to share the partitions with. Absent: reads all partitions alone. */
  readonly group?: string
  /** Without a `group`: under this name the log shows its tools how far the reader is, where it can. */
  readonly name?: string
}

export interface TopicDescription {
  /** Another after the topic was deleted and created again. Empty where the log does not know. */
  readonly id: string
  readonly partitions: number
}

/**
 * A partitioned, append-only, replayable log of raw records. Kafka in production, a durable local log by default, an
 * array in tests. Offsets ascend within a partition, but not necessarily by one (compaction, transactions).
 */
export interface EventLog {
  /** Ends on abort without throwing. @throws UnavailableError after bounded retries. */
  read(topic: string, options: ReadOptions): AsyncIterable<LogEvent>
  /**
   * Resolves when every record is durable. At least once: a retry may append twice. A fenced (older) owner of `fence`
   * is refused: a member's first append under it claims it in that topic, and one of no records does that alone, on
   * Kafka each time: the new owner of a partition claims it before it reads the log's end.
   *
   * Under a fence a call is atomic: all of its records become readable, or none; and calls are applied in their order.
   * After an append that failed all later ones are refused until the fence is claimed again, so of two that are in
   * flight the second is never in the log without the first.
   */
  append(topic: string, records: readonly NewRecord[], fence?: string): Promise<void>
  /** Next offset that the log will give out, by partition. */
  ends(topic: string): Promise<Offsets>
  describe(topic: string): Promise<TopicDescription>
  close(): Promise<void>
}
