// The topics of `sources`, followed inside `mtmi up` as `mtmi ingest` follows them: the same stage, and the same files of
// offsets, so that one can take over from the other.

import { type AccountNumbers, sumAccounts } from '../src/core/account.ts'
import { type BackgroundTasks, untilAborted } from '../src/core/backgroundTasks.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import { IngestStage } from '../src/ingest/ingestStage.ts'
import { openSource } from '../src/ingest/sourceMapper.ts'
import type { StageIo } from '../src/log/stageIo.ts'
import type { MetricsReport } from '../src/monitor/metrics.ts'
import { fileOffsets } from './ingestOffsets.ts'

const pollMs = 50

export interface TopicFeedOptions {
  readonly tasks: Pick<BackgroundTasks<'ingest'>, 'keep'>
  readonly measure: (report: MetricsReport) => void
  /** Read topics that were created again from their beginning. */
  readonly acceptNewTopic: boolean
}

export class TopicFeed {
  readonly #io: StageIo
  readonly #stage: IngestStage
  readonly #tasks: Pick<BackgroundTasks<'ingest'>, 'keep'>
  #hasEnded = false
  /** Where the topics ended when this began. */
  readonly #ends = new Map<string, ReadonlyMap<number, bigint>>()
  #isOnce = false
  #isClosed = false

  /** @throws ConfigError if a source cannot be used */
  constructor(io: StageIo, run: RunDirectory, { tasks, measure, acceptNewTopic }: TopicFeedOptions) {
    this.#io = io
    this.#tasks = tasks
    const sources = io.config.sources.map((source) => openSource(source, io))
    this.#stage = new IngestStage({ ...io, sources, offsets: fileOffsets(run), measure, acceptNewTopic })
  }

  /** @param once ends where the topics end now */
  async start(once: boolean): Promise<void> {
    const { log, config } = this.#io
    this.#isOnce = once
    for (const { topic } of config.sources) this.#ends.set(topic, await log.ends(topic))
    this.#tasks.keep('ingest', 'ingest', { restarts: false }, async ({ signal }) => {
      await this.#stage.run(signal, { untilEnd: once })
      this.#hasEnded = true
      if (once) await untilAborted(signal)
    })
  }

  account(): AccountNumbers {
    return sumAccounts('ingest', this.#stage.accounts().values())
  }

  /** Records that were in the topics when this began and are still to be read. */
  remaining(): number {
    const consumed = this.#stage.consumed()
    let sum = 0
    for (const [topic, ends] of this.#ends)
      for (const [partition, end] of ends) sum += Math.max(0, Number(end - (consumed.get(topic)?.get(partition) ?? 0n)))
    return sum
  }

  /** Resolves when everything that was in the topics at the start is in our log, or on `close`. */
  async caughtUp(): Promise<void> {
    while (!this.#hasEnded && !this.#isClosed && (this.#isOnce || this.remaining() > 0))
      await this.#io.clock.sleep(pollMs)
  }

  /** To be called before the tasks are stopped: the stage would wait for a registry that is away. */
  close(): void {
    this.#isClosed = true
    this.#io.registry.close?.()
  }
}
