// A row of delimited text → its fields, in files and in records of a topic.

/**
 * Fields as in RFC 4180: a field that begins with a quote ends with one, and holds delimiters, line ends and doubled
 * quotes. A quote within an unquoted field is just a character.
 *
 * @returns undefined if a quoted field is still open at the end: the record continues on the next line, or is broken
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
