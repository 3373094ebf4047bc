// The records of a topic that a mapping is tried with, or guessed from.

import type { LogRecord } from '../src/log/eventLog.ts'
import type { StageIo } from '../src/log/stageIo.ts'

/** The newest records of all partitions together, oldest first. */
export async function newestRecords({ log }: StageIo, topic: string, count: number): Promise<LogRecord[]> {
  const ends = await log.ends(topic)
  if ([...ends.values()].every((end) => end === 0n)) return []
  const { signal } = new AbortController()
  const resume = async (partition: number) => {
    const from = (ends.get(partition) ?? 0n) - BigInt(count)
    return from > 0n ? from : 0n
  }
  const records: LogRecord[] = []
  for await (const event of log.read(topic, { resume, signal, untilEnd: true }))
    if (event.kind === 'records') records.push(...event.records)
  records.sort((a, b) => a.timestampMs - b.timestampMs || a.partition - b.partition || (a.offset < b.offset ? -1 : 1))
  return records.slice(-count)
}
