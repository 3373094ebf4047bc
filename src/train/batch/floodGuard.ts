// Limits how much one user, or one item, contributes to training: a user who clicks a million times, an item that
// floods the stream.
//
// n examples are remembered, of the last M trained on; d(n) users (or items) are among them.
//
//     an example is refused while its user (item) has   ≥ max( share · M,  8 · n / d(n) )   of them
//
// The share is of what is trained on, not of what is offered, so a flood takes no more than it, however large. The
// second term keeps a stream of few users, or a small catalogue, from being refused for being small.

import { CorruptError } from '../../core/errors.ts'
import { type NamedArray, type NamedArrays, namedArray, packTexts, unpackTexts } from '../../core/namedArrays.ts'
import type { Example } from '../../records/example.ts'
import type { UserId } from '../../records/interaction.ts'

interface FloodGuardOptions {
  /** M */
  readonly examplesMax: number
  /** 0 … 1; 1 refuses none. */
  readonly userShareMax: number
  readonly itemShareMax: number
}

/** Stands for erased users: no user has an empty id. */
const erased = ''

/** Multiple of the mean that is always allowed. */
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
    this.#options = options
  }

  /** The examples to train on, in their order; they count from now on. */
  admit(examples: readonly Example[]): readonly Example[] {
    const { userShareMax, itemShareMax } = this.#options
    return examples.filter(({ userId, target: { itemId } }) => {
      const refused =
        this.#exceeds(this.#byUser, userId, userShareMax) || this.#exceeds(this.#byItem, itemId, itemShareMax)
      if (!refused) this.#remember(userId, itemId)
      return !refused
    })
  }

  /** Erases a user; the examples stay counted, without an owner. O(M) */
  remove(userId: UserId): void {
    const count = this.#byUser.get(userId)
    if (count === undefined) return
    this.#users = this.#users.map((user) => (user === userId ? erased : user))
    this.#byUser.delete(userId)
    this.#byUser.set(erased, (this.#byUser.get(erased) ?? 0) + count)
  }

  /** The state as it is now, packed when the result is called. */
  copy(): () => NamedArrays {
    const inOrder = (ring: readonly string[]) => [...ring.slice(this.#next), ...ring.slice(0, this.#next)]
    const [users, items] = [inOrder(this.#users), inOrder(this.#items)]
    return () => {
      const packed = { users: packTexts(users), items: packTexts(items) }
      return new Map<string, NamedArray>([
        ['users', packed.users.bytes],
        ['userLengths', packed.users.lengths],
        ['items', packed.items.bytes],
        ['itemLengths', packed.items.lengths]
      ])
    }
  }

  /** @throws CorruptError if an array is missing or does not fit */
  restore(arrays: NamedArrays): void {
    this.#users = []
    this.#items = []
    this.#next = 0
    this.#byUser.clear()
    this.#byItem.clear()
    const users = unpackTexts(namedArray(arrays, 'users', Uint8Array), namedArray(arrays, 'userLengths', Int32Array))
    const items = unpackTexts(namedArray(arrays, 'items', Uint8Array), namedArray(arrays, 'itemLengths', Int32Array))
    if (users.length !== items.length)
      throw new CorruptError(`state: ${users.length} users and ${items.length} items of the flood guard`)
    for (const [i, user] of users.entries()) this.#remember(user, items[i]!)
  }

  #exceeds(counts: ReadonlyMap<string, number>, id: string, shareMax: number): boolean {
    const count = counts.get(id)
    if (count === undefined || shareMax >= 1) return false
    return count >= Math.max(shareMax * this.#options.examplesMax, (fairMultiple * this.#users.length) / counts.size)
  }

  #remember(user: string, item: string): void {
    if (this.#users.length < this.#options.examplesMax) {
      this.#users.push(user)
      this.#items.push(item)
    } else {
      add(this.#byUser, this.#users[this.#next]!, -1)
      add(this.#byItem, this.#items[this.#next]!, -1)
      this.#users[this.#next] = user
      this.#items[this.#next] = item
      this.#next = (this.#next + 1) % this.#options.examplesMax
    }
    add(this.#byUser, user, 1)
    add(this.#byItem, item, 1)
  }
}

/** `remove` in what `FloodGuard.copy` returned; the same object where the user is not in it. */
export function guardWithout(arrays: NamedArrays, userId: UserId): NamedArrays {
  const users = unpackTexts(namedArray(arrays, 'users', Uint8Array), namedArray(arrays, 'userLengths', Int32Array))
  if (!users.includes(userId)) return arrays
  const { bytes, lengths } = packTexts(users.map((user) => (user === userId ? erased : user)))
  return new Map<string, NamedArray>([...arrays, ['users', bytes], ['userLengths', lengths]])
}

function add(counts: Map<string, number>, id: string, more: number): void {
  const count = (counts.get(id) ?? 0) + more
  if (count === 0) counts.delete(id)
  else counts.set(id, count)
}
