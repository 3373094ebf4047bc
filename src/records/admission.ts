// What a record may hold. Producers (HTTP, ingest, replay, the catalogue) check what they take; the codecs check what
// they read; stores and the index rely on it.
//
// Limits are in bytes of UTF-8, as stores and brokers count them. Every function returns what is wrong, or undefined.

import { BadEventError } from '../core/errors.ts'
import type { Availability, CatalogueItem } from './catalogueItem.ts'
import type { Interaction } from './interaction.ts'
import { latestMs, shownTime } from './value/eventTime.ts'

/**
 * Ids, event types, names in a context, features: they become keys of stores, and LMDB's longest key has 1,978 bytes.
 */
export const idBytesMax = 1024
/** Titles and the values in a context. */
export const textBytesMax = 8192
/** A context is a few facts, features are a few categories: not documents. */
export const contextEntriesMax = 256
const featureFieldsMax = 64
/** Each value of a feature has a row in the model: a field with more values is prose. */
export const featureValuesMax = 256
/** All of a context, or all features of an item: with them a record stays far below the megabyte that brokers take. */
export const entriesBytesMax = 131_072

/** With the `u` flag a surrogate matches only where its other half is missing. */
const unpairedSurrogate = /\p{Surrogate}/u
const unfitForId = /[\p{Control}\p{Surrogate}]/u
const offsetMax = 2n ** 63n - 1n

/** User, item and event ids, event types, names. */
export function idProblem(field: string, id: unknown, bytesMax = idBytesMax): string | undefined {
  if (typeof id !== 'string' || id === '') return `${field} is ${shown(id)}: expected text that is not empty`
  const tooLong = lengthProblem(field, id, bytesMax)
  if (tooLong !== undefined || !unfitForId.test(id)) return tooLong
  return surrogateProblem(field, id) ?? `${field} is ${shown(id)}: it holds a control character`
}

/**
 * Titles and the values in a context: what is shown, never looked up. Control characters are allowed; whatever shows it
 * escapes them.
 */
function textProblem(field: string, text: unknown): string | undefined {
  if (typeof text !== 'string') return `${field} is ${shown(text)}: expected text`
  return (
    lengthProblem(field, text, textBytesMax) ??
    (unpairedSurrogate.test(text) ? surrogateProblem(field, text) : undefined)
  )
}

/** Whole milliseconds since 1970, before 2100. */
export function timeProblem(field: string, timeMs: unknown): string | undefined {
  if (Number.isSafeInteger(timeMs) && (timeMs as number) >= 0 && (timeMs as number) < latestMs) return undefined
  return `${field} is ${shown(timeMs)}: expected whole milliseconds since 1970, before 2100 (is the unit right?)`
}

export function offsetProblem(field: string, offset: unknown): string | undefined {
  if (typeof offset === 'bigint' && offset >= 0n && offset <= offsetMax) return undefined
  return `${field} is ${shown(offset)}: expected a bigint from 0 to 2⁶³ − 1`
}

export function partitionProblem(field: string, partition: unknown): string | undefined {
  if (Number.isInteger(partition) && (partition as number) >= 0 && (partition as number) <= 0x7fffffff) return undefined
  return `${field} is ${shown(partition)}: expected a whole number from 0 to 2³¹ − 1`
}

export function interactionProblem({
  eventId,
  userId,
  itemId,
  type,
  eventTimeMs,
  value,
  context,
  source,
  listId
}: Interaction): string | undefined {
  const problem =
    idProblem('eventId', eventId) ??
    idProblem('userId', userId) ??
    idProblem('itemId', itemId) ??
    idProblem('type', type) ??
    timeProblem('eventTimeMs', eventTimeMs)
  if (problem !== undefined) return problem
  if (value !== undefined && !Number.isFinite(value))
    return `value is ${shown(value)}: expected a finite number, or none`
  if (context !== undefined) {
    const found = contextProblem(context)
    if (found !== undefined) return found
  }
  if (listId !== undefined) {
    const found = idProblem('listId', listId)
    if (found !== undefined) return found
  }
  if (source === undefined) return undefined
  return (
    idProblem('source.topic', source.topic) ??
    partitionProblem('source.partition', source.partition) ??
    offsetProblem('source.offset', source.offset)
  )
}

/** @param acceptedAtMs when the log took the record @param futureMaxMs how far an event time may lie ahead of it */
export function futureProblem(
  { eventTimeMs }: Interaction,
  acceptedAtMs: number,
  futureMaxMs: number
): string | undefined {
  if (eventTimeMs <= acceptedAtMs + futureMaxMs) return undefined
  return `eventTimeMs is ${eventTimeMs} (${shownTime(eventTimeMs)}), ${eventTimeMs - acceptedAtMs} ms ahead of when the log took it (${shownTime(acceptedAtMs)}), more than the ${futureMaxMs} ms allowed: check the producer's clock and whether it writes milliseconds`
}

function contextProblem(context: unknown): string | undefined {
  if (typeof context !== 'object' || context === null || Array.isArray(context))
    return `context is ${shown(context)}: expected names with text, or none`
  const entries = Object.entries(context as Readonly<Record<string, unknown>>)
  if (entries.length > contextEntriesMax)
    return `context has ${entries.length} entries: at most ${contextEntriesMax} are allowed`
  let bytes = 0
  for (const [name, text] of entries) {
    const problem = nameProblem('a name in context', name) ?? textProblem(`context.${shown(name)}`, text)
    if (problem !== undefined) return problem
    bytes += Buffer.byteLength(name) + Buffer.byteLength(text as string)
  }
  return bytes > entriesBytesMax ? `context has ${bytes} bytes: at most ${entriesBytesMax} are allowed` : undefined
}

export function itemProblem(item: CatalogueItem): string | undefined {
  const { itemId, title, features, updatedAtMs } = item
  const problem =
    idProblem('itemId', itemId) ??
    (title === undefined ? undefined : textProblem('title', title)) ??
    timeProblem('updatedAtMs', updatedAtMs) ??
    availabilityProblem(item)
  if (problem !== undefined) return problem
  const fields = Object.entries(features)
  if (fields.length > featureFieldsMax)
    return `features has ${fields.length} fields: at most ${featureFieldsMax} are allowed`
  let bytes = 0
  for (const [field, values] of fields) {
    const wrong = nameProblem('a field of features', field) ?? valuesProblem(`features.${shown(field)}`, values)
    if (wrong !== undefined) return wrong
    bytes += Buffer.byteLength(field)
    for (const value of values) bytes += Buffer.byteLength(value)
  }
  return bytes > entriesBytesMax ? `features has ${bytes} bytes: at most ${entriesBytesMax} are allowed` : undefined
}

/** The end of the year 9999, which catalogues write for `never`. */
const farthestMs = 253_402_300_799_999

function availabilityProblem({ availableFromMs, availableUntilMs }: Availability): string | undefined {
  for (const [field, timeMs] of Object.entries({ availableFromMs, availableUntilMs }))
    if (timeMs !== undefined && !(Number.isSafeInteger(timeMs) && timeMs >= 0 && timeMs <= farthestMs))
      return `${field} is ${shown(timeMs)}: expected whole milliseconds since 1970, before the year 10000`
  if (availableFromMs === undefined || availableUntilMs === undefined || availableFromMs < availableUntilMs)
    return undefined
  return `availableFromMs ${availableFromMs} is not before availableUntilMs ${availableUntilMs}: the item would never be available`
}

function valuesProblem(field: string, values: readonly string[]): string | undefined {
  if (values.length > featureValuesMax)
    return `${field} has ${values.length} values: at most ${featureValuesMax} are allowed`
  for (const value of values) {
    const problem = idProblem(field, value)
    if (problem !== undefined) return problem
  }
  return undefined
}

/** A name in a map. avsc cannot hold `__proto__`. */
function nameProblem(field: string, name: string): string | undefined {
  return name === '__proto__' ? `${field} is "__proto__", which is reserved` : idProblem(field, name)
}

/** A record that can be read, but does not hold what it must. */
export class InadmissibleError extends BadEventError {}

/** @throws InadmissibleError if there is a problem */
export function admit(problem: string | undefined): void {
  if (problem !== undefined) throw new InadmissibleError(problem)
}

function lengthProblem(field: string, text: string, bytesMax: number): string | undefined {
  // A UTF-16 unit has three bytes at most.
  if (text.length * 3 <= bytesMax) return undefined
  const bytes = Buffer.byteLength(text)
  return bytes > bytesMax
    ? `${field} has ${bytes} bytes, begins ${shown(text)}: at most ${bytesMax} are allowed`
    : undefined
}

/** Without its other half it has no UTF-8 form: written and read back it would be another id. */
function surrogateProblem(field: string, text: string): string | undefined {
  if (!unpairedSurrogate.test(text)) return undefined
  return `${field} is ${shown(text)}: it holds half of a surrogate pair, which cannot be written as UTF-8`
}

function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 64 ? `${value.slice(0, 64)}…` : value)
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object'
  return String(value)
}
