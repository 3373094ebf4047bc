// model-updates and user-sequences → the index: follows the model from commit to commit, and refreshes the users and
// items that changed.

import { Account, type AccountNumbers } from '../core/account.ts'
import { runTogether } from '../core/backgroundTasks.ts'
import { MtmiError } from '../core/errors.ts'
import type { Offsets } from '../core/offsets.ts'
import { Outage } from '../core/outage.ts'
import { interestScoreOf } from '../index/interestScore.ts'
import { CatalogueReader } from '../log/catalogueReader.ts'
import type { DeadLetters } from '../log/deadLetters.ts'
import type { LogRecord } from '../log/eventLog.ts'
import { type FollowOptions, followTopic } from '../log/followTopic.ts'
import { addUnfit } from '../log/modelRecords.ts'
import { ModelAccount } from '../model/replica/modelAccount.ts'
import type { AppliedUpdate } from '../model/replica/modelInEffect.ts'
import { AccountMeter } from '../monitor/accountMetrics.ts'
import type { MetricsReport } from '../monitor/metrics.ts'
import { CandidateItems } from './candidateItems.ts'
import { KeptModel } from './keptModel.ts'
import { ModelGate, type RejectedCandidate } from './modelGate.ts'
import { PopularityWatch } from './popularityWatch.ts'
import { PromotionWatch } from './promotionWatch.ts'
import { PublishedUsers } from './publishedUsers.ts'
import { Publisher } from './publisher.ts'
import { gateOptions } from './publisherGate.ts'
import {
  defaultPublisherLimits,
  type HeldPromotion,
  type ItemReport,
  type PublisherLimits,
  type UserReport
} from './publisherReport.ts'
import { reportEntries } from './publishMetrics.ts'
import type { PublishStageOptions } from './publishStageOptions.ts'
import { UserReader } from './userReader.ts'
import { VectorWatch } from './vectorWatch.ts'

/** Between two checks for work, when there was none: far below userWaitMs. */
const restMs = 10
/** What has been fetched is read before the trainer continues on the same thread: at most for two of its batches. */
const catchUpMaxMs = 100
/** Shown by the tools of the log. */
const publishName = 'mtmi-publish'
/** How often the sweep of users with vectors of older weights runs when there are no events. */
const sweepTickMs = 100

export class PublishStage {
  readonly #options: PublishStageOptions
  readonly #limits: PublisherLimits
  readonly #catalogue: CatalogueReader
  readonly #candidates: CandidateItems
  readonly #publisher: Publisher
  readonly #vectors: VectorWatch
  readonly #gate: ModelGate
  readonly #kept: KeptModel | undefined
  readonly #popularity: PopularityWatch
  readonly #users: UserReader
  readonly #model = new ModelAccount()
  readonly #meters = {
    publish: new AccountMeter(new Account('publish').numbers()),
    popularity: new AccountMeter(new Account('popularity').numbers()),
    model: new AccountMeter(new Account('model').numbers())
  }
  /** Of writes to the index. */
  readonly #outage: Outage
  /** Of the comparison of vectors: publishing continues. */
  readonly #watchOutage: Outage
  readonly #promotion: PromotionWatch
  #lastSweepMs = 0
  #lastPopularMs = 0
  #draining = false
  /** The trainer on the same thread may call `catchUp` before and after. */
  #isOpen = false
  /** End of model-updates when this process began. */
  #modelEnd: bigint | undefined
  /** Next offset of model-updates to read. */
  #modelNext = 0n
  /** Readers that have paused in the middle of a batch. */
  #pausedReaders = 0

  constructor(options: PublishStageOptions) {
    this.#options = options
    const { replica, index, config, clock, measure, onProblem } = options
    this.#promotion = new PromotionWatch(options)
    this.#limits = { ...defaultPublisherLimits, versionsKept: config.publish.versionsKept, ...options.limits }
    this.#outage = new Outage({
      ...{ what: 'writing to the index', clock, onProblem },
      onFailure: () => measure?.([{ metric: 'publishFailures', value: 1 }])
    })
    this.#watchOutage = new Outage({
      ...{ what: 'comparing vectors with those in the index', clock, onProblem },
      onFailure: () => measure?.([{ metric: 'taskFailures', labels: { task: 'vectors' }, value: 1 }])
    })
    this.#catalogue = options.catalogue ?? new CatalogueReader(options, { ...options, stage: 'publish' })
    const { catalogue } = this.#catalogue
    replica.useCatalogue((itemId) => catalogue.featuresOf(itemId))
    this.#popularity = new PopularityWatch(options, options.popularity, (itemId) =>
      catalogue.isCandidate(itemId, config.events.catalogueOnly)
    )
    const users = new PublishedUsers()
    this.#publisher = new Publisher({
      ...{ encoder: replica, index, users, options: config.publish, clock, catalogue },
      limits: this.#limits,
      isCandidate: (itemId) => this.#candidates.has(itemId),
      serving: () => replica.previous,
      popularityOf: (itemId) => this.#popularity.of(itemId),
      memory: replica
    })
    this.#candidates = new CandidateItems(this.#catalogue, this.#publisher, options)
    const scoring = interestScoreOf(config.model)
    this.#gate = new ModelGate({
      ...{ replica, scoring, clock, measure, store: options.gates, onVerdict: options.onVerdict },
      items: () => this.#publisher.knownItems(),
      options: gateOptions({ ...config.publish.gate, ...options.gate })
    })
    this.#kept =
      options.liveModel &&
      new KeptModel({
        ...{ replica, index, store: options.liveModel },
        onProblem: (problem) => onProblem?.(problem.message)
      })
    this.#vectors = new VectorWatch({ encoder: replica, index, clock, catalogue, scoring, measure })
    const { waitingUsersMax } = this.#limits
    const readers = { publisher: this.#publisher, gate: this.#gate, vectors: this.#vectors }
    this.#users = new UserReader(options, { ...readers, users, waitingUsersMax })
  }

  /** Until abort, or until one of its readers fails. */
  async run(signal: AbortSignal): Promise<void> {
    this.#options.onHeldPromotion?.(undefined)
    try {
      await this.#begin(signal)
      this.#isOpen = true
      await this.#work(signal)
      await this.#users.commit()
      this.#popularity.save(true)
    } finally {
      this.#isOpen = false
      await this.#publisher.idle()
      await this.#users.close()
    }
  }

  async #work(signal: AbortSignal): Promise<void> {
    const { modelUpdates, userSequences, interactions } = this.#options.config.topics
    await runTogether(
      { signal, clock: this.#options.clock },
      {
        'reading the catalogue': (either) => this.#catalogue.follow(either),
        'reading model updates': (either) =>
          this.#follow(modelUpdates, either, {
            use: (record, letters) => this.#takeUpdate(record, letters),
            skip: (record) => {
              this.#model.refused()
              this.#modelNext = record.offset + 1n
            }
          }),
        'reading user sequences': (either) =>
          this.#follow(userSequences, either, {
            resume: async (partition, _, reset) => this.#users.resume(partition, reset),
            resumes: true,
            use: (record) => this.#users.take(record),
            skip: (record) => this.#users.skip(record),
            rest: () => this.#users.room(either)
          }),
        'counting popularity': (either) =>
          this.#follow(interactions, either, {
            resume: (partition) => this.#popularity.resume(partition),
            resumes: true,
            use: (record) => this.#popularity.take(record),
            skip: (record) => this.#popularity.skip(record)
          }),
        publishing: (either) => this.#pump(either)
      }
    )
  }

  /** Resumes with the users and the model of the last process, if they were kept. */
  async #begin(signal: AbortSignal): Promise<void> {
    const { config, log, replica } = this.#options
    const end = (await log.ends(config.topics.modelUpdates)).get(0) ?? 0n
    await this.#users.open()
    this.#modelEnd = end
    const kept = await this.#outage.retry(async () => this.#kept?.load(end), signal)
    const applied = kept === undefined ? undefined : replica.resume(kept)
    if (applied !== undefined) this.#noteModel(applied)
  }

  /** Outcomes of the user changes, interactions and model updates that this process has read. */
  accounts(): readonly [AccountNumbers<'publish'>, AccountNumbers<'popularity'>, AccountNumbers<'model'>] {
    return [this.#publisher.account(), this.#popularity.account(), this.#model.numbers()]
  }

  /** The increase of the accounts since the last call. */
  accountEntries(): MetricsReport {
    const [publish, popularity, model] = this.accounts()
    const meters = this.#meters
    return [
      ...meters.publish.entries(publish),
      ...meters.popularity.entries(popularity),
      ...meters.model.entries(model)
    ]
  }

  /** While on, changes are not gathered, and users with vectors of older weights do not wait for their turn. */
  drain(on: boolean): void {
    this.#draining = on
  }

  /** When the log took the newest user sequence that was read, milliseconds; 0 before the first. */
  get takenAtMs(): number {
    return this.#users.takenAtMs
  }

  /** Next offsets to read of user-sequences, of model-updates, and of interactions. */
  consumed(): { sequences: Offsets; model: bigint; interactions: Offsets } {
    return { sequences: this.#users.next, model: this.#modelNext, interactions: this.#popularity.consumed() }
  }

  /**
   * What waits to be published. A candidate that is not decided, popularity that is not compared, the catalogue and the
   * switch to a version that is being filled count as an item each; while draining, users with vectors of older weights
   * count as one.
   */
  waiting(): ReturnType<Publisher['waiting']> {
    const waiting = this.#publisher.waiting()
    const { replica } = this.#options
    const open = [
      replica.undecided,
      this.#popularity.touched,
      !this.#catalogue.isCaughtUp,
      this.#publisher.promotionWaits,
      this.#canPublish && this.#candidates.turns
    ].filter((isOpen) => isOpen).length
    const older = Number(this.#draining && replica.ready && this.#publisher.sweeping)
    return { ...waiting, items: waiting.items + open, users: waiting.users + older }
  }

  /** The index version that is being filled and does not go live, and why. */
  get heldPromotion(): HeldPromotion | undefined {
    return this.#promotion.held
  }

  /** Why vectors cannot be written, since when; undefined: they can. */
  get outage(): string | undefined {
    return this.#outage.text
  }

  /** The rejected candidate, while nothing newer was accepted. */
  get rejected(): RejectedCandidate | undefined {
    return this.#gate.rejected
  }

  #follow(
    topic: string,
    signal: AbortSignal,
    { rest: wait, ...how }: Pick<FollowOptions, 'use' | 'skip' | 'resume' | 'resumes' | 'rest'>
  ): Promise<void> {
    const { clock, measure, logger } = this.#options
    let sinceMs = clock.nowMs()
    const pause = async () => {
      this.#pausedReaders++
      await clock.sleep(0)
      this.#pausedReaders--
      sinceMs = clock.nowMs()
    }
    // A long run of records must not keep the trainer, on the same thread, waiting.
    const rest = () => wait?.() ?? (clock.nowMs() - sinceMs > restMs ? pause() : undefined)
    const onRead = () => {
      sinceMs = clock.nowMs()
    }
    const reader = { stage: 'publish', name: publishName, topic, signal } as const
    return followTopic(this.#options, { ...reader, ...how, rest, onRead, measure, logger })
  }

  /** Before the catalogue has been read, an item that was deleted while this process was down is not recognised. */
  get #canPublish(): boolean {
    return this.#options.replica.ready && this.#catalogue.isCaughtUp
  }

  #takeUpdate(record: LogRecord, letters: DeadLetters): void {
    this.#model.read()
    if (record.value === null) this.#model.empty()
    else {
      const { codecs, replica } = this.#options
      const update = codecs.modelUpdate.decode(record.value)
      this.#model.decoded(update)
      const applied = replica.apply(update, record.offset + 1n)
      const unfit = replica.takeUnfit()
      this.#model.applied(unfit.length)
      addUnfit(letters, codecs, record, unfit)
      if (update.kind === 'item-row' && update.row !== null) this.#vectors.noteRow(update.row)
      if (applied !== undefined) this.#noteModel(applied)
    }
    this.#modelNext = record.offset + 1n
  }

  #noteModel(applied: AppliedUpdate): void {
    this.#publisher.noteModel(applied)
    this.#vectors.noteModel(applied)
  }

  /**
   * Both topics were read to where they ended when this process began. Before, a user would be encoded by an older step
   * than the index has, or by an older window.
   */
  get #isCaughtUp(): boolean {
    return this.#modelEnd !== undefined && this.#modelNext >= this.#modelEnd && this.#users.isCaughtUp
  }

  /** Publishes what is due now: for a trainer on the same thread, between two of its batches. */
  async catchUp(): Promise<void> {
    const { clock } = this.#options
    const startedMs = clock.nowMs()
    await clock.sleep(0) // the readers
    do await clock.sleep(0)
    while (this.#pausedReaders > 0 && clock.nowMs() - startedMs < catchUpMaxMs)
    if (!this.#isOpen || !this.#canPublish || this.#outage.text !== undefined) return
    try {
      await this.#publishDue()
    } catch (error) {
      if (!(error instanceof MtmiError && error.canRetry)) throw error // #pump meets it again and reports it
    }
  }

  /** Publishes what is due, in a loop. An index that does not answer is tried again, at growing intervals. */
  async #pump(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    const publish = async () => {
      await this.#users.commitIfDue()
      return this.#canPublish && (await this.#publishDue())
    }
    while (!signal.aborted) {
      const busy = await this.#outage.retry(publish, signal)
      await clock.sleep(busy === true ? 0 : restMs, signal)
    }
  }

  /** @returns whether there was something to do */
  async #publishDue(): Promise<boolean> {
    const { onPublished, clock, config, logger } = this.#options
    let busy = false
    // Users first: an item that moved a little is still found, but a click without an effect is noticed.
    const nowMs = clock.nowMs()
    this.#candidates.turnIfDue(nowMs, this.#draining)
    const isTurn = this.#publisher.dueInMs() === 0 || this.#draining || nowMs - this.#lastSweepMs >= sweepTickMs
    if (isTurn && this.#isCaughtUp) {
      this.#lastSweepMs = nowMs
      const users = await this.#publisher.publishUsers(undefined, { flush: this.#draining })
      this.#noteReport('user', users, nowMs)
      this.#users.traces.end(users, (userId) => this.#publisher.isWaiting(userId), config, logger)
      busy = users.written > 0
      if (busy) onPublished?.({ users })
    }
    if (this.#draining || nowMs - this.#lastPopularMs >= this.#limits.popularityIntervalMs) {
      this.#lastPopularMs = nowMs
      this.#publisher.notePopularity(this.#popularity.takeTouched())
      this.#popularity.save()
    }
    if (this.#publisher.waiting().items > 0) {
      const startedMs = clock.nowMs()
      const items = await this.#publisher.publishItems()
      this.#noteReport('item', items, startedMs)
      busy ||= items.written > 0 || items.pending > 0
      onPublished?.({ items })
    }
    await this.#keep() // before another version can replace the model in effect
    const applied = this.#isCaughtUp ? this.#gate.advance(this.#draining) : undefined
    for (const update of applied ?? []) this.#noteModel(update)
    await this.#keep()
    busy ||= applied !== undefined || this.#gate.working
    if (!busy && this.#publisher.waiting().items === 0) await this.#watchVectors()
    return busy
  }

  async #watchVectors(): Promise<void> {
    try {
      if (await this.#vectors.lookIfDue()) this.#watchOutage.ended()
    } catch (error) {
      if (!(error instanceof MtmiError)) throw error
      this.#watchOutage.failed(error) // the next comparison is due in ten seconds
    }
  }

  /** Afterwards there is nothing to keep, until something is awaited. */
  async #keep(): Promise<void> {
    const isRejected = () => this.#gate.rejected !== undefined
    while (this.#kept?.isDue(isRejected()) === true) await this.#kept.keep(isRejected())
  }

  #noteReport(role: 'item' | 'user', report: ItemReport | UserReport, startedMs: number): void {
    const { measure, clock } = this.#options
    if (this.#promotion.note(report)) this.#options.replica.forgetPrevious() // it is no longer served
    measure?.(reportEntries(role, report, startedMs, clock.nowMs()))
  }
}
