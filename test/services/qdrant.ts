// A Qdrant server for tests, where QDRANT_URL names one: each index gets a prefix of its own, and takes its collections
// along when it goes.

import { randomBytes } from 'node:crypto'
import test from 'node:test'
import { QdrantClient } from '@qdrant/js-client-rest'
import { type Clock, systemClock } from '../../src/core/clock.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { Rng } from '../../src/core/rng.ts'
import { QdrantIndex } from '../../src/index/qdrant/qdrantIndex.ts'
import type { QdrantOptions } from '../../src/index/qdrant/qdrantOptions.ts'

export const qdrantUrl = process.env.QDRANT_URL ?? ''

/** Says loudly what is not tested. @returns whether there is a server */
export function qdrantGiven(what: string): boolean {
  if (qdrantUrl !== '') return true
  test(`${what}: SKIPPED, no server. Start Qdrant 1.18 and set QDRANT_URL=http://127.0.0.1:6333`, {
    skip: 'QDRANT_URL is not set'
  }, () => {})
  return false
}

export function qdrantOptions(more: Partial<QdrantOptions> = {}): QdrantOptions {
  return {
    ...resolveConfig({}, {}).qdrant,
    url: qdrantUrl,
    prefix: `t${randomBytes(6).toString('hex')}_`,
    liveMaxAgeMs: 0,
    ...more
  }
}

export function openQdrant(
  options: QdrantOptions,
  more: { clock?: Clock; historyMax?: number; onProblem?: (problem: string) => void } = {}
): QdrantIndex {
  return new QdrantIndex(options, { clock: systemClock, rng: new Rng(1), run: 'test', historyMax: 50, ...more })
}

/** Every collection with the prefix. */
export async function clearQdrant({ url, prefix }: QdrantOptions): Promise<void> {
  const client = new QdrantClient({ url, checkCompatibility: false })
  for (const { name } of (await client.getCollections()).collections)
    if (name.startsWith(prefix)) await client.deleteCollection(name)
}
