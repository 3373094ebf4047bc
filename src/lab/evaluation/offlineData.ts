// A data set in memory, as an evaluation needs it: each user's steps, and what its items are.

import { createHash } from 'node:crypto'
import path from 'node:path'
import type { Config } from '../../core/config/config.ts'
import { ConfigError } from '../../core/errors.ts'
import type { CatalogueItem } from '../../records/catalogueItem.ts'
import type { UserId } from '../../records/interaction.ts'
import type { ColumnMapping } from '../dataset/columnMapping.ts'
import { openDataset } from '../dataset/dataset.ts'
import type { OfflineStep, UserSteps } from './offlineSplit.ts'

export interface OfflineData {
  /** Of the file or folder. */
  readonly name: string
  readonly describe: string
  readonly users: readonly UserSteps[]
  readonly catalogue: readonly CatalogueItem[]
  /** Whether interactions of different users have a common order. */
  readonly ordered: boolean
  /** Whether the ages that a model sees are real, and not a second a step. */
  readonly timed: boolean
  /** Where each file begins, in places of the common order; empty unless the files are periods. */
  readonly periods: readonly { readonly name: string; readonly start: number }[]
  /** Of the contents: two evaluations with the same one saw the same. */
  readonly fingerprint: string
  /** Interactions of a type that does not count (events.types). */
  readonly ignored: number
  /** Lines that could not be read. */
  readonly deadLetters: number
}

export interface DataOptions {
  readonly data: string
  readonly format?: string
  readonly columns?: ColumnMapping
}

/** @throws ConfigError if the path cannot be read, or nothing in it counts */
export async function loadOfflineData(config: Config, { data, format, columns }: DataOptions): Promise<OfflineData> {
  const dataset = await openDataset(data, { seed: config.seed, format, columns })
  const timed = dataset.ordering === 'time' && config.evaluate.times
  const users = new Map<UserId, OfflineStep[]>()
  const hash = createHash('sha256')
  let order = 0
  let ignored = 0
  for await (const block of dataset.blocks()) {
    for (const { userId, itemId, type, eventTimeMs } of block) {
      const place = order++
      if (!((config.events.types[type] ?? 0) > 0)) {
        ignored++
        continue
      }
      const steps = users.get(userId) ?? []
      if (steps.length === 0) users.set(userId, steps)
      // Synthetic times of users who were interleaved are noise to a model that looks at ages: one second a step instead.
      const timeMs = timed ? eventTimeMs : steps.length * 1000
      steps.push({ itemId, type, eventTimeMs: timeMs, order: place })
      hash.update(`${userId}\t${itemId}\t${timeMs}\n`)
    }
  }
  if (users.size === 0) {
    const why = ignored === 0 ? 'there is not one interaction in it' : `none of its ${ignored} interactions is of a type in events.types`
    throw new ConfigError([`--data ${data}: nothing to evaluate: ${why}`])
  }
  const catalogue: CatalogueItem[] = []
  if (config.evaluate.features) for await (const item of dataset.items()) catalogue.push(item)
  for (const item of catalogue) hash.update(`${JSON.stringify(item)}\n`)
  return {
    name: path.basename(path.resolve(data)).replace(/\.(txt|csv|tsv|jsonl?|inter|gz)$/i, ''),
    describe: dataset.describe,
    users: [...users].map(([userId, steps]) => ({ userId, steps })),
    catalogue,
    ordered: dataset.ordering !== 'interleaved',
    timed,
    periods: (await dataset.periods()).map(({ name, start }) => ({ name, start })),
    fingerprint: hash.digest('hex').slice(0, 16),
    ignored,
    deadLetters: dataset.deadLetters
  }
}
