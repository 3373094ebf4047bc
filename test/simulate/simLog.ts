// The log as one process sees it: an EventLog whose every call takes time and may fail.

import { CorruptError, FencedError } from '../../src/core/errors.ts'
import type { Offsets } from '../../src/core/offsets.ts'
import type { EventLog, LogEvent, LogRecord, NewRecord, ReadOptions, TopicDescription } from '../../src/log/eventLog.ts'
import type { Faults } from './faults.ts'
import type { Group, Member, SimBroker } from './simBroker.ts'
import type { Life } from './world.ts'

/** Records given at once, at most. */
const fetchMax = 20
/** A look that finds nothing takes so long at most, as a fetch that the broker holds. */
const idleMaxMs = 500

export class SimLog implements EventLog {
  readonly #broker: SimBroker
  readonly #life: Life
  readonly #faults: Faults
  readonly #epochs = new Map<string, number>()
  readonly #refused = new Set<string>()
  /** The calls of a topic are carried out in their order. */
  readonly #appending = new Map<string, Promise<unknown>>()

  constructor(broker: SimBroker, life: Life, faults: Faults) {
    this.#broker = broker
    this.#life = life
    this.#faults = faults
  }

  /**
   * Under a fence it is one transaction, and after one that failed all later ones are refused until the fence is
   * claimed again, as by KafkaProducer: of two emissions that are on their way the second is never there without the
   * first.
   */
  append(topic: string, records: readonly NewRecord[], fence?: string): Promise<void> {
    const before = this.#appending.get(topic) ?? Promise.resolve()
    const what = `append ${records.length} to ${topic}`
    const name = `${topic}/${fence}`
    const appended = before.then(async () => {
      const isClaim = fence !== undefined && records.length === 0
      if (isClaim) this.#refused.delete(name)
      if (this.#refused.has(name)) {
        this.#life.world.rejected = true
        throw new FencedError(`${what}: an earlier append under ${fence} has failed`, { hasNewerOwner: false })
      }
      try {
        await this.#faults.call(this.#life, 'log', what, () => {
          if (fence !== undefined) this.#claim(name, isClaim)
          this.#apply(topic, records, fence !== undefined)
        })
      } catch (error) {
        if (fence === undefined) throw error
        this.#refused.add(name)
        if (error instanceof FencedError) throw error
        throw new FencedError((error as Error).message, { hasNewerOwner: false, cause: error })
      }
    })
    this.#appending.set(
      topic,
      appended.catch(() => {})
    )
    return appended
  }

  async *read(topic: string, options: ReadOptions): AsyncGenerator<LogEvent, void, undefined> {
    if (options.group !== undefined) return yield* this.#readShare(topic, options.group, options)
    if (options.signal.aborted) return
    const partitions = [...this.#broker.topic(topic).keys()]
    yield { kind: 'assigned', partitions }
    const positions = await this.#positions(partitions, options)
    const ends = options.untilEnd === true ? await this.ends(topic) : undefined
    for (const [partition, position] of positions)
      if (position > BigInt(this.#broker.topic(topic)[partition]!.length))
        throw new CorruptError(`asked to read on from beyond the end of topic ${topic}`)
    yield* this.#follow(topic, positions, options.signal, () => false, ends)
  }

  ends(topic: string): Promise<Offsets> {
    return this.#faults.call(this.#life, 'log', `ends of ${topic}`, () => this.#broker.ends(topic))
  }

  describe(topic: string): Promise<TopicDescription> {
    return this.#faults.call(this.#life, 'log', `description of ${topic}`, () => ({
      id: '',
      partitions: this.#broker.topic(topic).length
    }))
  }

  async close(): Promise<void> {}

  async *#readShare(topic: string, name: string, options: ReadOptions): AsyncGenerator<LogEvent, void, undefined> {
    const { resume, signal } = options
    const group = this.#broker.group(name, topic)
    const member: Member = { life: this.#life, generation: 0, partitions: [], joining: undefined }
    try {
      while (!signal.aborted) {
        await untilAborted(group.join(member), signal)
        if (signal.aborted) return
        const { partitions } = member
        yield { kind: 'assigned', partitions }
        const positions = new Map<number, bigint>()
        for (const partition of partitions)
          if (!signal.aborted && !group.isOver(member))
            positions.set(partition, await resume(partition, group.committed.get(partition)))
        if (!signal.aborted && !group.isOver(member)) yield* this.#followShare(topic, group, member, positions, signal)
        if (partitions.length > 0) yield { kind: 'revoked', partitions }
      }
    } finally {
      group.leave(member)
    }
  }

  async *#followShare(
    topic: string,
    group: Group,
    member: Member,
    positions: Map<number, bigint>,
    signal: AbortSignal
  ): AsyncGenerator<LogEvent, void, undefined> {
    const given = new Map(positions)
    const hint = () => {
      if (!group.isOver(member)) for (const [partition, offset] of given) group.committed.set(partition, offset)
    }
    for await (const event of this.#follow(topic, positions, signal, () => group.isOver(member), undefined)) {
      yield event
      // The next batch is requested: the last one has been processed.
      if (event.kind === 'records') given.set(event.partition, event.records.at(-1)!.offset + 1n)
      if (this.#life.world.chance(0.2)) hint()
    }
    hint()
  }

  async #positions(partitions: readonly number[], { resume }: ReadOptions): Promise<Map<number, bigint>> {
    const positions = new Map<number, bigint>()
    for (const partition of partitions) positions.set(partition, await resume(partition))
    return positions
  }

  async *#follow(
    topic: string,
    positions: Map<number, bigint>,
    signal: AbortSignal,
    over: () => boolean,
    ends: Offsets | undefined
  ): AsyncGenerator<LogEvent, void, undefined> {
    const { world } = this.#life
    const what = `fetch ${topic}`
    let found = true
    for (;;) {
      if (signal.aborted || over()) return
      const partitions = [...positions.keys()]
      world.rng.shuffle(partitions)
      const fetch = () =>
        partitions.map(
          (partition) => [partition, this.#fetch(topic, partition, positions.get(partition)!, ends)] as const
        )
      const fetched = await this.#faults.call(this.#life, 'log', what, fetch, { isUnderWay: !found, isNothing })
      found = false
      for (const [partition, records] of fetched) {
        if (signal.aborted || over()) return
        if (records.length === 0) continue
        found = true
        positions.set(partition, records.at(-1)!.offset + 1n)
        const left = records.filter((record) => !this.#broker.compacted.has(record))
        if (left.length === 0) continue
        world.trace(this.#life.name, `reads ${topic}/${partition} ${left[0]!.offset}…${left.at(-1)!.offset}`)
        yield { kind: 'records', partition, records: left, end: BigInt(this.#broker.topic(topic)[partition]!.length) }
      }
      if (ends !== undefined && [...ends].every(([partition, end]) => (positions.get(partition) ?? end) >= end)) return
      if (found) continue
      if (!signal.aborted && !over()) yield { kind: 'idle' }
      const idleMs = idleMaxMs * world.rng.uniform() + world.lazinessMs * world.rng.uniform()
      await this.#life.waitForRecords(this.#broker.waiting(topic), idleMs, signal)
    }
  }

  #fetch(topic: string, partition: number, from: bigint, ends: Offsets | undefined): LogRecord[] {
    const log = this.#broker.topic(topic)[partition]!
    const to = Number(ends?.get(partition) ?? BigInt(log.length))
    return log.slice(Number(from), Math.min(to, Number(from) + 1 + this.#life.world.rng.integer(fetchMax)))
  }

  #claim(fence: string, isClaim: boolean): void {
    this.#epochs.set(fence, this.#broker.claim(fence, isClaim ? undefined : this.#epochs.get(fence)))
  }

  /** Now and then a part of them first, and then all of them once more. */
  #apply(topic: string, records: readonly NewRecord[], isTransaction: boolean): void {
    const { world } = this.#life
    if (records.length === 0) return
    world.trace(this.#life.name, `appends ${records.length} to ${topic}`)
    const odd = !isTransaction && this.#faults.on && world.chance(this.#faults.repeatShare)
    if (odd) {
      const part = records.slice(0, 1 + world.rng.integer(records.length))
      world.trace(this.#life.name, `… after ${part.length} of them were taken, and had to be sent again`)
      this.#broker.append(topic, part)
    }
    this.#broker.append(topic, records)
  }
}

function isNothing(fetched: readonly (readonly [partition: number, records: readonly LogRecord[]])[]): boolean {
  return fetched.every(([, records]) => records.length === 0)
}

function untilAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      signal.removeEventListener('abort', done)
      resolve()
    }
    signal.addEventListener('abort', done, { once: true })
    void work.then(done)
  })
}
