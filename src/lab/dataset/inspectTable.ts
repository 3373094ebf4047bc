// What the columns of a table without a header could be, by what is in them.

import { shownTime, type TimeForm, timeReader } from '../../records/value/eventTime.ts'
import type { ValueRules } from '../../records/value/valueRules.ts'
import type { ColumnMapping } from './columnMapping.ts'
import { detectTime } from './detectTime.ts'
import { presentTexts, type Table } from './tableLayout.ts'

/** `time` without a form: there are two ways to read it. */
type ColumnKind =
  | { readonly kind: 'time'; readonly form?: TimeForm }
  | { readonly kind: 'constant' | 'type' | 'value' | 'decimal' | 'text' | 'id' }

/** Event types have few names; a column of them has no digits. */
const typesMax = 30
const valuesMax = 21

export function columnKinds(table: Pick<Table, 'names' | 'rows'>, rules: ValueRules): ColumnKind[] {
  const kinds = table.names.map((_, i) =>
    kindOf(
      presentTexts(
        table.rows.map((row) => row[i] ?? ''),
        rules
      ),
      rules
    )
  )
  // Times in words are sure; numbers of their size could be ids.
  const sure = kinds.some((kind) => kind.kind === 'time' && !isNumeric(kind.form))
  const lastNumeric = kinds.findLastIndex((kind) => kind.kind === 'time' && isNumeric(kind.form))
  const ids = kinds.filter(({ kind }) => kind === 'id').length
  return kinds.map((kind, i) => {
    if (kind.kind === 'time' && isNumeric(kind.form) && (sure || i !== lastNumeric)) return { kind: 'id' }
    // A small number is a rating only beside a user and an item.
    return kind.kind === 'value' && ids < 2 ? { kind: 'id' } : kind
  })
}

function isNumeric(form: TimeForm | undefined): boolean {
  return form?.unit === 's' || form?.unit === 'ms' || form?.unit === 'us' || form?.unit === 'ns'
}

function kindOf(texts: readonly string[], rules: ValueRules): ColumnKind {
  if (texts.length === 0) return { kind: 'constant' }
  const time = detectTime(texts, rules)
  if (time.kind === 'form') return { kind: 'time', form: time.form }
  if (time.kind === 'ambiguous') return { kind: 'time' }
  const distinct = new Set(texts)
  if (distinct.size === 1 && texts.length > 1) return { kind: 'constant' }
  const all = (pattern: RegExp) => texts.every((text) => pattern.test(text))
  if (distinct.size <= typesMax && distinct.size * 2 <= texts.length && all(/^[A-Za-z][A-Za-z_ -]*$/))
    return { kind: 'type' }
  if (distinct.size <= valuesMax && distinct.size < texts.length && all(/^(10|\d)([.,][05]0*)?$/))
    return { kind: 'value' }
  if (all(/^[+-]?\d+[.,]\d+$/) && !all(/^\d+\.0+$/)) return { kind: 'decimal' }
  return { kind: all(/^\S+$/) ? 'id' : 'text' }
}

/** A way to read a table: columns by number. */
interface TableColumns {
  readonly mapping: ColumnMapping
  readonly because: string
}

/** Ids that say themselves what they are. */
const userLike = /^(u|us|usr|user|cust|customer|member|visitor|account|session|sess)[_:-]?\d+$/i
const itemLike = /^(i|it|item|p|prod|product|sku|art|article|movie|asin|video|track|song|book)[_:-]?\d+$/i

/**
 * The readings of a table with at least a user and an item, one if something in it says which is which. Empty: there
 * are no two columns of ids.
 */
export function tableReadings(table: Table, rules: ValueRules): TableColumns[] {
  const kinds = columnKinds(table, rules)
  const places = (kind: ColumnKind['kind']) => kinds.flatMap((found, i) => (found.kind === kind ? [i] : []))
  const ids = places('id')
  if (ids.length < 2) return []
  const column = (i: number | undefined) => (i === undefined ? undefined : table.names[i])
  const rest = { time: column(places('time')[0]), type: column(places('type')[0]), value: column(places('value')[0]) }
  const reading = (user: number, item: number, because: string): TableColumns => ({
    mapping: Object.fromEntries(
      Object.entries({ user: column(user), item: column(item), ...rest }).filter(([, name]) => name !== undefined)
    ),
    because
  })
  const mostly = (i: number, pattern: RegExp) => {
    const texts = presentTexts(
      table.rows.map((row) => row[i] ?? ''),
      rules
    )
    return texts.filter((text) => pattern.test(text)).length * 10 >= texts.length * 9
  }
  const users = ids.filter((i) => mostly(i, userLike))
  const items = ids.filter((i) => mostly(i, itemLike))
  const [user, item] = [users.length === 1 ? users[0] : undefined, items.length === 1 ? items[0] : undefined]
  if (user !== undefined && item !== undefined) return [reading(user, item, 'ids that say what they are')]
  if (ids.length === 2 && user !== undefined)
    return [reading(user, ids.find((i) => i !== user)!, 'ids of users that say what they are')]
  if (ids.length === 2 && item !== undefined)
    return [reading(ids.find((i) => i !== item)!, item, 'ids of items that say what they are')]
  return [reading(ids[0]!, ids[1]!, ''), reading(ids[1]!, ids[0]!, '')]
}

/** Readings beside each other on the first three rows, each with the option that asks for it. */
export function shownReadings(table: Table, readings: readonly TableColumns[], rules: ValueRules): string {
  const kinds = columnKinds(table, rules)
  return readings
    .map(({ mapping }) => {
      const roles = Object.entries(mapping) as [keyof ColumnMapping, string][]
      const at = (name: string) => table.names.indexOf(name)
      const rows = table.rows.slice(0, 3).map((row) =>
        roles
          .map(([role, name]) => {
            const kind = kinds[at(name)]!
            const text = row[at(name)] ?? ''
            const date =
              kind.kind === 'time' && kind.form !== undefined ? timeReader(kind.form)(text.trim()) : Number.NaN
            return `${role} ${Number.isNaN(date) ? text : shownTime(date)}`
          })
          .join('  ')
      )
      return `    --columns ${roles.map(([role, name]) => `${role}=${name}`).join(',')}\n${rows.map((row) => `        ${row}`).join('\n')}`
    })
    .join('\n')
}
