// A data set in memory, as an evaluation needs it: each user's steps, and what its items are.

import { createHash } from 'node:crypto'
import path from 'node:path'
import { ConfigError } from '../../core/errors.ts'
import { own } from '../../core/own.ts'
import { TopCounts, type TopCountsState } from '../../core/topCounts.ts'
import type { CatalogueItem } from '../../records/catalogueItem.ts'
import type { UserId } from '../../records/interaction.ts'
import { valueRules } from '../../records/value/valueRules.ts'
import { type DatasetReading, openDataset } from '../dataset/dataset.ts'
import type { LabConfig } from '../labOptions.ts'
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
  readonly records: OfflineRecords
  /** Types of its interactions that have a weight above 0. */
  readonly usedTypes: ReadonlySet<string>
  /** What else is to be said of its records. */
  readonly notes: readonly string[]
}

/** What became of the records of a data set: read = used + ignored + refused. */
interface OfflineRecords {
  readonly read: number
  readonly used: number
  /** Of types without a weight above 0 in events.types. */
  readonly ignored: number
  /** Lines that could not be read. */
  readonly refused: number
  readonly ignoredTypes: TopCountsState
}

const ignoredTypesMax = 64
/** Types that a warning names. */
const typesShownMax = 6

interface DataOptions extends DatasetReading {
  readonly data: string
}

/**
 * @param announce gets what the data set was taken for, before it is read
 * @throws ConfigError if the path cannot be read, or nothing in it counts
 */
export async function loadOfflineData(
  config: LabConfig,
  options: DataOptions,
  announce: (text: string) => void = () => {}
): Promise<OfflineData> {
  const { data, format, columns, items, itemColumns, filters } = options
  const rules = valueRules(config.events)
  const dataset = await openDataset(data, { seed: config.seed, rules, format, columns, items, itemColumns, filters })
  announce(dataset.describe)
  const timed = dataset.ordering === 'time' && config.evaluate.times
  const users = new Map<UserId, OfflineStep[]>()
  const hash = createHash('sha256')
  let order = 0
  const ignoredTypes = new TopCounts(ignoredTypesMax)
  const usedTypes = new Set<string>()
  let ignored = 0
  for await (const block of dataset.blocks()) {
    for (const { userId, itemId, type, eventTimeMs } of block) {
      const place = order++
      if (!((own(config.events.types, type) ?? 0) > 0)) {
        ignoredTypes.add(type)
        ignored++
        continue
      }
      usedTypes.add(type)
      const steps = users.get(userId) ?? []
      if (steps.length === 0) users.set(userId, steps)
      // Synthetic times of users who were interleaved are noise to a model that looks at ages: one second a step
      // instead.
      const timeMs = timed ? eventTimeMs : steps.length * 1000
      steps.push({ itemId, type, eventTimeMs: timeMs, order: place })
      hash.update(`${userId}\t${itemId}\t${timeMs}\n`)
    }
  }
  const refused = dataset.deadLetters
  const records = { read: order + refused, used: order - ignored, ignored, refused, ignoredTypes: ignoredTypes.state() }
  if (users.size === 0)
    throw new ConfigError([
      `--data ${data}: nothing to evaluate: ${leftOut({ records, usedTypes }).join('. ') || 'there is not one interaction in it'}`
    ])
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
    records,
    usedTypes,
    notes: dataset.notes
  }
}

/** Can be given with `--types` as it is. */
function isPlain(type: string): boolean {
  return /^[\w.:-]+$/.test(type) && type !== '__proto__'
}

/** What was left out, in words, and what to do; empty if everything is used. */
export function leftOut({ records, usedTypes }: Pick<OfflineData, 'records' | 'usedTypes'>): string[] {
  const { read, ignored, refused, ignoredTypes } = records
  const lines: string[] = []
  if (ignored > 0) {
    const shown = ignoredTypes.named.slice(0, typesShownMax)
    const rest = ignored - shown.reduce((sum, [, count]) => sum + count, 0)
    const types = shown.map(([type, count]) => `${type} ${count.toLocaleString('en')}`)
    if (rest > 0) types.push(`other types ${rest.toLocaleString('en')}`)
    const weights = [...usedTypes, ...shown.map(([type]) => type)].filter(isPlain).map((type) => `${type}=1`)
    lines.push(
      `${ignored.toLocaleString('en')} of ${read.toLocaleString('en')} interactions are left out, because their types have no weight: ${types.join(', ')}. To use them too: --types ${weights.join(',')}`
    )
  }
  if (refused > 0) lines.push(`${refused.toLocaleString('en')} of ${read.toLocaleString('en')} lines could not be read`)
  return lines
}
