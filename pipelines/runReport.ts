// The report of `start`, `replay` and `up`, collected from the stages when everything in the log has been handled.

import type { AccountNumbers } from '../src/core/account.ts'
import { interestCountOf } from '../src/core/config/modelOptions.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import { version } from '../src/core/version.ts'
import { type InterestsFound, interestsFound } from '../src/lab/evaluation/interestsFound.ts'
import type { RunReport, SampleUser } from '../src/lab/evaluation/textReport.ts'
import type { Simulation } from '../src/lab/simulation/simulation.ts'
import type { WholePipeline } from './allInOne.ts'
import { describeBackend } from './backendInfo.ts'
import type { StartSource } from './startSource.ts'
import { collectVersions, heldTexts } from './versionsReport.ts'

/** Users whose interests are compared with the planted ones: enough for ± 2 percentage points. */
const foundSample = 500
/** Steps from which a reader can recognise interests. */
const sampleHistoryMin = 10

/** @param accounts of the source and the stages @param seconds since its first row was loaded */
export async function collectReport(
  pipeline: WholePipeline,
  { title, simulation }: Pick<StartSource, 'title' | 'simulation'>,
  run: RunDirectory,
  { accounts, seconds }: { accounts: readonly AccountNumbers[]; seconds: number }
): Promise<RunReport> {
  const { sequence, train, publish } = pipeline.status()
  const { config } = pipeline.io
  const live = await pipeline.index.live()
  // After a rollback with --hold, or where the gate rejected weights, the trainer's figures are not of what is served.
  const held = heldTexts(await collectVersions(config, run, pipeline.index))
  const freshnessMs = pipeline.freshnessMs()
  const trained = train !== undefined && train.examplesThisRun > 0 ? train : undefined
  const served = held.length === 0 ? train : undefined
  return {
    source: title,
    run: run.name,
    ...(live === undefined ? {} : { indexVersion: live.indexVersion }),
    ...(held.length === 0 ? {} : { held }),
    seconds,
    interactions: sequence.account.read,
    interactionsThisTime: sequence.readThisTime,
    users: sequence.users,
    items: live?.items ?? 0,
    accounts,
    ignoredTypes: sequence.ignoredTypes,
    typeWeights: config.events.types,
    otherLosses: {
      forgottenIds: sequence.forgottenIds,
      examplesUndone: train?.examplesUndone ?? 0,
      rejectedWeights: publish?.held === undefined ? 0 : 1
    },
    examplesTrained: train?.examplesTrained ?? 0,
    untrainedTargets: train?.untrainedTargets ?? 0,
    batchSize: config.train.batchSize,
    backend: describeBackend(pipeline.backend),
    version,
    interestCount: interestCountOf(config.model),
    ...(trained && { examplesPerSecond: trained.examplesThisRun / trained.trainSeconds }),
    ...(freshnessMs && { freshnessMs }),
    ...(served && { progressive: served.progressive, intraUserCosine: served.intraUserCosine }),
    ...(simulation && {
      driftMs: simulation.driftMs,
      detections: [...pipeline.drift.detections, ...(train?.detections ?? [])]
    }),
    // Before anything is published there is no list to show.
    ...(live && simulation && { interestsFound: await findInterests(pipeline, simulation) }),
    ...(live && (await sampleUser(pipeline)))
  }
}

/** Beside the progress bar: how good the model is now. */
export function progressDetail(pipeline: WholePipeline): string {
  const { train } = pipeline.status()
  if (train === undefined || train.progressive.targets <= train.untrainedTargets)
    return 'no target ranked by a trained model yet'
  const { model, popularity } = train.progressive.window
  const ratio = (value: number) => value.toFixed(3).replace(/^0/, '')
  return `hit rate@20 ${ratio(model['hitRate@20'])} (popularity ${ratio(popularity['hitRate@20'])}), loss ${train.loss.toFixed(2)}`
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

/** The user who acted last, of those with a long enough history. */
async function sampleUser(pipeline: WholePipeline): Promise<{ sample?: SampleUser }> {
  const { index, recommender } = pipeline
  const newest = pipeline.newestUser(sampleHistoryMin)
  if (newest === undefined) return {}
  const { userId, steps } = newest
  const { items } = await recommender.recommend({ userId, limit: 10 })
  const recent = []
  for (const { itemId } of steps.slice(-8).reverse()) recent.push((await index.item(itemId))?.payload.title ?? itemId)
  const recommendations = []
  for (const { itemId, title, score, interest } of items) {
    const about = Object.values((await index.item(itemId))?.payload.features ?? {})
      .flat()
      .join(', ')
    recommendations.push({ title: title ?? itemId, score, interest: interest ?? 0, ...(about === '' ? {} : { about }) })
  }
  return { sample: { userId, recent, recommendations } }
}

/** The report as `--json` prints it. */
export function jsonReport(report: RunReport): Record<string, unknown> {
  const { progressive, accounts, freshnessMs } = report
  const round = (value: number) => Number(value.toFixed(4))
  const rounded = (metrics: Readonly<Record<'hitRate@20' | 'ndcg@20', number>>) => ({
    'hitRate@20': round(metrics['hitRate@20']),
    'ndcg@20': round(metrics['ndcg@20'])
  })
  const { interactions, users, items, held, examplesTrained, ignoredTypes, otherLosses, untrainedTargets } = report
  const { interactionsThisTime, intraUserCosine, examplesPerSecond, interestsFound, backend, version } = report
  return {
    ...{ interactions, users, items, held, examplesTrained },
    accounts: Object.fromEntries(
      accounts.map(({ reader, read, outcomes, waiting }) => [reader, { read, ...outcomes, waiting }])
    ),
    ...{ ignoredTypes, otherLosses, untrainedTargets },
    progressive: progressive && {
      ...rounded(progressive),
      'hitRate@50': round(progressive['hitRate@50']),
      'ndcg@50': round(progressive['ndcg@50']),
      popularity: rounded(progressive.popularity),
      cooccurrence: rounded(progressive.cooccurrence),
      targets: progressive.targets,
      share: round(progressive.evaluatedShare),
      standardError: round(progressive.standardError)
    },
    intraUserCosine: intraUserCosine === undefined ? null : round(intraUserCosine),
    interactionsThisTime,
    seconds: round(report.seconds),
    examplesPerSecond: examplesPerSecond && Math.round(examplesPerSecond),
    freshnessMs: freshnessMs && { p50: Math.round(freshnessMs.p50), p99: Math.round(freshnessMs.p99) },
    ...{ interestsFound, backend, version }
  }
}
