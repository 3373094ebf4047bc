// Bounds what one user, or one item, can make of what is learned: a user who clicks a million times, an item that
// floods the stream.
//
// n examples are remembered, of the last M learned; d(n) users (or items) are among them.
//
//     an example is refused while its user (item) has   ≥ max( share · M,  8 · n / d(n) )   of them
//
// The share is one of what is LEARNED, not of what is offered: so a flood, however large, takes no more than it. The
// second term keeps a stream of few users, or of a small catalogue, from being refused for being small: nobody is
// refused who has less than eight times the mean.

import { CorruptError } from '../../core/errors.ts'
import { type NamedArray, type NamedArrays, namedArray, packTexts, unpackTexts } from '../../core/namedArrays.ts'
import type { Example } from '../../records/example.ts'
import type { UserId } from '../../records/interaction.ts'

export interface FloodGuardOptions {
  /** M */
  readonly examplesMax: number
  /** 0 … 1; 1 refuses nobody. */
  readonly userShareMax: number
  readonly itemShareMax: number
}

/** Whose examples are those of erased users: no user has an empty id. */
const nobody = ''

/** Multiples of the mean that are always allowed. */
const fairMultiple = 8

export class FloodGuard {
  readonly #options: FloodGuardOptions
  /** Rings of the last M, the oldest at `#next` once they are full. */
  #users: string[] = []
  #items: string[] = []
  #next = 0
  readonly #byUser = new Map<string, number>()
  readonly #byItem = new Map<string, number>()

  constructor(options: FloodGuardOptions) {
    if (!(Number.isInteger(options.examplesMax) && options.examplesMax > 0))
      throw new RangeError(`examplesMax must be a whole number above 0, not ${options.examplesMax}`)
    this.#options = options
  }

  /** Those that may be learned, in their order; they count from now on. */
  admit(examples: readonly Example[]): readonly Example[] {
    const { userShareMax, itemShareMax } = this.#options
    const admitted = examples.filter((example) => {
      const { itemId } = example.target
      const refused =
        this.#has(this.#byUser, example.userId, userShareMax) || this.#has(this.#byItem, itemId, itemShareMax)
      if (!refused) this.#remember(example.userId, itemId)
      return !refused
    })
    return admitted.length === examples.length ? examples : admitted
  }

  /** Erases a user: the examples stay counted, as nobody's. O(M) @returns how many they were */
  remove(userId: UserId): number {
    const count = this.#byUser.get(userId) ?? 0
    if (count === 0) return 0
    this.#users = this.#users.map((user) => (user === userId ? nobody : user))
    this.#byUser.delete(userId)
    this.#byUser.set(nobody, (this.#byUser.get(nobody) ?? 0) + count)
    return count
  }

  /** What is remembered at this moment, packed when the result is called. */
  copy(): () => NamedArrays {
    const inOrder = (ring: readonly string[]) => [...ring.slice(this.#next), ...ring.slice(0, this.#next)]
    const kept = { users: inOrder(this.#users), items: inOrder(this.#items) }
    return () => {
      const users = packTexts(kept.users)
      const items = packTexts(kept.items)
      return new Map<string, NamedArray>([
        ['users', users.bytes],
        ['userLengths', users.lengths],
        ['items', items.bytes],
        ['itemLengths', items.lengths]
      ])
    }
  }

  /**
   * @param arrays of `copy`; none at all, as checkpoints of earlier releases have: nothing is remembered @throws
   *   CorruptError if only a part is there
   */
  restore(arrays: NamedArrays): void {
    this.#users = []
    this.#items = []
    this.#next = 0
    this.#byUser.clear()
    this.#byItem.clear()
    if (arrays.size === 0) return
    const users = unpackTexts(namedArray(arrays, 'users', Uint8Array), namedArray(arrays, 'userLengths', Int32Array))
    const items = unpackTexts(namedArray(arrays, 'items', Uint8Array), namedArray(arrays, 'itemLengths', Int32Array))
    if (users.length !== items.length)
      throw new CorruptError(`state: ${users.length} users of ${items.length} examples learned lately`)
    for (const [i, user] of users.entries()) this.#remember(user, items[i]!)
  }

  #has(counts: ReadonlyMap<string, number>, id: string, shareMax: number): boolean {
    const count = counts.get(id)
    if (count === undefined || shareMax >= 1) return false
    return count >= Math.max(shareMax * this.#options.examplesMax, (fairMultiple * this.#users.length) / counts.size)
  }

  #remember(user: string, item: string): void {
    if (this.#users.length < this.#options.examplesMax) {
      this.#users.push(user)
      this.#items.push(item)
    } else {
      discount(this.#byUser, this.#users[this.#next]!)
      discount(this.#byItem, this.#items[this.#next]!)
      this.#users[this.#next] = user
      this.#items[this.#next] = item
      this.#next = (this.#next + 1) % this.#options.examplesMax
    }
    this.#byUser.set(user, (this.#byUser.get(user) ?? 0) + 1)
    this.#byItem.set(item, (this.#byItem.get(item) ?? 0) + 1)
  }
}

/** `remove` in what `FloodGuard.copy` gave. @returns it, and how many examples were the user's */
export function guardWithout(
  arrays: NamedArrays,
  userId: UserId
): { readonly arrays: NamedArrays; readonly removed: number } {
  if (arrays.size === 0) return { arrays, removed: 0 }
  const users = unpackTexts(namedArray(arrays, 'users', Uint8Array), namedArray(arrays, 'userLengths', Int32Array))
  const removed = users.filter((user) => user === userId).length
  if (removed === 0) return { arrays, removed }
  const { bytes, lengths } = packTexts(users.map((user) => (user === userId ? nobody : user)))
  return { arrays: new Map<string, NamedArray>([...arrays, ['users', bytes], ['userLengths', lengths]]), removed }
}

function discount(counts: Map<string, number>, id: string): void {
  const count = counts.get(id)! - 1
  if (count === 0) counts.delete(id)
  else counts.set(id, count)
}
