// MovieLens 100k as a stream of examples, read here without any of the pipeline: what the trainer's own benchmarks feed on.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { CatalogueItem } from '../../src/records/catalogueItem.ts'
import type { Example } from '../../src/records/example.ts'
import type { SequenceStep } from '../../src/records/userSequence.ts'

/** Examples in time order (equal times as in the file), each with the user's up to `historyMax` steps before it. */
export function movieLensExamples(dataDir: string, historyMax: number): Example[] {
  const rows = readFileSync(path.join(dataDir, 'ml-100k', 'ml-100k.inter'), 'utf8')
    .split('\n')
    .slice(1)
    .filter((line) => line !== '')
    .map((line) => line.split('\t'))
  rows.sort((a, b) => Number(a[3]) - Number(b[3]))
  const windows = new Map<string, SequenceStep[]>()
  const examples: Example[] = []
  for (const [offset, [userId, itemId, , seconds]] of rows.entries()) {
    const target = { itemId: itemId!, type: 'rating', eventTimeMs: 1000 * Number(seconds) }
    const window = windows.get(userId!) ?? []
    if (window.length > 0) {
      examples.push({
        userId: userId!,
        history: window.slice(-historyMax),
        target,
        source: { partition: 0, offset: BigInt(offset) },
        weight: 1
      })
    }
    window.push(target)
    windows.set(userId!, window)
  }
  return examples
}

export function movieLensItems(dataDir: string): CatalogueItem[] {
  return readFileSync(path.join(dataDir, 'ml-100k', 'ml-100k.item'), 'utf8')
    .split('\n')
    .slice(1)
    .filter((line) => line !== '')
    .map((line) => {
      const [itemId, title, , genres] = line.split('\t')
      return {
        itemId: itemId!,
        title: title!,
        features: { genre: (genres ?? '').split(' ').filter((genre) => genre !== '') },
        updatedAtMs: 0
      }
    })
}
