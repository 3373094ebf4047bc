// What an interaction must be like before anything downstream relies on it.

import { BadEventError } from '../core/errors.ts'
import type { Interaction } from './interaction.ts'
import { shownTime } from './value/eventTime.ts'

/** Longest id, type or topic, in UTF-16 units: ids become keys of stores and paths of URLs. */
export const idLengthMax = 1024
/** Longest context key or value, in UTF-16 units, and most entries: a context is a few facts, not a document. */
export const contextTextMax = 8192
export const contextEntriesMax = 256

const offsetMax = 2n ** 63n - 1n
/** With the `u` flag a surrogate matches only where its other half is missing. */
const unpairedSurrogate = /\p{Surrogate}/u

/**
 * @param acceptedAtMs when the log took the record; event times may not lie further ahead of it than `futureMaxMs`
 * @throws BadEventError naming the field, its value, and what is expected
 */
export function validateInteraction(interaction: Interaction, acceptedAtMs: number, options: { readonly futureMaxMs: number }): void {
  checkId('eventId', interaction.eventId)
  checkId('userId', interaction.userId)
  checkId('itemId', interaction.itemId)
  checkId('type', interaction.type)
  const time = interaction.eventTimeMs
  if (!Number.isSafeInteger(time) || time < 0) {
    throw new BadEventError(`eventTimeMs is ${shown(time)}: expected whole milliseconds since 1970, 0 … ${Number.MAX_SAFE_INTEGER}`)
  }
  if (time > acceptedAtMs + options.futureMaxMs) {
    throw new BadEventError(
      `eventTimeMs is ${time} (${shownTime(time)}), ${time - acceptedAtMs} ms ahead of when the log took it (${shownTime(acceptedAtMs)}), more than the ${options.futureMaxMs} ms allowed: check the producer's clock and whether it writes milliseconds`
    )
  }
  if (interaction.value !== undefined && !Number.isFinite(interaction.value)) {
    throw new BadEventError(`value is ${shown(interaction.value)}: expected a finite number, or none`)
  }
  if (interaction.context !== undefined) checkContext(interaction.context)
  if (interaction.source !== undefined) {
    const { topic, partition, offset } = interaction.source
    checkId('source.topic', topic)
    if (!Number.isInteger(partition) || partition < 0 || partition > 0x7fffffff) {
      throw new BadEventError(`source.partition is ${shown(partition)}: expected a whole number from 0 to 2³¹ − 1`)
    }
    if (typeof offset !== 'bigint' || offset < 0n || offset > offsetMax) {
      throw new BadEventError(`source.offset is ${shown(offset)}: expected a bigint from 0 to 2⁶³ − 1`)
    }
  }
}

function checkId(field: string, id: unknown): void {
  if (typeof id !== 'string' || id.length === 0) throw new BadEventError(`${field} is ${shown(id)}: expected text that is not empty`)
  if (id.length > idLengthMax) {
    throw new BadEventError(`${field} has ${id.length} characters, begins ${shown(id)}: at most ${idLengthMax} are allowed`)
  }
  checkText(field, id)
}

function checkContext(context: Readonly<Record<string, string>>): void {
  if (typeof context !== 'object' || context === null || Array.isArray(context)) {
    throw new BadEventError(`context is ${shown(context)}: expected names with text, or none`)
  }
  const entries = Object.entries(context)
  if (entries.length > contextEntriesMax) {
    throw new BadEventError(`context has ${entries.length} entries: at most ${contextEntriesMax} are allowed`)
  }
  for (const [name, text] of entries) {
    if (typeof text !== 'string') throw new BadEventError(`context.${shown(name)} is ${shown(text)}: expected text`)
    if (name.length > contextTextMax || text.length > contextTextMax) {
      throw new BadEventError(`context.${shown(name)} has ${text.length} characters: at most ${contextTextMax} are allowed`)
    }
    checkText('a name in context', name)
    checkText(`context.${shown(name)}`, text)
  }
}

/** An unpaired surrogate has no UTF-8 form: written and read back it would be another id. */
function checkText(field: string, text: string): void {
  if (unpairedSurrogate.test(text)) {
    throw new BadEventError(`${field} is ${shown(text)}: it holds half of a surrogate pair, which cannot be written as UTF-8`)
  }
}

function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 64 ? `${value.slice(0, 64)}…` : value)
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object'
  return String(value)
}
