// The files of the configuration, for `mtmi up`: each is loaded once. What is loaded is remembered by name, size and
// mapping, so that a changed file is never read on from the middle.

import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { open, readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Config } from '../src/core/config/config.ts'
import type { FileOptions } from '../src/core/config/files.ts'
import { ConfigError } from '../src/core/errors.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import { type StateKind, z } from '../src/core/stateFile.ts'
import { readItems } from '../src/lab/dataset/catalogueRows.ts'
import type { Dataset, DatasetReading } from '../src/lab/dataset/dataset.ts'
import { openDataset } from '../src/lab/dataset/dataset.ts'
import { type CatalogueFile, openCatalogue, plainName } from '../src/lab/dataset/datasetFiles.ts'
import { DeadLetterFile } from '../src/lab/dataset/deadLetterFile.ts'
import type { CatalogueItem } from '../src/records/catalogueItem.ts'
import type { Interaction } from '../src/records/interaction.ts'
import { valueRules } from '../src/records/value/valueRules.ts'
import type { Load, StartSource } from './startSource.ts'

interface KnownFile {
  readonly path: string
  /** Of its bytes, and of how they are read. */
  readonly fingerprint: string
}

interface LoadedFiles {
  readonly loaded: readonly KnownFile[]
  /** Of a load that was begun and not finished. */
  readonly loading: readonly KnownFile[]
}

const knownFile = z.strictObject({ path: z.string(), fingerprint: z.string() })

const loadedFiles: StateKind<LoadedFiles> = {
  file: 'files.json',
  version: 1,
  schema: z.strictObject({ loaded: z.array(knownFile), loading: z.array(knownFile) }),
  removed: 'the files of the configuration are loaded again, and events whose ids are forgotten by then count twice'
}

interface PresentFile extends KnownFile {
  readonly file: FileOptions
}

/** @throws ConfigError if a file cannot be read, or has changed since it was loaded */
export async function openConfiguredFiles(config: Config, run: RunDirectory): Promise<StartSource> {
  const state = run.state(loadedFiles)
  const { loaded, loading } = state.load() ?? { loaded: [], loading: [] }
  checkNames(config.files)
  const pending: PresentFile[] = []
  for (const file of config.files) {
    const before = [...loaded, ...loading].find((known) => known.path === file.path)
    const fingerprint = await fingerprintOf(file, config.seed)
    if (fingerprint === undefined && loaded.some((known) => known.path === file.path)) continue
    if (fingerprint === undefined) throw new ConfigError([`files: there is no file ${path.resolve(file.path)}`])
    if (before !== undefined && before.fingerprint !== fingerprint && file.kind === 'interactions')
      throw changed(file, run)
    if (!loaded.some((known) => known.path === file.path && known.fingerprint === fingerprint))
      pending.push({ path: file.path, fingerprint, file })
  }
  const isBegun = ({ path: name }: KnownFile) => loading.some((known) => known.path === name)
  const groups = [pending.filter(isBegun), pending.filter((file) => !isBegun(file))].filter((group) => group.length > 0)
  const opened = await Promise.all(groups.map((group) => openGroup(group, config, run)))
  const titles = opened.flatMap(({ titles }) => titles)
  return {
    title: titles.length > 0 ? titles.join('; ') : config.files.map((file) => `${file.path}, loaded before`).join('; '),
    loads: opened.map(({ load }, i) => remembered(load, groups[i]!, state)),
    refused: () => opened.reduce((sum, { refused }) => sum + refused(), 0),
    notes: () => opened.flatMap(({ notes }) => notes())
  }
}

function remembered(load: Load, group: readonly KnownFile[], state: ReturnType<RunDirectory['state']>): Load {
  const known = group.map(({ path, fingerprint }) => ({ path, fingerprint }))
  const others = () => {
    const now = (state.load() ?? { loaded: [], loading: [] }) as LoadedFiles
    return now.loaded.filter(({ path }) => !known.some((one) => one.path === path))
  }
  return {
    ...load,
    begin: () => state.save({ loaded: others(), loading: known }),
    end: () => state.save({ loaded: [...others(), ...known], loading: [] })
  }
}

function changed({ path: name }: FileOptions, run: RunDirectory): ConfigError {
  return new ConfigError([
    `files: ${name}, or how it is read, has changed since run ${run.name} loaded it: which of its rows are new is not known. ` +
      `Give new events as a file of their own, or by a topic or POST /v1/events; to begin again with all of it: mtmi reset --run ${run.name}`
  ])
}

/** Event ids are made of a file's name and line. */
function checkNames(files: readonly FileOptions[]): void {
  const names = files.map((file) => plainName(path.resolve(file.path)))
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined)
    throw new ConfigError([
      `files: two files are called ${twice}, and event ids are made of a file's name and line: rename one, or give their folder`
    ])
}

interface OpenedGroup {
  readonly load: Load
  readonly titles: readonly string[]
  refused(): number
  notes(): readonly string[]
}

async function openGroup(group: readonly PresentFile[], config: Config, run: RunDirectory): Promise<OpenedGroup> {
  const rules = valueRules(config.events)
  const datasets: Dataset[] = []
  const catalogues: { file: CatalogueFile; letters: DeadLetterFile }[] = []
  for (const { file } of group) {
    if (file.kind === 'items') {
      const letters = new DeadLetterFile(run.root, `${path.basename(file.path)}.dead-letters.jsonl`)
      catalogues.push({
        file: await inConfiguration(() => openCatalogue(file.path, itemColumnsOf(file), rules)),
        letters
      })
    } else {
      const options = { seed: config.seed, rules, deadLetterDir: run.root, tempDir: run.root, ...readingOfFile(file) }
      datasets.push(await inConfiguration(() => openDataset(file.path, options)))
    }
  }
  const key = createHash('sha256').update(JSON.stringify(group.map(({ fingerprint }) => fingerprint)))
  return {
    titles: [
      ...datasets.map(({ describe }) => describe),
      ...catalogues.map(({ file }) => `items from ${plainName(file.path)}: ${file.layout.shown}`)
    ],
    refused: () =>
      datasets.reduce((sum, { deadLetters }) => sum + deadLetters, 0) +
      catalogues.reduce((sum, { letters }) => sum + letters.count, 0),
    notes: () => datasets.flatMap(({ notes }) => notes),
    load: {
      name: `files ${key.digest('hex').slice(0, 16)}`,
      total: async () => {
        let total = 0
        for (const dataset of datasets) total += await dataset.count()
        return total
      },
      items: async function* (): AsyncGenerator<CatalogueItem> {
        for (const dataset of datasets) yield* dataset.items()
        for (const { file, letters } of catalogues) {
          yield* readItems(file, (line, reason, raw) => letters.add({ file: file.path, line, reason, raw }))
          await letters.flush()
        }
      },
      interactions: () => mergeByTime(datasets.map((dataset) => dataset.interactions()))
    }
  }
}

function itemColumnsOf({ item, title, features }: FileOptions) {
  return {
    ...(item === undefined ? {} : { item }),
    ...(title === undefined ? {} : { title }),
    ...(features === undefined ? {} : { features })
  }
}

/** How the file is read, in the terms of a data set. */
function readingOfFile({ format, user, item, type, value, time, filter }: FileOptions): DatasetReading {
  const columns = {
    user,
    item,
    type,
    value,
    time: time?.path,
    unit: time?.unit,
    format: time?.format,
    zone: time?.zone
  }
  return {
    ...(format === undefined ? {} : { format }),
    columns: Object.fromEntries(Object.entries(columns).filter(([, given]) => given !== undefined)),
    filters: filter
  }
}

/** What a data set says of options of the command line is said of the configuration. */
async function inConfiguration<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const names =
      'in the configuration these are user, item, type, value and time of an entry of `files`; `mtmi init PATH` proposes them'
    throw new ConfigError(
      error.problems.map((problem) =>
        /--(item-)?columns|--format/.test(problem) ? `${problem}\n  (${names})` : problem
      )
    )
  }
}

/** Several sources, each in the order of its times, as one. Of equal times the earlier source comes first. */
async function* mergeByTime(
  sources: readonly AsyncIterable<Interaction>[]
): AsyncGenerator<Interaction, void, undefined> {
  const readers = sources.map((source) => source[Symbol.asyncIterator]())
  const heads = await Promise.all(readers.map((reader) => reader.next()))
  try {
    for (;;) {
      let first = -1
      for (const [i, head] of heads.entries())
        if (head.done !== true && (first < 0 || head.value.eventTimeMs < heads[first]!.value.eventTimeMs)) first = i
      if (first < 0) return
      yield heads[first]!.value as Interaction
      heads[first] = await readers[first]!.next()
    }
  } finally {
    for (const reader of readers) await reader.return?.()
  }
}

const sampledBytes = 64 * 1024

/**
 * Of the bytes (their number, the first and the last ones) of a file, or of the files of a folder, and of how they are
 * read; undefined where there is none. All bytes of a large file would take longer than loading its first rows.
 */
async function fingerprintOf(file: FileOptions, seed: number): Promise<string | undefined> {
  if (!existsSync(file.path)) return undefined
  const found = await stat(file.path)
  const digest = createHash('sha256').update(JSON.stringify([file, seed]))
  const names = found.isDirectory()
    ? (await readdir(file.path)).sort().map((name) => path.join(file.path, name))
    : [file.path]
  for (const name of names) {
    const entry = await stat(name)
    const { size } = entry
    if (!entry.isFile()) continue // a folder in a folder is not read, and neither is a pipe
    digest.update(`${path.basename(name)} ${size} `)
    const handle = await open(name, 'r')
    try {
      for (const position of [0, Math.max(0, size - sampledBytes)]) {
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(sampledBytes), 0, sampledBytes, position)
        digest.update(buffer.subarray(0, bytesRead))
      }
    } finally {
      await handle.close()
    }
  }
  return digest.digest('hex')
}
