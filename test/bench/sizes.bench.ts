// Bytes: of records in the log, of a user in the embedded index, of an item in the trainer. What docs/operations.md, Sizing
// multiplies.
//
//     node --expose-gc --import tsx test/bench/sizes.bench.ts [--items N] [--users N]      (without --expose-gc: npm run bench -- sizes)
//
// What should be possible, D 64, K 4, 50 steps: a row and its accumulator are 4·D + 4 = 260 bytes and an item's id,
// counts and links some 100 more; a user's K vectors are 4·K·D = 1,024 bytes, 50 short item ids some 400 more; a step
// of user-sequences about 9 bytes and its part of the ids' dictionary.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { configSchema } from '../../src/core/config/config.ts'
import { Rng } from '../../src/core/rng.ts'
import { EmbeddedIndex } from '../../src/index/embedded/embeddedIndex.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import { createCodecs } from '../../src/records/avro/avroCodecs.ts'
import { LocalRegistry } from '../../src/records/registry/localRegistry.ts'
import { Sequencer } from '../../src/sequence/sequencer.ts'
import { ItemTable } from '../../src/train/batch/itemTable.ts'
import { Reservoir } from '../../src/train/batch/reservoir.ts'
import { MemorySequenceStore } from '../support/memorySequenceStore.ts'

const { values: flags } = parseArgs({
  options: { items: { type: 'string', default: '500000' }, users: { type: 'string', default: '20000' } }
})
const config = configSchema.parse({})
const { dimensions: D, interestCount: K } = config.model
const folder = mkdtempSync(path.join(tmpdir(), 'mtmi-sizes-'))
try {
  const results = {
    ...(await records()),
    ...(await indexedUser(Number(flags.users))),
    ...trainerItem(Number(flags.items))
  }
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  process.stdout.write(
    `${JSON.stringify({ benchmark: 'sizes', commit, cpu: cpus()[0]?.model, node: process.version, D, K, ...results })}\n`
  )
} finally {
  rmSync(folder, { recursive: true })
}

/**
 * Values and keys of the simulation's records, each event sequenced by itself: means, and that of histories that are
 * full.
 */
async function records() {
  const codecs = await createCodecs(new LocalRegistry(path.join(folder, 'schemas')))
  const sequencer = new Sequencer({
    store: new MemorySequenceStore(),
    partition: 0,
    options: config.sequence,
    eventTypes: config.events.types
  })
  let interactions = 0
  let interactionBytes = 0
  let full = 0
  let fullBytes = 0
  for (const interaction of simulate({ badShare: 0 }).interactions()) {
    interactionBytes += codecs.interaction.encode(interaction).length + Buffer.byteLength(interaction.userId)
    sequencer.accept(interaction, BigInt(interactions++), interaction.eventTimeMs)
    for (const sequence of sequencer.take().sequences) {
      if (sequence.steps.length < config.sequence.historyMax) continue
      full++
      fullBytes += codecs.userSequence.encode(sequence).length + Buffer.byteLength(sequence.userId)
    }
  }
  const itemRow = codecs.modelUpdate.encode({
    kind: 'item-row',
    itemId: 'item-1234',
    row: new Float32Array(D).fill(0.1),
    count: 1
  })
  return {
    interactionBytes: Math.round(interactionBytes / interactions),
    userSequenceBytes: Math.round(fullBytes / full),
    modelUpdateItemBytes: itemRow.length + 'item/item-1234'.length
  }
}

/** Beyond an index that has one user. */
async function indexedUser(users: number) {
  const size = async (count: number) => {
    const directory = path.join(folder, `index-${count}`)
    const index = await EmbeddedIndex.open(directory, { searchThread: false })
    await index.createVersion('a', { dimensions: D, interestCount: K })
    const rng = new Rng(1)
    for (let from = 0; from < count; from += 500) {
      const points = Array.from({ length: Math.min(500, count - from) }, (_, i) => {
        const vectors = new Float32Array(K * D)
        for (let k = 0; k < K; k++) vectors[k * D + rng.integer(D)] = 1
        const recent = Array.from({ length: 50 }, () => `item-${rng.integer(10_000)}`)
        const payload = { recent, historyLength: 50, newestMs: 1.7e12, updatedAtMs: 1.7e12 }
        return { role: 'user' as const, id: `user-${from + i}`, vectors, payload }
      })
      await index.upsert('a', 1, points)
    }
    await index.close()
    return statSync(path.join(directory, 'index.mdb')).size
  }
  return { indexedUsers: users, indexedUserDiskBytes: Math.round(((await size(users)) - (await size(1))) / users) }
}

/** The table as it grows with items that are seen once; optimizer state is in it. */
function trainerItem(items: number) {
  const table = new ItemTable({ dimensions: D, itemsMax: items + 1, admissionMin: 1, rng: new Rng(1) })
  for (let i = 0; i < 1000; i++) table.observe(`item-${i}`, 0)
  globalThis.gc?.()
  const before = process.memoryUsage().rss
  for (let i = 1000; i < items; i++) table.observe(`item-${i}`, 0)
  globalThis.gc?.()
  const bytes = process.memoryUsage().rss - before
  let saved = 0
  for (const part of table.copy('whole')) for (const array of part.values()) saved += array.byteLength
  const { historyMax } = config.sequence
  const { reservoirMax } = config.train
  const reservoir = new Reservoir({ items: table, examplesMax: reservoirMax, historyMax, rng: new Rng(2) })
  const rng = new Rng(3)
  const step = () => ({ itemId: `item-${rng.integer(items)}`, type: 'click', eventTimeMs: 1 })
  const beforeReservoir = process.memoryUsage().rss
  for (let i = 0; i < reservoirMax; i++) {
    const history = Array.from({ length: historyMax }, step)
    reservoir.add({
      userId: `user-${i}`,
      history,
      target: step(),
      source: { partition: 0, offset: BigInt(i) },
      weight: 1
    })
  }
  globalThis.gc?.()
  const reservoirBytes = process.memoryUsage().rss - beforeReservoir
  return {
    trainerItems: items,
    trainerItemBytes: Math.round(bytes / (items - 1000)),
    checkpointItemBytes: Math.round(saved / items),
    reservoirExampleBytes: Math.round(reservoirBytes / reservoirMax)
  }
}
