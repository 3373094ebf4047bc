// The embedded twin of Kafka: a durable, partitioned, replayable log in a directory, on LMDB.
//
// Any number of threads and processes may read and append at once. There are no consumer groups: every reader gets all
// partitions, and `group` is ignored, since sharing work needs a coordinator, which is what Kafka is for.

import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../../core/clock.ts'
import { diskFault } from '../../core/diskFault.ts'
import { ConfigError, CorruptError, UnavailableError } from '../../core/errors.ts'
import type { Offsets } from '../../core/offsets.ts'
import { handledLater } from '../../core/promises.ts'
import type { EventLog, LogEvent, NewRecord, ReadOptions, TopicDescription } from '../eventLog.ts'
import { partitionOf } from '../partitioner.ts'
import { newTopic } from '../topicIdentity.ts'
import { blockRecordsMax, packBlocks } from './localLogBlock.ts'
import { type Fence, LocalLogTopic } from './localLogTopic.ts'

export interface LocalLogOptions {
  /** Of a topic when it is made; afterwards it must stay the same. */
  readonly partitions: (topic: string) => number
  /**
   * Of a topic that keeps the newest record of each key for ever: how old an older one, or a deletion, must be before
   * it may go, milliseconds. A reader that lags less sees all of them. undefined, and the default for every topic: not
   * compacted.
   */
  readonly compactionLagMs?: (topic: string) => number | undefined
  /**
   * Whether compaction of a topic keeps a record without a value, as the newest of its key. Default: no, key and all
   * are gone.
   */
  readonly keepsTombstones?: (topic: string) => boolean
  /** Records of topics that are not compacted are removed after this. Default: never. */
  readonly retentionMs?: number
  readonly clock: Clock
}

/**
 * How often a reader that waits looks for appends of other threads and processes. Those of its own LocalLog wake it at
 * once.
 */
const pollMs = 15
/** As in Kafka; it keeps names inside their directory as well. */
const topicName = /^(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}$/

export class LocalLog implements EventLog {
  readonly #directory: string
  readonly #options: LocalLogOptions
  readonly #topics = new Map<string, Promise<LocalLogTopic>>()
  readonly #fences = new Map<string, Fence>()
  readonly #waiting = new Map<string, Set<() => void>>()
  readonly #work = new Set<Promise<unknown>>()
  #closed = false

  /** @param directory of the log alone; made if need be. @throws UnavailableError if it cannot be */
  static async open(directory: string, options: LocalLogOptions): Promise<LocalLog> {
    try {
      mkdirSync(directory, { recursive: true })
    } catch (error) {
      throw (
        diskFault(error, directory) ??
        new UnavailableError(`cannot make the log's directory ${directory}: ${String(error)}`, { cause: error })
      )
    }
    return new LocalLog(directory, options)
  }

  private constructor(directory: string, options: LocalLogOptions) {
    this.#directory = directory
    this.#options = options
  }

  /**
   * Resolves when all records are on the disk; those of one call become readable together.
   *
   * The first append of this LocalLog under a `fence` claims it in that topic; one of no records claims it and does
   * nothing else. From then on every LocalLog that had claimed it before is refused. After an append that failed, so are
   * later ones of this LocalLog, until it claims the fence again.
   *
   * @throws FencedError for a fence that a newer owner has claimed, or after an append that failed; nothing was appended
   */
  async append(topic: string, records: readonly NewRecord[], fence?: string): Promise<void> {
    const partitioned = await this.#topic(topic)
    if (records.length === 0 && fence === undefined) return
    const groups = new Map<number, NewRecord[]>()
    for (const record of records) {
      const partition = record.partition ?? partitionOf(record.key, partitioned.partitions)
      if (!Number.isInteger(partition) || partition < 0 || partition >= partitioned.partitions) {
        throw new RangeError(`append to partition ${partition} of topic ${topic}, which has ${partitioned.partitions}`)
      }
      const group = groups.get(partition)
      if (group === undefined) groups.set(partition, [record])
      else group.push(record)
    }
    // Compaction takes records out one by one, which is cheapest where each is a block of its own.
    const recordsMax = this.#options.compactionLagMs?.(topic) !== undefined ? 1 : blockRecordsMax
    const blocks = new Map([...groups].map(([partition, group]) => [partition, packBlocks(group, recordsMax)]))
    try {
      await this.#tracked(
        partitioned.append(blocks, this.#options.clock, fence === undefined ? undefined : this.#fence(topic, fence))
      )
    } catch (error) {
      throw unavailable(error, `cannot append ${records.length} records to topic ${topic} in ${this.#directory}`)
    }
    if (records.length > 0) this.#wake(topic)
  }

  /**
   * A topic that is not there yet is made, and waited on. @throws CorruptError if `resume` is beyond the log's end:
   * then the log was reset, and the reader's state was not
   */
  async *read(topic: string, options: ReadOptions): AsyncGenerator<LogEvent, void, undefined> {
    const { resume, signal, untilEnd } = options
    if (signal.aborted) return
    const partitioned = await this.#topic(topic)
    const partitions = Array.from({ length: partitioned.partitions }, (_, partition) => partition)
    yield { kind: 'assigned', partitions }
    const positions: bigint[] = []
    for (const partition of partitions) positions.push(await resume(partition))
    if (this.#stopped(signal)) return
    const ends = partitioned.ends()
    for (const partition of partitions) {
      const [position, end] = [positions[partition]!, ends.get(partition)!]
      if (position > end)
        throw newTopic(topic, `partition ${partition} ends at ${end}, before the stored offset ${position}`)
    }
    for (;;) {
      let found = false
      for (const partition of partitions) {
        const { records, next, end } = partitioned.read(
          partition,
          positions[partition]!,
          untilEnd === true ? ends.get(partition) : undefined
        )
        positions[partition] = next
        if (records.length === 0) continue
        found = true
        yield { kind: 'records', partition, records, end }
        // Reading is synchronous: timers and other readers get their turn here.
        if (!this.#stopped(signal)) await nextTurn()
        if (this.#stopped(signal)) return
      }
      if (untilEnd === true && partitions.every((partition) => positions[partition]! >= ends.get(partition)!)) return
      // Said before each wait, so that a reader gets its turn for what is due by the clock.
      if (!found) {
        yield { kind: 'idle' }
        if (this.#stopped(signal)) return
        await this.#appended(topic, signal)
      }
      if (this.#stopped(signal)) return
    }
  }

  /** A topic that is not there has empty partitions. */
  async ends(topic: string): Promise<Offsets> {
    if (!this.#topics.has(topic) && !existsSync(this.#path(topic))) {
      return new Map(Array.from({ length: this.#options.partitions(topic) }, (_, partition) => [partition, 0n]))
    }
    return (await this.#topic(topic)).ends()
  }

  async describe(topic: string): Promise<TopicDescription> {
    const { id, partitions } = await this.#topic(topic)
    return { id, partitions }
  }

  /** Names of the topics there are, other processes' included. */
  topics(): string[] {
    const names = readdirSync(this.#directory, { withFileTypes: true }).filter(
      (entry) => entry.isDirectory() && topicName.test(entry.name)
    )
    return names.map((entry) => entry.name).filter((name) => existsSync(this.#path(name)))
  }

  /**
   * Removes what retention and compaction allow, in all topics, a bounded part of it: call it every few seconds, and
   * again at once while there is `more`. Several processes may do so. The space is used again by later appends; files
   * do not shrink.
   *
   * @returns records removed, and whether there may be more to do
   */
  async maintain(): Promise<{ removed: number; more: boolean }> {
    const { clock, retentionMs } = this.#options
    const total = { removed: 0, more: false }
    for (const name of this.topics()) {
      if (this.#closed) break
      const topic = await this.#topic(name)
      const nowMs = clock.nowMs()
      const lagMs = this.#options.compactionLagMs?.(name)
      const done =
        lagMs !== undefined
          ? await this.#tracked(topic.cleaner.compact(nowMs - lagMs, this.#options.keepsTombstones?.(name) === true))
          : retentionMs === undefined
            ? undefined
            : await this.#tracked(topic.cleaner.expire(nowMs - retentionMs))
      total.removed += done?.removed ?? 0
      total.more ||= done?.more ?? false
    }
    return total
  }

  /** Readers end, appends that were begun are finished. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const topic of this.#waiting.keys()) this.#wake(topic)
    await Promise.allSettled(this.#work)
    for (const opened of await Promise.allSettled(this.#topics.values())) {
      if (opened.status === 'fulfilled') await opened.value.close()
    }
  }

  #stopped(signal: AbortSignal): boolean {
    return signal.aborted || this.#closed
  }

  #path(topic: string): string {
    return path.join(this.#directory, topic, 'data.mdb')
  }

  async #topic(name: string): Promise<LocalLogTopic> {
    if (this.#closed) throw new Error(`topic ${name} of a log that was closed`)
    let opening = this.#topics.get(name)
    if (opening === undefined) {
      if (!topicName.test(name)) {
        throw new ConfigError([
          `topic name ${JSON.stringify(name)}: 1 to 249 letters, digits, dots, dashes and underlines are allowed`
        ])
      }
      const partitions = this.#options.partitions(name)
      if (!Number.isInteger(partitions) || partitions < 1)
        throw new ConfigError([`topic ${name}: ${partitions} partitions`])
      opening = handledLater(LocalLogTopic.open(path.join(this.#directory, name), name, partitions))
      this.#topics.set(name, opening)
      // A later call may find the obstacle gone.
      opening.catch(() => this.#topics.delete(name))
    }
    const topic = await opening
    if (this.#closed) throw new Error(`topic ${name} of a log that was closed`)
    return topic
  }

  #fence(topic: string, name: string): Fence {
    const key = `${topic}/${name}`
    let fence = this.#fences.get(key)
    if (fence === undefined) {
      fence = { name }
      this.#fences.set(key, fence)
    }
    return fence
  }

  async #tracked<T>(work: Promise<T>): Promise<T> {
    this.#work.add(work)
    try {
      return await work
    } finally {
      this.#work.delete(work)
    }
  }

  #wake(topic: string): void {
    for (const wake of this.#waiting.get(topic) ?? []) wake()
  }

  /** Until an append of ours, or the next look for those of others. */
  #appended(topic: string, signal: AbortSignal): Promise<void> {
    let waiting = this.#waiting.get(topic)
    if (waiting === undefined) {
      waiting = new Set()
      this.#waiting.set(topic, waiting)
    }
    const set = waiting
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        set.delete(wake)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      const timer = setTimeout(wake, pollMs)
      set.add(wake)
      signal.addEventListener('abort', wake)
    })
  }
}

/** Failures of the disk are the world's; what is an MtmiError, or our bug, stays what it is. */
function unavailable(error: unknown, what: string): unknown {
  const text = String(error)
  return /MDB_|ENOSPC|No space|EIO|Input\/output/.test(text) && !(error instanceof CorruptError)
    ? new UnavailableError(`${what}: ${text}`, { cause: error })
    : error
}
