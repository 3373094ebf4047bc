// Examples of the reservoir on their way into a checkpoint: each with the number of its slot, in any order.

import { type NamedArray, type NamedArrays, namedArray, packTexts, unpackTexts } from '../../core/namedArrays.ts'
import type { UserId } from '../../records/interaction.ts'
import type { RowBlock } from './changedRows.ts'

/** Columns of 1,024 slots; the target is the last of an example's steps. */
export interface ExampleColumns {
  readonly rows: Int32Array // [1,024, historyMax + 1]
  readonly generations: Int32Array // [1,024, historyMax + 1]
  readonly timesMs: Float64Array // [1,024, historyMax + 1]
  readonly types: Uint8Array // [1,024, historyMax + 1]
  readonly lengths: Int32Array // [1,024]  steps, target included; 0: erased
  readonly weights: Float64Array // [1,024]
  readonly partitions: Int32Array // [1,024]
  readonly offsets: BigInt64Array // [1,024]
}

export interface ExampleBlockOptions {
  /** historyMax + 1 */
  readonly stepsMax: number
  /** Where a slot is, and its index there. */
  readonly columnsOf: (slot: number) => ExampleColumns
  readonly indexOf: (slot: number) => number
  /** undefined: the slot is empty. */
  readonly userOf: (slot: number) => UserId | undefined
}

const slotsMax = 1024

export class ExampleBlock implements RowBlock {
  readonly #options: ExampleBlockOptions
  readonly #slots: number[] = []
  readonly #users: UserId[] = []
  readonly #lengths = new Int32Array(slotsMax)
  readonly #rows: Int32Array
  readonly #generations: Int32Array
  readonly #timesMs: Float64Array
  readonly #types: Uint8Array
  readonly #weights = new Float64Array(slotsMax)
  readonly #partitions = new Int32Array(slotsMax)
  readonly #offsets = new BigInt64Array(slotsMax)
  #steps = 0

  constructor(options: ExampleBlockOptions) {
    this.#options = options
    const steps = slotsMax * options.stepsMax
    this.#rows = new Int32Array(steps)
    this.#generations = new Int32Array(steps)
    this.#timesMs = new Float64Array(steps)
    this.#types = new Uint8Array(steps)
  }

  get isFull(): boolean {
    return this.#slots.length === slotsMax
  }

  add(slot: number): void {
    const user = this.#options.userOf(slot)
    const at = this.#slots.length
    this.#slots.push(slot)
    this.#users.push(user ?? '')
    // What an empty slot was left with is nobody's business.
    if (user === undefined) return
    const columns = this.#options.columnsOf(slot)
    const index = this.#options.indexOf(slot)
    const length = columns.lengths[index]!
    const start = index * this.#options.stepsMax
    this.#rows.set(columns.rows.subarray(start, start + length), this.#steps)
    this.#generations.set(columns.generations.subarray(start, start + length), this.#steps)
    this.#timesMs.set(columns.timesMs.subarray(start, start + length), this.#steps)
    this.#types.set(columns.types.subarray(start, start + length), this.#steps)
    this.#steps += length
    this.#lengths[at] = length
    this.#weights[at] = columns.weights[index]!
    this.#partitions[at] = columns.partitions[index]!
    this.#offsets[at] = columns.offsets[index]!
  }

  finish(): NamedArrays {
    const n = this.#slots.length
    const users = packTexts(this.#users)
    return new Map<string, NamedArray>([
      ['slots', Int32Array.from(this.#slots)],
      ['lengths', this.#lengths.subarray(0, n)],
      ['rows', this.#rows.subarray(0, this.#steps)],
      ['generations', this.#generations.subarray(0, this.#steps)],
      ['timesMs', this.#timesMs.subarray(0, this.#steps)],
      ['types', this.#types.subarray(0, this.#steps)],
      ['weights', this.#weights.subarray(0, n)],
      ['partitions', this.#partitions.subarray(0, n)],
      ['offsets', new Uint8Array(this.#offsets.buffer, 0, 8 * n)],
      ['users', users.bytes],
      ['userLengths', users.lengths]
    ])
  }
}

/**
 * The slots of a user made empty, in a part of a reservoir's copy; other parts, and those without the user, as they
 * are.
 *
 * @throws CorruptError if an array is missing or does not fit
 */
export function examplesWithout(
  arrays: NamedArrays,
  userId: UserId
): { readonly arrays: NamedArrays; readonly removed: number } {
  if (!arrays.has('slots')) return { arrays, removed: 0 }
  const lengths = namedArray(arrays, 'lengths', Int32Array)
  const users = unpackTexts(
    namedArray(arrays, 'users', Uint8Array),
    namedArray(arrays, 'userLengths', Int32Array, lengths.length)
  )
  const removed = users.filter((user) => user === userId).length
  if (removed === 0) return { arrays, removed }
  const steps = lengths.reduce((sum, length) => sum + length, 0)
  const isKept = new Uint8Array(steps)
  for (let i = 0, at = 0; i < users.length; at += lengths[i++]!)
    if (users[i] !== userId) isKept.fill(1, at, at + lengths[i]!)
  const cut = {
    rows: namedArray(arrays, 'rows', Int32Array, steps).filter((_, at) => isKept[at] === 1),
    generations: namedArray(arrays, 'generations', Int32Array, steps).filter((_, at) => isKept[at] === 1),
    timesMs: namedArray(arrays, 'timesMs', Float64Array, steps).filter((_, at) => isKept[at] === 1),
    types: namedArray(arrays, 'types', Uint8Array, steps).filter((_, at) => isKept[at] === 1)
  }
  const texts = packTexts(users.map((user) => (user === userId ? '' : user)))
  const left = new Map<string, NamedArray>([...arrays, ...Object.entries(cut)])
  left.set(
    'lengths',
    lengths.map((length, i) => (users[i] === userId ? 0 : length))
  )
  left.set('users', texts.bytes)
  left.set('userLengths', texts.lengths)
  // Where the erased examples came from is kept by nobody either.
  left.set(
    'offsets',
    namedArray(arrays, 'offsets', Uint8Array, 8 * users.length).map((byte, at) =>
      users[at >>> 3] === userId ? 0 : byte
    )
  )
  return { arrays: left, removed }
}
