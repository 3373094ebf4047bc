// How fast a replica makes vectors: interests of 1,000 users with 50 steps each, and item vectors.
//
//     node --import tsx test/bench/replica.bench.ts
//
// What should be possible, D 64, K 4: 1,000 users touch at most 50,000 rows in four chunks of 256 users: scores
// 2·50,000·D·K·D = 1.6 GFLOP, 16 ms at 100 GFLOP/s; finding 50,000 ids some 10 ms. Popular items repeat: then a tenth
// of the scores. Items: 2·D² = 8 kFLOP and one id each.

import { configSchema } from '../../src/core/config/config.ts'
import { Rng } from '../../src/core/rng.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'

const itemCount = 100_000
const backend = await loadBackend()
const { model, train } = configSchema.parse({})
const trainer = new IncrementalTrainer({ model, train, historyMax: 50, seed: 1 })
for (let i = 0; i < itemCount; i++) trainer.items.observe(`item-${i}`, 1)
const replica = new ModelReplica()
const updates = trainer.takeUpdates(true, 0)
const applying = performance.now()
for (const update of updates) replica.apply(update)
const applyMs = performance.now() - applying

const rng = new Rng(1)
const histories = (draw: () => number) =>
  Array.from({ length: 1000 }, () =>
    Array.from({ length: 50 }, (_, i) => ({ itemId: `item-${draw()}`, eventTimeMs: i * 60_000 }))
  )
const popular = histories(() => Math.floor(itemCount ** rng.uniform()))
const uniform = histories(() => rng.integer(itemCount))
const items = Array.from({ length: itemCount }, (_, i) => ({ itemId: `item-${i}`, features: [] }))

/** Least and median of 9, after 3 to warm up: the least is what an undisturbed machine does. */
function measure(run: () => void): { least: number; median: number } {
  const times = Array.from({ length: 12 }, () => {
    const start = performance.now()
    run()
    return performance.now() - start
  })
    .slice(3)
    .sort((a, b) => a - b)
  return { least: Number(times[0]!.toFixed(1)), median: Number(times[4]!.toFixed(1)) }
}

const itemMs = measure(() => replica.itemVectors(items))
process.stdout.write(
  `${JSON.stringify({
    applyRowsPerSecond: Math.round((1000 * updates.length) / applyMs),
    interestsOf1000UsersMs: {
      popularItems: measure(() => replica.interests(popular)),
      uniformItems: measure(() => replica.interests(uniform))
    },
    itemVectorsPerSecond: {
      best: Math.round((1000 * itemCount) / itemMs.least),
      median: Math.round((1000 * itemCount) / itemMs.median)
    },
    backend: backend.backend,
    tensorflow: backend.tensorflow,
    node: process.version
  })}\n`
)
