// How far the simple methods get on MovieLens 100k by themselves: progressive hit rates in time order, and their speed.
//
//     MTMI_DATA=<folder with ml-100k> node --import tsx test/bench/baselines.bench.ts
//
// What should be possible: an example sums 50 history items × 128 neighbours = 6,400 additions, about 10 µs, so some
// 50,000 examples/s at best.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { Example } from '../../src/records/example.ts'
import type { SequenceStep } from '../../src/records/userSequence.ts'
import { ProgressiveEvaluator } from '../../src/train/progressive/progressive.ts'

const batchSize = 256

function movieLens(file: string, historyMax: number): Example[] {
  const rows = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line, offset) => {
      const [userId, itemId, , seconds] = line.split('\t') as [string, string, string, string]
      return { userId, itemId, eventTimeMs: Number(seconds) * 1000, offset }
    })
    .sort((a, b) => a.eventTimeMs - b.eventTimeMs || a.offset - b.offset)
  const histories = new Map<string, SequenceStep[]>()
  const examples: Example[] = []
  for (const { userId, itemId, eventTimeMs, offset } of rows) {
    const target = { itemId, type: 'rating', eventTimeMs }
    const history = histories.get(userId) ?? []
    if (history.length > 0)
      examples.push({ userId, history, target, source: { partition: 0, offset: BigInt(offset) }, weight: 1 })
    histories.set(userId, [...history, target].slice(-historyMax))
  }
  return examples
}

const dataDir = process.env.MTMI_DATA
if (dataDir === undefined) {
  process.stderr.write('set MTMI_DATA to the folder that holds ml-100k\n')
  process.exit(78)
}
for (const historyMax of [50, 1000]) {
  const examples = movieLens(path.join(dataDir, 'ml-100k', 'ml-100k.inter'), historyMax)
  const evaluator = new ProgressiveEvaluator()
  const startMs = performance.now()
  for (let at = 0; at < examples.length; at += batchSize) {
    const batch = examples.slice(at, at + batchSize)
    evaluator.observe(batch, new Int32Array(batch.length))
  }
  const seconds = (performance.now() - startMs) / 1000
  const report = evaluator.report()
  process.stdout.write(
    `history ${historyMax}: ${report.targets} targets, ${report.repeats} repeats, ${Math.round(examples.length / seconds)} examples/s\n`
  )
  for (const method of ['popularity'] as const) {
    const { 'hitRate@20': hit20, 'ndcg@20': ndcg20, 'hitRate@50': hit50, 'ndcg@50': ndcg50 } = report[method]
    process.stdout.write(
      `  ${method.padEnd(18)} hitRate@20 ${hit20.toFixed(4)}  ndcg@20 ${ndcg20.toFixed(4)}  hitRate@50 ${hit50.toFixed(4)}  ndcg@50 ${ndcg50.toFixed(4)}\n`
    )
  }
}
