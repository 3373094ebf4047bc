// Which users are in which arm of an experiment (`recommend.variants`): by a hash, so it is the same in every process
// and after a restart, and a user stays where the shares do not change.

import type { VariantOptions } from '../../core/config/servingOptions.ts'
import { hashKey } from '../../core/hashKey.ts'
import type { UserId } from '../../records/interaction.ts'

/** Of users who are in none of the arms. */
const defaultVariant: VariantOptions = { name: 'default', share: 0 }

export class Variants {
  readonly #arms: readonly VariantOptions[]
  /** Other names divide the users anew: two experiments after each other are independent. */
  readonly #salt: string

  constructor(arms: readonly VariantOptions[]) {
    this.#arms = arms
    this.#salt = arms.map(({ name }) => name).join(' ')
  }

  /** Whether there is an experiment. */
  get on(): boolean {
    return this.#arms.length > 0
  }

  /** `default` first. */
  shares(): { readonly name: string; readonly share: number }[] {
    const rest = this.#arms.reduce((left, { share }) => left - share, 1)
    return [{ name: defaultVariant.name, share: Math.max(0, Math.round(rest * 1e9) / 1e9) }, ...this.#arms]
  }

  of(userId: UserId): VariantOptions {
    let place = hashKey(`${this.#salt} ${userId}`) / 2 ** 32 // 0 … 1, evenly
    for (const arm of this.#arms) {
      place -= arm.share
      if (place < 0) return arm
    }
    return defaultVariant
  }

  /** undefined: there is none of this name. */
  named(name: string): VariantOptions | undefined {
    return [defaultVariant, ...this.#arms].find((arm) => arm.name === name)
  }
}
