// A Parquet file as JSON lines, some thousand rows at a time.

import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { CorruptError } from '../../core/errors.ts'

/** Fewer rows at a time decode their pages again and again; more are held in memory. */
const rowsMax = 50_000

/** Times become ISO text, 64-bit numbers their digits. @throws CorruptError if the file cannot be decoded */
export async function* parquetLines(path: string): AsyncGenerator<string[], void, undefined> {
  try {
    const file = await asyncBufferFromFile(path)
    const metadata = await parquetMetadataAsync(file)
    let start = 0
    for (const group of metadata.row_groups) {
      const end = start + Number(group.num_rows)
      for (; start < end; start = Math.min(end, start + rowsMax)) {
        const rows = await parquetReadObjects({
          file,
          metadata,
          compressors,
          rowStart: start,
          rowEnd: Math.min(end, start + rowsMax)
        })
        yield rows.map((row) => JSON.stringify(row, exact))
      }
    }
  } catch (cause) {
    throw new CorruptError(
      `${path}: the Parquet file cannot be read (${(cause as Error).message}); fetch it again, or convert it to CSV`,
      {
        cause
      }
    )
  }
}

function exact(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value
}
