// Reads what the configuration's paths name out of a foreign record.

import { BadEventError } from '../../core/errors.ts'
import { type FieldPath, listsOf, type PathStep, parseFieldPath } from '../../core/fieldPath.ts'
import { own } from '../../core/own.ts'
import { AvroTime } from '../../records/avro/avroReader.ts'
import { parseExactJson } from '../../records/avro/exactJson.ts'
import { cleanText, type ValueRules } from '../../records/value/valueRules.ts'
import type { ForeignRecord } from './foreignRecord.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Alternatives in order; the first that is there counts. */
export type Fields = readonly FieldPath[]

export function parseFields(paths: readonly string[]): Fields {
  return paths.map(parseFieldPath)
}

/**
 * The first value at the path; undefined where nothing is, null included. @throws BadEventError for a key or header
 * that cannot be read
 */
export function readField(path: FieldPath, foreign: ForeignRecord): unknown {
  let first: unknown
  visitField(path, foreign, (found) => {
    first = found
    return true
  })
  return first
}

/** Calls `take` with every value at the path, until it returns true. @returns whether it did */
export function visitField(path: FieldPath, foreign: ForeignRecord, take: (found: unknown) => boolean): boolean {
  switch (path.kind) {
    case 'constant':
      return take(path.value)
    case 'time':
      return take(foreign.record.timestampMs)
    case 'source':
      return take(`${foreign.topic}/${foreign.record.partition}/${foreign.record.offset}`)
    default:
      return walk(rootOf(path, foreign), path, 0, foreign.element, take)
  }
}

type SteppedPath = Extract<FieldPath, { readonly steps: readonly PathStep[] }>

function rootOf(path: SteppedPath, foreign: ForeignRecord): unknown {
  if (path.kind === 'value') return foreign.value
  if (path.kind === 'key') return foreign.key?.()
  const bytes = own(foreign.record.headers, path.name)
  return bytes === undefined ? undefined : textOf(bytes, `header:${path.name}`)
}

function walk(
  root: unknown,
  path: SteppedPath,
  from: number,
  element: ForeignRecord['element'],
  take: (found: unknown) => boolean
): boolean {
  let found = root
  for (let at = from; at < path.steps.length; at++) {
    if (found === undefined || found === null) return false
    const step = path.steps[at]!
    if (typeof step !== 'object') found = child(found, step)
    else if (step.kind === 'json') found = parsedText(found, path)
    else {
      if (!Array.isArray(found)) return false
      const index = step.kind === 'each' ? element?.get(step.list) : undefined
      if (index === undefined) {
        const next = at + 1
        return found.some((one) => (step.kind === 'each' || isMet(step, one)) && walk(one, path, next, element, take))
      }
      found = found[index]
    }
  }
  return found !== undefined && found !== null && take(found)
}

function isMet(
  { field, equals }: { readonly field: readonly string[]; readonly equals: string },
  one: unknown
): boolean {
  let found = one
  for (const name of field) found = child(found, name)
  return found !== undefined && found !== null && typeof found !== 'object' && String(found) === equals
}

/** Own properties only: a path can never reach what every object inherits. */
function child(from: unknown, step: string | number): unknown {
  if (typeof from !== 'object' || from === null) return undefined
  if (typeof step === 'number') return Array.isArray(from) ? from.at(step) : undefined
  return own(from as Record<string, unknown>, step)
}

/** What was decoded already stays as it is. */
function parsedText(found: unknown, path: FieldPath): unknown {
  const text = found instanceof Uint8Array ? textOf(found, path.text) : found
  if (typeof text !== 'string') return text
  try {
    return parseExactJson(text)
  } catch (error) {
    throw new BadEventError(`${path.text}: ${shown(text)} is not JSON: ${(error as Error).message.slice(0, 200)}`)
  }
}

/**
 * The elements of the lists that a record's interactions or items are taken from: one of each for every element, none
 * where a list is empty.
 *
 * @param fields the first of them through a list that is there counts; where none is, or none goes through a list, the
 *   record is one
 */
export function elementsOf(fields: Fields, foreign: ForeignRecord): readonly ForeignRecord[] {
  let isEmpty = false
  for (const path of fields) {
    if (!('steps' in path) || listsOf(path).length === 0) {
      if (readField(path, foreign) !== undefined) return [foreign]
      continue
    }
    const elements: ReadonlyMap<string, number>[] = []
    const found = enumerate(rootOf(path, foreign), path, 0, new Map(), elements)
    if (elements.length > 0) return elements.map((element) => ({ ...foreign, element }))
    isEmpty ||= found
  }
  return isEmpty ? [] : [foreign]
}

/** @returns whether there is a list, perhaps an empty one */
function enumerate(
  root: unknown,
  path: SteppedPath,
  from: number,
  element: ReadonlyMap<string, number>,
  elements: ReadonlyMap<string, number>[]
): boolean {
  let found = root
  for (let at = from; at < path.steps.length; at++) {
    if (found === undefined || found === null) break
    const step = path.steps[at]!
    if (typeof step !== 'object') found = child(found, step)
    else if (step.kind === 'json') found = parsedText(found, path)
    else {
      if (!Array.isArray(found)) break
      if (step.kind === 'where') found = found.find((one) => isMet(step, one))
      else {
        for (const [index, one] of found.entries())
          enumerate(one, path, at + 1, new Map(element).set(step.list, index), elements)
        return true
      }
    }
  }
  // An element that lacks what is further in is an element all the same: it is accounted for, as missing.
  if (element.size > 0) elements.push(element)
  return element.size > 0
}

/**
 * Of alternatives, those that mean the element and nothing outside of it: one through another list would be of another
 * element.
 */
export function ofElement(fields: Fields, { element }: ForeignRecord): Fields {
  if (element === undefined) return fields
  const own = fields.filter((path) => listsOf(path).every((list) => element.has(list)))
  return own.length === 0 ? fields : own
}

/** How an element is named: its index in each list, from the outside inwards, such as `2` or `0.3`. */
export function elementName({ element }: ForeignRecord): string | undefined {
  return element === undefined ? undefined : [...element.values()].join('.')
}

/**
 * The first of the alternatives that is there, as text without white space around it. Texts that stand for no value
 * count as not there.
 *
 * @param role what it is for, as the message names it
 * @throws BadEventError if what is there is neither text nor a number nor a boolean, or a number that has lost digits
 */
export function readText(fields: Fields, foreign: ForeignRecord, role: string, rules: ValueRules): string | undefined {
  let text: string | undefined
  for (const path of fields) {
    visitField(path, foreign, (found) => {
      const given = scalarText(found, path, role)
      // What the configuration says itself is meant.
      text = path.kind === 'constant' ? given : cleanText(given, rules)
      return text !== undefined
    })
    if (text !== undefined) return text
  }
  return undefined
}

/** As `readText`, for what has to be there. */
export function readRequiredText(fields: Fields, foreign: ForeignRecord, role: string, rules: ValueRules): string {
  return readText(fields, foreign, role, rules) ?? fail(fields, foreign, role)
}

/** @throws BadEventError that says which paths were tried, and how far each leads */
export function fail(fields: Fields, foreign: ForeignRecord, role: string): never {
  const { value } = foreign
  const inside = fields.find((path) => path.kind === 'value' && typeof path.steps[0] === 'string')?.text
  const root = Array.isArray(value)
    ? '[*].'
    : typeof value === 'string' && /^\s*[{[]/.test(value)
      ? '$|json.'
      : undefined
  const hint = inside === undefined || root === undefined ? '' : `; ${root}${inside} would reach into it`
  throw new BadEventError(`${role} is missing: ${fields.map((path) => whereItEnds(path, foreign)).join('; ')}${hint}`)
}

export function scalarText(found: unknown, path: FieldPath, role: string): string {
  if (typeof found === 'string') return found
  if (found instanceof AvroTime) return found.text
  if (found instanceof Uint8Array) return textOf(found, `${role} (${path.text})`)
  if (typeof found === 'bigint' || typeof found === 'boolean') return String(found)
  if (typeof found === 'number' && Number.isFinite(found)) {
    if (Number.isInteger(found) && !Number.isSafeInteger(found)) {
      throw new BadEventError(
        `${role} (${path.text}) is ${found}, a floating point number too large to be exact: have it sent as a long, or as text`
      )
    }
    return String(found)
  }
  const inside =
    typeof found !== 'object' || found === null
      ? undefined
      : Array.isArray(found)
        ? `${path.text}[*] is each element, ${path.text}[0] the first`
        : Object.keys(found).length === 0
          ? undefined
          : `name a field of it, such as ${path.text}.${Object.keys(found)[0]!.slice(0, 64)}`
  throw new BadEventError(
    `${role} (${path.text}) is ${shown(found)}: expected text or a number${inside === undefined ? '' : `; ${inside}`}`
  )
}

/** A value as a message shows it: short, its kind visible. */
export function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (typeof value === 'string') return JSON.stringify(value.length > 64 ? `${value.slice(0, 64)}…` : value)
  if (value instanceof AvroTime) return value.text
  if (value instanceof Uint8Array) return `${value.length} bytes`
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === 'object') {
    const names = Object.keys(value)
    return `an object with ${names.slice(0, 8).join(', ') || 'no fields'}${names.length > 8 ? ', …' : ''}`
  }
  return String(value)
}

function textOf(bytes: Uint8Array, what: string): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new BadEventError(
      `${what} is not UTF-8 text: ${bytes.length} bytes, they begin ${Buffer.from(bytes.subarray(0, 16)).toString('hex')}`
    )
  }
}

function whereItEnds(path: FieldPath, foreign: ForeignRecord): string {
  if (!('steps' in path)) return `${path.text} is empty`
  let found = rootOf(path, foreign)
  if (found === undefined && path.kind === 'header') {
    const names = Object.keys(foreign.record.headers).slice(0, 16).join(', ')
    return `there is no header:${path.name}, there are ${names || 'no headers'}`
  }
  if (found === undefined && path.kind === 'key') return 'the record has no key'
  if (found === undefined) return `${path.text} of a record without a value`
  let reached = path.kind === 'value' ? 'the value' : `the ${path.kind}`
  for (const step of path.steps) {
    if (typeof step === 'object' && step.kind === 'json') {
      found = parsedText(found, path)
      continue
    }
    const index = typeof step === 'object' && step.kind === 'each' ? (foreign.element?.get(step.list) ?? 0) : step
    const next =
      typeof index !== 'object'
        ? child(found, index)
        : Array.isArray(found)
          ? found.find((one) => isMet(index as never, one))
          : undefined
    if (next === undefined || next === null) {
      const what = typeof index === 'number' ? `element ${index}` : String(index)
      return `nothing at ${path.text}: ${reached} is ${shown(found)}${next === null ? `, and ${what} is null` : ''}`
    }
    found = next
    if (typeof index === 'string') reached = reached === 'the value' ? index : `${reached}.${index}`
    else reached += typeof index === 'number' ? `[${index}]` : `[${(index as { equals: string }).equals}]`
  }
  return `${path.text} is ${shown(found)}`
}
