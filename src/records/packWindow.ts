// A user's window as few bytes, for the store.
//
// A step is a varint of its item and type, and a varint of its gap to the next step: some 6.5 bytes. The item is an
// index in a dictionary that is stored once for all windows of a partition.

import { ByteReader, ByteWriter, checksum } from '../core/bytes.ts'
import { CorruptError } from '../core/errors.ts'
import { type Feedback, feedbackTypes } from './seenItems.ts'
import { extrasOf, type SequenceStep, type UserWindow } from './userSequence.ts'

/** Strings that many steps share, as small numbers in order of first sight. */
export class StringIndex {
  readonly #strings: string[] = []
  readonly #indexes = new Map<string, number>()

  /** The string's index; a new one gets the next. */
  add(text: string): number {
    const known = this.#indexes.get(text)
    if (known !== undefined) return known
    this.#indexes.set(text, this.#strings.length)
    return this.#strings.push(text) - 1
  }

  /** undefined for an index never given out. */
  at(index: number): string | undefined {
    return this.#strings[index]
  }

  get size(): number {
    return this.#strings.length
  }
}

/**
 * What packed windows refer to. Only grows: it is stored with the windows, and every item ever seen stays in it (and in
 * memory).
 */
interface StepDictionary {
  readonly items: StringIndex
  readonly types: StringIndex
}

export function newStepDictionary(): StepDictionary {
  return { items: new StringIndex(), types: new StringIndex() }
}

/** Raise it with every change of the layout. */
const layout = 2
const checksumBytes = 4
/** More steps than a configuration allows: the bytes are not a window. */
const stepsMax = 1_000_000
const writer = new ByteWriter()

/**
 * Equal windows and equal dictionaries give equal bytes. New items and types are added to the dictionary, which must be
 * stored with the bytes.
 *
 * @param window steps ascending by time; those with a source are the last ones
 * @returns owned by the caller; the last four bytes are a checksum
 */
export function packWindow(window: UserWindow, { items, types }: StepDictionary): Uint8Array {
  const { steps, recent, newestMs, seen, feedback = [] } = window
  const count = steps.length
  const isSourced = (step: SequenceStep | undefined) => step?.source !== undefined
  const firstSourced = steps.findIndex(isSourced)
  const sourced = firstSourced < 0 ? 0 : count - firstSourced
  let unitMs = 1000
  let typeEnd = 0
  const typeIndexes = new Array<number>(count)
  for (let i = 0; i < count; i++) {
    const type = types.add(steps[i]!.type)
    typeIndexes[i] = type
    if (type >= typeEnd) typeEnd = type + 1
    if (i > 0 && (steps[i]!.eventTimeMs - steps[i - 1]!.eventTimeMs) % 1000 !== 0) unitMs = 1
  }
  writer.start()
  writer.varint(layout)
  writer.varint(newestMs)
  writer.varint(count)
  if (count > 0) {
    writer.varint(newestMs - steps[count - 1]!.eventTimeMs)
    writer.varint(unitMs)
    writer.varint(typeEnd)
    for (let i = count - 1; i >= 0; i--) {
      const { itemId, eventTimeMs } = steps[i]!
      writer.varint(items.add(itemId) * typeEnd + typeIndexes[i]!)
      if (i > 0) writer.varint((eventTimeMs - steps[i - 1]!.eventTimeMs) / unitMs)
    }
    writer.varint(sourced)
    for (let i = count - sourced; i < count; i++) {
      const { source } = steps[i]!
      if (source === undefined) throw new Error(`step ${i} has no source, but an older one has`)
      writer.varint(source.partition)
      writer.int64(source.offset)
    }
  }
  writer.varint(recent.length)
  for (const { idHash, eventTimeMs } of recent) {
    writer.varint(newestMs - eventTimeMs)
    writer.int64(idHash)
  }
  writer.varint(seen?.length ?? 0)
  if (seen !== undefined) writer.raw(seen)
  writer.varint(feedback.length)
  for (const { itemId, type, eventTimeMs, untilMs, offset } of feedback) {
    writer.varint(items.add(itemId))
    writer.varint(feedbackTypes.indexOf(type))
    writer.varint(eventTimeMs)
    writer.varint(untilMs ?? 0)
    writer.int64(offset)
  }
  writer.uint32(checksum(writer.view()))
  return writer.copy()
}

/**
 * @param length how many of `bytes` are the window
 * @throws CorruptError if the bytes are not what `packWindow` wrote with this dictionary
 */
export function unpackWindow(bytes: Uint8Array, dictionary: StepDictionary, length = bytes.length): UserWindow {
  const reader = open(bytes, length)
  const newestMs = reader.varint()
  const count = reader.varint()
  if (count > stepsMax) throw new CorruptError(`a window of ${count} steps`)
  const steps = new Array<{ -readonly [F in keyof SequenceStep]: SequenceStep[F] }>(count)
  if (count > 0) {
    let timeMs = newestMs - reader.varint()
    const unitMs = reader.varint()
    const typeEnd = reader.varint()
    for (let i = count - 1; i >= 0; i--) {
      const both = reader.varint()
      const itemId = dictionary.items.at(Math.floor(both / typeEnd))
      const type = dictionary.types.at(both % typeEnd)
      if (itemId === undefined || type === undefined)
        throw new CorruptError('an item or a type that the dictionary does not know')
      steps[i] = { itemId, type, eventTimeMs: timeMs }
      if (i > 0) timeMs -= unitMs * reader.varint()
    }
    const sourced = reader.varint()
    if (sourced > count) throw new CorruptError(`${sourced} sources for ${count} steps`)
    for (let i = count - sourced; i < count; i++)
      steps[i]!.source = { partition: reader.varint(), offset: reader.int64() }
  }
  const recent = Array.from({ length: reader.varint() }, () => {
    const eventTimeMs = newestMs - reader.varint()
    return { idHash: reader.int64(), eventTimeMs }
  })
  const seenBytes = reader.varint()
  const seen = seenBytes === 0 ? undefined : Buffer.from(reader.raw(seenBytes))
  const feedback = Array.from({ length: reader.varint() }, (): Feedback => {
    const itemId = dictionary.items.at(reader.varint())
    const type = feedbackTypes[reader.varint()]
    if (itemId === undefined || type === undefined) throw new CorruptError('feedback on an item that is not known')
    const eventTimeMs = reader.varint()
    const untilMs = reader.varint()
    return { itemId, type, eventTimeMs, ...(untilMs === 0 ? {} : { untilMs }), offset: reader.int64() }
  })
  return { steps, recent, newestMs, ...extrasOf({ seen, feedback: feedback.length === 0 ? undefined : feedback }) }
}

/** `newestMs` without the rest. @throws CorruptError as `unpackWindow` does */
export function unpackNewestMs(bytes: Uint8Array, length = bytes.length): number {
  return open(bytes, length).varint()
}

function open(bytes: Uint8Array, length: number): ByteReader {
  const end = length - checksumBytes
  const stored = end < 0 ? -1 : new DataView(bytes.buffer, bytes.byteOffset + end, checksumBytes).getUint32(0, true)
  if (end < 0 || stored !== checksum(bytes, 0, end)) throw new CorruptError(`checksum of ${length} bytes is wrong`)
  const reader = new ByteReader(bytes, 0, end)
  const found = reader.varint()
  if (found !== layout) throw new CorruptError(`a window of layout ${found}; this version reads layout ${layout}`)
  return reader
}
