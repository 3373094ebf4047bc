// The whole way in one process: the log and the sequencer on this thread, training and publishing on another, search on
// a third.

import { setTimeout as pause } from 'node:timers/promises'
import { DDSketch } from '@datadog/sketches-js'
import type { Account, AccountNumbers } from '../src/core/account.ts'
import { BackgroundTasks } from '../src/core/backgroundTasks.ts'
import type { Config } from '../src/core/config/config.ts'
import { UnavailableError } from '../src/core/errors.ts'
import type { Offsets } from '../src/core/offsets.ts'
import { Outage } from '../src/core/outage.ts'
import { handledLater } from '../src/core/promises.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import { version } from '../src/core/version.ts'
import { interestScoreOf } from '../src/index/interestScore.ts'
import type { IndexState, VectorIndex } from '../src/index/vectorIndex.ts'
import { feedInteractions, feedItems } from '../src/ingest/feed.ts'
import { CatalogueReader } from '../src/log/catalogueReader.ts'
import type { StageIo } from '../src/log/stageIo.ts'
import { DriftWatch, driftStore } from '../src/monitor/driftWatch.ts'
import type { MetricsReport, TaskName } from '../src/monitor/metrics.ts'
import { createMetrics, type Metrics } from '../src/monitor/metricsRegistry.ts'
import type { CatalogueItem } from '../src/records/catalogueItem.ts'
import type { Interaction, UserId } from '../src/records/interaction.ts'
import type { SequenceStep } from '../src/records/userSequence.ts'
import { SequenceStage, type SequenceStatus } from '../src/sequence/sequenceStage.ts'
import type { Readiness } from '../src/serve/http/readiness.ts'
import { type RecommendedItem, Recommender } from '../src/serve/recommender.ts'
import type { SessionEncoder } from '../src/serve/sessionEncoder.ts'
import { heldDetail } from './heldText.ts'
import { logStyle, openJournal } from './journal.ts'
import { codecEntries, offsetsFromJson, openIndex, openSequenceStore, openStageIo } from './parts.ts'
import { progressiveMetrics } from './progressiveMetrics.ts'
import { ProgressWatch } from './progressWatch.ts'
import { type ModelThread, startModelThread } from './thread/client.ts'
import type { FromModelThread, PublishStatus, TrainStatus } from './thread/messages.ts'

/**
 * Records that may wait for the sequencer, and for the trainer, while a data set is fed: enough to keep both busy, few
 * enough that what is learned is what has just happened.
 */
const interactionsAheadMax = 4096
const sequencesAheadMax = 512
const pollMs = 10
const watchMs = 1000
/** Between two rounds of retention and compaction; each does a bounded amount. */
const maintainMs = 10_000

export interface PipelineStatus {
  readonly sequence: SequenceStatus
  readonly train: TrainStatus | undefined
  readonly publish: PublishStatus | undefined
}

export class WholePipeline {
  readonly io: StageIo
  readonly index: VectorIndex
  readonly metrics: Metrics
  readonly recommender: Recommender
  readonly drift: DriftWatch
  readonly #config: Config
  readonly #stop = new AbortController()
  readonly #sequence: SequenceStage
  readonly #freshness = new DDSketch({ relativeAccuracy: 0.01 })
  #thread!: ModelThread
  #sequencing: Promise<void> = Promise.resolve()
  readonly #tasks: BackgroundTasks<TaskName>
  #train: TrainStatus | undefined
  #publish: PublishStatus | undefined
  #failure: Error | undefined
  readonly #watch = new ProgressWatch<'sequence' | 'train' | 'publish'>()
  /** What is served, a second ago. */
  #live: IndexState | undefined

  private constructor(
    io: StageIo,
    index: VectorIndex,
    run: RunDirectory,
    readonly onProblem: (message: string) => void
  ) {
    this.io = io
    this.index = index
    this.#config = io.config
    this.metrics = createMetrics({ clock: io.clock })
    this.#tasks = new BackgroundTasks({
      clock: io.clock,
      onProblem,
      onFailure: (task) => this.metrics.taskFailures.inc({ task })
    })
    const measure = (report: MetricsReport) => this.metrics.apply(report)
    const catalogue = new CatalogueReader(io, { stage: 'sequence', measure })
    this.drift = new DriftWatch({
      options: io.config.drift,
      clock: io.clock,
      catalogue: catalogue.catalogue,
      measure,
      store: driftStore(run)
    })
    const onList = (items: readonly RecommendedItem[]) => this.drift.noteRecommended(items.map(({ itemId }) => itemId))
    this.recommender = new Recommender({
      index,
      clock: io.clock,
      options: io.config.recommend,
      scoring: interestScoreOf(io.config.model),
      onList
    })
    this.#sequence = new SequenceStage({
      ...io,
      drift: this.drift,
      catalogue,
      openStore: (partition) => openSequenceStore(run, partition),
      ...openJournal(io.config, 'sequence', false).forStages,
      measure
    })
  }

  /** @param onProblem told of what is wrong but is being tried again */
  static async open(
    config: Config,
    dataDir: string,
    run: RunDirectory,
    onProblem: (message: string) => void
  ): Promise<WholePipeline> {
    const io = await openStageIo(config, run)
    const measure = (report: MetricsReport) => pipeline.metrics.apply(report)
    const index = await openIndex(config, run, { searchThread: true, onProblem, measure })
    const pipeline: WholePipeline = new WholePipeline(io, index, run, onProblem)
    const task = {
      config,
      dataDir,
      run: run.name,
      stages: ['train', 'publish'] as const,
      logStyle: logStyle(config, false)
    }
    try {
      pipeline.#thread = await startModelThread(task, (message) => pipeline.#hear(message))
    } catch (error) {
      await index.close()
      await io.log.close()
      throw error
    }
    const fail = (error: Error) => {
      pipeline.#failure ??= error
    }
    pipeline.#thread.ended.catch(fail)
    const { backend, tensorflow } = pipeline.#thread.backend
    pipeline.metrics.info({
      version,
      backend: backend === 'tensorflow' ? 'tfjs-node' : backend,
      node: process.versions.node,
      ...(tensorflow === undefined ? {} : { tensorflow })
    })
    pipeline.#sequencing = handledLater(pipeline.#sequence.run(pipeline.#stop.signal))
    pipeline.#sequencing.catch(fail)
    const tasks = pipeline.#tasks
    tasks.every('maintenance', 'maintenance of the log', { intervalMs: maintainMs, required: false }, () =>
      io.maintain()
    )
    tasks.every('progress', 'reading where the log ends', { intervalMs: watchMs, required: true }, () =>
      pipeline.#measureProgress()
    )
    tasks.every('index', 'reading what is live in the index', { intervalMs: watchMs, required: true }, () =>
      pipeline.#measureIndex()
    )
    return pipeline
  }

  get backend(): ModelThread['backend'] {
    return this.#thread.backend
  }

  /** Sessions that are not stored, by the model that publishes. */
  get sessions(): SessionEncoder {
    return { encode: (history) => this.#thread.encode(history) }
  }

  status(): PipelineStatus {
    return { sequence: this.#sequence.status(), train: this.#train, publish: this.#publish }
  }

  /** What became of every record that each stage has read, in the order of the flow. */
  accounts(): readonly AccountNumbers[] {
    const { sequence, train, publish } = this.status()
    return [
      sequence.account,
      ...(train === undefined ? [] : [train.account, train.catalogue]),
      ...(publish?.accounts ?? [])
    ]
  }

  /** What ended a stage before its time; undefined while all is well. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /** Rejects when a stage ends before its time; never resolves. */
  async failed(): Promise<never> {
    await Promise.all([this.#sequencing, this.#thread.ended])
    throw this.#failure ?? new Error('the stages ended though nobody asked them to')
  }

  /** The user who acted last, by event time, of those with at least `stepsMin` steps, as of the last commit. */
  newestUser(stepsMin: number): { userId: UserId; steps: readonly SequenceStep[] } | undefined {
    return this.#sequence.newestUser(stepsMin)
  }

  /** Those whose events were taken last by this process, newest first. */
  newestUsers(limit: number): UserId[] {
    return this.#sequence.newestUsers(limit)
  }

  /** Where the stream's clock stands: newest event time, milliseconds since the Unix epoch; 0 before the first. */
  watermarkMs(): number {
    return this.#sequence.watermarkMs()
  }

  /** How far each stage was when it was last looked at, once a second. */
  stages(): ReturnType<ProgressWatch<'sequence' | 'train' | 'publish'>['lags']> {
    return this.#watch.lags(this.io.clock.nowMs())
  }

  /** From the log's taking a click to its user's vectors being searchable; undefined before the first. */
  freshnessMs(): { p50: number; p99: number } | undefined {
    if (this.#freshness.count === 0) return undefined
    return { p50: this.#freshness.getValueAtQuantile(0.5), p99: this.#freshness.getValueAtQuantile(0.99) }
  }

  feedItems(items: AsyncIterable<CatalogueItem> | Iterable<CatalogueItem>): Promise<number> {
    const { log, codecs, config } = this.io
    return feedItems(items, { log, codecs, topic: config.topics.items, signal: this.#stop.signal })
  }

  /** @returns how many interactions the feed has put into the log, by this and earlier processes */
  async feed(
    name: string,
    interactions: AsyncIterable<Interaction> | Iterable<Interaction>,
    account: Account<'source'>
  ): Promise<number> {
    const { log, codecs, config } = this.io
    const fed = await feedInteractions(interactions, {
      log,
      codecs,
      topic: config.topics.interactions,
      name,
      signal: this.#stop.signal,
      hasRoom: () => this.#hasRoom(),
      account
    })
    this.#throwFailure()
    return fed
  }

  /** Whether work gets on: not whether sockets are open. */
  readiness(): Readiness {
    if (this.#failure !== undefined) return { ready: false, detail: `a stage has failed: ${this.#failure.message}` }
    const stalled = this.#watch.stalled(this.io.clock.nowMs())
    if (stalled !== undefined) return { ready: false, detail: stalled }
    if (this.#publish?.outage !== undefined) return { ready: false, detail: this.#publish.outage }
    if (this.#live === undefined) return this.#tasks.readiness({ ready: false, detail: 'no vectors are published yet' })
    const detail = `index version ${this.#live.indexVersion}, step ${this.#live.step}${heldDetail(this.#publish)}`
    return this.#tasks.readiness({ ready: true, detail, accounts: this.accounts() })
  }

  /** Asks the index until it answers. @throws what may not be tried again, or what ended a stage */
  async answered<T>(ask: () => Promise<T>): Promise<T> {
    const outage = new Outage({ what: 'reading from the index', clock: this.io.clock, onProblem: this.onProblem })
    const answer = handledLater(outage.retry(async () => ({ value: await ask() }), this.#stop.signal))
    const found = await Promise.race([answer, this.failed()])
    if (found === undefined) throw new UnavailableError('the pipeline was closed before the index answered')
    return found.value
  }

  /** Resolves when everything in the log has been sequenced, learned and published. */
  async settle(): Promise<void> {
    this.#thread.hurry(true)
    this.#sequence.hurry(true)
    while (!(await this.#isSettled())) {
      this.#throwFailure()
      await pause(pollMs)
    }
    this.#thread.hurry(false)
    this.#sequence.hurry(false)
  }

  /** Finishes what is under way, makes it durable, and lets go of everything. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#tasks.stop()
    const results = await Promise.allSettled([this.#sequencing, this.#thread.stop()])
    await this.index.close()
    await this.io.log.close()
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  #hear(message: FromModelThread): void {
    if (message.kind === 'train') this.#train = message.status
    else if (message.kind === 'publish') this.#publish = message.status
    else if (message.kind === 'metrics') this.metrics.apply(message.report)
    else if (message.kind === 'freshness') for (const ageMs of message.agesMs) this.#freshness.accept(ageMs)
    else if (message.kind === 'problem') this.onProblem(message.message)
  }

  /** Lags and counts, for /readyz and /metrics. */
  async #measureProgress(): Promise<void> {
    const { topics } = this.#config
    const { log, clock } = this.io
    const [interactions, sequences] = await Promise.all([log.ends(topics.interactions), log.ends(topics.userSequences)])
    const nowMs = clock.nowMs()
    this.#watch.note(
      'sequence',
      behind(this.#sequence.consumed(), interactions),
      total(this.#sequence.consumed()),
      this.#sequence.takenAtMs,
      nowMs
    )
    this.#watch.note(
      'train',
      behind(this.#trained(), sequences),
      total(this.#trained()),
      this.#train?.takenAtMs ?? 0,
      nowMs
    )
    if (this.#publish !== undefined) {
      const consumed = offsetsFromJson(this.#publish.consumed)
      this.#watch.note('publish', behind(consumed, sequences), total(consumed), this.#publish.takenAtMs, nowMs)
    }
    for (const { stage, lagSeconds, movedAtMs } of this.#watch.lags(nowMs)) {
      this.metrics.lag.set({ stage }, lagSeconds)
      this.metrics.progress.at({ stage }, movedAtMs)
    }
    this.metrics.users.set(this.#sequence.status().users)
    this.metrics.apply(codecEntries(this.io.codecs))
    if (this.#train !== undefined) this.metrics.apply(progressiveMetrics(this.#train.progressive))
  }

  async #measureIndex(): Promise<void> {
    this.#live = await this.index.live()
    if (this.#live === undefined) return
    this.drift.tellRecommended(this.#live.items)
    this.metrics.indexPoints.set({ role: 'item' }, this.#live.items)
    this.metrics.indexPoints.set({ role: 'user' }, this.#live.users)
  }

  async #hasRoom(): Promise<boolean> {
    this.#throwFailure()
    const { topics } = this.#config
    const [interactions, sequences] = await Promise.all([
      this.io.log.ends(topics.interactions),
      this.io.log.ends(topics.userSequences)
    ])
    return (
      behind(this.#sequence.consumed(), interactions) < interactionsAheadMax &&
      behind(this.#trained(), sequences) < sequencesAheadMax
    )
  }

  async #isSettled(): Promise<boolean> {
    const { topics } = this.#config
    const { log } = this.io
    // Against the flow: what is settled at the end cannot become unsettled by what is settled at the beginning.
    const interactions = await log.ends(topics.interactions)
    if (behind(this.#sequence.consumed(), interactions) > 0 || !this.#sequence.committed) return false
    const sequences = await log.ends(topics.userSequences)
    if (behind(this.#trained(), sequences) > 0 || this.#train?.updatesSent !== true) return false
    const updates = await log.ends(topics.modelUpdates)
    const publish = this.#publish
    if (publish === undefined || behind(offsetsFromJson(publish.consumed), sequences) > 0) return false
    if (behind(offsetsFromJson(publish.counted), interactions) > 0) return false
    return (
      behind(new Map([[0, BigInt(publish.model)]]), updates) === 0 &&
      publish.waitingItems === 0 &&
      publish.waitingUsers === 0
    )
  }

  #trained(): Offsets {
    return offsetsFromJson(this.#train?.consumed ?? {})
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure
  }
}

function behind(consumed: Offsets, ends: Offsets): number {
  let sum = 0
  for (const [partition, end] of ends) sum += Number(end - (consumed.get(partition) ?? 0n))
  return sum
}

function total(offsets: Offsets): number {
  let sum = 0
  for (const offset of offsets.values()) sum += Number(offset)
  return sum
}
