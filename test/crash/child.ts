// The whole pipeline on one thread, on the real parts, with a killer around each of them. A composition root for tests
// only.
//
//   node --import tsx child.ts '<ChildTask as JSON>'        prints one JSON object, if it lives so long

import { setTimeout as pause } from 'node:timers/promises'
import { openIndex, openStageIo, sequenceDisk } from '../../pipelines/parts.ts'
import type { AccountNumbers } from '../../src/core/account.ts'
import type { Offsets } from '../../src/core/offsets.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { loadInteractions, loadItems } from '../../src/ingest/load.ts'
import type { EventLog } from '../../src/log/eventLog.ts'
import { loadBackend } from '../../src/model/backend.ts'
import type { CheckpointPart, SaveOptions } from '../../src/model/replica/checkpoint.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { gateHistory } from '../../src/publish/modelGate.ts'
import { type UserDisk, userDisk, usersFolder } from '../../src/publish/publishedUsers.ts'
import { PublishStage } from '../../src/publish/publishStage.ts'
import { openOwnedSequences } from '../../src/sequence/ownedSequences.ts'
import { lateTopic, SequenceStage } from '../../src/sequence/sequenceStage.ts'
import { BatchLedgerFile } from '../../src/train/checkpoint/batchLedger.ts'
import { CheckpointFiles } from '../../src/train/checkpoint/checkpointFiles.ts'
import { TrainedAudit } from '../../src/train/checkpoint/trainedAudit.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import { TrainStage } from '../../src/train/trainStage.ts'
import { resolveWithLimits } from '../support/limits.ts'
import { KeptLedger } from './keptLedger.ts'
import { Killer, type KillPoint, type Place } from './killPoint.ts'
import { type Scenario, streamOf } from './scenario.ts'

export interface ChildTask {
  readonly directory: string
  readonly scenario: Scenario
  readonly kill?: KillPoint
  /** Of the stream's interactions, this many in all: so that later lives have something to do. Default: all. */
  readonly feedTo?: number
  /**
   * Nothing but learning, all of it, from the first batch on, by the boundaries that an earlier run has written down.
   */
  readonly relearn?: boolean
}

/** What a run that came to its end says of itself. */
export interface ChildReport {
  readonly accounts: readonly AccountNumbers[]
  readonly users: number
  readonly examplesTrained: number
  readonly batches: number
  readonly indexed: { readonly items: number; readonly users: number }
}

/** Few may wait, so that a stream is not fed long before it is learned. */
const interactionsAheadMax = 300

const task = JSON.parse(process.argv[2] ?? '') as ChildTask
const config = resolveWithLimits({
  ...task.scenario.settings,
  train: { ...(task.scenario.settings.train as object), updateIntervalMs: 20 }
})
const run = new RunDirectory(task.directory, 'run').make({ configFile: null })
const killer = new Killer(task.kill)
await loadBackend()
const io = await openStageIo(config, run)
const { topics } = config
const log: EventLog = killer.around(io.log, (method, [topic]) =>
  method === 'append' ? placeOfTopic(topic as string) : undefined
)
const stop = new AbortController()

process.stdout.write(`${JSON.stringify(task.relearn === true ? await relearn() : await wholeRun())}\n`)

// ---------------------------------------------------------------------------------------------------------------------

async function wholeRun(): Promise<ChildReport> {
  const index = killer.around(await openIndex(config, run, { searchThread: false }), (method) =>
    method === 'upsert' || method === 'promote' || method === 'remove'
      ? method
      : method === 'createVersion'
        ? 'modelVersion'
        : undefined
  )
  const disk = sequenceDisk(run, config, 'sequence-0')
  const sequence = new SequenceStage({
    ...io,
    log,
    openStore: async (partition) =>
      killer.around(
        await killer.at('open', () => openOwnedSequences({ io: { ...io, log }, disk, isAlone: true }, partition)),
        (method) => (method === 'commit' ? 'commit' : undefined)
      )
  })
  const audit = new TrainedAudit(run.path('trained.tsv'))
  const known = ledgerOf()
  const again = known.after(0).at(-1)?.step ?? 0
  const { train, ledger } = trainStage('checkpoints', known, (batch, sources) =>
    killer.at(batch <= again ? 'trained-again' : 'trained', () => audit.append(batch, sources))
  )
  const publish = new PublishStage({
    ...io,
    log,
    replica: new ModelReplica({ gated: true }),
    index,
    liveModel: killer.around(new CheckpointFiles({ directory: run.path('published-model'), keep: 1 }), (method) =>
      method === 'save' ? 'live-kept' : method === 'latest' ? 'live-read' : undefined
    ),
    gates: {
      load: () => run.state(gateHistory).load(),
      save: (history) => killer.at('gates', () => run.state(gateHistory).save(history))
    },
    users: killedUsers(userDisk(run.path(usersFolder)))
  })
  const stages = [sequence.run(stop.signal), train.run(stop.signal), publish.run(stop.signal)]
  let failure: unknown
  for (const stage of stages)
    stage.catch((error: unknown) => {
      failure ??= error
      stop.abort()
    })

  const simulation = streamOf(task.scenario)
  const feed = { log, codecs: io.codecs, signal: stop.signal }
  await loadItems(simulation.items(), { ...feed, topic: topics.items })
  const ahead = async () => behind(sequence.consumed(), await log.ends(topics.interactions))
  await loadInteractions(first(simulation.interactions(), task.feedTo ?? Number.POSITIVE_INFINITY), {
    ...feed,
    topic: topics.interactions,
    name: 'stream',
    hasRoom: async () =>
      (await ahead()) < interactionsAheadMax &&
      behind(train.consumed(), await log.ends(topics.userSequences)) < interactionsAheadMax
  })
  for (const stage of [sequence, train, publish]) stage.drain(true)
  const settled = async () => {
    if ((await ahead()) > 0 || !sequence.committed) return false
    const sequences = await log.ends(topics.userSequences)
    if (behind(train.consumed(), sequences) > 0 || !train.updatesSent) return false
    const { items, users } = publish.waiting()
    const consumed = publish.consumed()
    const updates = await log.ends(topics.modelUpdates)
    return (
      items + users === 0 &&
      behind(consumed.sequences, sequences) === 0 &&
      behind(new Map([[0, consumed.model]]), updates) === 0
    )
  }
  while (!stop.signal.aborted && !(await settled())) await pause(5)
  const { account, users } = sequence.status()
  const live = await index.live()
  stop.abort()
  await Promise.allSettled(stages)
  if (failure !== undefined) throw failure
  ledger.close()
  audit.close()
  await index.close()
  await io.log.close()
  return {
    accounts: [account, train.account(), ...publish.accounts()],
    users,
    examplesTrained: train.examplesTrained,
    batches: train.batch,
    indexed: { items: live?.items ?? 0, users: live?.users ?? 0 }
  }
}

function killedUsers(disk: UserDisk): UserDisk {
  const place = (method: string) => (method === 'save' ? 'published' : undefined)
  return { ...disk, open: async (partition) => killer.around(await disk.open(partition), place) }
}

/** What the weights would be had nobody been killed, given the same boundaries of batches. */
async function relearn(): Promise<{ batches: number }> {
  const { train, ledger } = trainStage(
    'relearned',
    new BatchLedgerFile({ file: run.path('relearned', 'batches.ledger') }),
    () => {}
  )
  const learning = train.run(stop.signal)
  let failure: unknown
  learning.catch((error: unknown) => {
    failure ??= error
  })
  while (failure === undefined && behind(train.consumed(), await io.log.ends(topics.userSequences)) > 0) await pause(5)
  stop.abort()
  await learning
  ledger.close()
  await io.log.close()
  return { batches: train.batch }
}

function ledgerOf(): KeptLedger {
  const open = (file: string) => new BatchLedgerFile({ file: run.path('checkpoints', file) })
  return new KeptLedger(open('batches.ledger'), open('all-batches.ledger'))
}

function trainStage(folder: string, ledger: KeptLedger | BatchLedgerFile, onTrained: TrainedAudit['append']) {
  const checkpoints = new CheckpointFiles({ directory: run.path(folder), keep: config.train.checkpointKeep })
  const trainer = new IncrementalTrainer({
    model: config.model,
    train: config.train,
    historyMax: config.sequence.historyMax,
    seed: config.seed,
    rankedShare: config.progressive.share
  })
  const train = new TrainStage({
    ...io,
    log: task.relearn === true ? silent(log) : log,
    trainer,
    checkpoints: killer.around(slicedCheckpoints(checkpoints), (method, [, , options]) => {
      if (method === 'save') return (options as SaveOptions).since === undefined ? 'checkpoint' : 'changes'
      return method === 'latest' ? 'restore' : undefined
    }),
    ledger: killer.around(ledger as KeptLedger, (method) =>
      method === 'append' ? 'ledger' : method === 'truncateBefore' ? 'forget' : undefined
    ),
    onTrained
  })
  return { train, ledger }
}

/** The same, with a place before each part of what is saved. */
function slicedCheckpoints(checkpoints: CheckpointFiles): CheckpointFiles {
  const save = checkpoints.save.bind(checkpoints)
  checkpoints.save = (step, { header, parts }, options) => {
    const sliced = function* (): Iterable<CheckpointPart> {
      for (const part of parts) yield killer.at('part', () => part)
    }
    return save(step, { header, parts: sliced() }, options)
  }
  return checkpoints
}

/** Reads as the log does; what is appended goes nowhere. */
function silent(log: EventLog): EventLog {
  return {
    read: (...args) => log.read(...args),
    append: async () => {},
    ends: (topic) => log.ends(topic),
    describe: (topic) => log.describe(topic),
    close: () => log.close()
  }
}

function placeOfTopic(topic: string): Place {
  if (topic === topics.items) return 'items'
  if (topic === topics.interactions) return 'feed'
  if (topic === topics.userSequences) return 'sequences'
  if (topic === topics.modelUpdates) return 'updates'
  return topic === lateTopic(topics.interactions) ? 'late' : 'dead-letters'
}

function* first<T>(values: Iterable<T>, count: number): Generator<T> {
  let taken = 0
  for (const value of values) {
    if (taken++ >= count) return
    yield value
  }
}

function behind(consumed: Offsets, ends: Offsets): number {
  let sum = 0
  for (const [partition, end] of ends) sum += Number(end - (consumed.get(partition) ?? 0n))
  return sum
}
