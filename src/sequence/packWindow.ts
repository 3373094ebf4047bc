// A user's window as few bytes, for the store; and as bytes that two runs can compare.
//
// A step is its item's index, its type's index and the gap to the next step, in as many bits as the window's largest
// index and its range of gaps need.

import { CorruptError } from '../core/errors.ts'
import type { UserId } from '../records/interaction.ts'
import type { RecentEvent, SequenceStep, UserWindow } from '../records/userSequence.ts'
import { BitReader, BitWriter, bitLength } from './bitPacking.ts'
import type { StepDictionary } from './stepDictionary.ts'

/** Counts up with every change of the layout. */
const layout = 1
const writer = new BitWriter()
const two31 = 2 ** 31
// Reused between calls: the columns of the window being packed.
let itemIndexes = new Int32Array(1024)
let typeIndexes = new Int32Array(1024)
/** From the step before, in `unit`. */
let gaps = new Float64Array(1024)

/**
 * Equal windows and equal dictionaries give equal bytes. New items and types are added to the dictionary, which must be
 * stored with the bytes.
 *
 * @param window steps ascending by time; those with a source are the last ones
 * @returns owned by the caller; the last four bytes are a checksum
 */
export function packWindow(window: UserWindow, dictionary: StepDictionary): Uint8Array {
  const { steps, recent, newestMs } = window
  const count = steps.length
  if (itemIndexes.length < count) {
    itemIndexes = new Int32Array(count * 2)
    typeIndexes = new Int32Array(count * 2)
    gaps = new Float64Array(count * 2)
  }
  writer.start()
  writer.write(layout, 8)
  writer.number(newestMs)
  writer.number(count)
  if (count > 0) {
    let itemMax = 0
    let typeMax = 0
    let seconds = true
    let sourced = 0
    let lastType = ''
    let type = -1
    let beforeMs = steps[0]!.eventTimeMs
    for (let i = 0; i < count; i++) {
      const step = steps[i]!
      const item = dictionary.items.add(step.itemId)
      if (type < 0 || step.type !== lastType) {
        lastType = step.type
        type = dictionary.types.add(lastType)
      }
      itemIndexes[i] = item
      typeIndexes[i] = type
      if (item > itemMax) itemMax = item
      if (type > typeMax) typeMax = type
      if (step.source !== undefined) sourced++
      else if (sourced > 0) throw new Error(`step ${i} has no source, but an older one has`)
      const gap = step.eventTimeMs - beforeMs
      beforeMs = step.eventTimeMs
      gaps[i] = gap
      // Whole numbers of 32 bits divide several times faster.
      if (seconds) seconds = gap < two31 ? (gap | 0) % 1000 === 0 : gap % 1000 === 0
    }
    const unit = seconds ? 1000 : 1
    let lengthMin = 53
    let lengthMax = 0
    for (let i = 1; i < count; i++) {
      if (seconds) gaps[i] = gaps[i]! / unit
      const length = bitLength(gaps[i]!)
      if (length < lengthMin) lengthMin = length
      if (length > lengthMax) lengthMax = length
    }
    if (count === 1) lengthMin = 0
    const itemBits = bitLength(itemMax)
    const typeBits = bitLength(typeMax)
    const lengthBits = bitLength(lengthMax - lengthMin)
    writer.number(newestMs - steps[count - 1]!.eventTimeMs)
    writer.write(seconds ? 1 : 0, 1)
    writer.write(itemBits, 5)
    writer.write(typeBits, 5)
    writer.write(lengthMin, 6)
    writer.write(lengthBits, 3)
    for (let i = count - 1; i >= 0; i--) {
      writer.write(itemIndexes[i]!, itemBits)
      writer.write(typeIndexes[i]!, typeBits)
      if (i > 0) {
        const gap = gaps[i]!
        const length = bitLength(gap)
        writer.write(length - lengthMin, lengthBits)
        writer.mantissa(gap, length)
      }
    }
    writer.number(sourced)
    for (let i = count - sourced; i < count; i++) {
      const { partition, offset } = steps[i]!.source!
      writer.number(partition)
      const small = offset >= 0n && offset < 9007199254740992n // 2^53
      writer.write(small ? 1 : 0, 1)
      if (small) writer.number(Number(offset))
      else writer.bits64(offset)
    }
  }
  writer.number(recent.length)
  for (let i = 0; i < recent.length; i++) {
    writer.number(newestMs - recent[i]!.eventTimeMs)
    writer.bits64(recent[i]!.idHash)
  }
  return writer.finish()
}

/**
 * @param length how many of `bytes` are the window
 * @throws CorruptError if the bytes are not what `packWindow` wrote with this dictionary
 */
export function unpackWindow(bytes: Uint8Array, dictionary: StepDictionary, length = bytes.length): UserWindow {
  const reader = open(bytes, length)
  const newestMs = reader.number()
  const count = reader.number()
  // A step takes at least no bits at all (one item, one type, equal times), so the length says nothing; a configuration
  // allows 1,000.
  if (count > 1_000_000) throw new CorruptError(`a window of ${count} steps`)
  const steps = new Array<SequenceStep>(count)
  if (count > 0) {
    let timeMs = newestMs - reader.number()
    const unit = reader.read(1) === 1 ? 1000 : 1
    const itemBits = reader.read(5)
    const typeBits = reader.read(5)
    const lengthMin = reader.read(6)
    const lengthBits = reader.read(3)
    for (let i = count - 1; i >= 0; i--) {
      const itemId = dictionary.items.at(reader.read(itemBits))
      const type = dictionary.types.at(reader.read(typeBits))
      if (itemId === undefined || type === undefined)
        throw new CorruptError('an item or a type that the dictionary does not know')
      steps[i] = { itemId, type, eventTimeMs: timeMs }
      if (i > 0) timeMs -= unit * reader.mantissa(lengthMin + reader.read(lengthBits))
    }
    const sourced = reader.number()
    if (sourced > count) throw new CorruptError(`${sourced} sources for ${count} steps`)
    for (let i = count - sourced; i < count; i++) {
      const { itemId, type, eventTimeMs } = steps[i]!
      const partition = reader.number()
      const offset = reader.read(1) === 1 ? BigInt(reader.number()) : reader.bits64()
      steps[i] = { itemId, type, eventTimeMs, source: { partition, offset } }
    }
  }
  const recent: RecentEvent[] = []
  for (let remaining = reader.number(); remaining > 0; remaining--) {
    const eventTimeMs = newestMs - reader.number()
    recent.push({ idHash: reader.bits64(), eventTimeMs })
  }
  return { steps, recent, newestMs }
}

/** `newestMs` without the rest. @throws CorruptError as `unpackWindow` does */
export function unpackNewestMs(bytes: Uint8Array, length = bytes.length): number {
  return open(bytes, length).number()
}

function open(bytes: Uint8Array, length: number): BitReader {
  const reader = new BitReader(bytes, length)
  const found = reader.read(8)
  if (found !== layout) throw new CorruptError(`a window of layout ${found}; this version reads layout ${layout}`)
  return reader
}

const encoder = new TextEncoder()

/**
 * A line of JSON in UTF-8 that needs no dictionary: two runs have byte-equal histories exactly if these are equal for
 * every user.
 */
export function canonicalWindow(userId: UserId, window: UserWindow): Uint8Array {
  return encoder.encode(
    JSON.stringify([
      userId,
      window.newestMs,
      window.steps.map((step) => [
        step.itemId,
        step.type,
        step.eventTimeMs,
        ...(step.source === undefined ? [] : [step.source.partition, String(step.source.offset)])
      ]),
      window.recent.map((event) => [String(event.idHash), event.eventTimeMs])
    ])
  )
}
