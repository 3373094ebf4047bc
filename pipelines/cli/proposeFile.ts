// `mtmi init FILE`: what the file is, how its columns are read, and what comes of its first rows. Columns whose names are
// not known are guessed by words and contents, for a person to check.

import { ConfigError } from '../../src/core/errors.ts'
import type { ItemColumns } from '../../src/lab/dataset/catalogue.ts'
import { readItems } from '../../src/lab/dataset/catalogueRows.ts'
import { type ColumnMapping, columnsKnownAs, looksMapped, namesColumns } from '../../src/lab/dataset/columnMapping.ts'
import type { DatasetReading } from '../../src/lab/dataset/dataset.ts'
import { type DatasetFiles, findDatasetFiles, openCatalogue, plainName } from '../../src/lab/dataset/datasetFiles.ts'
import { readRows } from '../../src/lab/dataset/datasetRows.ts'
import type { FormatName } from '../../src/lab/dataset/formatName.ts'
import { columnKinds } from '../../src/lab/dataset/inspectTable.ts'
import { jsonNames, parseObject } from '../../src/lab/dataset/jsonLayout.ts'
import { readHead } from '../../src/lab/dataset/lineReader.ts'
import type { Table } from '../../src/lab/dataset/tableLayout.ts'
import { tableOf, withHeader } from '../../src/lab/dataset/tableShape.ts'
import type { CatalogueItem } from '../../src/records/catalogueItem.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import type { ValueRules } from '../../src/records/value/valueRules.ts'
import { ShownEvents, type TableRow } from './eventTable.ts'
import { likelyPaths } from './guessMapping.ts'
import { likelyWeight } from './typeWeights.ts'

/** Rows whose types are counted: a few seconds of a large file. */
const countedRows = 200_000
const shownEvents = 10
const shownRefused = 5
const itemIdsMax = 10_000

interface FileProposal {
  readonly rows: readonly TableRow[]
  readonly types: ReadonlyMap<string, number>
  readonly counted: number
  readonly refused: number
  /** Of the first rows: enough to find them in a catalogue. */
  readonly itemIds: ReadonlySet<string>
  /** Whether more rows follow those that were counted. */
  readonly isPart: boolean
  /** What was recognised, or guessed. */
  readonly because: string
  /** Entries of `files`. */
  readonly yaml: string
  readonly notes: readonly string[]
}

/** @throws ConfigError if it is no data that is read, or how to read it must be said */
export async function proposeFile(
  path: string,
  reading: DatasetReading,
  rules: ValueRules,
  textOf: (text: string) => string
): Promise<FileProposal> {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(path))
    throw new ConfigError([`${path} is an address, and files are read: download it first, such as curl -LO '${path}'`])
  const { found, guessed } = await findFiles(path, reading, rules)
  const counts = new Map<string, number>()
  const shown = new ShownEvents(shownEvents)
  const refusedRows: TableRow[] = []
  let [counted, refused, skipped, isPart] = [0, 0, 0, false]
  const itemIds = new Set<string>()
  const listener = {
    setAside: (_: unknown, line: number, reason: string) => {
      refused++
      if (refusedRows.length < shownRefused) refusedRows.push({ from: `line ${line}`, outcome: `✗ ${reason}` })
    },
    note: (_file: unknown, _line: number, what: 'skipped' | 'value') => {
      if (what === 'skipped') skipped++
    }
  }
  for await (const block of readRows(found.files, listener)) {
    for (const row of block.rows) {
      counted++
      if (itemIds.size < itemIdsMax) itemIds.add(row.itemId)
      counts.set(row.type, (counts.get(row.type) ?? 0) + 1)
      shown.add(lineOf(row), row)
    }
    isPart = counted >= countedRows
    if (isPart) break
  }
  if (counted === 0)
    throw new ConfigError([
      `${path}: no row of it is an event: ${refusedRows.map(({ from, outcome }) => `${from}: ${outcome}`).join('; ') || 'it has no rows'}`
    ])
  const { catalogues } = found
  return {
    ...{ rows: [...shown.rows(), ...refusedRows], types: counts, counted, refused, isPart, itemIds },
    because: `${plainName(path)} is ${found.format} (${guessed ? 'its column names are not known: guessed by words and contents' : found.because})`,
    yaml: fileYaml(path, found, reading, guessed, textOf),
    notes: [
      ...(skipped > 0 ? [`${skipped.toLocaleString('en')} records hold no event that is wanted`] : []),
      ...(found.files.some(({ layout }) => !layout.timed)
        ? ['there are no times: the order of the rows is taken, a second apart, from 2020 on']
        : []),
      ...catalogues.map((file) => `its catalogue ${plainName(file.path)}: ${file.layout.shown}`),
      ...(found.leftAside.length > 0 ? [`not read: ${found.leftAside.join(', ')}`] : [])
    ]
  }
}

/**
 * @param itemIds of events: the column of a catalogue that holds them is the item
 * @returns entry of `files` for a catalogue, and its first items
 */
export async function proposeItems(
  path: string,
  given: ItemColumns,
  itemIds: ReadonlySet<string>,
  rules: ValueRules,
  textOf: (text: string) => string
): Promise<{ readonly yaml: string; readonly shown: string; readonly items: readonly CatalogueItem[] }> {
  const columns = given.item === undefined ? { ...(await guessItemColumns(path, itemIds)), ...given } : given
  const file = await openCatalogue(path, columns, rules)
  const items: CatalogueItem[] = []
  for await (const item of readItems(file, () => undefined)) {
    items.push(item)
    if (items.length >= 3) break
  }
  if (items.length === 0) throw new ConfigError([`${path}: no row of it is an item`])
  const lines = Object.entries(columns).map(
    ([role, value]) =>
      `    ${role}: ${Array.isArray(value) ? `[${value.map(textOf).join(', ')}]` : textOf(String(value))}`
  )
  const { shown } = file.layout
  return {
    items,
    shown,
    yaml: [`  - path: ${textOf(path)}`, `    kind: items  # ${oneLine(shown)}`, ...lines].join('\n')
  }
}

/** The column that holds the items of the events, and a title by its name; empty where the known names are enough. */
async function guessItemColumns(path: string, itemIds: ReadonlySet<string>): Promise<ItemColumns> {
  const split = tableOf(await readHead(path, 2000, 4_000_000))
  if (split === undefined || split.rows.length < 2) return {}
  const { names, rows } = withHeader(split)
  if (columnsKnownAs('item', names).length > 0) return {}
  const matches = names.map((_, i) => rows.filter((row) => itemIds.has((row[i] ?? '').trim())).length)
  const item = matches.indexOf(Math.max(...matches))
  if ((matches[item] ?? 0) === 0) return {}
  const title = names.find((name, i) => i !== item && /title|titel|titre|name|bezeich|label|nom|descr/i.test(name))
  return { item: names[item]!, ...(title === undefined ? {} : { title }) }
}

async function findFiles(
  path: string,
  { format, columns = {}, items, itemColumns = {}, filters = [] }: DatasetReading,
  rules: ValueRules
): Promise<{ found: DatasetFiles; guessed: boolean }> {
  const wanted = (mapping: ColumnMapping) => ({
    ...{ path, format: format as FormatName | undefined, items: undefined, itemColumns },
    reading: { columns: mapping, filters, rules }
  })
  try {
    return { found: await findDatasetFiles(wanted(columns)), guessed: false }
  } catch (error) {
    if (!(error instanceof ConfigError) || format !== undefined || namesColumns(columns)) throw error
    const mapping = await guessColumns(path, rules)
    if (mapping === undefined || items === path) throw error
    return { found: await findDatasetFiles(wanted({ ...columns, ...mapping })), guessed: true }
  }
}

/** Parts of names that say what a column holds, in some languages of shops. */
const stems: Readonly<Record<'user' | 'item' | 'time' | 'type' | 'value', RegExp>> = {
  user: /user|kund|nutzer|client|cliente|usuari|utilis|visitor|besuch|customer|member|mitglied|account|konto|buyer|session|klant|gast|guest|person|who|wer/,
  item: /item|art(ic|ik|íc)|prod|sku|movie|film|book|buch|livre|song|track|title|titel|waren|object|objekt|content|what|was$/,
  time: /time|zeit|dat(e|um)|fecha|heure|tijd|stamp|when|^at$|_at$/,
  type: /type|typ$|event|action|aktion|ereignis|accion|actie|evento/,
  value: /value|rating|score|price|preis|prix|precio|prezzo|amount|betrag|wert/
}

/** Columns of a table with a header of unknown names; undefined where words and contents do not agree on one. */
async function guessColumns(path: string, rules: ValueRules): Promise<ColumnMapping | undefined> {
  let head: readonly string[]
  try {
    head = await readHead(path, 500, 1_000_000)
  } catch {
    return undefined // a folder, or nothing that is read: the first error says so
  }
  if (/^\s*\{/.test(head[0] ?? '')) return guessFields(head)
  const split = tableOf(head)
  if (split === undefined || split.rows.length < 2 || split.delimiter === 'space') return undefined
  const table = withHeader(split)
  // Names that are known: the first error is about something else.
  if (looksMapped(table.names)) return undefined
  const kinds = columnKinds(table, rules)
  const fits = {
    user: ['id', 'text', 'constant'],
    item: ['id', 'text'],
    time: ['time'],
    type: ['type', 'constant'],
    value: ['value', 'decimal', 'id']
  }
  const taken = new Set<number>()
  const isFew = (i: number) => {
    const values = new Set(table.rows.map((row) => row[i]))
    return values.size <= 30 && values.size * 2 <= table.rows.length
  }
  const find = (role: keyof typeof stems, isNamed = true): string | undefined => {
    const at = table.names.findIndex(
      (name, i) =>
        !taken.has(i) &&
        (fits[role].includes(kinds[i]!.kind) || (role === 'type' && isFew(i))) &&
        (!isNamed || stems[role].test(name.toLowerCase()))
    )
    if (at < 0) return undefined
    taken.add(at)
    return table.names[at]
  }
  // A time is known by its contents alone. A column that is named so and holds none is an error, and not an order of rows.
  const time = find('time') ?? find('time', false) ?? table.names.find((name) => stems.time.test(name.toLowerCase()))
  const [user, item] = [find('user'), find('item')]
  if (user === undefined || item === undefined) return undefined
  const mapping = {
    user,
    item,
    time: time ?? 'none',
    type: find('type') ?? typeByValues(table, taken),
    value: find('value')
  }
  return Object.fromEntries(Object.entries(mapping).filter(([, name]) => name !== undefined))
}

/** Nested fields of JSON lines, by their names. */
function guessFields(head: readonly string[]): ColumnMapping | undefined {
  const records = head.map(parseObject).filter((record) => record !== undefined)
  const { paths } = likelyPaths(records)
  if (!paths.has('user') || !paths.has('item') || looksMapped(jsonNames(records))) return undefined
  return Object.fromEntries([...paths].map(([role, [path]]) => [role, path!]))
}

/** The column whose values are mostly words that event types have. */
function typeByValues({ names, rows }: Table, taken: ReadonlySet<number>): string | undefined {
  return names.find((_, i) => {
    const values = [...new Set(rows.map((row) => row[i] ?? ''))]
    const words = values.filter((value) => /[a-z]{3}/i.test(value) && likelyWeight(value, {}) !== undefined)
    return !taken.has(i) && values.length <= 30 && words.length * 2 >= values.length
  })
}

function fileYaml(
  path: string,
  { files, format, catalogues }: DatasetFiles,
  { filters = [], format: given }: DatasetReading,
  guessed: boolean,
  textOf: (text: string) => string
): string {
  const { layout } = files[0]!
  const columns = layout.columns
  const shown = oneLine(layout.shown)
  const lines = [`  - path: ${textOf(path)}`]
  const isPlain = columns !== undefined && (format === 'csv' || format === 'jsonl')
  if (!isPlain || given !== undefined) lines.push(`    format: ${format}  # ${shown}`)
  else lines.push(`    # ${guessed ? 'A guess, check it: ' : ''}${shown}`)
  if (isPlain) {
    const { unit, format: pattern, zone } = columns
    for (const role of ['user', 'item', 'type', 'value'] as const)
      if (columns[role] !== undefined) lines.push(`    ${role}: ${textOf(columns[role])}`)
    const form = [
      ...(unit === undefined ? [] : [`unit: ${unit}`]),
      ...(pattern === undefined ? [] : [`format: ${textOf(pattern)}`]),
      ...(zone === undefined ? [] : [`zone: ${textOf(zone)}`])
    ]
    if (columns.time === undefined) lines.push('    time: none  # the order of the rows is taken')
    else {
      const isLocal = zone === undefined && (pattern !== undefined || unit === 'iso')
      lines.push(
        `    time: { path: ${[textOf(columns.time), ...form].join(', ')} }${isLocal ? '  # times without a zone are UTC; otherwise add zone: Europe/Berlin' : ''}`
      )
    }
  }
  if (filters.length > 0) lines.push(`    filter: ${JSON.stringify(filters)}`)
  if (catalogues.length > 0)
    lines.push(`    # Its catalogue is read with it: ${catalogues.map(({ path: file }) => plainName(file)).join(', ')}`)
  return lines.join('\n')
}

const oneLine = (text: string) => text.replace(/\s+/g, ' ')
/** Event ids are made of the file's name and the line. */
const lineOf = ({ eventId }: Interaction) => `line ${/:(\d+)(?::\d+)?$/.exec(eventId)?.[1] ?? '?'}`
