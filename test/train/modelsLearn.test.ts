// Each model learns from a stream: one pass over a small simulation, every target ranked before it is learned, beside
// what was most popular until then.
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { configSchema } from '../../src/core/config/config.ts'
import { modelSchema } from '../../src/core/config/modelOptions.ts'
import { comparedModels } from '../../src/lab/models/comparisonModels.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import { loadBackend } from '../../src/model/backend.ts'
import type { Example } from '../../src/records/example.ts'
import type { SequenceStep } from '../../src/records/userSequence.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'

/**
 * How much above popularity's hit rate@20 each model must end. A model that trained on nothing would be at 20/400 = .05,
 * far below popularity.
 */
const margin = 0.2
const historyMax = 20
const batchSize = 64
/** Examples at the end that count. */
const lastCounted = 2000

let examples: readonly Example[] = []
let popularity = Number.NaN

before(async () => {
  await loadBackend()
  examples = smallStream()
  popularity = popularityHits(examples)
})

for (const name of Object.keys(comparedModels)) {
  test(`${name}: its hit rate@20 is at least ${margin} above popularity's by the end of a small stream`, () => {
    const model = modelSchema.parse({ name, dimensions: 32, interestCount: 3 })
    const { train } = configSchema.parse({ train: { negatives: 128, denseLearningRate: 0.005 } })
    const trainer = new IncrementalTrainer({ model, train, historyMax, seed: 1 })
    let hits = 0
    let targets = 0
    for (let from = 0; from < examples.length; from += batchSize) {
      const batch = examples.slice(from, from + batchSize)
      const { ranks } = trainer.step(batch, new Map()).evaluation
      for (const [b, example] of batch.entries()) {
        if (from + b < examples.length - lastCounted || repeats(example)) continue
        targets++
        if (ranks[b]! < 20) hits++
      }
    }
    assert.ok(hits / targets > popularity + margin, `hit rate@20 ${hits / targets}, popularity ${popularity}`)
  })
}

/**
 * 8,000 clicks of 300 users on 400 items of twelve topics, nothing wrong with them, no drift, nothing told of the
 * items.
 */
function smallStream(): Example[] {
  const faultless = { duplicateShare: 0, outOfOrderShare: 0, lateShare: 0, badShare: 0 }
  const simulation = simulate({
    users: 300,
    items: 400,
    topics: 12,
    events: 8000,
    driftAt: 1,
    newItemShare: 0,
    ...faultless
  })
  const histories = new Map<string, SequenceStep[]>()
  const found: Example[] = []
  for (const { userId, itemId, type, eventTimeMs } of simulation.interactions()) {
    const history = histories.get(userId) ?? []
    const target = { itemId, type, eventTimeMs }
    const source = { partition: 0, offset: BigInt(found.length) }
    if (history.length > 0) found.push({ userId, history: history.slice(-historyMax), target, source, weight: 1 })
    histories.set(userId, [...history, target])
  }
  return found
}

const repeats = ({ history, target }: Example) => history.some(({ itemId }) => itemId === target.itemId)

/** Hit rate@20 of the most clicked until then, the history left out, on the same targets. */
function popularityHits(stream: readonly Example[]): number {
  const counts = new Map<string, number>()
  let hits = 0
  let targets = 0
  for (const [i, example] of stream.entries()) {
    const { target, history } = example
    if (i >= stream.length - lastCounted && !repeats(example)) {
      targets++
      const left = new Set(history.map(({ itemId }) => itemId)).add(target.itemId)
      const own = counts.get(target.itemId) ?? 0
      if ([...counts].filter(([itemId, count]) => count >= own && !left.has(itemId)).length < 20) hits++
    }
    counts.set(target.itemId, (counts.get(target.itemId) ?? 0) + 1)
  }
  return hits / targets
}
