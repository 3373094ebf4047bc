// user-sequences → model-updates: each mini-batch is ranked, then trained on. Its boundaries are written first, so that
// a restart trains on the very same batches again.

import type { AccountNumbers } from '../core/account.ts'
import { runTogether } from '../core/backgroundTasks.ts'
import { CorruptError, DivergedError } from '../core/errors.ts'
import type { OffsetRanges, Offsets } from '../core/offsets.ts'
import { CatalogueReader } from '../log/catalogueReader.ts'
import type { DeadLetters } from '../log/deadLetters.ts'
import { isErasure } from '../log/erasure.ts'
import type { LogRecord } from '../log/eventLog.ts'
import { stageDeadLetters } from '../log/followTopic.ts'
import { sequenceOf, userOf } from '../log/userRecords.ts'
import { goOnTracing, tracesOfAll } from '../monitor/tracing.ts'
import type { Example } from '../records/example.ts'
import { loadSchemas } from '../records/registry/schemaRegistry.ts'
import { mergeTraces, type Traces } from '../records/traceContext.ts'
import { batchExamples } from './batchExamples.ts'
import type { LedgerEntry } from './checkpoint/batchLedger.ts'
import { KnownCatalogue } from './knownCatalogue.ts'
import { ModelRequests, type RequestContext } from './modelRequests.ts'
import type { ModelWatch } from './modelWatch.ts'
import type { ProgressiveEvaluator } from './progressive/progressive.ts'
import { RepeatFilter } from './repeatFilter.ts'
import { StageCheckpoints } from './stageCheckpoints.ts'
import type { BatchReport, StepReport } from './trainer.ts'
import type { TrainFigures } from './trainFigures.ts'
import type { TrainStageOptions } from './trainStageOptions.ts'
import { TrainState } from './trainState.ts'
import { UpdateSender } from './updateSender.ts'
import { type WaitingRecord, WaitingRecords } from './waitingRecords.ts'

/** Steps in a row that were not finite before the trainer goes back to the last checkpoint. */
const divergedMax = 3
/** Shown by the tools of the log. */
const trainName = 'mtmi-train'

export class TrainStage {
  readonly #options: TrainStageOptions
  readonly #state: TrainState
  readonly #requests: ModelRequests
  readonly #waiting: WaitingRecords
  readonly #letters: DeadLetters
  readonly #checkpoints: StageCheckpoints
  readonly #sender: UpdateSender
  readonly #catalogue: CatalogueReader
  readonly #known: KnownCatalogue
  /** Reading of the catalogue waits for `#restore`. */
  readonly #held: { release(): void }
  /** Batches that were written to the ledger before a crash and are trained on again unchanged. */
  #again: LedgerEntry[] = []
  #draining = false
  #isReset = false
  /** Reading has begun: `consumed` includes what tools have set for the group. */
  #hasPosition = false
  /** Of the events in the current batch. */
  #traces: Traces | undefined

  constructor(options: TrainStageOptions) {
    this.#options = options
    const { control, trainer, checkpoints, config, clock, measure } = options
    this.#waiting = new WaitingRecords(clock)
    this.#catalogue = options.catalogue ?? new CatalogueReader(options, { ...options, stage: 'train' })
    this.#held = this.#catalogue.hold()
    this.#known = new KnownCatalogue(this.#catalogue, trainer, () => this.#again[0]?.catalogue)
    const { userSequences: topic } = config.topics
    this.#letters = stageDeadLetters(options, { ...options, stage: 'train', topic, resumes: true })
    this.#state = new TrainState({ clock, measure })
    this.#checkpoints = new StageCheckpoints(options, {
      state: this.#state,
      repeatsBatches: () => this.#again.length > 0,
      sendUpdates: () => this.#sendUpdates(false),
      next: () => this.#waiting.next,
      requests: () => this.#requests.state()
    })
    this.#sender = new UpdateSender(options, trainer)
    const context = this.#requestContext()
    this.#requests = new ModelRequests({ control, trainer, checkpoints, model: config.model, clock, context })
  }

  /** Until abort; then a checkpoint is taken. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#restore()
    this.#held.release()
    await runTogether(
      { signal, clock: this.#options.clock },
      {
        'reading the catalogue': (either) => this.#catalogue.follow(either),
        training: (either) => this.#readSequences(either)
      }
    )
    await this.#checkpoints.end()
  }

  async #readSequences(signal: AbortSignal): Promise<void> {
    const { log, config } = this.#options
    await this.#catalogue.caughtUp(signal) // features must be known before the items are trained on
    await this.#requests.handle()
    this.#checkpoints.start()
    this.#sender.start()
    await this.#applyNewTopics()
    const resume = async (partition: number, _?: bigint, reset?: bigint) => {
      if (reset !== undefined) this.#resetTo(partition, reset)
      return this.#waiting.next.get(partition) ?? 0n
    }
    for await (const event of log.read(config.topics.userSequences, { resume, signal, name: trainName })) {
      if (this.#isReset) await this.#saveReset()
      if (event.kind !== 'assigned') this.#hasPosition = true
      if (event.kind === 'records') await this.#receive(event.partition, event.records)
      await this.#trainDue(event.kind === 'idle', signal)
      await this.#requests.handle()
      await this.#housekeep()
    }
  }

  /** The reader continues elsewhere than in the state: batches that were to be repeated cannot be, or would be cut twice. */
  #leaveBatches(): void {
    const last = this.#again.at(-1)
    if (last === undefined) return
    this.#again = []
    this.#state.batch = last.step // publishers have updates up to it
    this.#options.trainer.resendAll()
  }

  async #applyNewTopics(): Promise<void> {
    const { newTopics, trainer } = this.#options
    if (newTopics === undefined) return
    if (newTopics.userSequences) {
      this.#leaveBatches()
      this.#waiting.restore(new Map())
    }
    if (newTopics.modelUpdates) trainer.resendAll()
    await this.#saveReset()
    newTopics.onApplied()
  }

  #resetTo(partition: number, next: bigint): void {
    this.#leaveBatches()
    const offsets = this.#waiting.next
    // What is read again is trained on again.
    if (next < (offsets.get(partition) ?? 0n)) this.#state.repeats = new RepeatFilter()
    this.#waiting.restore(offsets.set(partition, next))
    this.#isReset = true
  }

  async #saveReset(): Promise<void> {
    this.#isReset = false
    if (this.batch === 0 || !this.#state.isSound) return
    await this.#checkpoints.take()
    await this.#checkpoints.saved()
  }

  /** While on, batches that are not full are trained on at once, and updates are sent as soon as nothing waits. */
  drain(on: boolean): void {
    this.#draining = on
  }

  get evaluator(): ProgressiveEvaluator {
    return this.#state.evaluator
  }

  get drift(): ModelWatch {
    return this.#state.drift
  }

  get figures(): TrainFigures {
    return this.#state.figures
  }

  get examplesTrained(): number {
    return this.#state.examplesTrained
  }

  /** The outcome of every new step, those of earlier processes included. */
  account(): AccountNumbers<'train'> {
    return this.#state.account.numbers()
  }

  /** Number of the last batch. */
  get batch(): number {
    return this.#state.batch
  }

  /** Everything that can be sent has been sent; while draining, the tower weights of the last batch too. */
  get updatesSent(): boolean {
    const { updatesHeld } = this.#requests
    return (
      this.#hasPosition && (this.#sender.hasSent(this.batch, this.#draining) || !this.#state.isSound || updatesHeld)
    )
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

  /** undefined: the record is in no batch, because its user expired or it became a dead letter. */
  #sequence(record: LogRecord): WaitingRecord['sequence'] | undefined {
    let sequence: WaitingRecord['sequence'] | undefined
    this.#letters.attempt(record, () => {
      if (record.value !== null) sequence = sequenceOf(this.#options.codecs, record)
      else if (isErasure(record)) sequence = { erased: userOf(record) }
    })
    return sequence
  }

  async #trainDue(idle: boolean, signal: AbortSignal): Promise<void> {
    const { batchSize, batchWaitMaxMs } = this.#options.config.train
    while (!signal.aborted) {
      const entry = this.#again[0]
      if (entry !== undefined) {
        if (!this.#waiting.covers(entry.ranges)) return
        this.#again.shift()
        await this.#train(entry.ranges, entry)
        continue
      }
      const full = this.#waiting.examples >= batchSize
      const due = idle && !this.#waiting.isEmpty && (this.#draining || this.#waiting.waitedMs >= batchWaitMaxMs)
      if (!full && !due) return
      await this.#train(this.#waiting.nextRanges(batchSize), undefined)
    }
  }

  /** @param again the batch's entry where it was trained on before a crash */
  async #train(ranges: OffsetRanges, again: LedgerEntry | undefined): Promise<void> {
    const { config, ledger, trainer, clock } = this.#options
    const records = this.#cut(ranges)
    this.#known.advance(again?.catalogue)
    const { examples, erased } = batchExamples(records, config.events.types, this.#state)
    for (const userId of erased) trainer.forgetUser(userId)
    this.#state.batch++
    if (again === undefined)
      ledger.append({ step: this.batch, ranges, examples: examples.length, catalogue: this.#known.next })
    else if (again.step !== this.batch || again.examples !== examples.length)
      throw new CorruptError(
        `batch ${again.step} had ${again.examples} examples before the restart; the log now gives ${examples.length} as batch ${this.batch}. ` +
          `Records were removed from ${config.topics.userSequences} too early (topics.minCompactionLagMs), or the state belongs to another log`
      )
    this.#waiting.advance(ranges)
    if (examples.length === 0) {
      this.#measureAccount()
      return this.#checkpoints.forget(erased)
    }
    const startMs = clock.nowMs()
    const report = this.#step(examples, ranges)
    this.#logStep(report, examples.length, ranges, startMs)
    this.drift.observe(report.evaluation, report.step, examples.at(-1)!.target.eventTimeMs)
    if (report.step !== undefined) this.#options.onTrained?.(this.batch, examples)
    this.#measureAccount()
    this.#options.onBatch?.({ batch: this.batch, examples: examples.length, ...report })
    if (this.#state.divergedInARow >= divergedMax) await this.#checkpoints.goBack()
    await this.#requests.handle()
    if (this.#sender.isFirst && this.#state.isSound) await this.#sendUpdates(true) // serving after one batch beats not serving
    await this.#checkpoints.forget(erased)
    await this.#housekeep()
    await (this.#options.betweenBatches?.() ?? clock.sleep(0))
  }

  #cut(ranges: OffsetRanges): WaitingRecord['sequence'][] {
    const taken = this.#waiting.cut(ranges)
    const { figures } = this
    for (const { timestampMs } of taken) figures.takenAtMs = Math.max(figures.takenAtMs, timestampMs)
    const traces = taken.map((each) => each.traces).filter((each) => each !== undefined)
    if (traces.length > 0) this.#traces = mergeTraces(traces)
    return taken.map(({ sequence }) => sequence)
  }

  #measureAccount(): void {
    this.#options.measure?.(this.#state.meter.entries(this.account()))
  }

  #step(
    examples: readonly Example[],
    ranges: OffsetRanges
  ): Pick<BatchReport, 'evaluation' | 'step' | 'evaluateMs' | 'learnMs'> {
    const { trainer, clock, config } = this.#options
    const { account, evaluator, figures } = this.#state
    const startedMs = clock.nowMs()
    const isTrained = this.examplesTrained > 0
    const evaluation = trainer.evaluateExamples(examples)
    const { targets } = evaluator
    if (config.progressive.share !== 0) evaluator.observe(examples, evaluation.ranks, evaluation)
    if (!isTrained) figures.untrainedTargets += evaluator.targets - targets
    figures.noteCosine(evaluation.intraUserCosine)
    const evaluatedMs = clock.nowMs()
    let step: StepReport | undefined
    try {
      step = trainer.learnExamples(examples, ranges)
      for (const outcome of ['trained', 'unknownItem', 'unknownHistory'] as const)
        account.add(outcome, step.fresh[outcome])
      account.add('flooded', step.refused ?? 0)
      if (step.examples > 0) figures.loss = step.loss
      this.#state.markSound()
    } catch (error) {
      if (!(error instanceof DivergedError)) throw error
      account.add('diverged', examples.length)
      figures.batchesDropped++
      this.#state.divergedInARow++
    }
    return { evaluation, step, evaluateMs: evaluatedMs - startedMs, learnMs: clock.nowMs() - evaluatedMs }
  }

  /** A step that changed nothing is a warning; one with traced events is logged at level info. */
  #logStep({ step }: Pick<BatchReport, 'step'>, examples: number, ranges: OffsetRanges, startMs: number): void {
    const { logger, config } = this.#options
    const traces = this.#traces
    this.#traces = undefined
    const span = goOnTracing(config, 'mtmi train', { kind: 'consumer', traces, startMs, attributes: { examples } })
    span.end()
    const topic = config.topics.userSequences
    const read = [...ranges].map(([partition, { from, to }]) => ({ partition, from: String(from), to: String(to) }))
    const fields = { topic, ranges: read, batch: this.batch, examples, ...span.fields }
    if (step === undefined)
      logger?.warn(fields, `batch ${this.batch} was dropped: its loss or a gradient was not finite`)
    else if (traces !== undefined) logger?.info({ ...fields, loss: step.loss }, 'trained')
    else logger?.debug({ ...fields, loss: step.loss }, 'trained')
  }

  /** Erasures that no batch waits with: at once. After a crash they are applied between the same two batches. */
  async #forgetWaiting(): Promise<void> {
    const erased = this.#waiting.takeErased()
    for (const userId of erased) this.#options.trainer.forgetUser(userId)
    await this.#checkpoints.forget(erased)
  }

  #requestContext(): RequestContext {
    return {
      repeatsBatches: () => this.#again.length > 0,
      saved: () => this.#checkpoints.saved(),
      keepVersion: async () => {
        if (!this.#state.isSound || this.batch === 0) return // the last checkpoint is what is left behind
        await this.#checkpoints.take(true)
        await this.#checkpoints.saved()
      },
      restoreVersion: (checkpoint) => {
        this.#state.noteUndone(checkpoint)
        this.#state.restoreModel(checkpoint, this.#options.trainer)
        this.#state.markSound()
      },
      nextBatch: () => {
        this.#state.batch++
      },
      sendAll: (updates) => this.#sender.sendAll(this.batch, updates),
      checkpoint: () => this.#checkpoints.take()
    }
  }

  async #housekeep(): Promise<void> {
    const idle = this.#draining && this.#waiting.isEmpty
    if (!this.#state.isSound) return // nothing is published, and no checkpoint taken, until a batch is trained on again
    if (idle || this.#sender.isDue) await this.#sendUpdates(idle)
    await this.#checkpoints.keepUp()
  }

  async #sendUpdates(withWeights: boolean): Promise<void> {
    const hold = this.#requests.holdUpdates || this.#again.length > 0
    await this.#sender.sendChanges(this.batch, withWeights, hold)
  }

  async #restore(): Promise<void> {
    const { trainer, checkpoints, ledger, config } = this.#options
    const latest = await checkpoints.latest()
    if (latest !== undefined) {
      const { next, requests } = this.#state.restore(latest.checkpoint, trainer)
      this.#waiting.restore(next)
      this.#requests.restore(requests)
    }
    this.#again = [...ledger.after(this.batch)]
    const first = this.#again[0]
    if (first !== undefined && first.step !== this.batch + 1)
      throw new CorruptError(
        `no checkpoint of the last ${config.train.checkpointKeep} is intact: the newest whole one is version ${this.batch}, and batches between it and ` +
          `${first.step} are no longer known. Restore a checkpoint from a backup; or remove batches.ledger to continue from that version, and request \`mtmi publish --rebuild\``
      )
  }
}
