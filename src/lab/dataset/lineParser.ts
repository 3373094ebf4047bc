// What every line parser has in common: what it takes, what it hands on, and how it complains.

import { BadEventError } from '../../core/errors.ts'
import { shorten } from '../../core/shorten.ts'

/**
 * Takes one interaction of a line.
 *
 * @param userId undefined where a line is a session without an id: the reader names it after the line
 * @param eventTimeMs NaN where the format has no time
 */
export type EmitRow = (userId: string | undefined, itemId: string, type: string, eventTimeMs: number, value: number | undefined) => void

/**
 * Reads one line, without its line end, and emits its interactions in order. A line is used whole or not at all: nothing is emitted before all of it is checked.
 *
 * @throws BadEventError with what was expected and what was there
 */
export type LineParser = (line: string, emit: EmitRow) => void

/** Longer ids are text in the wrong column; the longest public ones (UUIDs, Amazon's) have 36 characters. */
export const idCharsMax = 256

/** @throws BadEventError unless the text can be an id */
export function checkId(what: 'user' | 'item', id: string | undefined, line: string): string {
  if (id !== undefined && id.length > 0 && id.length <= idCharsMax) return id
  if (id === undefined || id.length === 0)
    throw new BadEventError(`expected ${what === 'user' ? 'a user' : 'an item'} id, found nothing in ${shorten(line)}`)
  throw new BadEventError(
    `expected ${what === 'user' ? 'a user' : 'an item'} id of at most ${idCharsMax} characters, found ${id.length}: ${shorten(id)}`
  )
}

/** A rating or another number; undefined where the field is empty. @throws BadEventError if there is something that is no finite number */
export function parseValue(text: string | undefined, line: string): number | undefined {
  if (text === undefined || text === '') return undefined
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value))
    throw new BadEventError(`expected a number as value, found ${shorten(text)} in ${shorten(line)}`)
  return value
}
