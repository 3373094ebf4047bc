// A format, applied to one file: how its records are read, and what is said of it before.

import type { SourceFilter } from '../../core/config/sources.ts'
import { shownTime, type TimeForm } from '../../records/value/eventTime.ts'
import type { ValueRules } from '../../records/value/valueRules.ts'
import { type ColumnMapping, roles } from './columnMapping.ts'
import { shownForm } from './detectTime.ts'
import type { LineParser } from './lineParser.ts'

export interface Layout {
  /** A parser for one pass over the file: some formats remember what came before. */
  readonly open: () => LineParser
  /** Records at the start that are no rows: 0 or 1. */
  readonly headerLines: number
  /** Whether rows have event times. */
  readonly timed: boolean
  /** Whether a record holds several interactions. */
  readonly listed: boolean
  /** Where a quoted field may continue on the next line: the delimiter of fields. */
  readonly quotedDelimiter: string | undefined
  /** Whether a record that was put together from several lines has the fields that it must have. */
  readonly isWhole: (record: string) => boolean
  /** Columns by role and how times are written, as `--columns` would say it; undefined where the format fixes them. */
  readonly columns: ColumnMapping | undefined
  /** Columns by role and those unused, as the user is told before anything is read. */
  readonly shown: string
}

/** What a user may say of how a file is read. */
export interface ReadingOptions {
  readonly columns: ColumnMapping
  readonly filters: readonly SourceFilter[]
  readonly rules: ValueRules
}

export function layoutOf(
  parse: LineParser | (() => LineParser),
  rest: Partial<Layout> & { readonly shown: string },
  stateful = false
): Layout {
  const open = stateful ? (parse as () => LineParser) : () => parse as LineParser
  return {
    headerLines: 0,
    timed: false,
    listed: false,
    quotedDelimiter: undefined,
    isWhole: () => true,
    columns: undefined,
    open,
    ...rest
  }
}

/** Columns by role, with how times are read, and those unused. */
export function shownMapping(
  mapping: ColumnMapping,
  names: readonly string[],
  times: string | undefined,
  plusMs?: string
): string {
  const taken = roles.flatMap((role): [string, string][] => {
    const column = mapping[role]
    return column === undefined
      ? []
      : [[role, role === 'time' && times !== undefined ? `${column} (${times})` : column]]
  })
  const used = new Set<string | undefined>([
    ...roles.map((role) => mapping[role]),
    ...roles.map((role) => mapping[role]?.split('.')[0]),
    plusMs
  ])
  return shownRoles(
    plusMs === undefined ? taken : [...taken, ['milliseconds after it', plusMs]],
    names.filter((name) => !used.has(name))
  )
}

export function shownRoles(
  taken: readonly (readonly [role: string, column: string])[],
  unused: readonly string[]
): string {
  const names = unused.map((name) => (name === '' ? '""' : name))
  const left = names.length > 12 ? `${names.slice(0, 10).join(', ')} and ${names.length - 10} more` : names.join(', ')
  return `${taken.map(([role, column]) => `${role} = ${column}`).join(', ')}; unused: ${names.length === 0 ? 'none' : left}`
}

/** How a column's times are read, with the first of them as a date. */
export function shownTimes(form: TimeForm, first: number | undefined): string {
  return `${shownForm(form)}${first === undefined || Number.isNaN(first) ? '' : `, first ${shownTime(first)}`}`
}
