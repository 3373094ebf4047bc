// Which records each training step was cut from, written before the step: what makes weights bit-equal after a crash.

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
import type { OffsetRanges } from '../../core/offsets.ts'

export interface LedgerEntry {
  /** The step that trains on this batch: the first is 1 more than the last checkpoint's, and they ascend. */
  readonly step: number
  /** Records of `user-sequences` that the batch was cut from. */
  readonly ranges: OffsetRanges
  /** Examples cut from them, without replayed ones. */
  readonly examples: number
  /** Next offset of the catalogue that the trainer knew. */
  readonly catalogue: bigint
}

/**
 * Append-only list of batch boundaries. After a restart: restore the checkpoint of step S, train on `after(S)` again
 * batch by batch, then continue where the last range ended.
 */
export interface BatchLedger {
  /** The entry survives the death of this process. @throws Error if `entry.step` is not above the last one's */
  append(entry: LedgerEntry): void
  /** Entries with a step above `step`, ascending. */
  after(step: number): readonly LedgerEntry[]
  /** Drops entries below `step`: 1 more than the OLDEST kept checkpoint's, since newer ones may turn out damaged. */
  truncateBefore(step: number): void
  close(): void
}

/** @throws Error if the entry cannot follow the last one: a bug of the caller */
export function checkNext({ step }: LedgerEntry, last: LedgerEntry | undefined): void {
  if (!(Number.isSafeInteger(step) && step >= 0)) throw new Error(`ledger: step ${step} is not a whole number`)
  if (last !== undefined && step <= last.step) throw new Error(`ledger: step ${step} after step ${last.step}`)
}

/**
 * BatchLedger in one append-only file, a line per entry: 16 hexadecimal digits of the SHA-256 of the JSON text, a
 * space, the JSON text. A last entry that was torn by a kill is dropped when the file is opened. Entries are held in
 * memory as well: a few hundred between two checkpoints.
 *
 * `append` hands an entry to the operating system, which survives SIGKILL but not a power loss. After one, steps whose
 * entries are lost are cut again: weights may differ from those of an undisturbed run, but no example is lost.
 */
export class BatchLedgerFile implements BatchLedger {
  readonly #file: string
  #handle: number
  #bytes: number
  #entries: LedgerEntry[]

  /**
   * @throws CorruptError if an entry before the last is damaged; the file is left unchanged
   * @throws UnavailableError if it cannot be opened
   */
  constructor({ file }: { readonly file: string }) {
    this.#file = file
    let text: Buffer
    try {
      mkdirSync(path.dirname(file), { recursive: true })
      this.#handle = openSync(file, 'a+')
      text = readFileSync(this.#handle)
    } catch (cause) {
      throw this.#unavailable('opened', cause)
    }
    try {
      const { entries, bytes } = parse(text, file)
      this.#entries = entries
      this.#bytes = bytes
      if (bytes < text.length) ftruncateSync(this.#handle, bytes)
    } catch (error) {
      closeSync(this.#handle)
      throw error
    }
  }

  append(entry: LedgerEntry): void {
    checkNext(entry, this.#entries.at(-1))
    const line = Buffer.from(lineOf(entry))
    try {
      writeAll(this.#handle, line)
    } catch (cause) {
      // The next entry must not follow half a line: it would look like damage.
      try {
        ftruncateSync(this.#handle, this.#bytes)
      } catch (second) {
        const message = `ledger ${this.#file}: half an entry was written and cannot be removed: ${String(second)}`
        throw new CorruptError(message, { cause })
      }
      throw this.#unavailable('written', cause)
    }
    this.#bytes += line.length
    this.#entries.push(entry)
  }

  after(step: number): readonly LedgerEntry[] {
    return this.#entries.filter((entry) => entry.step > step)
  }

  /** Writes another file, syncs and renames it: killed at any moment it leaves the old list or the new one. */
  truncateBefore(step: number): void {
    if ((this.#entries[0]?.step ?? step) >= step) return
    const entries = this.#entries.filter((entry) => entry.step >= step)
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

  close(): void {
    closeSync(this.#handle)
  }

  #unavailable(what: string, cause: unknown): UnavailableError {
    return new UnavailableError(`ledger ${this.#file} cannot be ${what}: ${(cause as Error).message}`, { cause })
  }
}

function writeAll(handle: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length; ) written += writeSync(handle, bytes, written)
}

function checksumOf(json: string): string {
  return createHash('sha256').update(json).digest('hex').slice(0, 16)
}

function lineOf({ step, ranges, examples, catalogue }: LedgerEntry): string {
  const offsets = Array.from(ranges, ([partition, { from, to }]) => [partition, String(from), String(to)])
  const json = JSON.stringify({ step, ranges: offsets, examples, catalogue: String(catalogue) })
  return `${checksumOf(json)} ${json}\n`
}

/** @returns the entries, and how many bytes of the file they are: the rest was torn */
function parse(file: Buffer, name: string): { entries: LedgerEntry[]; bytes: number } {
  const entries: LedgerEntry[] = []
  let start = 0
  while (start < file.length) {
    const newline = file.indexOf(0x0a, start)
    const entry = newline < 0 ? undefined : entryOf(file.toString('utf8', start, newline))
    if (entry === undefined) {
      if (newline < 0 || newline + 1 === file.length) break
      throw new CorruptError(
        `ledger ${name}: entry ${entries.length + 1}, at byte ${start}, is damaged and others follow it. ` +
          'Move the file away to continue from the last checkpoint; its batches are then cut again'
      )
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
  const { step, ranges, examples, catalogue } = JSON.parse(json) as {
    step: number
    ranges: [number, string, string][]
    examples: number
    catalogue: string
  }
  const offsets = ranges.map(([partition, from, to]) => [partition, { from: BigInt(from), to: BigInt(to) }] as const)
  return { step, ranges: new Map(offsets), examples, catalogue: BigInt(catalogue) }
}
