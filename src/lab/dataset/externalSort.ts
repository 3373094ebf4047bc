// Sorts more than memory holds: sorted runs on disk, merged (Knuth, TAOCP 3, § 5.4). What fits is sorted in memory and
// never written.

import { mkdir, mkdtemp, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type LineBlock, readLines } from './lineReader.ts'

interface ExternalSortOptions<T> {
  /** Where runs go, in a folder of their own that is removed afterwards. */
  readonly tempDir: string
  /** What the values in memory may take before they are written as a run, by `sizeOf`. */
  readonly memoryMaxBytes: number
  /** Bytes that a value takes in memory, roughly. */
  readonly sizeOf: (value: T) => number
  /**
   * Runs merged at once. Each has a block of 256 KiB in memory while it is read. Default 32: 8 MiB, and two rounds
   * reach 1,024 runs.
   */
  readonly fanInMax?: number
}

/** Values handed on at once. */
const blockRows = 1024
/** Written at once. */
const writeChars = 256 * 1024

/**
 * Takes values with numeric keys, then gives them by ascending key; equal keys stay in the order of `add`. Values
 * travel through JSON where they do not fit. Add, then read `sorted()` once; `close` in any case.
 */
export class ExternalSort<T> {
  readonly #options: ExternalSortOptions<T>
  #keys: number[] = []
  #values: T[] = []
  #bytes = 0
  #runs: string[] = []
  #runCount = 0
  #folder: string | undefined

  constructor(options: ExternalSortOptions<T>) {
    this.#options = options
  }

  /** Runs written so far, merged ones included; 0: all is in memory. */
  get runsWritten(): number {
    return this.#runCount
  }

  /** @param key a number, not NaN */
  add(key: number, value: T): void {
    this.#keys.push(key)
    this.#values.push(value)
    this.#bytes += this.#options.sizeOf(value)
  }

  /** Writes a run if memory is full. To be awaited between blocks of `add`, which then may overshoot by one block. */
  async spill(): Promise<void> {
    if (this.#bytes >= this.#options.memoryMaxBytes && this.#keys.length > 0) await this.#writeRun()
  }

  async *sorted(): AsyncGenerator<readonly T[], void, undefined> {
    if (this.#runs.length === 0) {
      const order = this.#order()
      for (let from = 0; from < order.length; from += blockRows) {
        yield Array.from(order.subarray(from, from + blockRows), (i) => this.#values[i]!)
      }
      return
    }
    if (this.#keys.length > 0) await this.#writeRun()
    const fanIn = Math.max(2, this.#options.fanInMax ?? 32)
    // Neighbouring runs are merged into one in their place, so that equal keys stay in order.
    while (this.#runs.length > fanIn) {
      const merged: string[] = []
      for (let from = 0; from < this.#runs.length; from += fanIn) {
        const group = this.#runs.slice(from, from + fanIn)
        merged.push(group.length === 1 ? group[0]! : await this.#write(merge<T>(group)))
        if (group.length > 1) await Promise.all(group.map((run) => rm(run)))
      }
      this.#runs = merged
    }
    for await (const block of merge<T>(this.#runs)) yield block.map((entry) => entry.value)
  }

  /** Removes what is on disk. */
  async close(): Promise<void> {
    this.#keys = []
    this.#values = []
    this.#runs = []
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true })
    this.#folder = undefined
  }

  /** Positions by (key, order of arrival). */
  #order(): Uint32Array {
    const keys = Float64Array.from(this.#keys)
    return Uint32Array.from(keys, (_, i) => i).sort((a, b) => keys[a]! - keys[b]! || a - b)
  }

  async #writeRun(): Promise<void> {
    const order = this.#order()
    const [keys, values] = [this.#keys, this.#values]
    const entries = function* () {
      for (let from = 0; from < order.length; from += blockRows) {
        yield Array.from(order.subarray(from, from + blockRows), (i) => ({ key: keys[i]!, value: values[i]! }))
      }
    }
    this.#runs.push(await this.#write(entries()))
    this.#keys = []
    this.#values = []
    this.#bytes = 0
  }

  async #write(blocks: Iterable<Entry<T>[]> | AsyncIterable<Entry<T>[]>): Promise<string> {
    if (this.#folder === undefined) {
      await mkdir(this.#options.tempDir, { recursive: true })
      this.#folder = await mkdtemp(join(this.#options.tempDir, 'mtmi-sort-'))
    }
    const path = join(this.#folder, `run-${this.#runCount++}`)
    const file = await open(path, 'wx')
    try {
      let text = ''
      for await (const block of blocks) {
        for (const { key, value } of block) text += `${JSON.stringify([key, value])}\n`
        if (text.length >= writeChars) {
          await file.appendFile(text)
          text = ''
        }
      }
      await file.appendFile(text)
    } finally {
      await file.close()
    }
    return path
  }
}

interface Entry<T> {
  readonly key: number
  readonly value: T
}

/** One run while it is merged: its next entry, and the block that it came in. */
interface Cursor<T> {
  readonly rank: number
  readonly blocks: AsyncIterator<LineBlock>
  lines: readonly string[]
  at: number
  head: Entry<T>
}

/** By (key, run): runs were written in the order of arrival. */
async function* merge<T>(runs: readonly string[]): AsyncGenerator<Entry<T>[], void, undefined> {
  const cursors: Cursor<T>[] = []
  const heap: Cursor<T>[] = []
  try {
    for (const [rank, run] of runs.entries()) {
      // A run's line is one value: however long, it must be read back.
      const blocks = readLines(run, { lineCharsMax: Number.POSITIVE_INFINITY })
      const cursor: Cursor<T> = { rank, blocks, lines: [], at: 0, head: { key: 0, value: undefined as T } }
      cursors.push(cursor)
      if (await advance(cursor)) {
        heap.push(cursor)
        siftUp(heap)
      }
    }
    let block: Entry<T>[] = []
    while (heap.length > 0) {
      const least = heap[0]!
      block.push(least.head)
      const more = least.at < least.lines.length ? step(least) : await advance(least)
      if (!more) {
        const last = heap.pop()!
        if (last !== least) heap[0] = last
      }
      siftDown(heap)
      if (block.length === blockRows) {
        yield block
        block = []
      }
    }
    if (block.length > 0) yield block
  } finally {
    for (const cursor of cursors) await cursor.blocks.return?.()
  }
}

function step<T>(cursor: Cursor<T>): true {
  const [key, value] = JSON.parse(cursor.lines[cursor.at++]!) as [number, T]
  cursor.head = { key, value }
  return true
}

async function advance<T>(cursor: Cursor<T>): Promise<boolean> {
  const { done, value } = await cursor.blocks.next()
  if (done === true) return false
  cursor.lines = value.lines
  cursor.at = 0
  return step(cursor)
}

function before<T>(a: Cursor<T>, b: Cursor<T>): boolean {
  return a.head.key < b.head.key || (a.head.key === b.head.key && a.rank < b.rank)
}

function siftUp<T>(heap: Cursor<T>[]): void {
  for (let i = heap.length - 1; i > 0; ) {
    const parent = (i - 1) >> 1
    if (!before(heap[i]!, heap[parent]!)) return
    ;[heap[i], heap[parent]] = [heap[parent]!, heap[i]!]
    i = parent
  }
}

function siftDown<T>(heap: Cursor<T>[]): void {
  for (let i = 0; ; ) {
    let least = i
    for (const child of [2 * i + 1, 2 * i + 2])
      if (child < heap.length && before(heap[child]!, heap[least]!)) least = child
    if (least === i) return
    ;[heap[i], heap[least]] = [heap[least]!, heap[i]!]
    i = least
  }
}
