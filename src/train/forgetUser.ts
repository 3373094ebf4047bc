// A checkpoint without one user.

import type { CheckpointPart, CheckpointStore } from '../model/replica/checkpoint.ts'
import type { UserId } from '../records/interaction.ts'
import { examplesWithout } from './batch/exampleBlock.ts'
import { guardWithout } from './batch/floodGuard.ts'

/** Parts that name users. */
const naming = ['reservoir', 'guard']

/**
 * @returns the part without the users, or the same object. Weights stay: what one user contributed cannot be separated
 */
function partWithout(part: CheckpointPart, userIds: readonly UserId[]): CheckpointPart {
  const without = part.name === 'guard' ? guardWithout : examplesWithout
  let { arrays } = part
  for (const userId of userIds) arrays = without(arrays, userId)
  return arrays === part.arrays ? part : { ...part, arrays }
}

/**
 * Rewrites every kept checkpoint that names the users. Killed at any moment, each is unchanged or without them; repeat
 * it then.
 *
 * @returns how many checkpoints were rewritten, and which are damaged and could not be read
 */
export function forgetInCheckpoints(
  store: CheckpointStore,
  userIds: Iterable<UserId>
): Promise<{ readonly rewritten: number; readonly damaged: readonly string[] }> {
  const users = [...userIds]
  return store.rewrite(naming, (part) => partWithout(part, users))
}

/** How many kept checkpoints name the user. */
export async function checkpointsNaming(store: CheckpointStore, userId: UserId): Promise<number> {
  return (await store.rewrite(naming, (part) => partWithout(part, [userId]), true)).rewritten
}
