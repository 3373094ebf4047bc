// Writes `interactions` and `user-sequences` again, into topics with another number of partitions: each history goes to
// the partition that its user's events go to from then on. The former topics stay as they are.
//
// Histories that were split, because a topic was grown by other means, are merged: the steps of both, in their order.

import { BadEventError, ConfigError } from '../core/errors.ts'
import { erasureOffset } from '../log/erasure.ts'
import type { EventLog, LogRecord, NewRecord } from '../log/eventLog.ts'
import { partitionOf } from '../log/partitioner.ts'
import type { StageIo } from '../log/stageIo.ts'
import { readSource, sequenceOf, sourceHeaders, userOf } from '../log/userRecords.ts'
import type { UserId } from '../records/interaction.ts'
import { loadSchemas } from '../records/registry/schemaRegistry.ts'
import type { SequenceStep, UserSequence, UserWindow } from '../records/userSequence.ts'
import { baseStep } from './ownedSequences.ts'

interface PartitionedTopics {
  readonly interactions: string
  readonly userSequences: string
}

interface RepartitionReport {
  /** Histories written. */
  readonly users: number
  /** Of these, such as were in two partitions. */
  readonly merged: number
  /** Events that no history had: copied, for `sequence` to read. */
  readonly events: number
}

/** Records appended together. */
const appendMax = 512

/** The newest record of a user in one partition. */
interface Newest {
  readonly sequence: UserSequence
  readonly timestampMs: number
}

/** What one partition of `user-sequences` holds. */
interface PartitionState {
  readonly newest: Map<UserId, Newest>
  /** Next offset of the topic `interactions` that may be in no history. */
  readonly next: bigint
  /** The same as records have it, and the newest event time. */
  readonly committed: bigint
  readonly watermarkMs: number
}

/**
 * No stage may run meanwhile. Histories keep what they have; `sequence` begins at the start of the new `interactions`.
 *
 * @param to exist, and are empty
 * @throws ConfigError if they are not empty
 */
export async function repartition(
  io: StageIo,
  from: PartitionedTopics,
  to: PartitionedTopics
): Promise<RepartitionReport> {
  const { log } = io
  for (const topic of Object.values(to))
    if ([...(await log.ends(topic)).values()].some((end) => end > 0n))
      throw new ConfigError([
        `topic ${topic} holds records, perhaps of an attempt that was interrupted: delete it first`
      ])
  const target = await log.describe(to.interactions)
  const partitions = [...(await log.ends(from.userSequences)).keys()].sort((a, b) => a - b)
  const interactions = await log.describe(from.interactions)
  const erasedAtMs = new Map<UserId, number>()
  const misplaced = new Map<UserId, Newest[]>()
  let [committed, watermarkMs] = [0n, 0]
  const next = new Map<number, bigint>()
  // First what is not where it belongs, and what is common to all.
  for (const partition of partitions) {
    const state = await readPartition(io, { topic: from.userSequences, partition, id: interactions.id, erasedAtMs })
    if (state.committed > committed) committed = state.committed
    watermarkMs = Math.max(watermarkMs, state.watermarkMs)
    next.set(partition, state.next)
    for (const [userId, newest] of state.newest)
      if (partitionOf(Buffer.from(userId), partitions.length) !== partition)
        misplaced.set(userId, [...(misplaced.get(userId) ?? []), newest])
  }
  // Behind all offsets that a trainer knows: it takes none of the new ones for a repeat.
  const source = { id: target.id, base: committed + baseStep }
  const writer = new Writer(log, to.userSequences)
  let merged = 0
  const write = async (userId: UserId, parts: readonly Newest[]) => {
    const kept = parts.filter(({ timestampMs }) => timestampMs >= (erasedAtMs.get(userId) ?? 0))
    if (kept.length === 0) return
    if (kept.length > 1) merged++
    const window = mergeWindows(
      kept.map(({ sequence }) => sequence),
      io.config.sequence.historyMax
    )
    const partition = partitionOf(Buffer.from(userId), target.partitions)
    const acceptedAtMs = Math.max(...kept.map(({ sequence }) => sequence.acceptedAtMs))
    const common = { userId, fresh: [], partition, committed: source.base, watermarkMs, acceptedAtMs }
    const value = io.codecs.userSequence.encode({ ...window, ...common })
    await writer.add({ key: Buffer.from(userId), value, partition, ...sourceHeaders(source) })
  }
  for (const partition of partitions) {
    const { newest } = await readPartition(io, { topic: from.userSequences, partition, id: interactions.id })
    for (const [userId, own] of newest) {
      if (partitionOf(Buffer.from(userId), partitions.length) !== partition) continue
      await write(userId, [...(misplaced.get(userId) ?? []), own])
      misplaced.delete(userId)
    }
  }
  for (const [userId, parts] of misplaced) await write(userId, parts)
  await writer.flush()
  const events = await copyEvents(io, from.interactions, to.interactions, next)
  return { users: writer.written, merged, events }
}

async function readPartition(
  io: StageIo,
  {
    topic,
    partition,
    id,
    erasedAtMs
  }: { topic: string; partition: number; id: string; erasedAtMs?: Map<UserId, number> }
): Promise<PartitionState> {
  const newest = new Map<UserId, Newest>()
  let [committed, watermarkMs, base, baseId] = [0n, 0, 0n, id]
  for await (const record of recordsOf(io, topic, partition, 0n)) {
    const source = readSource(record.headers)
    if (source !== undefined && source.base > base) [base, baseId] = [source.base, source.id]
    // What is emitted is emitted in the order of the events: everything before one that is in the topic is in it, too.
    const emitted = (offset: bigint) => {
      if (offset > committed) committed = offset
    }
    if (record.value === null) {
      const userId = usable(() => userOf(record))
      if (userId === undefined) continue
      newest.delete(userId)
      const erasedAt = erasureOffset(record)
      if (erasedAt === undefined) continue
      emitted(erasedAt + 1n)
      erasedAtMs?.set(userId, record.timestampMs)
      continue
    }
    const sequence = usable(() => sequenceOf(io.codecs, record))
    if (sequence === undefined) continue
    emitted(sequence.committed)
    for (const { offset } of sequence.fresh) emitted(offset + 1n)
    watermarkMs = Math.max(watermarkMs, sequence.watermarkMs)
    newest.set(sequence.userId, { sequence, timestampMs: record.timestampMs })
  }
  if (baseId !== id)
    throw new ConfigError([
      `${topic}, partition ${partition}, is of another topic \`interactions\` than there is now: start \`mtmi sequence\` first, which reports it`
    ])
  return { newest, next: committed === 0n ? 0n : committed - base, committed, watermarkMs }
}

/** undefined for what `sequence` would make a dead letter of. */
function usable<T>(use: () => T): T | undefined {
  try {
    return use()
  } catch (error) {
    if (!(error instanceof BadEventError)) throw error
    return undefined
  }
}

/** @returns how many there were */
async function copyEvents(io: StageIo, from: string, to: string, next: ReadonlyMap<number, bigint>): Promise<number> {
  const writer = new Writer(io.log, to)
  // Partitions that were added have the later events of a user.
  const partitions = [...(await io.log.ends(from)).keys()].sort((a, b) => a - b)
  for (const partition of partitions)
    for await (const { key, value, headers } of recordsOf(io, from, partition, next.get(partition) ?? 0n)) {
      const interaction = value === null ? undefined : usable(() => io.codecs.interaction.decode(value))
      await writer.add({ key: interaction === undefined ? key : Buffer.from(interaction.userId), value, headers })
    }
  await writer.flush()
  return writer.written
}

async function* recordsOf(
  { log, registry }: StageIo,
  topic: string,
  partition: number,
  from: bigint
): AsyncIterable<LogRecord> {
  const ends = await log.ends(topic)
  const resume = async (other: number) => (other === partition ? from : (ends.get(other) ?? 0n))
  for await (const event of log.read(topic, { resume, signal: new AbortController().signal, untilEnd: true })) {
    if (event.kind !== 'records' || event.partition !== partition) continue
    await loadSchemas(registry, event.records)
    yield* event.records
  }
}

/** The steps of all, each event once. */
function mergeWindows(windows: readonly UserWindow[], historyMax: number): UserWindow {
  const [first, ...others] = windows
  if (others.length === 0) return first!
  const recent = new Map(windows.flatMap((window) => window.recent.map((event) => [event.idHash, event] as const)))
  const steps = windows.flatMap((window) => window.steps).sort((a, b) => a.eventTimeMs - b.eventTimeMs)
  const isRepeat = (step: SequenceStep, i: number) =>
    steps.findIndex(
      ({ itemId, type, eventTimeMs }) =>
        itemId === step.itemId && type === step.type && eventTimeMs === step.eventTimeMs
    ) < i
  return {
    steps: withSources(steps.filter((step, i) => !isRepeat(step, i)).slice(-historyMax)),
    recent: [...recent.values()].sort((a, b) => a.eventTimeMs - b.eventTimeMs),
    newestMs: Math.max(...windows.map(({ newestMs }) => newestMs))
  }
}

/** Only the newest steps have one: those within the grace of the newest. */
function withSources(steps: readonly SequenceStep[]): SequenceStep[] {
  const last = steps.findLastIndex(({ source }) => source === undefined)
  return steps.map((step, i) => {
    const { source: _, ...rest } = step
    return i <= last ? rest : step
  })
}

class Writer {
  readonly #log: Pick<EventLog, 'append'>
  readonly #topic: string
  #records: NewRecord[] = []
  written = 0

  constructor(log: Pick<EventLog, 'append'>, topic: string) {
    this.#log = log
    this.#topic = topic
  }

  async add(record: NewRecord): Promise<void> {
    this.#records.push(record)
    if (this.#records.length >= appendMax) await this.flush()
  }

  async flush(): Promise<void> {
    const records = this.#records
    this.#records = []
    if (records.length > 0) await this.#log.append(this.#topic, records)
    this.written += records.length
  }
}
