import type { UserId } from '../records/interaction.ts'
import type { UserWindow } from '../records/userSequence.ts'
import type { SequenceStore } from './sequenceStore.ts'

/**
 * The users of a store by id, as of the last commit, without those who have expired but have not been swept away yet:
 * what two runs over the same log agree in.
 */
export function* liveWindows(store: SequenceStore, idleMaxMs: number): Generator<[UserId, UserWindow]> {
  const expiryMs = store.watermarkMs() - idleMaxMs
  for (const entry of store.users()) if (entry[1].newestMs >= expiryMs) yield entry
}
