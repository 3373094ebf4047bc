// The simulated clickstream without the pipeline around it: progressive quality, recovery after the drift, and planted interests found, in one process.
//
//     node --import tsx test/bench/simulation.bench.ts [section.key=value …]      e.g. model.idwAlpha=4 simulation.events=30000 seed=2 baselines=true

import { configSchema } from '../../src/base/config.ts'
import { interestsFound, type UserTowers } from '../../src/evaluate/interestsFound.ts'
import { ProgressiveEvaluator } from '../../src/evaluate/progressive.ts'
import { recovery } from '../../src/evaluate/recovery.ts'
import { type Simulation, simulate } from '../../src/event/simulation.ts'
import type { SimulationOptions } from '../../src/event/simulationOptions.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { cutExamples } from '../../src/sequence/cutExamples.ts'
import type { Example } from '../../src/sequence/example.ts'
import { Sequencer } from '../../src/sequence/sequencer.ts'
import type { SequenceStep } from '../../src/sequence/userSequence.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import { ModelReplica } from '../../src/train/modelReplica.ts'
import { unknownRank } from '../../src/train/trainer.ts'
import { MemorySequenceStore } from '../support/memorySequenceStore.ts'

/** As in the report of `mtmi start`. */
const foundUsers = 500
const listLength = 10
/** Targets of a point of the curve: ± .015 at a hit rate of .35. */
const periodTargets = 1000
const year10000 = 253_402_300_800_000

const settings: Record<string, Record<string, unknown>> = { model: {}, train: {}, simulation: {}, run: {} }
for (const argument of process.argv.slice(2)) {
  const [key, value] = argument.split('=') as [string, string]
  const [section, name] = key.includes('.') ? (key.split('.') as [string, string]) : ['run', key]
  settings[section]![name] = /^[a-z]/.test(value) && value !== 'true' && value !== 'false' ? value : JSON.parse(value.replace(/^\./, '0.'))
}
const config = configSchema.parse({ model: settings.model, train: settings.train })
const { historyMax } = config.sequence
const seed = (settings.run!.seed as number | undefined) ?? 1
const simulation = simulate({ seed, ...(settings.simulation as Partial<SimulationOptions>) })
const backend = await loadBackend()

const { examples, windows, atDrift } = await sequence(simulation)
const trainer = new IncrementalTrainer({ model: config.model, train: config.train, historyMax, seed })
const replica = new ModelReplica()
trainer.learnCatalogue(simulation.items())
replica.learnCatalogue(simulation.items())
const evaluator = settings.run!.baselines === true ? new ProgressiveEvaluator() : undefined

const curve: { at: number; value: number }[] = []
let hits = 0
let targets = 0
let allHits = 0
let allTargets = 0
let driftAt = Number.POSITIVE_INFINITY
let foundBefore: ReturnType<typeof found> | undefined
const cosines: number[] = []
const wins = new Float64Array(config.model.interestCount)
let trainMs = 0
for (let from = 0; from < examples.length; from += config.train.batchSize) {
  const batch = examples.slice(from, from + config.train.batchSize)
  if (driftAt === Number.POSITIVE_INFINITY && batch[0]!.target.eventTimeMs >= simulation.driftMs) {
    driftAt = from
    foundBefore = found(atDrift, simulation.driftMs - 1)
  }
  const started = performance.now()
  const { evaluation } = trainer.step(batch, new Map())
  trainMs += performance.now() - started
  evaluator?.observe(batch, evaluation.ranks)
  if (!Number.isNaN(evaluation.intraUserCosine)) cosines.push(evaluation.intraUserCosine)
  evaluation.wins.forEach((share, k) => {
    wins[k]! += share / Math.ceil(examples.length / config.train.batchSize)
  })
  for (const [b, example] of batch.entries()) {
    if (example.history.some((step) => step.itemId === example.target.itemId)) continue
    const rank = evaluation.ranks[b]! === -1 ? unknownRank : evaluation.ranks[b]!
    targets++
    allTargets++
    if (rank < 20) hits++
    if (rank < 20) allHits++
    if (targets < periodTargets) continue
    curve.push({ at: from + b + 1, value: hits / targets })
    hits = targets = 0
  }
}
const foundAfter = found(windows, year10000)
const told = recovery(curve, driftAt)
const share = (x: number) => Number(x.toFixed(3))
process.stdout.write(
  `${JSON.stringify({
    ...Object.fromEntries(process.argv.slice(2).map((argument) => argument.split('='))),
    'hitRate@20': share(allHits / allTargets),
    before: told && share(told.before),
    lowest: told && share(told.lowest),
    recoveredAfter: told?.recoveredAfter,
    last: share(curve.slice(-5).reduce((sum, point) => sum + point.value, 0) / 5),
    foundBefore,
    found: foundAfter,
    cosine: share(cosines.slice(-20).reduce((a, b) => a + b, 0) / 20),
    wins: [...wins].map(share),
    curve: curve.map(({ value }) => Math.round(100 * value)).join(' '),
    ...(evaluator === undefined ? {} : baselines(evaluator)),
    examplesPerSecond: Math.round((1000 * examples.length) / trainMs),
    backend: backend.backend
  })}\n`
)

/** What the sequencer makes of the stream: its examples in the order of arrival, and each user's last window, at the end and at the drift. */
async function sequence(source: Simulation) {
  const { graceMs, ...rest } = config.sequence
  const sequencer = new Sequencer({
    store: new MemorySequenceStore(),
    partition: 0,
    options: { ...rest, graceMs },
    eventTypes: config.events.types
  })
  const examples: Example[] = []
  const windows = new Map<string, readonly SequenceStep[]>()
  let atDrift: Map<string, readonly SequenceStep[]> | undefined
  let offset = 0n
  const take = () => {
    for (const record of sequencer.take().sequences) {
      windows.set(record.userId, record.steps)
      examples.push(...cutExamples(record, (type) => config.events.types[type]))
    }
  }
  for (const interaction of source.interactions()) {
    const { userId, itemId, eventTimeMs } = interaction
    if (userId === '' || itemId === '' || eventTimeMs < 0 || eventTimeMs >= year10000) continue
    if (atDrift === undefined && eventTimeMs >= source.driftMs) {
      take()
      atDrift = new Map(windows)
    }
    sequencer.accept(interaction, offset, eventTimeMs)
    offset++
    if (offset % 256n === 0n) take()
  }
  take()
  const order = new Map(examples.map((example, i) => [example, i]))
  const chunk = (example: Example) => Math.floor(order.get(example)! / 256)
  examples.sort((a, b) => chunk(a) - chunk(b) || a.target.eventTimeMs - b.target.eventTimeMs)
  return { examples, windows, atDrift: atDrift ?? windows }
}

/** Planted interests found by the towers as they are now, and the share that could have been: those with so many steps in what the towers read. */
function found(of: ReadonlyMap<string, readonly SequenceStep[]>, timeMs: number) {
  for (const update of trainer.takeUpdates(true, 0)) replica.apply(update)
  const { dimensions: d, interestCount: K } = replica
  const catalogue = simulation.items().map(({ itemId }) => ({ itemId, features: [] }))
  const { vectors, known } = replica.itemVectors(catalogue)
  const users = simulation
    .userIds()
    .slice(0, foundUsers)
    .filter((userId) => of.has(userId))
  const { interests } = replica.interests(users.map((userId) => of.get(userId)!))
  const towers: UserTowers[] = users.map((userId, u) => ({
    planted: simulation.interestsOf(userId, timeMs),
    lists: Array.from({ length: K }, (_, k) => nearest(interests.subarray((u * K + k) * d, (u * K + k + 1) * d)))
  }))
  const topicOf = (itemId: string) => simulation.topicOf(itemId)
  const total = interestsFound(towers, topicOf)
  const seen = (stepsMin: number) =>
    towers.map(({ planted, lists }, u) => {
      const steps = of.get(users[u]!)!
      return { planted: planted.filter((topic) => steps.filter(({ itemId }) => topicOf(itemId) === topic).length >= stepsMin), lists }
    })
  const plantedCount = towers.reduce((sum, { planted }) => sum + planted.length, 0)
  return {
    mean: share3(total.meanShareFound),
    most: share3(total.usersWithMostFound / total.users),
    all: share3(total.usersWithAllFound / total.users),
    visible: [1, 2, 3].map((stepsMin) => share3(seen(stepsMin).reduce((sum, { planted }) => sum + planted.length, 0) / plantedCount)),
    ofVisible: [1, 2, 3].map((stepsMin) => {
      const some = interestsFound(seen(stepsMin), topicOf)
      return [some.meanShareFound, some.usersWithMostFound / some.users, some.usersWithAllFound / some.users].map(share3).join('/')
    })
  }

  function nearest(interest: Float32Array) {
    const scores = new Float32Array(catalogue.length)
    for (let i = 0; i < catalogue.length; i++) {
      if (known[i] === 0) scores[i] = -2
      else for (let j = 0; j < d; j++) scores[i]! += interest[j]! * vectors[i * d + j]!
    }
    return catalogue
      .map(({ itemId }, i) => ({ itemId, score: scores[i]! }))
      .sort((a, b) => b.score - a.score)
      .slice(0, listLength)
      .map(({ itemId }) => itemId)
  }
}

function baselines(from: ProgressiveEvaluator) {
  const { bestPopularity, cooccurrence, markov } = from.report()
  return {
    popularity: share(bestPopularity['hitRate@20']),
    cooccurrence: share(cooccurrence['hitRate@20']),
    markov: share(markov['hitRate@20'])
  }
}

function share3(x: number): number {
  return Number(x.toFixed(3))
}
