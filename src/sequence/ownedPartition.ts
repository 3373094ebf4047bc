// One partition that `sequence` owns: accepts its records, emits what is new, and commits what was acknowledged.

import { type AccountNumbers, accountSince, occurred } from '../core/account.ts'
import { BadEventError, FencedError } from '../core/errors.ts'
import { handledLater } from '../core/promises.ts'
import type { DeadLetters } from '../log/deadLetters.ts'
import { erasedSequence, erasedUser } from '../log/erasure.ts'
import type { LogRecord, NewRecord } from '../log/eventLog.ts'
import type { StageIo } from '../log/stageIo.ts'
import { sourceHeaders } from '../log/userRecords.ts'
import { AccountMeter } from '../monitor/accountMetrics.ts'
import type { MetricsEntry, MetricsReport } from '../monitor/metrics.ts'
import type { StageLogger } from '../monitor/stageLogger.ts'
import { goOnTracing, type TracedStep, tracesOfAll } from '../monitor/tracing.ts'
import { admit, futureProblem, InadmissibleError } from '../records/admission.ts'
import type { UserId } from '../records/interaction.ts'
import { traceHeader } from '../records/traceContext.ts'
import type { UserSequence } from '../records/userSequence.ts'
import { Sequencer } from './sequencer.ts'
import type { SequenceStore } from './sequenceStore.ts'

type RejectedReason = Extract<MetricsEntry, { metric: 'rejected' }>['labels']['reason']

const text = new TextEncoder()
/** The writer of the user-sequences of a partition of interactions claims this. */
export const sequenceFence = (partition: number) => `sequence-${partition}`
/**
 * Emissions of a partition that may await their acknowledgement at once: while one is in flight the next is prepared.
 * More would repeat more after a crash without being faster: the log takes them in turn.
 */
const inFlightMax = 2
/** How often progress is logged. */
const progressMs = 60_000

interface OwnedPartitionParts {
  readonly io: StageIo
  readonly store: SequenceStore
  readonly partition: number
  readonly deadLetters: DeadLetters
  readonly late: DeadLetters
  readonly measure?: ((report: MetricsReport) => void) | undefined
  readonly logger?: StageLogger | undefined
  /** For each record: whether it could be used, and whom it erased. */
  readonly onRecord: (isBad: boolean, erased?: UserId) => void
  /** Sequences that are being appended. */
  readonly onEmit: (sequences: readonly UserSequence[]) => void
  /** They are durable. @param takenAtMs when the log took the newest interaction in them */
  readonly onAcknowledged: (sequences: readonly UserSequence[], takenAtMs: number) => void
  /** An emission failed, and not because of the fence. */
  readonly onFailure: (error: Error) => void
}

/** What the records of one emission were. */
class Emission {
  readonly ignoredTypes = new Map<string, number>()
  readonly reasons = new Map<RejectedReason, number>()
  readonly agesSeconds: number[] = []
  /** Records with a trace that were placed, by offset. */
  readonly traced = new Map<bigint, LogRecord>()
  readonly erasedAt = new Map<UserId, bigint>()
  readonly startMs: number

  constructor(startMs: number) {
    this.startMs = startMs
  }
}

export class OwnedPartition {
  readonly store: SequenceStore
  readonly sequencer: Sequencer
  readonly #parts: OwnedPartitionParts
  readonly #meter: AccountMeter<'sequence'>
  /** Added to the topic's offsets. */
  readonly #base: bigint
  /** The next offset to accept. */
  #next: bigint
  #emitted: bigint
  /** Oldest first; each is removed as it is acknowledged, and stays if it fails. */
  readonly #inFlight: Promise<void>[] = []
  #lastCommitMs: number
  #isDirty = false
  #fenced: { readonly error: FencedError; readonly atMs: number } | undefined
  /** What was logged last. */
  #logged: { next: bigint; atMs: number; account: AccountNumbers<'sequence'> }

  constructor(parts: OwnedPartitionParts) {
    const { io, store, partition } = parts
    const { config } = io
    this.#parts = parts
    this.store = store
    this.#base = store.source?.base ?? 0n
    this.sequencer = new Sequencer({ store, partition, options: config.sequence, eventTypes: config.events.types })
    this.#next = store.committed()
    this.#emitted = this.#next
    this.#lastCommitMs = io.clock.nowMs()
    const { account } = this.sequencer.report()
    this.#logged = { next: this.#next, atMs: this.#lastCommitMs, account }
    this.#meter = new AccountMeter(account)
  }

  /** Of the topic: everything before it has been emitted, and the emission acknowledged. */
  get emitted(): bigint {
    return this.#emitted - this.#base
  }

  /** Whether something was accepted that is not committed. */
  get isDirty(): boolean {
    return this.#isDirty
  }

  /** Set once an append was refused: nothing more is accepted or committed. */
  get fenced(): { readonly error: FencedError; readonly atMs: number } | undefined {
    return this.#fenced
  }

  async take(records: readonly LogRecord[]): Promise<void> {
    const { emitEventsMax } = this.#parts.io.config.sequence
    for (let at = 0; at < records.length; at += emitEventsMax) {
      if (!(await this.#drained(inFlightMax - 1))) return
      this.#emit(records.slice(at, at + emitEventsMax))
      await this.commitIfDue(false)
    }
  }

  /** @param now also before the commit interval is over */
  async commitIfDue(now: boolean): Promise<void> {
    const { io, measure } = this.#parts
    const { clock, config } = io
    if (!this.#isDirty || (!now && clock.nowMs() - this.#lastCommitMs < config.sequence.commitIntervalMs)) return
    // Only what is acknowledged is committed.
    if (!(await this.#drained(0))) return
    const startedMs = clock.nowMs()
    await this.sequencer.commit(this.#emitted)
    this.#lastCommitMs = clock.nowMs()
    this.#isDirty = false
    measure?.([{ metric: 'commitSeconds', value: (this.#lastCommitMs - startedMs) / 1000 }])
    if (this.#lastCommitMs - this.#logged.atMs >= progressMs) this.#logProgress()
  }

  /** @param commit false after an error: what was accepted may not have been emitted */
  async close(commit: boolean): Promise<void> {
    if (commit) {
      await this.commitIfDue(true)
      this.#logProgress()
    }
    await Promise.allSettled(this.#inFlight)
    await this.store.close()
  }

  /**
   * Accepts some records and appends what is new to the log. The state is committed later, when that is acknowledged: a
   * crash in between repeats, never loses. The log keeps the order of the calls for each topic, so a user's records stay
   * in order though several emissions are in flight.
   */
  #emit(records: readonly LogRecord[]): void {
    const { io, partition, deadLetters, late, measure, onEmit, onAcknowledged, onFailure } = this.#parts
    const { log, codecs, config, clock } = io
    const emission = new Emission(clock.nowMs())
    for (const record of records) this.#accept(record, emission)
    this.#isDirty = true
    const { sequences, expired, erased } = this.sequencer.take()
    const steps: TracedStep[] = []
    // Erasures first: what is in the sequences came after.
    const changes: NewRecord[] = erased.map((userId) =>
      erasedSequence(userId, partition, emission.erasedAt.get(userId)!)
    )
    for (const sequence of sequences) {
      const step = this.#trace(sequence, emission)
      if (step !== undefined) steps.push(step)
      const value = codecs.userSequence.encode(sequence)
      changes.push({ key: text.encode(sequence.userId), value, partition, ...step?.carried })
    }
    for (const userId of expired) changes.push({ key: text.encode(userId), value: null, partition })
    const { headers } = sourceHeaders(this.store.source)
    if (headers !== undefined)
      for (const [i, change] of changes.entries())
        changes[i] = { ...change, headers: { ...change.headers, ...headers } }
    onEmit(sequences)
    const appends = [handledLater(deadLetters.flush()), handledLater(late.flush())]
    if (changes.length > 0)
      appends.push(handledLater(log.append(config.topics.userSequences, changes, sequenceFence(partition))))
    const next = this.#next
    const takenAtMs = records.at(-1)!.timestampMs
    const report: MetricsReport = [
      ...this.#meter.entries(this.sequencer.report().account),
      ...[...emission.ignoredTypes].map(
        ([type, value]): MetricsEntry => ({ metric: 'ignoredEvents', labels: { type }, value })
      ),
      ...[...emission.reasons].map(
        ([reason, value]): MetricsEntry => ({ metric: 'rejected', labels: { reason }, value })
      ),
      { metric: 'eventAge', values: emission.agesSeconds },
      { metric: 'expiredUsers', value: expired.length },
      { metric: 'erasedUsers', value: erased.length }
    ]
    // Acknowledged only when those before it are: what is committed has no gap.
    const sent = handledLater(
      Promise.all([this.#inFlight.at(-1), ...appends]).then(() => {
        void this.#inFlight.shift()
        this.#emitted = next
        for (const step of steps) step.end()
        onAcknowledged(sequences, takenAtMs)
        measure?.(report)
      })
    )
    sent.catch((error: Error) => {
      if (error instanceof FencedError) this.#fenced ??= { error, atMs: clock.nowMs() }
      else onFailure(error)
    })
    this.#inFlight.push(sent)
  }

  /** A record that cannot be used becomes a dead letter with the emission. */
  #accept(record: LogRecord, emission: Emission): void {
    const { io, deadLetters, late, onRecord } = this.#parts
    const { codecs, config } = io
    const { timestampMs } = record
    const offset = record.offset + this.#base
    this.#next = offset + 1n
    let reason: RejectedReason = 'other'
    try {
      const erased = erasedUser(record)
      if (erased !== undefined) {
        this.sequencer.erase(erased, offset)
        emission.erasedAt.set(erased, offset)
        onRecord(false, erased)
        return
      }
      reason = record.value === null ? 'missing' : 'decode'
      if (record.value === null)
        throw new BadEventError("the record has no value, which would erase a user, but its key is not a user's ID")
      const interaction = codecs.interaction.decode(record.value)
      reason = 'future'
      admit(futureProblem(interaction, timestampMs, config.events.futureMaxMs))
      reason = 'other'
      const outcome = this.sequencer.accept(interaction, offset, timestampMs)
      if (outcome === 'late')
        late.add(record, new BadEventError('late: older than the grace against the newest event of its user'))
      if (outcome === 'ignored') increment(emission.ignoredTypes, interaction.type)
      if (outcome === 'placed') {
        emission.agesSeconds.push(Math.max(0, timestampMs - interaction.eventTimeMs) / 1000)
        if (config.trace.enabled && record.headers[traceHeader] !== undefined) emission.traced.set(offset, record)
      }
      onRecord(false)
    } catch (error) {
      if (!(error instanceof BadEventError)) throw error
      if (reason === 'decode' && error instanceof InadmissibleError) reason = 'invalid'
      this.sequencer.reject(offset)
      increment(emission.reasons, reason)
      deadLetters.add(record, error)
      onRecord(true)
    }
  }

  /** A record answers all of its fresh steps: the trace of the newest continues, those of the others are linked. */
  #trace({ fresh }: UserSequence, { traced, startMs }: Emission): TracedStep | undefined {
    if (traced.size === 0) return undefined
    const { io, partition, logger } = this.#parts
    const { config } = io
    const offsets = fresh.map(({ offset }) => offset).sort((a, b) => (a < b ? -1 : 1))
    const records = offsets.map((offset) => traced.get(offset)).filter((record) => record !== undefined)
    const traces = tracesOfAll(config, records)
    if (traces === undefined) return undefined
    const step = goOnTracing(config, 'mtmi sequence', { kind: 'consumer', traces, startMs, attributes: { partition } })
    const [from, to] = [offsets[0]! - this.#base, offsets.at(-1)! + 1n - this.#base]
    const range = { topic: config.topics.interactions, partition, from, to }
    logger?.info({ ...range, ...step.fields }, 'placed in a window')
    return step
  }

  /** Waits until at most `left` emissions are in flight. @returns false if one was refused */
  async #drained(left: number): Promise<boolean> {
    while (this.#inFlight.length > left && this.#fenced === undefined) {
      await this.#inFlight[0]!.catch((error: unknown) => {
        if (!(error instanceof FencedError)) throw error
      })
    }
    return this.#fenced === undefined
  }

  #logProgress(): void {
    const { io, partition, logger } = this.#parts
    const before = this.#logged
    const { account } = this.sequencer.report()
    this.#logged = { next: this.#next, atMs: io.clock.nowMs(), account }
    if (this.#next === before.next) return
    const since = accountSince(account, before.account)
    const outcomes = Object.fromEntries(occurred(since).map(({ outcome, count }) => [outcome, count]))
    const [from, to] = [before.next - this.#base, this.#next - this.#base]
    const range = { topic: io.config.topics.interactions, partition, from, to }
    logger?.info({ ...range, read: since.read, ...outcomes }, `partition ${partition} sequenced to ${to}`)
  }
}

function increment<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}
