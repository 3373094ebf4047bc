// Our records as Avro: written field by field, and made of what `avroReader` read. A change of a schema in schemas/ is a
// change here; a test compares the bytes with those of avsc.

import { interactionProblem, itemProblem } from '../admission.ts'
import type { CatalogueItem } from '../catalogueItem.ts'
import type { Interaction, Source } from '../interaction.ts'
import { type ModelUpdate, updateProblem, versionReasons } from '../modelUpdate.ts'
import { type Feedback, feedbackTypes, isFeedback } from '../seenItems.ts'
import { type RecentEvent, type SequenceStep, sequenceProblem, type UserSequence } from '../userSequence.ts'
import type { AvroWriter } from './avroWriter.ts'

export interface RecordForm<T> {
  /** Writes the record by today's schema. @throws RangeError for a value that the schema cannot hold */
  write(writer: AvroWriter, value: T): void
  /**
   * @param raw as `avroReader` gives it; its types are those of a compatible writer's schema
   * @throws Error for what contradicts itself
   */
  fromAvro(raw: unknown): T
  /** Why the record may not be used; undefined: it may. */
  problem(value: T): string | undefined
}

type Mutable<T> = { -readonly [F in keyof T]: T[F] }
/** A long that is an offset. */
type Long = number | bigint

interface RawInteraction extends Omit<Interaction, 'value' | 'context' | 'source' | 'listId'> {
  readonly value: number | null
  readonly context: Record<string, string> | null
  readonly source: (Omit<Source, 'offset'> & { readonly offset: Long }) | null
  readonly listId: string | null
}

export const interactionForm: RecordForm<Interaction> = {
  problem: interactionProblem,

  write(writer, { eventId, userId, itemId, type, eventTimeMs, value, context, source, listId }) {
    for (const text of [eventId, userId, itemId, type]) writer.string(text)
    writer.long(eventTimeMs)
    writer.optional(value, (number) => writer.double(number))
    writer.optional(context, (names) => {
      writer.entries(Object.entries(names), ([name, text]) => {
        writer.string(name)
        writer.string(text)
      })
    })
    writer.optional(source, ({ topic, partition, offset }) => {
      writer.string(topic)
      writer.int(partition)
      writer.bigint(offset)
    })
    writer.optional(listId, (text) => writer.string(text))
  },

  fromAvro(raw) {
    const { eventId, userId, itemId, type, eventTimeMs, value, context, source, listId } = raw as RawInteraction
    const interaction: Mutable<Interaction> = { eventId, userId, itemId, type, eventTimeMs }
    if (value !== null) interaction.value = value
    if (context !== null) interaction.context = context
    if (source !== null)
      interaction.source = { topic: source.topic, partition: source.partition, offset: BigInt(source.offset) }
    if (listId !== null) interaction.listId = listId
    return interaction
  }
}

interface RawItem extends Pick<CatalogueItem, 'itemId' | 'features' | 'updatedAtMs'> {
  readonly title: string | null
  readonly availableFromMs: number | null
  readonly availableUntilMs: number | null
}

export const itemForm: RecordForm<CatalogueItem> = {
  problem: itemProblem,

  write(writer, { itemId, title, features, updatedAtMs, availableFromMs, availableUntilMs }) {
    writer.string(itemId)
    writer.optional(title, (text) => writer.string(text))
    writer.entries(Object.entries(features), ([field, values]) => {
      writer.string(field)
      writer.entries(values, (value) => writer.string(value))
    })
    writer.long(updatedAtMs)
    for (const timeMs of [availableFromMs, availableUntilMs]) writer.optional(timeMs, (ms) => writer.long(ms))
  },

  fromAvro(raw) {
    const { itemId, title, features, updatedAtMs, availableFromMs, availableUntilMs } = raw as RawItem
    const item: Mutable<CatalogueItem> = { itemId, features, updatedAtMs }
    if (title !== null) item.title = title
    if (availableFromMs !== null) item.availableFromMs = availableFromMs
    if (availableUntilMs !== null) item.availableUntilMs = availableUntilMs
    return item
  }
}

const noBytes = new Uint8Array()

interface RawSequence {
  readonly userId: string
  readonly partition: number
  readonly committed: Long
  readonly watermarkMs: number
  readonly acceptedAtMs: number
  readonly newestMs: number
  readonly types: readonly string[]
  readonly firstMs: number
  readonly itemIds: readonly string[]
  readonly stepTypes: readonly number[]
  readonly gapsMs: readonly number[]
  readonly sources: readonly { readonly position: number; readonly partition: number; readonly offset: Long }[]
  readonly fresh: readonly { readonly position: number; readonly offset: Long }[]
  readonly recentHashes: Buffer
  readonly recentAgesMs: readonly number[]
  readonly seen: Buffer
  readonly feedback: readonly (Omit<Feedback, 'offset'> & { readonly untilMs: number; readonly offset: Long })[]
}

export const userSequenceForm: RecordForm<UserSequence> = {
  problem: sequenceProblem,

  write(writer, sequence) {
    const { userId, partition, committed, watermarkMs, acceptedAtMs, newestMs, steps, fresh, recent } = sequence
    writer.string(userId)
    writer.int(partition)
    writer.bigint(committed)
    for (const timeMs of [watermarkMs, acceptedAtMs, newestMs]) writer.long(timeMs)
    // A handful of types: a search of the list beats a map.
    const types: string[] = []
    for (const { type } of steps) if (!types.includes(type)) types.push(type)
    writer.entries(types, (type) => writer.string(type))
    let beforeMs = steps[0]?.eventTimeMs ?? 0
    writer.long(beforeMs)
    writer.entries(steps, ({ itemId }) => writer.string(itemId))
    writer.entries(steps, ({ type }) => writer.int(types.indexOf(type)))
    writer.entries(steps, ({ eventTimeMs }) => {
      writer.long(eventTimeMs - beforeMs)
      beforeMs = eventTimeMs
    })
    const sourced = steps.reduce((count, { source }) => (source === undefined ? count : count + 1), 0)
    if (sourced > 0) writer.long(sourced)
    for (const [position, { source }] of sourced > 0 ? steps.entries() : []) {
      if (source === undefined) continue
      writer.int(position)
      writer.int(source.partition)
      writer.bigint(source.offset)
    }
    writer.long(0)
    writer.entries(fresh, ({ position, offset }) => {
      writer.int(position)
      writer.bigint(offset)
    })
    writer.long(8 * recent.length)
    for (const { idHash } of recent) writer.int64(idHash)
    writer.entries(recent, ({ eventTimeMs }) => writer.long(newestMs - eventTimeMs))
    writer.bytes(sequence.seen ?? noBytes)
    writer.entries(sequence.feedback ?? [], ({ itemId, type, eventTimeMs, untilMs, offset }) => {
      writer.string(itemId)
      writer.string(type)
      writer.long(eventTimeMs)
      writer.long(untilMs ?? 0)
      writer.bigint(offset)
    })
  },

  fromAvro(raw): UserSequence {
    const read = raw as RawSequence
    const { userId, partition, watermarkMs, acceptedAtMs, newestMs, types, itemIds, stepTypes, gapsMs } = read
    if (stepTypes.length !== itemIds.length || gapsMs.length !== itemIds.length)
      throw new RangeError(`${itemIds.length} items, ${stepTypes.length} types and ${gapsMs.length} times of steps`)
    const steps = new Array<Mutable<SequenceStep>>(itemIds.length)
    let timeMs = read.firstMs
    for (let i = 0; i < steps.length; i++) {
      timeMs += gapsMs[i]!
      const type = types[stepTypes[i]!]
      if (type === undefined) throw new RangeError(`step ${i} has type ${stepTypes[i]}, ${types.length} are named`)
      steps[i] = { itemId: itemIds[i]!, type, eventTimeMs: timeMs }
    }
    for (const { position, partition, offset } of read.sources) {
      const step = steps[position]
      if (step === undefined) throw new RangeError(`a source of step ${position}, there are ${steps.length}`)
      step.source = { partition, offset: BigInt(offset) }
    }
    const { recentHashes, recentAgesMs } = read
    if (recentHashes.length !== 8 * recentAgesMs.length)
      throw new RangeError(`${recentHashes.length} bytes of hashes for ${recentAgesMs.length} events`)
    const recent = recentAgesMs.map(
      (ageMs, i): RecentEvent => ({ idHash: recentHashes.readBigInt64LE(8 * i), eventTimeMs: newestMs - ageMs })
    )
    const fresh = read.fresh.map(({ position, offset }) => ({ position, offset: BigInt(offset) }))
    const committed = BigInt(read.committed)
    const feedback = read.feedback.map(({ itemId, type, eventTimeMs, untilMs, offset }) => {
      if (!isFeedback(type))
        throw new RangeError(`feedback ${JSON.stringify(type)}: expected ${feedbackTypes.join(', ')}`)
      return { itemId, type, eventTimeMs, ...(untilMs === 0 ? {} : { untilMs }), offset: BigInt(offset) }
    })
    const extras = {
      ...(read.seen.length === 0 ? {} : { seen: Buffer.from(read.seen) }),
      ...(feedback.length === 0 ? {} : { feedback })
    }
    return { userId, partition, committed, watermarkMs, acceptedAtMs, newestMs, steps, recent, fresh, ...extras }
  }
}

type RawUpdate =
  | { readonly itemId: string; readonly neighbours: readonly string[]; readonly weights: Buffer }
  | { readonly itemId: string; readonly row: Buffer | null; readonly count: number }
  | { readonly feature: string; readonly row: Buffer }
  | { readonly name: string; readonly shape: readonly number[]; readonly values: Buffer }
  | Omit<Extract<ModelUpdate, { kind: 'commit' }>, 'kind'>
  | Omit<Extract<ModelUpdate, { kind: 'model-version' }>, 'kind'>

/** In the order of the union in schemas/model-update.avsc. */
const branches: readonly ModelUpdate['kind'][] = [
  ...(['item-row', 'feature-row', 'weights', 'commit', 'model-version', 'item-neighbours'] as const)
]

export const modelUpdateForm: RecordForm<ModelUpdate> = {
  problem: updateProblem,

  write(writer, value) {
    writer.long(branches.indexOf(value.kind))
    switch (value.kind) {
      case 'item-row':
        writer.string(value.itemId)
        writer.optional(value.row, (row) => writer.bytes(bytesOf(row)))
        return writer.long(value.count)
      case 'item-neighbours':
        writer.string(value.itemId)
        writer.entries(value.neighbours, (itemId) => writer.string(itemId))
        return writer.bytes(bytesOf(value.weights))
      case 'feature-row':
        writer.string(value.feature)
        return writer.bytes(bytesOf(value.row))
      case 'weights':
        checkShape(value.shape, value.values.length)
        writer.string(value.name)
        writer.entries(value.shape, (side) => writer.int(side))
        return writer.bytes(bytesOf(value.values))
      case 'commit':
        writer.long(value.step)
        writer.string(value.modelVersion)
        writer.string(value.model)
        writer.boolean(value.weightsChanged)
        writer.long(value.committedAtMs)
        return writer.double(value.memoryWeight)
      case 'model-version':
        writer.string(value.modelVersion)
        writer.string(value.reason)
        return writer.long(value.begunAtMs)
    }
  },

  fromAvro(raw): ModelUpdate {
    const { update } = raw as { readonly update: RawUpdate }
    if ('neighbours' in update) {
      const { itemId, neighbours, weights } = update
      return { kind: 'item-neighbours', itemId, neighbours, weights: floatsOf(weights) }
    }
    if ('itemId' in update) {
      const { itemId, row, count } = update
      return { kind: 'item-row', itemId, row: row === null ? null : floatsOf(row), count }
    }
    if ('feature' in update) return { kind: 'feature-row', feature: update.feature, row: floatsOf(update.row) }
    if ('shape' in update) {
      const { name, shape } = update
      const values = floatsOf(update.values)
      checkShape(shape, values.length)
      return { kind: 'weights', name, shape, values }
    }
    if ('reason' in update) {
      const { modelVersion, reason, begunAtMs } = update
      if (!versionReasons.includes(reason))
        throw new RangeError(
          `reason ${JSON.stringify(reason)} of a model version: expected ${versionReasons.join(', ')}`
        )
      return { kind: 'model-version', modelVersion, reason, begunAtMs }
    }
    return { kind: 'commit', ...update }
  }
}

function checkShape(shape: readonly number[], length: number): void {
  const size = shape.reduce((product, side) => product * side, 1)
  if (size !== length) throw new RangeError(`shape [${shape.join(', ')}] holds ${size} values, ${length} are given`)
}

/** The floats' own memory, not a copy. */
function bytesOf(floats: Float32Array): Buffer {
  return Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength)
}

function floatsOf(bytes: Buffer): Float32Array {
  if (bytes.length % 4 !== 0) throw new RangeError(`${bytes.length} bytes are no whole number of float32`)
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
}
