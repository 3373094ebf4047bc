// One common order for users of whom only their own order is known.

import type { Rng } from '../../core/rng.ts'
import type { UserId } from '../../records/interaction.ts'

/**
 * A random merge in which the next row comes from a user with probability proportional to how many of the user's rows
 * are left; every merge that keeps each user's own order is equally likely. The same merge is found without choosing
 * row by row: a user with n rows gets n uniform numbers in ascending order, and rows are sorted by them. They are drawn
 * one after the other as order statistics: of n numbers above u, the least is 1 − (1 − u) · V^(1/n), V uniform.
 *
 * Memory: one entry per user, none per row.
 */
export class Interleaving {
  readonly #rng: Rng
  readonly #users = new Map<UserId, { left: number; gap: number }>()

  constructor(rng: Rng) {
    this.#rng = rng
  }

  /** First pass: this user has one row more. */
  count(userId: UserId): void {
    const user = this.#users.get(userId)
    if (user === undefined) this.#users.set(userId, { left: 1, gap: 1 })
    else user.left++
  }

  /**
   * Second pass, over the same rows: the sort key of the user's next row, 0 … 1, never less than that of the row
   * before.
   */
  key(userId: UserId): number {
    const user = this.#users.get(userId)
    if (user === undefined || user.left === 0)
      throw new Error(`user ${userId} has more rows in the second pass than in the first`)
    // 1 − uniform: in (0, 1], so that the gap never vanishes at once.
    user.gap *= (1 - this.#rng.uniform()) ** (1 / user.left--)
    return 1 - user.gap
  }
}
