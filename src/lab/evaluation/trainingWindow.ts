// Several steps of one user that are learned together, each from the steps before it.
//
// R newest steps of a history that are read.

import type { UserId } from '../../records/interaction.ts'
import type { SequenceStep } from '../../records/userSequence.ts'

interface WindowTarget {
  /** Index in the window's steps, at least 1. */
  readonly at: number
  /** By event type; > 0. */
  readonly weight: number
}

export interface TrainingWindow {
  readonly userId: UserId
  /** Oldest first. */
  readonly steps: readonly SequenceStep[]
  /** Ascending, each at most once. */
  readonly targets: readonly WindowTarget[]
}

interface WindowCut<S extends SequenceStep> {
  /** R: a target is given so many steps before it, where the user has them. */
  readonly historyMax: number
  /**
   * Targets of a window at most. A window of n targets has up to R + n steps, and each target's attention runs over all
   * of them: about R is cheapest.
   */
  readonly targetsMax: number
  /** 0 for a step that is kept in histories but not learned. */
  readonly weightOf: (step: S) => number
}

/**
 * All of a user's positions, in windows: every step but the first is a target of exactly one of them, unless it weighs
 * nothing.
 *
 * @param steps oldest first, as many as there are
 */
export function cutWindows<S extends SequenceStep>(
  userId: UserId,
  steps: readonly S[],
  { historyMax, targetsMax, weightOf }: WindowCut<S>
): TrainingWindow[] {
  if (!(targetsMax >= 1)) throw new RangeError(`targetsMax must be at least 1, not ${targetsMax}`)
  const windows: TrainingWindow[] = []
  for (let from = 1; from < steps.length; from += targetsMax) {
    const to = Math.min(steps.length, from + targetsMax)
    const first = Math.max(0, from - historyMax)
    const targets: WindowTarget[] = []
    for (let at = from; at < to; at++) {
      const weight = weightOf(steps[at]!)
      if (weight > 0) targets.push({ at: at - first, weight })
    }
    if (targets.length > 0) windows.push({ userId, steps: steps.slice(first, to), targets })
  }
  return windows
}
