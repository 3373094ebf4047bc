// interactions → user-sequences: decodes, validates, places each step in its user's window, emits, and commits state and
// offset together. What happens in one partition is in ownedPartition.ts.

import { type AccountNumbers, sumAccounts } from '../core/account.ts'
import { runTogether } from '../core/backgroundTasks.ts'
import { FencedError, MtmiError } from '../core/errors.ts'
import { TopCounts, type TopCountsState } from '../core/topCounts.ts'
import { BadShare, badWindow } from '../log/badShare.ts'
import type { CatalogueReader } from '../log/catalogueReader.ts'
import { deadLetterTopic } from '../log/deadLetter.ts'
import { DeadLetters } from '../log/deadLetters.ts'
import type { LogRecord } from '../log/eventLog.ts'
import { stageDeadLetters } from '../log/followTopic.ts'
import type { StageIo } from '../log/stageIo.ts'
import type { DriftWatch } from '../monitor/driftWatch.ts'
import type { MetricsReport } from '../monitor/metrics.ts'
import type { StageLogger } from '../monitor/stageLogger.ts'
import type { UserId } from '../records/interaction.ts'
import { loadSchemas } from '../records/registry/schemaRegistry.ts'
import type { SequenceStep, UserSequence } from '../records/userSequence.ts'
import { OwnedPartition, sequenceFence } from './ownedPartition.ts'
import { ignoredTypesMax } from './sequencer.ts'
import type { SequenceStore } from './sequenceStore.ts'

const app = 'mtmi'
/** Users remembered as the ones who acted last. */
const newestUsersMax = 100
/** Finding a user to show must not take seconds where there are millions. */
const usersScannedMax = 100_000
/** A partition whose fence another process holds is given up within this, or the stage restarts. */
const fencedMsMax = 30_000

/** Of all owned partitions, with what earlier processes did. */
export interface SequenceStatus {
  readonly account: AccountNumbers<'sequence'>
  readonly ignoredTypes: TopCountsState
  /**
   * Event IDs dropped within the grace because a user had too many (`sequence.recentMax`): a repeat of one may have been taken for
   * a new event.
   */
  readonly forgottenIds: number
  readonly users: number
  /** Records read by this process. */
  readonly readThisTime: number
}

interface SequenceStageOptions extends StageIo {
  /** @param reset offset of the topic that tools have set: read on from there */
  readonly openStore: (partition: number, reset?: bigint) => Promise<SequenceStore>
  readonly measure?: (report: MetricsReport) => void
  readonly logger?: StageLogger
  /** Observes everything that is emitted. */
  readonly drift?: DriftWatch
  /** Of the thread; read while the stage runs. */
  readonly catalogue?: CatalogueReader
}

export class SequenceStage {
  readonly #options: SequenceStageOptions
  readonly #owned = new Map<number, OwnedPartition>()
  readonly #deadLetters: DeadLetters
  readonly #late: DeadLetters
  readonly #badShare: BadShare
  /** The one who acted last is at the end. */
  readonly #newest = new Set<UserId>()
  /** When the log took the newest interaction that was sequenced, milliseconds; 0 before the first. */
  takenAtMs = 0
  #readThisTime = 0
  /** An append has failed: its fence refuses all others until it is claimed again. */
  #claims = false
  #draining = false
  /** Of an emission. */
  #failure: Error | undefined

  constructor(options: SequenceStageOptions) {
    this.#options = options
    const { log, config, measure, logger } = options
    const topic = config.topics.interactions
    this.#badShare = new BadShare(config.events.badShareMax)
    this.#deadLetters = stageDeadLetters(options, { stage: 'sequence', topic, resumes: true, measure, logger })
    this.#late = new DeadLetters({ log, topic, stage: 'sequence', to: lateTopic(topic), resumes: true })
  }

  /** Until abort; then everything accepted is emitted and committed. */
  async run(signal: AbortSignal): Promise<void> {
    const { catalogue, drift, clock } = this.#options
    const sequencing = async (either: AbortSignal) => {
      while (!(await this.#readUntilFenced(either)));
    }
    const reading = catalogue && { 'reading the catalogue': (either: AbortSignal) => catalogue.follow(either) }
    try {
      await runTogether({ signal, clock }, { sequencing, ...reading })
    } finally {
      drift?.save()
    }
  }

  /** @returns false where the outcome of an append is not known: then the stage restarts from what the log holds */
  async #readUntilFenced(signal: AbortSignal): Promise<boolean> {
    const { log, config, logger } = this.#options
    let whole = false
    try {
      const events = log.read(config.topics.interactions, {
        resume: (partition, _, reset) => this.#open(partition, reset),
        signal,
        group: `${app}-sequence`
      })
      for await (const event of events) {
        if (this.#failure !== undefined) throw this.#failure
        if (event.kind === 'assigned') for (const letters of [this.#deadLetters, this.#late]) letters.reassigned()
        else if (event.kind === 'records') await this.#take(event.partition, event.records)
        else if (event.kind === 'idle')
          for (const owned of this.#owned.values()) await owned.commitIfDue(this.#draining)
        else if (event.kind === 'revoked') for (const partition of event.partitions) await this.#giveUp(partition, true)
        this.#checkFences()
      }
      whole = true
      return true
    } catch (error) {
      if (!(error instanceof FencedError)) throw error
      this.#claims ||= !error.hasNewerOwner
      logger?.warn(
        { topic: config.topics.interactions, reason: error.message },
        'the stage restarts from what the log holds'
      )
      return false
    } finally {
      // After an error what was accepted may not have been emitted: then it must not be committed either.
      for (const partition of [...this.#owned.keys()]) await this.#giveUp(partition, whole)
    }
  }

  /**
   * A partition with a newer owner is about to be revoked. @throws FencedError for one that none has claimed, or
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
    return [...this.#owned.values()].every(({ isDirty }) => !isDirty)
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
   * Of the first users of each partition that are scanned: the one whose newest event is the newest, with at least
   * `stepsMin` steps.
   */
  newestUser(stepsMin: number): { userId: UserId; steps: readonly SequenceStep[] } | undefined {
    let newest: { userId: UserId; steps: readonly SequenceStep[]; newestMs: number } | undefined
    for (const { store } of this.#owned.values()) {
      let scanned = 0
      for (const [userId, { steps, newestMs }] of store.users()) {
        if (steps.length >= stepsMin && newestMs > (newest?.newestMs ?? -1)) newest = { userId, steps, newestMs }
        if (++scanned >= usersScannedMax) break
      }
    }
    return newest
  }

  /** Up to `limit` users whose events this process sequenced last, newest first. */
  newestUsers(limit: number): UserId[] {
    return [...this.#newest].reverse().slice(0, limit)
  }

  /** Newest event time of a counted type, milliseconds since the Unix epoch; 0 before the first. */
  watermarkMs(): number {
    let newestMs = 0
    for (const { sequencer } of this.#owned.values()) newestMs = Math.max(newestMs, sequencer.watermarkMs)
    return newestMs
  }

  async #open(partition: number, reset: bigint | undefined): Promise<bigint> {
    const { config, log, measure, logger } = this.#options
    if (this.#claims) await log.append(config.topics.userSequences, [], sequenceFence(partition))
    const store = await this.#options.openStore(partition, reset)
    const owned = new OwnedPartition({
      ...{ io: this.#options, store, partition, deadLetters: this.#deadLetters, late: this.#late, measure, logger },
      onRecord: (isBad, erased) => {
        if (erased !== undefined) this.#newest.delete(erased)
        this.#noteRecord(isBad)
      },
      onEmit: (sequences) => this.#noteNewest(sequences),
      onAcknowledged: (sequences, takenAtMs) => {
        this.takenAtMs = takenAtMs
        this.#options.drift?.observe(sequences)
      },
      onFailure: (error) => {
        this.#failure ??= error
      }
    })
    this.#owned.set(partition, owned)
    const from = owned.emitted
    logger?.info(
      { topic: config.topics.interactions, partition, from },
      `partition ${partition} is assigned, from offset ${from}`
    )
    return from
  }

  async #take(partition: number, records: readonly LogRecord[]): Promise<void> {
    const owned = this.#owned.get(partition)
    if (owned === undefined) throw new Error(`records of partition ${partition}, which is not owned`)
    if (owned.fenced !== undefined) return
    await loadSchemas(this.#options.registry, records)
    await owned.take(records)
  }

  async #giveUp(partition: number, commit: boolean): Promise<void> {
    const owned = this.#owned.get(partition)
    if (owned === undefined) return
    this.#owned.delete(partition)
    await owned.close(commit)
  }

  #noteNewest(sequences: readonly UserSequence[]): void {
    for (const { userId } of sequences) {
      this.#newest.delete(userId)
      this.#newest.add(userId)
    }
    for (const userId of this.#newest) {
      if (this.#newest.size <= newestUsersMax) break
      this.#newest.delete(userId)
    }
  }

  /** @throws MtmiError BAD_EVENT where more than `events.badShareMax` of the newest records are bad */
  #noteRecord(isBad: boolean): void {
    this.#readThisTime++
    this.#badShare.note(isBad)
    if (!this.#badShare.exceeded) return
    const { interactions } = this.#options.config.topics
    throw new MtmiError(
      'BAD_EVENT',
      `${this.#badShare.bad} of the last ${badWindow} records of ${interactions} were rejected (events.badShareMax ${this.#options.config.events.badShareMax}): ` +
        `look at ${deadLetterTopic(interactions, app)}; nothing was lost`
    )
  }
}

export function lateTopic(topic: string): string {
  return `${topic}.${app}.late`
}
