// Which series an expression of Prometheus asks for, and whether we export them.

import assert from 'node:assert/strict'
import { metricDefinitions } from '../../src/monitor/metrics.ts'

interface Selector {
  readonly name: string
  readonly matchers: readonly { readonly label: string; readonly operator: string; readonly value: string }[]
}

const words = new Set([
  'by',
  'without',
  'on',
  'ignoring',
  'group_left',
  'group_right',
  'and',
  'or',
  'unless',
  'offset',
  'bool',
  'inf',
  'nan'
])
/** Labels that Prometheus adds. */
const added = new Set(['job', 'instance'])
/** Of Prometheus itself, of prom-client, and the one that metrics.ts declares apart, by its labels. */
const others: Readonly<Record<string, readonly string[]>> = {
  up: [],
  mtmi_build_info: ['version', 'backend', 'node', 'tensorflow'],
  process_cpu_seconds_total: [],
  process_resident_memory_bytes: [],
  nodejs_heap_size_used_bytes: [],
  nodejs_eventloop_lag_p99_seconds: []
}

const definitions = new Map(
  Object.values(metricDefinitions).map((definition) => [definition.name as string, definition])
)

/** Every selector of an expression: names that are neither functions, keywords nor labels. */
export function selectorsOf(expression: string): Selector[] {
  const grouping = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g
  const bare = expression
    .replace(grouping, ' ')
    .replace(/\[[^\]]*\]/g, ' ')
    .replace(/\boffset\s+\w+/g, ' ')
  const selectors: Selector[] = []
  for (const [, name, body] of bare.matchAll(
    /(?<![\w:."'])([a-zA-Z_:][\w:]*)(?![\w:]*\s*\()\s*(?:\{((?:[^}"]|"[^"]*")*)\})?/g
  )) {
    if (words.has(name!.toLowerCase())) continue
    const matchers = [...(body ?? '').matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)].map(
      ([, label, operator, value]) => ({
        label: label!,
        operator: operator!,
        value: value!
      })
    )
    selectors.push({ name: name!, matchers })
  }
  return selectors
}

/**
 * @param recorded names of recording rules
 * @throws AssertionError naming what is asked for and does not exist: a metric, a label of it, or a value that the
 *   label never has
 */
export function assertExported(expression: string, recorded: ReadonlySet<string>): void {
  const selectors = selectorsOf(expression)
  assert(selectors.length > 0, `${expression} asks for no metric`)
  for (const { name, matchers } of selectors) {
    if (recorded.has(name) || name in others) continue
    const definition = definitions.get(name) ?? histogramOf(name)
    assert(definition !== undefined, `${expression}: there is no metric ${name}`)
    const lists: Readonly<Record<string, readonly string[]>> = definition.labels
    for (const { label, operator, value } of matchers) {
      if (added.has(label) || (label === 'le' && name.endsWith('_bucket'))) continue
      const list = lists[label]
      assert(list !== undefined, `${expression}: ${name} has no label ${label}`)
      const pattern = operator.endsWith('~') ? new RegExp(`^(?:${value})$`) : undefined
      assert(
        list.some((one) => (pattern === undefined ? one === value : pattern.test(one))),
        `${expression}: ${label} of ${name} is never ${value}, only ${list.join(', ')}`
      )
    }
  }
}

function histogramOf(name: string) {
  const definition = definitions.get(name.replace(/_(?:bucket|sum|count)$/, ''))
  return definition?.kind === 'histogram' ? definition : undefined
}
