// Interactions and user sequences to and from Avro without avsc, which takes five times as long over them. The same
// bytes: the tests write and read with both.
//
// Only what is usual: everything that throws here is left to avsc and the schema. A change of schemas/interaction.avsc
// or user-sequence.avsc is a change here.

import { own, setOwn } from '../../core/own.ts'
import type { Interaction } from '../interaction.ts'
import type { FreshStep, RecentEvent, SequenceStep, UserSequence } from '../userSequence.ts'
import type { AvroReader, AvroWriter } from './avroBytes.ts'

export interface DirectForm<T> {
  write(writer: AvroWriter, value: T): void
  read(reader: AvroReader): T
}

type Mutable<T> = { -readonly [F in keyof T]: T[F] }

/** Branches of a union with null. */
const isNull = 0
const isThere = 1

export const directInteraction: DirectForm<Interaction> = {
  write(writer, { eventId, userId, itemId, type, eventTimeMs, value, context, source }) {
    writer.string(eventId)
    writer.string(userId)
    writer.string(itemId)
    writer.string(type)
    writer.number(eventTimeMs)
    if (value === undefined) writer.int(isNull)
    else {
      writer.int(isThere)
      writer.double(value)
    }
    if (context === undefined) writer.int(isNull)
    else {
      writer.int(isThere)
      const names = Object.keys(context)
      if (names.length > 0) writer.int(names.length)
      for (const name of names) {
        writer.string(name)
        writer.string(own(context, name)!)
      }
      writer.int(0)
    }
    if (source === undefined) writer.int(isNull)
    else {
      writer.int(isThere)
      writer.string(source.topic)
      writer.int(source.partition)
      writer.long(source.offset)
    }
  },

  read(reader) {
    const interaction: Mutable<Interaction> = {
      eventId: reader.string(),
      userId: reader.string(),
      itemId: reader.sharedString(),
      type: reader.sharedString(),
      eventTimeMs: reader.number()
    }
    if (isPresent(reader)) interaction.value = reader.double()
    if (isPresent(reader)) {
      const context: Record<string, string> = {}
      const count = reader.count()
      for (let i = 0; i < count; i++) setOwn(context, reader.sharedString(), reader.sharedString())
      if (count > 0) reader.endOfArray()
      interaction.context = context
    }
    if (isPresent(reader))
      interaction.source = { topic: reader.sharedString(), partition: reader.int(), offset: reader.long() }
    return interaction
  }
}

function isPresent(reader: AvroReader): boolean {
  const branch = reader.number()
  if (branch !== isNull && branch !== isThere) throw new RangeError(`branch ${branch}`)
  return branch === isThere
}

export const directUserSequence: DirectForm<UserSequence> = {
  write(writer, value) {
    const { userId, partition, committed, watermarkMs, acceptedAtMs, newestMs, steps, fresh, recent } = value
    writer.string(userId)
    writer.int(partition)
    writer.long(committed)
    writer.number(watermarkMs)
    writer.number(acceptedAtMs)
    writer.number(newestMs)
    const types: string[] = []
    let sourced = 0
    // A handful of types: looking along the list beats a map.
    for (const step of steps) {
      if (!types.includes(step.type)) types.push(step.type)
      if (step.source !== undefined) sourced++
    }
    startArray(writer, types.length)
    for (const type of types) writer.string(type)
    endArray(writer)
    let beforeMs = steps[0]?.eventTimeMs ?? 0
    writer.number(beforeMs)
    startArray(writer, steps.length)
    for (const { itemId, type, eventTimeMs } of steps) {
      writer.string(itemId)
      writer.int(types.indexOf(type))
      writer.number(eventTimeMs - beforeMs)
      beforeMs = eventTimeMs
    }
    endArray(writer)
    startArray(writer, sourced)
    for (let i = 0; sourced > 0 && i < steps.length; i++) {
      const { source } = steps[i]!
      if (source === undefined) continue
      writer.int(i)
      writer.int(source.partition)
      writer.long(source.offset)
    }
    endArray(writer)
    startArray(writer, fresh.length)
    for (const { position, offset } of fresh) {
      writer.int(position)
      writer.long(offset)
    }
    endArray(writer)
    writer.number(8 * recent.length)
    for (const { idHash } of recent) writer.int64(idHash)
    startArray(writer, recent.length)
    for (const { eventTimeMs } of recent) writer.number(newestMs - eventTimeMs)
    endArray(writer)
  },

  read(reader) {
    const userId = reader.string()
    const partition = reader.int()
    const committed = reader.long()
    const watermarkMs = reader.number()
    const acceptedAtMs = reader.number()
    const newestMs = reader.number()
    const types = new Array<string>(reader.count())
    for (let i = 0; i < types.length; i++) types[i] = reader.sharedString()
    if (types.length > 0) reader.endOfArray()
    let timeMs = reader.number()
    const steps = new Array<Mutable<SequenceStep>>(reader.count())
    for (let i = 0; i < steps.length; i++) {
      const itemId = reader.sharedString()
      const type = types[reader.int()]
      if (type === undefined) throw new RangeError('a type that is not named')
      timeMs += reader.number()
      steps[i] = { itemId, type, eventTimeMs: timeMs }
    }
    if (steps.length > 0) reader.endOfArray()
    const sources = reader.count()
    for (let i = 0; i < sources; i++) {
      const position = reader.int()
      steps[position]!.source = { partition: reader.int(), offset: reader.long() }
    }
    if (sources > 0) reader.endOfArray()
    const fresh = new Array<FreshStep>(reader.count())
    for (let i = 0; i < fresh.length; i++) {
      const position = reader.int()
      if (steps[position] === undefined) throw new RangeError('a fresh step that is not there')
      fresh[i] = { position, offset: reader.long() }
    }
    if (fresh.length > 0) reader.endOfArray()
    const hashes = reader.bytes()
    const recent = new Array<RecentEvent>(reader.count())
    if (hashes.length !== 8 * recent.length) throw new RangeError('hashes and times of different events')
    for (let i = 0; i < recent.length; i++)
      recent[i] = { idHash: hashes.readBigInt64LE(8 * i), eventTimeMs: newestMs - reader.number() }
    if (recent.length > 0) reader.endOfArray()
    return { userId, partition, committed, watermarkMs, acceptedAtMs, newestMs, steps, recent, fresh }
  }
}

/** The beginning of a user sequence, of which the rest is left unread. */
export function readSequenceProgress(
  reader: AvroReader
): Pick<UserSequence, 'partition' | 'committed' | 'watermarkMs'> {
  reader.skipString()
  return { partition: reader.int(), committed: reader.long(), watermarkMs: reader.number() }
}

function startArray(writer: AvroWriter, count: number): void {
  if (count > 0) writer.int(count)
}

/** A block of none, also where that is all there is of an array. */
function endArray(writer: AvroWriter): void {
  writer.int(0)
}
