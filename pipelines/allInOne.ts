// All stages in one process: the log and the sequencer on the main thread, training and publishing on the model thread,
// search on a third.

import { setTimeout as pause } from 'node:timers/promises'
import { DDSketch } from '@datadog/sketches-js'
import { Account, type AccountNumbers } from '../src/core/account.ts'
import { type BackgroundTasks, untilAborted, withinMs } from '../src/core/backgroundTasks.ts'
import { systemClock } from '../src/core/clock.ts'
import type { Config } from '../src/core/config/config.ts'
import { UnavailableError } from '../src/core/errors.ts'
import { offsetsFromJson, recordsBehind } from '../src/core/offsets.ts'
import { Outage } from '../src/core/outage.ts'
import { handledLater } from '../src/core/promises.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import { interestScoreOf } from '../src/index/interestScore.ts'
import type { IndexState, VectorIndex } from '../src/index/vectorIndex.ts'
import { loadInteractions, loadItems } from '../src/ingest/load.ts'
import { CatalogueReader } from '../src/log/catalogueReader.ts'
import type { StageIo } from '../src/log/stageIo.ts'
import { AccountMeter } from '../src/monitor/accountMetrics.ts'
import { DriftWatch, driftStore } from '../src/monitor/driftWatch.ts'
import type { MetricsReport, TaskName } from '../src/monitor/metrics.ts'
import { createMetrics, type Metrics } from '../src/monitor/metricsRegistry.ts'
import type { CatalogueItem } from '../src/records/catalogueItem.ts'
import type { Interaction, UserId } from '../src/records/interaction.ts'
import type { SequenceStep } from '../src/records/userSequence.ts'
import { openOwnedSequences } from '../src/sequence/ownedSequences.ts'
import { SequenceStage, type SequenceStatus } from '../src/sequence/sequenceStage.ts'
import type { Readiness } from '../src/serve/http/probeRoutes.ts'
import { Recommender } from '../src/serve/recommender.ts'
import type { SessionEncoder } from '../src/serve/sessions.ts'
import { buildInfo } from './backendInfo.ts'
import { logStyle, openLogger } from './logger.ts'
import { openIndex, openStageIo, sequenceDisk, watchIndex, wholePlace } from './parts.ts'
import { progressiveMetrics } from './progressiveMetrics.ts'
import { ProgressWatch } from './progressWatch.ts'
import { closeMaxMs, isPublished, isTrained, processTasks } from './stageProcess.ts'
import { type ModelThread, startModelThread } from './thread/client.ts'
import type { FromModelThread, ModelThreadTask, PublishStatus, TrainStatus } from './thread/messages.ts'
import { heldDetail } from './versionsReport.ts'

/** Records that may wait for the sequencer and for the trainer while a data set is loaded: enough to keep both busy. */
const interactionsAheadMax = 4096
const sequencesAheadMax = 512
const pollMs = 10
const watchMs = 1000
/** Between two rounds of retention and compaction; each does a bounded amount. */
const maintainMs = 10_000

export interface PipelineOptions {
  /** Called for what fails and is retried. */
  readonly onProblem: (message: string) => void
  /**
   * Folders of the run for what a process of a consumer group keeps, as `mtmi sequence` and `publish` have them; absent:
   * those of the only process.
   */
  readonly places?: { readonly sequence: string; readonly publish: string }
  /** Read topics that were created again from their beginning. */
  readonly acceptNewTopic?: boolean
}

interface PipelineStatus {
  readonly sequence: SequenceStatus
  readonly train: TrainStatus | undefined
  readonly publish: PublishStatus | undefined
}

interface PipelineParts extends PipelineOptions {
  readonly io: StageIo
  readonly index: VectorIndex
  readonly metrics: Metrics
  readonly tasks: BackgroundTasks<TaskName>
  readonly run: RunDirectory
}

export class WholePipeline {
  readonly io: StageIo
  readonly index: VectorIndex
  readonly metrics: Metrics
  readonly recommender: Recommender
  readonly drift: DriftWatch
  readonly onProblem: (message: string) => void
  readonly #stop = new AbortController()
  readonly #sequence: SequenceStage
  readonly #catalogue: CatalogueReader
  readonly #categoriesMeter = new AccountMeter(new Account('categories').numbers())
  readonly #freshness = new DDSketch({ relativeAccuracy: 0.01 })
  /** Supervise everything in the background. */
  readonly tasks: BackgroundTasks<TaskName>
  readonly #watch = new ProgressWatch<'sequence' | 'train' | 'publish'>()
  #thread!: ModelThread
  #train: TrainStatus | undefined
  #publish: PublishStatus | undefined
  /** What was served at the last look, at most a second ago. */
  #live: () => IndexState | undefined = () => undefined

  private constructor({ io, index, metrics, tasks, run, onProblem, places, acceptNewTopic = false }: PipelineParts) {
    const { config, clock } = io
    this.io = io
    this.index = index
    this.onProblem = onProblem
    this.metrics = metrics
    this.tasks = tasks
    const measure = (report: MetricsReport) => this.metrics.apply(report)
    const catalogue = new CatalogueReader(io, { stage: 'sequence', measure })
    this.#catalogue = catalogue
    this.drift = new DriftWatch({
      ...{ clock, measure, store: driftStore(run), options: config.drift },
      catalogue: catalogue.catalogue
    })
    this.recommender = new Recommender({
      ...{ index, clock, options: config.recommend, scoring: interestScoreOf(config.model) }
    })
    const disk = sequenceDisk(run, config, places?.sequence ?? 'sequences')
    this.#sequence = new SequenceStage({
      ...io,
      ...{ measure, catalogue, drift: this.drift },
      openStore: (partition, reset) =>
        openOwnedSequences({ io, disk, isAlone: config.log === 'local', acceptNewTopic }, partition, reset),
      ...openLogger(config, 'sequence', logStyle(config, false)).forStages
    })
  }

  static async open(
    config: Config,
    dataDir: string,
    run: RunDirectory,
    options: PipelineOptions
  ): Promise<WholePipeline> {
    const { onProblem, places, acceptNewTopic = false } = options
    const io = await openStageIo(config, run, wholePlace)
    const metrics = createMetrics({ clock: io.clock })
    const measure = (report: MetricsReport) => metrics.apply(report)
    const tasks = processTasks(metrics, onProblem)
    const index = await openIndex(config, run, { searchThread: true, tasks, onProblem, measure })
    const pipeline = new WholePipeline({ io, index, metrics, tasks, run, ...options })
    const task: ModelThreadTask = {
      ...{ config, dataDir, run: run.name, stages: ['train', 'publish'], logStyle: logStyle(config, false) },
      ...(places && { place: places.publish }),
      acceptNewTopic
    }
    try {
      await pipeline.#begin(task)
    } catch (error) {
      await index.close()
      await io.log.close()
      throw error
    }
    return pipeline
  }

  async #begin(task: ModelThreadTask): Promise<void> {
    const tasks = this.tasks
    const thread = await startModelThread(task, (message) => this.#receive(message))
    this.#thread = thread
    this.metrics.info(buildInfo(thread.backend))
    tasks.keep(
      'model',
      'the model thread',
      { restarts: false, problem: () => thread.problem() },
      async ({ signal }) => {
        await Promise.race([thread.ended, untilAborted(signal)])
        if (signal.aborted) await thread.stop()
      }
    )
    tasks.keep('sequence', 'sequencing', { restarts: false }, ({ signal }) => this.#sequence.run(signal))
    tasks.every('maintenance', 'maintenance of the log', { intervalMs: maintainMs, required: false }, () =>
      this.io.maintain()
    )
    tasks.every('progress', 'reading where the log ends', { intervalMs: watchMs, required: true }, () =>
      this.#measureProgress()
    )
    this.#live = watchIndex(this.index, { tasks, metrics: this.metrics }).live
  }

  get backend(): ModelThread['backend'] {
    return this.#thread.backend
  }

  /** Encodes sessions that are not stored, with the model that publishes. */
  get sessions(): SessionEncoder {
    return this.#thread
  }

  status(): PipelineStatus {
    return { sequence: this.#sequence.status(), train: this.#train, publish: this.#publish }
  }

  /** The outcome of every record that each stage has read, in the order of the flow. */
  accounts(): readonly AccountNumbers[] {
    const { sequence, train, publish } = this.status()
    return [
      sequence.account,
      this.#categories(),
      ...(train === undefined ? [] : [train.account, train.catalogue]),
      ...(publish?.accounts ?? [])
    ]
  }

  #categories(): AccountNumbers<'categories'> {
    return { ...this.#catalogue.account(), reader: 'categories' }
  }

  /** The error that ended a stage; undefined while all of them run. */
  get failure(): Error | undefined {
    return this.tasks.failure
  }

  /** Rejects when a stage ends before `close`; never resolves. */
  failed(): Promise<never> {
    return this.tasks.failed
  }

  /** The user with the newest event time of those with at least `stepsMin` steps, as of the last commit. */
  newestUser(stepsMin: number): { userId: UserId; steps: readonly SequenceStep[] } | undefined {
    return this.#sequence.newestUser(stepsMin)
  }

  /** Users whose events this process sequenced last, newest first. */
  newestUsers(limit: number): UserId[] {
    return this.#sequence.newestUsers(limit)
  }

  /** Newest event time of the stream, milliseconds since the Unix epoch; 0 before the first. */
  watermarkMs(): number {
    return this.#sequence.watermarkMs()
  }

  /** Progress of each stage at the last look, at most a second ago. */
  stages(): ReturnType<ProgressWatch<'sequence' | 'train' | 'publish'>['lags']> {
    return this.#watch.lags(this.io.clock.nowMs())
  }

  /** Events that wait for the sequencer, as of the last look. */
  waitingEvents(): number {
    for (const { stage, waiting } of this.stages()) if (stage === 'sequence') return waiting
    return 0
  }

  /** From a click in the log to its user's vectors being searchable; undefined before the first. */
  freshnessMs(): { p50: number; p99: number } | undefined {
    if (this.#freshness.count === 0) return undefined
    return { p50: this.#freshness.getValueAtQuantile(0.5), p99: this.#freshness.getValueAtQuantile(0.99) }
  }

  loadItems(items: AsyncIterable<CatalogueItem> | Iterable<CatalogueItem>): Promise<number> {
    const { log, codecs, config } = this.io
    return loadItems(items, { log, codecs, topic: config.topics.items, signal: this.#stop.signal })
  }

  /** @returns how many interactions of the source are in the log, from this and earlier processes */
  async feed(
    name: string,
    interactions: AsyncIterable<Interaction> | Iterable<Interaction>,
    account: Account<'source'>
  ): Promise<number> {
    const { log, codecs, config } = this.io
    const loaded = await loadInteractions(interactions, {
      ...{ log, codecs, name, account, topic: config.topics.interactions, signal: this.#stop.signal },
      hasRoom: () => this.#hasRoom()
    })
    this.#throwFailure()
    return loaded
  }

  /** Whether the stages make progress, not whether sockets are open. */
  readiness(): Readiness {
    const { clock } = this.io
    if (this.failure !== undefined) return { ready: false, detail: `a stage has failed: ${this.failure.message}` }
    const stalled = this.io.health?.problem() ?? this.#watch.stalled(clock.nowMs()) ?? this.#publish?.outage
    if (stalled !== undefined) return { ready: false, detail: stalled }
    const live = this.#live()
    if (live === undefined) return this.tasks.readiness({ ready: false, detail: 'no vectors are published yet' })
    const detail = `index version ${live.indexVersion}, step ${live.step}${heldDetail(this.#publish)}`
    return this.tasks.readiness({ ready: true, detail, accounts: this.accounts() })
  }

  /** Repeats a request to the index until it answers. @throws what cannot be retried, or what ended a stage */
  async answered<T>(query: () => Promise<T>): Promise<T> {
    const outage = new Outage({ what: 'reading from the index', clock: this.io.clock, onProblem: this.onProblem })
    const answer = handledLater(outage.retry(async () => ({ value: await query() }), this.#stop.signal))
    const found = await Promise.race([answer, this.failed()])
    if (found === undefined) throw new UnavailableError('the pipeline was closed before the index answered')
    return found.value
  }

  /** Resolves when everything in the log has been sequenced, trained on and published. */
  async settle(): Promise<void> {
    this.#drain(true)
    while (!(await this.#isSettled())) {
      this.#throwFailure()
      await pause(pollMs)
    }
    this.#drain(false)
  }

  /**
   * Resolves when everything that is in the log now has been sequenced, trained on and published. Later events are not
   * waited for: a topic that is written to never ends.
   */
  async passed(): Promise<void> {
    const { log, config } = this.io
    const until = async (isReached: () => boolean) => {
      while (!isReached()) {
        this.#throwFailure()
        await pause(pollMs)
      }
    }
    const events = await log.ends(config.topics.interactions)
    await until(() => recordsBehind(this.#sequence.consumed(), events) <= 0)
    const sequences = await log.ends(config.topics.userSequences)
    await until(() => recordsBehind(this.#train?.consumed ?? {}, sequences) <= 0)
    await until(() => recordsBehind(this.#publish?.consumed ?? {}, sequences) <= 0)
  }

  #drain(on: boolean): void {
    this.#thread.drain(on)
    this.#sequence.drain(on)
  }

  /** Finishes the work in progress, makes it durable and releases everything. */
  async close(): Promise<void> {
    this.#stop.abort()
    try {
      await this.tasks.stop()
    } finally {
      await this.index.close()
      await withinMs(systemClock, closeMaxMs, this.io.log.close())
    }
  }

  #receive(message: FromModelThread): void {
    if (message.kind === 'train') this.#train = message.status
    else if (message.kind === 'publish') this.#publish = message.status
    else if (message.kind === 'metrics') this.metrics.apply(message.report)
    else if (message.kind === 'freshness') for (const ageMs of message.agesMs) this.#freshness.accept(ageMs)
    else if (message.kind === 'problem') this.onProblem(message.message)
  }

  /** Lags and counts, for /readyz and /metrics. */
  async #measureProgress(): Promise<void> {
    const { log, clock, config } = this.io
    const { interactions, userSequences } = config.topics
    this.metrics.apply(this.#categoriesMeter.entries(this.#categories()))
    const [events, sequences] = await Promise.all([log.ends(interactions), log.ends(userSequences)])
    const nowMs = clock.nowMs()
    const [train, publish] = [this.#train, this.#publish]
    const reached = ({ consumed, takenAtMs }: Pick<TrainStatus, 'consumed' | 'takenAtMs'>) => ({
      ...{ consumed: offsetsFromJson(consumed), ends: sequences, takenAtMs }
    })
    const sequenced = { consumed: this.#sequence.consumed(), ends: events, takenAtMs: this.#sequence.takenAtMs }
    this.#watch.note('sequence', sequenced, nowMs)
    this.#watch.note('train', reached(train ?? { consumed: {}, takenAtMs: 0 }), nowMs)
    if (publish !== undefined) this.#watch.note('publish', reached(publish), nowMs)
    this.#watch.measure(this.metrics, nowMs)
    this.metrics.users.set(this.#sequence.status().users)
    this.metrics.apply(this.io.health?.takeReport() ?? [])
    if (train !== undefined) this.metrics.apply(progressiveMetrics(train.progressive))
  }

  async #hasRoom(): Promise<boolean> {
    this.#throwFailure()
    const { log, config } = this.io
    const { interactions, userSequences } = config.topics
    const [events, sequences] = await Promise.all([log.ends(interactions), log.ends(userSequences)])
    return (
      recordsBehind(this.#sequence.consumed(), events) < interactionsAheadMax &&
      recordsBehind(this.#train?.consumed ?? {}, sequences) < sequencesAheadMax
    )
  }

  /** In the order of the flow: a stage that has settled gets no more records once those before it have. */
  async #isSettled(): Promise<boolean> {
    const events = await this.io.log.ends(this.io.config.topics.interactions)
    if (recordsBehind(this.#sequence.consumed(), events) > 0 || !this.#sequence.committed) return false
    return (await isTrained(this.#train, this.io)) && (await isPublished(this.#publish, this.io))
  }

  #throwFailure(): void {
    if (this.failure !== undefined) throw this.failure
  }
}
