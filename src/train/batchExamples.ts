// The examples of a batch's records, and the outcome of every new step that is none.

import { own } from '../core/own.ts'
import { cutExamples } from '../records/cutExamples.ts'
import type { Example } from '../records/example.ts'
import type { UserId } from '../records/interaction.ts'
import type { UserSequence } from '../records/userSequence.ts'
import type { TrainState } from './trainState.ts'
import type { WaitingRecord } from './waitingRecords.ts'

interface BatchExamples {
  /** By event time. */
  readonly examples: readonly Example[]
  readonly erased: readonly UserId[]
}

/** @param types weights of event types */
export function batchExamples(
  records: readonly WaitingRecord['sequence'][],
  types: Readonly<Record<string, number>>,
  { repeats, account }: Pick<TrainState, 'repeats' | 'account'>
): BatchExamples {
  const all = records.filter((record): record is UserSequence => !('erased' in record))
  // Sequences followed by their user's erasure are left out: what is not trained on need not be forgotten. They do not
  // pass the repeat filter either: a restarted sequencer that repeats the erasure emits what came after it once more,
  // which is then no repeat.
  const erased = new Set<UserId>()
  const sequences: UserSequence[] = []
  for (const record of [...records].reverse()) {
    if ('erased' in record) erased.add(record.erased)
    else if (!erased.has(record.userId)) sequences.push(record)
  }
  sequences.reverse()
  const admitted = sequences.map((sequence) => repeats.admit(sequence))
  account.read(freshSteps(all))
  account.add('erased', freshSteps(all) - freshSteps(sequences))
  account.add('repeated', freshSteps(sequences) - freshSteps(admitted))
  const examples = admitted.flatMap((sequence) =>
    cutExamples(
      sequence,
      (type) => own(types, type),
      (reason) => account.add(reason)
    )
  )
  return { examples: examples.sort(byTime), erased: [...erased] }
}

function freshSteps(sequences: readonly UserSequence[]): number {
  return sequences.reduce((count, { fresh }) => count + fresh.length, 0)
}

function byTime(a: Example, b: Example): number {
  return (
    a.target.eventTimeMs - b.target.eventTimeMs ||
    a.source.partition - b.source.partition ||
    (a.source.offset < b.source.offset ? -1 : 1)
  )
}
