// Whether a filter can match anything, before it is used: a mistyped field or value must not look like an empty shop.

import type { Clock } from '../../core/clock.ts'
import { conditionsOf, type FeatureFilter, type FieldCondition } from '../../index/itemFilter.ts'
import type { VectorIndex } from '../../index/vectorIndex.ts'
import { ProblemError } from './problem.ts'

/** How long it is known that an item meets a condition, and that none does. */
const foundMaxAgeMs = 60_000
const missingMaxAgeMs = 2000
/** Conditions that are remembered. */
const rememberedMax = 10_000
/** Fields that an error names. */
const namedMax = 50

export class FilterCheck {
  readonly #index: Pick<VectorIndex, 'fields' | 'holdsAny'>
  readonly #clock: Clock
  #fields: ReadonlySet<string> = new Set()
  /** Condition → until when it is known whether an item meets it. Oldest first. */
  readonly #known = new Map<string, { readonly found: boolean; readonly untilMs: number }>()

  constructor(parts: { readonly index: Pick<VectorIndex, 'fields' | 'holdsAny'>; readonly clock: Clock }) {
    this.#index = parts.index
    this.#clock = parts.clock
  }

  /**
   * @returns a warning for each condition that no item meets
   * @throws ProblemError 400 for a field in which no item has a feature
   */
  async check(filter: FeatureFilter | undefined): Promise<string[]> {
    const conditions = conditionsOf(filter)
    await this.checkFields(conditions.map(([field]) => field))
    const warnings: string[] = []
    for (const [field, condition] of conditions)
      for (const [single, text] of singleConditions(field, condition))
        if (!(await this.#isFound(field, single))) warnings.push(text)
    return warnings
  }

  /** @throws ProblemError 400 */
  async checkFields(fields: readonly string[]): Promise<void> {
    if (fields.every((field) => this.#fields.has(field))) return
    this.#fields = new Set(await this.#index.fields())
    const unknown = fields.filter((field) => !this.#fields.has(field))
    if (unknown.length === 0) return
    const known = [...this.#fields]
    const names = known.slice(0, namedMax).join(', ') + (known.length > namedMax ? `, … (${known.length} in all)` : '')
    throw new ProblemError(
      400,
      `no item has a feature in the field ${unknown.map((field) => JSON.stringify(field.slice(0, 80))).join(', ')}; ${known.length === 0 ? 'no item has any feature' : `known are ${names}`}`
    )
  }

  /** Why a list under the filter is empty. */
  async whyEmpty(filter: FeatureFilter): Promise<string> {
    return (await this.#index.holdsAny(filter))
      ? 'every item that meets the filter is left out: it is not available now, in the history, in exclude, or on an earlier page'
      : 'no item meets all conditions of the filter'
  }

  async #isFound(field: string, condition: FieldCondition): Promise<boolean> {
    const key = JSON.stringify([field, condition])
    const nowMs = this.#clock.nowMs()
    const known = this.#known.get(key)
    if (known !== undefined && nowMs < known.untilMs) return known.found
    const found = await this.#index.holdsAny({ [field]: condition })
    this.#known.delete(key)
    this.#known.set(key, { found, untilMs: nowMs + (found ? foundMaxAgeMs : missingMaxAgeMs) })
    if (this.#known.size > rememberedMax) this.#known.delete(this.#known.keys().next().value!)
    return found
  }
}

/** Each value, the bounds, and presence alone, with what to say where no item meets it. */
function singleConditions(field: string, { any = [], not = [], range, exists }: FieldCondition) {
  const name = shown(field)
  const singles: [FieldCondition, string][] = [...any, ...not].map((value) => [
    { any: [value] },
    `no item has the value ${shown(value)} in ${name}`
  ])
  if (range !== undefined) singles.push([{ range }, `no item has a number or a date within the bounds in ${name}`])
  if (exists === false) singles.push([{ exists }, `every item has a value in ${name}`])
  return singles
}

function shown(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 79)}…` : text)
}
