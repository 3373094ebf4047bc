// The options of every command that reads a data set: which one, and how it is read.

import { Option } from 'commander'
import type { SourceFilter } from '../../src/core/config/sources.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { parseFieldPath } from '../../src/core/fieldPath.ts'
import { setOwn } from '../../src/core/own.ts'
import { parseItemColumns } from '../../src/lab/dataset/catalogue.ts'
import { parseColumnMapping } from '../../src/lab/dataset/columnMapping.ts'
import type { DatasetReading } from '../../src/lab/dataset/dataset.ts'
import { formatNames } from '../../src/lab/dataset/formatName.ts'

export const format = () =>
  new Option('--format <name>', 'Format of the data set; default: recognised').choices(formatNames)

/** All of them but `--data`. */
export const readingOptions = (): Option[] => [
  format(),
  new Option(
    '--columns <mapping>',
    'Columns by name, or by number from 1: user=…,item=…,time=…,type=…,value=…; how times are written: unit=… or format=…, zone=…'
  ),
  new Option('--items <path>', 'Catalogue: a file of items with titles and features, as CSV or JSON lines'),
  new Option('--item-columns <mapping>', 'Columns of the catalogue: item=…,title=…,features=…+…'),
  new Option(
    '--types <weights>',
    'Event types that count, with their weights: view=1,purchase=3; instead of events.types'
  ),
  new Option(
    '--filter <condition...>',
    'Records to read: COLUMN=VALUE,VALUE or COLUMN (has a value) or !COLUMN (has none); all must hold'
  )
]

/** Options as commander hands them over. */
export interface GivenOptions {
  readonly data?: unknown
  readonly format?: string | undefined
  readonly columns?: string | undefined
  readonly items?: string | undefined
  readonly itemColumns?: string | undefined
  readonly types?: string | undefined
  readonly filter?: readonly string[] | undefined
}

/** @throws ConfigError with what cannot be understood, or has no data set that it is about */
export function readingOf({ data, format, columns, items, itemColumns, types, filter }: GivenOptions): DatasetReading {
  if (
    data === undefined &&
    [columns, format, items, itemColumns, types, filter].some((option) => option !== undefined)
  ) {
    throw new ConfigError([
      '--format, --columns, --items, --item-columns, --types and --filter say how to read a data set: give it with --data'
    ])
  }
  return {
    ...(format === undefined ? {} : { format }),
    ...(columns === undefined ? {} : { columns: parseColumnMapping(columns) }),
    ...(items === undefined ? {} : { items }),
    ...(itemColumns === undefined ? {} : { itemColumns: parseItemColumns(itemColumns) }),
    ...(filter === undefined ? {} : { filters: filter.map(parseFilter) })
  }
}

/** What `--types` changes of the configuration. @throws ConfigError */
export function typeSettings({ types }: GivenOptions): Record<string, unknown> {
  if (types === undefined) return {}
  const weights: Record<string, number> = {}
  for (const part of types.split(',')) {
    const equals = part.lastIndexOf('=')
    const [type, weight] = [part.slice(0, Math.max(0, equals)).trim(), Number(part.slice(equals + 1))]
    if (type === '' || part.slice(equals + 1).trim() === '' || !(weight >= 0)) {
      throw new ConfigError([
        `--types: expected TYPE=WEIGHT with a weight of 0 or more, such as view=1,purchase=3; found ${JSON.stringify(part)}`
      ])
    }
    setOwn(weights, type, weight)
  }
  return { events: { types: weights } }
}

function parseFilter(text: string): SourceFilter {
  const equals = text.indexOf('=')
  const negated = text.startsWith('!')
  const path = (equals < 0 ? text : text.slice(0, equals)).slice(negated ? 1 : 0).trim()
  if (negated && equals >= 0) throw new ConfigError([`--filter ${text}: expected COLUMN=VALUE, COLUMN or !COLUMN`])
  parseFieldPath(path)
  return equals < 0 ? { path, exists: !negated } : { path, in: text.slice(equals + 1).split(',') }
}
