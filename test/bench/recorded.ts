// A data set as the stream that it once was: an example for each interaction that has one before it, in their common
// order.

import { loadOfflineData } from '../../src/lab/evaluation/offlineData.ts'
import type { LabConfig } from '../../src/lab/labOptions.ts'
import type { CatalogueItem } from '../../src/records/catalogueItem.ts'
import type { Example } from '../../src/records/example.ts'

export interface RecordedStream {
  readonly name: string
  readonly catalogue: readonly CatalogueItem[]
  readonly examples: readonly Example[]
}

export async function recordedStream(config: LabConfig, data: string): Promise<RecordedStream> {
  const { name, users, catalogue } = await loadOfflineData(config, { data })
  const { historyMax } = config.sequence
  const found: { readonly order: number; readonly example: Example }[] = []
  for (const { userId, steps } of users) {
    for (let at = 1; at < steps.length; at++) {
      const { order } = steps[at]!
      const history = steps.slice(Math.max(0, at - historyMax), at)
      found.push({
        order,
        example: { userId, history, target: steps[at]!, source: { partition: 0, offset: BigInt(order) }, weight: 1 }
      })
    }
  }
  return { name, catalogue, examples: found.sort((a, b) => a.order - b.order).map(({ example }) => example) }
}
