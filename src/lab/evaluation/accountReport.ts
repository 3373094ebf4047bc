// What became of every record of a run, and what was lost: the sections of the report that may say that nothing went
// wrong, and only then do.

import { type AccountNumbers, accountText, occurred, unaccounted } from '../../core/account.ts'
import { own } from '../../core/own.ts'
import type { TopCountsState } from '../../core/topCounts.ts'

/** Losses that are not outcomes of one record: all there are. */
export const otherLosses = {
  forgottenIds: 'event ids forgotten early (sequence.recentMax): repeats of them may have been taken for new events',
  examplesUndone: 'learned examples undone by a rollback of the weights',
  rejectedWeights: 'new weights held back by the gate: users are served earlier ones (`mtmi versions` says why)'
} as const
type OtherLosses = Readonly<Record<keyof typeof otherLosses, number>>
export const noOtherLosses: OtherLosses = { forgottenIds: 0, examplesUndone: 0, rejectedWeights: 0 }

export interface AccountedRun {
  /** In the order of the flow. */
  readonly accounts: readonly AccountNumbers[]
  readonly ignoredTypes: TopCountsState
  readonly otherLosses: OtherLosses
  /** `events.types` of the run: what a new weight is added to. */
  readonly typeWeights: Readonly<Record<string, number>>
  /** Name of the run, for the command that starts it over. */
  readonly run: string
}

/** Types that are named; the others are counted together. */
const typesShownMax = 6
const typeLengthMax = 40

/** `source     400 rows read: 400 appended to the log`, a line for each reader. */
export function accountLines(accounts: readonly AccountNumbers[]): string[] {
  const width = Math.max(0, ...accounts.map(({ reader }) => reader.length))
  return accounts.map((account) => `${account.reader.padEnd(width)}  ${accountText(account)}`)
}

/**
 * What was lost, a line or more for each kind of loss; empty only if every counter of a loss is 0 and every account
 * balances.
 */
export function lossLines(run: AccountedRun): string[] {
  const lines: string[] = []
  for (const account of run.accounts) {
    for (const { outcome, count, kind, text } of occurred(account)) {
      if (kind !== 'lost') continue
      if (account.reader === 'sequence' && outcome === 'ignored') lines.push(...ignoredLines(run))
      else lines.push(`${account.reader}: ${count.toLocaleString('en')} ${text}.`)
    }
    const missing = unaccounted(account)
    if (missing !== 0)
      lines.push(`${account.reader}: ${missing.toLocaleString('en')} unaccounted for: this is a bug, please report it.`)
    if (account.waiting > 0) lines.push(`${account.reader}: ${account.waiting.toLocaleString('en')} still waiting.`)
  }
  for (const [loss, text] of Object.entries(otherLosses)) {
    const count = run.otherLosses[loss as keyof OtherLosses]
    if (count !== 0) lines.push(`${count.toLocaleString('en')} ${text}.`)
  }
  return lines
}

/** Which types have no weight, and how to give them one. */
export function ignoredLines({
  ignoredTypes,
  typeWeights,
  run
}: Pick<AccountedRun, 'ignoredTypes' | 'typeWeights' | 'run'>): string[] {
  const total = ignoredTypes.named.reduce((sum, [, count]) => sum + count, ignoredTypes.other)
  if (total === 0) return []
  const shown = ignoredTypes.named.slice(0, typesShownMax)
  const rest = total - shown.reduce((sum, [, count]) => sum + count, 0)
  const types = shown.map(([type, count]) => `${clipped(type)} ${count.toLocaleString('en')}`)
  if (rest > 0) types.push(`other types ${rest.toLocaleString('en')}`)
  // Each type gets a weight to be looked at: 1 is that of a click. `__proto__` can have none.
  const named = shown.filter(([type]) => type !== '__proto__').map(([type]) => [type, 1])
  const weights = { ...typeWeights, ...Object.fromEntries(named) }
  const setting = `events.types=${JSON.stringify(weights)}`
  return [
    `sequence: ${total.toLocaleString('en')} of types without a weight: ${types.join(', ')}.`,
    'To use them, give their types a weight and start over (0 keeps a type in histories without training on it):',
    `  mtmi reset --run ${run}`,
    `  then the same command with --set '${setting.replaceAll("'", "'\\''")}'`
  ]
}

/** Why a run trained on nothing, and what to do. */
export function nothingTrained({ accounts, ...run }: AccountedRun, source: string): string {
  const of = (reader: AccountNumbers['reader'], outcome?: string): number => {
    const account = accounts.find((one) => one.reader === reader)
    if (account === undefined) return 0
    return outcome === undefined
      ? account.read
      : (own(account.outcomes as Readonly<Record<string, number>>, outcome) ?? 0)
  }
  const advice =
    of('source') === 0 && of('sequence') === 0
      ? ['It has no rows: look whether it is the right file, and at --format and --columns.']
      : of('sequence', 'placed') > 0
        ? [
            'An example is a step of a user after another step of theirs on an item that has been seen before:',
            'give more events of the same users, or look whether the user column (--columns user=…) is the right one.'
          ]
        : of('sequence', 'ignored') > 0
          ? ignoredLines(run)
          : ['Every row was refused: the dead-letter file and the dead-letter topic (`mtmi dlq ls`) say why.']
  return [`nothing of ${source} was trained on.`, ...accountLines(accounts).map((line) => `  ${line}`), ...advice].join(
    '\n'
  )
}

function clipped(type: string): string {
  const text = JSON.stringify(type).slice(1, -1)
  return text.length <= typeLengthMax ? text : `${[...text].slice(0, typeLengthMax - 1).join('')}…`
}
