// All stages in one process: loads what there is to load, trains, reports, and serves until Ctrl-C. `mtmi start`,
// `replay` and `up` are this with different sources.

import path from 'node:path'
import { Account, type AccountNumbers, unaccounted } from '../src/core/account.ts'
import { systemClock } from '../src/core/clock.ts'
import { type Config, resolveConfig } from '../src/core/config/config.ts'
import { ConfigError, MtmiError } from '../src/core/errors.ts'
import { handledLater } from '../src/core/promises.ts'
import type { RunDirectory, RunOrigin } from '../src/core/runDirectory.ts'
import { note, print } from '../src/core/terminal.ts'
import { accountLines, nothingTrained } from '../src/lab/evaluation/accountReport.ts'
import { startStatusLine } from '../src/lab/evaluation/statusLine.ts'
import { type RunReport, runReport, textReport } from '../src/lab/evaluation/textReport.ts'
import { AccountMeter } from '../src/monitor/accountMetrics.ts'
import { keptAttribution } from '../src/serve/attribution/attributionWatch.ts'
import type { BoundPort } from '../src/serve/http/boundPort.ts'
import { type PipelineOptions, WholePipeline } from './allInOne.ts'
import { bindServe, type RunningService, startHttpService } from './http.ts'
import { untilInterrupted } from './interrupt.ts'
import { nextStepsAfterReport, nextStepsWhileServing } from './nextSteps.ts'
import { pipelineNumbers } from './pipelineNumbers.ts'
import { CatchUp } from './progress.ts'
import { collectReport, jsonReport, progressDetail } from './runReport.ts'
import { beginRun } from './runs.ts'
import type { StartSource } from './startSource.ts'
import { TopicFeed } from './topicFeed.ts'
import { versionNumbers } from './versionsReport.ts'

export interface OneProcessOptions {
  /** End after the report instead of serving. */
  readonly once: boolean
  readonly json: boolean
  /** Read topics that were created again from their beginning. */
  readonly acceptNewTopic?: boolean
}

/** What one of the commands runs. */
export interface OneProcess {
  readonly config: Config
  readonly run: RunDirectory
  readonly origin: RunOrigin
  /** `mtmi up`, for processes that find the run in use, and the command that continues it. */
  readonly command: string
  readonly lock: () => { release(): void; readonly places?: PipelineOptions['places'] }
  readonly open: () => Promise<StartSource>
  /** Whether the topics of `sources` are followed after the source is loaded. */
  readonly followsTopics: boolean
  /** The clock of events that are posted without a time: of this machine, or of a recording that is replayed. */
  readonly clock: 'wall' | 'recorded'
  /** Another port is taken where the configured one is in use. */
  readonly anyPort: boolean
}

const defaultPort = resolveConfig(undefined, {}).serve.port

/** Whether the port is the default. */
export const isAnyPort = ({ serve }: Config, port: number | undefined): boolean =>
  port === undefined && serve.port === defaultPort

export async function runOneProcess(process: OneProcess, options: OneProcessOptions): Promise<void> {
  const { config, run, origin } = process
  const port = options.once ? undefined : await bindServe(config, process.anyPort, note)
  try {
    if (port !== undefined) note(addressLine(port.url, config))
    const source = await process.open()
    await beginRun(run, origin, process.lock, async ({ places }, begun) => {
      const onProblem = (problem: string) => note(`warning: ${problem}`)
      const acceptNewTopic = options.acceptNewTopic === true
      const pipeline = await WholePipeline.open(config, config.dataDir, run, {
        ...{ onProblem, acceptNewTopic },
        ...(places && { places })
      })
      begun()
      await new StartedRun(pipeline, source, process, options).finish(port)
    })
  } finally {
    await port?.close()
  }
}

function addressLine(url: string, { serve }: Config): string {
  if (!serve.console) return `HTTP: ${url}`
  const isClosed = [serve.readToken, serve.eventsToken, serve.adminToken].some((token) => token.length > 0)
  return `console: ${url}/${isClosed ? ' (requires a token: serve.adminToken)' : ''}`
}

class StartedRun {
  readonly #pipeline: WholePipeline
  readonly #source: StartSource
  readonly #process: OneProcess
  readonly #options: OneProcessOptions
  readonly #topics: TopicFeed | undefined
  readonly #rows = new Account('source')
  #hasPage = false
  readonly #interrupted = handledLater(untilInterrupted())
  readonly #interruption = new AbortController()

  constructor(pipeline: WholePipeline, source: StartSource, process: OneProcess, options: OneProcessOptions) {
    this.#pipeline = pipeline
    this.#source = source
    this.#process = process
    this.#options = options
    if (process.followsTopics)
      this.#topics = new TopicFeed(pipeline.io, process.run, {
        tasks: pipeline.tasks,
        acceptNewTopic: options.acceptNewTopic === true,
        measure: (report) => pipeline.metrics.apply(report)
      })
    void this.#interrupted.then(() => this.#interruption.abort())
  }

  /** Until the report is printed and, with a port, until the process is interrupted. @param port bound */
  async finish(port: BoundPort | undefined): Promise<void> {
    const pipeline = this.#pipeline
    for (const problem of pipeline.backend.problems) note(`warning: ${problem}`)
    let service: RunningService | undefined
    let report: RunReport | undefined
    try {
      if (port !== undefined) service = await this.#serve(port)
      note(`${this.#source.title}; state in ${path.relative('.', this.#process.run.root) || '.'}`)
      report = await Promise.race([this.#learn(), this.#interrupted.then(() => undefined)])
      for (const problem of this.#source.notes()) note(`warning: ${problem}`)
      if (report !== undefined) this.#print(report)
      if (service !== undefined && report !== undefined) {
        this.#noteOldEvents()
        note(await nextStepsWhileServing(pipeline, service.url, report))
        await Promise.race([this.#interrupted, pipeline.failed()])
      } else if (report !== undefined) note(await nextStepsAfterReport(pipeline, this.#process, report))
    } finally {
      const isInterrupted = this.#interruption.signal.aborted
      if (isInterrupted || !this.#options.once) note('stopping: finishing what is under way')
      this.#countRefused()
      const accounts = accountLines(this.#accounts())
      await service?.close()
      this.#topics?.close()
      await pipeline.close()
      if (isInterrupted && report === undefined) {
        note(['interrupted before the report: the same command continues from here. So far:', ...accounts].join('\n  '))
        if (this.#options.once) process.exitCode = 130
      }
    }
  }

  /** Loads the source, reads the topics to their ends, waits until all of it is published, and writes the report. */
  async #learn(): Promise<RunReport> {
    const pipeline = this.#pipeline
    const { loads } = this.#source
    const beganMs = systemClock.nowMs()
    const status = startStatusLine(systemClock)
    const { signal } = this.#interruption
    let toLoad = 0
    let isCounted = false
    const catchUp = new CatchUp()
    const meter = new AccountMeter(this.#rows.numbers())
    const ticking = setInterval(() => {
      if (isCounted) status.show(this.#progress(catchUp, toLoad))
      else status.show(`reading ${this.#source.title}`)
      pipeline.metrics.apply(meter.entries(this.#rowsNow()))
    }, 200)
    const stop = () => {
      clearInterval(ticking)
      status.clear()
    }
    signal.addEventListener('abort', stop)
    try {
      for (const load of loads) toLoad += await load.total()
      isCounted = true
      for (const load of loads) {
        load.begin?.()
        await pipeline.loadItems(load.items())
        const rows = await pipeline.feed(load.name, load.interactions(), this.#rows)
        if (!signal.aborted) load.end?.(rows)
      }
      await this.#followTopics()
      await (this.#topics === undefined || this.#options.once ? pipeline.settle() : pipeline.passed())
    } finally {
      stop()
    }
    // The total was an estimate: what was read is all there is.
    if (!signal.aborted)
      status.keep(`${catchUp.text(this.#handled(), 0, systemClock.nowMs())} · ${progressDetail(pipeline)}`)
    this.#countRefused()
    const rows = this.#rows.numbers()
    pipeline.metrics.apply(meter.entries(rows))
    const seconds = (systemClock.nowMs() - beganMs) / 1000
    const accounts = this.#accounts()
    const { run } = this.#process
    const report = await pipeline.answered(() => collectReport(pipeline, this.#source, run, { accounts, seconds }))
    run.state(runReport).save(report)
    await this.#writePage(report)
    return report
  }

  async #followTopics(): Promise<void> {
    const topics = this.#topics
    if (topics === undefined) return
    await topics.start(this.#options.once)
    await Promise.race([topics.caughtUp(), this.#pipeline.failed()])
  }

  /** Events that the trainer has handled, those of earlier processes included. */
  #handled(): number {
    return this.#pipeline.status().train?.account.read ?? 0
  }

  /** @param toLoad rows of all loads, those of earlier processes included */
  #progress(catchUp: CatchUp, toLoad: number): string {
    const { sequence } = this.#pipeline.status()
    const handled = this.#handled()
    const untrained = Math.max(0, sequence.account.outcomes.placed - handled)
    const unsequenced = Math.max(toLoad - sequence.account.read, this.#pipeline.waitingEvents())
    const remaining = (this.#topics?.remaining() ?? 0) + unsequenced + untrained
    return `${catchUp.text(handled, remaining, systemClock.nowMs())} · ${progressDetail(this.#pipeline)}`
  }

  /** Plots are loaded when they are needed; without their packages there is no page. */
  async #writePage(report: RunReport): Promise<void> {
    try {
      const { writeRunPage } = await import('../src/lab/evaluation/reportFiles.ts')
      writeRunPage(this.#process.run, report)
      this.#hasPage = true
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      note(`no report with plots: ${error.message}`)
    }
  }

  /** @throws MtmiError where nothing was trained on, and nothing more will come: status 65 */
  #print(report: RunReport): void {
    const { json, once } = this.#options
    const nothing = report.examplesTrained === 0
    if (!nothing && this.#hasPage)
      note(`report with plots: ${path.relative('.', this.#process.run.path('report.html'))}`)
    if (json) print(`${JSON.stringify(jsonReport(report))}\n`)
    const { sources } = this.#process.config
    if (nothing && once && this.#topics?.account().read === 0 && this.#rows.of('loaded') === 0)
      throw new MtmiError(
        'BAD_EVENT',
        `nothing to train on: ${sources.map(({ topic }) => topic).join(', ')} has no records`
      )
    if (nothing && (once || this.#process.clock === 'recorded'))
      throw new MtmiError('BAD_EVENT', nothingTrained(report, this.#source.title))
    if (nothing) note('there is nothing to train on yet: events that come are trained on as they come')
    else if (!json) print(`\n${textReport(report)}`)
  }

  /** A click of today ends histories that are older than `sequence.historyAgeMaxMs`. */
  #noteOldEvents(): void {
    const { config } = this.#pipeline.io
    const newestMs = this.#pipeline.watermarkMs()
    if (this.#process.clock === 'recorded' || newestMs === 0) return
    const { historyAgeMaxMs } = config.sequence
    if (systemClock.nowMs() - newestMs <= historyAgeMaxMs) return
    note(
      `warning: the newest event is of ${new Date(newestMs).toISOString().slice(0, 10)}: a user's next event drops the steps before it, ` +
        `which are older than sequence.historyAgeMaxMs (${Math.round(historyAgeMaxMs / 86_400_000)} days). Raise it, or use \`mtmi replay\` for a recording`
    )
  }

  #serve(port: BoundPort): Promise<RunningService> {
    const pipeline = this.#pipeline
    const { io, metrics, tasks, recommender, index, sessions } = pipeline
    const { config } = io
    const recorded = { nowMs: () => (pipeline.watermarkMs() > 0 ? pipeline.watermarkMs() + 1000 : systemClock.nowMs()) }
    return startHttpService(
      {
        ...{ io, metrics, tasks, recommender },
        run: this.#process.run,
        attribution: this.#process.run.state(keptAttribution),
        ...(config.serve.sessions ? { sessions } : {}),
        readiness: () => pipeline.readiness(),
        ...(this.#process.clock === 'recorded' ? { eventClock: recorded } : {}),
        lookup: {
          index,
          numbers: () => pipelineNumbers(pipeline, { title: this.#source.title, accounts: this.#accounts() }),
          versions: () => versionNumbers(config, this.#process.run, index),
          newestUsers: (limit) => pipeline.newestUsers(limit)
        }
      },
      port
    )
  }

  /** In the order of the flow. */
  #accounts(): readonly AccountNumbers[] {
    return [this.#rowsNow(), ...(this.#topics ? [this.#topics.account()] : []), ...this.#pipeline.accounts()]
  }

  /** Rows that the data set could not read are known from its dead letters. Idempotent. */
  #countRefused(): void {
    const refused = this.#source.refused() - this.#rows.of('refused')
    this.#rows.read(refused)
    this.#rows.add('refused', refused)
  }

  /** Rows that are being appended to the log count as waiting. */
  #rowsNow(): AccountNumbers<'source'> {
    return this.#rows.numbers(unaccounted(this.#rows.numbers()))
  }
}
