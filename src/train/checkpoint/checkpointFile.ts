// One file of a checkpoint: written piece by piece, verified as a whole before any of it is used, read piece by piece.
//
// Layout, little-endian:
//   8 bytes  "MTMICKPT"
//   4 bytes  format version, 2
//   4 bytes  length of the head
//   n bytes  head, JSON: step, id, what the file builds on, the checkpoint's header
//            parts: 4 bytes length, JSON: name, and name, type and length of each array; then the arrays, in that
//            order, without gaps
//   4 bytes  0
//  32 bytes  SHA-256 of everything before
//
// SHA-256 rather than CRC-32: every Node 20 has it (zlib.crc32 came with 20.15), and with the processor's SHA
// instructions it reads 1.6 GB/s against 3.1: either way the disk is slower.

import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { CorruptError } from '../../core/errors.ts'
import type { NamedArray, NamedArrays } from '../../core/namedArrays.ts'
import type { Checkpoint, CheckpointPart } from '../../model/replica/checkpoint.ts'

const magic = 'MTMICKPT'
const formatVersion = 2
const prefixBytes = 16
const checksumBytes = 32
/**
 * Written at once: creating it and its checksum takes some 10 ms, after which other work on the thread gets its turn.
 */
const pieceBytes = 4 * 1024 * 1024
/** Buffers of one write at most: the system's limit is 1,024. */
const piecesMax = 512
/** Read at once while a file is verified. */
const verifiedBytes = 16 * 1024 * 1024
/** A head beyond this is damage. */
const headMax = 256 * 1024 * 1024

const kinds = { Float32Array, Float64Array, Int32Array, Uint8Array } as const

interface ArrayHead {
  readonly name: string
  readonly type: keyof typeof kinds
  readonly length: number
}

export interface CheckpointHead {
  readonly step: number
  /** Of this content; kept when a user is erased from it. */
  readonly id: string
  /** The file that has everything that is not in this one; undefined: this one is whole. */
  readonly base: { readonly step: number; readonly id: string } | undefined
  readonly header: Checkpoint['header']
  /** Size and modification time of the file. */
  readonly bytes: number
  readonly changedMs: number
  /** Offset of the parts. */
  readonly start: number
}

/** JSON.stringify that refuses what JSON would silently change. @throws TypeError */
export function jsonOf(value: unknown): string {
  return JSON.stringify(value, (key, inner: unknown) => {
    if (isJson(inner)) return inner
    throw new TypeError(`JSON cannot hold ${key}, which is ${String(inner)}: use a string or a plain object`)
  })
}

function isJson(value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value)
  if (Array.isArray(value)) return !value.includes(undefined)
  if (typeof value !== 'object' || value === null) return !['bigint', 'function', 'symbol'].includes(typeof value)
  return [Object.prototype, null].includes(Object.getPrototypeOf(value) as typeof Object.prototype | null)
}

/** Writes and syncs it. @returns offset of the parts @throws TypeError if JSON cannot hold the header */
export async function writeFile(
  file: string,
  {
    step,
    id,
    base = null,
    header
  }: Pick<CheckpointHead, 'step' | 'id' | 'header'> & { base?: CheckpointHead['base'] | null },
  parts: Iterable<CheckpointPart>
): Promise<number> {
  const text = Buffer.from(jsonOf({ step, id, base, header }), 'utf8')
  if (text.length > headMax)
    throw new RangeError(`checkpoint: a header of ${text.length} bytes; large state belongs into parts`)
  const prefix = Buffer.alloc(prefixBytes)
  prefix.write(magic, 'latin1')
  prefix.writeUInt32LE(formatVersion, 8)
  prefix.writeUInt32LE(text.length, 12)
  const handle = await open(file, 'w')
  try {
    const hash = createHash('sha256')
    let pieces: Uint8Array[] = []
    let bytes = 0
    const add = (piece: Uint8Array) => {
      hash.update(piece)
      pieces.push(piece)
      bytes += piece.length
    }
    const flush = async () => {
      await writeAll(handle, pieces)
      pieces = []
      bytes = 0
    }
    add(prefix)
    add(text)
    for (const { name, arrays } of parts) {
      const heads = Array.from(arrays, ([key, array]): ArrayHead => {
        const type = array.constructor.name as keyof typeof kinds
        return { name: key, type, length: array.length }
      })
      const contents = Buffer.from(JSON.stringify({ name, arrays: heads }), 'utf8')
      const length = Buffer.alloc(4)
      length.writeUInt32LE(contents.length)
      add(length)
      add(contents)
      for (const array of arrays.values()) {
        for (let at = 0; at < array.byteLength; at += pieceBytes) {
          add(new Uint8Array(array.buffer, array.byteOffset + at, Math.min(pieceBytes, array.byteLength - at)))
          if (bytes >= pieceBytes || pieces.length >= piecesMax) await flush()
        }
      }
    }
    add(Buffer.alloc(4))
    pieces.push(hash.digest())
    await flush()
    await handle.sync()
    return prefixBytes + text.length
  } finally {
    await handle.close()
  }
}

/** Not verified. @throws CorruptError if it is not that of a checkpoint; a system error if there is no such file */
export async function readHead(file: string): Promise<CheckpointHead> {
  const handle = await open(file, 'r')
  try {
    return await headOf(handle, file)
  } finally {
    await handle.close()
  }
}

/** @returns its head @throws CorruptError if any byte has changed; a system error if there is no such file */
export async function verifyFile(file: string, step: number): Promise<CheckpointHead> {
  const handle = await open(file, 'r')
  try {
    const head = await headOf(handle, file)
    const hash = createHash('sha256')
    const buffer = Buffer.alloc(Math.min(verifiedBytes, head.bytes))
    const end = head.bytes - checksumBytes
    for (let at = 0; at < end; ) {
      const piece = buffer.subarray(0, Math.min(buffer.length, end - at))
      await readAll(handle, piece, at, file)
      hash.update(piece)
      at += piece.length
    }
    const checksum = Buffer.alloc(checksumBytes)
    await readAll(handle, checksum, end, file)
    if (!hash.digest().equals(checksum))
      throw damaged(file, 'its checksum is wrong: it was cut off, or a byte has changed')
    if (head.step !== step) throw damaged(file, `holds step ${head.step}: was it renamed?`)
    return head
  } finally {
    await handle.close()
  }
}

/** Of a verified file. @param names of the parts to read; undefined: all */
export function* partsOfFile(
  file: string,
  head: Omit<CheckpointHead, 'header'>,
  names?: readonly string[]
): IterableIterator<CheckpointPart> {
  const handle = openSync(file, 'r')
  try {
    for (let at = head.start; ; ) {
      const length = Buffer.alloc(4)
      readAllSync(handle, length, at, file)
      at += 4
      const contentsBytes = length.readUInt32LE()
      if (contentsBytes === 0) return
      const contents = Buffer.alloc(contentsBytes)
      readAllSync(handle, contents, at, file)
      at += contentsBytes
      const { name, arrays } = JSON.parse(contents.toString('utf8')) as { name: string; arrays: readonly ArrayHead[] }
      if (names?.includes(name) ?? true) yield { name, arrays: readArrays(handle, file, at, arrays) }
      for (const { type, length } of arrays) at += length * kinds[type].BYTES_PER_ELEMENT
    }
  } finally {
    closeSync(handle)
  }
}

async function headOf(handle: FileHandle, file: string): Promise<CheckpointHead> {
  const { size, mtimeMs } = await handle.stat()
  if (size < prefixBytes + checksumBytes) throw damaged(file, `cut off (${size} bytes)`)
  const prefix = Buffer.alloc(prefixBytes)
  await readAll(handle, prefix, 0, file)
  if (prefix.toString('latin1', 0, 8) !== magic) throw damaged(file, 'does not begin as a checkpoint does')
  const format = prefix.readUInt32LE(8)
  if (format !== formatVersion) throw damaged(file, `has format version ${format}, this program reads ${formatVersion}`)
  const headBytes = prefix.readUInt32LE(12)
  if (headBytes > headMax || prefixBytes + headBytes + checksumBytes > size)
    throw damaged(file, `cut off within its head (${size} bytes)`)
  const text = Buffer.alloc(headBytes)
  await readAll(handle, text, prefixBytes, file)
  let head: Partial<CheckpointHead> & { readonly base?: CheckpointHead['base'] | null }
  try {
    head = JSON.parse(text.toString('utf8')) as typeof head
  } catch (cause) {
    throw new CorruptError(`checkpoint ${file}: its head is not JSON`, { cause })
  }
  const { step, header, id, base } = head
  if (typeof step !== 'number' || typeof id !== 'string' || typeof header !== 'object' || header === null)
    throw damaged(file, 'its head is not that of a checkpoint')
  return { step, id, base: base ?? undefined, header, bytes: size, changedMs: mtimeMs, start: prefixBytes + headBytes }
}

function readArrays(handle: number, file: string, start: number, heads: readonly ArrayHead[]): NamedArrays {
  let at = start
  return new Map(
    heads.map(({ name, type, length }): [string, NamedArray] => {
      const array = new kinds[type](length)
      readAllSync(handle, new Uint8Array(array.buffer), at, file)
      at += array.byteLength
      return [name, array]
    })
  )
}

async function writeAll(handle: FileHandle, pieces: Uint8Array[]): Promise<void> {
  for (let left = pieces; left.length > 0; ) {
    let { bytesWritten } = await handle.writev(left)
    let whole = 0
    while (whole < left.length && bytesWritten >= left[whole]!.length) bytesWritten -= left[whole++]!.length
    left = left.slice(whole)
    if (left.length > 0) left[0] = left[0]!.subarray(bytesWritten)
  }
}

async function readAll(handle: FileHandle, bytes: Uint8Array, position: number, file: string): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, at, bytes.length - at, position + at)
    if (bytesRead === 0) throw damaged(file, `it ended at ${position + at} while it was read`)
    at += bytesRead
  }
}

function readAllSync(handle: number, bytes: Uint8Array, position: number, file: string): void {
  for (let at = 0; at < bytes.length; ) {
    const bytesRead = readSync(handle, bytes, at, bytes.length - at, position + at)
    if (bytesRead === 0) throw damaged(file, `it ended at ${position + at} while it was read`)
    at += bytesRead
  }
}

function damaged(file: string, what: string): CorruptError {
  return new CorruptError(`checkpoint ${file}: ${what}`)
}
