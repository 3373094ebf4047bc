// What the model learns from: a history and the item that came next.

import type { UserId } from './interaction.ts'
import type { SequenceStep } from './userSequence.ts'

export interface Example {
  readonly userId: UserId
  /** The steps before the target, oldest first, at least one. */
  readonly history: readonly SequenceStep[]
  readonly target: SequenceStep
  /** Of the target's interaction: the example's name. */
  readonly source: { readonly partition: number; readonly offset: bigint }
  /** By event type; > 0. */
  readonly weight: number
}
