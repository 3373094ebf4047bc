// Examples of the reservoir on their way into a checkpoint: each with the number of its slot, in any order.

import { type NamedArray, type NamedArrays, namedArray, packTexts, unpackTexts } from '../../core/namedArrays.ts'
import type { UserId } from '../../records/interaction.ts'
import type { RowBlock } from './changedRows.ts'

/** Slots of a chunk of the reservoir, and of a block. */
export const chunkSlots = 1024

/** A chunk of the reservoir. S steps of an example: history and target, which is the last. */
export interface ExampleColumns {
  readonly rows: Int32Array // [1,024, S]  of the item table
  readonly generations: Int32Array // [1,024, S]  of these rows
  readonly timesMs: Float64Array // [1,024, S]
  readonly lengths: Int32Array // [1,024]  steps in use; 0: erased
  readonly weights: Float64Array // [1,024]
}

export function newExampleColumns(stepsMax: number): ExampleColumns {
  return {
    rows: new Int32Array(chunkSlots * stepsMax),
    generations: new Int32Array(chunkSlots * stepsMax),
    timesMs: new Float64Array(chunkSlots * stepsMax),
    lengths: new Int32Array(chunkSlots),
    weights: new Float64Array(chunkSlots)
  }
}

interface ExampleSource {
  readonly stepsMax: number // S
  chunkOf(slot: number): ExampleColumns
  /** undefined: the slot is empty. */
  userOf(slot: number): UserId | undefined
}

export class ExampleBlock implements RowBlock {
  readonly #source: ExampleSource
  readonly #slots: number[] = []
  readonly #users: UserId[] = []
  readonly #columns: ExampleColumns
  #steps = 0

  constructor(source: ExampleSource) {
    this.#source = source
    this.#columns = newExampleColumns(source.stepsMax)
  }

  get isFull(): boolean {
    return this.#slots.length === chunkSlots
  }

  add(slot: number): void {
    const user = this.#source.userOf(slot)
    const at = this.#slots.length
    this.#slots.push(slot)
    this.#users.push(user ?? '')
    if (user === undefined) return // what an empty slot still holds is not part of the state
    const from = this.#source.chunkOf(slot)
    const to = this.#columns
    const index = slot % chunkSlots
    const start = index * this.#source.stepsMax
    const end = start + from.lengths[index]!
    to.rows.set(from.rows.subarray(start, end), this.#steps)
    to.generations.set(from.generations.subarray(start, end), this.#steps)
    to.timesMs.set(from.timesMs.subarray(start, end), this.#steps)
    to.lengths[at] = from.lengths[index]!
    to.weights[at] = from.weights[index]!
    this.#steps += end - start
  }

  finish(): NamedArrays {
    const n = this.#slots.length
    const users = packTexts(this.#users)
    const { rows, generations, timesMs, lengths, weights } = this.#columns
    return new Map<string, NamedArray>([
      ['slots', Int32Array.from(this.#slots)],
      ['lengths', lengths.subarray(0, n)],
      ['rows', rows.subarray(0, this.#steps)],
      ['generations', generations.subarray(0, this.#steps)],
      ['timesMs', timesMs.subarray(0, this.#steps)],
      ['weights', weights.subarray(0, n)],
      ['users', users.bytes],
      ['userLengths', users.lengths]
    ])
  }
}

/** The arrays of a block. @throws CorruptError if one is missing or does not fit */
export function readExampleBlock(arrays: NamedArrays) {
  const lengths = namedArray(arrays, 'lengths', Int32Array)
  const n = lengths.length
  const steps = lengths.reduce((sum, length) => sum + length, 0)
  return {
    slots: namedArray(arrays, 'slots', Int32Array, n),
    lengths,
    rows: namedArray(arrays, 'rows', Int32Array, steps),
    generations: namedArray(arrays, 'generations', Int32Array, steps),
    timesMs: namedArray(arrays, 'timesMs', Float64Array, steps),
    weights: namedArray(arrays, 'weights', Float64Array, n),
    users: unpackTexts(namedArray(arrays, 'users', Uint8Array), namedArray(arrays, 'userLengths', Int32Array, n))
  }
}

/**
 * Empties a user's slots in a part of a reservoir's checkpoint. Other parts, and those without the user, are returned
 * unchanged.
 *
 * @throws CorruptError if an array is missing or does not fit
 */
export function examplesWithout(arrays: NamedArrays, userId: UserId): NamedArrays {
  if (!arrays.has('slots')) return arrays
  const { lengths, rows, generations, timesMs, users } = readExampleBlock(arrays)
  if (!users.includes(userId)) return arrays
  const isErased = Array.from(lengths).flatMap((length, i) => new Array<boolean>(length).fill(users[i] === userId))
  const isKept = (_: number, at: number) => !isErased[at]
  const left = packTexts(users.map((user) => (user === userId ? '' : user)))
  return new Map<string, NamedArray>([
    ...arrays,
    ['rows', rows.filter(isKept)],
    ['generations', generations.filter(isKept)],
    ['timesMs', timesMs.filter(isKept)],
    ['lengths', lengths.map((length, i) => (users[i] === userId ? 0 : length))],
    ['users', left.bytes],
    ['userLengths', left.lengths]
  ])
}
