// A model on a part of a data set, with fewer candidates: a minute where `mtmi evaluate` takes many. For choosing what
// to evaluate.
//
//     npm run bench -- screen --data PATH [--users N] [--epochs E] [--seed S] [--set model.name=mind …]
//
// The first N users after the filter; users apart 8 : 1 : 1, history kept; the epoch with the best Recall@50 on the
// validation users counts. `held-out` is Recall@50 over validation and test users together: less noise, and a little
// flattered by the choice of the epoch, alike for all models.

import { parseArgs } from 'node:util'
import { encoderLists } from '../../src/lab/evaluation/encoderLists.ts'
import { loadOfflineData } from '../../src/lab/evaluation/offlineData.ts'
import { offlineMetrics } from '../../src/lab/evaluation/offlineMetrics.ts'
import { coreFilter, splitOffline } from '../../src/lab/evaluation/offlineSplit.ts'
import { OfflineTrainer } from '../../src/lab/evaluation/offlineTrainer.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { configOf, settingsOf } from './settings.ts'

const { values: flags } = parseArgs({
  options: {
    data: { type: 'string' },
    users: { type: 'string', default: '6000' },
    epochs: { type: 'string', default: '6' },
    seed: { type: 'string', default: '1' },
    set: { type: 'string', multiple: true, default: [] }
  }
})
if (flags.data === undefined) throw new Error('give the path of a data set: --data PATH')
const settings = settingsOf(flags.set, {
  model: { dropout: 0.2 },
  // Half the batch and a quarter of the negatives of an evaluation: a part of the data has fewer items.
  train: { batchSize: 512, negatives: 512, denseLearningRate: 0.002, reservoirMax: 0, replayRatio: 0 }
})
const config = configOf(settings)
const seed = Number(flags.seed)
const { historyMax } = config.evaluate
const { users: all } = await loadOfflineData(config, { data: flags.data })
const users = coreFilter(all, config.evaluate.interactionsMin).slice(0, Number(flags.users))
const split = splitOffline(users, 'users', seed)
const backend = await loadBackend()

const trainer = new OfflineTrainer(split.train, [], { model: config.model, train: config.train, historyMax, seed })
const replica = new ModelReplica()
trainer.give()
trainer.observe()
const cases = [...split.validation, ...split.test]
const started = performance.now()
let best = { epoch: 0, validation: -1 }
let result = {}
for (let epoch = 1; epoch <= Number(flags.epochs); epoch++) {
  for (const _ of trainer.epoch());
  const { lists, intraUserCosine, wins } = encoderLists(trainer.publish(replica), trainer.candidates(), cases)
  const validation = offlineMetrics(split.validation, lists.slice(0, split.validation.length))['recall@50']
  if (validation <= best.validation) continue
  best = { epoch, validation }
  const heldOut = offlineMetrics(cases, lists)['recall@50']
  const { users: _, ...ofTest } = offlineMetrics(split.test, lists.slice(split.validation.length))
  result = { ...ofTest, 'held-out': heldOut, intraUserCosine, wins }
}
const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toFixed(4)) : value)
const seconds = Math.round((performance.now() - started) / 1000)
const asked = { data: flags.data, users: users.length, seed, set: flags.set.join(' ') }
process.stdout.write(
  `${JSON.stringify({ ...asked, ...best, ...result, seconds, backend: backend.backend }, rounded)}\n`
)
