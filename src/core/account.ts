// The outcome of every record that a stage read. A record has one outcome, of the closed list of its reader, or it waits:
//
//     read = Σ outcomes + waiting
//
// `read` is counted where records come in and outcomes where they end, so the identity can fail, and shows a record
// that was lost or counted twice.

import { own } from './own.ts'

/** `used`: it had its effect. `unneeded`: by design it has none. `lost`: it could have been used, and was not. */
export type OutcomeKind = 'used' | 'unneeded' | 'lost'

interface OutcomeMeaning {
  readonly kind: OutcomeKind
  /** Completes "246 events …". */
  readonly text: string
}

const used = (text: string): OutcomeMeaning => ({ kind: 'used', text })
const unneeded = (text: string): OutcomeMeaning => ({ kind: 'unneeded', text })
const lost = (text: string): OutcomeMeaning => ({ kind: 'lost', text })

const catalogue = {
  unit: 'record',
  outcomes: {
    applied: used('applied'),
    removed: used('deletions of an item'),
    refused: lost('refused (in the dead-letter topic)')
  }
} as const

/** Every reader, its unit, and its outcomes. A new way for a record to end is a new line here. */
export const readers = {
  source: {
    unit: 'row',
    outcomes: {
      loaded: used('appended to the log'),
      loadedBefore: unneeded('in the log already, from an earlier run'),
      refused: lost('unreadable (in the dead-letter file)')
    }
  },
  ingest: {
    unit: 'record',
    outcomes: {
      mapped: used('mapped'),
      filtered: unneeded('left out by a filter or a type name of the configuration, or without an element'),
      partly: lost('mapped in part; their other elements are refused (in the dead-letter topic)'),
      refused: lost('refused (in the dead-letter topic)')
    }
  },
  sequence: {
    unit: 'event',
    outcomes: {
      placed: used('placed in a history'),
      feedback: used('dislikes, and items hidden or shown again'),
      erasure: used('requests to erase a user'),
      duplicate: unneeded('repeated'),
      late: lost('too late (sequence.graceMs)'),
      ignored: lost('of a type without a weight (events.types)'),
      rejected: lost('invalid (in the dead-letter topic)')
    }
  },
  train: {
    unit: 'example',
    outcomes: {
      trained: used('trained on'),
      first: unneeded('without a step before it'),
      weightless: unneeded('of a type with weight 0'),
      repeated: unneeded('read again after a restart of the sequencer'),
      erased: unneeded('of an erased user'),
      unknownItem: unneeded('of an item without an embedding row (train.admissionMin, train.itemsMax)'),
      unknownHistory: unneeded('after items without an embedding row alone'),
      flooded: lost('refused: their user or item has too many (train.userShareMax, train.itemShareMax)'),
      diverged: lost('dropped: the loss of their batch was not finite')
    }
  },
  publish: {
    unit: 'change',
    outcomes: {
      written: used('written to the index'),
      merged: used('answered by the vectors of a later change'),
      removed: used('removals of a user'),
      restored: used('read at the start, before all users were written'),
      forgotten: unneeded('of a user removed before they were written'),
      stale: lost('not written: the index has newer vectors'),
      refused: lost('not written: their vectors are not finite'),
      dropped: lost('not written before the next sweep: too many users of whom the model knows no item')
    }
  },
  popularity: {
    unit: 'event',
    outcomes: {
      counted: used('counted'),
      unlisted: lost('of items that the catalogue lacks: in no list until it has them (events.catalogueOnly)'),
      uncounted: unneeded('without a weight, repeated, or erasures'),
      rejected: unneeded('invalid (dead-lettered by sequence)')
    }
  },
  model: {
    unit: 'update',
    outcomes: {
      committed: used('part of a commit'),
      empty: unneeded('without a value'),
      abandoned: unneeded('dropped: their commit never came, or was refused'),
      refused: lost('refused (in the dead-letter topic)')
    }
  },
  catalogue,
  /** The catalogue once more, in the thread that sequences, for the categories of the drift watch (`mtmi start`). */
  categories: catalogue,
  attribution: {
    unit: 'event',
    outcomes: {
      attributed: used('attributed to a list of this process'),
      unlisted: unneeded('without a list id'),
      repeated: unneeded('on an item of a list that was clicked before'),
      uncounted: unneeded('of a type without a weight'),
      elsewhere: unneeded('on lists of other processes, or of a forced variant'),
      otherUser: lost('on a list of another user'),
      notListed: lost('on an item that the list did not have'),
      late: lost('more than a day after the list'),
      unreadable: lost('with a list id that cannot be read')
    }
  },
  serve: {
    unit: 'event',
    outcomes: {
      accepted: used('accepted'),
      refused: lost('refused (answered 4xx)'),
      failed: lost('not appended (answered 5xx)')
    }
  }
} as const satisfies Readonly<
  Record<string, { readonly unit: string; readonly outcomes: Readonly<Record<string, OutcomeMeaning>> }>
>

export type Reader = keyof typeof readers
export type Outcome<R extends Reader> = keyof (typeof readers)[R]['outcomes'] & string

/** Plain and JSON-able: for state, for messages between threads, and for reports. */
export interface AccountNumbers<R extends Reader = Reader> {
  readonly reader: R
  readonly read: number
  readonly outcomes: Readonly<Record<Outcome<R>, number>>
  /** Read, without an outcome yet: counted where they wait. */
  readonly waiting: number
}

export class Account<R extends Reader> {
  readonly reader: R
  #read: number
  readonly #outcomes: Record<Outcome<R>, number>

  /** @param from earlier counts */
  constructor(reader: R, from?: Pick<AccountNumbers<R>, 'read' | 'outcomes'>) {
    this.reader = reader
    this.#read = from?.read ?? 0
    this.#outcomes = { ...noOutcomes(reader), ...from?.outcomes }
  }

  read(count = 1): void {
    this.#read += count
  }

  add(outcome: Outcome<R>, count = 1): void {
    this.#outcomes[outcome] += count
  }

  of(outcome: Outcome<R>): number {
    return this.#outcomes[outcome]
  }

  /** @param waiting counted where the records wait */
  numbers(waiting = 0): AccountNumbers<R> {
    return { reader: this.reader, read: this.#read, outcomes: { ...this.#outcomes }, waiting }
  }
}

export function outcomesOf<R extends Reader>(reader: R): readonly Outcome<R>[] {
  return Object.keys(readers[reader].outcomes) as Outcome<R>[]
}

function noOutcomes<R extends Reader>(reader: R): Record<Outcome<R>, number> {
  return Object.fromEntries(outcomesOf(reader).map((outcome) => [outcome, 0])) as Record<Outcome<R>, number>
}

/** Of all partitions, or of several processes, together. */
export function sumAccounts<R extends Reader>(reader: R, parts: Iterable<AccountNumbers<R>>): AccountNumbers<R> {
  const sum = new Account(reader)
  let waiting = 0
  for (const part of parts) {
    sum.read(part.read)
    for (const outcome of outcomesOf(reader)) sum.add(outcome, part.outcomes[outcome])
    waiting += part.waiting
  }
  return sum.numbers(waiting)
}

/** Counts since `before`, of the same reader. */
export function accountSince<R extends Reader>(now: AccountNumbers<R>, before: AccountNumbers<R>): AccountNumbers<R> {
  const since = new Account(now.reader, now)
  since.read(-before.read)
  for (const outcome of outcomesOf(now.reader)) since.add(outcome, -before.outcomes[outcome])
  return since.numbers(now.waiting)
}

/** Records without a known outcome; negative: more outcomes than records. Anything but 0 is a bug of ours. */
export function unaccounted({ read, outcomes, waiting }: AccountNumbers): number {
  return Object.values<number>(outcomes).reduce((left, count) => left - count, read - waiting)
}

/** The outcomes that occurred, in the order of the list. */
export function occurred(
  account: AccountNumbers
): { outcome: string; count: number; kind: OutcomeKind; text: string }[] {
  const meanings: Readonly<Record<string, OutcomeMeaning>> = readers[account.reader].outcomes
  const counts: Readonly<Record<string, number>> = account.outcomes
  return Object.entries(meanings).flatMap(([outcome, meaning]) => {
    const count = own(counts, outcome) ?? 0
    return count === 0 ? [] : [{ outcome, count, ...meaning }]
  })
}

/** One line: `400 events read: 154 placed in a history, 246 of a type without a weight (events.types)`. */
export function accountText(account: AccountNumbers): string {
  const { unit } = readers[account.reader]
  const parts = occurred(account).map(({ count, text }) => `${whole(count)} ${text}`)
  if (account.waiting > 0) parts.push(`${whole(account.waiting)} waiting`)
  const missing = unaccounted(account)
  if (missing !== 0) parts.push(`${whole(missing)} UNACCOUNTED FOR: please report it`)
  const read = `${whole(account.read)} ${unit}${account.read === 1 ? '' : 's'} read`
  return parts.length === 0 ? read : `${read}: ${parts.join(', ')}`
}

function whole(value: number): string {
  return value.toLocaleString('en')
}
