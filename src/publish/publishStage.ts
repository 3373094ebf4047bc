// model-updates and user-sequences → the index: follows the model from commit to commit, and refreshes the users and
// items that changed.

import { Account, type AccountNumbers } from '../core/account.ts'
import { MtmiError } from '../core/errors.ts'
import { type Offsets, offsetsSchema } from '../core/offsets.ts'
import { Outage } from '../core/outage.ts'
import { own } from '../core/own.ts'
import type { StateKind } from '../core/stateFile.ts'
import { interestScoreOf } from '../index/interestScore.ts'
import type { VectorIndex } from '../index/vectorIndex.ts'
import { CatalogueReader } from '../log/catalogueReader.ts'
import type { DeadLetters } from '../log/deadLetters.ts'
import type { LogRecord } from '../log/eventLog.ts'
import { type FollowOptions, followTopic } from '../log/followTopic.ts'
import { addUnfit } from '../log/modelRecords.ts'
import type { StageIo } from '../log/stageIo.ts'
import { sequenceOf, userOf } from '../log/userRecords.ts'
import { ModelAccount } from '../model/replica/modelAccount.ts'
import type { AppliedUpdate, ModelReplica } from '../model/replica/modelReplica.ts'
import { AccountMeter } from '../monitor/accountMetrics.ts'
import type { MetricsEntry, MetricsReport } from '../monitor/metrics.ts'
import type { StageLogger } from '../monitor/stageLogger.ts'
import { goOnTracing, tracesOfAll } from '../monitor/tracing.ts'
import type { CatalogueChange } from '../records/catalogue.ts'
import { cutExamples } from '../records/cutExamples.ts'
import type { UserSequence } from '../records/userSequence.ts'
import { KeptModel, type LiveModelStore } from './keptModel.ts'
import { type GateRecord, type GateStore, type HeldModel, ModelGate } from './modelGate.ts'
import { type PopularityStore, PopularityWatch } from './popularityWatch.ts'
import { type ItemReport, Publisher, type UserReport } from './publisher.ts'
import { type GateOptions, gateOptions } from './publisherGate.ts'
import { defaultPublisherLimits, type HeldPromotion, type PublisherLimits } from './publisherReport.ts'
import { UserTraces } from './userTraces.ts'
import { VectorWatch } from './vectorWatch.ts'

/** Between two looks at whether something is due, when nothing was: far below userWaitMs. */
const restMs = 10
/**
 * What has been fetched is read before the trainer, on the same thread, goes on: for as long as two of its batches
 * take, at most.
 */
const catchUpMaxMs = 100
/** How often it is saved how far the users are in the index. */
const saveIntervalMs = 1000
/** How often the sweep of users whose vectors are older than the weights gets a turn when nobody clicks. */
const sweepTickMs = 100

/** How far the users' changes are in the index, kept by the caller: losing it only repeats work. */
export const publishedOffsets: StateKind<Readonly<Record<string, string>>> = {
  file: 'published.json',
  version: 1,
  schema: offsetsSchema,
  removed: 'every user is published again, from the beginning of `user-sequences`'
}

export interface PublishedOffsets {
  load(): Offsets
  save(offsets: Offsets): void
}

export interface PublishStageOptions extends StageIo {
  /** Gated: a replica that is not takes every step as it comes. */
  readonly replica: ModelReplica
  /** Shared with the other stages of the thread. Default: one of its own. */
  readonly catalogue?: CatalogueReader
  readonly index: VectorIndex
  readonly offsets: PublishedOffsets
  /** Where what was counted of interactions is kept. Default: nowhere, it is counted again from the log. */
  readonly popularity?: PopularityStore
  /** Where verdicts on new weights are kept for those who ask. */
  readonly gates?: GateStore
  /** Where the model that is in effect is kept; without it a restart begins with the newest one of the log. */
  readonly liveModel?: LiveModelStore
  readonly onVerdict?: (record: GateRecord) => void
  /** For tests of what happens at the limits. */
  readonly limits?: Partial<PublisherLimits>
  /** For tests that accept every candidate. */
  readonly gate?: Partial<GateOptions>
  /** Where it is kept why an index version does not go live, for those who ask; undefined: none is held. */
  readonly onHeldPromotion?: (held: HeldPromotion | undefined) => void
  readonly measure?: (report: MetricsReport) => void
  readonly onPublished?: (report: { items?: ItemReport; users?: UserReport }) => void
  /** What fails and is tried again, and that it works again: once an outage. */
  readonly onProblem?: (text: string) => void
  readonly logger?: StageLogger
}

/**
 * A catalogue that arrives while this process runs is taken to be whole when nothing of it has come for so long.
 * Before, its first item would empty the index of all others.
 */
const catalogueRestMs = 10_000

export class PublishStage {
  readonly #options: PublishStageOptions
  readonly #limits: PublisherLimits
  readonly #catalogue: CatalogueReader
  readonly #publisher: Publisher
  readonly #vectors: VectorWatch
  readonly #gate: ModelGate
  readonly #kept: KeptModel | undefined
  readonly #popularity: PopularityWatch
  /** Next offset of user-sequences to read, by partition. */
  readonly #read: Offsets
  /** Changes below these were in the index before this process began. */
  readonly #publishedBefore: Map<number, bigint>
  readonly #traces = new UserTraces()
  readonly #model = new ModelAccount()
  #modelNext = 0n
  /**
   * Ends of model-updates and of user-sequences when this process began: weights are judged by what has come up to
   * there, at least.
   */
  #ends: { readonly model: bigint; readonly sequences: Offsets } | undefined
  /** When the log took the newest user sequence that was read, milliseconds; 0 before the first. */
  takenAtMs = 0
  #lastSaveMs = 0
  #heldPromotion: (HeldPromotion & { readonly outcome: 'held' | 'blocked' }) | undefined
  #lastSweepMs = 0
  #lastPopularMs = 0
  #draining = false
  /** Items that the catalogue lacks are left out. */
  #isCatalogueOnly = false
  /** When it last changed after it had been read. */
  #catalogueChangedMs = Number.NEGATIVE_INFINITY
  readonly #meters = {
    publish: new AccountMeter(new Account('publish').numbers()),
    popularity: new AccountMeter(new Account('popularity').numbers()),
    model: new AccountMeter(new Account('model').numbers())
  }
  /** Of the index, of what is published. */
  readonly #outage: Outage
  /** Of the index, where vectors are only compared: publishing goes on. */
  readonly #watchOutage: Outage
  /** Readers that have paused in the middle of what they were given. */
  #midway = 0

  constructor(options: PublishStageOptions) {
    this.#options = options
    this.#publishedBefore = new Map(options.offsets.load())
    this.#read = new Map()
    const { replica, index, config, clock } = options
    this.#limits = { ...defaultPublisherLimits, versionsKept: config.publish.versionsKept, ...options.limits }
    const { measure, onProblem } = options
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
    this.#catalogue.onChange((change) => this.#noteCatalogue(change))
    const { catalogueOnly } = config.events
    this.#popularity = new PopularityWatch(options, options.popularity, (itemId) =>
      catalogue.isCandidate(itemId, catalogueOnly)
    )
    this.#publisher = new Publisher({
      encoder: replica,
      index,
      options: config.publish,
      clock,
      catalogue,
      isCandidate: (itemId) => catalogue.isCandidate(itemId, this.#isCatalogueOnly),
      limits: this.#limits,
      serving: () => replica.previous,
      popularityOf: (itemId) => this.#popularity.of(itemId)
    })
    this.#gate = new ModelGate({
      replica,
      items: () => this.#publisher.knownItems(),
      options: gateOptions({ ...config.publish.gate, ...options.gate }),
      scoring: interestScoreOf(config.model),
      clock,
      store: options.gates,
      measure: options.measure,
      onVerdict: options.onVerdict
    })
    if (options.liveModel !== undefined)
      this.#kept = new KeptModel({
        replica,
        index,
        store: options.liveModel,
        onProblem: (problem) => onProblem?.(problem.message)
      })
    this.#vectors = new VectorWatch({
      encoder: replica,
      index,
      clock,
      catalogue,
      scoring: interestScoreOf(config.model),
      measure: options.measure
    })
  }

  /** Until abort, or until one of its readers fails. */
  async run(signal: AbortSignal): Promise<void> {
    const own = new AbortController()
    const both = AbortSignal.any([signal, own.signal])
    const { config } = this.#options
    this.#options.onHeldPromotion?.(undefined)
    await this.#begin(both)
    const follow = async (work: Promise<void>) => {
      try {
        await work
      } finally {
        own.abort() // all or none: a publisher that no longer hears of the model must not look alive
      }
    }
    const { modelUpdates, userSequences, interactions } = config.topics
    const resume = (partition: number) => this.#popularity.resume(partition)
    const results = await Promise.allSettled(
      [
        this.#catalogue.follow(both),
        this.#follow(modelUpdates, both, {
          use: (record, letters) => this.#takeUpdate(record, letters),
          skip: (record) => {
            this.#model.refused()
            this.#readUpdate(record)
          }
        }),
        this.#follow(userSequences, both, {
          use: (record) => this.#takeSequence(record),
          skip: (record) => this.#readSequence(record)
        }),
        this.#follow(interactions, both, {
          ...{ resume, resumes: true },
          use: (record) => this.#popularity.take(record),
          skip: (record) => this.#popularity.skip(record)
        }),
        this.#pump(both)
      ].map(follow)
    )
    for (const result of results) if (result.status === 'rejected') throw result.reason
    this.#saveOffsets()
    this.#popularity.save(true)
  }

  /** Goes on with the model that was in effect when the last life ended, if one was kept. */
  async #begin(signal: AbortSignal): Promise<void> {
    const { config, log, replica } = this.#options
    const model = (await log.ends(config.topics.modelUpdates)).get(0) ?? 0n
    const sequences = await log.ends(config.topics.userSequences)
    this.#ends = { model, sequences }
    // Of a log that was there before this one.
    for (const [partition, offset] of this.#publishedBefore)
      if (offset > (sequences.get(partition) ?? 0n)) this.#publishedBefore.delete(partition)
    const kept = await this.#outage.retry(async () => this.#kept?.load(model), signal)
    const applied = kept === undefined ? undefined : replica.resume(kept)
    if (applied !== undefined) this.#noteModel(applied)
  }

  /**
   * What became of every change of a user, and of every interaction that popularity is counted from, read by this
   * process.
   */
  accounts(): readonly [AccountNumbers<'publish'>, AccountNumbers<'popularity'>, AccountNumbers<'model'>] {
    return [this.#publisher.account(), this.#popularity.account(), this.#model.numbers()]
  }

  /** What the accounts gained since the last call. */
  accountEntries(): MetricsReport {
    const [publish, popularity, model] = this.accounts()
    const meters = this.#meters
    return [
      ...meters.publish.entries(publish),
      ...meters.popularity.entries(popularity),
      ...meters.model.entries(model)
    ]
  }

  /** While on, changes do not wait to be gathered, nor users of older weights for their turn. */
  drain(on: boolean): void {
    this.#draining = on
  }

  /** Next offsets to read of user-sequences, of model-updates, and of interactions, which are counted. */
  consumed(): { sequences: Offsets; model: bigint; interactions: Offsets } {
    return { sequences: new Map(this.#read), model: this.#modelNext, interactions: this.#popularity.consumed() }
  }

  /**
   * What waits to be published; weights that are still to be judged count as an item, and so do popularity that is
   * still to be looked at and a switch that the index did not take. In a hurry the users whose vectors are of older
   * weights count as one.
   */
  waiting(): ReturnType<Publisher['waiting']> {
    const waiting = this.#publisher.waiting()
    const { undecided } = this.#options.replica
    const isOpen = [
      undecided,
      this.#popularity.touched,
      !this.#catalogue.isCaughtUp,
      this.#publisher.promotionWaits,
      this.#canPublish && this.#catalogueTurns
    ]
    const others = isOpen.filter((open) => open).length
    const older = Number(this.#draining && this.#options.replica.ready && this.#publisher.sweeping)
    return { ...waiting, items: waiting.items + others, users: waiting.users + older }
  }

  /** The index version that is being filled and does not go live, and why. */
  get heldPromotion(): HeldPromotion | undefined {
    return this.#heldPromotion
  }

  /** What keeps vectors from being written, since when; undefined: nothing does. */
  get outage(): string | undefined {
    return this.#outage.text
  }

  /** Weights that were refused, while nothing newer was accepted. */
  get held(): HeldModel | undefined {
    return this.#gate.held
  }

  #follow(
    topic: string,
    signal: AbortSignal,
    how: Pick<FollowOptions, 'use' | 'skip' | 'resume' | 'resumes'>
  ): Promise<void> {
    const { clock, measure, logger } = this.#options
    let sinceMs = clock.nowMs()
    // Long runs of records must not keep the trainer, on the same thread, from its turn.
    const rest = () => (clock.nowMs() - sinceMs > restMs ? pause() : undefined)
    const pause = async () => {
      this.#midway++
      await clock.sleep(0)
      this.#midway--
      sinceMs = clock.nowMs()
    }
    const onRead = () => {
      sinceMs = clock.nowMs()
    }
    return followTopic(this.#options, { stage: 'publish', topic, signal, ...how, rest, onRead, measure, logger })
  }

  #noteCatalogue({ itemId, wasDeleted, isDeleted }: CatalogueChange): void {
    const { replica } = this.#options
    replica.featuresChanged(itemId)
    if (isDeleted) this.#publisher.removeItems([itemId])
    else
      this.#publisher.noteCatalogue([
        { itemId, ...(wasDeleted || this.#isCatalogueOnly ? { count: replica.countOf(itemId) } : {}) }
      ])
    if (this.#catalogue.isCaughtUp) this.#catalogueChangedMs = this.#options.clock.nowMs()
  }

  /** There is a catalogue and it was not in effect, or it was and there is none any more. */
  get #catalogueTurns(): boolean {
    const isWanted = this.#options.config.events.catalogueOnly && this.#catalogue.catalogue.size > 0
    return isWanted !== this.#isCatalogueOnly
  }

  #followCatalogue(nowMs: number): void {
    if (!this.#catalogueTurns || (!this.#draining && nowMs - this.#catalogueChangedMs < catalogueRestMs)) return
    this.#isCatalogueOnly = !this.#isCatalogueOnly
    this.#publisher.candidatesChanged((itemId) => this.#options.replica.countOf(itemId))
  }

  /**
   * Before the catalogue has been read an item that was deleted while this process was down cannot be told from others.
   */
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
    this.#readUpdate(record)
  }

  #readUpdate({ offset }: LogRecord): void {
    this.#modelNext = offset + 1n
  }

  #noteModel(applied: AppliedUpdate): void {
    this.#publisher.noteModel(applied)
    this.#vectors.noteModel(applied)
  }

  #takeSequence(record: LogRecord): void {
    const { partition, offset } = record
    if (record.value === null) {
      const userId = userOf(record)
      this.#publisher.forget(userId)
      this.#gate.forget(userId)
      this.#vectors.forget(userId)
    } else {
      const sequence = sequenceOf(this.#options.codecs, record)
      if (offset < (this.#publishedBefore.get(partition) ?? 0n)) this.#publisher.recall(sequence)
      else {
        this.#publisher.noteSequence({ ...sequence, source: { partition, offset } })
        const traces = tracesOfAll(this.#options.config, [record])
        if (traces !== undefined) this.#traces.note(sequence.userId, traces, this.#options.clock.nowMs())
      }
      this.#vectors.noteSequence(sequence)
      this.#noteTargets(sequence)
    }
    this.#readSequence(record)
  }

  #readSequence({ partition, offset, timestampMs }: LogRecord): void {
    this.#read.set(partition, offset + 1n)
    this.takenAtMs = timestampMs
  }

  #noteTargets(sequence: UserSequence): void {
    const { types } = this.#options.config.events
    for (const { userId, history, target } of cutExamples(sequence, (type) => own(types, type)))
      this.#gate.note({ userId, history, target: target.itemId })
  }

  /** Publishes what is due now: for a trainer on the same thread, between two of its batches. */
  async catchUp(): Promise<void> {
    const { clock } = this.#options
    const startedMs = clock.nowMs()
    await clock.sleep(0) // the readers
    do await clock.sleep(0)
    while (this.#midway > 0 && clock.nowMs() - startedMs < catchUpMaxMs)
    if (!this.#canPublish || this.#outage.text !== undefined) return
    try {
      await this.#publishDue()
    } catch (error) {
      if (!(error instanceof MtmiError && error.canRetry)) throw error // #pump meets it again, and says so
    }
  }

  /**
   * Publishes what is due, again and again. An index that does not answer is asked again, ever less often, for as long
   * as it takes; what waits goes on waiting.
   */
  async #pump(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    const publish = async () => this.#canPublish && (await this.#publishDue())
    while (!signal.aborted) {
      const busy = await this.#outage.retry(publish, signal)
      await clock.sleep(busy === true ? 0 : restMs, signal)
    }
  }

  async #publishDue(): Promise<boolean> {
    const { onPublished, clock } = this.#options
    let busy = false
    // Users first: an item that moved a little is found all the same, a click that is not answered is seen.
    const nowMs = this.#options.clock.nowMs()
    this.#followCatalogue(nowMs)
    const isTurn = this.#publisher.dueInMs() === 0 || this.#draining || nowMs - this.#lastSweepMs >= sweepTickMs
    if (isTurn && this.#hasCaughtUp()) {
      this.#lastSweepMs = nowMs
      const startedMs = clock.nowMs()
      const users = await this.#publisher.publishUsers(undefined, { flush: this.#draining })
      this.#notePromotion(users)
      this.#measured('user', users, startedMs)
      this.#measureParts(users)
      this.#tellTraced(users)
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
      this.#notePromotion(items)
      this.#measured('item', items, startedMs)
      busy ||= items.written > 0 || items.pending > 0
      onPublished?.({ items })
    }
    await this.#keep() // before another index version can take the place of what is in effect
    const applied = this.#hasCaughtUp() ? this.#gate.advance(this.#draining) : undefined
    for (const update of applied ?? []) this.#noteModel(update)
    await this.#keep()
    busy ||= applied !== undefined || this.#gate.working
    if (!busy && this.#publisher.waiting().items === 0) await this.#watchVectors()
    if (this.#options.clock.nowMs() - this.#lastSaveMs >= saveIntervalMs) this.#saveOffsets()
    return busy
  }

  async #watchVectors(): Promise<void> {
    try {
      if (await this.#vectors.lookIfDue()) this.#watchOutage.ended()
    } catch (error) {
      if (!(error instanceof MtmiError)) throw error
      this.#watchOutage.failed(error) // the next look is due in ten seconds
    }
  }

  /** Afterwards there is nothing to keep, until something is awaited. */
  async #keep(): Promise<void> {
    const isHeld = () => this.#gate.held !== undefined
    while (this.#kept?.isDue(isHeld()) === true) await this.#kept.keep(isHeld())
  }

  /**
   * Whether both topics were read to where they ended when this process began. Before, a user would be encoded by an
   * older step than the index has: the write is refused, and the user waits for the next sweep.
   */
  #hasCaughtUp(): boolean {
    return this.#ends !== undefined && this.#modelNext >= this.#ends.model && this.#hasReadHistories()
  }

  /**
   * Of what was there when this process began. Before, a user's window may be older than the one in the index, and
   * would take its place.
   */
  #hasReadHistories(): boolean {
    return (
      this.#ends !== undefined &&
      [...this.#ends.sequences].every(([partition, end]) => (this.#read.get(partition) ?? 0n) >= end)
    )
  }

  /**
   * The last step of an event's way. A user who has acted again meanwhile is waited for: which of the events these
   * vectors answer is then not known.
   */
  #tellTraced({ answeredIds, indexVersion, step }: UserReport): void {
    if (this.#traces.size === 0) return
    const { config, logger } = this.#options
    for (const userId of answeredIds) {
      if (this.#publisher.isWaiting(userId)) continue
      const waiting = this.#traces.take(userId)
      if (waiting === undefined) continue
      const span = goOnTracing(config, 'mtmi publish', {
        kind: 'consumer',
        ...waiting,
        attributes: { indexVersion, step }
      })
      span.end()
      logger?.info({ model: `${indexVersion}@${step}`, ...span.fields }, 'vectors published')
    }
  }

  /** The index version before is no longer answered from. */
  #notePromotion({ promotion, indexVersion }: ItemReport | UserReport): void {
    if (promotion === undefined) return
    if (promotion.outcome === 'done') {
      this.#options.replica.forgetPrevious()
      if (this.#heldPromotion !== undefined) this.#options.onHeldPromotion?.(undefined)
      this.#heldPromotion = undefined
      return
    }
    const { outcome, reason } = promotion
    if (this.#heldPromotion?.indexVersion === indexVersion && this.#heldPromotion.outcome === outcome) return
    const text = `index version ${indexVersion} does not go live: ${reason}`
    this.#heldPromotion = { indexVersion, outcome, sinceMs: this.#options.clock.nowMs(), text }
    this.#options.onHeldPromotion?.(this.#heldPromotion)
    this.#options.logger?.warn({ indexVersion, outcome }, text)
    if (outcome === 'blocked') this.#options.onProblem?.(text)
  }

  /** Where the time from click to vectors goes. */
  #measureParts({ agesMs, partsMs }: UserReport): void {
    if (agesMs.length === 0) return
    const seconds = (values: readonly number[]) => values.map((ms) => ms / 1000)
    const ofBatch = (ms: number) => agesMs.map(() => ms)
    this.#options.measure?.([
      { metric: 'freshness', values: seconds(agesMs) },
      { metric: 'freshnessParts', labels: { part: 'read' }, values: seconds(partsMs.read) },
      { metric: 'freshnessParts', labels: { part: 'wait' }, values: seconds(partsMs.wait) },
      { metric: 'freshnessParts', labels: { part: 'encode' }, values: seconds(ofBatch(partsMs.encode)) },
      { metric: 'freshnessParts', labels: { part: 'write' }, values: seconds(ofBatch(partsMs.write)) }
    ])
  }

  #measured(role: 'item' | 'user', report: ItemReport | UserReport, startedMs: number): void {
    const { measure, clock } = this.#options
    if (measure === undefined) return
    const entries: MetricsEntry[] = []
    const outcomes = { unchanged: 0, dropped: 0, ...report }
    for (const outcome of ['written', 'unchanged', 'unknown', 'stale', 'refused', 'removed', 'dropped'] as const) {
      if (outcomes[outcome] > 0)
        entries.push({ metric: 'published', labels: { role, outcome }, value: outcomes[outcome] })
    }
    if ('scoreErrorMax' in report) entries.push({ metric: 'itemErrorMax', value: report.scoreErrorMax })
    const model = `${report.indexVersion}@${report.step}`
    if (report.promotion?.outcome === 'done') {
      const { outcome } = report.promotion
      this.#options.logger?.info({ model, outcome }, `index version ${report.indexVersion}: ${outcome}`)
    }
    if (report.promotion !== undefined)
      entries.push({ metric: 'promotions', labels: { outcome: report.promotion.outcome }, value: 1 })
    if (report.written > 0) {
      const nowMs = clock.nowMs()
      entries.push({ metric: 'publishSeconds', labels: { role }, value: (nowMs - startedMs) / 1000 })
      entries.push({ metric: 'publishedAge', labels: { role }, value: nowMs })
      entries.push({ metric: 'publishedStep', value: report.step })
    }
    if (entries.length > 0) measure(entries)
  }

  /**
   * Up to the oldest change that is not in the index: a restart publishes again what was taken since then, and what was
   * answered since the last save. So it repeats, at most, the changes of one second and those that were waiting.
   */
  #saveOffsets(): void {
    if (!this.#hasReadHistories()) return
    const next = new Map(this.#read)
    for (const [partition, offset] of this.#publisher.unanswered())
      if (offset < (next.get(partition) ?? 0n)) next.set(partition, offset)
    this.#options.offsets.save(next)
    this.#lastSaveMs = this.#options.clock.nowMs()
  }
}
