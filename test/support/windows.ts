// Windows as two runs over the same log are compared by.

import type { UserId } from '../../src/records/interaction.ts'
import type { UserWindow } from '../../src/records/userSequence.ts'
import type { SequenceStore } from '../../src/sequence/sequenceStore.ts'

/**
 * The users of a store by ID, as of the last commit, without those who have expired and have not been swept away yet:
 * what two runs over the same log agree in.
 */
export function* liveWindows(store: SequenceStore, idleMaxMs: number): Generator<[UserId, UserWindow]> {
  const expiryMs = store.watermarkMs() - idleMaxMs
  for (const entry of store.users()) if (entry[1].newestMs >= expiryMs) yield entry
}

/**
 * A line of JSON in UTF-8 that needs no dictionary: two runs have byte-equal windows exactly if these are equal for
 * every user.
 */
export function canonicalWindow(userId: UserId, window: UserWindow): Uint8Array {
  return new TextEncoder().encode(
    JSON.stringify([
      userId,
      window.newestMs,
      window.steps.map((step) => [
        step.itemId,
        step.type,
        step.eventTimeMs,
        ...(step.source === undefined ? [] : [step.source.partition, String(step.source.offset)])
      ]),
      window.recent.map((event) => [String(event.idHash), event.eventTimeMs]),
      Buffer.from(window.seen ?? []).toString('hex'),
      (window.feedback ?? []).map(({ offset, ...rest }) => ({ ...rest, offset: String(offset) }))
    ])
  )
}
