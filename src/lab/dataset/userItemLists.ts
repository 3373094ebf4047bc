// All interactions as one list of items per user: what an offline evaluation splits.

import type { ItemId, UserId } from '../../records/interaction.ts'

export interface UserItemLists {
  /** In the order of first appearance in the data set. */
  readonly users: readonly UserId[]
  /** In the order of first appearance. */
  readonly items: readonly ItemId[]
  /** [users + 1] user u has steps starts[u] … starts[u + 1] − 1. */
  readonly starts: Int32Array
  /** [rows] positions in `items`, for each user oldest first. */
  readonly steps: Int32Array
  /** [rows] milliseconds since the Unix epoch, beside `steps`; undefined where the data set has an order only. */
  readonly eventTimesMs: Float64Array | undefined
}

/** Gathers rows in file order; 8 bytes a row, 16 with times, plus the ids once. */
export class UserItemListsBuilder {
  readonly #users = new Map<UserId, number>()
  readonly #items = new Map<ItemId, number>()
  #rowUser = new Int32Array(1024)
  #rowItem = new Int32Array(1024)
  #rowTime: Float64Array | undefined
  #rows = 0

  constructor(timed: boolean) {
    if (timed) this.#rowTime = new Float64Array(1024)
  }

  add(userId: UserId, itemId: ItemId, eventTimeMs: number): void {
    if (this.#rows === this.#rowUser.length) this.#grow()
    this.#rowUser[this.#rows] = index(this.#users, userId)
    this.#rowItem[this.#rows] = index(this.#items, itemId)
    if (this.#rowTime !== undefined) this.#rowTime[this.#rows] = eventTimeMs
    this.#rows++
  }

  /** Users' steps in the order of their times, equal ones and those without a time in file order. */
  build(): UserItemLists {
    const starts = new Int32Array(this.#users.size + 1)
    for (let row = 0; row < this.#rows; row++) starts[this.#rowUser[row]! + 1]!++
    for (let user = 0; user < this.#users.size; user++) starts[user + 1]! += starts[user]!
    const rows = new Int32Array(this.#rows)
    const next = starts.slice()
    for (let row = 0; row < this.#rows; row++) rows[next[this.#rowUser[row]!]!++] = row
    const time = this.#rowTime
    if (time !== undefined) {
      for (let user = 0; user < this.#users.size; user++)
        rows.subarray(starts[user], starts[user + 1]).sort((a, b) => time[a]! - time[b]! || a - b)
    }
    return {
      users: [...this.#users.keys()],
      items: [...this.#items.keys()],
      starts,
      steps: rows.map((row) => this.#rowItem[row]!),
      eventTimesMs: time === undefined ? undefined : Float64Array.from(rows, (row) => time[row]!)
    }
  }

  #grow(): void {
    const grown = <T extends Int32Array | Float64Array>(old: T, bigger: T): T => {
      bigger.set(old)
      return bigger
    }
    const length = this.#rowUser.length * 2
    this.#rowUser = grown(this.#rowUser, new Int32Array(length))
    this.#rowItem = grown(this.#rowItem, new Int32Array(length))
    if (this.#rowTime !== undefined) this.#rowTime = grown(this.#rowTime, new Float64Array(length))
  }
}

function index(ids: Map<string, number>, id: string): number {
  let found = ids.get(id)
  if (found === undefined) {
    found = ids.size
    ids.set(id, found)
  }
  return found
}
