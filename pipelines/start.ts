// `mtmi start` and `mtmi replay`: all stages in one process on a simulation or a data set; then a report, and HTTP until
// Ctrl-C.

import path from 'node:path'
import { Account, type AccountNumbers, unaccounted } from '../src/core/account.ts'
import { systemClock } from '../src/core/clock.ts'
import { type Config, resolveConfig } from '../src/core/config/config.ts'
import { ConfigError, MtmiError } from '../src/core/errors.ts'
import { handledLater } from '../src/core/promises.ts'
import { RunDirectory, writerRoles } from '../src/core/runDirectory.ts'
import { note, print } from '../src/core/terminal.ts'
import { accountLines, nothingLearned } from '../src/lab/evaluation/accountReport.ts'
import { startStatusLine } from '../src/lab/evaluation/statusLine.ts'
import { type RunReport, runReport, textReport } from '../src/lab/evaluation/textReport.ts'
import { AccountMeter } from '../src/monitor/accountMetrics.ts'
import type { BoundPort } from '../src/serve/http/boundPort.ts'
import { WholePipeline } from './allInOne.ts'
import { bindServe, type RunningService, startHttpService } from './http.ts'
import { untilInterrupted } from './interrupt.ts'
import { pipelineNumbers } from './pipelineNumbers.ts'
import { collectReport, jsonReport, progressDetail } from './runReport.ts'
import { beginRun } from './runs.ts'
import { checkOrigin, openStartSource, originOf, runName, type SourceOptions, type StartSource } from './startSource.ts'
import { versionNumbers } from './versionsReport.ts'

export interface StartOptions extends SourceOptions {
  /** End after the report instead of serving. */
  readonly once: boolean
  readonly json: boolean
  /** Absent: another port is taken where the default one is in use. */
  readonly port?: number
}

const defaultPort = resolveConfig(undefined, {}).serve.port

export async function start(config: Config, options: StartOptions): Promise<void> {
  const run = new RunDirectory(config.dataDir, config.run ?? runName(options))
  const origin = originOf(config, options)
  const anyPort = options.port === undefined && config.serve.port === defaultPort
  const port = options.once ? undefined : await bindServe(config, anyPort, note)
  try {
    const source = await openStartSource(config, options, run)
    const lock = () => run.lock(`mtmi ${options.data === undefined ? 'start' : 'replay'}`, writerRoles)
    await beginRun(run, origin, lock, async (_lock, begun) => {
      checkOrigin(run, origin)
      const pipeline = await WholePipeline.open(config, config.dataDir, run, (problem) => note(`warning: ${problem}`))
      begun()
      await new StartedRun(pipeline, source, run, options).finish(port)
    })
  } finally {
    await port?.close()
  }
}

class StartedRun {
  readonly #pipeline: WholePipeline
  readonly #source: StartSource
  readonly #run: RunDirectory
  readonly #options: StartOptions
  readonly #rows = new Account('source')
  #hasPage = false
  readonly #interrupted = handledLater(untilInterrupted())
  readonly #interruption = new AbortController()

  constructor(pipeline: WholePipeline, source: StartSource, run: RunDirectory, options: StartOptions) {
    this.#pipeline = pipeline
    this.#source = source
    this.#run = run
    this.#options = options
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
      note(`${this.#source.title}; state in ${path.relative('.', this.#run.root) || '.'}`)
      report = await Promise.race([this.#learn(), this.#interrupted.then(() => undefined)])
      for (const problem of this.#source.dataset?.notes ?? []) note(`warning: ${problem}`)
      if (report !== undefined) this.#print(report)
      if (service !== undefined && report !== undefined) {
        note(await this.#nextSteps(service.url, report))
        await Promise.race([this.#interrupted, pipeline.failed()])
      }
    } finally {
      const isInterrupted = this.#interruption.signal.aborted
      if (isInterrupted || !this.#options.once) note('stopping: finishing what is under way')
      this.#countRefused()
      const accounts = accountLines([this.#rowsNow(), ...pipeline.accounts()])
      await service?.close()
      await pipeline.close()
      if (isInterrupted && report === undefined) {
        note(['interrupted before the report: the same command goes on from here. So far:', ...accounts].join('\n  '))
        if (this.#options.once) process.exitCode = 130
      }
    }
  }

  /** Loads the source, waits until everything is published, and writes the report. */
  async #learn(): Promise<RunReport> {
    const pipeline = this.#pipeline
    await pipeline.loadItems(this.#source.items())
    const total = await this.#source.total()
    const beganMs = systemClock.nowMs()
    const elapsed = () => (systemClock.nowMs() - beganMs) / 1000
    const meter = new AccountMeter(this.#rows.numbers())
    const status = startStatusLine(systemClock)
    const progress = (of: number) => {
      const done = pipeline.status().sequence.account.read
      return `${progressText('learning', done, of, elapsed())} · ${progressDetail(pipeline)}`
    }
    const ticking = setInterval(() => {
      status.show(progress(total))
      pipeline.metrics.apply(meter.entries(this.#rowsNow()))
    }, 200)
    const { signal } = this.#interruption
    const stop = () => {
      clearInterval(ticking)
      status.clear()
    }
    signal.addEventListener('abort', stop)
    try {
      await pipeline.feed(this.#run.name, this.#source.interactions(), this.#rows)
      await pipeline.settle()
    } finally {
      stop()
    }
    // The total was an estimate: what was read is all there is.
    if (!signal.aborted) status.keep(progress(0))
    this.#countRefused()
    const rows = this.#rows.numbers()
    pipeline.metrics.apply(meter.entries(rows))
    const seconds = elapsed()
    const report = await pipeline.answered(() => collectReport(pipeline, this.#source, this.#run, { rows, seconds }))
    this.#run.state(runReport).save(report)
    await this.#writePage(report)
    return report
  }

  /** Plots are loaded when they are needed; without their packages there is no page. */
  async #writePage(report: RunReport): Promise<void> {
    try {
      const { writeRunPage } = await import('../src/lab/evaluation/runPage.ts')
      writeRunPage(this.#run, report)
      this.#hasPage = true
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      note(`no report with plots: ${error.message}`)
    }
  }

  /** @throws MtmiError where nothing was learned: status 65 */
  #print(report: RunReport): void {
    const { json } = this.#options
    const nothing = report.examplesLearned === 0
    if (!nothing && this.#hasPage) note(`report with plots: ${path.relative('.', this.#run.path('report.html'))}`)
    if (json) print(`${JSON.stringify(jsonReport(report))}\n`)
    if (nothing) throw new MtmiError('BAD_EVENT', nothingLearned(report, this.#source.title))
    if (!json) print(`\n${textReport(report)}`)
  }

  #serve(port: BoundPort): Promise<RunningService> {
    const pipeline = this.#pipeline
    const { io, metrics, recommender, index, sessions } = pipeline
    const { config } = io
    return startHttpService(
      {
        ...{ io, metrics, recommender },
        ...(config.serve.sessions ? { sessions } : {}),
        readiness: () => pipeline.readiness(),
        eventClock: { nowMs: () => (pipeline.watermarkMs() > 0 ? pipeline.watermarkMs() + 1000 : systemClock.nowMs()) },
        lookup: {
          index,
          numbers: () => pipelineNumbers(pipeline, { title: this.#source.title, rows: this.#rowsNow() }),
          versions: () => versionNumbers(config, this.#run, index),
          newestUsers: (limit) => pipeline.newestUsers(limit)
        }
      },
      port
    )
  }

  async #nextSteps(url: string, report: RunReport): Promise<string> {
    const { index } = this.#pipeline
    const live = await this.#pipeline.answered(() => index.live())
    const popular = live === undefined ? [] : (await this.#pipeline.answered(() => index.popular(1))).items
    const event = JSON.stringify({ userId: 'me', itemId: popular[0]?.itemId ?? 'i1', type: 'click' })
    const recommendations = (user: string) =>
      `  curl ${quoted(`${url}/v1/users/${encodeURIComponent(user)}/recommendations?limit=5`)}`
    return [
      '',
      `Serving on ${url} until Ctrl-C. Try in another shell:`,
      recommendations(report.sample?.userId ?? 'u1'),
      `  curl -X POST '${url}/v1/events' -H 'content-type: application/json' -d ${quoted(event)}`,
      `${recommendations('me')}   # a second later`,
      `  ${url}/openapi.json · ${url}/metrics · ${url}/readyz`
    ].join('\n')
  }

  /** Rows that the data set could not read are known from its dead letters. Idempotent. */
  #countRefused(): void {
    const refused = (this.#source.dataset?.deadLetters ?? 0) - this.#rows.of('refused')
    this.#rows.read(refused)
    this.#rows.add('refused', refused)
  }

  /** Rows that are being appended to the log count as waiting. */
  #rowsNow(): AccountNumbers<'source'> {
    return this.#rows.numbers(unaccounted(this.#rows.numbers()))
  }
}

/** @param total 0: `done` is all there is @param seconds since the beginning */
export function progressText(title: string, done: number, total: number, seconds: number): string {
  const share = total > 0 ? Math.min(1, done / total) : 1
  const width = 24
  const filled = Math.floor(share * width)
  const bar = '█'.repeat(filled) + '░'.repeat(width - filled)
  const left = share > 0 && share < 1 ? `, ${Math.ceil((seconds * (1 - share)) / share)} s left` : ''
  return `${title} ${String(Math.floor(100 * share)).padStart(3)}% ${bar} ${done.toLocaleString('en')} interactions${left}`
}

/** For a shell: within single quotes only the quote itself is special. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
