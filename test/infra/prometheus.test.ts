// A real Prometheus with the real rules, their durations shortened: what is planted in our own registry makes the right
// alerts fire, and resolve.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { ensurePrometheus } from '../../infra/prometheus/ensure.mjs'
import { systemClock } from '../../src/core/clock.ts'
import { createMetrics } from '../../src/monitor/metricsRegistry.ts'
import { bindOpsPort, startOpsService } from '../../src/serve/http/opsService.ts'
import { PrometheusServer } from './prometheusServer.ts'
import { ruleFiles, shortened } from './ruleFiles.ts'

const found = ensurePrometheus()
const skip = 'missing' in found ? `no Prometheus: ${found.missing}` : false
const binary = 'missing' in found ? '' : found.prometheus

async function withExporter(
  use: (prometheus: PrometheusServer, metrics: ReturnType<typeof createMetrics>) => Promise<void>
): Promise<void> {
  const metrics = createMetrics({ clock: systemClock })
  const service = await startOpsService({
    port: await bindOpsPort({ host: '127.0.0.1', port: 0 }),
    metrics,
    readiness: () => ({ ready: true, detail: '' })
  })
  try {
    const prometheus = await PrometheusServer.start(binary, {
      rules: ruleFiles.map(shortened),
      targets: [new URL(service.url).host]
    })
    try {
      await use(prometheus, metrics)
    } finally {
      await prometheus.stop()
    }
  } finally {
    await service.close()
  }
}

test('a planted stall, drift, divergence, refusals and failing requests raise their alerts, which resolve when mended', {
  skip
}, async () => {
  await withExporter(async (prometheus, metrics) => {
    let well = true
    /** What a pipeline would do in a moment, well or ill; again at every look, so that counters move. */
    const live = () => {
      const nowMs = systemClock.nowMs()
      metrics.lag.set({ stage: 'train' }, well ? 0 : 1200)
      metrics.progress.at({ stage: 'train' }, well ? nowMs : nowMs - 1_200_000)
      metrics.records.inc({ reader: 'sequence', outcome: 'placed' }, 100)
      for (const outcome of ['rejected', 'ignored'] as const)
        metrics.records.inc({ reader: 'sequence', outcome }, well ? 0 : 60)
      metrics.records.inc({ reader: 'ingest', outcome: 'mapped' }, 100)
      metrics.records.inc({ reader: 'ingest', outcome: 'refused' }, well ? 0 : 60)
      metrics.unaccountedRecords.set({ reader: 'train' }, well ? 0 : -1)
      metrics.deadLetters.inc({ stage: 'train', topic: 'user-sequences' }, well ? 0 : 1)
      metrics.driftDetectionAge.at({ signal: 'category', detector: 'psi' }, well ? nowMs - 3_600_000 : nowMs - 60_000)
      metrics.intraUserCosine.set(well ? 0.45 : 0.98)
      metrics.hitRate.set({ ranker: 'model', k: '20' }, well ? 0.17 : 0.1)
      metrics.hitRate.set({ ranker: 'popularity', k: '20' }, 0.13)
      metrics.diverged.inc(well ? 0 : 1)
      metrics.checkpointAge.at(well ? nowMs : nowMs - 3_600_000)
      metrics.publishedAge.at({ role: 'user' }, well ? nowMs : nowMs - 3_600_000)
      for (let i = 0; i < 100; i++) metrics.freshness.observe(well ? 0.4 : 25)
      metrics.publishFailures.inc(well ? 0 : 1)
      const route = '/v1/users/:id/recommendations'
      for (let i = 0; i < 20; i++)
        metrics.http.observe({ route, status: well || i < 15 ? '2xx' : '5xx' }, well ? 0.002 : 0.8)
      if (!well) metrics.promotions.inc({ outcome: 'held' })
      if (!well) metrics.records.inc({ reader: 'serve', outcome: 'failed' })
    }
    const states = async () => {
      live()
      return new Map((await prometheus.alerts()).map((alert) => [alert.name, alert]))
    }

    await prometheus.until('the exporter is scraped', async () => {
      live()
      return (await prometheus.query('job:mtmi_publish_freshness_seconds:p99_5m')).length > 0
    })
    // Not at once: a busy machine may miss a scrape, which waiting mends.
    await prometheus.until('there is no alert while all is well', async () => (await states()).size === 0)

    well = false
    const expected = [
      'MtmiStageStalled',
      'MtmiStageLagging',
      'MtmiStageFarBehind',
      'MtmiDeadLetters',
      'MtmiDeadLettersMany',
      'MtmiEventsIgnored',
      'MtmiRecordsUnaccounted',
      'MtmiSourceRecordsRefused',
      'MtmiStageDeadLetters',
      'MtmiInputDrift',
      'MtmiInterestsCollapsed',
      'MtmiHitRateBelowPopularity',
      'MtmiStepsDiverged',
      'MtmiCheckpointOld',
      'MtmiVectorsOld',
      'MtmiFreshnessSlow',
      'MtmiPublishingFails',
      'MtmiHttpErrors',
      'MtmiHttpSlow',
      'MtmiPromotionHeld',
      'MtmiEventsNotTaken'
    ]
    let firing = new Map<string, Awaited<ReturnType<typeof prometheus.alerts>>[number]>()
    await prometheus.until(`all of ${expected.join(', ')} fire, and nothing that was not planted`, async () => {
      const now = await states()
      firing = new Map([...now].filter(([, { state }]) => state === 'firing'))
      return expected.every((name) => firing.has(name)) && [...firing.keys()].every((name) => expected.includes(name))
    })
    const pending = await prometheus.query(
      'count_over_time(ALERTS{alertname="MtmiInterestsCollapsed", alertstate="pending"}[10m])'
    )
    assert(pending.length > 0, 'a collapse is pending before it fires')
    const { labels, annotations } = firing.get('MtmiStageStalled')!
    assert.equal(labels.stage, 'train')
    assert.match(annotations.description!, /^train has work waiting and has not moved for 20m /)
    assert.match(
      firing.get('MtmiInputDrift')!.annotations.description!,
      /^The population stability index of category reached its threshold 1m /
    )
    assert.match(firing.get('MtmiHttpErrors')!.annotations.description!, /^\d+(\.\d+)?% of requests/)
    for (const alert of firing.values())
      for (const text of Object.values(alert.annotations))
        assert.doesNotMatch(text, /\{\{|%!|NaN|<error/, `${alert.name}: ${text}`)

    well = true
    await prometheus.until('all alerts are gone', async () => (await states()).size === 0)
  })
})

test('a real Prometheus accepts every query of every dashboard', { skip }, async () => {
  await withExporter(async (prometheus) => {
    for (const name of ['mtmi-pipeline', 'mtmi-learning', 'mtmi-drift', 'mtmi-serving']) {
      const { panels } = JSON.parse(readFileSync(`infra/grafana/dashboards/${name}.json`, 'utf8')) as {
        panels: { title: string; targets: { expr: string }[] }[]
      }
      for (const { title, targets } of panels)
        for (const { expr } of targets)
          await assert.doesNotReject(prometheus.query(expr.replaceAll('$job', 'mtmi')), `${name}, ${title}: ${expr}`)
    }
    await assert.rejects(prometheus.query('sum by (job'), /parse error/)
  })
})
