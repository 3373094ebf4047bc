// Reads a text file by lines, a block at a time: UTF-8, any line end, gzip by its first bytes, in bounded memory.

import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { createGunzip } from 'node:zlib'
import { ConfigError, CorruptError } from '../../core/errors.ts'

/** Lines that follow each other. */
export interface LineBlock {
  /** Number of `lines[0]` in its file, from 1. */
  readonly first: number
  /** Without line ends and byte order mark. */
  readonly lines: readonly string[]
  /** Indexes in `lines` of lines longer than `lineCharsMax`: what is there is their beginning. */
  readonly cut: readonly number[]
}

/** Bytes read at once. Larger ones bring no speed (measured: 64 KiB .. 1 MiB within 5%), and a row that is kept may keep its block. */
const blockBytes = 256 * 1024

/** No format has longer lines: the longest user of the public sets has some 10,000 items of 10 characters. */
export const lineCharsMax = 4 * 1024 * 1024

/** @throws ConfigError if the file cannot be read, or is UTF-16; CorruptError if its gzip data is damaged */
export async function* readLines(path: string, options: { lineCharsMax?: number } = {}): AsyncGenerator<LineBlock, void, undefined> {
  const charsMax = options.lineCharsMax ?? lineCharsMax
  const zipped = await isGzip(path)
  const file = createReadStream(path, { highWaterMark: blockBytes })
  const bytes = zipped ? createGunzip({ chunkSize: blockBytes }) : file
  if (zipped) {
    // An error of the file would otherwise leave the decompressor waiting for ever.
    file.on('error', (error) => bytes.destroy(error))
    file.pipe(bytes as ReturnType<typeof createGunzip>)
  }
  const decoder = new TextDecoder('utf-8')
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
    for await (const chunk of bytes as AsyncIterable<Buffer>) {
      const block = take(decoder.decode(chunk, { stream: true }), false)
      if (block !== undefined) yield block
    }
    const block = take(decoder.decode(), true)
    if (block !== undefined) yield block
  } catch (error) {
    throw readError(path, error, zipped)
  } finally {
    bytes.destroy()
    file.destroy()
  }
}

/** The first lines of a file that are not empty, at most `linesMax` lines and `charsMax` characters of them. */
export async function readHead(path: string, linesMax: number, charsMax: number): Promise<string[]> {
  const head: string[] = []
  let chars = 0
  for await (const block of readLines(path)) {
    for (const [i, line] of block.lines.entries()) {
      if (head.length >= linesMax || chars >= charsMax) return head
      if (line.trim() === '' || block.cut.includes(i)) continue
      head.push(line)
      chars += line.length
    }
  }
  return head
}

async function isGzip(path: string): Promise<boolean> {
  const start = new Uint8Array(2)
  try {
    const file = await open(path, 'r')
    try {
      await file.read(start, 0, 2, 0)
    } finally {
      await file.close()
    }
  } catch (error) {
    throw readError(path, error, false)
  }
  if ((start[0] === 0xff && start[1] === 0xfe) || (start[0] === 0xfe && start[1] === 0xff)) {
    throw new ConfigError([`${path} is UTF-16, which is not read; convert it first: iconv -f UTF-16 -t UTF-8`])
  }
  return start[0] === 0x1f && start[1] === 0x8b
}

function readError(path: string, error: unknown, zipped: boolean): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? ''
  if (zipped && (code.startsWith('Z_') || code === 'ERR__ZLIB')) {
    return new CorruptError(`${path}: the gzip data is damaged or ends too early (${(error as Error).message}); fetch the file again`, {
      cause: error
    })
  }
  if (['ENOENT', 'EACCES', 'EPERM', 'EISDIR', 'ENOTDIR', 'EIO'].includes(code)) {
    return new ConfigError([`cannot read ${path}: ${(error as Error).message}`])
  }
  return error
}
