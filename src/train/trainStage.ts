// user-sequences → model-updates: each mini-batch is ranked, then learned; its boundaries are written down first, so
// that a restart learns the very same batches again.

import { Account, type AccountNumbers } from '../core/account.ts'
import { CorruptError, DivergedError } from '../core/errors.ts'
import type { OffsetRanges, Offsets } from '../core/offsets.ts'
import { own } from '../core/own.ts'
import { handledLater } from '../core/promises.ts'
import { CatalogueReader } from '../log/catalogueReader.ts'
import type { DeadLetters } from '../log/deadLetters.ts'
import { isErasure } from '../log/erasure.ts'
import type { LogRecord, NewRecord } from '../log/eventLog.ts'
import { stageDeadLetters } from '../log/followTopic.ts'
import type { StageIo } from '../log/stageIo.ts'
import { sequenceOf, userOf } from '../log/userRecords.ts'
import { type Checkpoint, type CheckpointStore, named } from '../model/replica/checkpoint.ts'
import { AccountMeter } from '../monitor/accountMetrics.ts'
import type { MetricsReport } from '../monitor/metrics.ts'
import type { StageLogger } from '../monitor/stageLogger.ts'
import { goOnTracing, tracesOfAll } from '../monitor/tracing.ts'
import type { CatalogueChange } from '../records/catalogue.ts'
import { cutExamples } from '../records/cutExamples.ts'
import type { Example } from '../records/example.ts'
import type { UserId } from '../records/interaction.ts'
import { type ModelUpdate, updateKey } from '../records/modelUpdate.ts'
import { loadSchemas } from '../records/registry/schemaRegistry.ts'
import { mergeTraces, type Traces } from '../records/traceContext.ts'
import type { UserSequence } from '../records/userSequence.ts'
import type { Extent } from './batch/changedRows.ts'
import { CheckpointWriter, type SavedCheckpoint } from './checkpoint/checkpointWriter.ts'
import type { BatchLedger, LedgerEntry } from './checkpoint/ledger.ts'
import { forgetInCheckpoints } from './forgetUser.ts'
import type { ModelControl } from './modelControl.ts'
import { ModelRequests, type Requested, type RequestsState } from './modelRequests.ts'
import { ModelWatch, type ModelWatchState } from './modelWatch.ts'
import { ProgressiveEvaluator } from './progressive/progressive.ts'
import { RepeatFilter, type RepeatFilterState } from './repeatFilter.ts'
import type { EvaluationReport, StageTrainer, StepReport } from './trainer.ts'
import { type WaitingRecord, WaitingRecords } from './waitingRecords.ts'

/** Steps in a row that were not finite before the trainer goes back to the last checkpoint. */
const divergedMax = 3
/** What the mean cosine is taken over. */
const cosineBatches = 20
const fence = 'train'
const text = new TextEncoder()

export interface TrainStageOptions extends StageIo {
  readonly trainer: StageTrainer
  /** Shared with the other stages of the thread. Default: one of its own. */
  readonly catalogue?: CatalogueReader
  readonly checkpoints: CheckpointStore
  readonly ledger: BatchLedger
  /** Where people ask for a rollback, a rebuild, or to go on. */
  readonly control?: ModelControl
  readonly measure?: (report: MetricsReport) => void
  readonly logger?: StageLogger
  /** After every batch. */
  readonly onBatch?: (batch: BatchReport) => void
  /** Awaited after every batch: the turn of whoever shares the thread. */
  readonly betweenBatches?: () => Promise<void>
  /** The examples of a batch, after they were learned: for audits. */
  readonly onLearned?: (batch: number, examples: readonly Example[]) => void
}

export interface BatchReport {
  readonly batch: number
  readonly examples: number
  readonly evaluation: EvaluationReport
  /** undefined: the batch was dropped, because its loss was not finite. */
  readonly step: StepReport | undefined
  /** Ranking, and learning. */
  readonly evaluateMs: number
  readonly learnMs: number
}

/** What a checkpoint holds besides the trainer. */
interface StageState extends RequestsState {
  readonly batch: number
  readonly next: Readonly<Record<string, string>>
  readonly repeats: RepeatFilterState
  readonly progressive: Readonly<Record<string, unknown>>
  readonly drift?: ModelWatchState
  readonly examplesLearned: number
  readonly account: AccountNumbers<'train'>
  readonly examplesUndone: number
  readonly untrainedTargets: number
  readonly batchesDropped: number
  readonly rollbacks: number
  /** Milliseconds; what a list of versions shows. */
  readonly savedAtMs?: number
  readonly versionAtMs?: number
  /** Where the trainer's rows go. */
  readonly modelVersion?: string
  readonly divergedInARow?: number
  /** null: none yet. */
  readonly loss: number | null
  readonly intraUserCosine: number | null
}

export class TrainStage {
  readonly #options: TrainStageOptions
  readonly evaluator = new ProgressiveEvaluator()
  readonly drift: ModelWatch
  readonly #requests: ModelRequests
  #repeats = new RepeatFilter()
  /** Number of the last batch. Unlike the trainer's step it counts dropped ones too. */
  #batch = 0
  readonly #waiting: WaitingRecords
  readonly #letters: DeadLetters
  /** Batches that were written down before a crash and are to be learned again as they were. */
  #again: LedgerEntry[] = []
  #hurry = false
  #divergedInARow = 0
  #lastCheckpointMs = 0
  readonly #writer: CheckpointWriter
  /** What the last checkpoint was taken of: batch, and next offsets. */
  #taken: { readonly batch: number; readonly next: string } | undefined
  #lastUpdateMs = 0
  #lastWeightsMs = 0
  /** Of the new steps that batches took: what waits for a batch is not read yet. */
  #account = new Account('train')
  #meter = new AccountMeter(this.#account.numbers())
  /** Examples whose learning a rollback undid. */
  examplesUndone = 0
  /** Targets that were ranked before the first step: they say nothing of the model. */
  untrainedTargets = 0
  /** Of the last batch that had anything to learn. */
  loss = Number.NaN
  /** Mean cosine between two interests of a user, over about the last `cosineBatches` batches. */
  intraUserCosine = Number.NaN
  batchesDropped = 0
  /** When the log took the newest user sequence that was learned, milliseconds; 0 before the first. */
  takenAtMs = 0
  rollbacks = 0
  /** Step of the checkpoint that was gone back to, until a batch is learned again. */
  #wentBackTo: number | undefined
  /** Of the events that the batch under way holds. */
  #traces: Traces | undefined
  /** Batches whose rows, and whose weights, were sent last. */
  #sentBatch = 0
  #sentWeightsBatch = 0
  #versionAtMs = 0
  readonly #catalogue: CatalogueReader
  /** Reading of the catalogue waits for `#restore`. */
  readonly #held: { release(): void }
  /** Next offset of the catalogue that the trainer knows of. */
  #catalogueKnown = 0n
  /**
   * Changes read but not to be known yet: a batch that is learned again must not know more of its items than it did
   * then.
   */
  #catalogueAhead: CatalogueChange[] = []
  /**
   * Features as the trainer still knows them, and how many of the item's changes are ahead. Empty unless batches are
   * learned again.
   */
  readonly #asKnown = new Map<string, { features: readonly string[]; ahead: number }>()

  constructor(options: TrainStageOptions) {
    this.#options = options
    this.#waiting = new WaitingRecords(options.clock)
    this.#catalogue = options.catalogue ?? new CatalogueReader(options, { ...options, stage: 'train' })
    this.#held = this.#catalogue.hold()
    this.#catalogue.onChange((change) => this.#noteCatalogue(change))
    options.trainer.useCatalogue(
      (itemId) => this.#asKnown.get(itemId)?.features ?? this.#catalogue.catalogue.featuresOf(itemId)
    )
    const { userSequences: topic } = options.config.topics
    this.#letters = stageDeadLetters(options, { ...options, stage: 'train', topic, resumes: true })
    this.drift = new ModelWatch({ clock: options.clock, measure: options.measure })
    const { control, trainer, checkpoints, config, clock, measure } = options
    this.#writer = new CheckpointWriter({
      trainer,
      checkpoints,
      clock,
      measure,
      waitingBlocks: () => this.evaluator.waitingBlocks
    })
    this.#requests = new ModelRequests({
      control,
      trainer,
      checkpoints,
      model: config.model,
      clock,
      stage: this.#requested()
    })
  }

  /** Until abort; then a checkpoint is taken. */
  async run(signal: AbortSignal): Promise<void> {
    const { log, config, clock } = this.#options
    await this.#restore()
    this.#held.release()
    const own = new AbortController()
    const both = AbortSignal.any([signal, own.signal])
    // A trainer that no longer hears of the catalogue ends.
    const following = handledLater(this.#catalogue.follow(both).finally(() => own.abort()))
    try {
      await this.#catalogue.caughtUp(both) // features must be known before the items are learned
      await this.#requests.obey()
      this.#lastCheckpointMs = this.#lastUpdateMs = this.#lastWeightsMs = clock.nowMs()
      const resume = async (partition: number) => this.#waiting.next.get(partition) ?? 0n
      for await (const event of log.read(config.topics.userSequences, { resume, signal: both })) {
        if (event.kind === 'records') await this.#receive(event.partition, event.records)
        await this.#learnWhatIsDue(event.kind === 'idle', both)
        await this.#requests.obey()
        await this.#housekeep()
      }
    } finally {
      own.abort()
    }
    await following
    await this.#writer.saved()
    const isKept =
      this.#taken?.batch === this.#batch && this.#taken.next === JSON.stringify(offsetsOf(this.#waiting.next))
    if (this.#isSound && !isKept) await this.#checkpoint()
    await this.#writer.saved()
  }

  /** While on, batches that are not full are learned at once, and updates are sent as soon as nothing waits. */
  hurry(on: boolean): void {
    this.#hurry = on
  }

  get examplesLearned(): number {
    return this.#account.of('learned')
  }

  /** What became of every new step, those that earlier processes took included. */
  account(): AccountNumbers<'train'> {
    return this.#account.numbers()
  }

  /** Number of the last batch. */
  get batch(): number {
    return this.#batch
  }

  /**
   * Everything learned that is worth it has been sent to those who publish it: while flushing (`hurry`) the tower
   * weights of the last batch too.
   */
  get updatesSent(): boolean {
    const sent = this.#hurry ? Math.min(this.#sentBatch, this.#sentWeightsBatch) : this.#sentBatch
    return sent === this.#batch || !this.#isSound || this.#requests.updatesHeld
  }

  /** Next offset of user-sequences that no batch holds yet, by partition. */
  consumed(): Offsets {
    return this.#waiting.next
  }

  async #receive(partition: number, records: readonly LogRecord[]): Promise<void> {
    await loadSchemas(this.#options.registry, records)
    for (const record of records) {
      const sequence = this.#sequence(record)
      if (sequence === undefined) {
        this.#waiting.skip(partition, record.offset)
        continue
      }
      const { offset, timestampMs } = record
      const traces = record.value === null ? undefined : tracesOfAll(this.#options.config, [record])
      this.#waiting.add({ sequence, partition, offset, timestampMs, traces })
      if ('erased' in sequence && this.#again.length === 0 && this.#waiting.onlyErasures) await this.#forgetWaiting()
    }
    await this.#letters.flush()
  }

  /** undefined: no batch is to hold the record, because its user expired or it became a dead letter. */
  #sequence(record: LogRecord): WaitingRecord['sequence'] | undefined {
    let sequence: WaitingRecord['sequence'] | undefined
    this.#letters.attempt(record, () => {
      if (record.value !== null) sequence = sequenceOf(this.#options.codecs, record)
      else if (isErasure(record)) sequence = { erased: userOf(record) }
    })
    return sequence
  }

  async #learnWhatIsDue(idle: boolean, signal: AbortSignal): Promise<void> {
    const { config } = this.#options
    while (!signal.aborted) {
      const entry = this.#again[0]
      if (entry !== undefined) {
        if (!this.#waiting.covers(entry.ranges)) return
        this.#again.shift()
        await this.#learn(this.#cut(entry.ranges), entry.ranges, entry)
        continue
      }
      const full = this.#waiting.examples >= config.train.batchSize
      const due =
        idle && !this.#waiting.isEmpty && (this.#hurry || this.#waiting.waitedMs >= config.train.batchWaitMaxMs)
      if (!full && !due) return
      const ranges = this.#waiting.nextRanges(config.train.batchSize)
      await this.#learn(this.#cut(ranges), ranges, undefined)
    }
  }

  #cut(ranges: OffsetRanges): WaitingRecord['sequence'][] {
    const taken = this.#waiting.cut(ranges)
    for (const { timestampMs } of taken) this.takenAtMs = Math.max(this.takenAtMs, timestampMs)
    const traces = taken.map((each) => each.traces).filter((each) => each !== undefined)
    if (traces.length > 0) this.#traces = mergeTraces(traces)
    return taken.map(({ sequence }) => sequence)
  }

  async #learn(
    records: readonly WaitingRecord['sequence'][],
    ranges: OffsetRanges,
    again: LedgerEntry | undefined
  ): Promise<void> {
    const { config, ledger } = this.#options
    this.#learnCatalogue(again)
    const types = config.events.types
    const { sequences, erased } = withoutErased(records)
    const all = records.filter((record): record is UserSequence => !('erased' in record))
    // Not those that an erasure follows: where a restarted sequencer has repeated it, what came after it is emitted
    // once more, and is then no repeat.
    const admitted = new Map(sequences.map((sequence) => [sequence, this.#repeats.admit(sequence)]))
    const examples = sequences
      .flatMap((sequence) =>
        cutExamples(
          admitted.get(sequence)!,
          (type) => own(types, type),
          (reason) => this.#account.add(reason)
        )
      )
      .sort(byTime)
    this.#account.read(freshSteps(all))
    this.#account.add('erased', freshSteps(all) - freshSteps(sequences))
    this.#account.add('repeated', freshSteps(sequences) - freshSteps([...admitted.values()]))
    for (const userId of erased) this.#options.trainer.forgetUser(userId)
    this.#batch++
    if (again === undefined)
      ledger.append({
        step: this.#batch,
        ranges,
        examples: examples.length,
        detail: { catalogue: String(this.#catalogueKnown) }
      })
    else if (again.step !== this.#batch || again.examples !== examples.length)
      throw new CorruptError(
        `batch ${again.step} had ${again.examples} examples before the restart; the log now gives ${examples.length} as batch ${this.#batch}. ` +
          `Records were removed from ${config.topics.userSequences} too early (topics.minCompactionLagMs), or the state is another log's`
      )
    this.#waiting.advance(ranges)
    if (examples.length === 0) {
      this.#measureAccount()
      return this.#forgetInCheckpoints(erased)
    }
    const startMs = this.#options.clock.nowMs()
    const report = this.#step(examples, ranges)
    this.#tell(report, examples.length, ranges, startMs)
    this.drift.observe(report.evaluation, report.step, examples.at(-1)!.target.eventTimeMs)
    if (report.step !== undefined) this.#options.onLearned?.(this.#batch, examples)
    this.#measureAccount()
    this.#options.onBatch?.({ batch: this.#batch, examples: examples.length, ...report })
    if (this.#divergedInARow >= divergedMax) await this.#goBack()
    await this.#requests.obey()
    if (this.#sentBatch === 0 && this.#isSound) await this.#sendUpdates(true) // a first user is served by what one batch taught rather than not at all
    await this.#forgetInCheckpoints(erased)
    await this.#housekeep()
    await (this.#options.betweenBatches?.() ?? this.#options.clock.sleep(0))
  }

  #measureAccount(): void {
    this.#options.measure?.(this.#meter.entries(this.account()))
  }

  /** A step that changed nothing is worth a warning; one that learned from traced events, a line. */
  #tell({ step }: Pick<BatchReport, 'step'>, examples: number, ranges: OffsetRanges, startMs: number): void {
    const { logger, config } = this.#options
    const traces = this.#traces
    this.#traces = undefined
    const span = goOnTracing(config, 'mtmi train', { kind: 'consumer', traces, startMs, attributes: { examples } })
    span.end()
    const topic = config.topics.userSequences
    const read = [...ranges].map(([partition, { from, to }]) => ({ partition, from: String(from), to: String(to) }))
    const fields = { topic, ranges: read, batch: this.#batch, examples, ...span.fields }
    if (step === undefined)
      logger?.warn(fields, `batch ${this.#batch} was dropped: its loss or a gradient was not finite`)
    else if (traces !== undefined) logger?.info({ ...fields, loss: step.loss }, 'learned')
    else logger?.debug({ ...fields, loss: step.loss }, 'learned')
  }

  /**
   * Erasures that no batch waits with: at once. Between the same two batches they would be applied when these are
   * learned again.
   */
  async #forgetWaiting(): Promise<void> {
    const erased = this.#waiting.takeErased()
    for (const userId of erased) this.#options.trainer.forgetUser(userId)
    await this.#forgetInCheckpoints(erased)
  }

  /**
   * The kept ones first: the checkpoint that says that the erasures have been read comes when there is nothing left to
   * do for them.
   */
  async #forgetInCheckpoints(erased: readonly UserId[]): Promise<void> {
    if (erased.length === 0) return
    const { checkpoints, measure } = this.#options
    await this.#writer.saved() // the one that is being written was taken with them
    const { rewritten } = await forgetInCheckpoints(checkpoints, erased)
    if (this.#isSound) await this.#checkpoint()
    await this.#writer.saved()
    measure?.([
      { metric: 'forgottenUsers', value: erased.length },
      { metric: 'rewrittenCheckpoints', value: rewritten }
    ])
  }

  #step(
    examples: readonly Example[],
    ranges: OffsetRanges
  ): Pick<BatchReport, 'evaluation' | 'step' | 'evaluateMs' | 'learnMs'> {
    const { trainer, clock } = this.#options
    const startedMs = clock.nowMs()
    const isTrained = this.examplesLearned > 0
    const { evaluation, batch } = trainer.evaluateExamples(examples, ranges)
    const { targets } = this.evaluator
    this.evaluator.observe(examples, evaluation.ranks)
    if (!isTrained) this.untrainedTargets += this.evaluator.targets - targets
    this.#noteCosine(evaluation.intraUserCosine)
    const evaluatedMs = clock.nowMs()
    const evaluateMs = evaluatedMs - startedMs
    try {
      const step = trainer.learnExamples(examples, batch)
      for (const outcome of ['learned', 'unknownItem', 'unknownHistory'] as const)
        this.#account.add(outcome, step.fresh[outcome])
      this.#account.add('flooded', step.refused ?? 0)
      if (step.examples > 0) this.loss = step.loss
      this.#divergedInARow = 0
      this.#wentBackTo = undefined
      return { evaluation, step, evaluateMs, learnMs: clock.nowMs() - evaluatedMs }
    } catch (error) {
      if (!(error instanceof DivergedError)) throw error
      this.#account.add('diverged', examples.length)
      this.batchesDropped++
      this.#divergedInARow++
      return { evaluation, step: undefined, evaluateMs, learnMs: clock.nowMs() - evaluatedMs }
    }
  }

  #noteCosine(cosine: number): void {
    if (!Number.isFinite(cosine)) return
    if (Number.isFinite(this.intraUserCosine)) this.intraUserCosine += (cosine - this.intraUserCosine) / cosineBatches
    else this.intraUserCosine = cosine
  }

  /**
   * After several batches in a row that were not finite: the weights of the last checkpoint, at half the rate, from
   * here on. What was learned since that checkpoint is gone from the weights, because learning it again would lead to
   * the same cliff. Where that checkpoint does no better, it was taken too late: then the one before.
   */
  async #goBack(): Promise<void> {
    const { trainer, checkpoints } = this.#options
    await this.#writer.saved()
    const earlier = (await checkpoints.steps()).filter((step) => step < (this.#wentBackTo ?? Number.POSITIVE_INFINITY))
    const step = Math.max(...earlier)
    if (earlier.length > 0) {
      const checkpoint = await checkpoints.load(step)
      trainer.restore(checkpoint)
      this.#noteUndone(checkpoint)
      trainer.resendAll() // whoever follows has rows of the run that is given up
      this.#wentBackTo = step
    }
    trainer.slowDown(0.5)
    this.#divergedInARow = 0
    this.rollbacks++
    this.#options.logger?.warn(
      { batch: this.#batch, to: this.#wentBackTo ?? null },
      'several steps in a row were not finite: went back to a checkpoint, at half the learning rate'
    )
    this.#options.measure?.([{ metric: 'rollbacks', value: 1 }])
  }

  /** What was learned after the checkpoint is no longer in the weights. */
  #noteUndone({ header }: Checkpoint): void {
    const then = header.stage as StageState
    this.examplesUndone = this.examplesLearned - (then.examplesLearned - then.examplesUndone)
  }

  /** The last batch was learned: what is in memory is worth keeping, and telling. */
  get #isSound(): boolean {
    return this.#divergedInARow === 0 && this.#wentBackTo === undefined
  }

  #requested(): Requested {
    return {
      learnsAgain: () => this.#again.length > 0,
      saved: () => this.#writer.saved(),
      keepVersion: async () => {
        if (!this.#isSound || this.#batch === 0) return // the last checkpoint is what is left behind
        await this.#checkpoint(true)
        await this.#writer.saved()
      },
      restoreVersion: (checkpoint) => {
        this.#noteUndone(checkpoint)
        this.#restoreModel(checkpoint)
        this.#divergedInARow = 0
        this.#wentBackTo = undefined
      },
      nextBatch: () => {
        this.#batch++
      },
      sendAll: async (updates) => {
        const nowMs = this.#options.clock.nowMs()
        await this.#send(updates, true)
        this.#lastUpdateMs = this.#lastWeightsMs = nowMs
      },
      checkpoint: () => this.#checkpoint()
    }
  }

  async #housekeep(): Promise<void> {
    const { clock, config } = this.#options
    const nowMs = clock.nowMs()
    const idle = this.#hurry && this.#waiting.isEmpty
    if (!this.#isSound) return // publishing is held, and no checkpoint is taken, until a batch is learned again
    if (idle || nowMs - this.#lastUpdateMs >= config.train.updateIntervalMs) await this.#sendUpdates(idle)
    await this.#writer.keepUp()
    if (this.#writer.isWriting || nowMs - this.#lastCheckpointMs < config.train.checkpointIntervalMs) return
    if (this.#taken?.batch !== this.#batch) await this.#checkpoint()
    else {
      // Nothing has been learned since the last one: it is as good as new.
      this.#lastCheckpointMs = nowMs
      this.#options.measure?.([{ metric: 'checkpointAge', value: nowMs }])
    }
  }

  /**
   * Changed rows, and the tower weights when their time has come: those of the last batch are sent even if no other
   * batch follows.
   */
  async #sendUpdates(withWeights: boolean): Promise<void> {
    const { trainer, config, clock } = this.#options
    const nowMs = clock.nowMs()
    this.#lastUpdateMs = nowMs
    if (this.#requests.holdUpdates || this.#again.length > 0) return
    const isTime = withWeights || this.#sentBatch === 0 || nowMs - this.#lastWeightsMs >= config.train.weightsIntervalMs
    const weightsDue = isTime && this.#sentWeightsBatch !== this.#batch
    if (!weightsDue && this.#sentBatch === this.#batch) return
    if (weightsDue) this.#lastWeightsMs = nowMs
    await this.#send(trainer.takeUpdates(weightsDue, nowMs), weightsDue)
  }

  async #send(updates: readonly ModelUpdate[], withWeights: boolean): Promise<void> {
    const { log, codecs, config } = this.#options
    const records: NewRecord[] = updates
      // The number of the batch, which never goes back, as the trainer's own does after a divergence.
      .map((update) => (update.kind === 'commit' ? { ...update, step: this.#batch } : update))
      .map((update) => ({
        key: text.encode(updateKey(update)),
        value: codecs.modelUpdate.encode(update),
        partition: 0
      }))
    await log.append(config.topics.modelUpdates, records, fence)
    this.#sentBatch = this.#batch
    if (withWeights) this.#sentWeightsBatch = this.#batch
  }

  /**
   * Takes a checkpoint; it is written while learning goes on. Updates first: rows that changed but were not sent are
   * not part of it. @param asVersion kept as a version, and no other is deleted for it: one of them is about to be
   * restored
   */
  async #checkpoint(asVersion = false): Promise<void> {
    const { trainer, clock, config } = this.#options
    // While batches are learned again, commits of later ones are in the log: an index refuses what an earlier one says
    // as old. What is not sent yet is in no checkpoint, so none is taken either.
    if (this.#again.length > 0) return
    await this.#writer.saved()
    await this.#sendUpdates(false)
    const startedMs = clock.nowMs()
    const version =
      config.train.versionKeep > 0 && (asVersion || startedMs - this.#versionAtMs >= config.train.versionIntervalMs)
    if (version) this.#versionAtMs = startedMs
    const next = offsetsOf(this.#waiting.next)
    const { loss } = this
    const batch = this.#batch
    this.#taken = { batch, next: JSON.stringify(next) }
    const besides = (extent: Extent) => {
      const progressive = this.evaluator.copy(extent)
      const stage: StageState = {
        batch,
        next,
        repeats: this.#repeats.state(),
        progressive: progressive.header,
        drift: this.drift.state(),
        examplesLearned: this.examplesLearned,
        account: this.account(),
        examplesUndone: this.examplesUndone,
        untrainedTargets: this.untrainedTargets,
        batchesDropped: this.batchesDropped,
        rollbacks: this.rollbacks,
        savedAtMs: startedMs,
        versionAtMs: this.#versionAtMs,
        modelVersion: trainer.modelVersion,
        ...this.#requests.state(),
        divergedInARow: this.#divergedInARow,
        loss: finite(loss),
        intraUserCosine: finite(this.intraUserCosine)
      }
      return { header: { stage }, parts: named('progressive', progressive.parts) }
    }
    const onSaved = (saved: SavedCheckpoint) => this.#tellSaved(saved, { batch, next, loss: finite(loss), startedMs })
    this.#writer.take(batch, besides, { version, pruneLater: asVersion, onSaved })
    this.#lastCheckpointMs = clock.nowMs()
  }

  #tellSaved(
    { bytes, oldest }: SavedCheckpoint,
    { batch, next, loss, startedMs }: Pick<StageState, 'batch' | 'next' | 'loss'> & { readonly startedMs: number }
  ): void {
    const { ledger, clock, config, logger, measure } = this.#options
    // Versions are gone back to by request, not by learning again all that came after them.
    ledger.truncateBefore(oldest + 1)
    const savedMs = clock.nowMs()
    const offsets = Object.entries(next).map(([partition, to]) => ({ partition: Number(partition), to }))
    logger?.info(
      { topic: config.topics.userSequences, next: offsets, batch, bytes, loss },
      `checkpoint of batch ${batch}`
    )
    measure?.([
      { metric: 'checkpoints', value: 1 },
      { metric: 'checkpointAge', value: savedMs },
      { metric: 'checkpointSeconds', value: (savedMs - startedMs) / 1000 },
      { metric: 'checkpointBytes', value: bytes }
    ])
  }

  /** The trainer, and the figures that are of its weights: ranks before learning, loss and cosine. */
  #restoreModel(checkpoint: Checkpoint): StageState {
    const state = checkpoint.header.stage as StageState
    const goesOn = this.evaluator.beginRestore(state.progressive)
    this.#options.trainer.restore(checkpoint, ({ arrays }) => {
      if (goesOn) this.evaluator.restorePart(arrays)
    })
    if (goesOn) this.evaluator.endRestore()
    this.untrainedTargets = state.untrainedTargets
    this.loss = state.loss ?? Number.NaN
    this.intraUserCosine = state.intraUserCosine ?? Number.NaN
    return state
  }

  async #restore(): Promise<void> {
    const { trainer, checkpoints, ledger } = this.#options
    const latest = await checkpoints.latest()
    if (latest !== undefined) {
      const state = this.#restoreModel(latest.checkpoint)
      this.#batch = state.batch
      this.#waiting.restore(
        new Map(Object.entries(state.next).map(([partition, offset]) => [Number(partition), BigInt(offset)]))
      )
      this.#repeats = RepeatFilter.from(state.repeats)
      if (state.drift !== undefined) this.drift.restore(state.drift)
      this.#account = new Account('train', state.account)
      this.#meter = new AccountMeter(this.account())
      this.examplesUndone = state.examplesUndone
      this.batchesDropped = state.batchesDropped
      this.rollbacks = state.rollbacks
      this.#versionAtMs = state.versionAtMs ?? 0
      this.#requests.restore(state)
      // Rows that are not part of the checkpoint are dirty again by learning again; all of them need not be sent.
      if (state.modelVersion !== undefined) trainer.restoreVersion(state.modelVersion)
      this.#divergedInARow = state.divergedInARow ?? 0
    }
    this.#again = [...ledger.after(this.#batch)]
    const first = this.#again[0]
    if (first !== undefined && first.step !== this.#batch + 1)
      throw new CorruptError(
        `no checkpoint of the last ${this.#options.config.train.checkpointKeep} is intact: the newest whole one is version ${this.#batch}, and batches between it and ` +
          `${first.step} are no longer known. Put a checkpoint back from a backup, or remove batches.ledger to learn on from that version, and ask for \`mtmi publish --rebuild\``
      )
  }

  #noteCatalogue(change: CatalogueChange): void {
    const { itemId, before, offset } = change
    const known = knownTo(this.#again[0])
    if (known === undefined || offset < known) {
      this.#options.trainer.featuresChanged(itemId)
      return
    }
    this.#catalogueAhead.push(change)
    const asKnown = this.#asKnown.get(itemId)
    if (asKnown === undefined) this.#asKnown.set(itemId, { features: before, ahead: 1 })
    else asKnown.ahead++
  }

  /** @param again the batch that is learned again, up to whose knowledge only; undefined: all that has been read */
  #learnCatalogue(again: LedgerEntry | undefined): void {
    const to = knownTo(again) ?? this.#catalogue.next
    const later = this.#catalogueAhead.findIndex(({ offset }) => offset >= to)
    for (const { itemId, after } of this.#catalogueAhead.splice(0, later < 0 ? this.#catalogueAhead.length : later)) {
      const asKnown = this.#asKnown.get(itemId)!
      asKnown.features = after
      if (--asKnown.ahead === 0) this.#asKnown.delete(itemId)
      this.#options.trainer.featuresChanged(itemId)
    }
    if (to > this.#catalogueKnown) this.#catalogueKnown = to
  }
}

/** Next offset of the catalogue when the batch was learned first; undefined: none is learned again. */
function knownTo(again: LedgerEntry | undefined): bigint | undefined {
  const known = again?.detail?.catalogue
  return typeof known === 'string' ? BigInt(known) : undefined
}

function offsetsOf(next: Offsets): Readonly<Record<string, string>> {
  return Object.fromEntries([...next].map(([partition, offset]) => [partition, String(offset)]))
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null
}

function freshSteps(sequences: readonly UserSequence[]): number {
  let count = 0
  for (const { fresh } of sequences) count += fresh.length
  return count
}

/**
 * Who is erased, and the sequences without those that came before their user's erasure: what is not learned need not be
 * forgotten.
 */
function withoutErased(records: readonly WaitingRecord['sequence'][]): { sequences: UserSequence[]; erased: UserId[] } {
  const erased = new Set<UserId>()
  const sequences: UserSequence[] = []
  for (const record of [...records].reverse()) {
    if ('erased' in record) erased.add(record.erased)
    else if (!erased.has(record.userId)) sequences.push(record)
  }
  return { sequences: sequences.reverse(), erased: [...erased] }
}

function byTime(a: Example, b: Example): number {
  return (
    a.target.eventTimeMs - b.target.eventTimeMs ||
    a.source.partition - b.source.partition ||
    (a.source.offset < b.source.offset ? -1 : 1)
  )
}
