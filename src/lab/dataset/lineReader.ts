// Reads a text file by lines, a block at a time: UTF-8, any line end, gzip and zstd by their first bytes, in bounded
// memory. Parquet becomes JSON lines.

import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { createGunzip } from 'node:zlib'
import { Decompress } from 'fzstd'
import { ConfigError, CorruptError } from '../../core/errors.ts'
import { packingOf, rejectPacked } from './packed.ts'
import { parquetLines } from './parquetLines.ts'

/** Lines that follow each other. */
export interface LineBlock {
  /** Number of `lines[0]` in its file, from 1. */
  readonly first: number
  /** Without line ends and byte order mark. */
  readonly lines: readonly string[]
  /** Indexes in `lines` of lines longer than `lineCharsMax`: what is there is their beginning. */
  readonly cut: readonly number[]
}

/**
 * Bytes read at once. Larger ones bring no speed (measured: 64 KiB .. 1 MiB within 5%), and a row that is kept may keep
 * its block.
 */
const blockBytes = 256 * 1024

/** No format has longer lines: the longest user of the public sets has some 10,000 items of 10 characters. */
export const lineCharsMax = 4 * 1024 * 1024

/**
 * @param options.encoding of the text: UTF-8, or what catalogues of old data sets are in
 * @throws ConfigError if the file cannot be read, is UTF-16, or is packed in a way that is not read; CorruptError if
 *   packed data is damaged
 */
export async function* readLines(
  path: string,
  options: { lineCharsMax?: number; encoding?: 'utf-8' | 'windows-1252' } = {}
): AsyncGenerator<LineBlock, void, undefined> {
  const charsMax = options.lineCharsMax ?? lineCharsMax
  const packing = packingOf(await firstBytes(path))
  rejectPacked(path, packing)
  if (packing === 'parquet') {
    let first = 1
    for await (const lines of parquetLines(path)) {
      yield { first, lines, cut: [] }
      first += lines.length
    }
    return
  }
  const decoder = new TextDecoder(options.encoding ?? 'utf-8')
  let first = 1
  let rest = ''
  let skipping = false
  /** Whole lines of `text`; what follows the last line end stays in `rest`. */
  const take = (text: string, last: boolean): LineBlock | undefined => {
    const lines = (rest + text).split('\n')
    rest = last ? '' : lines.pop()!
    if (last && lines.at(-1) === '') lines.pop()
    const cut: number[] = []
    if (skipping && lines.length > 0) {
      // The end of a line whose beginning was handed on already.
      lines.shift()
      first++
      skipping = false
    }
    if (skipping) rest = ''
    else if (rest.length > charsMax) {
      lines.push(rest)
      rest = ''
      skipping = true
    }
    for (let i = 0; i < lines.length; i++) {
      const line = lines[i]!
      if (line.length > charsMax) {
        cut.push(i)
        lines[i] = line.slice(0, charsMax)
      } else if (line.endsWith('\r')) lines[i] = line.slice(0, -1)
    }
    if (lines.length === 0) return undefined
    const block = { first, lines, cut }
    // A line that is still being skipped keeps its number until its end.
    first += lines.length - (skipping ? 1 : 0)
    return block
  }
  try {
    for await (const chunk of unpacked(path, packing)) {
      const block = take(decoder.decode(chunk, { stream: true }), false)
      if (block !== undefined) yield block
    }
    const block = take(decoder.decode(), true)
    if (block !== undefined) yield block
  } catch (error) {
    throw readError(path, error, packing)
  }
}

/** The file's bytes, out of their packing. */
async function* unpacked(path: string, packing: string | undefined): AsyncGenerator<Uint8Array, void, undefined> {
  const file = createReadStream(path, { highWaterMark: blockBytes })
  try {
    if (packing === 'gzip') {
      const gunzip = createGunzip({ chunkSize: blockBytes })
      // An error of the file would otherwise leave the decompressor waiting for ever.
      file.on('error', (error) => gunzip.destroy(error))
      let isFirst = true
      try {
        for await (const chunk of file.pipe(gunzip) as AsyncIterable<Buffer>) {
          // A tar archive, packed.
          if (isFirst) rejectPacked(path, packingOf(chunk))
          isFirst = false
          yield chunk
        }
      } finally {
        gunzip.destroy()
      }
    } else if (packing === 'zstd') {
      const chunks: Uint8Array[] = []
      const decompress = new Decompress((chunk) => chunks.push(chunk))
      for await (const chunk of file as AsyncIterable<Buffer>) {
        decompress.push(chunk)
        yield* chunks.splice(0)
      }
      decompress.push(new Uint8Array(0), true)
      yield* chunks.splice(0)
    } else yield* file as AsyncIterable<Buffer>
  } finally {
    file.destroy()
  }
}

/** The first lines of a file that are not empty, at most `linesMax` lines and `charsMax` characters of them. */
export async function readHead(
  path: string,
  linesMax: number,
  charsMax: number,
  encoding?: 'utf-8' | 'windows-1252'
): Promise<string[]> {
  const head: string[] = []
  let chars = 0
  for await (const block of readLines(path, encoding === undefined ? {} : { encoding })) {
    for (const [i, line] of block.lines.entries()) {
      if (head.length >= linesMax || chars >= charsMax) return head
      if (line.trim() === '' || block.cut.includes(i)) continue
      head.push(line)
      chars += line.length
    }
  }
  return head
}

async function firstBytes(path: string): Promise<Uint8Array> {
  const start = new Uint8Array(512)
  try {
    const file = await open(path, 'r')
    try {
      const { bytesRead } = await file.read(start, 0, start.length, 0)
      return start.subarray(0, bytesRead)
    } finally {
      await file.close()
    }
  } catch (error) {
    throw readError(path, error, undefined)
  }
}

function readError(path: string, error: unknown, packing: string | undefined): unknown {
  const code = String((error as NodeJS.ErrnoException | undefined)?.code ?? '')
  const zipped = packing === 'gzip' && (code.startsWith('Z_') || code === 'ERR__ZLIB')
  // fzstd numbers its errors.
  if (zipped || (packing === 'zstd' && /^\d*$/.test(code) && !(error instanceof ConfigError))) {
    return new CorruptError(
      `${path}: the ${packing} data is damaged or ends too early (${(error as Error).message}); fetch the file again`,
      {
        cause: error
      }
    )
  }
  if (['ENOENT', 'EACCES', 'EPERM', 'EISDIR', 'ENOTDIR', 'EIO'].includes(code)) {
    return new ConfigError([`cannot read ${path}: ${(error as Error).message}`])
  }
  return error
}
