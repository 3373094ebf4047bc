// Lines that could not be used, kept as JSON lines: nothing of the input is lost.

import { appendFile, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

export interface DeadLetter {
  /** The input file. */
  readonly file: string
  /** Its line, from 1. */
  readonly line: number
  /** What was expected and what was there. */
  readonly reason: string
  /** The line as it was, without its line end. */
  readonly raw: string
}

/**
 * One file of dead letters. It is made with the first letter, and replaces that of an earlier run over the same input.
 */
export class DeadLetterFile {
  readonly path: string
  readonly #directory: string
  #waiting: string[] = []
  #count = 0
  #fresh = true

  constructor(directory: string, name = 'dead-letters.jsonl') {
    this.#directory = directory
    this.path = join(directory, name)
  }

  /** Letters taken, written or waiting. */
  get count(): number {
    return this.#count
  }

  /** Durable after the next `flush`. */
  add(letter: DeadLetter): void {
    this.#waiting.push(`${JSON.stringify(letter)}\n`)
    this.#count++
  }

  /** Writes what waits; also removes the earlier run's file, even if there is nothing to write. */
  async flush(): Promise<void> {
    if (this.#fresh) {
      this.#fresh = false
      await rm(this.path, { force: true })
    }
    if (this.#waiting.length === 0) return
    const text = this.#waiting.join('')
    this.#waiting = []
    await mkdir(this.#directory, { recursive: true })
    await appendFile(this.path, text)
  }
}
