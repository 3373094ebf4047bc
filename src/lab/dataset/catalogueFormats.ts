// Items of catalogues: what a layout is, and the layouts of the formats whose fields are known in advance.

import { BadEventError } from '../../core/errors.ts'
import { setOwn } from '../../core/own.ts'
import { shorten } from '../../core/shorten.ts'
import { admit, itemProblem } from '../../records/admission.ts'
import { type Availability, availabilityMs, availabilityOf, type CatalogueItem } from '../../records/catalogueItem.ts'
import { cleanText, type ValueRules } from '../../records/value/valueRules.ts'
import { plainColumnName } from './columnMapping.ts'
import { parseObject } from './jsonLayout.ts'
import { shownRoles } from './layout.ts'
import { checkId, isFloatColumn } from './lineParser.ts'
import type { AtomicColumn } from './recbole.ts'

/** How the records of a catalogue become items. The files have no times: `updatedAtMs` is 0, older than any event. */
export interface CatalogueLayout {
  /** undefined for a record that is none, as a catalogue among events has them. @throws BadEventError */
  readonly parse: (record: string) => CatalogueItem | undefined
  readonly headerLines: number
  readonly quotedDelimiter: string | undefined
  /** As that of a layout of interactions. */
  readonly isWhole: (record: string) => boolean
  readonly shown: string
}

/** Each value of a feature is a row of the model: a field with more is prose. */
const featureValuesMax = 256
/** Longer ones are prose, too. */
export const featureCharsMax = 40

const titleNames = [
  'title',
  'movietitle',
  'itemtitle',
  'itemname',
  'name',
  'prodname',
  'productname',
  'producttitle',
  'booktitle',
  'newstitle',
  'trackname',
  'artistname'
]

const movieGenres =
  'unknown,Action,Adventure,Animation,Children,Comedy,Crime,Documentary,Drama,Fantasy,Film-Noir,Horror,Musical,Mystery,Romance,Sci-Fi,Thriller,War,Western'.split(
    ','
  )

type AvailabilityColumns = Partial<Record<'availableFrom' | 'availableUntil', string>>

export interface ChosenColumns {
  readonly item: string
  readonly title: string | undefined
  readonly features: readonly string[]
  /** Columns of `availableFrom` and `availableUntil`, where there are any. */
  readonly availability?: AvailabilityColumns
}

export function titleColumn(names: readonly string[]): string | undefined {
  return titleNames.flatMap((known) => names.filter((name) => plainColumnName(name) === known))[0]
}

/** `availableFrom`, `available_from` … */
export function availabilityColumns(names: readonly string[]): AvailabilityColumns {
  const [from, until] = ['availablefrom', 'availableuntil'].map((known) =>
    names.find((name) => plainColumnName(name) === known)
  )
  return {
    ...(from === undefined ? {} : { availableFrom: from }),
    ...(until === undefined ? {} : { availableUntil: until })
  }
}

/** @param textOf of a column @throws BadEventError */
export function availabilityIn(
  columns: AvailabilityColumns,
  textOf: (column: string) => string | undefined,
  rules: ValueRules
): Availability {
  const [availableFromMs, availableUntilMs] = (['availableFrom', 'availableUntil'] as const).map((field) => {
    const text = columns[field] === undefined ? undefined : cleanText(textOf(columns[field]) ?? '', rules)
    return text === undefined ? undefined : availabilityMs(field, text)
  })
  return availabilityOf({ availableFromMs, availableUntilMs })
}

export function scalars(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(scalars)
  if (typeof value === 'object' && value !== null) return Object.values(value).flatMap(scalars)
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? [String(value)] : []
}

export function addFeature(
  features: Record<string, readonly string[]>,
  name: string,
  values: readonly string[],
  rules: ValueRules
): void {
  const present = [...new Set(values.map((value) => cleanText(value, rules)).filter((value) => value !== undefined))]
  if (present.length > featureValuesMax)
    throw new BadEventError(`${name} has ${present.length} values: at most ${featureValuesMax} are allowed`)
  if (present.length > 0) setOwn(features, name, present)
}

export function itemOf(
  itemId: string,
  title: string | undefined,
  features: Readonly<Record<string, readonly string[]>>,
  rules: ValueRules,
  availability: Availability = {}
): CatalogueItem {
  const text = title === undefined ? undefined : cleanText(title, rules)
  const item = { itemId, ...(text === undefined ? {} : { title: text }), features, updatedAtMs: 0, ...availability }
  admit(itemProblem(item))
  return item
}

export function shownItems(
  { item, title, features, availability = {} }: ChosenColumns,
  names: readonly string[],
  nameOf: (column: string) => string
): string {
  const taken = [
    ['item', nameOf(item)] as const,
    ...(title === undefined ? [] : [['title', nameOf(title)] as const]),
    ...Object.entries(availability).map(([role, name]) => [role, nameOf(name)] as const),
    ...(features.length === 0 ? [] : [['features', features.map(nameOf).join(' + ')] as const])
  ]
  return shownRoles(
    taken,
    names.filter((name) => ![item, title, ...features, ...Object.values(availability)].includes(name)).map(nameOf)
  )
}
/**
 * `token` columns become features with one value, `token_seq` ones with several, separated by blanks as RecBole has
 * them.
 */
export function atomicCatalogue(
  head: readonly string[],
  columns: readonly AtomicColumn[],
  rules: ValueRules
): CatalogueLayout {
  const names = columns.map(({ name }) => name)
  const [item, title] = [names.indexOf('item_id'), names.indexOf(titleColumn(names) ?? '')]
  const features = columns.flatMap(({ name, type }, i) =>
    i === item || i === title || type.startsWith('float') ? [] : [{ name, type, at: i }]
  )
  const ids = head.slice(1).map((line) => line.split('\t')[item] ?? '')
  const idRules = { ...rules, integral: isFloatColumn(ids, rules) }
  const chosen = { item: 'item_id', title: names[title], features: features.map(({ name }) => name) }
  return {
    headerLines: 1,
    quotedDelimiter: undefined,
    isWhole: () => true,
    shown: shownItems(chosen, names, (column) => column),
    parse: (line) => {
      const fields = line.split('\t')
      if (fields.length !== columns.length)
        throw new BadEventError(
          `expected ${columns.length} fields (${names.join(', ')}), found ${fields.length}: ${shorten(line)}`
        )
      const found: Record<string, readonly string[]> = {}
      for (const { name, type, at } of features)
        addFeature(found, name, type === 'token' ? [fields[at]!] : fields[at]!.split(' '), rules)
      return itemOf(checkId('item', fields[item], idRules), fields[title], found, rules)
    }
  }
}

/** Item events: `{"event": "item", "item": "p1", "fields": [{"name": "title", "value": "…"}, …]}`. */
export function metarankCatalogue(rules: ValueRules): CatalogueLayout {
  const idRules = { ...rules, integral: false }
  return {
    headerLines: 0,
    quotedDelimiter: undefined,
    isWhole: () => true,
    shown: 'item = item, title = the field called title, features = fields with text; unused: fields with numbers',
    parse: (line) => {
      const record = parseObject(line)
      if (record === undefined) throw new BadEventError(`expected a JSON object, found ${shorten(line)}`)
      if (record.event !== 'item') return undefined
      const fields = (Array.isArray(record.fields) ? record.fields : []) as readonly {
        readonly name?: unknown
        readonly value?: unknown
      }[]
      const texts = fields.map(({ name, value }) => ({
        name: String(name),
        values: (Array.isArray(value) ? value : [value]).filter((one) => typeof one === 'string')
      }))
      const title = texts.find(({ name }) => plainColumnName(name) === 'title')
      const found: Record<string, readonly string[]> = {}
      for (const { name, values } of texts) {
        if (name !== title?.name && values.every((value) => value.length <= featureCharsMax))
          addFeature(found, name, values, rules)
      }
      return itemOf(checkId('item', scalars(record.item)[0], idRules), title?.values[0], found, rules)
    }
  }
}

/** MovieLens 100K's u.item: id|title|release date|video date|link|19 flags of genres. */
export function movieLens100kCatalogue(rules: ValueRules): CatalogueLayout {
  const idRules = { ...rules, integral: false }
  return {
    headerLines: 0,
    quotedDelimiter: undefined,
    isWhole: () => true,
    shown: 'item = 1, title = 2, features = genre (flags 6 to 24); unused: 3, 4, 5',
    parse: (line) => {
      const fields = line.split('|')
      if (fields.length !== 24) throw new BadEventError(`expected 24 fields, found ${fields.length}: ${shorten(line)}`)
      const genres = movieGenres.filter((_, i) => fields[5 + i] === '1')
      return itemOf(checkId('item', fields[0], idRules), fields[1], genres.length === 0 ? {} : { genre: genres }, rules)
    }
  }
}
