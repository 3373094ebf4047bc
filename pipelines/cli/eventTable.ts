// Events as they are understood, in a plain table: of `mtmi init` and `mtmi mapping try`.

import { own } from '../../src/core/own.ts'
import { plainLine } from '../../src/core/terminal.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { shownTime } from '../../src/records/value/eventTime.ts'

/** One row; `interaction` absent: `outcome` says what became of the record instead. */
export interface TableRow {
  /** Where it is from: `line 8`, `0/17`. */
  readonly from: string
  readonly interaction?: Interaction
  readonly outcome?: string
}

const cellCharsMax = 32
const head = ['', 'user', 'item', 'type', 'weight', 'time', 'value'] as const

const clipped = (text: string) => (text.length > cellCharsMax ? `${text.slice(0, cellCharsMax - 1)}…` : text)

/** @param weights `events.types` */
export function eventTable(rows: readonly TableRow[], weights: Readonly<Record<string, number>>): string {
  const cells = rows.map(({ from, interaction, outcome = '' }) => {
    if (interaction === undefined) return [from, outcome]
    const { userId, itemId, type, eventTimeMs, value } = interaction
    const weight = own(weights, type)
    return [
      from,
      ...[userId, itemId, type, weight === undefined ? 'none' : String(weight)].map(clipped),
      Number.isNaN(eventTimeMs) ? '(order of rows)' : shownTime(eventTimeMs),
      value === undefined ? '' : String(value)
    ]
  })
  const widths = head.map((name, i) =>
    Math.max(name.length, ...cells.filter((row) => row.length > 2).map((row) => row[i]!.length))
  )
  const first = Math.max(widths[0]!, ...cells.map((row) => row[0]!.length))
  return [[...head], ...cells]
    .map((row) => row.map((cell, i) => plainLine(cell).padEnd(i === 0 ? first : row.length > 2 ? widths[i]! : 0)))
    .map((row) => `  ${row.join('  ').trimEnd()}`)
    .join('\n')
}

/** Chooses the events of a table: the first of each type, and the first ones at all, in their order. */
export class ShownEvents {
  readonly #max: number
  readonly #rows: { readonly row: TableRow; readonly isNew: boolean }[] = []
  readonly #types = new Set<string>()
  #others = 0

  constructor(max: number) {
    this.#max = max
  }

  add(from: string, interaction: Interaction): void {
    const isNew = !this.#types.has(interaction.type) && this.#types.size < this.#max
    if (!isNew && this.#others >= this.#max) return
    if (isNew) this.#types.add(interaction.type)
    else this.#others++
    this.#rows.push({ row: { from, interaction }, isNew })
  }

  rows(): readonly TableRow[] {
    let room = this.#max - this.#types.size
    return this.#rows.filter(({ isNew }) => isNew || room-- > 0).map(({ row }) => row)
  }
}
