// Finds the files of a data set, and what each of them is.

import { readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { ConfigError } from '../../core/errors.ts'
import { type BoundFormat, bindFormat } from './bindFormat.ts'
import type { ColumnMapping } from './columnMapping.ts'
import { detectFormat, usersRecur } from './detectFormat.ts'
import { type FormatName, formatNames, formats } from './formatName.ts'
import { readHead } from './lineReader.ts'

export interface DatasetFile {
  readonly path: string
  /** Without folders and `.gz`: part of event ids. */
  readonly name: string
  readonly bound: BoundFormat
  /** The first rows' users, to tell one common order from one per user. */
  readonly usersRecur: boolean
}

export interface DatasetFiles {
  readonly format: FormatName
  /** Interactions, in the order in which they are read. */
  readonly files: readonly DatasetFile[]
  /** RecBole's .item files. */
  readonly itemFiles: readonly string[]
  /** Names of files that are not read. */
  readonly leftAside: readonly string[]
  /** Why this format. */
  readonly because: string
}

/** Lines that a format is recognised by: enough for sessions to come back after one another, few enough to be read at once. */
const headLines = 2000
const headChars = 4 * 1024 * 1024

/** @throws ConfigError if there is nothing to read, or the format cannot be told */
export async function findDatasetFiles(path: string, given: FormatName | undefined, columns: ColumnMapping): Promise<DatasetFiles> {
  const paths = await candidates(path)
  const itemFiles = paths.filter((file) => plainName(file).endsWith('.item'))
  const sideFiles = paths.filter((file) => /\.(user|link|kg|net)$/.test(plainName(file)))
  let rest = paths.filter((file) => !itemFiles.includes(file) && !sideFiles.includes(file))
  if (rest.length === 0)
    throw new ConfigError([
      `${path}: there is no file with interactions${paths.length > 0 ? `, only ${paths.map(plainName).join(', ')}` : ''}`
    ])
  const leftAside = sideFiles.map(plainName)
  const atomic = rest.filter((file) => plainName(file).endsWith('.inter'))
  if (atomic.length > 0 && (given ?? 'recbole') === 'recbole') {
    leftAside.push(...rest.filter((file) => !atomic.includes(file)).map(plainName))
    rest = atomic
  }
  const heads = new Map<string, string[]>()
  for (const file of rest) heads.set(file, await readHead(file, headLines, headChars))
  const binary = rest.filter((file) => heads.get(file)!.some((line) => line.includes('\0')))
  const empty = rest.filter((file) => heads.get(file)!.length === 0)
  rest = rest.filter((file) => !binary.includes(file) && !empty.includes(file))
  if (rest.length === 0) {
    throw new ConfigError([
      `${path}: there is no text to read; ${[...empty.map((file) => `${plainName(file)} is empty`), ...binary.map((file) => `${plainName(file)} is not text`)].join('; ')}`
    ])
  }
  leftAside.push(...binary.map(plainName), ...empty.map(plainName))
  const carriage = rest.find((file) => heads.get(file)![0]!.includes('\r'))
  if (carriage !== undefined) {
    throw new ConfigError([`${carriage}: lines end with carriage returns only; convert the file first: tr '\\r' '\\n'`])
  }
  const chosen = choose(path, rest, heads, given, columns)
  leftAside.push(...rest.filter((file) => !chosen.paths.includes(file)).map(plainName))
  const files = chosen.paths
    .map((file) => bind(file, heads.get(file)!, chosen.format, columns))
    .sort((a, b) => inReadingOrder(a.name, b.name))
  const twice = files.find((file, i) => files[i + 1]?.name === file.name)
  if (twice !== undefined) {
    throw new ConfigError([`${path}: ${twice.name} is there with and without .gz; remove one of them, or give one file`])
  }
  return { format: chosen.format, files, itemFiles: chosen.format === 'recbole' ? itemFiles : [], leftAside, because: chosen.because }
}

/** `period_2` before `period_10`; `prev…` before `last…`, `train` before `valid` before `test`: names that say an order. */
export function inReadingOrder(a: string, b: string): number {
  return phase(a) - phase(b) || a.localeCompare(b, 'en', { numeric: true }) || (a < b ? -1 : a > b ? 1 : 0)
}

function phase(name: string): number {
  if (/(^|[^a-z])(prev|train)/i.test(name)) return 0
  if (/(^|[^a-z])(valid|val|dev)([^a-z]|$|idation)/i.test(name)) return 1
  if (/(^|[^a-z])(last|test)/i.test(name)) return 2
  return 0
}

/** A path as messages and event ids have it: packed or not, it is the same data. */
export function plainName(path: string): string {
  return basename(path).replace(/\.gz$/, '')
}

async function candidates(path: string): Promise<string[]> {
  let found: Awaited<ReturnType<typeof stat>>
  try {
    found = await stat(path)
  } catch (error) {
    throw new ConfigError([`cannot read data set ${path}: ${(error as Error).message}; give the path of a file, or of a folder of files`])
  }
  if (!found.isDirectory()) {
    if (!found.isFile()) throw new ConfigError([`${path} is neither a file nor a folder; data is read several times, so it must be a file`])
    if (!path.replace(/\.gz$/, '').endsWith('.inter')) return [path]
    // The catalogue stands beside its interactions, under the same name.
    const beside = path.replace(/\.inter(\.gz)?$/, '')
    const there = await Promise.all(
      [`${beside}.item`, `${beside}.item.gz`].map((item) =>
        stat(item).then(
          () => item,
          () => undefined
        )
      )
    )
    return [path, ...there.filter((item) => item !== undefined)]
  }
  const entries = await readdir(path, { withFileTypes: true })
  const files = entries
    .filter(
      (entry) =>
        !entry.isDirectory() &&
        !entry.name.startsWith('.') &&
        !/^(readme|licen[cs]e|copying)|\.(md|pdf|zip|tar|tgz|tar\.gz|html?)$/i.test(entry.name)
    )
    .map((entry) => join(path, entry.name))
  if (files.length > 0) return files.sort()
  const folders = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.')).map((entry) => entry.name)
  throw new ConfigError([
    `${path}: there is no data file in this folder${folders.length > 0 ? `; give one of its folders: ${folders.join(', ')}` : ''}`
  ])
}

function choose(
  path: string,
  files: readonly string[],
  heads: ReadonlyMap<string, readonly string[]>,
  given: FormatName | undefined,
  columns: ColumnMapping
) {
  if (given !== undefined) return { format: given, paths: files, because: 'as given' }
  if (Object.keys(columns).some((role) => role !== 'unit')) {
    const names = new Set(files.map((file) => formatForColumns(plainName(file), heads.get(file)!)))
    if (names.size === 1) return { format: [...names][0]!, paths: files, because: 'with the columns given' }
  }
  const detected = files.map((file) => ({ file, ...detectFormat(plainName(file), heads.get(file)!) }))
  // Retail Rocket's folder also holds properties of items, which have a header too.
  const events = detected.filter(({ format }) => format === 'retailrocket')
  const known = events.length > 0 ? events : detected.filter(({ format }) => format !== undefined)
  const kinds = new Set(known.map(({ format }) => format!))
  // One period may look like pairs by chance; another one shows what they all are.
  if (kinds.size === 2 && kinds.has('pairs') && kinds.has('clicks')) kinds.delete('pairs')
  const [format] = kinds
  if (format === undefined) throw new ConfigError([unknown(path, files, heads)])
  if (kinds.size > 1) {
    throw new ConfigError([
      `${path} holds files of several formats (${known.map((one) => `${plainName(one.file)}: ${one.format}`).join(', ')}); give one of the files, or --format if they are one`
    ])
  }
  return { format, paths: known.map(({ file }) => file), because: known.find((one) => one.format === format)!.because! }
}

function formatForColumns(name: string, head: readonly string[]): FormatName {
  return head[0]!.trimStart().startsWith('{') ? 'jsonl' : name.endsWith('.inter') ? 'recbole' : 'csv'
}

function unknown(path: string, files: readonly string[], heads: ReadonlyMap<string, readonly string[]>): string {
  const seen = files.slice(0, 3).map((file) => {
    const lines = heads
      .get(file)!
      .slice(0, 3)
      .map((line) => `      ${JSON.stringify(line.length > 100 ? `${line.slice(0, 100)}…` : line)}`)
    return `    ${plainName(file)} begins with\n${lines.join('\n')}`
  })
  const width = Math.max(...formatNames.map((name) => name.length))
  const list = formatNames.map((name) => `    ${name.padEnd(width)}  ${formats[name]}`)
  return `${path}: the format is not recognised.\n${seen.join('\n')}\n  Name it with --format, or for csv and jsonl the columns with --columns user=…,item=…,time=…:\n${list.join('\n')}`
}

function bind(path: string, head: readonly string[], format: FormatName, columns: ColumnMapping): DatasetFile {
  const bound = bindFormat(format, head, columns, path)
  const users: string[] = []
  for (const line of head.slice(bound.headerLines)) {
    try {
      bound.parse(line, (userId) => {
        if (userId !== undefined) users.push(userId)
      })
    } catch {
      // Bad lines are judged when the data is read.
    }
  }
  return { path, name: plainName(path), bound, usersRecur: usersRecur(users) }
}
