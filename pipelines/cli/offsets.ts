// `mtmi offsets show` and `reset`: how far each stage has read its topics on Kafka, and where it begins next.

import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { print } from '../../src/core/terminal.ts'
import { KafkaOffsets, type ResetTarget } from '../../src/log/kafka/kafkaOffsets.ts'
import { fileOffsets } from '../ingestOffsets.ts'
import { runToChange, runToRead } from '../runs.ts'

/** Consumer groups of the run: the stages that share partitions. */
function groupsOf(config: Config): { stage: 'ingest' | 'sequence'; group: string; topic: string }[] {
  return [
    ...config.sources.map(({ topic }) => ({ stage: 'ingest' as const, group: 'mtmi-ingest', topic })),
    { stage: 'sequence', group: 'mtmi-sequence', topic: config.topics.interactions }
  ]
}

export async function showOffsets(config: Config, { json }: { json?: boolean }): Promise<void> {
  const run = runToRead(checked(config)).name
  const offsets = await KafkaOffsets.open(config.kafka, run)
  try {
    const stages = []
    for (const { stage, group, topic } of groupsOf(config))
      stages.push({ stage, topic, ...(await offsets.ofGroup(group, topic)) })
    if (json === true) {
      print(
        `${JSON.stringify({ stages }, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}\n`
      )
      return
    }
    for (const { stage, topic, groupId, members, partitions } of stages) {
      print(`${stage}: topic ${topic}, group ${groupId}, ${members} members\n`)
      for (const { partition, start, next, end } of partitions)
        print(
          `  partition ${partition}: next ${next ?? '(none)'} of ${start} to ${end}, lag ${end - (next ?? start)}\n`
        )
    }
  } finally {
    await offsets.close()
  }
}

export async function resetOffsets(
  config: Config,
  { topic, to, json }: { topic: string; to: string; json?: boolean }
): Promise<void> {
  const source = checked(config).sources.find((one) => one.topic === topic)
  if (source === undefined)
    throw new ConfigError([
      `${topic} is not a topic of \`sources\` (${config.sources.map((one) => one.topic).join(', ') || 'there are none'}). Other stages begin where their state ends: \`mtmi reset\` removes the state of a run`
    ])
  const target = targetOf(to)
  const run = runToChange(config)
  const offsets = await KafkaOffsets.open(config.kafka, run.name)
  try {
    const positions = await offsets.reset('mtmi-ingest', topic, target)
    // `ingest` begins at its file or the group's offset, whichever is further.
    for (const [partition, next] of positions) fileOffsets(run).save(topic, partition, next)
    const shown = [...positions].map(([partition, next]) => ({ partition, next: String(next) }))
    if (json === true) print(`${JSON.stringify({ topic, partitions: shown })}\n`)
    else for (const { partition, next } of shown) print(`${topic}, partition ${partition}: next ${next}\n`)
  } finally {
    await offsets.close()
  }
}

function targetOf(to: string): ResetTarget {
  if (to === 'earliest' || to === 'latest') return to
  const timeMs = Date.parse(to)
  if (Number.isNaN(timeMs))
    throw new ConfigError([`--to ${to}: expected earliest, latest, or a time such as 2026-05-01T12:00:00Z`])
  return { timeMs }
}

function checked(config: Config): Config {
  if (config.log !== 'kafka')
    throw new ConfigError(['the embedded log has no consumer groups: offsets are shown and reset where log is kafka'])
  return config
}
