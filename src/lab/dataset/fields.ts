// A line → its fields.

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
 * Fields as in RFC 4180: a field that begins with a quote ends with one, and holds delimiters, line ends and doubled quotes.
 * A quote within an unquoted field is just a character.
 *
 * @returns undefined if a quoted field is still open at the end: the record goes on in the next line, or is broken
 */
export function splitQuoted(line: string, delimiter: string): string[] | undefined {
  if (!line.includes('"')) return line.split(delimiter)
  const fields: string[] = []
  let at = 0
  for (;;) {
    if (line[at] === '"') {
      let text = ''
      let from = at + 1
      let end = line.indexOf('"', from)
      while (end >= 0 && line[end + 1] === '"') {
        text += line.slice(from, end + 1)
        from = end + 2
        end = line.indexOf('"', from)
      }
      if (end < 0) return undefined
      text += line.slice(from, end)
      const next = line.indexOf(delimiter, end + 1)
      // What stands between the closing quote and the delimiter (only blanks, in sound files) belongs to the field.
      text += line.slice(end + 1, next < 0 ? line.length : next).trimEnd()
      fields.push(text)
      if (next < 0) return fields
      at = next + delimiter.length
    } else {
      const next = line.indexOf(delimiter, at)
      fields.push(line.slice(at, next < 0 ? line.length : next))
      if (next < 0) return fields
      at = next + delimiter.length
    }
  }
}

/** The delimiter by which most of the lines fall into the same number of fields, at least two. undefined: there is none. */
export function detectDelimiter(lines: readonly string[]): Delimiter | undefined {
  let best: { delimiter: Delimiter; agreeing: number } | undefined
  // In order of how seldom each is part of a value.
  for (const delimiter of ['\t', '::', ',', ';', '|', 'space'] as const) {
    const counts = new Map<number, number>()
    for (const line of lines) {
      const fields = (delimiter === 'space' ? splitPlain(line, delimiter) : (splitQuoted(line, delimiter) ?? [])).length
      if (fields >= 2) counts.set(fields, (counts.get(fields) ?? 0) + 1)
    }
    const agreeing = Math.max(0, ...counts.values())
    if (agreeing > (best?.agreeing ?? 0)) best = { delimiter, agreeing }
  }
  return best?.delimiter
}
