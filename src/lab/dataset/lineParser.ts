// What every parser of a record has in common: what it takes, what it hands on, and how it reads ids and numbers.

import { BadEventError } from '../../core/errors.ts'
import { shorten } from '../../core/shorten.ts'
import { admit, idProblem } from '../../records/admission.ts'
import { cleanText, type ValueRules } from '../../records/value/valueRules.ts'

/**
 * Takes one interaction of a record.
 *
 * @param userId undefined where a record is a session without an id: the reader names it after the line
 * @param eventTimeMs NaN where the format has no time
 * @param value NaN where there is one that is no number: the interaction counts without it
 */
export type EmitRow = (
  userId: string | undefined,
  itemId: string,
  type: string,
  eventTimeMs: number,
  value: number | undefined
) => void

/**
 * Reads one record and emits its interactions in order; none where it holds none that are wanted. A record is used
 * whole or not at all: nothing is emitted before all of it is checked.
 *
 * @throws BadEventError with what was expected and what was there
 */
export type LineParser = (record: string, emit: EmitRow) => void

/** Longer ids are text in the wrong column; the longest public ones (UUIDs, Amazon's) have 36 characters. */
const idCharsMax = 256

/** `1.23457E+12`: what a spreadsheet, or a column of floats, makes of a long number. */
const roundedBySpreadsheet = /^\d\.\d+[eE]\+\d{2}$/

/** How ids of one column are read. */
interface IdRules extends ValueRules {
  /**
   * Every id of the column's sample is a whole number, some written as `12.0`, as a column of floats is: `12.0` and
   * `12` are one id.
   */
  readonly integral: boolean
}

/** @returns the id without blanks around it. @throws BadEventError unless the text can be an id */
export function checkId(what: 'user' | 'item', text: string | undefined, rules: IdRules): string {
  const id = text === undefined ? undefined : cleanText(text, rules)
  const named = what === 'user' ? 'a user' : 'an item'
  if (id === undefined) {
    const found =
      text === undefined || text.trim() === ''
        ? 'nothing'
        : `${shorten(text)}, which stands for no value (events.nullTexts)`
    throw new BadEventError(`expected ${named} id, found ${found}`)
  }
  if (id.length > idCharsMax) {
    throw new BadEventError(
      `expected ${named} id of at most ${idCharsMax} characters, found ${id.length}: ${shorten(id)}`
    )
  }
  if (roundedBySpreadsheet.test(id)) {
    throw new BadEventError(
      `expected ${named} id, found ${shorten(id)}: a number that a spreadsheet has rounded, which many ids are by now`
    )
  }
  admit(idProblem(`the ${what} id`, id))
  if (!rules.integral) return id
  const whole = /^(\d+)(?:\.0+)?$/.exec(id)
  if (whole === null)
    throw new BadEventError(
      `expected ${named} id that is a whole number, as the first ones of the column are, found ${shorten(id)}`
    )
  return whole[1]!
}

/** Whether a column of ids was written as floats: whole numbers only, and some with `.0`. */
export function isFloatColumn(texts: readonly string[], rules: ValueRules): boolean {
  const ids = texts.map((text) => cleanText(text, rules)).filter((id) => id !== undefined)
  return ids.some((id) => /^\d+\.0+$/.test(id)) && ids.every((id) => /^\d+(\.0+)?$/.test(id))
}

/**
 * A rating or another number; undefined where there is none, NaN where there is something else: an event is not lost
 * for it.
 *
 * @param decimalComma whether `4,5` is 4.5, as where semicolons separate fields
 */
export function parseValue(text: string | undefined, rules: ValueRules, decimalComma = false): number | undefined {
  const clean = text === undefined ? undefined : cleanText(text, rules)
  if (clean === undefined) return undefined
  const value = Number(decimalComma && /^[+-]?\d+,\d+$/.test(clean) ? clean.replace(',', '.') : clean)
  return Number.isFinite(value) ? value : Number.NaN
}
