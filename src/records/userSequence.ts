// A user's rolling record, and the record that carries it.

import { idProblem, offsetProblem, partitionProblem, timeProblem } from './admission.ts'
import type { ItemId, UserId } from './interaction.ts'
import { type Feedback, feedbackMax, seenProblem } from './seenItems.ts'

export interface SequenceStep {
  readonly itemId: ItemId
  readonly type: string
  /** Milliseconds since the Unix epoch. */
  readonly eventTimeMs: number
  /**
   * Where the event was first seen: orders equal event times. Only while the step is within the grace of the user's
   * newest step; older steps are in their final order, and forgetting it keeps a step at about nine bytes.
   */
  readonly source?: { readonly partition: number; readonly offset: bigint }
}

/**
 * The events that a repeat may still arrive of: those within the grace, whether or not they are still in the window.
 */
export interface RecentEvent {
  /** 64 bits of a hash of the event id, as a signed integer. */
  readonly idHash: bigint
  readonly eventTimeMs: number
}

/** All that is kept of a user. */
export interface UserWindow {
  /** Oldest first by (event time, source partition, source offset); at most `historyMax`. */
  readonly steps: readonly SequenceStep[]
  readonly recent: readonly RecentEvent[]
  /** The user's newest event time, milliseconds. */
  readonly newestMs: number
  /** Steps that left the window (`addSeen`); absent: none did. */
  readonly seen?: Uint8Array
  /** What the user does not want, by event time; absent: nothing. */
  readonly feedback?: readonly Feedback[]
}

/** The optional parts of a window, where it has them. */
export function extrasOf({
  seen,
  feedback
}: {
  readonly seen?: Uint8Array | undefined
  readonly feedback?: readonly Feedback[] | undefined
}): Pick<UserWindow, 'seen' | 'feedback'> {
  if (seen === undefined && feedback === undefined) return noExtras
  return { ...(seen === undefined ? {} : { seen }), ...(feedback === undefined ? {} : { feedback }) }
}

const noExtras = {}

export interface FreshStep {
  /** Index in `steps`. */
  readonly position: number
  /** Of the interaction in its partition of the `interactions` topic: names the example for ever. */
  readonly offset: bigint
}

/**
 * One record of the `user-sequences` topic: at once the changelog of the state, the stream of training examples and the
 * trigger to refresh a user. Each fresh step is an example: its history is the steps before it.
 */
export interface UserSequence extends UserWindow {
  readonly userId: UserId
  /** Ascending by position. */
  readonly fresh: readonly FreshStep[]
  /** Partition of `interactions` that the user lives in. */
  readonly partition: number
  /**
   * Every interaction of that partition below this offset had been emitted AND committed before: a fresh step below it
   * is a repeat.
   */
  readonly committed: bigint
  /** Newest event time seen in the partition when this was emitted, milliseconds. */
  readonly watermarkMs: number
  /** When the log took the newest of the fresh interactions, milliseconds: freshness is measured from here. */
  readonly acceptedAtMs: number
}

/** Longest window that can be configured (`sequence.historyMax`). */
const stepsMax = 1000
const recentMax = 100_000

/** What makes the record one that `sequence` cannot have written; undefined: nothing. */
export function sequenceProblem(sequence: UserSequence): string | undefined {
  const { userId, partition, committed, watermarkMs, acceptedAtMs, newestMs, steps, fresh, recent } = sequence
  const problem =
    idProblem('userId', userId) ??
    partitionProblem('partition', partition) ??
    offsetProblem('committed', committed) ??
    timeProblem('watermarkMs', watermarkMs) ??
    timeProblem('newestMs', newestMs)
  if (problem !== undefined) return problem
  if (!Number.isSafeInteger(acceptedAtMs) || acceptedAtMs < 0)
    return `acceptedAtMs is ${acceptedAtMs}: expected milliseconds since 1970`
  if (steps.length > stepsMax || recent.length > recentMax)
    return `${steps.length} steps and ${recent.length} recent events: at most ${stepsMax} and ${recentMax} are allowed`
  return (
    feedbackProblem(sequence) ??
    stepsProblem(steps, newestMs) ??
    freshProblem(fresh, steps.length, committed) ??
    recentProblem(recent, newestMs)
  )
}

function feedbackProblem({ seen, feedback = [] }: UserSequence): string | undefined {
  if (feedback.length > feedbackMax) return `feedback on ${feedback.length} items: at most ${feedbackMax} are allowed`
  for (const { itemId, eventTimeMs } of feedback) {
    const problem = idProblem('itemId of feedback', itemId) ?? timeProblem('time of feedback', eventTimeMs)
    if (problem !== undefined) return problem
  }
  return seen === undefined ? undefined : seenProblem(seen)
}

function stepsProblem(steps: readonly SequenceStep[], newestMs: number): string | undefined {
  let beforeMs = 0
  for (const [i, { itemId, type, eventTimeMs }] of steps.entries()) {
    const problem =
      idProblem('itemId of a step', itemId) ??
      idProblem('type of a step', type) ??
      timeProblem('time of a step', eventTimeMs)
    if (problem !== undefined) return problem
    if (eventTimeMs < beforeMs) return `step ${i} is older than the one before it`
    beforeMs = eventTimeMs
  }
  return beforeMs > newestMs ? `newestMs is ${newestMs}, but the newest step is of ${beforeMs}` : undefined
}

function freshProblem(fresh: readonly FreshStep[], steps: number, committed: bigint): string | undefined {
  let before = -1
  for (const { position, offset } of fresh) {
    if (position <= before || position >= steps)
      return `fresh step ${position} after ${before}, in a window of ${steps} steps`
    if (offset < committed)
      return `fresh step of offset ${offset}, but everything below ${committed} was committed before`
    before = position
  }
  return undefined
}

function recentProblem(recent: readonly RecentEvent[], newestMs: number): string | undefined {
  for (const { eventTimeMs } of recent)
    if (!(eventTimeMs >= 0 && eventTimeMs <= newestMs))
      return `a recent event of ${eventTimeMs}, but the newest is of ${newestMs}`
  return undefined
}
