// The ledger of batch boundaries in one append-only file, a line an entry: 16 hexadecimal digits of the SHA-256 of the
// JSON text, a space, the JSON text.

import { createHash } from 'node:crypto'
import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync
} from 'node:fs'
import path from 'node:path'
import { CorruptError, UnavailableError } from '../../core/errors.ts'
import { jsonOf } from './checkpointJson.ts'
import type { BatchLedger, LedgerEntry } from './ledger.ts'

export interface BatchLedgerFileOptions {
  readonly file: string
  /**
   * Whether `append` waits for the disk. Default false: an entry is handed to the operating system, which survives
   * SIGKILL but not a power cut; after one, steps whose entries are lost are cut anew, and weights may differ from
   * those of an undisturbed run, while no example is lost.
   */
  readonly sync?: boolean
}

/**
 * BatchLedger on a file. A last entry that was torn by a kill is dropped when the file is opened.
 *
 * Entries are held in memory as well: a few hundred between two checkpoints.
 */
export class BatchLedgerFile implements BatchLedger {
  readonly #file: string
  readonly #sync: boolean
  #handle: number
  #bytes: number
  #entries: LedgerEntry[]

  /**
   * @throws CorruptError if an entry before the last is damaged; the file is left as it is @throws UnavailableError if
   *   it can't be opened
   */
  constructor(options: BatchLedgerFileOptions) {
    this.#file = options.file
    this.#sync = options.sync ?? false
    let text: Buffer
    try {
      mkdirSync(path.dirname(options.file), { recursive: true })
      this.#handle = openSync(options.file, 'a+')
      text = readFileSync(this.#handle)
    } catch (cause) {
      throw this.#unavailable('opened', cause)
    }
    try {
      const { entries, bytes } = parse(text, options.file)
      this.#entries = entries
      this.#bytes = bytes
      if (bytes < text.length) ftruncateSync(this.#handle, bytes)
    } catch (error) {
      closeSync(this.#handle)
      throw error
    }
  }

  /** As the constructor does. */
  static open(file: string, options: { readonly sync?: boolean } = {}): BatchLedgerFile {
    return new BatchLedgerFile({ file, ...options })
  }

  append(entry: LedgerEntry): void {
    const last = this.#entries.at(-1)
    if (!(Number.isSafeInteger(entry.step) && entry.step >= 0))
      throw new Error(`ledger: step ${entry.step} is not a whole number`)
    if (last !== undefined && entry.step <= last.step)
      throw new Error(`ledger: step ${entry.step} after step ${last.step}`)
    const line = Buffer.from(lineOf(entry))
    try {
      writeAll(this.#handle, line)
      if (this.#sync) fsyncSync(this.#handle)
    } catch (cause) {
      // Half a line must not be followed by the next: it would look like damage.
      try {
        ftruncateSync(this.#handle, this.#bytes)
      } catch (second) {
        throw new CorruptError(
          `ledger ${this.#file}: half an entry was written and cannot be taken back: ${String(second)}`,
          { cause }
        )
      }
      throw this.#unavailable('written', cause)
    }
    this.#bytes += line.length
    this.#entries.push(entry)
  }

  after(step: number): readonly LedgerEntry[] {
    return this.#entries.filter((entry) => entry.step > step)
  }

  truncateBefore(step: number): void {
    if (this.#entries.length > 0 && this.#entries[0]!.step < step)
      this.#rewrite(this.#entries.filter((entry) => entry.step >= step))
  }

  truncateAfter(step: number): void {
    if (this.#entries.length > 0 && this.#entries.at(-1)!.step > step)
      this.#rewrite(this.#entries.filter((entry) => entry.step <= step))
  }

  close(): void {
    closeSync(this.#handle)
  }

  /** Under another name, synced, then renamed: killed at any moment it leaves the old list or the new one. */
  #rewrite(entries: LedgerEntry[]): void {
    const temporary = `${this.#file}.tmp`
    try {
      const handle = openSync(temporary, 'w')
      try {
        writeAll(handle, Buffer.from(entries.map(lineOf).join('')))
        fsyncSync(handle)
      } finally {
        closeSync(handle)
      }
      renameSync(temporary, this.#file)
      const old = this.#handle
      this.#handle = openSync(this.#file, 'a+')
      closeSync(old)
      this.#bytes = fstatSync(this.#handle).size
      this.#entries = entries
    } catch (cause) {
      throw this.#unavailable('rewritten', cause)
    }
  }

  #unavailable(what: string, cause: unknown): UnavailableError {
    return new UnavailableError(
      `ledger ${this.#file} cannot be ${what}: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        cause
      }
    )
  }
}

function writeAll(handle: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length; ) written += writeSync(handle, bytes, written)
}

function checksumOf(json: string): string {
  return createHash('sha256').update(json).digest('hex').slice(0, 16)
}

function lineOf(entry: LedgerEntry): string {
  const json = jsonOf({
    step: entry.step,
    ranges: [...entry.ranges].map(([partition, { from, to }]) => [partition, from.toString(), to.toString()]),
    examples: entry.examples,
    ...(entry.detail === undefined ? {} : { detail: entry.detail })
  })
  return `${checksumOf(json)} ${json}\n`
}

/** @returns the entries, and how many bytes of the file they are: what follows was torn */
function parse(file: Buffer, name: string): { entries: LedgerEntry[]; bytes: number } {
  const entries: LedgerEntry[] = []
  let start = 0
  while (start < file.length) {
    const newline = file.indexOf(0x0a, start)
    const entry = newline < 0 ? undefined : entryOf(file.toString('utf8', start, newline))
    if (entry === undefined) {
      if (newline >= 0 && newline + 1 < file.length) {
        throw new CorruptError(
          `ledger ${name}: entry ${entries.length + 1}, at byte ${start}, is damaged and others follow it; move the file away to go on from the last checkpoint with batches cut anew`
        )
      }
      break
    }
    const last = entries.at(-1)
    if (last !== undefined && entry.step <= last.step)
      throw new CorruptError(`ledger ${name}: step ${entry.step} follows step ${last.step}`)
    entries.push(entry)
    start = newline + 1
  }
  return { entries, bytes: start }
}

/** undefined if the checksum is wrong. */
function entryOf(line: string): LedgerEntry | undefined {
  const json = line.slice(17)
  if (line[16] !== ' ' || checksumOf(json) !== line.slice(0, 16)) return undefined
  const parsed = JSON.parse(json) as {
    step: number
    ranges: [number, string, string][]
    examples: number
    detail?: Record<string, unknown>
  }
  return {
    step: parsed.step,
    ranges: new Map(parsed.ranges.map(([partition, from, to]) => [partition, { from: BigInt(from), to: BigInt(to) }])),
    examples: parsed.examples,
    ...(parsed.detail === undefined ? {} : { detail: parsed.detail })
  }
}
