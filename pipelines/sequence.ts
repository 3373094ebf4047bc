// `mtmi sequence`: interactions → user-sequences.

import { accountText } from '../src/core/account.ts'
import { recordsBehind } from '../src/core/offsets.ts'
import { handledLater } from '../src/core/promises.ts'
import { ignoredLines } from '../src/lab/evaluation/accountReport.ts'
import { CatalogueReader } from '../src/log/catalogueReader.ts'
import { AccountMeter } from '../src/monitor/accountMetrics.ts'
import { DriftWatch, driftStore } from '../src/monitor/driftWatch.ts'
import type { MetricsReport } from '../src/monitor/metrics.ts'
import { openOwnedSequences, ownedDisk } from '../src/sequence/ownedSequences.ts'
import { SequenceStage } from '../src/sequence/sequenceStage.ts'
import { type StageProgress, startOpsServer } from './opsServer.ts'
import { openSequenceStore } from './parts.ts'
import { type StageContext, untilDone } from './stageProcess.ts'

export async function sequence({ io, run, place, once, logger, opsPort, begun }: StageContext): Promise<void> {
  const { config, clock, log } = io
  const topic = config.topics.interactions
  const look = async (): Promise<StageProgress> => {
    ops.metrics.users.set(stage.status().users)
    measure(catalogueMeter.entries(catalogue.account()))
    const consumed = stage.consumed()
    // Other members of the group read the other partitions.
    const ends = [...(await log.ends(topic))].filter(([partition]) => consumed.has(partition))
    return { consumed, ends: new Map(ends), takenAtMs: stage.takenAtMs }
  }
  const accounts = () => [stage.status().account, catalogue.account()]
  const watched = { stage: 'sequence', look } as const
  const ops = await startOpsServer({ port: opsPort, io, watched, accounts, say: logger.info })
  const measure = (report: MetricsReport) => ops.metrics.apply(report)
  const catalogue = new CatalogueReader(io, { stage: 'sequence', measure })
  const catalogueMeter = new AccountMeter(catalogue.account())
  const onRestored = ({ partition, changes, users, durationMs }: Restored) =>
    logger.logger.info(
      { partition, changes, users, durationMs },
      `partition ${partition}: ${changes} histories read from the log in ${durationMs} ms, ${users} users`
    )
  const stage = new SequenceStage({
    ...io,
    ...{ measure, catalogue },
    ...logger.forStages,
    openStore: (partition) =>
      config.log === 'kafka'
        ? openOwnedSequences({ io, disk: ownedDisk(run.path(place)), onRestored }, partition)
        : openSequenceStore(run, partition),
    drift: new DriftWatch({
      ...{ clock, measure, store: driftStore(run), options: config.drift },
      catalogue: catalogue.catalogue
    })
  })
  begun()
  const stop = new AbortController()
  const running = handledLater(stage.run(stop.signal))
  logger.info(`sequencing ${topic} in ${run.root}`)
  const settled = async () => {
    const { consumed, ends } = await look()
    return consumed.size > 0 && recordsBehind(consumed, ends) === 0 && stage.committed
  }
  // What is counted at the end is what is committed.
  if (once) stage.drain(true)
  await untilDone(running, once ? settled : undefined)
  const { account, ignoredTypes, users } = stage.status()
  stop.abort()
  await running.finally(() => ops.close())
  logger.info(`sequenced: ${accountText(account)}; ${users} users have a history`)
  for (const line of ignoredLines({ ignoredTypes, typeWeights: config.events.types, run: run.name })) logger.info(line)
}

interface Restored {
  readonly partition: number
  readonly changes: number
  readonly users: number
  readonly durationMs: number
}
