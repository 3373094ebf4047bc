// Catalogues: files of items with titles and features, as data sets and shops have them.

import { BadEventError, ConfigError } from '../../core/errors.ts'
import { own, setOwn } from '../../core/own.ts'
import { shorten } from '../../core/shorten.ts'
import type { ValueRules } from '../../records/value/valueRules.ts'
import {
  addFeature,
  atomicCatalogue,
  availabilityColumns,
  availabilityIn,
  type CatalogueLayout,
  type ChosenColumns,
  featureCharsMax,
  itemOf,
  metarankCatalogue,
  movieLens100kCatalogue,
  scalars,
  shownItems,
  titleColumn
} from './catalogueFormats.ts'
import { columnsKnownAs, plainColumnName } from './columnMapping.ts'
import { detectTime } from './detectTime.ts'
import { jsonNames, parseObject } from './jsonLayout.ts'
import { checkId, isFloatColumn } from './lineParser.ts'
import { atomicHeader } from './recbole.ts'
import { presentTexts, splitterOf, type Table } from './tableLayout.ts'
import { commonWidth, hasHeader, tableOf, withHeader, withoutHeader } from './tableShape.ts'

/** Which columns of a catalogue are what, as `--item-columns item=sku,title=name,features=brand+genre` says it. */
export interface ItemColumns {
  readonly item?: string
  readonly title?: string
  readonly features?: readonly string[]
}

/** Beyond this share of rows with a value of their own a column is an id or a name: no two items share it. */
const distinctShareMax = 0.5
/** Fewer rows say nothing of that. */
const distinctRowsMin = 20

/** @throws ConfigError with every problem */
export function parseItemColumns(text: string): ItemColumns {
  const columns: Record<string, string | string[]> = {}
  for (const part of text.split(/,(?=\s*\w+\s*=)/)) {
    const [key, ...rest] = part.split('=')
    const value = rest.join('=').trim()
    const role = key!.trim()
    if (!['item', 'title', 'features'].includes(role) || value === '') {
      throw new ConfigError([`--item-columns: expected item=…,title=…,features=…+…, found ${JSON.stringify(part)}`])
    }
    setOwn(columns, role, role === 'features' ? value.split('+').map((name) => name.trim()) : value)
  }
  return columns
}

/** Whether names are those of a catalogue: items with a title, and no user. */
export function looksLikeCatalogue(names: readonly string[]): boolean {
  // Gorse's items have categories and labels, and no titles.
  const described = titleColumn(names) !== undefined || (names.includes('is_hidden') && names.includes('categories'))
  return columnsKnownAs('user', names).length === 0 && idColumn(names) !== undefined && described
}

function idColumn(names: readonly string[]): string | undefined {
  return columnsKnownAs('item', names)[0] ?? names.find((name) => plainColumnName(name) === 'id')
}

/** @throws ConfigError if it is no catalogue, or a given column is not there */
export function catalogueLayout(
  name: string,
  head: readonly string[],
  given: ItemColumns,
  rules: ValueRules,
  where: string
): CatalogueLayout {
  const first = head[0]
  if (first === undefined) throw new ConfigError([`${where} is empty`])
  const atomic = atomicHeader(first)
  if (atomic?.some((column) => column.name === 'item_id') === true) return atomicCatalogue(head, atomic, rules)
  const records = head.map(parseObject).filter((record) => record !== undefined)
  if (records.length > 0) {
    if (records.some(({ event }) => event === 'item')) return metarankCatalogue(rules)
    return jsonCatalogue(records, given, rules, where)
  }
  const plain = tableOf(head, false)
  const width = plain === undefined ? undefined : commonWidth(plain.rows)
  if (name === 'movies.dat' && plain?.delimiter === '::')
    return tableCatalogue({ ...withoutHeader(plain, 3) }, { item: '1', title: '2', features: ['3'] }, rules, where, [
      'id',
      'title',
      'genres'
    ])
  if (name === 'u.item' && width === 24) return movieLens100kCatalogue(rules)
  if (name === 'news.tsv' && plain?.delimiter === '\t' && width === 8) {
    return tableCatalogue(
      { ...withoutHeader(plain, 8), quoted: false },
      { item: '1', title: '4', features: ['2', '3'] },
      rules,
      where,
      ['id', 'category', 'subcategory', 'title', 'abstract', 'url', 'title entities', 'abstract entities']
    )
  }
  const split = tableOf(head)
  if (split === undefined)
    throw new ConfigError([`${where}: expected a catalogue of items with a header, found ${shorten(first)}`])
  if (!hasHeader(split.rows, rules) && given.item === undefined) {
    throw new ConfigError([
      `${where}: this catalogue has no header; number its columns: --item-columns item=1,title=2,features=3+4`
    ])
  }
  const table = hasHeader(split.rows, rules)
    ? withHeader(split)
    : withoutHeader(split, commonWidth(split.rows) ?? split.rows[0]!.length)
  return tableCatalogue(table, given, rules, where)
}

/** @param shownNames of columns without a header */
function tableCatalogue(
  table: Table,
  given: ItemColumns,
  rules: ValueRules,
  where: string,
  shownNames: readonly string[] = table.names
): CatalogueLayout {
  const { names, rows, quoted, delimiter } = table
  const values = (column: string) => rows.map((row) => row[names.indexOf(column)] ?? '')
  const chosen = chooseColumns(names, values, given, rules, where)
  const at = (column: string | undefined) => (column === undefined ? -1 : names.indexOf(column))
  const [item, title] = [at(chosen.item), at(chosen.title)]
  const features = chosen.features.map((column) => ({
    name: shownNames[at(column)]!,
    at: at(column),
    parts: partsOf(values(column))
  }))
  const idRules = { ...rules, integral: isFloatColumn(values(chosen.item), rules) }
  const split = splitterOf(delimiter, quoted)
  return {
    headerLines: table.headerLines,
    quotedDelimiter: quoted && delimiter !== 'space' && delimiter !== '::' ? delimiter : undefined,
    isWhole: (record) => split(record)?.length === names.length,
    shown: shownItems(chosen, names, (column) => shownNames[at(column)]!),
    parse: (record) => {
      const fields = split(record)
      if (fields === undefined || fields.length !== names.length) {
        throw new BadEventError(
          `expected ${names.length} fields (${names.slice(0, 8).join(', ')}), found ${fields?.length ?? 'a quoted field that never ends'}: ${shorten(record)}`
        )
      }
      const found: Record<string, readonly string[]> = {}
      for (const feature of features) addFeature(found, feature.name, feature.parts(fields[feature.at]!), rules)
      const window = availabilityIn(chosen.availability, (column) => fields[at(column)], rules)
      return itemOf(checkId('item', fields[item], idRules), title < 0 ? undefined : fields[title], found, rules, window)
    }
  }
}

function jsonCatalogue(
  records: readonly Readonly<Record<string, unknown>>[],
  given: ItemColumns,
  rules: ValueRules,
  where: string
): CatalogueLayout {
  const names = jsonNames(records)
  const values = (column: string) => records.flatMap((record) => scalars(own(record, column)))
  const chosen = chooseColumns(names, values, given, rules, where)
  const idRules = { ...rules, integral: false }
  return {
    headerLines: 0,
    quotedDelimiter: undefined,
    isWhole: () => true,
    shown: shownItems(chosen, names, (column) => column),
    parse: (line) => {
      const record = parseObject(line)
      if (record === undefined) throw new BadEventError(`expected a JSON object, found ${shorten(line)}`)
      const found: Record<string, readonly string[]> = {}
      for (const name of chosen.features) addFeature(found, name, scalars(own(record, name)), rules)
      return itemOf(
        checkId('item', scalars(own(record, chosen.item))[0], idRules),
        chosen.title === undefined ? undefined : scalars(own(record, chosen.title))[0],
        found,
        rules,
        availabilityIn(chosen.availability, (column) => scalars(own(record, column))[0], rules)
      )
    }
  }
}

function chooseColumns(
  names: readonly string[],
  values: (column: string) => string[],
  given: ItemColumns,
  rules: ValueRules,
  where: string
): ChosenColumns & Required<Pick<ChosenColumns, 'availability'>> {
  const problems: string[] = []
  const named = (wanted: string) => {
    const found = names.includes(wanted)
      ? wanted
      : /^[1-9]\d{0,3}$/.test(wanted)
        ? names[Number(wanted) - 1]
        : undefined
    if (found === undefined)
      problems.push(`${where}: there is no column ${JSON.stringify(wanted)}; there are ${names.join(', ')}`)
    return found ?? wanted
  }
  const item = given.item === undefined ? idColumn(names) : named(given.item)
  const title = given.title === undefined ? titleColumn(names) : named(given.title)
  const availability = availabilityColumns(names.filter((name) => given.features?.includes(name) !== true))
  const isTaken = (name: string) => [item, title, ...Object.values(availability)].includes(name)
  const features =
    given.features?.map(named) ??
    names.filter((name) => !isTaken(name) && isFeature(presentTexts(values(name), rules), rules))
  if (item === undefined)
    problems.push(
      `${where}: no column is known to be the item; there are ${names.join(', ')}; name it with --item-columns item=…`
    )
  if (problems.length > 0) throw new ConfigError(problems)
  return { item: item!, title, features, availability }
}

/**
 * Short texts that items share. Numbers with fractions, times, links and prose are none: a feature has an embedding row
 * a value.
 */
function isFeature(texts: readonly string[], rules: ValueRules): boolean {
  if (texts.length === 0) return false
  const parts = partsOf(texts)
  const values = texts.flatMap(parts)
  const distinct = new Set(values)
  if (distinct.size < 2 && values.length > 1) return false
  if (values.length >= distinctRowsMin && distinct.size > values.length * distinctShareMax) return false
  if (values.some((value) => value.includes('://')) || values.every((value) => /^[+-]?\d+\.\d+$/.test(value)))
    return false
  if (values.reduce((sum, value) => sum + value.length, 0) > values.length * featureCharsMax) return false
  const years = values.every((value) => /^\d{4}$/.test(value))
  return years || detectTime(texts.slice(0, 100), rules).kind === 'none'
}

/** How a field's text falls into values: lists and objects in JSON, or with bars between them. */
function partsOf(texts: readonly string[]): (text: string) => string[] {
  const present = texts.filter((text) => text.trim() !== '')
  const share = (pattern: RegExp) =>
    present.length > 0 && present.filter((text) => pattern.test(text)).length * 2 > present.length
  if (share(/^\s*[[{].*[\]}]\s*$/)) {
    return (text) => {
      try {
        return scalars(JSON.parse(text))
      } catch {
        return [text] // one value that is not JSON: plain text
      }
    }
  }
  return present.some((text) => text.includes('|')) ? (text) => text.split('|') : (text) => [text]
}

/** The scalars of a value, of what is in lists and objects. */
