// `mtmi train` (user-sequences → model-updates and checkpoints) and `mtmi publish` (model-updates and user-sequences →
// the index). Each runs on the model thread of its process.

import { type AccountNumbers, accountText } from '../src/core/account.ts'
import { untilAborted } from '../src/core/backgroundTasks.ts'
import { offsetsFromJson } from '../src/core/offsets.ts'
import { startOpsServer } from './opsServer.ts'
import { progressiveMetrics } from './progressiveMetrics.ts'
import type { StageProgress } from './progressWatch.ts'
import { isPublished, isTrained, type StageContext, untilDone } from './stageProcess.ts'
import { startModelThread } from './thread/client.ts'
import type { PublishStatus, TrainStatus } from './thread/messages.ts'
import { heldDetail } from './versionsReport.ts'

export async function trainOrPublish(
  stage: 'train' | 'publish',
  { io, run, place, once, acceptNewTopic, logger, metrics, measure, tasks, opsPort, begun }: StageContext
): Promise<void> {
  const { config, log } = io
  const topic = config.topics.userSequences
  let train: TrainStatus | undefined
  let publish: PublishStatus | undefined
  const look = async (): Promise<StageProgress | undefined> => {
    const status = train ?? publish
    if (status === undefined) return undefined
    return { ...status, consumed: offsetsFromJson(status.consumed), ends: await log.ends(topic) }
  }
  const ready = () =>
    publish?.outage === undefined
      ? { ready: true, detail: `${stage} keeps up${heldDetail(publish)}` }
      : { ready: false, detail: publish.outage }
  const accounts = (): AccountNumbers[] => [
    ...(train === undefined ? [] : [train.account, train.catalogue]),
    ...(publish?.accounts ?? [])
  ]
  const ops = await startOpsServer({
    ...{ port: opsPort, io, metrics, tasks, ready, accounts, say: logger.info },
    watched: { stage, look }
  })
  const task = {
    ...{ config, dataDir: config.dataDir, run: run.name, place, acceptNewTopic },
    ...{ stages: [stage], logStyle: logger.style }
  }
  const thread = await startModelThread(task, (message) => {
    if (message.kind === 'train') {
      train = message.status
      measure(progressiveMetrics(train.progressive))
    } else if (message.kind === 'publish') publish = message.status
    else if (message.kind === 'metrics') measure(message.report)
    else if (message.kind === 'problem') logger.warn(message.message)
  })
  begun()
  ops.backend(thread.backend)
  for (const problem of thread.backend.problems) logger.warn(problem)
  const verb = stage === 'train' ? 'training on' : 'publishing from'
  logger.info(`${verb} ${topic} in ${run.root}; backend ${thread.backend.backend}`)
  if (once) thread.drain(true)
  const settled = () => (stage === 'train' ? isTrained(train, io) : isPublished(publish, io))
  tasks.keep('model', 'the model thread', { restarts: false, problem: () => thread.problem() }, async ({ signal }) => {
    await Promise.race([thread.ended, untilAborted(signal)])
    if (signal.aborted) await thread.stop()
  })
  try {
    await untilDone(tasks, once ? settled : undefined)
  } finally {
    await tasks.stop().finally(() => ops.close())
  }
  if (train !== undefined) {
    const loss = Number.isFinite(train.loss) ? `, loss ${train.loss.toFixed(3)}` : ''
    logger.info(`trained: ${train.batches} batches${loss}; ${accountText(train.account)}`)
  }
  if (publish !== undefined) {
    const { indexVersion, step, accounts } = publish
    logger.info(`published: index version ${indexVersion}, step ${step}; ${accountText(accounts[0])}`)
  }
}
