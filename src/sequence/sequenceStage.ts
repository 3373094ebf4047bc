// interactions → user-sequences: decode, validate, place each step in its user's window, emit, and make state and
// offset durable together.

import { type AccountNumbers, accountSince, occurred, sumAccounts } from '../core/account.ts'
import { BadEventError, FencedError, MtmiError } from '../core/errors.ts'
import { handledLater } from '../core/promises.ts'
import { TopCounts, type TopCountsState } from '../core/topCounts.ts'
import type { CatalogueReader } from '../log/catalogueReader.ts'
import { deadLetterTopic } from '../log/deadLetter.ts'
import { DeadLetters } from '../log/deadLetters.ts'
import { erasedSequence, erasedUser } from '../log/erasure.ts'
import type { LogRecord, NewRecord } from '../log/eventLog.ts'
import { stageDeadLetters } from '../log/followTopic.ts'
import type { StageIo } from '../log/stageIo.ts'
import { AccountMeter } from '../monitor/accountMetrics.ts'
import type { DriftWatch } from '../monitor/driftWatch.ts'
import type { MetricsEntry, MetricsReport } from '../monitor/metrics.ts'
import type { StageLogger } from '../monitor/stageLogger.ts'
import { goOnTracing, type TracedStep, tracesOfAll } from '../monitor/tracing.ts'
import { admit, futureProblem, InadmissibleError } from '../records/admission.ts'
import type { Codecs } from '../records/avro/avroCodecs.ts'
import type { Interaction, UserId } from '../records/interaction.ts'
import { loadSchemas } from '../records/registry/schemaRegistry.ts'
import { traceHeader } from '../records/traceContext.ts'
import type { SequenceStep, UserSequence } from '../records/userSequence.ts'
import { ignoredTypesMax, Sequencer } from './sequencer.ts'
import type { SequenceStore } from './sequenceStore.ts'

type RejectedReason = Extract<MetricsEntry, { metric: 'rejected' }>['labels']['reason']

const app = 'mtmi'
const text = new TextEncoder()
/** Whoever writes the user-sequences of a partition of interactions claims this. */
export const sequenceFence = (partition: number) => `sequence-${partition}`
/**
 * Emissions of a partition that may await their acknowledgement at once: while one is on its way the next is made
 * ready. With more, a crash would repeat more and nothing would be faster: the log takes them in turn.
 */
const inFlightMax = 2
/** How many of the newest events the share of bad ones is taken over. */
const badWindow = 1000
/** Users remembered as the ones who acted last. */
const newestUsersMax = 100
/** Looking for a user to show must not take seconds where there are millions. */
const usersLookedAtMax = 100_000
/** A partition whose fence another process holds is given up by then, or the stage begins again. */
const fencedMsMax = 30_000
/** How often the log is told how far a partition is. */
const tellMs = 60_000

/** Of all partitions that are owned, what earlier processes did with them included. */
export interface SequenceStatus {
  readonly account: AccountNumbers<'sequence'>
  readonly ignoredTypes: TopCountsState
  /**
   * Event ids dropped within the grace for want of room (`sequence.recentMax`): a repeat of one may have been taken for
   * a new event.
   */
  readonly forgottenIds: number
  readonly users: number
  /** Records read by this process alone. */
  readonly readThisTime: number
}

export interface SequenceStageOptions extends StageIo {
  readonly openStore: (partition: number) => Promise<SequenceStore>
  readonly measure?: (report: MetricsReport) => void
  readonly logger?: StageLogger
  /** Is shown everything that is emitted. */
  readonly drift?: DriftWatch
  /** Of the thread; read while the stage runs. */
  readonly catalogue?: CatalogueReader
}

interface Owned {
  readonly partition: number
  readonly store: SequenceStore
  readonly sequencer: Sequencer
  /** The next offset to accept. */
  next: bigint
  /** Everything before it has been emitted, and the emission acknowledged. */
  emitted: bigint
  /** Oldest first; emptied as they are acknowledged, and left as it is by one that fails. */
  readonly inFlight: Promise<void>[]
  lastCommitMs: number
  dirty: boolean
  /** Set once an append was refused: nothing more is taken or committed. */
  fenced?: { readonly error: FencedError; readonly atMs: number }
  /** What the log has been told of. */
  told: { next: bigint; atMs: number; account: AccountNumbers<'sequence'> }
  readonly meter: AccountMeter<'sequence'>
}

export class SequenceStage {
  readonly #options: SequenceStageOptions
  readonly #owned = new Map<number, Owned>()
  readonly #deadLetters: DeadLetters
  readonly #late: DeadLetters
  readonly #recent: boolean[] = []
  #bad = 0
  /** The one who acted last is at the end. */
  readonly #newest = new Set<UserId>()
  /** When the log took the newest interaction that was sequenced, milliseconds; 0 before the first. */
  takenAtMs = 0
  #readThisTime = 0
  #draining = false
  /** What an emission has failed with. */
  #failure: Error | undefined

  constructor(options: SequenceStageOptions) {
    this.#options = options
    const { log, config, measure, logger } = options
    const topic = config.topics.interactions
    this.#deadLetters = stageDeadLetters(options, { stage: 'sequence', topic, resumes: true, measure, logger })
    this.#late = new DeadLetters({ log, topic, stage: 'sequence', to: lateTopic(topic), resumes: true })
  }

  /** Until abort; then everything accepted is emitted and committed. */
  async run(signal: AbortSignal): Promise<void> {
    const own = new AbortController()
    const both = AbortSignal.any([signal, own.signal])
    // A stage that no longer hears of the catalogue ends.
    const following = handledLater(
      (this.#options.catalogue?.follow(both) ?? Promise.resolve()).catch((error: unknown) => {
        own.abort()
        throw error
      })
    )
    try {
      while (!(await this.#readUntilFenced(both)));
    } finally {
      own.abort()
      this.#options.drift?.save()
    }
    await following
  }

  /** @returns false where the outcome of an append is not known: then the stage begins again from what the log says */
  async #readUntilFenced(signal: AbortSignal): Promise<boolean> {
    const { log, config, logger } = this.#options
    let whole = false
    try {
      const events = log.read(config.topics.interactions, {
        resume: (partition) => this.#open(partition),
        signal,
        group: `${app}-sequence`
      })
      for await (const event of events) {
        if (this.#failure !== undefined) throw this.#failure
        if (event.kind === 'assigned') for (const letters of [this.#deadLetters, this.#late]) letters.reassigned()
        else if (event.kind === 'records') await this.#take(event.partition, event.records)
        else if (event.kind === 'idle')
          for (const owned of this.#owned.values()) await this.#commitDue(owned, this.#draining)
        else if (event.kind === 'revoked') for (const partition of event.partitions) await this.#giveUp(partition, true)
        this.#checkFences()
      }
      whole = true
      return true
    } catch (error) {
      if (!(error instanceof FencedError)) throw error
      logger?.warn({ topic: config.topics.interactions, reason: error.message }, 'begins again from what the log says')
      return false
    } finally {
      // After an error what was accepted may not have been emitted: then it must not be committed either.
      for (const partition of [...this.#owned.keys()]) await this.#giveUp(partition, whole)
    }
  }

  /**
   * A partition with a newer owner is about to be revoked. @throws FencedError for one that nobody else has claimed, or
   * that is not revoked
   */
  #checkFences(): void {
    for (const { fenced } of this.#owned.values()) {
      if (fenced === undefined) continue
      const waitedMs = this.#options.clock.nowMs() - fenced.atMs
      if (!fenced.error.hasNewerOwner || waitedMs > fencedMsMax) throw fenced.error
    }
  }

  /** While on, state is committed whenever nothing is left to read. */
  drain(on: boolean): void {
    this.#draining = on
  }

  /** Whether everything taken in is durable. */
  get committed(): boolean {
    return [...this.#owned.values()].every(({ dirty }) => !dirty)
  }

  /** Next offset to read, by partition; what lies before it is emitted. */
  consumed(): Map<number, bigint> {
    return new Map([...this.#owned].map(([partition, owned]) => [partition, owned.emitted]))
  }

  status(): SequenceStatus {
    const reports = [...this.#owned.values()].map(({ sequencer, store }) => ({
      ...sequencer.report(),
      users: store.userCount()
    }))
    const ignored = new TopCounts(ignoredTypesMax)
    for (const { ignoredTypes } of reports) ignored.merge(ignoredTypes)
    const sum = (of: (report: (typeof reports)[number]) => number) =>
      reports.reduce((total, report) => total + of(report), 0)
    return {
      account: sumAccounts(
        'sequence',
        reports.map(({ account }) => account)
      ),
      ignoredTypes: ignored.state(),
      forgottenIds: sum(({ forgotten }) => forgotten),
      users: sum(({ users }) => users),
      readThisTime: this.#readThisTime
    }
  }

  /**
   * Of the first users of each partition that are looked at: the one whose newest event is the newest, with at least
   * `stepsMin` steps.
   */
  newestUser(stepsMin: number): { userId: UserId; steps: readonly SequenceStep[] } | undefined {
    let newest: { userId: UserId; steps: readonly SequenceStep[]; newestMs: number } | undefined
    for (const { store } of this.#owned.values()) {
      let looked = 0
      for (const [userId, { steps, newestMs }] of store.users()) {
        if (steps.length >= stepsMin && newestMs > (newest?.newestMs ?? -1)) newest = { userId, steps, newestMs }
        if (++looked >= usersLookedAtMax) break
      }
    }
    return newest
  }

  /** Up to `limit` users whose events this process took last, newest first. */
  newestUsers(limit: number): UserId[] {
    return [...this.#newest].reverse().slice(0, limit)
  }

  /** Newest event time of a counted type, milliseconds since the Unix epoch; 0 before the first. */
  watermarkMs(): number {
    let newestMs = 0
    for (const { sequencer } of this.#owned.values()) newestMs = Math.max(newestMs, sequencer.watermarkMs)
    return newestMs
  }

  async #open(partition: number): Promise<bigint> {
    const { config, clock } = this.#options
    const store = await this.#options.openStore(partition)
    const sequencer = new Sequencer({ store, partition, options: config.sequence, eventTypes: config.events.types })
    const next = store.committed()
    const nowMs = clock.nowMs()
    const { account } = sequencer.report()
    const told = { next, atMs: nowMs, account }
    const meter = new AccountMeter(account)
    const begun = { next, emitted: next, inFlight: [], lastCommitMs: nowMs, dirty: false }
    this.#owned.set(partition, { partition, store, sequencer, ...begun, told, meter })
    this.#options.logger?.info(
      { topic: config.topics.interactions, partition, from: next },
      `partition ${partition} is ours, from offset ${next}`
    )
    return next
  }

  async #take(partition: number, records: readonly LogRecord[]): Promise<void> {
    const owned = this.#owned.get(partition)
    if (owned === undefined) throw new Error(`records of partition ${partition}, which is not owned`)
    if (owned.fenced !== undefined) return
    await loadSchemas(this.#options.registry, records)
    const slice = this.#options.config.sequence.emitEventsMax
    for (let at = 0; at < records.length; at += slice) {
      if (!(await drained(owned, inFlightMax - 1))) return
      this.#emit(owned, partition, records.slice(at, at + slice))
      await this.#commitDue(owned, false)
    }
  }

  /**
   * Accepts some records and appends what came of them to the log. The state is committed later, when that is
   * acknowledged: a crash in between repeats, never loses. The log keeps the order of the calls for each topic, so a
   * user's records stay in order though several emissions are on their way.
   */
  #emit(owned: Owned, partition: number, records: readonly LogRecord[]): void {
    const { log, codecs, config } = this.#options
    this.#readThisTime += records.length
    const ignoredTypes = new Map<string, number>()
    const reasons = new Map<RejectedReason, number>()
    const agesSeconds: number[] = []
    const traced = new Map<bigint, LogRecord>()
    const erasedAt = new Map<UserId, bigint>()
    const startMs = this.#options.clock.nowMs()
    for (const record of records) {
      let reason: RejectedReason = 'other'
      try {
        const erased = erasedUser(record)
        if (erased !== undefined) {
          owned.sequencer.erase(erased, record.offset)
          erasedAt.set(erased, record.offset)
          this.#newest.delete(erased)
          this.#judge(false)
          owned.next = record.offset + 1n
          continue
        }
        reason = record.value === null ? 'missing' : 'decode'
        const interaction = decode(codecs, record)
        reason = 'future'
        admit(futureProblem(interaction, record.timestampMs, config.events.futureMaxMs))
        reason = 'other'
        const outcome = owned.sequencer.accept(interaction, record.offset, record.timestampMs)
        if (outcome === 'late')
          this.#late.add(record, new BadEventError('late: older than the grace against the newest event of its user'))
        if (outcome === 'placed' && config.trace.enabled && record.headers[traceHeader] !== undefined)
          traced.set(record.offset, record)
        if (outcome === 'ignored') ignoredTypes.set(interaction.type, (ignoredTypes.get(interaction.type) ?? 0) + 1)
        if (outcome === 'placed') agesSeconds.push(Math.max(0, record.timestampMs - interaction.eventTimeMs) / 1000)
        this.#judge(false)
      } catch (error) {
        if (!(error instanceof BadEventError)) throw error
        if (reason === 'decode' && error instanceof InadmissibleError) reason = 'invalid'
        owned.sequencer.reject(record.offset)
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
        this.#deadLetters.add(record, error)
        this.#judge(true)
      }
      owned.next = record.offset + 1n
    }
    owned.dirty = true
    const takenAtMs = records.at(-1)?.timestampMs ?? this.takenAtMs
    const { sequences, expired, erased } = owned.sequencer.take()
    const steps: TracedStep[] = []
    const changes: NewRecord[] = erased.map((userId) => erasedSequence(userId, partition, erasedAt.get(userId)!))
    for (const sequence of sequences) {
      const step = this.#trace(sequence, traced, startMs)
      if (step !== undefined) steps.push(step)
      changes.push({
        key: text.encode(sequence.userId),
        value: codecs.userSequence.encode(sequence),
        partition,
        ...step?.carried
      })
    }
    for (const { userId } of sequences) {
      this.#newest.delete(userId)
      this.#newest.add(userId)
    }
    for (const userId of this.#newest) {
      if (this.#newest.size <= newestUsersMax) break
      this.#newest.delete(userId)
    }
    for (const userId of expired) changes.push({ key: text.encode(userId), value: null, partition })
    const appends = [handledLater(this.#deadLetters.flush()), handledLater(this.#late.flush())]
    if (changes.length > 0)
      appends.push(handledLater(log.append(config.topics.userSequences, changes, sequenceFence(partition))))
    const { next } = owned
    const report: MetricsReport = [
      ...owned.meter.entries(owned.sequencer.report().account),
      ...[...ignoredTypes].map(([type, value]): MetricsEntry => ({ metric: 'ignoredEvents', labels: { type }, value })),
      ...[...reasons].map(([reason, value]): MetricsEntry => ({ metric: 'rejected', labels: { reason }, value })),
      { metric: 'eventAge', values: agesSeconds },
      { metric: 'sequences', value: sequences.length },
      { metric: 'expiredUsers', value: expired.length },
      { metric: 'erasedUsers', value: erased.length }
    ]
    // Acknowledged only when those before it are: what is committed has no gap.
    const before = owned.inFlight.at(-1)
    const sent = handledLater(
      Promise.all([before, ...appends]).then(() => {
        void owned.inFlight.shift()
        owned.emitted = next
        this.takenAtMs = takenAtMs
        for (const step of steps) step.end()
        this.#options.drift?.observe(sequences)
        this.#options.measure?.(report)
      })
    )
    // Met by whoever waits for room or for the commit, or else at the next event.
    sent.catch((error: Error) => {
      if (error instanceof FencedError) owned.fenced ??= { error, atMs: this.#options.clock.nowMs() }
      else this.#failure ??= error
    })
    owned.inFlight.push(sent)
  }

  /** A record answers all of its fresh steps: the trace of the newest goes on, those of the others are linked. */
  #trace(
    { fresh, partition }: UserSequence,
    traced: ReadonlyMap<bigint, LogRecord>,
    startMs: number
  ): TracedStep | undefined {
    if (traced.size === 0) return undefined
    const offsets = fresh.map(({ offset }) => offset).sort((a, b) => (a < b ? -1 : 1))
    const { config } = this.#options
    const records = offsets.map((offset) => traced.get(offset)).filter((record) => record !== undefined)
    const traces = tracesOfAll(config, records)
    if (traces === undefined) return undefined
    const step = goOnTracing(config, 'mtmi sequence', { kind: 'consumer', traces, startMs, attributes: { partition } })
    const range = { topic: config.topics.interactions, partition, from: offsets[0]!, to: offsets.at(-1)! + 1n }
    this.#options.logger?.info({ ...range, ...step.fields }, 'placed in a history')
    return step
  }

  async #commitDue(owned: Owned, now: boolean): Promise<void> {
    const { clock, config } = this.#options
    if (!owned.dirty || (!now && clock.nowMs() - owned.lastCommitMs < config.sequence.commitIntervalMs)) return
    // Only what is acknowledged is committed.
    if (!(await drained(owned, 0))) return
    const startedMs = clock.nowMs()
    await owned.sequencer.commit(owned.emitted)
    owned.lastCommitMs = clock.nowMs()
    owned.dirty = false
    this.#options.measure?.([{ metric: 'commitSeconds', value: (owned.lastCommitMs - startedMs) / 1000 }])
    if (owned.lastCommitMs - owned.told.atMs >= tellMs) this.#tell(owned)
  }

  #tell(owned: Owned): void {
    const { logger, config, clock } = this.#options
    const { told, partition, next } = owned
    const { account } = owned.sequencer.report()
    owned.told = { next, atMs: clock.nowMs(), account }
    if (next === told.next) return
    const since = accountSince(account, told.account)
    const done = {
      read: since.read,
      ...Object.fromEntries(occurred(since).map(({ outcome, count }) => [outcome, count]))
    }
    logger?.info(
      { topic: config.topics.interactions, partition, from: told.next, to: next, ...done },
      `partition ${partition} sequenced to ${next}`
    )
  }

  async #giveUp(partition: number, commit: boolean): Promise<void> {
    const owned = this.#owned.get(partition)
    if (owned === undefined) return
    this.#owned.delete(partition)
    if (commit) {
      await this.#commitDue(owned, true)
      this.#tell(owned)
    }
    await Promise.allSettled(owned.inFlight)
    await owned.store.close()
  }

  /**
   * Stops where most of what arrives is bad: then it is our schema that is wrong, and the stream would end up among the
   * dead letters.
   */
  #judge(bad: boolean): void {
    this.#recent.push(bad)
    if (bad) this.#bad++
    if (this.#recent.length <= badWindow) return
    if (this.#recent.shift()) this.#bad--
    const shareMax = this.#options.config.events.badShareMax
    if (this.#bad / badWindow > shareMax)
      throw new MtmiError(
        'BAD_EVENT',
        `${this.#bad} of the last ${badWindow} records of ${this.#options.config.topics.interactions} were refused (events.badShareMax ${shareMax}): ` +
          `look at ${deadLetterTopic(this.#options.config.topics.interactions, app)}; nothing was lost`
      )
  }
}

export function lateTopic(topic: string): string {
  return `${topic}.${app}.late`
}

/** Waits until at most `left` emissions are on their way. @returns false if one was refused */
async function drained(owned: Owned, left: number): Promise<boolean> {
  while (owned.inFlight.length > left && owned.fenced === undefined) {
    await owned.inFlight[0]!.catch((error: unknown) => {
      if (!(error instanceof FencedError)) throw error
    })
  }
  return owned.fenced === undefined
}

function decode(codecs: Codecs, record: LogRecord): Interaction {
  if (record.value === null)
    throw new BadEventError("the record has no value, which would erase a user, but its key is no user's id")
  return codecs.interaction.decode(record.value)
}
