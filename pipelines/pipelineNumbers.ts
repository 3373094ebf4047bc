// The state of the whole pipeline as `GET /v1/status` reports it.

import { type AccountNumbers, accountText } from '../src/core/account.ts'
import type { PipelineNumbers, QualityNumbers } from '../src/serve/answers.ts'
import type { ProgressiveMethod, ProgressiveReport } from '../src/train/progressive/progressive.ts'
import type { RankingMetrics } from '../src/train/progressive/rankingMetrics.ts'
import type { WholePipeline } from './allInOne.ts'

/** A tenth of a thousandth: below the noise of any number here. */
const rounded = (value: number) => Math.round(value * 1e4) / 1e4

/** Changes that were noticed, the newest. */
const detectionsShown = 6

/** @param source where the events come from, and the outcomes of all records in the order of the flow */
export function pipelineNumbers(
  pipeline: WholePipeline,
  source: { title: string; accounts: readonly AccountNumbers[] }
): PipelineNumbers {
  const { sequence, train } = pipeline.status()
  const { backend, tensorflow } = pipeline.backend
  const freshnessMs = pipeline.freshnessMs()
  const newestEventMs = pipeline.watermarkMs()
  return {
    source: source.title,
    backend: backend === 'tensorflow' ? `tfjs-node, libtensorflow ${tensorflow}` : 'WASM',
    ...(newestEventMs > 0 ? { newestEventMs } : {}),
    records: source.accounts.map((account) => ({ ...account, text: accountText(account) })),
    ignoredTypes: Object.fromEntries(sequence.ignoredTypes.named),
    users: sequence.users,
    stages: [...pipeline.stages()].map(({ stage, lagSeconds, waiting, done }) => ({
      stage,
      lagSeconds: rounded(lagSeconds),
      waiting,
      done
    })),
    ...(train === undefined || train.batches === 0
      ? {}
      : {
          training: {
            examplesTrained: train.examplesTrained,
            batches: train.batches,
            batchesDropped: train.batchesDropped,
            rollbacks: train.rollbacks,
            loss: rounded(train.loss),
            intraUserCosine: rounded(train.intraUserCosine),
            ...quality(train.progressive)
          }
        }),
    drift: {
      inputs: Object.entries(pipeline.drift.report.features).map(([feature, { psi, threshold }]) => ({
        feature,
        psi: rounded(psi),
        threshold: rounded(threshold)
      })),
      detections: [...pipeline.drift.detections, ...(train?.detections ?? [])]
        .sort((a, b) => b.eventTimeMs - a.eventTimeMs)
        .slice(0, detectionsShown)
        .map(({ signal, detector, value, eventTimeMs }) => ({ signal, detector, value: rounded(value), eventTimeMs }))
    },
    ...(freshnessMs === undefined
      ? {}
      : { freshnessMs: { p50: Math.round(freshnessMs.p50), p99: Math.round(freshnessMs.p99) } })
  }
}

function quality(progressive: ProgressiveReport) {
  const numbers = (metrics: Readonly<Record<ProgressiveMethod, RankingMetrics>>): QualityNumbers => ({
    targets: metrics.model.targets,
    model: rounded(metrics.model['hitRate@20']),
    popularity: rounded(metrics.popularity['hitRate@20']),
    cooccurrence: rounded(metrics.cooccurrence['hitRate@20'])
  })
  return {
    recent: numbers(progressive.window),
    curve: progressive.curve.map(({ examples, timeMs, metrics }) => ({ examples, timeMs, ...numbers(metrics) }))
  }
}
