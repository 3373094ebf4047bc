// A checkpoint without one user.

import { CorruptError } from '../base/errors.ts'
import { guardWithout } from '../batch/floodGuard.ts'
import { withoutPrefix, withPrefix } from '../batch/namedArrays.ts'
import { withoutUser } from '../batch/reservoirState.ts'
import type { UserId } from '../event/interaction.ts'
import type { Checkpoint, CheckpointStore } from './checkpoint.ts'

/** @returns the checkpoint without the user's examples, and how many these and those learned lately were. Weights stay: what was learned from one cannot be told from what was learned from others */
export function checkpointWithout(checkpoint: Checkpoint, userId: UserId): { readonly checkpoint: Checkpoint; readonly removed: number } {
  const kept = withoutUser(withoutPrefix('reservoir/', checkpoint.arrays), userId)
  const lately = guardWithout(withoutPrefix('guard/', checkpoint.arrays), userId)
  const removed = kept.removed + lately.removed
  if (removed === 0) return { checkpoint, removed }
  const arrays = new Map([...checkpoint.arrays, ...withPrefix('reservoir/', kept.arrays), ...withPrefix('guard/', lately.arrays)])
  return { checkpoint: { ...checkpoint, arrays }, removed }
}

/**
 * Rewrites every kept checkpoint that holds examples of the users. Killed at any moment, each is as it was or without them; to be repeated then.
 *
 * @returns how many checkpoints were rewritten, and which are damaged and could not be looked at
 */
export async function forgetInCheckpoints(
  store: CheckpointStore,
  userIds: Iterable<UserId>
): Promise<{ readonly rewritten: number; readonly damaged: readonly string[] }> {
  const users = [...userIds]
  const damaged: string[] = []
  let rewritten = 0
  for (const step of await store.steps()) {
    let checkpoint: Checkpoint
    try {
      checkpoint = await store.load(step)
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
      damaged.push(error.message)
      continue
    }
    let removed = 0
    for (const userId of users) {
      const without = checkpointWithout(checkpoint, userId)
      checkpoint = without.checkpoint
      removed += without.removed
    }
    if (removed === 0) continue
    await store.replace(step, checkpoint)
    rewritten++
  }
  return { rewritten, damaged }
}
