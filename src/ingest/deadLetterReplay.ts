// Replays dead-letter records into the topic that they came from, each once.
//
// What has been replayed is stored, and what is about to be is stored before it is appended. If the process ends in
// between, the next one looks for it in the topic, by a header that names the dead-letter record: so a record is neither
// lost nor appended twice.

import { OffsetSet } from '../core/offsetSet.ts'
import type { Offsets } from '../core/offsets.ts'
import { type DeadLetterRecord, readDeadLetter } from '../log/deadLetter.ts'
import type { EventLog, LogRecord, NewRecord } from '../log/eventLog.ts'

/** On a replayed record: `topic/partition/offset` of its dead-letter record. */
export const replayedHeader = 'mtmi.replayed'
const appendMax = 256

export interface DeadLetterEntry extends DeadLetterRecord {
  /** Where the dead-letter record is. */
  readonly at: { readonly partition: number; readonly offset: bigint }
  readonly record: LogRecord
  readonly replayed: boolean
}

/** Stored between replays, as JSON. */
export interface ReplayState {
  /** Replayed offsets by dead-letter topic, with its id, and partition: half-open ranges. */
  readonly replayed: Record<string, Record<string, readonly (readonly [string, string])[]>>
  /** Being appended when this was stored. */
  readonly pending?: {
    readonly from: string
    readonly fromId: string
    readonly to: string
    /** Where `to` ended before. */
    readonly ends: Record<string, string>
    readonly letters: readonly string[]
  }
}

export interface ReplayStore {
  load(): ReplayState | undefined
  save(state: ReplayState): void
}

interface ReplayOptions {
  readonly log: EventLog
  readonly store: ReplayStore
  /**
   * Our own topics, whose records are partitioned by key. Records of a foreign topic return to their partition.
   */
  readonly ours: ReadonlySet<string>
  readonly signal: AbortSignal
}

export class DeadLetterReplay {
  readonly #options: ReplayOptions
  readonly #replayed = new Map<string, Map<number, OffsetSet>>()

  private constructor(options: ReplayOptions) {
    this.#options = options
  }

  /** Completes what an earlier process began. */
  static async open(options: ReplayOptions): Promise<DeadLetterReplay> {
    const replay = new DeadLetterReplay(options)
    const state = options.store.load()
    if (state === undefined) return replay
    for (const [topic, partitions] of Object.entries(state.replayed)) {
      const sets = Object.entries(partitions).map(([partition, ranges]): [number, OffsetSet] => [
        Number(partition),
        new OffsetSet(ranges.map(([from, to]) => [BigInt(from), BigInt(to)]))
      ])
      replay.#replayed.set(topic, new Map(sets))
    }
    if (state.pending !== undefined) await replay.#settle(state.pending)
    return replay
  }

  /**
   * The dead-letter records of a topic, up to its ends, or those given. Other records are left out.
   */
  async *letters(topic: string, limits?: Offsets): AsyncGenerator<DeadLetterEntry> {
    const { log, signal } = this.#options
    const ends = limits ?? (await log.ends(topic))
    if ([...ends.values()].every((end) => end === 0n)) return
    const { id } = await log.describe(topic)
    for await (const event of log.read(topic, { resume: async () => 0n, signal, untilEnd: true })) {
      if (event.kind !== 'records') continue
      for (const record of event.records) {
        if (record.offset >= (ends.get(record.partition) ?? 0n)) break
        const letter = readDeadLetter(record)
        if (letter === undefined) continue
        const { partition, offset } = record
        yield { ...letter, at: { partition, offset }, record, replayed: this.#set(topic, id, partition).has(offset) }
      }
    }
  }

  /**
   * The wanted ones of records that were not replayed. Several stages may have dead-lettered the same record: it is due
   * once.
   */
  async *due(
    topic: string,
    wanted: (letter: DeadLetterEntry) => boolean,
    limits: Offsets
  ): AsyncGenerator<DeadLetterEntry> {
    const done = new Map<string, OffsetSet>()
    const recordOf = ({ topic: source, partition }: DeadLetterEntry) => `${source}/${partition}`
    const note = (letter: DeadLetterEntry) => {
      const offsets = done.get(recordOf(letter)) ?? new OffsetSet()
      done.set(recordOf(letter), offsets)
      offsets.add(letter.offset)
    }
    for await (const letter of this.letters(topic, limits)) if (letter.replayed) note(letter)
    for await (const letter of this.letters(topic, limits)) {
      if (letter.truncated !== undefined || !wanted(letter)) continue
      if (done.get(recordOf(letter))?.has(letter.offset) === true) continue
      note(letter)
      yield letter
    }
  }

  /**
   * Appends the originals of all wanted dead-letter records that were not replayed before.
   *
   * @param limits ends of the dead-letter topic: what fails again meanwhile is beyond them, and not replayed in a circle
   * @returns how many
   */
  async replay(topic: string, wanted: (letter: DeadLetterEntry) => boolean, limits: Offsets): Promise<number> {
    let waiting: DeadLetterEntry[] = []
    let count = 0
    const flush = async () => {
      if (waiting.length > 0) await this.#append(topic, waiting)
      count += waiting.length
      waiting = []
    }
    for await (const letter of this.due(topic, wanted, limits)) {
      if (waiting.length >= appendMax || (waiting[0] !== undefined && waiting[0].topic !== letter.topic)) await flush()
      waiting.push(letter)
    }
    await flush()
    return count
  }

  async #append(topic: string, letters: readonly DeadLetterEntry[]): Promise<void> {
    const { log, store, ours } = this.#options
    const to = letters[0]!.topic
    const ends = await log.ends(to)
    const { id } = await log.describe(topic)
    const names = letters.map(({ at }) => `${topic}/${at.partition}/${at.offset}`)
    const records = letters.map(({ original, partition }, i): NewRecord => {
      const headers = { ...original.headers, [replayedHeader]: new TextEncoder().encode(names[i]) }
      const same = !ours.has(to) && ends.has(partition)
      return { key: original.key, value: original.value, headers, ...(same ? { partition } : {}) }
    })
    store.save({
      ...this.#state(),
      pending: {
        from: topic,
        fromId: id,
        to,
        ends: Object.fromEntries([...ends].map(([partition, end]) => [partition, String(end)])),
        letters: names
      }
    })
    await log.append(to, records)
    for (const { at } of letters) this.#set(topic, id, at.partition).add(at.offset)
    store.save(this.#state())
  }

  async #settle(pending: NonNullable<ReplayState['pending']>): Promise<void> {
    const { log, store, signal } = this.#options
    const names = new Set(pending.letters)
    const resume = async (partition: number) => BigInt(pending.ends[partition] ?? 0n)
    for await (const event of log.read(pending.to, { resume, signal, untilEnd: true })) {
      if (event.kind !== 'records') continue
      for (const { headers } of event.records) {
        const header = headers[replayedHeader]
        const name = header === undefined ? '' : new TextDecoder().decode(header)
        if (!names.has(name)) continue
        const [partition, offset] = name.split('/').slice(-2) as [string, string]
        this.#set(pending.from, pending.fromId, Number(partition)).add(BigInt(offset))
      }
    }
    if (!signal.aborted) store.save(this.#state())
  }

  #set(topic: string, id: string, partition: number): OffsetSet {
    const key = id === '' ? topic : `${topic}:${id}`
    const sets = this.#replayed.get(key) ?? new Map<number, OffsetSet>()
    this.#replayed.set(key, sets)
    const set = sets.get(partition) ?? new OffsetSet()
    sets.set(partition, set)
    return set
  }

  #state(): ReplayState {
    const replayed = [...this.#replayed].map(([topic, sets]) => {
      const partitions = [...sets].map(([partition, set]) => [
        partition,
        set.ranges().map(([from, to]) => [String(from), String(to)])
      ])
      return [topic, Object.fromEntries(partitions)]
    })
    return { replayed: Object.fromEntries(replayed) as ReplayState['replayed'] }
  }
}
