// A record's value as one row of delimited text: comma-separated with quotes, or tab-separated as Snowplow's enriched
// events.

import type { SourceOptions } from '../core/config/sources.ts'
import { BadEventError } from '../core/errors.ts'
import { splitQuoted } from '../records/value/splitQuoted.ts'

/**
 * @returns the fields by the names of `columns`, or else as a list; a field without text is null. It throws a
 *   BadEventError for what is not one row
 */
export function delimitedReader({
  format,
  columns,
  delimiter = ','
}: Partial<SourceOptions>): (text: string) => unknown {
  const split = format === 'tsv' ? (row: string) => row.split('\t') : (row: string) => splitQuoted(row, delimiter)
  return (text) => {
    const row = text.replace(/^\ufeff/, '').replace(/\r?\n$/, '')
    const fields = split(row)
    if (fields === undefined) throw new BadEventError('a quoted field of the value is never closed')
    const outside = format === 'tsv' ? row : row.replace(/"(?:[^"]|"")*"/g, '')
    if (/[\r\n]/.test(outside)) throw new BadEventError('the value has several lines: a record is one row')
    const values = fields.map((field) => (field === '' ? null : field))
    if (columns === undefined) return values
    if (values.length !== columns.length) {
      throw new BadEventError(`the value has ${values.length} fields, and columns names ${columns.length}`)
    }
    // Own properties, whatever their names.
    return Object.fromEntries(columns.map((name, i) => [name, values[i]]))
  }
}
