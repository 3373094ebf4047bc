// What a user has acted on beyond the window, and what the user does not want: kept with the window, so that both are
// exact over restarts and go with the user.
//
// Seen items are bytes: the number of event types, each as a length and UTF-8, then 9 bytes an item, oldest first:
//
//   0  hash of the item's id  u32        4  minutes since 1970  u32        8  index of the event type  u8
//
// A user of 2,000 seen items takes 18 KB, one of 100 takes 0.9 KB. An item that was never seen is taken for one of 2,000
// seen ones with a probability of 1 in 2 million.

import { hashKey } from '../core/hashKey.ts'
import type { ItemId } from './interaction.ts'
import type { SequenceStep } from './userSequence.ts'

/** Seen items of a user, distinct by item and type; of more the oldest are forgotten. */
export const seenMax = 2000
/** Items of a user's feedback; of more the oldest are forgotten. */
export const feedbackMax = 200
/** Event types of a user that are distinguished; of more the steps count as of the last one. */
const typesMax = 255
const entryBytes = 9
const minuteMs = 60_000

/** Event types of what a user does not want. They are never steps of a history, and so never examples. */
export const feedbackTypes = ['dislike', 'hide', 'unhide'] as const
export type FeedbackType = (typeof feedbackTypes)[number]

export function isFeedback(type: string): type is FeedbackType {
  return (feedbackTypes as readonly string[]).includes(type)
}

/** The newest feedback of a user on an item. */
export interface Feedback {
  readonly itemId: ItemId
  /** `unhide` takes an earlier `dislike` or `hide` back. */
  readonly type: FeedbackType
  readonly eventTimeMs: number
  /** Of `hide`: in effect until then; absent: for ever. */
  readonly untilMs?: number
  /** Of the interaction in its partition of the `interactions` topic. */
  readonly offset: bigint
}

/**
 * The list with one more, by event time; the newest of an item counts. The same list if it changes nothing: what is read
 * again changes nothing.
 */
export function addFeedback(list: readonly Feedback[], added: Feedback): readonly Feedback[] {
  const before = list.find(({ itemId }) => itemId === added.itemId)
  if (before !== undefined && compare(before, added) >= 0) return list
  const others = list.filter((one) => one !== before)
  const next = [...others, added].sort(compare)
  const kept = next.slice(Math.max(0, next.length - feedbackMax))
  return kept.includes(added) ? kept : list
}

function compare(a: Feedback, b: Feedback): number {
  return (
    a.eventTimeMs - b.eventTimeMs ||
    feedbackTypes.indexOf(a.type) - feedbackTypes.indexOf(b.type) ||
    (a.untilMs ?? Number.MAX_SAFE_INTEGER) - (b.untilMs ?? Number.MAX_SAFE_INTEGER) ||
    (a.itemId < b.itemId ? -1 : a.itemId > b.itemId ? 1 : 0)
  )
}

/**
 * With more steps, oldest first and none older than what is there by more than the grace; of an item and type the newest
 * counts. Linear in what is there for each step, some nanoseconds an item. @param seen undefined: none yet
 */
export function addSeen(
  seen: Uint8Array | undefined,
  steps: readonly Pick<SequenceStep, 'itemId' | 'type' | 'eventTimeMs'>[]
): Uint8Array {
  if (seen !== undefined && steps.length === 1) {
    const added = addOne(seen, steps[0]!)
    if (added !== undefined) return added
  }
  const { types, at: start } = headOf(seen)
  const typesBefore = types.length
  const before = seen === undefined ? 0 : seen.length - start
  const entries = new Uint8Array(before + steps.length * entryBytes)
  if (seen !== undefined) entries.set(seen.subarray(start))
  let end = before
  for (const { itemId, type, eventTimeMs } of steps) {
    let index = types.indexOf(type)
    if (index < 0) index = types.length < typesMax ? types.push(type) - 1 : typesMax - 1
    const hash = hashKey(itemId)
    const at = placeOf(entries, end, hash, index)
    if (at >= 0) {
      entries.copyWithin(at, at + entryBytes, end)
      end -= entryBytes
    }
    writeEntry(entries, end, hash, eventTimeMs, index)
    end += entryBytes
  }
  const kept = entries.subarray(Math.max(0, end - seenMax * entryBytes), end)
  const head = seen !== undefined && types.length === typesBefore ? seen.subarray(0, start) : headBytes(types)
  const next = Buffer.allocUnsafe(head.length + kept.length)
  next.set(head)
  next.set(kept, head.length)
  return next
}

/** As `addSeen`, in one allocation; undefined: the type is new. A user of a long history has one step leave at a time. */
function addOne(
  seen: Uint8Array,
  { itemId, type, eventTimeMs }: Pick<SequenceStep, 'itemId' | 'type' | 'eventTimeMs'>
): Uint8Array | undefined {
  let start = 1
  let index = -1
  for (let i = 0; i < seen[0]!; i++) {
    const length = seen[start]! + 256 * seen[start + 1]!
    if (index < 0 && isText(seen, start + 2, length, type)) index = i
    start += 2 + length
  }
  if (index < 0) return undefined
  const hash = hashKey(itemId)
  const at = placeOf(seen, seen.length, hash, index, start)
  // The entry that is replaced, or the oldest of too many, leaves.
  const left = at >= 0 ? at : seen.length - start >= seenMax * entryBytes ? start : -1
  const next = Buffer.allocUnsafe(left < 0 ? seen.length + entryBytes : seen.length)
  if (left < 0) next.set(seen)
  else {
    next.set(seen.subarray(0, left))
    next.set(seen.subarray(left + entryBytes), left)
  }
  writeEntry(next, next.length - entryBytes, hash, eventTimeMs, index)
  return next
}

/** Whether the bytes are the text, of ASCII. */
function isText(bytes: Uint8Array, at: number, length: number, text: string): boolean {
  if (length !== text.length) return false
  for (let i = 0; i < length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false
  return true
}

function writeEntry(bytes: Uint8Array, at: number, hash: number, eventTimeMs: number, type: number): void {
  writeUint32(bytes, at, hash)
  writeUint32(bytes, at + 4, Math.min(0xffffffff, Math.floor(eventTimeMs / minuteMs)))
  bytes[at + 8] = type
}

/** Where the entry of the item and type is; −1: nowhere. */
function placeOf(entries: Uint8Array, end: number, hash: number, type: number, start = 0): number {
  for (let at = start; at < end; at += entryBytes)
    if (entries[at + 8] === type && readUint32(entries, at) === hash) return at
  return -1
}

function readUint32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}

function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value
  bytes[at + 1] = value >>> 8
  bytes[at + 2] = value >>> 16
  bytes[at + 3] = value >>> 24
}

/** What makes the bytes no seen items; undefined: nothing. */
export function seenProblem(seen: Uint8Array): string | undefined {
  const { at } = headOf(seen)
  const entries = (seen.length - at) / entryBytes
  return Number.isInteger(entries) && entries >= 0 && entries <= seenMax
    ? undefined
    : `${seen.length} bytes are no seen items of at most ${seenMax}`
}

/**
 * Visits the items, oldest first, without an object for each. @param visitorOf gets the event types
 */
export function forEachSeen(
  seen: Uint8Array,
  visitorOf: (types: readonly string[]) => (hash: number, type: number, atMs: number) => void
): void {
  const { types, at: start } = headOf(seen)
  const visit = visitorOf(types)
  for (let at = start; at < seen.length; at += entryBytes)
    visit(readUint32(seen, at), seen[at + 8]!, readUint32(seen, at + 4) * minuteMs)
}

function headOf(seen: Uint8Array | undefined): { types: string[]; at: number } {
  const types: string[] = []
  let at = 1
  if (seen === undefined || seen.length === 0) return { types, at: 0 }
  for (let left = seen[0]!; left > 0; left--) {
    const length = (seen[at] ?? 0) + 256 * (seen[at + 1] ?? 0)
    types.push(Buffer.from(seen.subarray(at + 2, at + 2 + length)).toString('utf8'))
    at += 2 + length
  }
  return { types, at }
}

function headBytes(types: readonly string[]): Buffer {
  const names = types.map((type) => Buffer.from(type))
  return Buffer.concat([
    Buffer.of(names.length),
    ...names.flatMap((name) => [Buffer.of(name.length & 0xff, name.length >> 8), name])
  ])
}
