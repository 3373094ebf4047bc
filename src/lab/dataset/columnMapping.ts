// Which column, or JSON field, holds what.

import { ConfigError } from '../../core/errors.ts'
import { type TimeUnit, timeUnits } from '../../ingest/timeUnit.ts'

export interface ColumnMapping {
  readonly user?: string
  readonly item?: string
  readonly time?: string
  readonly type?: string
  readonly value?: string
  /** Detected where absent. */
  readonly unit?: TimeUnit
}

const roles = ['user', 'item', 'time', 'type', 'value'] as const
export type ColumnRole = (typeof roles)[number]

/** Names that public data sets use, lower case, likeliest first. */
const knownNames: Readonly<Record<ColumnRole, readonly string[]>> = {
  user: [
    'user',
    'user_id',
    'userid',
    'user id',
    'reviewerid',
    'visitorid',
    'visitor_id',
    'customer_id',
    'customerid',
    'uid',
    'session_id',
    'sessionid',
    'session'
  ],
  item: [
    'item',
    'item_id',
    'itemid',
    'item id',
    'parent_asin',
    'asin',
    'product_id',
    'productid',
    'movieid',
    'movie_id',
    'article_id',
    'isbn',
    'location',
    'iid'
  ],
  time: ['timestamp', 'time', 'event_time', 'eventtime', 'eventtimems', 'ts', 'unixreviewtime', 'datetime', 'date', 'created_at', 't_dat'],
  type: ['type', 'event_type', 'eventtype', 'event', 'behavior', 'behaviour', 'action'],
  value: ['rating', 'overall', 'value', 'score', 'stars']
}

/** `user=visitorid,item=itemid,time=timestamp,type=event,unit=ms`, as `--columns` takes it. @throws ConfigError with every problem */
export function parseColumnMapping(text: string): ColumnMapping {
  const problems: string[] = []
  const mapping: Record<string, string> = {}
  for (const part of text.split(',')) {
    const [role, ...name] = part.split('=')
    const key = role!.trim()
    const value = name.join('=').trim()
    if (!([...roles, 'unit'] as string[]).includes(key) || value === '') {
      problems.push(`--columns: expected ${[...roles, 'unit'].map((known) => `${known}=…`).join(', ')}, found ${JSON.stringify(part)}`)
    } else if (Object.hasOwn(mapping, key)) problems.push(`--columns: ${key} is given twice, as ${mapping[key]} and ${value}`)
    else if (key === 'unit' && !(timeUnits as readonly string[]).includes(value)) {
      problems.push(`--columns: unit must be one of ${timeUnits.join(', ')}, not ${JSON.stringify(value)}`)
    } else mapping[key] = value
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return mapping as ColumnMapping
}

/**
 * The given mapping, completed by well-known names among `names`.
 *
 * @throws ConfigError if a given name is not there, or no user or item column is found
 */
export function completeMapping(given: ColumnMapping, names: readonly string[], where: string): ColumnMapping {
  const mapping: Record<string, string> = given.unit === undefined ? {} : { unit: given.unit }
  const problems: string[] = []
  for (const role of roles) {
    const wanted = given[role]
    // A nested JSON field is looked up line by line: the sample may not have it.
    const found = wanted === undefined ? guess(role, names) : names.includes(wanted) || wanted.includes('.') ? wanted : undefined
    if (found !== undefined) mapping[role] = found
    else if (wanted !== undefined)
      problems.push(`${where}: there is no column ${JSON.stringify(wanted)} for ${role}; there are ${names.join(', ')}`)
    else if (role === 'user' || role === 'item') {
      problems.push(`${where}: no column is known to be the ${role}; there are ${names.join(', ')}; name it with --columns ${role}=…`)
    }
  }
  if (mapping.user !== undefined && mapping.user === mapping.item) problems.push(`${where}: user and item are both column ${mapping.user}`)
  if (problems.length > 0) throw new ConfigError(problems)
  return mapping as ColumnMapping
}

/** Whether names look like a header: at least a user and an item among them. */
export function looksMapped(names: readonly string[]): boolean {
  return guess('user', names) !== undefined && guess('item', names) !== undefined
}

function guess(role: ColumnRole, names: readonly string[]): string | undefined {
  for (const known of knownNames[role]) {
    const found = names.find((name) => name.trim().toLowerCase() === known)
    if (found !== undefined) return found
  }
  return undefined
}
