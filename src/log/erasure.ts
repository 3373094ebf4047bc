// How a user is erased: by a record without a value, keyed by the user, in `interactions`. Each stage
// that reads it forgets the user.

import { idProblem } from '../records/admission.ts'
import type { UserId } from '../records/interaction.ts'
import type { LogRecord, NewRecord } from './eventLog.ts'

/**
 * On a record without a value in `user-sequences`: the user was erased, not merely idle for too long, so that examples
 * and checkpoints forget them, too.
 */
const erasureHeader = 'mtmi.erased'
const text = new TextEncoder()
const untext = new TextDecoder('utf-8', { fatal: true })

/** To be appended to `interactions`. What the user does afterwards begins a new history. */
export function erasureEvent(userId: UserId): NewRecord {
  return { key: text.encode(userId), value: null }
}

/** @returns who is to be erased; undefined for a record that says nothing of that */
export function erasedUser({ key, value }: Pick<LogRecord, 'key' | 'value'>): UserId | undefined {
  if (value !== null || key.length === 0) return undefined
  try {
    const userId = untext.decode(key)
    return idProblem('userId', userId) === undefined ? userId : undefined
  } catch {
    return undefined // not UTF-8: not an id
  }
}

/**
 * The tombstone of an erased user in `user-sequences`. @param offset of the erasure in the partition of `interactions`
 */
export function erasedSequence(userId: UserId, partition: number, offset: bigint): NewRecord {
  return { ...erasureEvent(userId), headers: { [erasureHeader]: text.encode(String(offset)) }, partition }
}

/** Offset of the erasure in the partition of `interactions`; undefined for any other record. */
export function erasureOffset({ value, headers }: Pick<LogRecord, 'value' | 'headers'>): bigint | undefined {
  const header = headers[erasureHeader]
  if (value !== null || header === undefined) return undefined
  const offset = untext.decode(header)
  return /^\d{1,19}$/.test(offset) ? BigInt(offset) : undefined
}

/** Whether a tombstone of `user-sequences` is an erasure. */
export function isErasure({ value, headers }: Pick<LogRecord, 'value' | 'headers'>): boolean {
  return value === null && headers[erasureHeader] !== undefined
}
