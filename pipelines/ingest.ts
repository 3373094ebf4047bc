// `mtmi ingest`: one process that reads every source of the configuration. On Kafka several share the partitions.

import { setInterval } from 'node:timers'
import type { Config } from '../src/base/config.ts'
import { ConfigError } from '../src/base/errors.ts'
import { untilInterrupted } from './interrupt.ts'
import { openJournal } from './journal.ts'
import { makeFolder, openWire, RunDirectory } from './parts.ts'
import { type IngestCounts, type IngestOffsets, IngestStage } from './stages/ingestStage.ts'
import { openSource } from './stages/sourceMapper.ts'

/** How often a process that follows says how far it is. */
const reportMs = 60_000

export async function ingest(config: Config, options: { once: boolean; json?: boolean }): Promise<void> {
  if (config.sources.length === 0)
    throw new ConfigError([
      'sources is empty: name at least one topic to read in the configuration (README: "From your Kafka topic to recommendations")'
    ])
  const run = RunDirectory.current(config.dataDir)
  // The local log has no groups: two processes would both read everything.
  const lock = run.lock('mtmi ingest', config.log === 'local' ? ['ingest'] : [])
  try {
    run.makeCurrent()
    const wire = await openWire(config, run)
    try {
      const { say, forStages } = openJournal(config, 'ingest', !options.once)
      const sources = config.sources.map((source) => openSource(source, wire))
      const stage = new IngestStage({ ...wire, ...forStages, sources, offsets: fileOffsets(run) })
      const stop = new AbortController()
      const running = stage.run(stop.signal, { untilEnd: options.once })
      say(`ingesting ${config.sources.map(({ topic }) => topic).join(', ')} into ${config.topics.interactions} in ${run.root}`)
      const reporting = setInterval(() => say(summary(stage.counts())), reportMs)
      try {
        await Promise.race([running, untilInterrupted()])
      } finally {
        clearInterval(reporting)
        stop.abort()
        wire.registry.close?.()
      }
      await running
      say(summary(stage.counts()))
      if (options.json === true) process.stdout.write(`${JSON.stringify({ sources: Object.fromEntries(stage.counts()) })}\n`)
    } finally {
      await wire.log.close()
    }
  } finally {
    lock.release()
  }
}

/** A file for each partition, so that processes which share a folder, and hand partitions on, do not overwrite each other's. */
export function fileOffsets(run: RunDirectory): IngestOffsets {
  const file = (topic: string, partition: number) => `ingest/${topic}/${partition}.json`
  return {
    load: (topic, partition) => {
      const saved = run.readJson<{ next: string }>(file(topic, partition))
      return saved === undefined ? undefined : BigInt(saved.next)
    },
    save: (topic, partition, next) => {
      makeFolder(run.path('ingest', topic))
      run.writeJson(file(topic, partition), { next: String(next) })
    }
  }
}

function summary(counts: ReadonlyMap<string, Readonly<IngestCounts>>): string {
  return [...counts]
    .map(
      ([topic, { read, mapped, filtered, refused }]) => `${topic}: ${read} read, ${mapped} mapped, ${filtered} filtered, ${refused} refused`
    )
    .join('\n')
}
