// Which column, or JSON field, holds what: as `--columns` says it, or by names that public data sets use.

import { ConfigError } from '../../core/errors.ts'
import { own, setOwn } from '../../core/own.ts'
import { type TimeForm, type TimeUnit, timeUnits } from '../../records/value/eventTime.ts'

export const roles = ['user', 'item', 'time', 'type', 'value'] as const
export type ColumnRole = (typeof roles)[number]

/**
 * Names of columns by role, or their numbers from 1; `time: none` leaves times out. Beside them how times are written,
 * detected where absent.
 */
export interface ColumnMapping extends TimeForm {
  readonly user?: string
  readonly item?: string
  readonly time?: string
  readonly type?: string
  readonly value?: string
}

/** What a mapping says instead of a column that is not to be read although it is there. */
const noColumn = 'none'

const timeKeys = ['unit', 'format', 'zone'] as const
const keys: readonly string[] = [...roles, ...timeKeys]

/** Names that public data sets and exports use, without regard to case, blanks and punctuation, likeliest first. */
const knownNames: Readonly<Record<ColumnRole, readonly string[]>> = {
  user: words(
    'user userid reviewerid visitorid customer customerid memberid accountid profileid householdkey uid uuid ' +
      'userpseudoid username clientid buyerid deviceid cookieid anonymousid sessionid session'
  ),
  item: words(
    'item itemid parentasin asin product productid sku movieid articleid clickarticleid isbn bookid songid ' +
      'trackid artistid newsid videoid businessid venueid animeid gameid appid recipeid contentid documentid ' +
      'postid stockcode location skuid goodsid listingid placeid poiid hotelid restaurantid movie book track ' +
      'song video iid aid'
  ),
  time: words(
    'timestamp timestampms timems unixtime unixtimestamp epoch epochms clicktime occurredat time eventtime ' +
      'eventtimems eventtimestamp clicktimestamp ts unixreviewtime datetime createdat dateadded date eventdate ' +
      'tdat invoicedate transactiondt transactiondate reviewtime purchasedate orderdate'
  ),
  type: words(
    'type eventtype event eventname behavior behaviour behaviortype action actiontype feedbacktype interactiontype'
  ),
  value: words('rating bookrating overall value eventvalue score stars weight playcount plays')
}

function words(text: string): string[] {
  return text.split(' ')
}

/** Plain names of columns that usually hold it, likeliest first. */
export function likelyNames(role: ColumnRole): readonly string[] {
  return knownNames[role]
}

/** A name as names are compared: `User-ID`, `user_id` and `userId` are one. */
export function plainColumnName(name: string): string {
  return name.toLowerCase().replace(/[\s_.-]/g, '')
}

/** `user=visitorid,item=2,time=ts,unit=ms`, as `--columns` takes it. @throws ConfigError with every problem */
export function parseColumnMapping(text: string): ColumnMapping {
  const problems: string[] = []
  const mapping: Record<string, string> = {}
  // A pattern such as `MMM d, yyyy` has commas of its own.
  for (const part of text.split(/,(?=\s*\w+\s*=)/)) {
    const equals = part.indexOf('=')
    const key = part.slice(0, Math.max(0, equals)).trim()
    const value = part.slice(equals + 1).trim()
    if (equals < 0 || !keys.includes(key) || value === '') {
      problems.push(
        `--columns: expected ${keys.map((known) => `${known}=…`).join(', ')}, found ${JSON.stringify(part)}`
      )
    } else if (own(mapping, key) !== undefined)
      problems.push(`--columns: ${key} is given twice, as ${own(mapping, key)} and ${value}`)
    else if (key === 'unit' && !(timeUnits as readonly string[]).includes(value)) {
      problems.push(
        `--columns: unit must be one of ${timeUnits.join(', ')}, not ${JSON.stringify(value)}; a pattern is given as format=…`
      )
    } else setOwn(mapping, key, value)
  }
  if (mapping.unit !== undefined && mapping.format !== undefined)
    problems.push('--columns: unit and format are both given; a time has one of them')
  if (problems.length > 0) throw new ConfigError(problems)
  return mapping as ColumnMapping
}

/** Whether a mapping names a column at all, and not only how times are written. */
export function namesColumns(mapping: ColumnMapping): boolean {
  return roles.some((role) => mapping[role] !== undefined)
}

/** How the mapping says that times are written; undefined where it does not. */
export function givenTimeForm({ unit, format, zone }: ColumnMapping): TimeForm | undefined {
  return unit === undefined && format === undefined ? undefined : { unit: unit as TimeUnit | undefined, format, zone }
}

/** Columns whose name is known for a role, likeliest first. */
export function columnsKnownAs(role: ColumnRole, names: readonly string[]): string[] {
  const plain = names.map(plainColumnName)
  return knownNames[role].flatMap((known) => names.filter((_, i) => plain[i] === known))
}

/** Whether names look like a header of interactions: a user and an item among them. */
export function looksMapped(names: readonly string[]): boolean {
  return columnsKnownAs('user', names).length > 0 && columnsKnownAs('item', names).length > 0
}

/**
 * Columns by role: those given, then those of the format, then well-known names.
 *
 * @param empty names of columns that hold no value in the sample: another one of the role is taken, if there is one
 * @throws ConfigError if a given name is not there, or no user or item column is found
 */
export function completeMapping(
  given: ColumnMapping,
  formats: ColumnMapping,
  names: readonly string[],
  where: string,
  empty: (name: string) => boolean = () => false
): ColumnMapping {
  const mapping: Record<string, string> = {}
  const problems: string[] = []
  for (const role of roles) {
    const wanted = given[role]
    if (wanted === noColumn && !names.includes(noColumn)) continue
    const named =
      wanted ??
      (formats[role] === undefined || columnOf(formats[role], names) === undefined ? undefined : formats[role])
    const known = columnsKnownAs(role, names).filter((name) => !Object.values(mapping).includes(name))
    const found = named === undefined ? (known.find((name) => !empty(name)) ?? known[0]) : columnOf(named, names)
    if (found !== undefined) mapping[role] = found
    else if (wanted !== undefined)
      problems.push(`${where}: there is no column ${JSON.stringify(wanted)} for ${role}; there are ${names.join(', ')}`)
    else if (role === 'user' || role === 'item') {
      problems.push(
        `${where}: no column is known to be the ${role}; there are ${names.join(', ')}; name it with --columns ${role}=…`
      )
    }
  }
  if (mapping.user !== undefined && mapping.user === mapping.item)
    problems.push(`${where}: user and item are both column ${mapping.user}`)
  if (problems.length > 0) throw new ConfigError(problems)
  return mapping as ColumnMapping
}

/**
 * A column by its name, or by its number from 1. A nested JSON field is looked up line by line: the sample may not have
 * it.
 */
function columnOf(wanted: string, names: readonly string[]): string | undefined {
  if (names.includes(wanted) || wanted.includes('.')) return wanted
  return /^[1-9]\d{0,3}$/.test(wanted) ? names[Number(wanted) - 1] : undefined
}
