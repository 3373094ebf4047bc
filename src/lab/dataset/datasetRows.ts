// Reads the files of a data set, in order, as blocks of interactions; sets bad lines aside.

import { BadEventError, ConfigError } from '../../core/errors.ts'
import type { Interaction } from '../../records/interaction.ts'
import type { DatasetFile } from './datasetFiles.ts'
import { splitQuoted } from './fields.ts'
import type { EmitRow } from './lineParser.ts'
import { lineCharsMax, readLines } from './lineReader.ts'

/** One block of rows, of one file, in file order. Rows of formats without a time have `eventTimeMs` NaN. */
export interface RowBlock {
  /** Index of the file. */
  readonly file: number
  readonly rows: Interaction[]
}

/** Takes a line that cannot be used. */
export type SetAside = (file: DatasetFile, line: number, reason: string, raw: string) => void

/** Lines at the start of a file by which its format is judged. */
export const judgedLines = 1000
/** Lines that a quoted field may go on for; a quote that never ends must not swallow the file. */
const quotedLinesMax = 100
/** V8 copies shorter substrings; longer ones keep all of the block that they were cut from alive. */
const sharedCharsMin = 13

/**
 * @throws ConfigError if more than half of a file's first 1,000 lines (or of all, if it has less) are bad: then it is the format that is wrong.
 * No row of the file has been given by then.
 */
export async function* readRows(files: readonly DatasetFile[], setAside: SetAside): AsyncGenerator<RowBlock, void, undefined> {
  for (const [index, file] of files.entries()) {
    for await (const rows of readFileRows(file, setAside)) if (rows.length > 0) yield { file: index, rows }
  }
}

async function* readFileRows(file: DatasetFile, setAside: SetAside): AsyncGenerator<Interaction[], void, undefined> {
  const { bound, name } = file
  const stem = name.replace(/\.[^.]*$/, '')
  let rows: Interaction[] = []
  let line = 0
  let position = 0
  let headers = bound.headerLines
  let judged = 0
  let bad = 0
  let firstReason = ''
  const emit: EmitRow = (userId, itemId, type, eventTimeMs, value) => {
    const row = {
      eventId: bound.listed ? `${name}:${line}:${++position}` : `${name}:${line}`,
      userId: userId === undefined ? `${stem}:${line}` : detach(userId),
      itemId: detach(itemId),
      type,
      eventTimeMs
    }
    rows.push(value === undefined ? row : { ...row, value })
  }
  const reject = (number: number, reason: string, raw: string) => {
    bad++
    if (firstReason === '') firstReason = `line ${number}: ${reason}`
    setAside(file, number, reason, raw)
  }
  const judge = (): void => {
    if (bad * 2 <= judged) return
    throw new ConfigError([
      `${file.path}: ${bad} of the first ${judged} lines are not in the expected format; the first of them is ${firstReason}. Name the right format with --format`
    ])
  }
  const take = (number: number, text: string): void => {
    line = number
    position = 0
    judged++
    try {
      if (text.includes('\ufffd')) throw new BadEventError('expected UTF-8, found other bytes (convert the file: iconv -f LATIN1 -t UTF-8)')
      bound.parse(text, emit)
    } catch (error) {
      if (!(error instanceof BadEventError)) throw error
      reject(number, error.message, text)
    }
    if (judged === judgedLines) judge()
  }
  const delimiter = bound.quotedDelimiter ?? ','
  let open: { number: number; lines: string[] } | undefined
  /** Gives up a quoted field that does not end: its first line is bad, the others are looked at on their own (and may begin one again). */
  const giveUp = (): void => {
    if (open === undefined) return
    const { number, lines } = open
    open = undefined
    take(number, lines[0]!)
    for (let i = 1; i < lines.length; i++) takeQuoted(number + i, lines[i]!)
  }
  const takeQuoted = (number: number, text: string): void => {
    if (open === undefined) {
      if (text.includes('"') && splitQuoted(text, delimiter) === undefined) open = { number, lines: [text] }
      else if (text.trim() !== '') take(number, text)
      return
    }
    open.lines.push(text)
    const end = quoteIn(text, delimiter)
    if (end === 'closes') {
      const { number: start, lines } = open
      const joined = lines.join('\n')
      if (isWhole(joined, bound.parse)) {
        open = undefined
        take(start, joined)
        return
      }
    }
    if (end !== 'none' || open.lines.length >= quotedLinesMax) giveUp()
  }
  for await (const block of readLines(file.path)) {
    for (let i = 0; i < block.lines.length; i++) {
      const number = block.first + i
      const text = block.lines[i]!
      if (headers > 0 && text.trim() !== '') {
        headers--
        continue
      }
      if (block.cut.length > 0 && block.cut.includes(i)) {
        judged++
        reject(number, `expected lines of at most ${lineCharsMax} characters, found a longer one`, text.slice(0, 1000))
        if (judged === judgedLines) judge()
      } else if (bound.quotedDelimiter !== undefined) takeQuoted(number, text)
      else if (text !== '' && text.trim() !== '') take(number, text)
    }
    if (judged >= judgedLines) {
      yield rows
      rows = []
    }
  }
  while (open !== undefined) giveUp()
  if (judged < judgedLines) judge()
  yield rows
}

/** What the first quote of a line within a quoted field does: it ends the field if a delimiter follows, or the end of the line; otherwise it is stray. */
function quoteIn(text: string, delimiter: string): 'closes' | 'stray' | 'none' {
  const quote = /^(?:[^"]|"")*"(?!")/.exec(text)
  if (quote === null) return 'none'
  const after = text.slice(quote[0].length).trimStart()
  return after === '' || after.startsWith(delimiter) ? 'closes' : 'stray'
}

/** Whether a joined record is one that the parser takes. */
function isWhole(text: string, parse: (line: string, emit: EmitRow) => void): boolean {
  try {
    parse(text, () => undefined)
    return true
  } catch {
    return false
  }
}

function detach(id: string): string {
  return id.length < sharedCharsMin ? id : Buffer.from(id, 'utf8').toString('utf8')
}
