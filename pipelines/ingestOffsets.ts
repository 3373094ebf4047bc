// Where `mtmi ingest` and `mtmi up` continue in the partitions of a source.

import type { RunDirectory } from '../src/core/runDirectory.ts'
import { type StateKind, z } from '../src/core/stateFile.ts'
import type { IngestOffsets } from '../src/ingest/ingestStage.ts'

const ingestOffset: StateKind<{ readonly next: string; readonly topicId: string }> = {
  file: 'ingest.json',
  version: 1,
  schema: z.strictObject({ next: z.string().regex(/^\d+$/), topicId: z.string() }),
  removed: 'the partition is read again from the offset that the consumer group committed, or from its beginning'
}

/** One file a partition: processes that share a folder and rebalance partitions do not overwrite each other's. */
export function fileOffsets(run: RunDirectory): IngestOffsets {
  const file = (topic: string, partition: number) => run.state(ingestOffset, `ingest/${topic}/${partition}.json`)
  return {
    load: (topic, partition) => {
      const saved = file(topic, partition).load()
      return saved === undefined ? undefined : { ...saved, next: BigInt(saved.next) }
    },
    save: (topic, partition, offset) => file(topic, partition).save({ ...offset, next: String(offset.next) })
  }
}
