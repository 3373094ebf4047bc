// A line → its fields.

import { splitQuoted } from '../../records/value/splitQuoted.ts'

/** What stands between the fields of a line; `space` is any run of spaces and tabs. */
export type Delimiter = '\t' | ',' | ';' | '|' | '::' | 'space'

/** Fields without quoting, trimmed of nothing but a run of blanks. */
export function splitPlain(line: string, delimiter: Delimiter): string[] {
  if (delimiter !== 'space') return line.split(delimiter)
  const fields = line.split(' ')
  // The usual line has single blanks, and a plain split is several times faster than an expression.
  return fields.includes('') || line.includes('\t') ? line.trim().split(/\s+/) : fields
}

/**
 * The delimiter by which most of the lines fall into the same number of fields, at least two. undefined: there is none.
 */
export function detectDelimiter(lines: readonly string[]): Delimiter | undefined {
  let best: { delimiter: Delimiter; agreeing: number; fields: number } | undefined
  // In order of how seldom each is part of a value.
  for (const delimiter of ['\t', '::', ',', ';', '|', 'space'] as const) {
    const counts = new Map<number, number>()
    for (const line of lines) {
      const fields = (
        delimiter === 'space' || delimiter === '\t' ? splitPlain(line, delimiter) : (splitQuoted(line, delimiter) ?? [])
      ).length
      if (fields >= 2) counts.set(fields, (counts.get(fields) ?? 0) + 1)
    }
    const [fields, agreeing] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? [0, 0]
    // Decimal commas agree with each other, too: `1;2;3,5` has more fields by semicolon.
    const finer = delimiter === ';' && best?.delimiter === ',' && agreeing === best.agreeing && fields > best.fields
    if (agreeing > (best?.agreeing ?? 0) || finer) best = { delimiter, agreeing, fields }
  }
  return best?.delimiter
}

/** Lines that a quoted field may span; a quote that never ends must not swallow the file. */
const quotedLinesMax = 100

/**
 * Puts lines together into records: a quoted field may span line ends.
 *
 * A quote that is never closed, or is closed where the record then is not whole, costs its own line only: that line is
 * handed on as it is, and those after it are looked at on their own.
 *
 * @param quotedDelimiter what stands between fields; undefined where nothing is quoted: then each line is a record
 * @param take gets each record that is not empty, with the number of its first line
 * @param isWhole whether a record of several lines is one that the format takes
 */
export class RecordAssembler {
  readonly #delimiter: string | undefined
  readonly #take: (line: number, record: string) => void
  readonly #isWhole: (record: string) => boolean
  #open: { line: number; lines: string[] } | undefined

  constructor(
    quotedDelimiter: string | undefined,
    take: (line: number, record: string) => void,
    isWhole: (record: string) => boolean
  ) {
    this.#delimiter = quotedDelimiter
    this.#take = take
    this.#isWhole = isWhole
  }

  add(line: number, text: string): void {
    const delimiter = this.#delimiter
    if (delimiter === undefined) {
      if (text.trim() !== '') this.#take(line, text)
      return
    }
    const open = this.#open
    if (open === undefined) {
      if (text.includes('"') && splitQuoted(text, delimiter) === undefined) this.#open = { line, lines: [text] }
      else if (text.trim() !== '') this.#take(line, text)
      return
    }
    open.lines.push(text)
    const end = quoteIn(text, delimiter)
    if (end === 'closes') {
      const joined = open.lines.join('\n')
      // A further field of the last line may be open again.
      if (splitQuoted(joined, delimiter) === undefined && open.lines.length < quotedLinesMax) return
      if (this.#isWhole(joined)) {
        this.#open = undefined
        this.#take(open.line, joined)
        return
      }
    }
    if (end !== 'none' || open.lines.length >= quotedLinesMax) this.#giveUp()
  }

  /** At the end of the file. */
  end(): void {
    while (this.#open !== undefined) this.#giveUp()
  }

  #giveUp(): void {
    if (this.#open === undefined) return
    const { line, lines } = this.#open
    this.#open = undefined
    this.#take(line, lines[0]!)
    for (let i = 1; i < lines.length; i++) this.add(line + i, lines[i]!)
  }
}

/**
 * What the first quote of a line within a quoted field does: it ends the field if a delimiter follows, or the end of
 * the line; otherwise it is stray.
 */
function quoteIn(text: string, delimiter: string): 'closes' | 'stray' | 'none' {
  const quote = /^(?:[^"]|"")*"(?!")/.exec(text)
  if (quote === null) return 'none'
  const after = text.slice(quote[0].length).trimStart()
  return after === '' || after.startsWith(delimiter) ? 'closes' : 'stray'
}
