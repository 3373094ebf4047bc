// Reads the files of a data set, in order, as blocks of interactions; sets bad lines aside.

import { BadEventError, ConfigError } from '../../core/errors.ts'
import type { Interaction } from '../../records/interaction.ts'
import type { DatasetFile } from './datasetFiles.ts'
import { RecordAssembler } from './fields.ts'
import type { EmitRow } from './lineParser.ts'
import { lineCharsMax, readLines } from './lineReader.ts'

/** One block of rows, of one file, in file order. Rows of formats without a time have `eventTimeMs` NaN. */
export interface RowBlock {
  /** Index of the file. */
  readonly file: number
  readonly rows: Interaction[]
}

/** Gets what is not an interaction, or not all of one. */
interface RowListener {
  /** A record that cannot be used. */
  setAside(file: DatasetFile, line: number, reason: string, raw: string): void
  /**
   * A record that no interaction is wanted of, or an interaction whose value is no number and which counts without it.
   */
  note(file: DatasetFile, line: number, what: 'skipped' | 'value', raw: string): void
}

/** Records at the start of a file by which its format is judged. */
const judgedRecords = 1000
/** V8 copies shorter substrings; longer ones keep all of the block that they were cut from alive. */
const sharedCharsMin = 13

/**
 * @throws ConfigError if more than half of a file's first 1,000 records (or of all, if it has less) are bad: then it is
 *   the format that is wrong. No row of the file has been given by then.
 */
export async function* readRows(
  files: readonly DatasetFile[],
  listener: RowListener
): AsyncGenerator<RowBlock, void, undefined> {
  for (const [index, file] of files.entries()) {
    for await (const rows of readFileRows(file, listener)) if (rows.length > 0) yield { file: index, rows }
  }
}

async function* readFileRows(file: DatasetFile, listener: RowListener): AsyncGenerator<Interaction[], void, undefined> {
  const { layout, name } = file
  const parse = layout.open()
  const stem = name.replace(/\.[^.]*$/, '')
  let rows: Interaction[] = []
  let line = 0
  let position = 0
  let headers = layout.headerLines
  let judged = 0
  let bad = 0
  let firstReason = ''
  let badValue = false
  const emit: EmitRow = (userId, itemId, type, eventTimeMs, value) => {
    position++
    const row = {
      eventId: layout.listed || position > 1 ? `${name}:${line}:${position}` : `${name}:${line}`,
      userId: userId === undefined ? `${stem}:${line}` : detach(userId),
      itemId: detach(itemId),
      type,
      eventTimeMs
    }
    if (value !== undefined && Number.isNaN(value)) badValue = true
    rows.push(value === undefined || Number.isNaN(value) ? row : { ...row, value })
  }
  const reject = (number: number, reason: string, raw: string) => {
    bad++
    if (firstReason === '') firstReason = `line ${number}: ${reason}`
    listener.setAside(file, number, reason, raw)
  }
  const judge = (): void => {
    if (bad * 2 <= judged) return
    throw new ConfigError([
      `${file.path}: ${bad} of the first ${judged} records are not in the expected format; the first of them is ${firstReason}. Name the right format with --format, or the right columns with --columns`
    ])
  }
  const take = (number: number, text: string): void => {
    if (headers > 0) {
      headers--
      return
    }
    line = number
    position = 0
    judged++
    try {
      if (text.includes('\ufffd'))
        throw new BadEventError('expected UTF-8, found other bytes (convert the file: iconv -f LATIN1 -t UTF-8)')
      const before = rows.length
      parse(text, emit)
      if (rows.length === before) listener.note(file, number, 'skipped', text)
      if (badValue) listener.note(file, number, 'value', text)
      badValue = false
    } catch (error) {
      if (!(error instanceof BadEventError)) throw error
      reject(number, error.message, text)
    }
    if (judged === judgedRecords) judge()
  }
  const records = new RecordAssembler(layout.quotedDelimiter, take, layout.isWhole)
  for await (const block of readLines(file.path)) {
    for (let i = 0; i < block.lines.length; i++) {
      const number = block.first + i
      const text = block.lines[i]!
      if (block.cut.length > 0 && block.cut.includes(i)) {
        judged++
        reject(number, `expected lines of at most ${lineCharsMax} characters, found a longer one`, text.slice(0, 1000))
        if (judged === judgedRecords) judge()
      } else records.add(number, text)
    }
    if (judged >= judgedRecords) {
      yield rows
      rows = []
    }
  }
  records.end()
  if (judged < judgedRecords) judge()
  yield rows
}

function detach(id: string): string {
  return id.length < sharedCharsMin ? id : Buffer.from(id, 'utf8').toString('utf8')
}
