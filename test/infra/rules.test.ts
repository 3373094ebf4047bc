import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { parse } from 'yaml'
import { ensurePrometheus } from '../../infra/prometheus/ensure.mjs'
import { systemClock } from '../../src/core/clock.ts'
import { type MetricsEntry, metricDefinitions } from '../../src/monitor/metrics.ts'
import { createMetrics } from '../../src/monitor/metricsRegistry.ts'
import { assertExported, selectorsOf } from './promql.ts'
import { alerts, readRules, recordedNames, ruleFiles } from './ruleFiles.ts'

const found = ensurePrometheus()
const skip = 'missing' in found ? `no promtool: ${found.missing}` : false
const promtool = 'missing' in found ? '' : found.promtool
const unitTests = 'infra/prometheus/tests/alerts.yml'

function run(args: readonly string[], input = '') {
  const { status, stdout, stderr } = spawnSync(promtool, args, { input, encoding: 'utf8' })
  return { status, output: stdout + stderr }
}

test('promtool accepts the configuration and the rules', { skip }, () => {
  for (const args of [
    ['check', 'config', 'infra/prometheus/prometheus.yml'],
    ['check', 'rules', ...ruleFiles]
  ]) {
    const { status, output } = run(args)
    assert.equal(status, 0, output)
  }
})

test('every alert fires when it should and not when it should not', { skip }, () => {
  const { status, output } = run(['test', 'rules', unitTests])
  assert.equal(status, 0, output)
})

test('every alert has a unit test of both kinds', () => {
  const { tests } = parse(readFileSync(unitTests, 'utf8')) as {
    tests: { name: string; promql_expr_test: { expr: string }[] }[]
  }
  for (const { alert } of alerts()) {
    for (const kind of ['fires', 'does not fire']) {
      const cases = tests.filter(({ name }) => name.startsWith(`${alert} ${kind}: `))
      assert(cases.length > 0, `no unit test says when ${alert} ${kind}`)
      for (const { promql_expr_test: asked } of cases) assert(asked.every(({ expr }) => expr.includes(`"${alert}"`)))
    }
  }
})

test('every alert says how bad it is, what is wrong with its value, and where its runbook paragraph is', () => {
  const headings = new Map(
    [...readFileSync('docs/alerts.md', 'utf8').matchAll(/^#+ (.+)\n\n(.+)$/gm)].map(([, heading, paragraph]) => [
      heading!
        .toLowerCase()
        .replaceAll(' ', '-')
        .replace(/[^\w-]/g, ''),
      paragraph!
    ])
  )
  const names = new Set<string>()
  for (const { alert, labels, annotations } of alerts()) {
    assert.match(alert!, /^Mtmi[A-Z]\w+$/)
    assert(!names.has(alert!), `${alert} is there twice`)
    names.add(alert!)
    assert(['critical', 'warning'].includes(labels?.severity ?? ''), `${alert} has no severity`)
    assert(annotations?.summary, `${alert} has no summary`)
    assert(annotations.description, `${alert} has no description`)
    if (!['MtmiAbsent', 'MtmiDown', 'MtmiFallbackEngine', 'MtmiEventsStopped'].includes(alert!))
      assert.match(annotations.description, /\{\{ \$value/, `${alert} does not give its value`)
    const [page, anchor] = annotations.runbook_url!.split('#')
    assert.equal(page, 'docs/alerts.md')
    assert.equal(anchor, alert!.toLowerCase())
    assert((headings.get(anchor!)?.length ?? 0) > 40, `docs/alerts.md has no paragraph under a heading ${alert}`)
  }
  // And the other way round: no paragraph about an alert that is gone.
  for (const heading of headings.keys())
    if (heading.startsWith('mtmi'))
      assert(
        [...names].some((name) => name.toLowerCase() === heading),
        heading
      )
})

test('rules ask only for what is exported', () => {
  const recorded = recordedNames()
  for (const file of ruleFiles) for (const { expr } of readRules(file)) assertExported(expr, recorded)
})

test('names of recording rules say level, metric and operation', () => {
  for (const name of recordedNames()) assert.match(name, /^job(_[a-z]+)*:mtmi_[a-z_]+:[a-z0-9_]+$/)
})

test('what an expression asks for is found in it, and what does not exist is noticed', () => {
  assert.deepEqual(
    selectorsOf(
      'sum by (le, job) (rate(a_bucket{x="(y", z=~"q|r"}[5m] offset 1h)) / on (job) (b:c:d > 0) and up unless e'
    ).map(({ name }) => name),
    ['a_bucket', 'b:c:d', 'up', 'e']
  )
  const none = new Set<string>()
  assert.throws(() => assertExported('rate(mtmi_nothing_total[5m])', none), /no metric mtmi_nothing_total/)
  assert.throws(() => assertExported('mtmi_stage_lag_seconds{user="u"}', none), /no label user/)
  assert.throws(() => assertExported('mtmi_stage_lag_seconds{stage="brew"}', none), /never brew/)
  assert.throws(() => assertExported('mtmi_train_loss_bucket', none), /no metric/)
  assertExported('histogram_quantile(0.9, rate(mtmi_train_step_seconds_bucket{le="1"}[5m]))', none)
})

test('promtool finds no fault with what is exported, but for names that prom-client gave', { skip }, async () => {
  const metrics = createMetrics({ clock: systemClock })
  // Everything once, with the first value of each label; an open label takes any.
  metrics.apply(
    Object.entries(metricDefinitions).map(
      ([metric, { labels }]) =>
        ({
          metric,
          value: 1,
          ...(Object.keys(labels).length === 0
            ? {}
            : {
                labels: Object.fromEntries(
                  Object.entries(labels).map(([label, list]) => [label, 'max' in list ? 'any' : list[0]])
                )
              })
        }) as unknown as MetricsEntry
    )
  )
  const { status, output } = run(['check', 'metrics'], (await metrics.expose()).body)
  assert(status === 0 || status === 3, output)
  const ours = output
    .split('\n')
    .filter((line) => line !== '' && !/^nodejs_active_(handles|requests|resources)_total /.test(line))
  assert.deepEqual(ours, [])
})
