import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import test from 'node:test'
import { parse } from 'yaml'
import { dashboards, grafanaJson } from '../../infra/grafana/writeDashboards.mjs'
import { metricDefinitions } from '../../src/monitor/metrics.ts'
import { assertExported, selectorsOf } from './promql.ts'
import { alerts, recordedNames } from './ruleFiles.ts'

interface Panel {
  readonly id: number
  readonly title: string
  readonly description: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly datasource: { readonly uid: string }
  readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[]
}
const folder = 'infra/grafana/dashboards'
const read = (file: string) => JSON.parse(readFileSync(`${folder}/${file}`, 'utf8')) as { uid: string; panels: Panel[] }
const files = readdirSync(folder).sort()

test('the files are what the table says: node infra/grafana/writeDashboards.mjs', () => {
  assert.deepEqual(files, dashboards.map(({ uid }) => `${uid}.json`).sort())
  for (const dashboard of dashboards)
    assert.equal(readFileSync(`${folder}/${dashboard.uid}.json`, 'utf8'), grafanaJson(dashboard))
})

test('uids are what links rely on, and every panel reads the provisioned source', () => {
  assert.deepEqual(
    dashboards.map(({ uid }) => uid),
    ['mtmi-pipeline', 'mtmi-learning', 'mtmi-drift', 'mtmi-serving']
  )
  const { datasources } = parse(readFileSync('infra/grafana/provisioning/datasources/prometheus.yaml', 'utf8')) as {
    datasources: { uid: string }[]
  }
  for (const file of files)
    for (const { datasource } of read(file).panels) assert.equal(datasource.uid, datasources[0]!.uid)
})

for (const file of files) {
  test(`${file}: every query asks for what is exported, by the labels it has`, () => {
    const recorded = recordedNames()
    for (const { title, description, targets } of read(file).panels) {
      assert(description.length > 5, `${title} does not say what it shows`)
      for (const { expr, legendFormat } of targets) {
        assertExported(expr.replace(/count\(ALERTS\{[^}]*\}\)/, 'up'), recorded)
        for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g))
          assert(
            label === 'instance' || expr.includes(label!) || expr.includes(':'),
            `${title}: legend {{${label}}} of ${expr}`
          )
      }
    }
  })

  test(`${file}: panels do not overlap and fill their rows`, () => {
    const taken = new Set<string>()
    for (const { gridPos, title } of read(file).panels)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          assert(x < 24 && !taken.has(`${x} ${y}`), `${title} at ${x}, ${y}`)
          taken.add(`${x} ${y}`)
        }
    assert.equal(taken.size % 24, 0)
  })
}

test('nothing that is exported is left unseen: every metric is in a dashboard, a rule or both', () => {
  const seen = [...files.flatMap((file) => read(file).panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)))]
  const names = new Set(
    [...seen, ...alerts().map(({ expr }) => expr)].flatMap((expr) => selectorsOf(expr).map(({ name }) => name))
  )
  const text = [...names].join('\n')
  const unseen = Object.values(metricDefinitions).filter(({ name }) => !text.includes(name.replace(/_total$/, '')))
  // How long a checkpoint takes is part of what a step shows; sequences emitted follow from events.
  const known = [
    'mtmi_train_checkpoint_seconds',
    'mtmi_train_checkpoints_total',
    'mtmi_sequence_sequences_total',
    'mtmi_train_evaluated_ratio'
  ]
  assert.deepEqual(
    unseen.map(({ name }) => name).filter((name) => !known.includes(name)),
    []
  )
})
