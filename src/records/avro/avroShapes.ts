// Between our types and the values that avsc writes and reads: absent against null, indices against names, bytes
// against vectors.

import { interactionProblem, itemProblem } from '../admission.ts'
import type { CatalogueItem } from '../catalogueItem.ts'
import type { Interaction, Source } from '../interaction.ts'
import { type ModelUpdate, updateProblem, versionReasons } from '../modelUpdate.ts'
import {
  type FreshStep,
  type RecentEvent,
  type SequenceStep,
  sequenceProblem,
  type UserSequence
} from '../userSequence.ts'
import { type DirectForm, directInteraction, directUserSequence } from './directForms.ts'

export interface Shape<T> {
  toAvro(value: T): unknown
  /**
   * @param raw as the schema has it: avsc has checked its form. @throws Error for what the form allows and the meaning
   *   does not
   */
  fromAvro(raw: unknown): T
  /** Why the record may not be used; undefined: it may. */
  problem(value: T): string | undefined
  /** The same without avsc, for today's schema. */
  readonly direct?: DirectForm<T>
}

interface RawInteraction {
  readonly eventId: string
  readonly userId: string
  readonly itemId: string
  readonly type: string
  readonly eventTimeMs: number
  readonly value: number | null
  readonly context: Record<string, string> | null
  readonly source: Source | null
}

export const interactionShape: Shape<Interaction> = {
  problem: interactionProblem,
  direct: directInteraction,
  // Absent fields are written as their default, which is null.
  toAvro: (value) => value,
  fromAvro(raw) {
    const { eventId, userId, itemId, type, eventTimeMs, value, context, source } = raw as RawInteraction
    const interaction: { -readonly [F in keyof Interaction]: Interaction[F] } = {
      eventId,
      userId,
      itemId,
      type,
      eventTimeMs
    }
    if (value !== null) interaction.value = value
    if (context !== null) interaction.context = context
    if (source !== null)
      interaction.source = { topic: source.topic, partition: source.partition, offset: source.offset }
    return interaction
  }
}

export const itemShape: Shape<CatalogueItem> = {
  problem: itemProblem,
  toAvro: (value) => value,
  fromAvro(raw) {
    const { itemId, title, features, updatedAtMs } = raw as Omit<CatalogueItem, 'title'> & {
      readonly title: string | null
    }
    return title === null ? { itemId, features, updatedAtMs } : { itemId, title, features, updatedAtMs }
  }
}

interface RawSequence {
  readonly userId: string
  readonly partition: number
  readonly committed: bigint
  readonly watermarkMs: number
  readonly acceptedAtMs: number
  readonly newestMs: number
  readonly types: readonly string[]
  readonly firstMs: number
  readonly steps: readonly { readonly itemId: string; readonly type: number; readonly gapMs: number }[]
  readonly sources: readonly { readonly position: number; readonly partition: number; readonly offset: bigint }[]
  readonly fresh: readonly FreshStep[]
  readonly recentHashes: Buffer
  readonly recentAgesMs: readonly number[]
}

export const userSequenceShape: Shape<UserSequence> = {
  problem: sequenceProblem,
  direct: directUserSequence,

  toAvro(value): RawSequence {
    const types: string[] = []
    const sources: { position: number; partition: number; offset: bigint }[] = []
    const firstMs = value.steps[0]?.eventTimeMs ?? 0
    let beforeMs = firstMs
    const steps = value.steps.map((step, position) => {
      // A handful of types: looking along the list beats a map.
      let type = types.indexOf(step.type)
      if (type < 0) type = types.push(step.type) - 1
      if (step.source !== undefined)
        sources.push({ position, partition: step.source.partition, offset: step.source.offset })
      const gapMs = step.eventTimeMs - beforeMs
      beforeMs = step.eventTimeMs
      return { itemId: step.itemId, type, gapMs }
    })
    const recentHashes = Buffer.allocUnsafe(8 * value.recent.length)
    // Throws for a hash that is not signed 64 bits.
    for (let i = 0; i < value.recent.length; i++) recentHashes.writeBigInt64LE(value.recent[i]!.idHash, 8 * i)
    return {
      userId: value.userId,
      partition: value.partition,
      committed: value.committed,
      watermarkMs: value.watermarkMs,
      acceptedAtMs: value.acceptedAtMs,
      newestMs: value.newestMs,
      types,
      firstMs,
      steps,
      sources,
      fresh: value.fresh,
      recentHashes,
      recentAgesMs: value.recent.map((recent) => value.newestMs - recent.eventTimeMs)
    }
  },

  fromAvro(raw): UserSequence {
    const read = raw as RawSequence
    let timeMs = read.firstMs
    const steps: { -readonly [F in keyof SequenceStep]: SequenceStep[F] }[] = read.steps.map(
      ({ itemId, type, gapMs }) => {
        timeMs += gapMs
        const name = read.types[type]
        if (name === undefined) throw new RangeError(`a step of type ${type}, but ${read.types.length} types are named`)
        return { itemId, type: name, eventTimeMs: timeMs }
      }
    )
    for (const { position, partition, offset } of read.sources) {
      const step = steps[position]
      if (step === undefined) throw new RangeError(`a source of step ${position} of ${steps.length}`)
      step.source = { partition, offset }
    }
    for (const { position } of read.fresh) {
      if (steps[position] === undefined) throw new RangeError(`fresh step ${position} of ${steps.length}`)
    }
    const count = read.recentAgesMs.length
    if (read.recentHashes.length !== 8 * count) {
      throw new RangeError(`${read.recentHashes.length} bytes of recent hashes for ${count} events of 8 bytes each`)
    }
    const recent: RecentEvent[] = read.recentAgesMs.map((ageMs, i) => ({
      idHash: read.recentHashes.readBigInt64LE(8 * i),
      eventTimeMs: read.newestMs - ageMs
    }))
    return {
      userId: read.userId,
      partition: read.partition,
      committed: read.committed,
      watermarkMs: read.watermarkMs,
      acceptedAtMs: read.acceptedAtMs,
      newestMs: read.newestMs,
      steps,
      recent,
      fresh: read.fresh.map(({ position, offset }) => ({ position, offset }))
    }
  }
}

type RawUpdate =
  | { readonly 'stream.mtmi.ItemRow': { readonly itemId: string; readonly row: Buffer | null; readonly count: number } }
  | { readonly 'stream.mtmi.FeatureRow': { readonly feature: string; readonly row: Buffer } }
  | {
      readonly 'stream.mtmi.Weights': {
        readonly name: string
        readonly shape: readonly number[]
        readonly values: Buffer
      }
    }
  | { readonly 'stream.mtmi.Commit': Omit<Extract<ModelUpdate, { kind: 'commit' }>, 'kind'> }
  | { readonly 'stream.mtmi.ModelVersion': Omit<Extract<ModelUpdate, { kind: 'model-version' }>, 'kind'> }

export const modelUpdateShape: Shape<ModelUpdate> = {
  problem: updateProblem,
  toAvro(value): { update: RawUpdate } {
    switch (value.kind) {
      case 'item-row': {
        const row = value.row === null ? null : bytesOf(value.row)
        return { update: { 'stream.mtmi.ItemRow': { itemId: value.itemId, row, count: value.count } } }
      }
      case 'feature-row':
        return { update: { 'stream.mtmi.FeatureRow': { feature: value.feature, row: bytesOf(value.row) } } }
      case 'weights':
        checkShape(value.shape, value.values.length)
        return {
          update: { 'stream.mtmi.Weights': { name: value.name, shape: value.shape, values: bytesOf(value.values) } }
        }
      case 'commit':
        return { update: { 'stream.mtmi.Commit': value } }
      case 'model-version':
        return { update: { 'stream.mtmi.ModelVersion': value } }
    }
  },

  fromAvro(raw): ModelUpdate {
    const { update } = raw as { readonly update: RawUpdate }
    if ('stream.mtmi.ItemRow' in update) {
      const { itemId, row, count } = update['stream.mtmi.ItemRow']
      return { kind: 'item-row', itemId, row: row === null ? null : floatsOf(row), count }
    }
    if ('stream.mtmi.FeatureRow' in update) {
      const { feature, row } = update['stream.mtmi.FeatureRow']
      return { kind: 'feature-row', feature, row: floatsOf(row) }
    }
    if ('stream.mtmi.Weights' in update) {
      const { name, shape, values } = update['stream.mtmi.Weights']
      const floats = floatsOf(values)
      checkShape(shape, floats.length)
      return { kind: 'weights', name, shape: [...shape], values: floats }
    }
    if ('stream.mtmi.ModelVersion' in update) {
      const { modelVersion, reason, begunAtMs } = update['stream.mtmi.ModelVersion']
      if (!versionReasons.some((known) => known === reason))
        throw new RangeError(
          `a model version begun for ${JSON.stringify(reason)}: this program knows ${versionReasons.join(', ')}`
        )
      return { kind: 'model-version', modelVersion, reason, begunAtMs }
    }
    const { step, modelVersion, model, weightsChanged, committedAtMs } = update['stream.mtmi.Commit']
    return { kind: 'commit', step, modelVersion, model, weightsChanged, committedAtMs }
  }
}

function checkShape(shape: readonly number[], length: number): void {
  const size = shape.reduce((product, side) => product * side, 1)
  if (size !== length) throw new RangeError(`shape [${shape.join(', ')}] holds ${size} values, ${length} are given`)
}

/** The floats' own memory, not a copy: it is written out before anybody can change it. */
function bytesOf(floats: Float32Array): Buffer {
  return Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength)
}

function floatsOf(bytes: Buffer): Float32Array {
  if (bytes.length % 4 !== 0) throw new RangeError(`${bytes.length} bytes are no whole number of float32`)
  // avsc gives bytes of their own, but perhaps not where a Float32Array may begin.
  if (bytes.byteOffset % 4 === 0) return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
}
