// A checkpoint without one user.

import { CorruptError } from '../base/errors.ts'
import { withoutPrefix, withPrefix } from '../batch/namedArrays.ts'
import { withoutUser } from '../batch/reservoirState.ts'
import type { UserId } from '../event/interaction.ts'
import type { Checkpoint, CheckpointStore } from './checkpoint.ts'

const prefix = 'reservoir/'

/** @returns the checkpoint without the user's examples, and how many these were. Weights stay: what was learned from one cannot be told from what was learned from others */
export function checkpointWithout(checkpoint: Checkpoint, userId: UserId): { readonly checkpoint: Checkpoint; readonly removed: number } {
  const { arrays, removed } = withoutUser(withoutPrefix(prefix, checkpoint.arrays), userId)
  if (removed === 0) return { checkpoint, removed }
  return { checkpoint: { ...checkpoint, arrays: new Map([...checkpoint.arrays, ...withPrefix(prefix, arrays)]) }, removed }
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
