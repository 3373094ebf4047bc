// The log's server of a simulated run: topics, fences and consumer groups, as they are for everybody. It does not fail
// by itself: what is asked of it over `SimLog` does.

import { FencedError } from '../../src/core/errors.ts'
import type { LogRecord, NewRecord } from '../../src/log/eventLog.ts'
import { partitionOf } from '../../src/log/partitioner.ts'
import { epochMs, type Life, type Wait, type World } from './world.ts'

/** A member that was not heard of for so long is taken for dead. */
const sessionTimeoutMs = 10_000
/** A member that does not give up its partitions within this loses them. */
const rebalanceTimeoutMs = 20_000

export interface Member {
  readonly life: Life
  /** Generation that it takes part in; below the group's: it has to give up its partitions and join again. */
  generation: number
  partitions: number[]
  /** Waits for the next generation. */
  joining: (() => void) | undefined
}

/** An eager consumer group: for another assignment all members give up all partitions, and join again. */
export class Group {
  readonly #world: World
  readonly #partitions: number
  readonly name: string
  generation = 0
  #isOver = true
  readonly members = new Set<Member>()
  /** A hint of how far members have got. */
  readonly committed = new Map<number, bigint>()

  constructor(world: World, name: string, partitions: number) {
    this.#world = world
    this.name = name
    this.#partitions = partitions
  }

  /** Whether the member has to give up what it has. */
  isOver(member: Member): boolean {
    return this.#isOver || member.generation !== this.generation || !this.members.has(member)
  }

  /** Resolves with the next generation. */
  join(member: Member): Promise<void> {
    this.members.add(member)
    const joined = new Promise<void>((resolve) => {
      member.joining = resolve
    })
    if (!this.#isOver) this.rebalance()
    else this.#complete()
    return joined
  }

  leave(member: Member): void {
    if (this.members.delete(member)) this.rebalance()
  }

  rebalance(): void {
    if (!this.#isOver) {
      this.#isOver = true
      this.#world.trace(this.name, `generation ${this.generation} is over`)
      this.#world.schedule(this.#world.outside, rebalanceTimeoutMs, () => this.#expire())
    }
    this.#complete()
  }

  /** Members that are dead or do not run are found out after a while. */
  lookAfter(life: Life): void {
    this.#world.schedule(this.#world.outside, sessionTimeoutMs, () => {
      const lost = [...this.members].filter((member) => member.life === life && isSilent(member, this.#world))
      for (const member of lost) this.leave(member)
    })
  }

  #expire(): void {
    if (!this.#isOver) return
    for (const member of this.members) if (member.joining === undefined) this.members.delete(member)
    this.#complete()
  }

  #complete(): void {
    if (!this.#isOver || this.members.size === 0) return
    if ([...this.members].some(({ joining }) => joining === undefined)) return
    this.#isOver = false
    this.generation++
    const order = [...this.members]
    this.#world.rng.shuffle(order)
    for (const member of order) member.partitions = []
    for (let partition = 0; partition < this.#partitions; partition++)
      order[partition % order.length]!.partitions.push(partition)
    const shares = order.map(({ life, partitions }) => `${life.name} [${partitions}]`).join(', ')
    this.#world.trace(this.name, `generation ${this.generation}: ${shares}`)
    for (const member of order) {
      member.generation = this.generation
      const { joining } = member
      member.joining = undefined
      if (joining !== undefined) this.#world.schedule(member.life, this.#world.between(0, 50), joining)
    }
  }
}

function isSilent({ life }: Member, world: World): boolean {
  return !life.alive || life.frozenUntilMs > world.nowMs
}

export class SimBroker {
  readonly #world: World
  readonly #partitions: (topic: string) => number
  readonly #topics = new Map<string, LogRecord[][]>()
  /** Readers that found nothing, by topic. */
  readonly #waiting = new Map<string, Set<Wait>>()
  readonly #epochs = new Map<string, number>()
  readonly #groups = new Map<string, Group>()
  /** An older one of the same key, that no reader is given any more. */
  readonly compacted = new Set<LogRecord>()

  constructor(world: World, partitions: (topic: string) => number) {
    this.#world = world
    this.#partitions = partitions
  }

  /** By partition, then offset. */
  topic(name: string): LogRecord[][] {
    let partitions = this.#topics.get(name)
    if (partitions === undefined) {
      partitions = Array.from({ length: this.#partitions(name) }, () => [])
      this.#topics.set(name, partitions)
    }
    return partitions
  }

  records(name: string): LogRecord[] {
    return this.topic(name).flat()
  }

  ends(name: string): Map<number, bigint> {
    return new Map(this.topic(name).map((log, partition) => [partition, BigInt(log.length)]))
  }

  /** Readers of a topic that found nothing, and are woken by the next append. */
  waiting(topic: string): Set<Wait> {
    let waiting = this.#waiting.get(topic)
    if (waiting === undefined) {
      waiting = new Set()
      this.#waiting.set(topic, waiting)
    }
    return waiting
  }

  append(topic: string, records: readonly NewRecord[]): void {
    const waiting = this.waiting(topic)
    for (const wait of waiting) {
      // Some learn of it by their next look only, as of an append of another process to the local log.
      if (this.#world.chance(0.1)) continue
      waiting.delete(wait)
      wait.resolveIn(this.#world.lazinessMs * this.#world.rng.uniform() ** 3)
    }
    const partitions = this.topic(topic)
    for (const record of records) {
      const partition = record.partition ?? partitionOf(record.key, partitions.length)
      const log = partitions[partition]!
      const { key, value, headers = {} } = record
      log.push({
        // Copies: the caller may use its buffers again.
        ...{ key: key.slice(), value: value === null ? null : value.slice(), partition, offset: BigInt(log.length) },
        headers: Object.fromEntries(Object.entries(headers).map(([name, bytes]) => [name, bytes.slice()])),
        timestampMs: Math.floor(epochMs + this.#world.nowMs)
      })
    }
  }

  /**
   * @param mine epoch that the caller has; undefined: it claims the fence. @returns the epoch @throws FencedError if
   *   another has claimed it since
   */
  claim(fence: string, mine: number | undefined): number {
    const newest = this.#epochs.get(fence) ?? 0
    const epoch = mine ?? newest + 1
    if (newest > epoch) {
      this.#world.rejected = true
      throw new FencedError(`fence ${fence} was claimed by a newer owner`, { hasNewerOwner: true })
    }
    this.#epochs.set(fence, epoch)
    return epoch
  }

  /** As on Kafka, a group reads one topic: its name there has the topic in it. */
  group(stageGroup: string, topic: string): Group {
    const name = `${stageGroup}.${topic}`
    let group = this.#groups.get(name)
    if (group === undefined) {
      group = new Group(this.#world, name, this.topic(topic).length)
      this.#groups.set(name, group)
    }
    return group
  }

  get groups(): Iterable<Group> {
    return this.#groups.values()
  }

  /** Leaves of the records below `end` the newest of each key. @param end by partition */
  compact(topic: string, end: (partition: number) => number): void {
    for (const [partition, log] of this.topic(topic).entries()) {
      const keys = new Set<string>()
      for (const record of log.slice(0, end(partition)).reverse()) {
        const key = Buffer.from(record.key).toString('hex')
        if (keys.has(key)) this.compacted.add(record)
        keys.add(key)
      }
    }
  }
}
