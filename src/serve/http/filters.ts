// Filters of requests: `filter.price=<10` in a query, `{ "filter": { "price": { "lt": 10 } } }` in a body.

import { z } from 'zod'
import { fieldsMax, type filterSchema, valuesMax } from '../../core/config/listRules.ts'
import { setOwn } from '../../core/own.ts'
import { type FeatureFilter, type FieldCondition, type FieldRange, orderedValue } from '../../index/itemFilter.ts'
import { invalid } from './validation.ts'

/** One parameter a field. Several parameters of a field are a list. */
export const queryFilterSchema = z.record(z.string(), z.union([z.string(), z.array(z.string()).max(valuesMax)])).meta({
  title: 'one or more conditions for each field, such as filter.genre=Comedy',
  maxProperties: fieldsMax,
  description:
    'Only items that meet the conditions: `filter.genre=Comedy`. Repeated: any of the values. `!Comedy`: none of these values; `<10`, `<=10`, `>10`, `>=2026-01-01`: a number or an ISO 8601 date within all of the bounds; `*`: any value, `!*`: no value; `==x`: the value `=x`, for values that begin with one of these signs'
})

type BodyFilter = z.infer<typeof filterSchema>
type Bound = keyof FieldRange

const signs: readonly (readonly [string, Bound])[] = [
  ['<=', 'lte'],
  ['>=', 'gte'],
  ['<', 'lt'],
  ['>', 'gt']
]

/** @throws ProblemError 400 for a bound that is neither a number nor a date */
export function filterOfQuery(query: z.infer<typeof queryFilterSchema> | undefined): FeatureFilter | undefined {
  return filterOf(query, (field, values, problems) => {
    const any: string[] = []
    const not: string[] = []
    const range: Range = {}
    let exists: boolean | undefined
    for (const text of [values].flat()) {
      const sign = signs.find(([sign]) => text.startsWith(sign))
      if (text === '*' || text === '!*') exists = text === '*'
      else if (sign !== undefined)
        setBound(range, sign[1], text.slice(sign[0].length), `filter.${field}=${text}`, problems)
      else if (text.startsWith('!')) not.push(text.slice(1))
      else any.push(text.startsWith('=') ? text.slice(1) : text)
    }
    if ([...any, ...not].includes('')) problems.push(`filter.${field} has no value: give one, or * for any`)
    return conditionOf(any, not, range, exists)
  })
}

/** Of a body or of the configuration. @throws ProblemError 400 for a bound that is neither a number nor a date */
export function filterOfBody(body: BodyFilter | undefined): FeatureFilter | undefined {
  return filterOf(body, (field, given, problems) => {
    if (typeof given === 'string' || Array.isArray(given)) return conditionOf([given].flat(), [], {})
    const range: Range = {}
    for (const [, name] of signs) {
      const bound = given[name]
      if (bound !== undefined) setBound(range, name, bound, `filter.${field}.${name}`, problems)
    }
    const { any = [], not = [], exists } = given
    if (any.length + not.length + Object.keys(range).length === 0 && exists === undefined)
      problems.push(`filter.${field} is empty; known are any, not, gt, gte, lt, lte, exists`)
    return conditionOf(any, not, range, exists)
  })
}

type Range = { -readonly [B in Bound]?: number }

function filterOf<T>(
  given: Readonly<Record<string, T>> | undefined,
  of: (field: string, value: T, problems: string[]) => FieldCondition
): FeatureFilter | undefined {
  if (given === undefined || Object.keys(given).length === 0) return undefined
  const problems: string[] = []
  const filter: Record<string, FieldCondition> = {}
  for (const [field, value] of Object.entries(given)) setOwn(filter, field, of(field, value, problems))
  if (problems.length > 0) throw invalid(problems)
  return filter
}

/** Several bounds of one kind: the narrowest. */
function setBound(range: Range, name: Bound, bound: string | number, what: string, problems: string[]): void {
  const value = typeof bound === 'number' ? bound : orderedValue(bound.trim())
  if (value === undefined) {
    problems.push(
      `${what}: the bound must be a number such as 9.5, or a date such as 2026-01-31 or 2026-01-31T12:00:00Z`
    )
    return
  }
  const narrower = name === 'lt' || name === 'lte' ? Math.min : Math.max
  range[name] = range[name] === undefined ? value : narrower(range[name], value)
}

function conditionOf(any: string[], not: string[], range: FieldRange, exists?: boolean): FieldCondition {
  return {
    ...(any.length === 0 ? {} : { any }),
    ...(not.length === 0 ? {} : { not }),
    ...(Object.keys(range).length === 0 ? {} : { range }),
    ...(exists === undefined ? {} : { exists })
  }
}
