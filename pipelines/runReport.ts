// What `start` and `replay` report: collected from the stages when everything in the log has been handled.

import type { AccountNumbers } from '../src/core/account.ts'
import { interestCountOf } from '../src/core/config/modelOptions.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import { version } from '../src/core/version.ts'
import { type InterestsFound, interestsFound } from '../src/lab/evaluation/interestsFound.ts'
import type { RunReport, SampleUser } from '../src/lab/evaluation/textReport.ts'
import type { Simulation } from '../src/lab/simulation/simulation.ts'
import type { WholePipeline } from './allInOne.ts'
import { describeBackend } from './backendInfo.ts'
import { collectVersions, heldTexts } from './versionsReport.ts'

/** Users whose towers are held against the planted truth: enough for ± 2 percentage points. */
const foundSample = 500
/** A history that a reader can recognise interests in. */
const sampleHistoryMin = 10

export interface RunSource {
  readonly title: string
  readonly simulation?: Simulation
}

/** @param rows what became of the rows of the source @param seconds since the first row was fed */
export async function collectReport(
  pipeline: WholePipeline,
  source: RunSource,
  run: RunDirectory,
  { rows, seconds }: { rows: AccountNumbers<'source'>; seconds: number }
): Promise<RunReport> {
  const { sequence, train, publish } = pipeline.status()
  const { config } = pipeline.io
  const interactions = sequence.account.read
  const live = await pipeline.index.live()
  // After a rollback with --hold, or a refusal of the gate, the trainer's figures are of weights that nobody is served
  // by.
  const held = heldTexts(await collectVersions(config, run, pipeline.index))
  // Before anything is published there is no list to show; why not is what the rest of the report says.
  const found =
    source.simulation === undefined || live === undefined ? undefined : await findInterests(pipeline, source.simulation)
  const sample = live === undefined ? undefined : await sampleUser(pipeline)
  const freshnessMs = pipeline.freshnessMs()
  return {
    source: source.title,
    run: run.name,
    ...(live === undefined ? {} : { indexVersion: live.indexVersion }),
    ...(held.length === 0 ? {} : { held }),
    seconds,
    interactions,
    interactionsThisTime: sequence.readThisTime,
    users: sequence.users,
    items: live?.items ?? 0,
    accounts: [rows, ...pipeline.accounts()],
    ignoredTypes: sequence.ignoredTypes,
    typeWeights: config.events.types,
    otherLosses: {
      forgottenIds: sequence.forgottenIds,
      examplesUndone: train?.examplesUndone ?? 0,
      rejectedWeights: publish?.held === undefined ? 0 : 1
    },
    examplesLearned: train?.examplesLearned ?? 0,
    untrainedTargets: train?.untrainedTargets ?? 0,
    batchSize: config.train.batchSize,
    backend: describeBackend(pipeline.backend),
    version,
    interestCount: interestCountOf(config.model),
    ...(train === undefined || train.examplesThisRun === 0
      ? {}
      : { examplesPerSecond: train.examplesThisRun / train.trainSeconds }),
    ...(freshnessMs === undefined ? {} : { freshnessMs }),
    ...(train === undefined || held.length > 0
      ? {}
      : { progressive: train.progressive, intraUserCosine: train.intraUserCosine }),
    ...(source.simulation === undefined
      ? {}
      : {
          driftMs: source.simulation.driftMs,
          detections: [...pipeline.drift.detections, ...(train?.detections ?? [])]
        }),
    ...(found === undefined ? {} : { interestsFound: found }),
    ...(sample === undefined ? {} : { sample })
  }
}

/** Beside a progress bar: how good the model is just now. */
export function progressDetail(pipeline: WholePipeline): string {
  const { train } = pipeline.status()
  if (train === undefined || train.progressive.targets <= train.untrainedTargets)
    return 'no target ranked by a trained model yet'
  const { progressive } = train
  const ratio = (value: number) => value.toFixed(3).replace(/^0/, '')
  return `hit rate@20 ${ratio(progressive.window.model['hitRate@20'])} (popularity ${ratio(progressive.window.popularity['hitRate@20'])}), loss ${train.loss.toFixed(2)}`
}

async function findInterests(pipeline: WholePipeline, simulation: Simulation): Promise<InterestsFound> {
  const endMs = simulation.options.startMs + simulation.options.durationMs
  const users = []
  for (const userId of simulation.userIds().slice(0, foundSample)) {
    const { lists } = await pipeline.index.search({ by: { userId } }, 10, { excludeRecent: false })
    if (lists === undefined) continue
    users.push({
      planted: simulation.interestsOf(userId, endMs),
      lists: lists.map((list) => list.map(({ itemId }) => itemId))
    })
  }
  return interestsFound(users, (itemId) => simulation.topicOf(itemId))
}

/** The user who clicked last, of those with a history worth looking at. */
async function sampleUser(pipeline: WholePipeline): Promise<SampleUser | undefined> {
  const newest = pipeline.newestUser(sampleHistoryMin)
  if (newest === undefined) return undefined
  const { items } = await pipeline.recommender.recommend({ userId: newest.userId, limit: 10 })
  const recent = []
  for (const step of newest.steps.slice(-8).reverse())
    recent.push((await pipeline.index.item(step.itemId))?.payload.title ?? step.itemId)
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
export function jsonReport(report: RunReport): Record<string, unknown> {
  const { progressive } = report
  const round = (value: number) => Number(value.toFixed(4))
  return {
    interactions: report.interactions,
    users: report.users,
    items: report.items,
    ...(report.held === undefined ? {} : { held: report.held }),
    examplesLearned: report.examplesLearned,
    accounts: Object.fromEntries(
      report.accounts.map(({ reader, read, outcomes, waiting }) => [reader, { read, ...outcomes, waiting }])
    ),
    ignoredTypes: report.ignoredTypes,
    otherLosses: report.otherLosses,
    untrainedTargets: report.untrainedTargets,
    progressive: progressive && {
      'hitRate@20': round(progressive['hitRate@20']),
      'ndcg@20': round(progressive['ndcg@20']),
      'hitRate@50': round(progressive['hitRate@50']),
      'ndcg@50': round(progressive['ndcg@50']),
      popularity: {
        'hitRate@20': round(progressive.popularity['hitRate@20']),
        'ndcg@20': round(progressive.popularity['ndcg@20'])
      },
      decayedPopularity: {
        'hitRate@20': round(progressive.decayedPopularity['hitRate@20']),
        'ndcg@20': round(progressive.decayedPopularity['ndcg@20'])
      },
      cooccurrence: {
        'hitRate@20': round(progressive.cooccurrence['hitRate@20']),
        'ndcg@20': round(progressive.cooccurrence['ndcg@20'])
      },
      share: round(progressive.evaluatedShare)
    },
    intraUserCosine: report.intraUserCosine === undefined ? null : round(report.intraUserCosine),
    interactionsThisTime: report.interactionsThisTime,
    seconds: round(report.seconds),
    ...(report.examplesPerSecond === undefined ? {} : { examplesPerSecond: Math.round(report.examplesPerSecond) }),
    freshnessMs: report.freshnessMs && {
      p50: Math.round(report.freshnessMs.p50),
      p99: Math.round(report.freshnessMs.p99)
    },
    ...(report.interestsFound === undefined ? {} : { interestsFound: report.interestsFound }),
    backend: report.backend,
    version: report.version
  }
}
