// The metrics of `metrics.ts` on a registry of prom-client: names and label values are checked by the compiler, and
// again when a value is written.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Clock } from '../core/clock.ts'
import { own, setOwn } from '../core/own.ts'
import {
  type Definition,
  type Definitions,
  type Kind,
  type LabelsOf,
  type MetricName,
  type MetricsReport,
  metricDefinitions
} from './metrics.ts'

type WithLabels<N extends MetricName, Rest extends unknown[]> = keyof Definitions[N]['labels'] extends never
  ? Rest
  : [labels: LabelsOf<N>, ...rest: Rest]

interface Handles<N extends MetricName> {
  readonly counter: { inc(...args: WithLabels<N, [by?: number]>): void }
  readonly gauge: { set(...args: WithLabels<N, [value: number]>): void }
  readonly histogram: { observe(...args: WithLabels<N, [value: number]>): void }
  /** @param momentMs milliseconds since the Unix epoch */
  readonly age: { at(...args: WithLabels<N, [momentMs: number]>): void }
}
type Facade = { readonly [N in MetricName]: Handles<N>[Definitions[N]['kind']] }

export interface BuildInfo {
  readonly version: string
  /** Which tfjs backend is live: `tfjs-node`, `wasm`, or `none` where nothing is encoded. */
  readonly backend: string
  readonly node: string
  readonly tensorflow?: string
}

type AnyLabels = Readonly<Record<string, string>>
type Write = (labels: AnyLabels, value: number) => void

export interface Metrics extends Facade {
  readonly registry: Registry
  /** Sets `mtmi_build_info`. */
  info(build: BuildInfo): void
  /**
   * Takes in what another thread measured. An entry that is not finite is left out: a broken loss must not break the
   * page.
   */
  apply(report: MetricsReport): void
  /** The page that Prometheus reads, and its content type. */
  expose(): Promise<{ contentType: string; body: string }>
}

/**
 * @param options.processMetrics also collect Node's own (`process_…`, `nodejs_…`), once a process. Default true.
 */
export function createMetrics({ clock, processMetrics = true }: { clock: Clock; processMetrics?: boolean }): Metrics {
  const registry = new Registry()
  const writers = new Map<string, Write>()
  const facade: Record<string, unknown> = {}
  const verbs: Readonly<Record<Kind, string>> = { counter: 'inc', gauge: 'set', histogram: 'observe', age: 'at' }

  for (const [key, definition] of Object.entries<Definition>(metricDefinitions)) {
    const write = checked(key, definition, declare(registry, clock, definition))
    writers.set(key, write)
    const labelled = Object.keys(definition.labels).length > 0
    setOwn(facade, key, {
      [verbs[definition.kind]]: labelled
        ? (labels: AnyLabels, value = 1) => write(labels, value)
        : (value = 1) => write(noLabels, value)
    })
  }

  const build = new Gauge({
    name: 'mtmi_build_info',
    help: 'Which build this is, and what it computes with; always 1',
    labelNames: ['version', 'backend', 'node', 'tensorflow'],
    registers: [registry]
  })
  if (processMetrics) collectDefaultMetrics({ register: registry })

  return Object.assign(facade as unknown as Facade, {
    registry,
    info({ version, backend, node, tensorflow = '' }: BuildInfo): void {
      build.reset()
      build.set({ version, backend, node, tensorflow }, 1)
    },
    apply(report: MetricsReport): void {
      for (const entry of report) {
        const write = writers.get(entry.metric)
        if (write === undefined) throw new Error(`there is no metric ${String(entry.metric)}`)
        const labels: AnyLabels = entry.labels ?? noLabels
        if ('values' in entry) for (const value of entry.values) write(labels, value)
        else write(labels, entry.value)
      }
    },
    async expose(): Promise<{ contentType: string; body: string }> {
      return { contentType: registry.contentType, body: await registry.metrics() }
    }
  })
}

const noLabels: AnyLabels = {}

/** Makes the metric. @returns how a value gets into it */
function declare(registry: Registry, clock: Clock, { kind, name, help, labels, buckets = [] }: Definition): Write {
  const names = Object.keys(labels)
  const common = { name, help, labelNames: names, registers: [registry] }
  if (kind === 'counter') {
    const metric = new Counter(common)
    return (at, value) => metric.inc(at, value)
  }
  if (kind === 'histogram') {
    const metric = new Histogram({ ...common, buckets: [...buckets] })
    return (at, value) => metric.observe(at, value)
  }
  if (kind === 'gauge') {
    const metric = new Gauge(common)
    // Absent until first set: a loss of 0 that was not measured would be wrong.
    if (names.length === 0) metric.remove()
    return (at, value) => metric.set(at, value)
  }
  const moments = new Map<string, { readonly labels: AnyLabels; readonly momentMs: number }>()
  new Gauge({
    ...common,
    collect() {
      this.reset()
      // A label-free gauge is 0 after a reset, which would say that the thing is brand-new.
      if (moments.size === 0 && names.length === 0) this.remove()
      for (const { labels: at, momentMs } of moments.values())
        this.set(at, Math.max(0, clock.nowMs() - momentMs) / 1000)
    }
  })
  return (at, value) =>
    moments.set(
      Object.keys(labels)
        .map((label) => own(at, label))
        .join(' '),
      { labels: at, momentMs: value }
    )
}

/**
 * A label outside its list is our bug, and would be a series too many; a value that is not finite is the world's, and
 * is left out.
 */
function checked(key: string, { kind, labels: lists }: Definition, write: Write): Write {
  const names = Object.keys(lists)
  const allowed = new Map(
    names.map((name) => {
      const list = own(lists, name)!
      return [name, new Set('max' in list ? [] : list)]
    })
  )
  return (labels, value) => {
    for (const name of Object.keys(labels))
      if (!allowed.has(name)) throw new Error(`metric ${key}: there is no label ${name}`)
    const written: Record<string, string> = {}
    for (const name of names) {
      const given = own(labels, name)
      const list = own(lists, name)!
      const values = allowed.get(name)!
      const isOpen = given !== undefined && 'max' in list
      if (isOpen && values.size < list.max) values.add(given)
      if (given === undefined || (!isOpen && !values.has(given)))
        throw new Error(`metric ${key}: label ${name} cannot be ${String(given)}`)
      setOwn(written, name, values.has(given) ? given : 'other')
    }
    if (!Number.isFinite(value) || (kind === 'counter' && value < 0)) return
    write(written, value)
  }
}
