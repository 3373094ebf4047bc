// Reads what the configuration's paths name out of a foreign record.

import { BadEventError } from '../../core/errors.ts'
import { type FieldPath, parseFieldPath } from '../../core/fieldPath.ts'
import { own } from '../../core/own.ts'
import { cleanText, type ValueRules } from '../../records/value/valueRules.ts'
import { AvroTime } from '../avroReader.ts'
import type { ForeignRecord } from './foreignRecord.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Alternatives in order; the first that is there counts. */
export type Fields = readonly FieldPath[]

export function parseFields(paths: readonly string[]): Fields {
  return paths.map(parseFieldPath)
}

/** What is at the path; undefined where nothing is, null included. @throws BadEventError for a key or header that is not text */
export function readField(path: FieldPath, foreign: ForeignRecord): unknown {
  switch (path.kind) {
    case 'value': {
      let found = foreign.value
      for (let i = 0; i < path.steps.length; i++) {
        found = step(found, path.steps[i]!)
        if (found === undefined) return undefined
      }
      return found ?? undefined
    }
    case 'constant':
      return path.value
    case 'header': {
      const bytes = own(foreign.record.headers, path.name)
      return bytes === undefined ? undefined : textOf(bytes, path.text)
    }
    case 'key':
      return foreign.record.key.length === 0 ? undefined : textOf(foreign.record.key, 'key')
    case 'time':
      return foreign.record.timestampMs
    case 'source':
      return `${foreign.topic}/${foreign.record.partition}/${foreign.record.offset}`
  }
}

/**
 * The first of the alternatives that is there, as text without white space around it. Texts that stand for no value count as not there.
 *
 * @param role what it is for, as the message names it
 * @throws BadEventError if what is there is neither text nor a number nor a boolean, or a number that has lost digits
 */
export function readText(fields: Fields, foreign: ForeignRecord, role: string, rules: ValueRules): string | undefined {
  for (const path of fields) {
    const found = readField(path, foreign)
    if (found === undefined) continue
    const text = scalarText(found, path, role)
    // What the configuration says itself is meant.
    const clean = path.kind === 'constant' ? text : cleanText(text, rules)
    if (clean !== undefined) return clean
  }
  return undefined
}

/** As `readText`, for what has to be there. */
export function readRequiredText(fields: Fields, foreign: ForeignRecord, role: string, rules: ValueRules): string {
  return readText(fields, foreign, role, rules) ?? fail(fields, foreign, role)
}

/** @throws BadEventError that says which paths were tried, and how far each leads */
export function fail(fields: Fields, foreign: ForeignRecord, role: string): never {
  throw new BadEventError(`${role} is missing: ${fields.map((path) => whereItEnds(path, foreign)).join('; ')}`)
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
  throw new BadEventError(`${role} (${path.text}) is ${shown(found)}: expected text or a number`)
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

/** Own properties only: a path can never reach what every object inherits. */
function step(from: unknown, step: string | number): unknown {
  if (typeof from !== 'object' || from === null) return undefined
  if (typeof step === 'number') return Array.isArray(from) ? from.at(step) : undefined
  return own(from as Record<string, unknown>, step)
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
  if (path.kind === 'header')
    return `there is no ${path.text}, there are ${Object.keys(foreign.record.headers).slice(0, 16).join(', ') || 'no headers'}`
  if (path.kind === 'key') return 'the record has no key'
  if (path.kind !== 'value') return `${path.text} is empty`
  if (foreign.value === undefined) return `${path.text} of a record without a value`
  let found = foreign.value
  let reached = 'the value'
  for (const name of path.steps) {
    const next = step(found, name)
    if (next === undefined || next === null) {
      const what = typeof name === 'number' ? `element ${name}` : name
      return `nothing at ${path.text}: ${reached} is ${shown(found)}${next === null ? `, and ${what} is null` : ''}`
    }
    found = next
    reached = typeof name === 'number' ? `${reached}[${name}]` : reached === 'the value' ? name : `${reached}.${name}`
  }
  return `${path.text} is ${shown(found)}`
}
