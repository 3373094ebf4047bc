// Proposes a source of the configuration from samples of a topic, for a person to check and edit.

import type { SourceOptions } from '../../src/core/config/sources.ts'
import { type ColumnRole, likelyNames, plainColumnName } from '../../src/lab/dataset/columnMapping.ts'
import { detectTime } from '../../src/lab/dataset/detectTime.ts'
import type { LogRecord } from '../../src/log/eventLog.ts'
import type { TimeForm } from '../../src/records/value/eventTime.ts'
import type { ValueRules } from '../../src/records/value/valueRules.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true })
/** Values of one record that are looked at; a larger one shows what it has long before. */
const leavesMax = 2000
/** Elements of a list that are looked at. */
const elementsMax = 3

/** What a path finds in a record. */
interface Leaf {
  readonly path: string
  readonly found: unknown
}

/** The scalars of a decoded record with the paths that read them. */
export function leavesOf(value: unknown): readonly Leaf[] {
  const leaves: Leaf[] = []
  const visit = (path: string, found: unknown) => {
    if (leaves.length >= leavesMax || path.length > 500 || found === null || found === undefined) return
    if (typeof found === 'string' && /^\s*[{[]/.test(found) && path.length < 300) {
      try {
        return visit(`${path === '' ? '$' : path}|json`, JSON.parse(found))
      } catch {
        // Text that only begins like JSON.
      }
    }
    if (Array.isArray(found)) {
      for (const one of found.slice(0, 50)) {
        const pair = pairOf(one)
        if (pair !== undefined) visitFields(`${path}[${pair.name}=${pair.key}]`, one, pair.name)
      }
      for (const one of found.slice(0, elementsMax)) if (pairOf(one) === undefined) visit(`${path}[*]`, one)
    } else if (typeof found === 'object' && !(found instanceof Uint8Array) && Object.keys(found).length > 0)
      visitFields(path, found, undefined)
    else if (path !== '') leaves.push({ path, found })
  }
  const visitFields = (path: string, object: object, except: string | undefined) => {
    for (const [name, inner] of Object.entries(object)) {
      if (name === except) continue
      const isPlain = /^[\w$@-]+$/.test(name) && !(path === '' && (name === 'key' || name === '$'))
      visit(
        isPlain ? `${path}${path === '' ? '' : '.'}${name}` : `${path === '' ? '$' : path}[${JSON.stringify(name)}]`,
        inner
      )
    }
  }
  visit('', value)
  return leaves
}

/** An element of a list of pairs such as `{ key: 'item_id', value: … }`. */
function pairOf(one: unknown): { readonly name: string; readonly key: string } | undefined {
  if (typeof one !== 'object' || one === null || !Object.keys(one).includes('value')) return undefined
  for (const [name, key] of Object.entries(one))
    if ((name === 'key' || name === 'name') && typeof key === 'string' && /^[\w.-]+$/.test(key)) return { name, key }
  return undefined
}

/** The name by which a path is compared: its last field, or the key of the pair. */
function nameOf(path: string): string {
  const pair = /\[(?:key|name)=([^\]]+)\][^[\]]*$/.exec(path)
  return plainColumnName(pair?.[1] ?? /([^.[\]"|*]+)"?\]?(?:\[\*\])?$/.exec(path)?.[1] ?? path)
}

/** The path in the record whose name is that of `wanted`, for a path that finds nothing there. */
export function nearestPath(wanted: string, value: unknown): string | undefined {
  const name = nameOf(wanted)
  const others = leavesOf(value).filter(({ path }) => path !== wanted)
  return (others.find(({ path }) => nameOf(path) === name) ?? others.find(({ path }) => nameOf(path).endsWith(name)))
    ?.path
}

/** The format that the samples have; undefined: none that is read without a schema. */
export function guessFormat(records: readonly LogRecord[]): string | undefined {
  const values = records.flatMap(({ value }) => (value === null || value.length === 0 ? [] : [value]))
  const most = (test: (value: Uint8Array) => boolean) => values.filter(test).length * 2 > values.length
  if (records.filter(({ headers }) => Object.hasOwn(headers, 'ce_specversion')).length * 2 > records.length)
    return 'cloudevents'
  if (most((value) => value[0] === 0 && value.length > 5)) return 'avro-registry'
  const text = (value: Uint8Array) => {
    try {
      return utf8.decode(value)
    } catch {
      return '' // not of this form
    }
  }
  if (most((value) => /^\s*[{["]/.test(text(value)) && isJson(text(value)))) return 'json'
  if (most((value) => text(value).includes('\t'))) return 'tsv'
  return most((value) => text(value).includes(',')) ? 'csv' : undefined
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false // not of this form
  }
}

const roles: readonly ColumnRole[] = ['user', 'item', 'type', 'time', 'value']

/** Lines for what nothing has a name like. Without a user or an item the source is not complete. */
const missing: Readonly<Record<Exclude<ColumnRole, 'value'>, string>> = {
  user: '    # user: nothing has a name like it: write its path',
  item: '    # item: nothing has a name like it: write its path',
  type: '    type: =click  # nothing has a name like it: all events are of this type',
  time: '    time: log:time  # nothing has a name like it: when the log took the record'
}

/** The paths whose names are likely for each role, the likeliest first, and the texts found at every path. */
export function likelyPaths(values: readonly unknown[]): {
  readonly paths: ReadonlyMap<ColumnRole, readonly string[]>
  readonly texts: ReadonlyMap<string, readonly string[]>
} {
  const texts = new Map<string, string[]>()
  for (const { path, found } of values.flatMap(leavesOf)) {
    const known = texts.get(path)
    if (known === undefined) texts.set(path, [String(found)])
    else known.push(String(found))
  }
  const used = new Set<string>()
  const paths = new Map<ColumnRole, readonly string[]>()
  for (const role of roles) {
    const ranked = [...texts.keys()].filter((path) => !used.has(path) && rankOf(role, path) >= 0)
    ranked.sort((a, b) => rankOf(role, a) - rankOf(role, b) || a.length - b.length)
    if (ranked[0] === undefined) continue
    used.add(ranked[0])
    paths.set(role, ranked)
  }
  return { paths, texts }
}

/** A source as YAML, with what the guess rests on. @param values decoded samples */
export function guessedSource(topic: string, format: string, values: readonly unknown[], rules: ValueRules): string {
  const { paths, texts } = likelyPaths(values)
  const lines = ['sources:', `  - topic: ${topic}`, `    format: ${format}`]
  for (const role of roles) {
    const [path, ...others] = paths.get(role) ?? []
    if (path === undefined) {
      if (role !== 'value') lines.push(missing[role])
      continue
    }
    const found = texts.get(path)!
    lines.push(
      `    ${role}: ${role === 'time' ? timeOf(path, found, rules) : quoted(path)}  # ${shownTexts(found)}${also(others)}`
    )
  }
  const used = new Set([...paths.values()].map(([path]) => path))
  const rest = [...texts.keys()].filter((path) => !used.has(path)).slice(0, 30)
  if (rest.length > 0)
    lines.push('    # Not used:', ...rest.map((path) => `    #   ${path}: ${shownTexts(texts.get(path)!)}`))
  return `${lines.join('\n')}\n`
}

function rankOf(role: ColumnRole, path: string): number {
  const name = nameOf(path)
  const parent = path.split('.').at(-2)
  const whole =
    name === 'id' && parent !== undefined ? plainColumnName(parent.replace(/\[.*\]/, '').replace(/s$/, '')) : name
  return likelyNames(role).indexOf(whole)
}

function timeOf(path: string, texts: readonly string[], rules: ValueRules): string {
  const detection = detectTime(texts, rules)
  if (detection.kind !== 'form') return quoted(path)
  return `{ path: ${quoted(path)}, ${unitOf(detection.form)} }`
}

const unitOf = ({ unit, format }: TimeForm) =>
  format === undefined ? `unit: ${unit ?? 'ms'}` : `format: ${JSON.stringify(format)}`
const quoted = (path: string) => (/^[\w.$-]+$/.test(path) ? path : JSON.stringify(path))
const also = (paths: readonly string[]) => (paths.length === 0 ? '' : `; or ${paths.slice(0, 3).join(', ')}`)

function shownTexts(texts: readonly string[]): string {
  const different = [...new Set(texts)].slice(0, 3)
  return different.map((text) => (text.length > 30 ? `${text.slice(0, 30)}…` : text).replace(/\s+/g, ' ')).join(', ')
}

/**
 * For a record that was refused: a path, or a form of the time, with which it may be read. By the name of a missing
 * field; by what a value looks like; by the fields inside an object.
 */
export function nearestFix(
  source: SourceOptions,
  reason: string,
  decoded: unknown,
  rules: ValueRules
): string | undefined {
  const named = /^(?:element [\d.]+: )?(user|item|type|time|eventId|title|value)(?: is missing| \()/.exec(reason)?.[1]
  const role = named ?? (/\b(?:the )?(user|item) id\b/.exec(reason)?.[1] || undefined)
  if (role === undefined) return undefined
  const given = source[role as 'user' | 'item' | 'title' | 'type' | 'time' | 'eventId' | 'value']
  const paths = given === undefined ? [] : Array.isArray(given) ? given : given.path
  const leaves = leavesOf(decoded)
  if (role === 'time') {
    const text = leaves.find(({ path }) => paths.includes(path))?.found
    const form = text === undefined ? undefined : detectTime([String(text)], rules)
    if (form?.kind === 'form')
      return `the value can be read: write time: { path: ${quoted(paths[0]!)}, ${unitOf(form.form)} }`
  }
  const inside = leaves.find(({ path }) =>
    paths.some((one) => path.startsWith(`${one}.`) || path.startsWith(`${one}[`))
  )
  const nearest =
    inside?.path ??
    paths.map((path) => nearestPath(path, decoded)).find((path) => path !== undefined) ??
    leaves
      .map(({ path }) => path)
      .filter(
        (path) => !paths.includes(path) && roles.includes(role as ColumnRole) && rankOf(role as ColumnRole, path) >= 0
      )
      .sort((a, b) => rankOf(role as ColumnRole, a) - rankOf(role as ColumnRole, b))[0]
  return nearest === undefined
    ? undefined
    : `the record has ${nearest}: write ${role}: ${inside === undefined ? JSON.stringify([...paths, nearest]) : quoted(nearest)}`
}
