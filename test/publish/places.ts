// Where an item is, of index versions and lists; and what brings it there: clicks and the catalogue.

import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { EmbeddedIndex } from '../../src/index/embedded/embeddedIndex.ts'
import type { VectorIndex } from '../../src/index/vectorIndex.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import type { CatalogueItem } from '../../src/records/catalogueItem.ts'
import { Recommender } from '../../src/serve/recommender.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import type { TestStageIo } from '../support/stageIo.ts'
import type { Disk } from '../train/modelLives.ts'

const text = new TextEncoder()
export const catalogue = [
  ...simulate({ events: 600, users: 40, items: 60, topics: 4, badShare: 0, features: 'topic' }).items()
]

export async function write(io: TestStageIo, item: CatalogueItem | string): Promise<void> {
  const [itemId, value] = typeof item === 'string' ? [item, null] : [item.itemId, io.codecs.item.encode(item)]
  await io.log.append('items', [{ key: text.encode(itemId), value }])
}

/** A new user clicks on the items, in this order. */
export async function click(io: TestStageIo, userId: string, itemIds: readonly string[]): Promise<void> {
  const last = io.codecs.userSequence.decode(io.log.records('user-sequences').at(-1)!.value!)
  const end = (await io.log.ends('interactions')).get(0)!
  const steps = itemIds.map((itemId, i) => ({ itemId, type: 'click', eventTimeMs: last.newestMs + 1000 * (i + 1) }))
  const fresh = steps.map((_, position) => ({ position, offset: end + BigInt(position) }))
  for (const { itemId, eventTimeMs, type } of steps) {
    const value = io.codecs.interaction.encode({ eventId: `${userId}${itemId}`, userId, itemId, type, eventTimeMs })
    await io.log.append('interactions', [{ key: text.encode(userId), value }])
  }
  const sequence = { ...last, userId, steps, fresh, newestMs: steps.at(-1)!.eventTimeMs }
  await io.log.append('user-sequences', [{ key: text.encode(userId), value: io.codecs.userSequence.encode(sequence) }])
}

/** Where an item still is: index versions, and lists of every kind. */
export async function places(index: VectorIndex, { io }: Disk, itemId: string): Promise<string[]> {
  const found: string[] = []
  for (const indexVersion of await index.versions())
    if ((await index.items(indexVersion, [itemId])).size > 0) found.push(`index version ${indexVersion}`)
  const recommender = new Recommender({ index, clock: io.clock })
  const holds = (items: readonly { readonly itemId: string }[]) => items.some((item) => item.itemId === itemId)
  const users = new Set(io.log.records('user-sequences').map(({ key }) => new TextDecoder().decode(key)))
  for (const userId of [...users, 'never seen']) {
    const { items, coldStart } = await recommender.recommend({ userId, limit: 100, repeats: true })
    if (holds(items)) found.push(coldStart ?? 'list of a user')
  }
  if ((await recommender.similar({ itemId, limit: 10 })) !== undefined) found.push('items similar to it')
  const other = catalogue.find((item) => item.itemId !== itemId)!.itemId
  if (holds((await recommender.similar({ itemId: other, limit: 100 }))!.items)) found.push('items similar to another')
  return [...new Set(found)]
}

export const everywhere = ['list of a user', 'popular', 'items similar to it', 'items similar to another']

export async function withIndex(name: string, use: (index: VectorIndex) => Promise<void>): Promise<void> {
  if (name === 'memory') return use(new MemoryVectorIndex())
  const directory = mkdtempSync(path.join(os.tmpdir(), 'mtmi-deleted-'))
  const index = await EmbeddedIndex.open(directory, { searchThread: false })
  try {
    await use(index)
  } finally {
    await index.close()
    rmSync(directory, { recursive: true, force: true })
  }
}
