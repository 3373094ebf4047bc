// Conditions on the features of items: what lists are filtered by. The embedded index and Qdrant give the same answers.
//
// A feature is a list of texts. A text that is a number or a date also has a place on a line: see `orderedValue`.

import { own } from '../core/own.ts'
import type { CatalogueItem } from '../records/catalogueItem.ts'
import type { Filter } from './vectorIndex.ts'

/** Conditions on one field. An item must meet all of them. Values are compared exactly, case included. */
export interface FieldCondition {
  /** The item has at least one of these values. */
  readonly any?: readonly string[]
  /** The item has none of these values. */
  readonly not?: readonly string[]
  /** At least one of the item's values is a number or a date within these bounds. */
  readonly range?: FieldRange
  /** The item has a value in the field, or has none. */
  readonly exists?: boolean
}

/** Bounds as `orderedValue` gives them. */
export interface FieldRange {
  readonly gt?: number
  readonly gte?: number
  readonly lt?: number
  readonly lte?: number
}

/** Field → its conditions; a text stands for `{ any: [text] }`. An item must meet the conditions of every field. */
export type FeatureFilter = Readonly<Record<string, string | FieldCondition>>

type Features = CatalogueItem['features']

const decimal = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/
const isoDate = /^(\d{4}-\d\d-\d\d)([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$/

/**
 * A decimal number as itself; an ISO 8601 date or time as milliseconds since 1970, UTC where it names no zone.
 * undefined: the text is neither.
 */
export function orderedValue(text: string): number | undefined {
  const first = text.charCodeAt(0)
  // Most features are words: a digit, +, - or . comes first in everything else.
  if (!(first >= 0x2b && first <= 0x39)) return undefined
  if (decimal.test(text)) {
    const number = Number(text)
    return Number.isFinite(number) ? number : undefined
  }
  const date = isoDate.exec(text)
  if (date === null) return undefined
  const [, day, time, , , zone] = date
  const dayMs = Date.parse(`${day}T00:00:00Z`)
  // Date.parse takes the 30th of February for the 1st or 2nd of March.
  if (Number.isNaN(dayMs) || new Date(dayMs).toISOString().slice(0, 10) !== day) return undefined
  if (time === undefined) return dayMs
  const zoned = `${text.replace(' ', 'T').replace(/([+-]\d\d)(\d\d)$/, '$1:$2')}${zone === undefined ? 'Z' : ''}`
  const timeMs = Date.parse(zoned)
  return Number.isNaN(timeMs) ? undefined : timeMs
}

/** The conditions on each field, in the long form; of several filters a field may come more than once. */
export function conditionsOf(filter: Filter['features']): [field: string, condition: FieldCondition][] {
  const filters = [filter ?? []].flat() as readonly FeatureFilter[]
  return filters.flatMap((one) =>
    Object.entries(one).map(([field, condition]): [string, FieldCondition] => [
      field,
      typeof condition === 'string' ? { any: [condition] } : condition
    ])
  )
}

/** Whether features meet the conditions. */
export function meets(features: Features | undefined, filter: Filter['features']): boolean {
  return conditionsOf(filter).every(([field, { any, not, range, exists }]) => {
    const values = own(features ?? {}, field) ?? []
    if (exists !== undefined && values.length > 0 !== exists) return false
    if (any !== undefined && !any.some((value) => values.includes(value))) return false
    if (not?.some((value) => values.includes(value)) === true) return false
    return range === undefined || values.some((value) => isWithin(orderedValue(value), range))
  })
}

function isWithin(value: number | undefined, { gt, gte, lt, lte }: FieldRange): boolean {
  return (
    value !== undefined &&
    !(gt !== undefined && value <= gt) &&
    !(gte !== undefined && value < gte) &&
    !(lt !== undefined && value >= lt) &&
    !(lte !== undefined && value > lte)
  )
}
