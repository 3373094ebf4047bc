// The simulation's drift is seen in hit rate or loss of a model that is being trained on it.

import assert from 'node:assert/strict'
import test from 'node:test'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { simulate } from '../../../src/lab/simulation/simulation.ts'
import { loadBackend } from '../../../src/model/backend.ts'
import type { Detection } from '../../../src/monitor/drift/detection.ts'
import { ModelDrift } from '../../../src/monitor/drift/modelDrift.ts'
import { featureLookup } from '../../../src/records/catalogueItem.ts'
import { cutExamples } from '../../../src/records/cutExamples.ts'
import type { Example } from '../../../src/records/example.ts'
import { IncrementalTrainer } from '../../../src/train/incrementalTrainer.ts'
import { unknownRank } from '../../../src/train/trainer.ts'
import { simulatedSequences } from '../../support/simulatedSequences.ts'

const config = resolveConfig(undefined, {})

/** Seven items in ten change places at one instant. Trained in about ten seconds. */
const small = { sessionMean: 4, driftItemShare: 0.7, users: 700, items: 900, topics: 12, events: 24_000 }

for (const seed of [1, 2]) {
  test(`seed ${seed}: hit rate or loss tell of the drift after it, and raise no alarm before it`, async () => {
    await loadBackend()
    const simulation = simulate({ seed, ...small })
    const trainer = new IncrementalTrainer({
      model: { ...config.model, dimensions: 32 },
      train: { ...config.train, batchSize: 256, negatives: 256, replayRatio: 1 },
      historyMax: config.sequence.historyMax,
      seed,
      modelVersion: 'drift'
    })
    trainer.useCatalogue(featureLookup(simulation.items()))
    const drift = new ModelDrift()
    const found: Detection[] = []
    let waiting: Example[] = []
    for await (const emitted of simulatedSequences(simulation, config)) {
      for (const sequence of emitted) waiting.push(...cutExamples(sequence, (type) => config.events.types[type]))
      if (waiting.length < 256) continue
      const examples = waiting.sort((a, b) => a.target.eventTimeMs - b.target.eventTimeMs)
      waiting = []
      const { evaluation, report } = trainer.step(examples, new Map())
      found.push(
        ...drift.observe({
          ranks: evaluation.ranks,
          unknownRank,
          wins: evaluation.wins,
          freshLosses: report.freshLosses,
          replayedLoss: report.replayedLoss,
          eventTimeMs: examples.at(-1)!.target.eventTimeMs
        })
      )
    }
    const { driftMs } = simulation
    assert.deepEqual(
      found.filter(({ eventTimeMs }) => eventTimeMs < driftMs),
      [],
      `seed ${seed}: false alarms`
    )
    assert(
      found.some(({ signal }) => signal === 'hit_rate'),
      `seed ${seed}: nothing noticed in ${JSON.stringify(drift.report)}`
    )
    const { winsEntropy, overfitGap, newItemShare } = drift.report
    assert(winsEntropy! > 0.3 && winsEntropy! <= 1)
    // Replayed examples have been learned, new ones have not.
    assert(overfitGap! > 0)
    assert(newItemShare! >= 0 && newItemShare! < 0.2)
  })
}
