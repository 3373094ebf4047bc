// A data set on disk → interactions in event-time order, items, and lists per user.
//
// What it costs: data that is in time order is read twice (once to see that it is); data that is not is sorted, outside
// memory if need be. Lists per user without a common order are read twice and sorted by a random key. Memory:
// `memoryMaxBytes` for the sort, and about 100 bytes per user for interleaving.

import { tmpdir } from 'node:os'
import { basename } from 'node:path'
import { resolveConfig } from '../../core/config/config.ts'
import type { SourceFilter } from '../../core/config/sources.ts'
import { ConfigError } from '../../core/errors.ts'
import { Rng } from '../../core/rng.ts'
import { shorten } from '../../core/shorten.ts'
import type { CatalogueItem } from '../../records/catalogueItem.ts'
import type { Interaction } from '../../records/interaction.ts'
import { type ValueRules, valueRules } from '../../records/value/valueRules.ts'
import type { ItemColumns } from './catalogue.ts'
import { readItems } from './catalogueRows.ts'
import type { ColumnMapping } from './columnMapping.ts'
import { type DatasetFile, type DatasetFiles, findDatasetFiles } from './datasetFiles.ts'
import { Interleaving } from './datasetInterleaving.ts'
import { describe, type Ordering, orderingOf } from './datasetOrder.ts'
import { type RowBlock, readRows } from './datasetRows.ts'
import { type DeadLetter, DeadLetterFile } from './deadLetterFile.ts'
import { ExternalSort } from './externalSort.ts'
import { type FormatName, formatNames, isFormatName } from './formatName.ts'
import { type UserItemLists, UserItemListsBuilder } from './userItemLists.ts'

/** How a data set is read, where that is not recognised. */
export interface DatasetReading {
  readonly format?: string | undefined
  readonly columns?: ColumnMapping | undefined
  /** A catalogue, instead of one that the data set has itself. */
  readonly items?: string | undefined
  readonly itemColumns?: ItemColumns | undefined
  /** Only records that pass all of them are read; paths name columns. */
  readonly filters?: readonly SourceFilter[] | undefined
}

export interface DatasetOptions extends DatasetReading {
  /** Which texts stand for no value, and the earliest time. Default: as without configuration. */
  readonly rules?: ValueRules | undefined
  /** Of the interleaving, where there is one. */
  readonly seed: number
  /** For sorting outside memory. Default: the system's. */
  readonly tempDir?: string | undefined
  /** What the rows of a sort may take before they go to disk. Default 256 MiB: about a million rows. */
  readonly memoryMaxBytes?: number | undefined
  /** Folder of the dead-letter file for bad lines, `<name of the data set>.dead-letters.jsonl`. Default: `tempDir`. */
  readonly deadLetterDir?: string | undefined
  /** Called once for each bad line: to warn the user. */
  readonly onDeadLetter?: ((letter: DeadLetter) => void) | undefined
}

/** A file of an ordered data set. */
interface Period {
  readonly name: string
  /** Index of its first interaction among all. */
  readonly start: number
  /** Event time of its first interaction. */
  readonly startMs: number
}

/** Synthetic times begin here: 2020-01-01. Any fixed time would do; the same data always gets the same times. */
export const syntheticStartMs = Date.UTC(2020, 0, 1)
const syntheticStepMs = 1000
const dayMs = 24 * 60 * 60 * 1000

/** @throws ConfigError if the path cannot be read, the format is not recognised, or a header does not fit it */
export async function openDataset(path: string, options: DatasetOptions): Promise<Dataset> {
  const { format } = options
  if (format !== undefined && !isFormatName(format)) {
    throw new ConfigError([`--format ${format}: there is no such format; there are ${formatNames.join(', ')}`])
  }
  const reading = {
    columns: options.columns ?? {},
    filters: options.filters ?? [],
    rules: options.rules ?? valueRules(resolveConfig(undefined, {}).events)
  }
  const wanted = {
    path,
    format: format as FormatName | undefined,
    items: options.items,
    itemColumns: options.itemColumns ?? {},
    reading
  }
  return new Dataset(path, await findDatasetFiles(wanted), options)
}

export class Dataset {
  readonly format: FormatName
  readonly ordering: Ordering
  /**
   * One line for the user: what was recognised, in which files, what each column was taken for, and what was assumed of
   * their order.
   */
  readonly describe: string
  readonly #found: DatasetFiles
  readonly #options: DatasetOptions
  readonly #tempDir: string
  readonly #letters: DeadLetterFile
  /** Last line that was counted, by file and kind: several passes meet the same ones. */
  readonly #countedUpTo = new Map<string, number>()
  readonly #notes = { skipped: 0, value: 0, valueExample: '' }
  #sorted: boolean | undefined

  /** Use `openDataset`. */
  constructor(path: string, found: DatasetFiles, options: DatasetOptions) {
    this.#found = found
    this.#options = options
    this.#tempDir = options.tempDir ?? tmpdir()
    this.#letters = new DeadLetterFile(options.deadLetterDir ?? this.#tempDir, `${basename(path)}.dead-letters.jsonl`)
    this.format = found.format
    this.ordering = orderingOf(found, path)
    this.describe = describe(found, this.ordering, options.seed)
  }

  /** Bad lines so far. */
  get deadLetters(): number {
    return this.#letters.count
  }

  /** What else is to be said of the records read so far, one sentence each. */
  get notes(): string[] {
    const { skipped, value, valueExample } = this.#notes
    return [
      ...(skipped === 0
        ? []
        : [
            `${skipped} records were left out: they hold no interaction that is wanted (filters, other events, nothing clicked)`
          ]),
      ...(value === 0
        ? []
        : [`${value} interactions have a value that is no number and count without it; the first: ${valueExample}`])
    ]
  }

  get deadLetterPath(): string {
    return this.#letters.path
  }

  /**
   * All interactions in event-time order; the same at every call. @throws ConfigError if more than half of a file's
   * first lines are bad
   */
  async *interactions(): AsyncGenerator<Interaction, void, undefined> {
    for await (const block of this.blocks()) yield* block
  }

  /** How many `interactions` gives. One pass over the data. */
  async count(): Promise<number> {
    let count = 0
    for await (const { rows } of this.#rows()) count += rows.length
    return count
  }

  /** As `interactions`, many at a time: several times faster where little is done with each. */
  async *blocks(): AsyncGenerator<readonly Interaction[], void, undefined> {
    if (this.ordering === 'order') yield* this.#ordered()
    else if (this.ordering === 'interleaved') yield* this.#interleaved()
    else if (await this.#isSorted()) for await (const { rows } of this.#rows()) yield rows
    else yield* this.#sort(this.#rows(), (row) => row.eventTimeMs)
  }

  /** The catalogue, where the data set has one; an item that is there twice comes twice, the later one counts. */
  async *items(): AsyncGenerator<CatalogueItem, void, undefined> {
    try {
      for (const file of this.#found.catalogues)
        yield* readItems(file, (line, reason, raw) => this.#setAside(file.path, line, reason, raw))
    } finally {
      await this.#letters.flush()
    }
  }

  /**
   * One list of items per user, oldest first, users in file order; in memory, 8–16 bytes a row. One pass, no sort of
   * rows.
   */
  async lists(): Promise<UserItemLists> {
    const builder = new UserItemListsBuilder(this.ordering === 'time')
    for await (const { rows } of this.#rows())
      for (const row of rows) builder.add(row.userId, row.itemId, row.eventTimeMs)
    return builder.build()
  }

  /** Where each file begins, if files follow each other in time; empty otherwise. One pass over the data. */
  async periods(): Promise<readonly Period[]> {
    if (this.ordering !== 'order' || this.#found.files.length < 2) return []
    const clock = new SyntheticClock(this.#periodMs())
    const periods: Period[] = []
    let start = 0
    for await (const { file, rows } of this.#rows()) {
      const startMs = clock.at(file)
      if (periods.length <= file) {
        // A file without a sound line is a period in which nothing happened.
        while (periods.length < file)
          periods.push({ name: stem(this.#found.files[periods.length]!.name), start, startMs })
        periods.push({ name: stem(this.#found.files[file]!.name), start, startMs })
      }
      clock.pass(rows.length)
      start += rows.length
    }
    return periods
  }

  async *#rows(): AsyncGenerator<RowBlock, void, undefined> {
    try {
      yield* readRows(this.#found.files, {
        setAside: (file, line, reason, raw) => this.#setAside(file.path, line, reason, raw),
        note: (file, line, what, raw) => this.#note(file, line, what, raw)
      })
    } finally {
      await this.#letters.flush()
    }
  }

  #setAside(path: string, line: number, reason: string, raw: string): void {
    if (!this.#isFirst(path, line)) return
    const letter = { file: path, line, reason: `${path}:${line}: ${reason}`, raw }
    this.#letters.add(letter)
    this.#options.onDeadLetter?.(letter)
  }

  #note(file: DatasetFile, line: number, what: 'skipped' | 'value', raw: string): void {
    if (!this.#isFirst(`${what} ${file.path}`, line)) return
    this.#notes[what]++
    if (what === 'value' && this.#notes.valueExample === '')
      this.#notes.valueExample = `${file.path}:${line}: ${shorten(raw)}`
  }

  /** Whether no earlier pass has met the line. */
  #isFirst(key: string, line: number): boolean {
    if (line <= (this.#countedUpTo.get(key) ?? 0)) return false
    this.#countedUpTo.set(key, line)
    return true
  }

  async *#ordered(): AsyncGenerator<readonly Interaction[], void, undefined> {
    const clock = new SyntheticClock(this.#periodMs())
    for await (const { file, rows } of this.#rows()) {
      const startMs = clock.at(file)
      yield rows.map((row, i) => ({ ...row, eventTimeMs: startMs + i * syntheticStepMs }))
      clock.pass(rows.length)
    }
  }

  async *#interleaved(): AsyncGenerator<readonly Interaction[], void, undefined> {
    const interleaving = new Interleaving(new Rng(this.#options.seed).fork('interleave users'))
    for await (const { rows } of this.#rows()) for (const row of rows) interleaving.count(row.userId)
    let timeMs = syntheticStartMs
    for await (const rows of this.#sort(this.#rows(), (row) => interleaving.key(row.userId))) {
      const startMs = timeMs
      yield rows.map((row, i) => ({ ...row, eventTimeMs: startMs + i * syntheticStepMs }))
      timeMs += rows.length * syntheticStepMs
    }
  }

  /**
   * Stops at the first row out of order: data that must be sorted is found out at once, data in order is read through.
   */
  async #isSorted(): Promise<boolean> {
    if (this.#sorted !== undefined) return this.#sorted
    let newest = 0
    for await (const { rows } of this.#rows()) {
      for (const { eventTimeMs } of rows) {
        if (eventTimeMs < newest) {
          this.#sorted = false
          return false
        }
        newest = eventTimeMs
      }
    }
    this.#sorted = true
    return true
  }

  async *#sort(
    blocks: AsyncIterable<RowBlock>,
    keyOf: (row: Interaction) => number
  ): AsyncGenerator<readonly Interaction[], void, undefined> {
    const sort = new ExternalSort<Interaction>({
      tempDir: this.#tempDir,
      memoryMaxBytes: this.#options.memoryMaxBytes ?? 256 * 1024 * 1024,
      sizeOf: rowBytes
    })
    try {
      for await (const { rows } of blocks) {
        for (const row of rows) sort.add(keyOf(row), row)
        await sort.spill()
      }
      for await (const rows of sort.sorted()) yield rows
    } finally {
      await sort.close()
    }
  }

  /** How far apart the files begin: 0 where one simply follows the other. */
  #periodMs(): number {
    if (this.#found.files.length < 2) return 0
    const named = (what: RegExp) => this.#found.files.every(({ name }) => what.test(name))
    return named(/day[_-]?\d+/i)
      ? dayMs
      : named(/(period|week)[_-]?\d+/i)
        ? 7 * dayMs
        : named(/month[_-]?\d+/i)
          ? 30 * dayMs
          : 0
  }
}

/** One second per row; a file begins with a period of its own, the first that is free. */
class SyntheticClock {
  readonly #periodMs: number
  #file = 0
  #nextMs = syntheticStartMs

  constructor(periodMs: number) {
    this.#periodMs = periodMs
  }

  at(file: number): number {
    if (this.#periodMs > 0 && file > this.#file) {
      const planned = syntheticStartMs + file * this.#periodMs
      const free = syntheticStartMs + Math.ceil((this.#nextMs - syntheticStartMs) / this.#periodMs) * this.#periodMs
      this.#nextMs = Math.max(planned, free)
    }
    this.#file = file
    return this.#nextMs
  }

  pass(rows: number): void {
    this.#nextMs += rows * syntheticStepMs
  }
}

/** An object with its five fields, and the characters of its ids, some of them in two bytes. */
function rowBytes(row: Interaction): number {
  return 144 + row.eventId.length + row.userId.length + row.itemId.length
}

function stem(name: string): string {
  return name.replace(/\.[^.]*$/, '')
}
