// Finds the files of a data set, and what each of them is.

import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ConfigError } from '../../core/errors.ts'
import { own } from '../../core/own.ts'
import { shorten } from '../../core/shorten.ts'
import type { ValueRules } from '../../records/value/valueRules.ts'
import { catalogueLayout, type ItemColumns } from './catalogue.ts'
import type { CatalogueLayout } from './catalogueFormats.ts'
import { type FormatName, formatNames, formats, plainFormats } from './formatName.ts'
import type { Layout, ReadingOptions } from './layout.ts'
import { readHead } from './lineReader.ts'
import { recognise } from './recognise.ts'
import { usersRecur } from './recogniseFixed.ts'
import type { SampledFile } from './recognition.ts'

export interface DatasetFile {
  readonly path: string
  /** Without folders and `.gz`: part of event ids. */
  readonly name: string
  readonly layout: Layout
  /** The first rows' users, to tell one common order from one per user. */
  readonly usersRecur: boolean
}

export interface CatalogueFile {
  readonly path: string
  readonly layout: CatalogueLayout
  readonly encoding: 'utf-8' | 'windows-1252'
}

export interface DatasetFiles {
  readonly format: FormatName
  /** Interactions, in the order in which they are read. */
  readonly files: readonly DatasetFile[]
  readonly catalogues: readonly CatalogueFile[]
  /** Names of files that are not read. */
  readonly leftAside: readonly string[]
  /** Why this format. */
  readonly because: string
}

/** Which files to read, and what the user says of them. */
interface FilesWanted {
  readonly path: string
  readonly format: FormatName | undefined
  /** A catalogue beside them. */
  readonly items: string | undefined
  readonly itemColumns: ItemColumns
  readonly reading: ReadingOptions
}

/**
 * Lines that a format is recognised by: enough for sessions to come back after one another, few enough to be read at
 * once.
 */
const headLines = 2000
const headChars = 4 * 1024 * 1024

/** @throws ConfigError if there is nothing to read, or how to read it must be said */
export async function findDatasetFiles(wanted: FilesWanted): Promise<DatasetFiles> {
  const { path, format, reading } = wanted
  const { paths, packed } = await candidates(path)
  const samples: SampledFile[] = []
  const leftAside: string[] = [...packed]
  for (const file of paths) {
    let head: string[]
    try {
      head = await readHead(file, headLines, headChars)
    } catch (error) {
      // Of a folder, what is read can be chosen.
      if (paths.length === 1 || !(error instanceof ConfigError)) throw error
      leftAside.push(plainName(file))
      continue
    }
    if (head.length === 0 || head.some((line) => line.includes('\0')))
      leftAside.push(`${plainName(file)} (${head.length === 0 ? 'empty' : 'not text'})`)
    else if (head[0]!.includes('\r')) {
      throw new ConfigError([`${file}: lines end with carriage returns only; convert the file first: tr '\\r' '\\n'`])
    } else samples.push({ path: file, name: plainName(file), head })
  }
  if (samples.length === 0)
    throw new ConfigError([`${path}: there is no text to read: ${leftAside.join(', ') || 'the folder is empty'}`])
  const chosen = choose(path, samples, format, reading)
  const files = chosen.files
    .map(({ file, layout }) => ({
      path: file.path,
      name: file.name,
      layout,
      usersRecur: usersRecur(usersOf(file, layout))
    }))
    .sort((a, b) => inReadingOrder(a.name, b.name))
  const twice = files.find((file, i) => files[i + 1]?.name === file.name)
  if (twice !== undefined) {
    throw new ConfigError([
      `${path}: ${twice.name} is there with and without .gz; remove one of them, or give one file`
    ])
  }
  const catalogues = wanted.items === undefined ? chosen.catalogues : [wanted.items]
  leftAside.push(
    ...samples
      .filter(({ path: file }) => !files.some((one) => one.path === file) && !catalogues.includes(file))
      .map(({ name }) => name)
  )
  return {
    format: chosen.format,
    because: chosen.because,
    files,
    catalogues: await Promise.all(catalogues.map((file) => openCatalogue(file, wanted.itemColumns, reading.rules))),
    leftAside
  }
}

/** @throws ConfigError if it cannot be read, or is no catalogue */
export async function openCatalogue(path: string, columns: ItemColumns, rules: ValueRules): Promise<CatalogueFile> {
  let encoding: CatalogueFile['encoding'] = 'utf-8'
  let head = await readHead(path, headLines, headChars)
  // Old catalogues are in Latin-1. Ids are ASCII in either; a title is shown, and never compared.
  if (head.some((line) => line.includes('\ufffd'))) {
    encoding = 'windows-1252'
    head = await readHead(path, headLines, headChars, encoding)
  }
  return { path, encoding, layout: catalogueLayout(plainName(path), head, columns, rules, path) }
}

/**
 * `period_2` before `period_10`; `prev…` before `last…`, `train` before `valid` before `test`: names that say an order.
 */
function inReadingOrder(a: string, b: string): number {
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
  return basename(path).replace(/\.(gz|zst)$/, '')
}

/** The catalogue that a data set's interactions have beside them. */
const catalogueNames: Readonly<Record<string, string>> = {
  'u.data': 'u.item',
  'ratings.dat': 'movies.dat',
  'ratings.csv': 'movies.csv',
  'behaviors.tsv': 'news.tsv',
  'transactions_train.csv': 'articles.csv',
  'feedback.csv': 'items.csv'
}

async function cataloguesBeside(path: string): Promise<string[]> {
  const name = plainName(path)
  const catalogue = name.endsWith('.inter') ? name.replace(/\.inter$/, '.item') : own(catalogueNames, name)
  if (catalogue === undefined) return []
  const beside = [catalogue, `${catalogue}.gz`].map((one) => join(dirname(path), one))
  const found = await Promise.all(
    beside.map((one) =>
      stat(one).then(
        () => true,
        () => false
      )
    )
  )
  return beside.filter((_, i) => found[i])
}

const archives = /\.(zip|tar|tgz|tar\.gz|7z|rar|xlsx?)$/i

async function candidates(path: string): Promise<{ paths: string[]; packed: string[] }> {
  let found: Awaited<ReturnType<typeof stat>>
  try {
    found = await stat(path)
  } catch (error) {
    throw new ConfigError([
      `cannot read data set ${path}: ${(error as Error).message}; give the path of a file, or of a folder of files`
    ])
  }
  if (!found.isDirectory()) {
    if (!found.isFile())
      throw new ConfigError([
        `${path} is neither a file nor a folder; data is read several times, so it must be a file`
      ])
    return { paths: [path, ...(await cataloguesBeside(path))], packed: [] }
  }
  const entries = await readdir(path, { withFileTypes: true })
  const names = entries
    .filter(
      (entry) =>
        !entry.isDirectory() &&
        !entry.name.startsWith('.') &&
        !/^(readme|licen[cs]e|copying)|\.(md|pdf|html?|py|sh|ipynb)$/i.test(entry.name)
    )
    .map((entry) => entry.name)
  const packed = names.filter((name) => archives.test(name))
  const paths = names.filter((name) => !archives.test(name)).map((name) => join(path, name))
  if (paths.length > 0) return { paths: paths.sort(), packed }
  const folders = entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
  const hints = [
    packed.length > 0 ? `; unpack first: ${packed.join(', ')}` : '',
    folders.length > 0 ? `; give one of its folders: ${folders.join(', ')}` : ''
  ]
  throw new ConfigError([`${path}: there is no data file in this folder${hints.join('')}`])
}

interface Chosen {
  readonly format: FormatName
  readonly because: string
  readonly files: readonly { readonly file: SampledFile; readonly layout: Layout }[]
  readonly catalogues: readonly string[]
}

/**
 * The files of interactions that belong together. @throws ConfigError where there are none, or where it must be said
 * which
 */
function choose(
  path: string,
  samples: readonly SampledFile[],
  format: FormatName | undefined,
  reading: ReadingOptions
): Chosen {
  const several = samples.length > 1
  let found = samples.map((file) => ({ file, ...recognise(file, several ? undefined : format, reading) }))
  // Where no file alone shows the format, all that could have it are read by it.
  if (
    several &&
    format !== undefined &&
    (plainFormats.has(format) || !found.some((one) => one.kind === 'interactions' && one.format === format))
  ) {
    found = found.map((one) =>
      canHave(one.file, format) ? { file: one.file, ...recognise(one.file, format, reading) } : one
    )
  }
  const catalogues = found
    .filter(({ kind, file }) => kind === 'catalogue' || isKnownCatalogue(file.name))
    .map(({ file }) => file.path)
  let known = found.filter((one) => one.kind === 'interactions').filter(({ file }) => !catalogues.includes(file.path))
  if (format !== undefined) known = known.filter((one) => one.format === format)
  const asked = found.find((one) => one.kind === 'ask')
  if (known.length === 0) {
    const hint = found.find((one) => one.kind === 'unknown' && one.hint !== undefined) as { hint?: string } | undefined
    if (samples.length === 1 && catalogues.length === 1) {
      throw new ConfigError([
        `${path}: there are no interactions in it, only items: it is a catalogue; give it with --items, and interactions with --data`
      ])
    }
    throw new ConfigError([asked?.message ?? hint?.hint ?? unknown(path, samples)])
  }
  // One period may look like pairs by chance; another one shows what they all are.
  if (known.some((one) => one.format === 'clicks'))
    known = known.map((one) => (one.format === 'pairs' ? { ...one, format: 'clicks', signature: 'clicks' } : one))
  // A data set that is known by name has its other tables beside it.
  const named = known.filter(
    ({ signature, format: one }) => signature === one && (!plainFormats.has(one) || one === 'recbole')
  )
  if (named.length > 0) known = named
  const signatures = new Set(known.map(({ signature }) => signature))
  if (signatures.size > 1) {
    const list = known.map((one) => `    ${one.file.name}: ${one.format}: ${one.layout.shown}`)
    throw new ConfigError([
      `${path} holds files of several kinds; give one of them, or --format if they are one:\n${list.join('\n')}`
    ])
  }
  const first = known.find(({ because }) => !because.startsWith('two columns, and each')) ?? known[0]!
  const own = metarankItems(known)
  return {
    format: first.format,
    because: first.because,
    files: known.map(({ file, layout }) => ({ file, layout })),
    // Of several catalogues it must be said which.
    catalogues:
      own.length > 0
        ? own
        : catalogues.length === 1
          ? catalogues
          : catalogues.filter((file) => isKnownCatalogue(plainName(file)))
  }
}

function canHave(file: SampledFile, format: FormatName): boolean {
  return (
    !isKnownCatalogue(file.name) &&
    !/\.(user|link|kg|net)$/.test(file.name) &&
    (format !== 'recbole' || file.name.endsWith('.inter'))
  )
}

/** Catalogues without a header that says so. */
function isKnownCatalogue(name: string): boolean {
  return /^(movies\.dat|u\.item|news\.tsv)$|\.item$/.test(name)
}

/** Metarank's items are events among the others. */
function metarankItems(known: readonly { readonly file: SampledFile; readonly format: FormatName }[]): string[] {
  return known
    .filter(({ file, format }) => format === 'metarank' && file.head.some((line) => /"event"\s*:\s*"item"/.test(line)))
    .map(({ file }) => file.path)
}

function unknown(path: string, samples: readonly SampledFile[]): string {
  const seen = samples.slice(0, 3).map(({ name, head }) => {
    const lines = head.slice(0, 3).map((line) => `      ${shorten(line, 100)}`)
    return `    ${name} begins with\n${lines.join('\n')}`
  })
  const width = Math.max(...formatNames.map((name) => name.length))
  const list = formatNames.map((name) => `    ${name.padEnd(width)}  ${formats[name]}`)
  return `${path}: the format is not recognised.\n${seen.join('\n')}\n  Name the columns with --columns user=…,item=…,time=…, or the format with --format:\n${list.join('\n')}`
}

function usersOf({ head }: SampledFile, layout: Layout): string[] {
  const parse = layout.open()
  const users: string[] = []
  for (const line of head.slice(layout.headerLines)) {
    try {
      parse(line, (userId) => {
        if (userId !== undefined) users.push(userId)
      })
    } catch {
      // Bad lines are judged when the data is read.
    }
  }
  return users
}
