// The list of what was learned, in one append-only file: which examples each batch held. For audits; nothing in the
// pipeline reads it.
//
// A line is a batch: its number, a tab, `partition:offset` of each example in the order of learning, separated by
// commas.

import { closeSync, existsSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { CorruptError, UnavailableError } from '../../src/core/errors.ts'
import type { Example } from '../../src/records/example.ts'

/**
 * A batch that is learned again after a restart gets another line: of the lines of one batch the last one counts. A
 * line survives the death of the process; one that was torn by it is taken back when the file is opened, for its batch
 * is learned again.
 */
export class LearnedAudit {
  readonly #file: string
  readonly #handle: number

  /** @throws UnavailableError if the file can't be opened */
  constructor(file: string) {
    this.#file = file
    try {
      mkdirSync(path.dirname(file), { recursive: true })
      this.#handle = openSync(file, 'a+')
      const bytes = readFileSync(this.#handle)
      ftruncateSync(this.#handle, bytes.lastIndexOf(0x0a) + 1)
    } catch (cause) {
      throw unavailable(file, cause)
    }
  }

  append(batch: number, examples: readonly Pick<Example, 'source'>[]): void {
    const line = Buffer.from(
      `${batch}\t${examples.map(({ source }) => `${source.partition}:${source.offset}`).join(',')}\n`
    )
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

/**
 * Every line that is whole, in the order of writing; none for a file that was never written.
 *
 * @throws CorruptError for a whole line that is none of an audit
 */
export function readLearnedAudit(file: string): { batch: number; examples: string[] }[] {
  if (!existsSync(file)) return []
  const text = readFileSync(file, 'utf8')
  const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n')
  return lines.slice(0, -1).map((line, i) => {
    const parsed = /^(\d+)\t(\d+:\d+(?:,\d+:\d+)*)?$/.exec(line)
    if (parsed === null)
      throw new CorruptError(
        `${file}:${i + 1}: expected a batch, a tab and partition:offset,…, found ${line.slice(0, 80)}`
      )
    return { batch: Number(parsed[1]), examples: parsed[2]?.split(',') ?? [] }
  })
}

function unavailable(file: string, cause: unknown): UnavailableError {
  return new UnavailableError(
    `audit ${file} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`,
    { cause }
  )
}
