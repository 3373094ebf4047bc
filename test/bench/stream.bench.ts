// One pass over MovieLens 100k, tested then learned: progressive quality beside popularity's, and speed.
//
//     MTMI_DATA=… node --import tsx test/bench/stream.bench.ts [section.key=value …]      e.g. model.temperature=.07 catalogue=false seed=2

import { configSchema } from '../../src/base/config.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import { unknownRank } from '../../src/train/trainer.ts'
import { movieLensExamples, movieLensItems } from './movieLens.ts'

const dataDir = process.env.MTMI_DATA
if (dataDir === undefined) throw new Error('set MTMI_DATA to the folder that holds ml-100k/')

const settings: Record<string, Record<string, unknown>> = { model: {}, train: {}, run: {} }
for (const argument of process.argv.slice(2)) {
  const [key, value] = argument.split('=') as [string, string]
  const [section, name] = key.includes('.') ? (key.split('.') as [string, string]) : ['run', key]
  settings[section]![name] = /^[a-z]/.test(value) && value !== 'true' && value !== 'false' ? value : JSON.parse(value.replace(/^\./, '0.'))
}
const config = configSchema.parse({ model: settings.model, train: settings.train })
const historyMax = config.sequence.historyMax
const seed = (settings.run!.seed as number | undefined) ?? 1
const limit = (settings.run!.limit as number | undefined) ?? Number.POSITIVE_INFINITY
const backend = await loadBackend()

const examples = movieLensExamples(dataDir, historyMax).slice(0, limit)
const trainer = new IncrementalTrainer({ model: config.model, train: config.train, historyMax, seed })
if (settings.run!.catalogue !== false) trainer.learnCatalogue(movieLensItems(dataDir))

class Score {
  hits = 0
  gain = 0
  add(rank: number): void {
    if (rank >= 20) return
    this.hits++
    this.gain += 1 / Math.log2(rank + 2)
  }
}
const model = new Score()
const popular = new Score()
const late = new Score()
const counts = new Map<string, number>()
let cosine = 0
let batches = 0
let evaluateMs = 0
let learnMs = 0
const wins = new Float64Array(config.model.interestCount)
const started = performance.now()
const cpu = process.cpuUsage()
let otherMs = 0
for (let from = 0; from < examples.length; from += config.train.batchSize) {
  const batch = examples.slice(from, from + config.train.batchSize)
  const t0 = performance.now()
  const { evaluation, batch: evaluated } = trainer.evaluateExamples(batch, new Map())
  const t1 = performance.now()
  trainer.learnExamples(batch, evaluated)
  const t2 = performance.now()
  evaluateMs += t1 - t0
  learnMs += t2 - t1
  for (const [b, example] of batch.entries()) {
    const rank = evaluation.ranks[b]!
    model.add(rank === -1 ? unknownRank : rank)
    if (from > examples.length / 2) late.add(rank === -1 ? unknownRank : rank)
    const history = new Set(example.history.map((step) => step.itemId))
    const own = counts.get(example.target.itemId)
    let better = 0
    if (own !== undefined)
      for (const [item, count] of counts) if (count >= own && item !== example.target.itemId && !history.has(item)) better++
    popular.add(own === undefined ? unknownRank : better)
  }
  for (const { target } of batch) counts.set(target.itemId, (counts.get(target.itemId) ?? 0) + 1)
  if (!Number.isNaN(evaluation.intraUserCosine)) {
    cosine += evaluation.intraUserCosine
    batches++
    evaluation.wins.forEach((share, k) => {
      wins[k]! += share
    })
  }
  otherMs += performance.now() - t2
}
const { user, system } = process.cpuUsage(cpu)
const seconds = (performance.now() - started - otherMs) / 1000
const share = (x: number, of = examples.length) => Number((x / of).toFixed(4))
process.stdout.write(
  `${JSON.stringify({
    ...Object.fromEntries(process.argv.slice(2).map((argument) => argument.split('='))),
    'hitRate@20': share(model.hits),
    'ndcg@20': share(model.gain),
    secondHalf: share(late.hits, examples.length / 2),
    popularity: { 'hitRate@20': share(popular.hits), 'ndcg@20': share(popular.gain) },
    ratio: Number((model.hits / popular.hits).toFixed(3)),
    intraUserCosine: share(cosine, batches),
    wins: [...wins].map((x) => share(x, batches)),
    examplesPerSecond: Math.round(examples.length / seconds),
    evaluateMs: Number(((evaluateMs / examples.length) * config.train.batchSize).toFixed(1)),
    learnMs: Number(((learnMs / examples.length) * config.train.batchSize).toFixed(1)),
    cpuMs: Number((((user + system) / 1000 - otherMs) / (examples.length / config.train.batchSize)).toFixed(1)),
    backend: backend.backend,
    tensorflow: backend.tensorflow
  })}\n`
)
