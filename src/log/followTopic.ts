// How a stage reads a topic: a record that it cannot use becomes a dead letter of the stage, is counted, and the stage
// continues.

import type { Config } from '../core/config/config.ts'
import type { MetricsEntry, MetricsReport } from '../monitor/metrics.ts'
import type { StageLogger } from '../monitor/stageLogger.ts'
import { loadSchemas } from '../records/registry/schemaRegistry.ts'
import { DeadLetters } from './deadLetters.ts'
import type { LogRecord, ReadOptions } from './eventLog.ts'
import type { StageIo } from './stageIo.ts'

type DeadLetterLabels = Extract<MetricsEntry, { metric: 'deadLetters' }>['labels']

export interface StageReader {
  readonly stage: DeadLetterLabels['stage']
  readonly topic: string
  /** As in `DeadLettersOptions`. */
  readonly resumes?: boolean
  readonly measure?: ((report: MetricsReport) => void) | undefined
  readonly logger?: StageLogger | undefined
}

/** Dead letters of a stage, measured and logged. */
export function stageDeadLetters({ log, config }: Pick<StageIo, 'log' | 'config'>, reader: StageReader): DeadLetters {
  const { stage, topic, resumes = false, measure, logger } = reader
  const labels = { stage, topic: topicLabel(config, topic) }
  return new DeadLetters({
    ...{ log, topic, stage, resumes },
    onWritten: (letters) => {
      measure?.([{ metric: 'deadLetters', labels, value: letters.length }])
      const [{ record, error }] = letters as [(typeof letters)[number]]
      const fields = {
        topic,
        partition: record.partition,
        from: record.offset,
        records: letters.length,
        reason: error.message
      }
      logger?.warn(fields, 'records that cannot be used became dead letters; `mtmi dlq ls` lists them')
    }
  })
}

export interface FollowOptions extends StageReader {
  /** Where to begin in a partition. Default: at its start. */
  readonly resume?: ReadOptions['resume']
  /** As in `ReadOptions`. */
  readonly name?: string
  readonly signal: AbortSignal
  readonly untilEnd?: boolean
  /** May add others to `letters`. @throws BadEventError if the record cannot be used; nothing has changed then */
  readonly use: (record: LogRecord, letters: DeadLetters) => void
  /** The record has become a dead letter, which is durable. */
  readonly skip?: (record: LogRecord) => void
  /** Awaited after each record, if it returns something. */
  readonly rest?: () => Promise<void> | undefined
  /** After the records that came together. */
  readonly onRead?: () => void
}

/** Reads all partitions, without a group, until abort or the end. */
export async function followTopic(io: StageIo, options: FollowOptions): Promise<void> {
  const { topic, signal, untilEnd = false, resume = async () => 0n, name, use, skip, rest, onRead } = options
  const letters = stageDeadLetters(io, options)
  for await (const event of io.log.read(topic, { resume, signal, untilEnd, ...(name === undefined ? {} : { name }) })) {
    if (event.kind !== 'records') continue
    await loadSchemas(io.registry, event.records)
    for (const record of event.records) {
      const isUsed = letters.attempt(record, (each) => use(each, letters))
      if (letters.waiting > 0) await letters.flush()
      if (!isUsed) skip?.(record)
      await rest?.()
    }
    onRead?.()
  }
}

function topicLabel({ topics }: Config, topic: string): DeadLetterLabels['topic'] {
  if (topic === topics.interactions) return 'interactions'
  if (topic === topics.items) return 'items'
  if (topic === topics.userSequences) return 'user-sequences'
  return topic === topics.modelUpdates ? 'model-updates' : 'source'
}
