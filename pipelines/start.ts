// `mtmi start` and `mtmi replay`: the whole way in one process, fed by a simulation or a data set; then a report, and HTTP until Ctrl-C.

import path from 'node:path'
import { systemClock } from '../src/core/clock.ts'
import { type Config, resolveConfig } from '../src/core/config/config.ts'
import { interestCountOf } from '../src/core/config/modelOptions.ts'
import { ConfigError } from '../src/core/errors.ts'
import { RunDirectory, type RunOrigin, writerRoles } from '../src/core/runDirectory.ts'
import { version } from '../src/core/version.ts'
import type { ColumnMapping } from '../src/lab/dataset/columnMapping.ts'
import { type Dataset, openDataset } from '../src/lab/dataset/dataset.ts'
import { type InterestsFound, interestsFound } from '../src/lab/evaluation/interestsFound.ts'
import { type RunReport, type SampleUser, textReport } from '../src/lab/evaluation/textReport.ts'
import { type Simulation, simulate } from '../src/lab/simulation/simulation.ts'
import type { CatalogueItem } from '../src/records/catalogueItem.ts'
import type { Interaction } from '../src/records/interaction.ts'
import type { BoundPort } from '../src/serve/http/boundPort.ts'
import { WholePipeline } from './allInOne.ts'
import { describeBackend } from './configuredBackend.ts'
import { bindServe, type RunningService, startHttpService } from './http.ts'
import { untilInterrupted } from './interrupt.ts'
import { pipelineNumbers } from './pipelineNumbers.ts'
import { startProgress } from './progress.ts'
import { beginRun } from './runs.ts'
import { versionNumbers } from './versionsReport.ts'

export interface StartOptions {
  /** A file or folder; undefined: a simulation. */
  readonly data?: string
  readonly format?: string
  readonly columns?: ColumnMapping
  /** Events of the simulation. */
  readonly events?: number
  /** End after the report instead of serving. */
  readonly once: boolean
  readonly json: boolean
  /** Where it was given, no other will do. */
  readonly port?: number
}

const defaultPort = resolveConfig(undefined, {}).serve.port

/** Users whose towers are held against the planted truth: enough for ± 2 percentage points. */
const foundSample = 500
/** A history that a reader can recognise interests in. */
const sampleHistoryMin = 10

interface Source {
  readonly name: string
  readonly title: string
  readonly total: number
  items(): AsyncIterable<CatalogueItem> | Iterable<CatalogueItem>
  interactions(): AsyncIterable<Interaction> | Iterable<Interaction>
  readonly simulation?: Simulation
  readonly dataset?: Dataset
}

export async function start(config: Config, options: StartOptions): Promise<void> {
  const say = (text: string) => process.stderr.write(`${text}\n`)
  const run = new RunDirectory(config.dataDir, config.run ?? runName(options))
  const origin = originOf(config, options)
  const anyPort = options.port === undefined && config.serve.port === defaultPort
  const port = options.once ? undefined : await bindServe(config, anyPort, say)
  try {
    const source = await openSource(config, options, run)
    const takeLock = () => run.lock(`mtmi ${options.data === undefined ? 'start' : 'replay'}`, writerRoles)
    await beginRun(run, origin, takeLock, async (_lock, begun) => {
      checkOrigin(run, origin)
      await runWhole(config, options, { source, run, port, begun }, say)
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

async function runWhole(
  config: Config,
  options: StartOptions,
  { source, run, port, begun }: Begun,
  say: (text: string) => void
): Promise<void> {
  const startedMs = systemClock.nowMs()
  const pipeline = await WholePipeline.open(config, config.dataDir, run, (problem) => say(`warning: ${problem}`))
  begun()
  for (const problem of pipeline.backend.problems) say(`warning: ${problem}`)
  const interrupted = untilInterrupted()
  let service: RunningService | undefined
  try {
    if (port !== undefined)
      service = await startHttpService(
        {
          wire: pipeline.wire,
          metrics: pipeline.metrics,
          recommender: pipeline.recommender,
          ...(config.serve.sessions ? { sessions: pipeline.sessions } : {}),
          readiness: () => pipeline.readiness(),
          eventClock: { nowMs: () => (pipeline.watermarkMs() > 0 ? pipeline.watermarkMs() + 1000 : systemClock.nowMs()) },
          lookup: {
            index: pipeline.index,
            numbers: () => pipelineNumbers(pipeline, { title: source.title, deadLetters: source.dataset?.deadLetters ?? 0 }),
            versions: () => versionNumbers(config, run, pipeline.index),
            newestUsers: (limit) => pipeline.newestUsers(limit)
          }
        },
        port
      )
    say(`${source.title}; state in ${path.relative('.', run.root) || '.'}`)
    const report = await Promise.race([runToReport(pipeline, source, run, startedMs), interrupted.then(() => undefined)])
    if (report !== undefined) {
      say(`report with plots: ${path.relative('.', run.path('report.html'))}`)
      if (options.json) process.stdout.write(`${JSON.stringify(jsonReport(report))}\n`)
      else process.stdout.write(`\n${textReport(report)}`)
    }
    if (service !== undefined && report !== undefined) {
      const { items } = await pipeline.index.popular(1)
      say(nextSteps(service.url, report.sample?.userId ?? 'u1', items[0]?.itemId ?? 'i1'))
      await Promise.race([interrupted, pipeline.failed()])
    }
  } finally {
    if (!options.once) say('stopping: finishing what is under way')
    await service?.close()
    await pipeline.close()
  }
}

async function runToReport(pipeline: WholePipeline, source: Source, run: RunDirectory, startedMs: number): Promise<RunReport> {
  const feedStartedMs = systemClock.nowMs()
  await pipeline.feedItems(source.items())
  const progress = startProgress('learning', source.total, 'interactions', systemClock)
  const ticking = setInterval(() => progress.update(interactionsOf(pipeline), detail(pipeline)), 200)
  try {
    await pipeline.feed(source.name, source.interactions(), () => {})
    await pipeline.settle()
    progress.finish(interactionsOf(pipeline), detail(pipeline))
  } finally {
    clearInterval(ticking)
    progress.stop()
  }
  const nowMs = systemClock.nowMs()
  const earlier = run.readJson<RunReport>('report.json')
  const interactions = interactionsOf(pipeline)
  // Nothing new since the report of an earlier run: its times still are the true ones.
  const unchanged = earlier !== undefined && earlier.interactions === interactions
  const timing = unchanged ? earlier : await measured(pipeline, interactions, (nowMs - feedStartedMs) / 1000, (nowMs - startedMs) / 1000)
  const report: RunReport = { ...timing, ...(await learned(pipeline, source)), source: source.title }
  run.writeJson('report.json', report)
  // Drawing is loaded when it is needed: a pipeline that learns needs none of it.
  const { writeRunPage } = await import('../src/lab/evaluation/runPage.ts')
  writeRunPage(run, report)
  return report
}

function interactionsOf(pipeline: WholePipeline): number {
  const { placed, duplicates, late, ignored, rejected } = pipeline.status().sequence
  return placed + duplicates + late + ignored + rejected
}

function detail(pipeline: WholePipeline): string {
  const train = pipeline.status().train
  if (train === undefined || train.batches === 0) return 'warming up'
  const { progressive } = train
  const ratio = (value: number) => value.toFixed(3).replace(/^0/, '')
  return `hit rate@20 ${ratio(progressive.window.model['hitRate@20'])} (popularity ${ratio(progressive.window.popularity['hitRate@20'])}), loss ${train.loss.toFixed(2)}`
}

async function measured(pipeline: WholePipeline, interactions: number, feedSeconds: number, seconds: number) {
  const { train } = pipeline.status()
  const freshnessMs = pipeline.freshnessMs()
  return {
    seconds,
    interactions,
    eventsPerSecond: interactions / feedSeconds,
    ...(train === undefined || train.trainSeconds === 0 ? {} : { examplesPerSecond: train.examplesThisRun / train.trainSeconds }),
    ...(freshnessMs === undefined ? {} : { freshnessMs })
  }
}

/** What the state says, whichever process brought it there. */
async function learned(pipeline: WholePipeline, source: Source) {
  const { sequence, train } = pipeline.status()
  const live = await pipeline.index.live()
  const found = source.simulation === undefined ? undefined : await findInterests(pipeline, source.simulation)
  const sample = await sampleUser(pipeline)
  return {
    users: sequence.users,
    items: live?.items ?? 0,
    examplesLearned: train?.examplesLearned ?? 0,
    backend: describeBackend(pipeline.backend),
    version,
    interestCount: interestCountOf(pipeline.wire.config.model),
    duplicates: sequence.duplicates,
    late: sequence.late,
    deadLetters: sequence.rejected + (source.dataset?.deadLetters ?? 0),
    diverged: train?.batchesDropped ?? 0,
    ...(train === undefined ? {} : { progressive: train.progressive, intraUserCosine: train.intraUserCosine }),
    ...(source.simulation === undefined
      ? {}
      : { driftMs: source.simulation.driftMs, detections: [...pipeline.drift.detections, ...(train?.detections ?? [])] }),
    ...(found === undefined ? {} : { interestsFound: found }),
    ...(sample === undefined ? {} : { sample })
  }
}

async function findInterests(pipeline: WholePipeline, simulation: Simulation): Promise<InterestsFound> {
  const endMs = simulation.options.startMs + simulation.options.durationMs
  const users = []
  for (const userId of simulation.userIds().slice(0, foundSample)) {
    const { lists } = await pipeline.index.search({ by: { userId } }, 10, { excludeRecent: false })
    if (lists === undefined) continue
    users.push({ planted: simulation.interestsOf(userId, endMs), lists: lists.map((list) => list.map(({ itemId }) => itemId)) })
  }
  return interestsFound(users, (itemId) => simulation.topicOf(itemId))
}

/** The user who clicked last, of those with a history worth looking at. */
async function sampleUser(pipeline: WholePipeline): Promise<SampleUser | undefined> {
  const newest = pipeline.newestUser(sampleHistoryMin)
  if (newest === undefined) return undefined
  const { items } = await pipeline.recommender.recommend({ userId: newest.userId, limit: 10 })
  const recent = []
  for (const step of newest.steps.slice(-8).reverse()) recent.push((await pipeline.index.item(step.itemId))?.payload.title ?? step.itemId)
  const recommendations = []
  for (const { itemId, title, score, interest } of items) {
    const features = (await pipeline.index.item(itemId))?.payload.features ?? {}
    const about = Object.values(features).flat().join(', ')
    recommendations.push({ title: title ?? itemId, score, interest: interest ?? 0, ...(about === '' ? {} : { about }) })
  }
  return {
    userId: newest.userId,
    recent,
    recommendations
  }
}

/** The report as `replay --json` prints it. */
function jsonReport(report: RunReport): Record<string, unknown> {
  const { progressive } = report
  const round = (value: number) => Number(value.toFixed(4))
  return {
    interactions: report.interactions,
    users: report.users,
    items: report.items,
    examplesLearned: report.examplesLearned,
    duplicates: report.duplicates,
    late: report.late,
    deadLetters: report.deadLetters,
    progressive: progressive && {
      'hitRate@20': round(progressive['hitRate@20']),
      'ndcg@20': round(progressive['ndcg@20']),
      'hitRate@50': round(progressive['hitRate@50']),
      'ndcg@50': round(progressive['ndcg@50']),
      popularity: { 'hitRate@20': round(progressive.popularity['hitRate@20']), 'ndcg@20': round(progressive.popularity['ndcg@20']) },
      decayedPopularity: {
        'hitRate@20': round(progressive.decayedPopularity['hitRate@20']),
        'ndcg@20': round(progressive.decayedPopularity['ndcg@20'])
      },
      cooccurrence: { 'hitRate@20': round(progressive.cooccurrence['hitRate@20']), 'ndcg@20': round(progressive.cooccurrence['ndcg@20']) },
      share: round(progressive.evaluatedShare)
    },
    intraUserCosine: report.intraUserCosine === undefined ? null : round(report.intraUserCosine),
    eventsPerSecond: Math.round(report.eventsPerSecond ?? 0),
    examplesPerSecond: Math.round(report.examplesPerSecond ?? 0),
    freshnessMs: report.freshnessMs && { p50: Math.round(report.freshnessMs.p50), p99: Math.round(report.freshnessMs.p99) },
    ...(report.interestsFound === undefined ? {} : { interestsFound: report.interestsFound }),
    backend: report.backend,
    version: report.version
  }
}

/** Runs on different data never share state. */
function runName({ data, events }: StartOptions): string {
  if (data !== undefined) return path.basename(path.resolve(data)).replace(/[^\w.-]/g, '_')
  return events === undefined ? 'simulation' : `simulation-${events}`
}

function originOf(config: Config, { data, format, columns, events }: StartOptions): RunOrigin {
  if (data === undefined) return { simulation: { seed: config.seed, graceMs: config.sequence.graceMs, events: events ?? 'default' } }
  return { data: path.resolve(data), format: format ?? 'recognised', columns: columns ?? 'recognised', seed: config.seed }
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
      total: Math.round(events * (1 + duplicateShare + badShare)),
      items: () => simulation.items(),
      interactions: () => simulation.interactions(),
      simulation
    }
  }
  const dataset = await openDataset(options.data, {
    seed: config.seed,
    deadLetterDir: run.root,
    tempDir: run.root,
    ...(options.format === undefined ? {} : { format: options.format }),
    ...(options.columns === undefined ? {} : { columns: options.columns })
  })
  return {
    name: run.name,
    title: dataset.describe,
    total: 0,
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
  const recommendations = (user: string) => `  curl ${quoted(`${url}/v1/users/${encodeURIComponent(user)}/recommendations?limit=5`)}`
  return [
    '',
    `Serving on ${url} until Ctrl-C. Try in another shell:`,
    recommendations(userId),
    `  curl -X POST '${url}/v1/events' -H 'content-type: application/json' -d ${quoted(event)}`,
    `${recommendations('me')}   # a second later`,
    `  ${url}/openapi.json · ${url}/metrics · ${url}/readyz`
  ].join('\n')
}
