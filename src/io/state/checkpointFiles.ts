// Checkpoints as files: one file each, complete under its name or not there at all.
//
// Layout, little-endian:
//   8 bytes  "MTMICKPT"
//   4 bytes  format version
//   4 bytes  length of the table of contents
//   n bytes  table of contents, JSON: step, the checkpoint's header, name, type and length of each array
//            arrays, in that order, without gaps
//  32 bytes  SHA-256 of everything before
//
// SHA-256 rather than CRC-32: it is in every Node 20 (zlib.crc32 came with 20.15), and with the processor's SHA instructions it reads 1.6 GB/s against 3.1:
// either way the disk is slower.

import { createHash, type Hash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { type FileHandle, open, readdir, rename, unlink } from 'node:fs/promises'
import path from 'node:path'
import { ConfigError, CorruptError, MtmiError, UnavailableError } from '../../base/errors.ts'
import type { NamedArray } from '../../batch/namedArrays.ts'
import type { Checkpoint, CheckpointStore } from '../../train/checkpoint.ts'
import { jsonOf } from './checkpointJson.ts'

const magic = 'MTMICKPT'
const formatVersion = 1
const prefixBytes = 16
const checksumBytes = 32
/** Written and read in pieces of this size, so that a large array keeps the event loop busy for about 10 ms at a time. */
const pieceBytes = 16 * 1024 * 1024
/** A table of contents beyond this is damage, not a checkpoint. */
const contentsMax = 256 * 1024 * 1024

const kinds = { Float32Array, Float64Array, Int32Array, Uint8Array } as const

interface Contents {
  readonly step: number
  readonly header: Record<string, unknown>
  readonly arrays: readonly { readonly name: string; readonly type: keyof typeof kinds; readonly length: number }[]
}

export interface CheckpointFilesOptions {
  /** Made if it is missing. One process writes into it at a time. */
  readonly directory: string
  /** Intact checkpoints kept; ≥ 1. */
  readonly keep: number
  /** Intact versions kept; ≥ 0, default 0. */
  readonly versionKeep?: number
}

/**
 * CheckpointStore on a directory: `checkpoint-<step>.mtmi`. A save writes under another name, syncs, renames and syncs the directory: killed at any
 * moment it leaves the earlier files as they were. A version has an empty file `checkpoint-<step>.version` beside it. A damaged file is never deleted and never written over: a save of the same step first
 * renames it to `….damaged-<n>`.
 *
 * Arrays handed to `save` must not change until it resolves.
 */
export class CheckpointFiles implements CheckpointStore {
  readonly #directory: string
  readonly #keep: number
  readonly #versionKeep: number
  /** Files known to be whole: written, or read and checked, by this object. */
  readonly #intact = new Set<string>()
  /** Saves are made one after the other. */
  #saving: Promise<void> = Promise.resolve()

  /** @throws UnavailableError if the directory can't be made */
  constructor(options: CheckpointFilesOptions) {
    if (!(Number.isInteger(options.keep) && options.keep >= 1))
      throw new RangeError(`keep must be a whole number above 0, not ${options.keep}`)
    this.#directory = options.directory
    this.#keep = options.keep
    this.#versionKeep = options.versionKeep ?? 0
    try {
      mkdirSync(options.directory, { recursive: true })
    } catch (cause) {
      throw new UnavailableError(`checkpoints: directory ${options.directory} cannot be made: ${reasonOf(cause)}`, { cause })
    }
  }

  /** As the constructor does. */
  static async open(directory: string, options: { readonly keep: number }): Promise<CheckpointFiles> {
    return new CheckpointFiles({ directory, ...options })
  }

  /** @throws UnavailableError if it can't be written (disk full, no permission); the earlier ones are untouched */
  save(step: number, checkpoint: Checkpoint, as?: 'version'): Promise<void> {
    const save = this.#saving.then(() => this.#save(step, checkpoint, as === 'version'))
    this.#saving = save.catch(() => undefined)
    return save
  }

  /** As `save`, and all others stay. */
  replace(step: number, checkpoint: Checkpoint): Promise<void> {
    const replace = this.#saving.then(async () => {
      const steps = await this.steps()
      if (!steps.includes(step))
        throw new ConfigError([`there is no checkpoint of step ${step} in ${this.#directory}; there are: ${steps.join(', ') || 'none'}`])
      await this.#put(step, checkpoint)
    })
    this.#saving = replace.catch(() => undefined)
    return replace
  }

  async latest(): Promise<{ step: number; checkpoint: Checkpoint; skipped: readonly string[] } | undefined> {
    const skipped: string[] = []
    for (const step of (await this.steps()).reverse()) {
      try {
        return { step, checkpoint: await this.load(step), skipped }
      } catch (error) {
        if (!(error instanceof CorruptError)) throw error
        skipped.push(error.message)
      }
    }
    if (skipped.length === 0) return undefined
    throw new CorruptError(
      `checkpoints: none of the ${skipped.length} in ${this.#directory} is intact; put one back from a backup, or move them away to begin anew:\n  - ${skipped.join('\n  - ')}`
    )
  }

  /** @throws CorruptError if it is damaged @throws ConfigError if there is none of that step */
  async load(step: number): Promise<Checkpoint> {
    const file = this.#file(step)
    let handle: FileHandle
    try {
      handle = await open(file, 'r')
    } catch (cause) {
      if (codeOf(cause) !== 'ENOENT') throw new UnavailableError(`checkpoint ${file} cannot be opened: ${reasonOf(cause)}`, { cause })
      const steps = await this.steps()
      throw new ConfigError([`there is no checkpoint of step ${step} in ${this.#directory}; there are: ${steps.join(', ') || 'none'}`])
    }
    try {
      const checkpoint = await read(handle, file, step)
      this.#intact.add(file)
      return checkpoint
    } catch (error) {
      this.#intact.delete(file)
      throw error instanceof MtmiError
        ? error
        : new UnavailableError(`checkpoint ${file} cannot be read: ${reasonOf(error)}`, { cause: error })
    } finally {
      await handle.close()
    }
  }

  /** Of all files that are named like a checkpoint, damaged ones included; ascending. */
  async steps(): Promise<number[]> {
    const names = await this.#names()
    return names
      .map((name) => /^checkpoint-(\d{12,})\.mtmi$/.exec(name)?.[1])
      .filter((digits) => digits !== undefined)
      .map(Number)
      .sort((a, b) => a - b)
  }

  async versions(): Promise<number[]> {
    const names = new Set(await this.#names())
    return (await this.steps()).filter((step) => names.has(path.basename(this.#versionFile(step))))
  }

  /** Header and size, without the arrays, and unchecked: for whoever lists what there is. @throws CorruptError, ConfigError as `load` */
  async describe(step: number): Promise<{ header: Readonly<Record<string, unknown>>; bytes: number }> {
    const file = this.#file(step)
    const handle = await open(file, 'r').catch((cause: unknown) => {
      throw new UnavailableError(`checkpoint ${file} cannot be opened: ${reasonOf(cause)}`, { cause })
    })
    try {
      const { size } = await handle.stat()
      return { header: (await readContents(handle, file, size)).contents.header, bytes: size }
    } finally {
      await handle.close()
    }
  }

  async #save(step: number, checkpoint: Checkpoint, asVersion: boolean): Promise<void> {
    if (!(Number.isSafeInteger(step) && step >= 0)) throw new RangeError(`a checkpoint's step must be a whole number, not ${step}`)
    await this.#put(step, checkpoint, asVersion)
    await this.#prune(step)
  }

  /** @param asVersion undefined: as it is */
  async #put(step: number, checkpoint: Checkpoint, asVersion?: boolean): Promise<void> {
    const file = this.#file(step)
    const temporary = `${file}.tmp`
    const { prefix, arrays } = encode(step, checkpoint)
    try {
      await write(temporary, prefix, arrays)
      await this.#setDamagedAside(step)
      await rename(temporary, file)
      if (asVersion === true) await (await open(this.#versionFile(step), 'w')).close()
      else if (asVersion === false) await unlink(this.#versionFile(step)).catch(() => undefined)
      await syncDirectory(this.#directory)
    } catch (cause) {
      await unlink(temporary).catch(() => undefined)
      if (cause instanceof MtmiError) throw cause
      throw new UnavailableError(`checkpoint ${file} cannot be written: ${reasonOf(cause)}`, { cause })
    }
    this.#intact.add(file)
  }

  async #setDamagedAside(step: number): Promise<void> {
    const file = this.#file(step)
    const names = new Set(await this.#names())
    // Read anew, whatever is remembered of it: it is about to be replaced.
    this.#intact.delete(file)
    if (!names.has(path.basename(file)) || (await this.#isIntact(step))) return
    let n = 1
    while (names.has(`${path.basename(file)}.damaged-${n}`)) n++
    await rename(file, `${file}.damaged-${n}`)
  }

  /**
   * Deletes all intact ones but the newest `keep` and `versionKeep` versions, and what killed saves left. Only what is known to be intact is counted and deleted, so a file of an
   * earlier process is read once before. Later steps than the one just saved are left of a run that went back: `latest` must be this one.
   */
  async #prune(saved: number): Promise<void> {
    try {
      const versions = new Set(await this.versions())
      let kept = 0
      let keptVersions = 0
      for (const step of (await this.steps()).reverse()) {
        if (step !== saved && !(await this.#isIntact(step))) continue
        const isVersion = versions.has(step) && step <= saved && ++keptVersions <= this.#versionKeep
        if (versions.has(step) && !isVersion) await unlink(this.#versionFile(step))
        if (step <= saved && (++kept <= this.#keep || isVersion)) continue
        await unlink(this.#file(step))
        this.#intact.delete(this.#file(step))
      }
      for (const name of await this.#names()) if (name.endsWith('.mtmi.tmp')) await unlink(path.join(this.#directory, name))
    } catch (cause) {
      throw new UnavailableError(`checkpoints in ${this.#directory}: older ones cannot be deleted: ${reasonOf(cause)}`, { cause })
    }
  }

  async #isIntact(step: number): Promise<boolean> {
    if (this.#intact.has(this.#file(step))) return true
    try {
      await this.load(step)
      return true
    } catch (error) {
      if (error instanceof CorruptError) return false
      throw error
    }
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.#directory)
    } catch (cause) {
      throw new UnavailableError(`checkpoints: directory ${this.#directory} cannot be read: ${reasonOf(cause)}`, { cause })
    }
  }

  #file(step: number): string {
    return path.join(this.#directory, `checkpoint-${String(step).padStart(12, '0')}.mtmi`)
  }

  #versionFile(step: number): string {
    return path.join(this.#directory, `checkpoint-${String(step).padStart(12, '0')}.version`)
  }
}

function encode(step: number, checkpoint: Checkpoint): { prefix: Buffer; arrays: Uint8Array[] } {
  const arrays = [...checkpoint.arrays]
  const contents = jsonOf({
    step,
    header: checkpoint.header,
    arrays: arrays.map(([name, array]) => ({ name, type: kindOf(name, array), length: array.length }))
  })
  const bytes = Buffer.from(contents, 'utf8')
  if (bytes.length > contentsMax) throw new RangeError(`checkpoint: a header of ${bytes.length} bytes; large state belongs into arrays`)
  const prefix = Buffer.alloc(prefixBytes + bytes.length)
  prefix.write(magic, 'latin1')
  prefix.writeUInt32LE(formatVersion, 8)
  prefix.writeUInt32LE(bytes.length, 12)
  bytes.copy(prefix, prefixBytes)
  return { prefix, arrays: arrays.map(([, array]) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)) }
}

async function write(file: string, prefix: Buffer, arrays: readonly Uint8Array[]): Promise<void> {
  const handle = await open(file, 'w')
  try {
    const hash = createHash('sha256')
    await writeAll(handle, prefix, hash)
    for (const array of arrays) await writeAll(handle, array, hash)
    await writeAll(handle, hash.digest())
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, hash?: Hash): Promise<void> {
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const piece = bytes.subarray(at, at + pieceBytes)
    hash?.update(piece)
    for (let written = 0; written < piece.length; ) written += (await handle.write(piece, written)).bytesWritten
  }
}

async function readContents(handle: FileHandle, file: string, size: number, hash?: Hash): Promise<{ contents: Contents; end: number }> {
  const damaged = (what: string) => new CorruptError(`checkpoint ${file}: ${what}`)
  if (size < prefixBytes + checksumBytes) throw damaged(`cut off: ${size} bytes are less than an empty checkpoint has`)
  const prefix = Buffer.alloc(prefixBytes)
  await readAll(handle, prefix, 0, hash)
  if (prefix.toString('latin1', 0, 8) !== magic) throw damaged('does not begin as a checkpoint does')
  const version = prefix.readUInt32LE(8)
  if (version !== formatVersion) throw damaged(`has format version ${version}, this program reads ${formatVersion}`)
  const contentsBytes = prefix.readUInt32LE(12)
  if (contentsBytes > contentsMax || prefixBytes + contentsBytes + checksumBytes > size)
    throw damaged(`cut off within its table of contents (${size} bytes)`)
  const text = Buffer.alloc(contentsBytes)
  await readAll(handle, text, prefixBytes, hash)
  let contents: Contents
  try {
    contents = JSON.parse(text.toString('utf8')) as Contents
  } catch (cause) {
    throw new CorruptError(`checkpoint ${file}: its table of contents is not JSON`, { cause })
  }
  if (!isContents(contents)) throw damaged('its table of contents is not one of a checkpoint')
  return { contents, end: prefixBytes + contentsBytes }
}

async function read(handle: FileHandle, file: string, step: number): Promise<Checkpoint> {
  const { size } = await handle.stat()
  const damaged = (what: string) => new CorruptError(`checkpoint ${file}: ${what}`)
  const hash = createHash('sha256')
  const { contents, end } = await readContents(handle, file, size, hash)
  const arrayBytes = contents.arrays.reduce((sum, { type, length }) => sum + length * kinds[type].BYTES_PER_ELEMENT, 0)
  const expected = end + arrayBytes + checksumBytes
  if (size !== expected) throw damaged(`${size < expected ? 'cut off' : 'too long'}: ${size} bytes where ${expected} were written`)
  const arrays = new Map<string, NamedArray>()
  let at = end
  for (const { name, type, length } of contents.arrays) {
    const array = new kinds[type](length)
    await readAll(handle, new Uint8Array(array.buffer), at, hash)
    at += array.byteLength
    arrays.set(name, array)
  }
  const checksum = Buffer.alloc(checksumBytes)
  await readAll(handle, checksum, at)
  if (!hash.digest().equals(checksum)) throw damaged('its checksum is wrong')
  if (contents.step !== step) throw damaged(`holds step ${contents.step}: was it renamed?`)
  return { header: contents.header, arrays }
}

async function readAll(handle: FileHandle, bytes: Uint8Array, position: number, hash?: Hash): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, at, Math.min(pieceBytes, bytes.length - at), position + at)
    if (bytesRead === 0) throw new CorruptError(`checkpoint: the file ended at ${position + at} while it was read`)
    hash?.update(bytes.subarray(at, at + bytesRead))
    at += bytesRead
  }
}

function isContents(value: unknown): value is Contents {
  const contents = value as Partial<Contents> | null
  return (
    typeof contents === 'object' &&
    contents !== null &&
    typeof contents.step === 'number' &&
    typeof contents.header === 'object' &&
    contents.header !== null &&
    Array.isArray(contents.arrays) &&
    contents.arrays.every(
      (array: Partial<Contents['arrays'][number]>) =>
        typeof array.name === 'string' &&
        Object.hasOwn(kinds, String(array.type)) &&
        Number.isSafeInteger(array.length) &&
        array.length! >= 0
    )
  )
}

function kindOf(name: string, array: NamedArray): keyof typeof kinds {
  for (const kind of Object.keys(kinds) as (keyof typeof kinds)[]) if (array instanceof kinds[kind]) return kind
  throw new TypeError(`checkpoint: array ${name} is of none of the types ${Object.keys(kinds).join(', ')}`)
}

/** A rename is durable once its directory is. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
