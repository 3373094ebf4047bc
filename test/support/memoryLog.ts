// The event log as arrays: what tests read and append where nothing needs to last.

import type { Clock } from '../../src/core/clock.ts'
import { CorruptError, FencedError } from '../../src/core/errors.ts'
import type { Offsets } from '../../src/core/offsets.ts'
import type { EventLog, LogEvent, LogRecord, NewRecord, ReadOptions, TopicDescription } from '../../src/log/eventLog.ts'
import { partitionOf } from '../../src/log/partitioner.ts'

/** Between two times that a reader without anything to read says so. */
const idleMs = 20

export interface MemoryLogOptions {
  readonly partitions: (topic: string) => number
  readonly clock: Clock
}

/** What several MemoryLogs may share, as several processes share a directory or a broker. */
class Store {
  readonly topics = new Map<string, LogRecord[][]>()
  /** Of topics that were created again. */
  readonly ids = new Map<string, string>()
  recreated = 0
  readonly epochs = new Map<string, number>()
  readonly waiting = new Set<() => void>()
  /** Older than another of the same key. */
  readonly compacted = new Set<LogRecord>()
}

export class MemoryLog implements EventLog {
  readonly #options: MemoryLogOptions
  readonly #store: Store
  readonly #epochs = new Map<string, number>()
  /** Fences under which an append has failed. */
  readonly #failed = new Set<string>()
  #closed = false

  constructor(options: MemoryLogOptions, sharedWith?: MemoryLog) {
    this.#options = options
    this.#store = sharedWith === undefined ? new Store() : sharedWith.#store
  }

  /** All records of a topic, for assertions: by partition, then offset. */
  records(topic: string): readonly LogRecord[] {
    return this.#partitions(topic).flat()
  }

  /** Deletes the topic and creates it again. */
  recreate(topic: string, partitions = this.#partitions(topic).length): void {
    this.#store.topics.set(
      topic,
      Array.from({ length: partitions }, () => [])
    )
    this.#store.ids.set(topic, String(++this.#store.recreated))
  }

  /** Adds empty partitions, as Kafka's tools do. */
  grow(topic: string, partitions: number): void {
    const log = this.#partitions(topic)
    while (log.length < partitions) log.push([])
  }

  async describe(topic: string): Promise<TopicDescription> {
    return { id: this.#store.ids.get(topic) ?? '', partitions: this.#partitions(topic).length }
  }

  /** What is left is the newest record of each key, as compaction leaves it. */
  compact(topic: string): void {
    for (const partition of this.#partitions(topic)) {
      const keys = new Set<string>()
      for (const record of [...partition].reverse()) {
        const key = Buffer.from(record.key).toString('hex')
        if (keys.has(key)) this.#store.compacted.add(record)
        keys.add(key)
      }
    }
  }

  async append(topic: string, records: readonly NewRecord[], fence?: string): Promise<void> {
    if (this.#closed) throw new Error(`append to topic ${topic} of a log that was closed`)
    const partitions = this.#partitions(topic)
    const targets = records.map((record) => {
      const partition = record.partition ?? partitionOf(record.key, partitions.length)
      if (partitions[partition] === undefined)
        throw new RangeError(`append to partition ${partition} of topic ${topic}, which has ${partitions.length}`)
      return partition
    })
    if (fence !== undefined) this.#claim(`${topic}/${fence}`, records.length === 0)
    try {
      this.#push(records, targets, partitions)
    } catch (error) {
      if (fence !== undefined) this.#failed.add(`${topic}/${fence}`)
      throw error
    }
    for (const wake of [...this.#store.waiting]) wake()
  }

  #push(records: readonly NewRecord[], targets: readonly number[], partitions: LogRecord[][]): void {
    const nowMs = this.#options.clock.nowMs()
    for (const [i, record] of records.entries()) {
      const partition = targets[i]!
      const log = partitions[partition]!
      log.push({
        // Copies: the caller may use its buffers again.
        key: record.key.slice(),
        value: record.value === null ? null : record.value.slice(),
        headers: Object.fromEntries(Object.entries(record.headers ?? {}).map(([name, bytes]) => [name, bytes.slice()])),
        partition,
        offset: BigInt(log.length),
        timestampMs: Math.max(log.at(-1)?.timestampMs ?? 0, nowMs)
      })
    }
  }

  async *read(topic: string, options: ReadOptions): AsyncGenerator<LogEvent, void, undefined> {
    const { resume, signal, untilEnd } = options
    const stopped = () => signal.aborted || this.#closed
    if (stopped()) return
    const partitions = this.#partitions(topic)
    const numbers = partitions.map((_, partition) => partition)
    yield { kind: 'assigned', partitions: numbers }
    const positions: number[] = []
    for (const partition of numbers) positions.push(Number(await resume(partition)))
    const ends = partitions.map((log) => log.length)
    for (const partition of numbers) {
      if (positions[partition]! > ends[partition]!)
        throw new CorruptError(`asked to read on from beyond the end of topic ${topic}`)
    }
    while (!stopped()) {
      let found = false
      for (const [partition, log] of partitions.entries()) {
        const records = log.slice(positions[partition], untilEnd === true ? ends[partition] : undefined).slice(0, 500)
        if (records.length === 0) continue
        found = true
        positions[partition]! += records.length
        const left = records.filter((record) => !this.#store.compacted.has(record))
        if (left.length > 0) yield { kind: 'records', partition, records: left, end: BigInt(log.length) }
        if (stopped()) return
      }
      if (untilEnd === true && numbers.every((partition) => positions[partition]! >= ends[partition]!)) return
      if (found) continue
      yield { kind: 'idle' }
      if (!stopped()) await this.#appended(signal)
    }
  }

  async ends(topic: string): Promise<Offsets> {
    return new Map(this.#partitions(topic).map((log, partition) => [partition, BigInt(log.length)]))
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const wake of [...this.#store.waiting]) wake()
  }

  #partitions(topic: string): LogRecord[][] {
    let partitions = this.#store.topics.get(topic)
    if (partitions === undefined) {
      partitions = Array.from({ length: this.#options.partitions(topic) }, () => [])
      this.#store.topics.set(topic, partitions)
    }
    return partitions
  }

  #claim(fence: string, isClaim: boolean): void {
    if (isClaim) this.#failed.delete(fence)
    if (this.#failed.has(fence))
      throw new FencedError(`an earlier append under fence ${fence} has failed`, { hasNewerOwner: false })
    const newest = this.#store.epochs.get(fence) ?? 0
    const mine = this.#epochs.get(fence) ?? newest + 1
    if (newest > mine) throw new FencedError(`fence ${fence} was claimed by a newer owner`, { hasNewerOwner: true })
    this.#epochs.set(fence, mine)
    this.#store.epochs.set(fence, mine)
  }

  /** Until the next append or close, of whichever log on this store. */
  #appended(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        this.#store.waiting.delete(wake)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      const timer = setTimeout(wake, idleMs)
      this.#store.waiting.add(wake)
      signal.addEventListener('abort', wake)
    })
  }
}
