// Attribution as rates with their errors, for `GET /v1/attribution` and the console.

import { z } from 'zod'
import { itemOrigins, listPositions, listSources } from '../../monitor/metrics.ts'
import { readySchema, type Shape } from '../answers.ts'
import { type Attribution, type Cell, groupCount, hitLengths, itemCell } from './attribution.ts'
import type { Variants } from './variants.ts'

const rate = (description: string) => z.number().min(0).max(1).nullable().describe(description)
const count = (description: string) => z.int().min(0).describe(description)

const listRates = {
  lists: count('Lists answered; pages after the first are part of their list'),
  clickedLists: count('Of these, lists with a click'),
  clickThrough: rate('`clickedLists` as a share of `lists`; null: no list was answered'),
  standardError: z
    .number()
    .min(0)
    .nullable()
    .describe(
      'Of `clickThrough`, from the spread between 32 groups of users: lists of one user are not independent. null: fewer than 8 groups have a list'
    ),
  hits: z
    .array(
      z.strictObject({
        k: count('Length of the list'),
        rate: rate('Share of lists with a click on their first k items')
      })
    )
    .describe('hit@k')
}
const itemRates = {
  items: count('Items in answered lists'),
  clicks: count('Of these, items that were clicked'),
  clickThrough: rate('`clicks` as a share of `items`; null: there were no items')
}

export const attributionSchema = z
  .strictObject({
    sinceMs: z.number().describe('Lists and clicks are counted since then, milliseconds since 1970'),
    variants: z
      .array(
        z.strictObject({
          variant: z.string().describe('`default`: users in no variant. `none`: lists for nobody in particular'),
          share: rate('Of the users, as configured; null: it is not configured any more'),
          ...listRates
        })
      )
      .describe('Arms of the experiment'),
    versions: z.array(z.strictObject({ version: z.string().describe('Index version'), ...listRates })),
    sources: z.array(z.strictObject({ source: z.enum(listSources), ...listRates })),
    positions: z.array(z.strictObject({ position: z.enum(listPositions), ...itemRates })),
    origins: z
      .array(z.strictObject({ origin: z.enum(itemOrigins), ...itemRates }))
      .describe(
        'What put the item into the list: `interest1` is the interest that comes first in it. `later`: beyond its first 50 items'
      ),
    events: readySchema.shape.accounts
      .unwrap()
      .element.describe('The events that were read from the log to find clicks; of several processes each reads all')
  })
  .meta({ id: 'Attribution' })

type AttributionReport = Shape<typeof attributionSchema>

/** @param only counts of this variant */
export function attributionReport(attribution: Attribution, variants: Variants, only?: string): AttributionReport {
  const all = attribution.cells()
  const cells = only === undefined ? all : all.filter(({ variant }) => variant === only)
  const byVariant = grouped(cells, ({ variant }) => variant)
  const shares = new Map(
    variants
      .shares()
      .filter(({ name }) => only === undefined || name === only)
      .map(({ name, share }) => [name, share])
  )
  const names = new Set([...shares.keys(), ...byVariant.keys()])
  return {
    sinceMs: attribution.sinceMs,
    variants: [...names].map((variant) => ({
      ...{ variant, share: shares.get(variant) ?? null },
      ...ratesOf(byVariant.get(variant) ?? [])
    })),
    versions: [...grouped(cells, ({ version }) => version)].map(([version, of]) => ({ version, ...ratesOf(of) })),
    sources: [...grouped(cells, ({ source }) => source)].map(([source, of]) => ({ source, ...ratesOf(of) })),
    positions: listPositions.map((position, at) => ({
      position,
      ...itemRatesOf(
        cells,
        itemOrigins.map((origin) => itemCell(at, origin))
      )
    })),
    origins: itemOrigins.map((origin) => ({
      origin,
      ...itemRatesOf(
        cells,
        listPositions.map((_, at) => itemCell(at, origin))
      )
    })),
    events: attribution.account()
  }
}

function ratesOf(cells: readonly Cell[]) {
  const lists = sumOf(cells, ({ lists }) => lists)
  const clicked = sumOf(cells, ({ clicked }) => clicked)
  const [all, withClick] = [sum(lists), sum(clicked)]
  return {
    ...{ lists: all, clickedLists: withClick, clickThrough: ratio(withClick, all) },
    standardError: ratioError(lists, clicked),
    hits: hitLengths.map((k, i) => ({ k, rate: ratio(sum(cells.map(({ hits }) => hits[i]!)), all) }))
  }
}

/** @param at cells of positions and origins */
function itemRatesOf(cells: readonly Cell[], at: readonly number[]) {
  const of = (counts: (cell: Cell) => readonly number[]) =>
    sum(cells.map((cell) => sum(at.map((i) => counts(cell)[i]!))))
  const [items, clicks] = [of(({ listedItems }) => listedItems), of(({ clickedItems }) => clickedItems)]
  return { items, clicks, clickThrough: ratio(clicks, items) }
}

/** Groups of users with a list, at least: with fewer the spread between them says little. */
const groupsMin = 8

/**
 * Standard error of Σ c_g / Σ n_g over G random groups (Cochran, Sampling Techniques, 6.3):
 *
 *     p = Σ c / Σ n      se² = G/(G−1) · Σ_g (c_g − p n_g)² / (Σ n)²
 *
 * @param of n_g @param marked c_g
 */
export function ratioError(of: readonly number[], marked: readonly number[]): number | null {
  const used = of.filter((n) => n > 0).length
  if (used < groupsMin) return null
  const all = sum(of)
  const p = sum(marked) / all
  const squares = sum(of.map((n, g) => (marked[g]! - p * n) ** 2))
  return Math.sqrt((used / (used - 1)) * squares) / all
}

/** null of nothing. After a kill a click may be counted without its list. */
function ratio(part: number, all: number): number | null {
  return all === 0 ? null : Math.min(1, part / all)
}

function sumOf(cells: readonly Cell[], counts: (cell: Cell) => readonly number[]): number[] {
  return Array.from({ length: groupCount }, (_, g) => sum(cells.map((cell) => counts(cell)[g]!)))
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function grouped<K>(cells: readonly Cell[], keyOf: (cell: Cell) => K): Map<K, Cell[]> {
  const groups = new Map<K, Cell[]>()
  for (const cell of cells) groups.set(keyOf(cell), [...(groups.get(keyOf(cell)) ?? []), cell])
  return groups
}
