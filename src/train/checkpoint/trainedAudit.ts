// Which examples each batch held, in one append-only file: to verify that each example is trained on once.
//
// A line per batch: its number, a tab, `partition:offset` of each example in order, separated by commas. A batch that
// is repeated after a restart gets another line: the last line of a batch counts.

import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { UnavailableError } from '../../core/errors.ts'
import type { Example } from '../../records/example.ts'

export class TrainedAudit {
  readonly #file: string
  readonly #handle: number

  /** Removes a torn last line: its batch is repeated. @throws UnavailableError if the file cannot be opened */
  constructor(file: string) {
    this.#file = file
    try {
      mkdirSync(path.dirname(file), { recursive: true })
      this.#handle = openSync(file, 'a+')
      ftruncateSync(this.#handle, readFileSync(this.#handle).lastIndexOf(0x0a) + 1)
    } catch (cause) {
      throw unavailable(file, cause)
    }
  }

  /** The line survives the death of the process. @throws UnavailableError if it cannot be written */
  append(batch: number, examples: readonly Pick<Example, 'source'>[]): void {
    const sources = examples.map(({ source }) => `${source.partition}:${source.offset}`)
    const line = Buffer.from(`${batch}\t${sources.join(',')}\n`)
    try {
      for (let written = 0; written < line.length; ) written += writeSync(this.#handle, line, written)
    } catch (cause) {
      throw unavailable(this.#file, cause)
    }
  }

  close(): void {
    closeSync(this.#handle)
  }
}

function unavailable(file: string, cause: unknown): UnavailableError {
  return new UnavailableError(`audit ${file} cannot be written: ${(cause as Error).message}`, { cause })
}
