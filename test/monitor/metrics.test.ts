import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { outcomesOf } from '../../src/core/account.ts'
import { ManualClock } from '../../src/core/clock.ts'
import { type MetricsEntry, type MetricsReport, metricDefinitions } from '../../src/monitor/metrics.ts'
import { createMetrics } from '../../src/monitor/metricsRegistry.ts'

const make = (clock = new ManualClock(0)) => createMetrics({ clock, processMetrics: false })

interface Sample {
  readonly name: string
  readonly labels: string
  readonly value: number
}

/** The text format, version 0.0.4, strictly. @throws on a line that is neither comment nor sample */
function parse(page: string): { samples: Sample[]; types: Map<string, string>; help: Map<string, string> } {
  const samples: Sample[] = []
  const types = new Map<string, string>()
  const help = new Map<string, string>()
  for (const line of page.split('\n')) {
    if (line === '') continue
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line)
    if (comment !== null) {
      ;(comment[1] === 'HELP' ? help : types).set(comment[2]!, comment[3]!)
      continue
    }
    const sample =
      /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\.)*",?)*\})? (-?[0-9.]+(?:e[+-]?\d+)?|\+Inf|-Inf|Nan)$/i.exec(
        line
      )
    assert(sample !== null, `not the text format: ${line}`)
    samples.push({ name: sample[1]!, labels: sample[2] ?? '', value: Number(sample[3]) })
  }
  return { samples, types, help }
}

const find = (samples: readonly Sample[], name: string, labels = '') =>
  samples.find((sample) => sample.name === name && sample.labels === labels)?.value

/**
 * What a name may end with before `_total`: base units first, then what is counted, then quantities without a unit,
 * which carry their own name.
 */
const units = [
  ...['seconds', 'bytes', 'ratio', 'info'],
  ...[
    'events',
    'sequences',
    'users',
    'examples',
    'steps',
    'rollbacks',
    'rows',
    'checkpoints',
    'points',
    'failures',
    'promotions',
    'requests',
    'lists',
    'interests',
    'items',
    'detections',
    'restarts',
    'records'
  ],
  ...['step', 'loss', 'norm', 'cosine', 'distance', 'psi']
]

/** Listed, or the first `max` that come and `other`. */
type LabelValues = readonly string[] | { readonly max: number }

test('every name follows the conventions', () => {
  for (const { name, help, kind, labels } of Object.values(metricDefinitions)) {
    assert.match(name, /^mtmi_(stage|task|ingest|sequence|train|publish|index|drift|serve)_[a-z][a-z_]*$/, name)
    assert.equal(name.endsWith('_total'), kind === 'counter', `${name}: _total is for counters, and for all of them`)
    assert(
      units.includes(
        name
          .replace(/_total$/, '')
          .split('_')
          .at(-1)!
      ),
      `${name} does not end in its unit`
    )
    assert(!/_(ms|millis|milliseconds|kb|mb|percent)\b/.test(name), `${name} is not in base units`)
    if (kind === 'age') assert.match(name, /_age_seconds$/)
    assert(
      help.length >= 12 && !help.endsWith('.') && /^[A-Z0-9]/.test(help),
      `${name}: help says what it is, as a phrase: ${help}`
    )
    for (const label of Object.keys(labels)) {
      assert.match(label, /^[a-z]+$/)
      assert(!['le', 'quantile', 'user', 'item', 'id'].includes(label), `${name}: label ${label}`)
    }
  }
  const names = Object.values(metricDefinitions).map(({ name }) => name)
  assert.equal(new Set(names).size, names.length, 'two metrics with one name')
})

test('buckets ascend', () => {
  for (const definition of Object.values(metricDefinitions)) {
    if (definition.kind !== 'histogram') continue
    const buckets: readonly number[] = (definition as { buckets?: readonly number[] }).buckets ?? []
    assert(buckets.length > 3)
    for (let i = 1; i < buckets.length; i++) assert(buckets[i]! > buckets[i - 1]!, definition.name)
  }
})

test('the page parses, with help and type for every metric, Node’s own under their usual names', async () => {
  const metrics = createMetrics({ clock: new ManualClock(0) })
  metrics.info({ version: '1.2.3', backend: 'tfjs-node', node: 'v20', tensorflow: '2.13.1 "quoted"\n' })
  metrics.records.inc({ reader: 'sequence', outcome: 'late' })
  const { contentType, body } = await metrics.expose()
  assert.match(contentType, /^text\/plain; version=0\.0\.4/)
  const { samples, types, help } = parse(body)
  for (const { name, kind } of Object.values(metricDefinitions)) {
    assert.equal(types.get(name), kind === 'age' ? 'gauge' : kind, name)
    assert(help.has(name), name)
  }
  assert(find(samples, 'process_cpu_seconds_total') !== undefined)
  assert(samples.some(({ name, value }) => name === 'mtmi_build_info' && value === 1))
})

test('what is measured is what is read', async () => {
  const metrics = make()
  metrics.records.inc({ reader: 'sequence', outcome: 'duplicate' })
  metrics.records.inc({ reader: 'sequence', outcome: 'duplicate' }, 4)
  metrics.loss.set(1.5)
  metrics.diverged.inc()
  metrics.http.observe({ route: '/livez', status: '2xx' }, 0.004)
  const { samples } = parse((await metrics.expose()).body)
  assert.equal(find(samples, 'mtmi_stage_records_total', '{reader="sequence",outcome="duplicate"}'), 5) // 1 + 4
  assert.equal(find(samples, 'mtmi_train_loss'), 1.5)
  assert.equal(find(samples, 'mtmi_train_diverged_steps_total'), 1)
  // 4 ms is above the bucket of 2.5 ms and within that of 5 ms.
  const bucket = (le: string) =>
    find(samples, 'mtmi_serve_request_seconds_bucket', `{le="${le}",route="/livez",status="2xx"}`)
  assert.equal(bucket('0.0025'), 0)
  assert.equal(bucket('0.005'), 1)
})

test('an age grows by itself, and is absent until it is known', async () => {
  const clock = new ManualClock(50_000)
  const metrics = make(clock)
  const read = async (name: string, labels = '') => find(parse((await metrics.expose()).body).samples, name, labels)
  assert.equal(await read('mtmi_train_checkpoint_age_seconds'), undefined)
  assert.equal(await read('mtmi_publish_vectors_age_seconds', '{role="item"}'), undefined)
  metrics.checkpointAge.at(48_000)
  metrics.publishedAge.at({ role: 'item' }, 50_000)
  assert.equal(await read('mtmi_train_checkpoint_age_seconds'), 2) // 50 − 48
  clock.advance(10_000)
  assert.equal(await read('mtmi_train_checkpoint_age_seconds'), 12)
  assert.equal(await read('mtmi_publish_vectors_age_seconds', '{role="item"}'), 10)
  assert.equal(await read('mtmi_publish_vectors_age_seconds', '{role="user"}'), undefined)
})

test('a report from another thread survives cloning and is taken in', async () => {
  const metrics = make()
  const report: MetricsReport = [
    { metric: 'stepSeconds', values: Float64Array.of(0.06, 0.07) },
    { metric: 'evaluateSeconds', value: 0.02 },
    { metric: 'records', labels: { reader: 'train', outcome: 'trained' }, value: 256 },
    { metric: 'hitRate', labels: { ranker: 'model', k: '20' }, value: 0.25 },
    { metric: 'checkpointAge', value: 0 }
  ]
  metrics.apply(structuredClone(report))
  metrics.apply(structuredClone(report))
  const { samples } = parse((await metrics.expose()).body)
  assert.equal(find(samples, 'mtmi_train_step_seconds_count'), 4)
  assert.equal(find(samples, 'mtmi_train_evaluate_seconds_count'), 2)
  assert.equal(find(samples, 'mtmi_stage_records_total', '{reader="train",outcome="trained"}'), 512)
  assert.equal(find(samples, 'mtmi_train_progressive_hit_rate_ratio', '{ranker="model",k="20"}'), 0.25)
})

test('a misspelt metric, a missing label and a strange value are refused by name', () => {
  const metrics = make()
  const from = (entry: unknown) => () => metrics.apply([entry as MetricsEntry])
  assert.throws(from({ metric: 'lossy', value: 1 }), /no metric lossy/)
  assert.throws(from({ metric: 'records', labels: { reader: 'train' }, value: 1 }), /label outcome cannot be undefined/)
  assert.throws(
    from({ metric: 'records', labels: { reader: 'train', outcome: 'user-17' }, value: 1 }),
    /label outcome cannot be user-17/
  )
  assert.throws(from({ metric: 'loss', labels: { user: 'u' }, value: 1 }), /no label user/)
})

test('a loss that is not finite leaves the page readable', async () => {
  const metrics = make()
  metrics.loss.set(2)
  metrics.apply([
    { metric: 'loss', value: Number.NaN },
    { metric: 'gradientNorm', value: Number.POSITIVE_INFINITY },
    { metric: 'stepSeconds', values: [Number.NaN, 0.1] },
    { metric: 'published', labels: { role: 'item', outcome: 'written' }, value: -1 }
  ])
  const { samples } = parse((await metrics.expose()).body)
  assert.equal(find(samples, 'mtmi_train_loss'), 2)
  assert.equal(find(samples, 'mtmi_train_step_seconds_count'), 1)
  assert(samples.every(({ value }) => Number.isFinite(value)))
})

test('the number of series has a bound that traffic does not move', async () => {
  const metrics = make()
  // Every combination of label values, each with the series of its kind: a histogram has its buckets, +Inf, sum and
  // count.
  let bound = 1
  for (const [metric, definition] of Object.entries(metricDefinitions)) {
    const product = Object.values<LabelValues>(definition.labels).reduce(
      (product, values) => product * ('max' in values ? values.max + 1 : values.length),
      1
    )
    // Accounts are the only ones that set it, and a reader has its own outcomes only.
    const combinations =
      metric === 'records' ? metricDefinitions.recordsRead.labels.reader.flatMap(outcomesOf).length : product
    const buckets = (definition as { buckets?: readonly number[] }).buckets?.length ?? 0
    bound += combinations * (definition.kind === 'histogram' ? buckets + 3 : 1)
  }
  assert(bound < 2000, `${bound} series are too many for one process`)
  const entries = Object.entries(metricDefinitions)
  fc.assert(
    fc.property(fc.nat(entries.length - 1), fc.nat(), fc.float(), fc.string(), (which, pick, value, userId) => {
      const [metric, { labels }] = entries[which]!
      const chosen = Object.fromEntries(
        Object.entries<LabelValues>(labels).map(([name, values]) => [
          name,
          'max' in values ? userId : values[pick % values.length]!
        ])
      )
      metrics.apply([{ metric, labels: chosen, value } as MetricsEntry])
      if (Object.values<LabelValues>(labels).every((values) => 'max' in values)) return
      const stray = Object.fromEntries(Object.keys(labels).map((name) => [name, `user ${userId}`]))
      assert.throws(() => metrics.apply([{ metric, labels: stray, value } as MetricsEntry]))
    }),
    { numRuns: 1000 }
  )
  const { samples } = parse((await metrics.expose()).body)
  assert(samples.length > 100 && samples.length <= bound, `${samples.length} of at most ${bound}`)
})
