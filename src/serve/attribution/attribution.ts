// Which of the answered lists were clicked: counts by model version, variant, source, position and origin.
//
// A process counts the lists that it answers, and of the clicks in the log those on its own lists, each once. So counts
// of several processes add up. Memory is bounded: no user or item is kept, of clicked lists a hash for a day.

import { Account, type AccountNumbers } from '../../core/account.ts'
import type { Clock } from '../../core/clock.ts'
import { hashKey } from '../../core/hashKey.ts'
import { z } from '../../core/stateFile.ts'
import {
  itemOrigins,
  listPositions,
  listSources,
  type MetricsEntry,
  type MetricsReport
} from '../../monitor/metrics.ts'
import type { Interaction } from '../../records/interaction.ts'
import { decodeListId, encodeListId, type ListContent, type ListSource, type Origin, originsOf } from './listId.ts'

/** A click counts for the list if it comes within this time. */
export const clickWindowMs = 86_400_000
/** Lengths k of which hits are counted. */
export const hitLengths = [1, 5, 10, 20] as const
/** Positions that are counted together: the last one of each. */
const positionEnds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 50, Number.POSITIVE_INFINITY] as const
/** Users in this many groups of a hash: the spread between them is the standard error. */
export const groupCount = 32
/** Clicked lists that are remembered, so that a second click does not count them again. */
const clickedListsMax = 10_000
/** Combinations of model version, variant and source: those of the newest lists. */
const cellsMax = 64

/** Counts of the lists of one model version, variant and source. */
export interface Cell {
  readonly version: string
  readonly variant: string
  readonly source: ListSource
  /** Answered, and clicked, by group of users. */
  readonly lists: number[]
  readonly clicked: number[]
  /** Lists with a click on one of their first k items, by `hitLengths`. */
  readonly hits: number[]
  /** Items listed, and clicked, by position and origin: [positions × origins]. */
  readonly listedItems: number[]
  readonly clickedItems: number[]
}

/** JSON-able. */
export interface AttributionState {
  /** Names the counts in list ids: 32 bits, not 0. */
  readonly counter: number
  readonly sinceMs: number
  readonly cells: readonly Cell[]
  /** `hashKey` of the list id, hour, and the 0-based positions that were clicked. Oldest first. */
  readonly clickedLists: readonly (readonly [list: number, atMs: number, positions: readonly number[]])[]
}

const counts = z.array(z.number())
export const attributionState = z.object({
  counter: z.int().min(1).max(0xffffffff),
  sinceMs: z.number(),
  cells: z.array(
    z.object({
      ...{ version: z.string(), variant: z.string(), source: z.enum(listSources) },
      ...{
        lists: counts.length(groupCount),
        clicked: counts.length(groupCount),
        hits: counts.length(hitLengths.length)
      },
      listedItems: counts.length(listPositions.length * itemOrigins.length),
      clickedItems: counts.length(listPositions.length * itemOrigins.length)
    })
  ),
  clickedLists: z.array(z.tuple([z.number(), z.number(), counts]))
})

interface AttributionParts {
  readonly clock: Clock
  /** Event types whose events count as clicks. */
  readonly isCounted: (type: string) => boolean
  readonly measure: (report: MetricsReport) => void
  /** Of an earlier process, or a new one. */
  readonly state: AttributionState
}

export function noAttribution(counter: number, nowMs: number): AttributionState {
  return { counter, sinceMs: nowMs, cells: [], clickedLists: [] }
}

export class Attribution {
  readonly #parts: AttributionParts
  /** By key; the one of the newest list is last. */
  readonly #cells: Map<string, Cell>
  readonly #clickedLists: Map<number, { readonly atMs: number; readonly positions: number[] }>
  readonly #account = new Account('attribution')
  /** Of `listedItems`: twenty metrics a list would cost 50 µs. */
  readonly #unreported = zeros(listPositions.length * itemOrigins.length)

  constructor(parts: AttributionParts) {
    this.#parts = parts
    this.#cells = new Map(parts.state.cells.map((cell) => [keyOf(cell), structuredClone(cell)]))
    this.#clickedLists = new Map(
      parts.state.clickedLists.map(([list, atMs, positions]) => [list, { atMs, positions: [...positions] }])
    )
  }

  /** Counts a list that is answered. @param isCounted not of a forced variant @returns its `listId` */
  answered(list: ListContent, isCounted = true): string {
    const { measure, state, clock } = this.#parts
    if (!isCounted) {
      measure([{ metric: 'served', labels: { source: list.source, variant: 'forced' }, value: 1 }])
      return encodeListId(list, 0, clock.nowMs())
    }
    const listId = encodeListId(list, state.counter, clock.nowMs())
    const cell = this.#cell(list)
    const { source, variant, first } = list
    const report: MetricsEntry[] = []
    if (first === 0) {
      cell.lists[groupOf(list.userId === undefined ? hashKey(listId) : hashKey(list.userId))]!++
      report.push(
        { metric: 'served', labels: { source, variant }, value: 1 },
        { metric: 'versionLists', labels: { version: cell.version, outcome: 'answered' }, value: 1 }
      )
    }
    for (const [i, origin] of originsOf(list).entries()) {
      const at = itemCell(positionOf(first + i), origin)
      cell.listedItems[at]!++
      this.#unreported[at]!++
    }
    measure(report)
    return listId
  }

  /** Measures what was listed since the last call. To be called about once a second. */
  report(): void {
    const listed = this.#unreported
    const sumOf = (at: readonly number[]) => at.reduce((sum, i) => sum + listed[i]!, 0)
    this.#parts.measure([
      ...listPositions.map((position, at): MetricsEntry => {
        const value = sumOf(itemOrigins.map((origin) => itemCell(at, origin)))
        return { metric: 'positionItems', labels: { position, outcome: 'answered' }, value }
      }),
      ...itemOrigins.map((origin): MetricsEntry => {
        const value = sumOf(listPositions.map((_, at) => itemCell(at, origin)))
        return { metric: 'originItems', labels: { origin, outcome: 'answered' }, value }
      })
    ])
    listed.fill(0)
  }

  /** Counts an event of the log. */
  take(event: Interaction): void {
    this.#account.read()
    this.#account.add(this.#outcome(event))
  }

  /** Counts records of the log that carry no list id, unread. */
  skip(records: number): void {
    this.#account.read(records)
    this.#account.add('unlisted', records)
  }

  #outcome({ listId, userId, itemId, type, eventTimeMs }: Interaction) {
    if (listId === undefined) return 'unlisted'
    if (!this.#parts.isCounted(type)) return 'uncounted'
    const list = decodeListId(listId)
    if (list === undefined) return 'unreadable'
    if (list.counter !== this.#parts.state.counter) return 'elsewhere'
    if (list.user !== 0 && list.user !== hashKey(userId)) return 'otherUser'
    // The hour of the list is cut off.
    if (eventTimeMs > list.atMs + 3_600_000 + clickWindowMs) return 'late'
    const found = list.find(itemId)
    if (found === undefined) return 'notListed'
    const key = hashKey(listId)
    const clicked = this.#clickedLists.get(key) ?? { atMs: list.atMs, positions: [] }
    if (clicked.positions.includes(found.position)) return 'repeated'
    const before = Math.min(...clicked.positions)
    clicked.positions.push(found.position)
    this.#clickedLists.delete(key)
    this.#clickedLists.set(key, clicked)
    this.#forget(list.atMs)
    this.#countClick({ ...list, user: list.user === 0 ? key : list.user }, found, before)
    return 'attributed'
  }

  /** @param before first position clicked so far; Infinity: none was */
  #countClick(
    list: Pick<Cell, 'version' | 'variant' | 'source'> & { readonly user: number; readonly first: number },
    { position, origin }: { readonly position: number; readonly origin: Origin },
    before: number
  ): void {
    const cell = this.#cell(list)
    const { source, variant } = list
    const at = positionOf(position)
    cell.clickedItems[itemCell(at, origin)]!++
    const report: MetricsEntry[] = [
      { metric: 'positionItems', labels: { position: listPositions[at]!, outcome: 'clicked' }, value: 1 },
      { metric: 'originItems', labels: { origin, outcome: 'clicked' }, value: 1 }
    ]
    const labels = { source, variant }
    // A later page is no list of its own.
    if (list.first === 0) {
      if (before === Number.POSITIVE_INFINITY) {
        cell.clicked[groupOf(list.user)]!++
        report.push(
          { metric: 'clickedLists', labels: { ...labels, k: 'all' }, value: 1 },
          { metric: 'versionLists', labels: { version: cell.version, outcome: 'clicked' }, value: 1 }
        )
      }
      for (const [i, k] of hitLengths.entries()) {
        if (position >= k || before < k) continue
        cell.hits[i]!++
        if (k === 1 || k === 10) report.push({ metric: 'clickedLists', labels: { ...labels, k: `${k}` }, value: 1 })
      }
    }
    this.#parts.measure(report)
  }

  state(): AttributionState {
    const { counter, sinceMs } = this.#parts.state
    const clickedLists = [...this.#clickedLists].map(([list, { atMs, positions }]) => [list, atMs, positions] as const)
    return { counter, sinceMs, cells: this.cells(), clickedLists }
  }

  get sinceMs(): number {
    return this.#parts.state.sinceMs
  }

  cells(): readonly Cell[] {
    return [...this.#cells.values()]
  }

  account(): AccountNumbers<'attribution'> {
    return this.#account.numbers()
  }

  #cell({ version, variant, source }: Pick<Cell, 'version' | 'variant' | 'source'>): Cell {
    const of = { version: modelOf(version), variant, source }
    const key = keyOf(of)
    const cell = this.#cells.get(key) ?? {
      ...of,
      ...{ lists: zeros(groupCount), clicked: zeros(groupCount), hits: zeros(hitLengths.length) },
      listedItems: zeros(listPositions.length * itemOrigins.length),
      clickedItems: zeros(listPositions.length * itemOrigins.length)
    }
    this.#cells.delete(key)
    this.#cells.set(key, cell)
    if (this.#cells.size > cellsMax) this.#cells.delete(this.#cells.keys().next().value!)
    return cell
  }

  /** @param atMs of the newest list */
  #forget(atMs: number): void {
    for (const [key, list] of this.#clickedLists) {
      if (this.#clickedLists.size <= clickedListsMax && list.atMs >= atMs - 2 * clickWindowMs) break
      this.#clickedLists.delete(key)
    }
  }
}

/** `indexVersion` of `indexVersion@step`: a step is a moment of a model, not another one. */
function modelOf(version: string): string {
  return version.replace(/@\d+$/, '')
}

function keyOf({ version, variant, source }: Pick<Cell, 'version' | 'variant' | 'source'>): string {
  return JSON.stringify([version, variant, source])
}

/** @param hash of the user; of the list where it is for nobody in particular */
function groupOf(hash: number): number {
  return hash % groupCount
}

function positionOf(position: number): number {
  return positionEnds.findIndex((end) => position < end)
}

export function itemCell(position: number, origin: Origin): number {
  return position * itemOrigins.length + itemOrigins.indexOf(origin)
}

const zeros = (length: number): number[] => new Array<number>(length).fill(0)
