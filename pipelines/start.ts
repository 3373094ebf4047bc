// `mtmi start` and `mtmi replay`: the whole way in one process, fed by a simulation or a data set; then a report, and
// HTTP until Ctrl-C.

import path from 'node:path'
import { Account, type AccountNumbers, unaccounted } from '../src/core/account.ts'
import { systemClock } from '../src/core/clock.ts'
import { type Config, resolveConfig } from '../src/core/config/config.ts'
import { ConfigError, MtmiError } from '../src/core/errors.ts'
import { handledLater } from '../src/core/promises.ts'
import { RunDirectory, type RunOrigin, writerRoles } from '../src/core/runDirectory.ts'
import { note, print } from '../src/core/terminal.ts'
import { type Dataset, type DatasetReading, openDataset } from '../src/lab/dataset/dataset.ts'
import { accountLines, nothingLearned } from '../src/lab/evaluation/accountReport.ts'
import { type RunReport, runReport, textReport } from '../src/lab/evaluation/textReport.ts'
import { type Simulation, simulate } from '../src/lab/simulation/simulation.ts'
import { AccountMeter } from '../src/monitor/accountMetrics.ts'
import type { CatalogueItem } from '../src/records/catalogueItem.ts'
import type { Interaction } from '../src/records/interaction.ts'
import { valueRules } from '../src/records/value/valueRules.ts'
import type { BoundPort } from '../src/serve/http/boundPort.ts'
import { WholePipeline } from './allInOne.ts'
import { bindServe, type RunningService, startHttpService } from './http.ts'
import { untilInterrupted } from './interrupt.ts'
import { pipelineNumbers } from './pipelineNumbers.ts'
import { startProgress } from './progress.ts'
import { collectReport, jsonReport, progressDetail } from './runReport.ts'
import { beginRun } from './runs.ts'
import { versionNumbers } from './versionsReport.ts'

export interface StartOptions extends DatasetReading {
  /** A file or folder; undefined: a simulation. */
  readonly data?: string
  /** Events of the simulation. */
  readonly events?: number
  /** End after the report instead of serving. */
  readonly once: boolean
  readonly json: boolean
  /** Where it was given, no other will do. */
  readonly port?: number
}

const defaultPort = resolveConfig(undefined, {}).serve.port

interface Source {
  readonly name: string
  readonly title: string
  /** Interactions that are to be read. */
  total(): Promise<number>
  items(): AsyncIterable<CatalogueItem> | Iterable<CatalogueItem>
  interactions(): AsyncIterable<Interaction> | Iterable<Interaction>
  readonly simulation?: Simulation
  readonly dataset?: Dataset
}

export async function start(config: Config, options: StartOptions): Promise<void> {
  const run = new RunDirectory(config.dataDir, config.run ?? runName(options))
  const origin = originOf(config, options)
  const anyPort = options.port === undefined && config.serve.port === defaultPort
  const port = options.once ? undefined : await bindServe(config, anyPort, note)
  try {
    const source = await openSource(config, options, run)
    const takeLock = () => run.lock(`mtmi ${options.data === undefined ? 'start' : 'replay'}`, writerRoles)
    await beginRun(run, origin, takeLock, async (_lock, begun) => {
      checkOrigin(run, origin)
      await runWhole(config, options, { source, run, port, begun })
    })
  } finally {
    await port?.close()
  }
}

interface Begun {
  readonly source: Source
  readonly run: RunDirectory
  /** Bound; undefined: nothing is served. */
  readonly port: BoundPort | undefined
  /** Everything that could keep it from starting is open. */
  readonly begun: () => void
}

async function runWhole(config: Config, options: StartOptions, { source, run, port, begun }: Begun): Promise<void> {
  const rows = new Account('source')
  const pipeline = await WholePipeline.open(config, config.dataDir, run, (problem) => note(`warning: ${problem}`))
  begun()
  for (const problem of pipeline.backend.problems) note(`warning: ${problem}`)
  const interrupted = handledLater(untilInterrupted())
  const interruption = new AbortController()
  let isReported = false
  void interrupted.then(() => interruption.abort())
  let service: RunningService | undefined
  try {
    if (port !== undefined)
      service = await startHttpService(
        {
          io: pipeline.io,
          metrics: pipeline.metrics,
          recommender: pipeline.recommender,
          ...(config.serve.sessions ? { sessions: pipeline.sessions } : {}),
          readiness: () => pipeline.readiness(),
          eventClock: {
            nowMs: () => (pipeline.watermarkMs() > 0 ? pipeline.watermarkMs() + 1000 : systemClock.nowMs())
          },
          lookup: {
            index: pipeline.index,
            numbers: () => pipelineNumbers(pipeline, { title: source.title, rows: rowsNow(rows) }),
            versions: () => versionNumbers(config, run, pipeline.index),
            newestUsers: (limit) => pipeline.newestUsers(limit)
          }
        },
        port
      )
    note(`${source.title}; state in ${path.relative('.', run.root) || '.'}`)
    const report = await Promise.race([
      runToReport(pipeline, source, run, rows, interruption.signal),
      interrupted.then(() => undefined)
    ])
    for (const problem of source.dataset?.notes ?? []) note(`warning: ${problem}`)
    if (report?.examplesLearned === 0) {
      if (options.json) print(`${JSON.stringify(jsonReport(report))}\n`)
      throw new MtmiError('BAD_EVENT', nothingLearned(report, source.title))
    }
    if (report !== undefined) {
      isReported = true
      note(`report with plots: ${path.relative('.', run.path('report.html'))}`)
      if (options.json) print(`${JSON.stringify(jsonReport(report))}\n`)
      else print(`\n${textReport(report)}`)
    }
    if (service !== undefined && report !== undefined) {
      const live = await pipeline.answered(() => pipeline.index.live())
      const { items } = live === undefined ? { items: [] } : await pipeline.answered(() => pipeline.index.popular(1))
      note(nextSteps(service.url, report.sample?.userId ?? 'u1', items[0]?.itemId ?? 'i1'))
      await Promise.race([interrupted, pipeline.failed()])
    }
  } finally {
    const isInterrupted = interruption.signal.aborted
    if (isInterrupted || !options.once) note('stopping: finishing what is under way')
    noteRefused(source, rows)
    const accounts = accountLines([rowsNow(rows), ...pipeline.accounts()])
    await service?.close()
    await pipeline.close()
    if (isInterrupted && !isReported) {
      note(['interrupted before the report: the same command goes on from here. So far:', ...accounts].join('\n  '))
      if (options.once) process.exitCode = 130
    }
  }
}

async function runToReport(
  pipeline: WholePipeline,
  source: Source,
  run: RunDirectory,
  rows: Account<'source'>,
  interruption: AbortSignal
): Promise<RunReport> {
  await pipeline.feedItems(source.items())
  const total = await source.total()
  const feedStartedMs = systemClock.nowMs()
  const meter = new AccountMeter(rows.numbers())
  const progress = startProgress('learning', total, 'interactions', systemClock)
  const ticking = setInterval(() => {
    progress.update(interactionsOf(pipeline), progressDetail(pipeline))
    pipeline.metrics.apply(meter.entries(rowsNow(rows)))
  }, 200)
  const stopProgress = () => {
    clearInterval(ticking)
    progress.stop()
  }
  interruption.addEventListener('abort', stopProgress)
  try {
    await pipeline.feed(source.name, source.interactions(), rows)
    await pipeline.settle()
    if (!interruption.aborted) progress.finish(interactionsOf(pipeline), progressDetail(pipeline))
  } finally {
    stopProgress()
  }
  noteRefused(source, rows)
  pipeline.metrics.apply(meter.entries(rows.numbers()))
  const seconds = (systemClock.nowMs() - feedStartedMs) / 1000
  const report = await pipeline.answered(() => collectReport(pipeline, source, run, { rows: rows.numbers(), seconds }))
  run.state(runReport).save(report)
  // Drawing is loaded when it is needed: a pipeline that learns needs none of it.
  const { writeRunPage } = await import('../src/lab/evaluation/runPage.ts')
  writeRunPage(run, report)
  return report
}

/** Idempotent. */
function noteRefused({ dataset }: Source, rows: Account<'source'>): void {
  const refused = (dataset?.deadLetters ?? 0) - rows.of('refused')
  rows.read(refused)
  rows.add('refused', refused)
}

/** While rows are fed: those that are on their way into the log wait. */
function rowsNow(rows: Account<'source'>): AccountNumbers<'source'> {
  return rows.numbers(unaccounted(rows.numbers()))
}

function interactionsOf(pipeline: WholePipeline): number {
  return pipeline.status().sequence.account.read
}

/** Runs on different data never share state. */
function runName({ data, events }: StartOptions): string {
  if (data !== undefined) return path.basename(path.resolve(data)).replace(/[^\w.-]/g, '_')
  return events === undefined ? 'simulation' : `simulation-${events}`
}

function originOf(
  config: Config,
  { data, format, columns, items, itemColumns, filters, events }: StartOptions
): RunOrigin {
  if (data === undefined)
    return { simulation: { seed: config.seed, graceMs: config.sequence.graceMs, events: events ?? 'default' } }
  return {
    data: path.resolve(data),
    format: format ?? 'recognised',
    columns: columns ?? 'recognised',
    items,
    itemColumns,
    filters,
    seed: config.seed
  }
}

/** @throws ConfigError if the run was begun from something else: its state would be of both */
function checkOrigin(run: RunDirectory, origin: RunOrigin): void {
  const before = run.origin()
  if (before === undefined || JSON.stringify(before) === JSON.stringify(origin)) return
  throw new ConfigError([
    `run ${run.name} in ${path.dirname(run.root)} was begun from ${JSON.stringify(before)}, and this is ${JSON.stringify(origin)}. Choose another name with --run, or remove the run: mtmi reset --run ${run.name}`
  ])
}

async function openSource(config: Config, options: StartOptions, run: RunDirectory): Promise<Source> {
  if (options.data === undefined) {
    const simulation = simulate({
      seed: config.seed,
      graceMs: config.sequence.graceMs,
      ...(options.events === undefined ? {} : { events: options.events })
    })
    const { events, duplicateShare, badShare } = simulation.options
    return {
      name: run.name,
      title: 'a simulated clickstream',
      total: async () => Math.round(events * (1 + duplicateShare + badShare)),
      items: () => simulation.items(),
      interactions: () => simulation.interactions(),
      simulation
    }
  }
  const { format, columns, items, itemColumns, filters } = options
  const dataset = await openDataset(options.data, {
    seed: config.seed,
    rules: valueRules(config.events),
    deadLetterDir: run.root,
    tempDir: run.root,
    format,
    columns,
    items,
    itemColumns,
    filters
  })
  return {
    name: run.name,
    title: dataset.describe,
    total: () => dataset.count(),
    items: () => dataset.items(),
    interactions: () => dataset.interactions(),
    dataset
  }
}

/** For a shell: in single quotes everything but the quote stands for itself. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function nextSteps(url: string, userId: string, itemId: string): string {
  const event = JSON.stringify({ userId: 'me', itemId, type: 'click' })
  const recommendations = (user: string) =>
    `  curl ${quoted(`${url}/v1/users/${encodeURIComponent(user)}/recommendations?limit=5`)}`
  return [
    '',
    `Serving on ${url} until Ctrl-C. Try in another shell:`,
    recommendations(userId),
    `  curl -X POST '${url}/v1/events' -H 'content-type: application/json' -d ${quoted(event)}`,
    `${recommendations('me')}   # a second later`,
    `  ${url}/openapi.json · ${url}/metrics · ${url}/readyz`
  ].join('\n')
}
