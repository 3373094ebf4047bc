// Puts one interaction into its place in the user's window: order, repeats, lateness, length and age. A pure function.

import type { SequenceOptions } from '../core/config/config.ts'
import { addSeen } from '../records/seenItems.ts'
import { extrasOf, type RecentEvent, type SequenceStep, type UserWindow } from '../records/userSequence.ts'

export type PlacementOptions = Pick<SequenceOptions, 'historyMax' | 'historyAgeMaxMs' | 'graceMs'> & {
  /** For tests. */
  readonly recentMax?: number
}

/** Event ids remembered per user within the grace: a person causes fewer events in an hour. */
const recentMax = 1000

/** A step as it arrives: its source is known, and so is its id. */
export interface Arrival {
  readonly step: SequenceStep & { readonly source: { readonly partition: number; readonly offset: bigint } }
  readonly idHash: bigint
}

export interface Placed {
  readonly outcome: 'placed'
  readonly window: UserWindow
  /** Of the new step, in the new window. */
  readonly position: number
  /**
   * Steps that the window lost at its old end, to length or age: a step at p is now at p − dropped, plus one if that is
   * not before `position`.
   */
  readonly dropped: number
  /** Ids within the grace that no longer fit into `recentMax`: a repeat of one of them may be taken for a new event. */
  readonly forgotten: number
}

/** `duplicate`, `late`: the window is as it was. */
type Placement = Placed | { readonly outcome: 'duplicate' | 'late' }

const duplicate: Placement = { outcome: 'duplicate' }
const late: Placement = { outcome: 'late' }

/**
 * The window with the arrival in its place by (event time, source partition, source offset); arrivals that agree in all
 * three keep their order of arrival.
 *
 * Late is what is older than the user's newest event by more than `graceMs`, and what is in the grace but would fall
 * off a full window (or be too old for it) at once: no example can be made of it.
 *
 * What is promised about the order of arrival. Take events of one user with distinct ids and distinct (event time,
 * source partition, source offset), and any order of arrival in which each event arrives while it is at most `graceMs`
 * older than the newest before it. Then:
 *
 * - `steps` and `newestMs` at the end are those of arrival in sorted order. For the window keeps the greatest
 *   `historyMax` of what it was given, whatever the order of
 *   giving, and the age limit and the forgetting of `source` depend on the newest event alone.
 * - `recent` is too, as long as no event falls off at once: an event that does is not remembered, where in sorted order
 *   it would have been placed, and evicted later.
 *   This can't change `steps`, because a repeat of it falls off again: the oldest step that a full window keeps never
 *   gets older.
 * - `seen` holds the steps that the window lost. An event that falls off at once is not among them.
 * - Copies of an event (all fields equal) anywhere after the first change nothing, `recent` included: within the grace
 *   they are duplicates, or fall off; beyond it they
 *   are late. This holds while at most `recentMax` ids are within the grace; beyond that it still holds for copies with
 *   the same source, as a re-read log has them.
 *
 * Not promised: which events become examples, and with which history. A step that was placed and evicted has been an
 * example; one that fell off at once has not.
 *
 * @param window undefined for a user who is not there
 */
export function placeStep(window: UserWindow | undefined, arrival: Arrival, options: PlacementOptions): Placement {
  const { step, idHash } = arrival
  const timeMs = step.eventTimeMs
  if (window === undefined) {
    return {
      outcome: 'placed',
      window: { steps: [step], recent: [{ idHash, eventTimeMs: timeMs }], newestMs: timeMs },
      position: 0,
      dropped: 0,
      forgotten: 0
    }
  }
  if (timeMs < window.newestMs - options.graceMs) return late
  const { steps, recent } = window
  for (let i = recent.length - 1; i >= 0; i--) if (recent[i]!.idHash === idHash) return duplicate

  const newestMs = timeMs > window.newestMs ? timeMs : window.newestMs
  const oldestMs = newestMs - options.historyAgeMaxMs
  if (timeMs < oldestMs) return late
  const graceStartMs = newestMs - options.graceMs

  let before = steps.length // how many steps come before the new one
  while (before > 0 && compareSteps(steps[before - 1]!, step) > 0) before--
  // The id may have been forgotten: a source record of the same item and type is the same event all the same.
  for (let i = before - 1; i >= 0 && compareSteps(steps[i]!, step) === 0; i--) {
    if (steps[i]!.itemId === step.itemId && steps[i]!.type === step.type) return duplicate
  }

  let dropped = Math.max(0, steps.length + 1 - options.historyMax)
  while (dropped < before && steps[dropped]!.eventTimeMs < oldestMs) dropped++
  if (before < dropped) return late

  const position = before - dropped
  const placed = new Array<SequenceStep>(steps.length + 1 - dropped)
  for (let i = dropped, to = 0; i < before; i++, to++) {
    const other = steps[i]!
    placed[to] = other.eventTimeMs < graceStartMs && other.source !== undefined ? withoutSource(other) : other
  }
  // Nothing after the new step can be older than the grace, for the new step is not.
  placed[position] = step
  for (let i = before, to = position + 1; i < steps.length; i++, to++) placed[to] = steps[i]!

  let start = 0 // of what is remembered on
  while (start < recent.length && recent[start]!.eventTimeMs < graceStartMs) start++
  const forgotten = Math.max(0, recent.length - start + 1 - (options.recentMax ?? recentMax))
  return {
    outcome: 'placed',
    window: {
      ...{ steps: placed, recent: remember(recent, start, forgotten, { idHash, eventTimeMs: timeMs }), newestMs },
      ...extrasOf(dropped === 0 ? window : { ...window, seen: addSeen(window.seen, steps.slice(0, dropped)) })
    },
    position,
    dropped,
    forgotten
  }
}

/**
 * Negative if `a` comes before `b`. A step that has no source any more comes before those of its time that have one.
 */
export function compareSteps(a: SequenceStep, b: SequenceStep): number {
  if (a.eventTimeMs !== b.eventTimeMs) return a.eventTimeMs - b.eventTimeMs
  const [one, other] = [a.source, b.source]
  if (one === undefined || other === undefined) return (one === undefined ? 0 : 1) - (other === undefined ? 0 : 1)
  if (one.partition !== other.partition) return one.partition - other.partition
  return one.offset < other.offset ? -1 : one.offset > other.offset ? 1 : 0
}

function withoutSource(step: SequenceStep): SequenceStep {
  return { itemId: step.itemId, type: step.type, eventTimeMs: step.eventTimeMs }
}

/**
 * `recent` from `start` on with one more, less the oldest `forgotten`; by (event time, hash), which is one order: equal
 * sets are equal bytes. The new event may be among the oldest itself.
 */
function remember(recent: readonly RecentEvent[], start: number, forgotten: number, event: RecentEvent): RecentEvent[] {
  let at = recent.length // where the new event goes
  for (; at > start; at--) {
    const other = recent[at - 1]!
    if (
      other.eventTimeMs < event.eventTimeMs ||
      (other.eventTimeMs === event.eventTimeMs && other.idHash < event.idHash)
    )
      break
  }
  const from = start + forgotten
  if (at < from) return recent.slice(from - 1)
  const remembered = new Array<RecentEvent>(recent.length - from + 1)
  let to = 0
  for (let i = from; i < at; i++) remembered[to++] = recent[i]!
  remembered[to++] = event
  for (let i = at; i < recent.length; i++) remembered[to++] = recent[i]!
  return remembered
}
