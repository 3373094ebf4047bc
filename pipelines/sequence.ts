// `mtmi sequence`: interactions → user-sequences.

import { accountText } from '../src/core/account.ts'
import { recordsBehind } from '../src/core/offsets.ts'
import { ignoredLines } from '../src/lab/evaluation/accountReport.ts'
import { CatalogueReader } from '../src/log/catalogueReader.ts'
import { AccountMeter } from '../src/monitor/accountMetrics.ts'
import { DriftWatch, driftStore } from '../src/monitor/driftWatch.ts'
import { openOwnedSequences } from '../src/sequence/ownedSequences.ts'
import { SequenceStage } from '../src/sequence/sequenceStage.ts'
import { startOpsServer } from './opsServer.ts'
import { sequenceDisk } from './parts.ts'
import type { StageProgress } from './progressWatch.ts'
import { type StageContext, untilDone } from './stageProcess.ts'

export async function sequence(context: StageContext): Promise<void> {
  const { io, run, place, once, acceptNewTopic, logger, metrics, measure, tasks, opsPort, begun } = context
  const { config, clock, log } = io
  const topic = config.topics.interactions
  const look = async (): Promise<StageProgress> => {
    metrics.users.set(stage.status().users)
    measure(catalogueMeter.entries(catalogue.account()))
    const consumed = stage.consumed()
    // Other members of the group read the other partitions.
    const ends = [...(await log.ends(topic))].filter(([partition]) => consumed.has(partition))
    return { consumed, ends: new Map(ends), takenAtMs: stage.takenAtMs }
  }
  const accounts = () => [stage.status().account, catalogue.account()]
  const watched = { stage: 'sequence', look } as const
  const catalogue = new CatalogueReader(io, { stage: 'sequence', measure })
  const catalogueMeter = new AccountMeter(catalogue.account())
  const disk = sequenceDisk(run, config, place)
  const isAlone = config.log === 'local'
  const onRestored = ({ partition, changes, users, durationMs }: Restored) =>
    logger.logger.info(
      { partition, changes, users, durationMs },
      `partition ${partition}: ${changes} histories read from the log in ${durationMs} ms, ${users} users`
    )
  const stage = new SequenceStage({
    ...io,
    ...{ measure, catalogue },
    ...logger.forStages,
    openStore: (partition, reset) =>
      openOwnedSequences({ io, disk, isAlone, acceptNewTopic, onRestored }, partition, reset),
    drift: new DriftWatch({
      ...{ clock, measure, store: driftStore(run), options: config.drift },
      catalogue: catalogue.catalogue
    })
  })
  const ops = await startOpsServer({ port: opsPort, io, metrics, tasks, watched, accounts, say: logger.info })
  begun()
  tasks.keep('sequence', 'sequencing', { restarts: false }, ({ signal }) => stage.run(signal))
  logger.info(`sequencing ${topic} in ${run.root}`)
  const settled = async () => {
    const { consumed, ends } = await look()
    return consumed.size > 0 && recordsBehind(consumed, ends) === 0 && stage.committed
  }
  // What is counted at the end is what is committed.
  if (once) stage.drain(true)
  let status = stage.status()
  try {
    await untilDone(tasks, once ? settled : undefined)
    status = stage.status()
  } finally {
    await tasks.stop().finally(() => ops.close())
  }
  const { account, ignoredTypes, users } = status
  logger.info(`sequenced: ${accountText(account)}; ${users} users have a history`)
  for (const line of ignoredLines({ ignoredTypes, typeWeights: config.events.types, run: run.name })) logger.info(line)
}

interface Restored {
  readonly partition: number
  readonly changes: number
  readonly users: number
  readonly durationMs: number
}
