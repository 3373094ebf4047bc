// What a stored user's list leaves out: items that were seen, unless they may come again, and those that are not wanted.

import { hashKey } from '../core/hashKey.ts'
import { own } from '../core/own.ts'
import type { ItemId } from '../records/interaction.ts'
import { forEachSeen } from '../records/seenItems.ts'
import type { SeenRepeats, UserPayload } from './vectorIndex.ts'

/** @returns `hashKey` of the ids; an item seen as several event types is excluded by each */
export function excludedHashes(user: UserPayload, repeats: SeenRepeats | undefined): Set<number> {
  const excluded = new Set(unwantedItems(user, repeats?.nowMs).map(hashKey))
  const after = repeats?.after
  if (after === true) return excluded
  if (user.seen === undefined) for (const itemId of user.recent) excluded.add(hashKey(itemId))
  else
    forEachSeen(Buffer.from(user.seen, 'base64'), (types) => {
      // Seen before it: may come again.
      const before = types.map((type) => {
        const ageMs = after === undefined ? undefined : own(after, type)
        return ageMs === undefined ? Number.NEGATIVE_INFINITY : repeats!.nowMs - ageMs
      })
      return (hash, type, atMs) => {
        if (!(atMs <= before[type]!)) excluded.add(hash)
      }
    })
  return excluded
}

/** What the user does not want now, newest first. @param nowMs absent: what is not wanted for ever or a time */
export function unwantedItems({ unwanted = [] }: UserPayload, nowMs = 0): ItemId[] {
  return unwanted
    .filter(({ untilMs = Number.POSITIVE_INFINITY }) => nowMs < untilMs)
    .map(({ itemId }) => itemId)
    .reverse()
}
