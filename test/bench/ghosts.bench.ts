// Whether a model is better if it is not trained on items that the catalogue lacks; and in how many lists three invented
// users put an item.
//
//     npm run bench -- ghosts [--seeds 2] [--events 30000] [--ids 20,100000] [--shares .05,.2] [--attacks 100,1000]
//
// To the simulation's events, clicks on invented IDs are added until they are the given share of all. The model is
// trained on the first 80% of the examples, with the added clicks or without them; hit rate@20 is that of the others,
// among the simulation's items alone. `--ids`: from how many invented IDs a click draws. `--attacks`: three users click
// so often each, on every second click on one item that few others click; `lists` is the share of the others' lists of
// 20 that it is in.

import { parseArgs } from 'node:util'
import { Rng } from '../../src/core/rng.ts'
import { interestScoreOf, mixtureScore, mixtureShare } from '../../src/index/interestScore.ts'
import { type Simulation, simulate } from '../../src/lab/simulation/simulation.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { cutExamples } from '../../src/records/cutExamples.ts'
import type { Example } from '../../src/records/example.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import { simulatedSequences } from '../support/simulatedSequences.ts'
import { configOf } from './settings.ts'

const { values: flags } = parseArgs({
  options: {
    seeds: { type: 'string', default: '2' },
    events: { type: 'string', default: '30000' },
    ids: { type: 'string', default: '20,100000' },
    shares: { type: 'string', default: '.05,.2' },
    attacks: { type: 'string', default: '' }
  }
})
const { train, model, sequence, events } = configOf({})
const scoring = interestScoreOf(model)
type Stream = Pick<Simulation, 'options' | 'interactions'>

await loadBackend()
for (let seed = 1; seed <= Number(flags.seeds); seed++) {
  const simulation = simulate({ seed, events: Number(flags.events), driftAt: 1 })
  const itemIds = [...simulation.items()].map(({ itemId }) => itemId)
  const clicks = new Map(itemIds.map((itemId) => [itemId, 0]))
  for (const { itemId } of simulation.interactions()) clicks.set(itemId, (clicks.get(itemId) ?? 0) + 1)
  /** Of those that were clicked at all, one of the least. */
  const [attacked] = [...clicks].filter(([, count]) => count > 0).sort((a, b) => a[1] - b[1])[100]!
  const row = async (found: Stream, labels: object) => {
    const figures = await trained(found, itemIds, attacked, seed)
    process.stdout.write(`${JSON.stringify({ seed, ...labels, ...figures })}\n`)
  }
  await row(simulation, {})
  for (const ids of numbers(flags.ids))
    for (const share of numbers(flags.shares)) await row(ghostly(simulation, ids, share, seed), { ids, share })
  for (const count of numbers(flags.attacks)) await row(attack(simulation, attacked, count, seed), { attack: count })
}

function numbers(text: string): number[] {
  return text === '' ? [] : text.split(',').map(Number)
}

/** Clicks on invented items, each a moment after another click of the same user. */
function ghostly(simulation: Simulation, ids: number, share: number, seed: number): Stream {
  function* interactions(): Generator<Interaction> {
    const rng = new Rng(seed)
    let added = 0
    for (const interaction of simulation.interactions()) {
      yield interaction
      for (; rng.uniform() < share; added++)
        yield {
          ...interaction,
          eventId: `ghost ${added}`,
          itemId: `ghost ${rng.integer(ids)}`,
          eventTimeMs: interaction.eventTimeMs + 1
        }
    }
  }
  return { options: simulation.options, interactions }
}

/** Three users who click spread over the stream: on what others click, and on the item, by turns. */
function attack(simulation: Simulation, itemId: string, count: number, seed: number): Stream {
  function* interactions(): Generator<Interaction> {
    const rng = new Rng(seed)
    const share = (3 * count) / simulation.options.events
    let added = 0
    for (const interaction of simulation.interactions()) {
      yield interaction
      if (rng.uniform() >= share) continue
      const turn = added++
      const userId = `invented ${turn % 3}`
      const isItem = Math.floor(turn / 3) % 2 === 1
      yield { ...interaction, eventId: `attack ${turn}`, userId, itemId: isItem ? itemId : interaction.itemId }
    }
  }
  return { options: simulation.options, interactions }
}

async function trained(
  stream: Stream,
  itemIds: readonly string[],
  attacked: string,
  seed: number
): Promise<{ hitRate: number; lists: number }> {
  const trainer = new IncrementalTrainer({ model, train, historyMax: sequence.historyMax, seed })
  const examples: Example[] = []
  for await (const emitted of simulatedSequences(stream as Simulation, { sequence, events })) {
    const cut = emitted.flatMap((one) => cutExamples(one, (type) => events.types[type]))
    examples.push(...cut.sort((a, b) => a.target.eventTimeMs - b.target.eventTimeMs))
  }
  const trainedTo = Math.floor(0.8 * examples.length)
  for (let from = 0; from < trainedTo; from += train.batchSize)
    trainer.learnExamples(examples.slice(from, Math.min(trainedTo, from + train.batchSize)), new Map())
  const replica = new ModelReplica()
  for (const update of trainer.takeUpdates(true, 0)) replica.apply(update)
  const judged = examples
    .slice(trainedTo)
    .filter(({ userId, target }) => !target.itemId.startsWith('ghost') && !userId.startsWith('invented'))
  const figures = rank(replica, itemIds, attacked, judged)
  replica.dispose()
  return figures
}

/** Share of the examples whose target, and in whose list the attacked item, is among the first 20. */
function rank(replica: ModelReplica, itemIds: readonly string[], attacked: string, examples: readonly Example[]) {
  const { vectors, known } = replica.itemVectors(itemIds.map((itemId) => ({ itemId, features: [] }))) // [N, D]
  const { dimensions: d, interestCount: k } = replica
  const at = new Map(itemIds.map((itemId, n) => [itemId, n]))
  let [hits, lists] = [0, 0]
  for (let from = 0; from < examples.length; from += 256) {
    const batch = examples.slice(from, from + 256)
    const { interests } = replica.interests(batch.map(({ history }) => history)) // [B, K, D]
    for (const [b, { history, target }] of batch.entries()) {
      const seen = new Set(history.map(({ itemId }) => at.get(itemId)))
      const scores = itemIds.map((_, n) => {
        if (known[n] === 0) return Number.NEGATIVE_INFINITY
        let shares = 0
        for (let i = 0; i < k; i++) {
          let cosine = 0
          for (let j = 0; j < d; j++) cosine += interests[(b * k + i) * d + j]! * vectors[n * d + j]!
          shares += mixtureShare(cosine, scoring.temperature)
        }
        return mixtureScore(shares, k, scoring.temperature)
      })
      const isAmong = (n: number) =>
        scores[n]! > Number.NEGATIVE_INFINITY &&
        scores.filter((score, other) => other !== n && !seen.has(other) && score >= scores[n]!).length < 20
      hits += Number(isAmong(at.get(target.itemId)!))
      lists += Number(isAmong(at.get(attacked)!))
    }
  }
  const share = (count: number) => Number((count / examples.length).toFixed(4))
  return { hitRate: share(hits), lists: share(lists) }
}
