// `mtmi offsets show` and `reset`: how far each stage has read its topics on Kafka, and where it begins next.
//
// A reset sets the offsets of the stage's group, as Kafka's own tools do. The stage finds offsets that it did not commit
// itself, begins there, and carries its state over.

import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { print } from '../../src/core/terminal.ts'
import { groupOffsets, type ResetTarget, resetOffsets as resetGroup } from '../../src/log/kafka/kafkaOffsets.ts'
import { runToChange, runToRead } from '../runs.ts'

type Stage = 'ingest' | 'sequence' | 'train' | 'publish'

/** What a stage does with records that it reads again, and with those that it skips. */
const effects: Readonly<Record<Stage, string>> = {
  ingest:
    'Records that are read again are mapped again; their events are recognized by their ids within sequence.graceMs. Skipped records are in no history.',
  sequence:
    'Events that are read again and are in a history, or older than the grace, change nothing; others are added. Skipped events are in no history.',
  train:
    'Examples that are read again are trained on once more. Skipped examples are not trained on; histories have them.',
  publish:
    'Users that changed since then are published again. An offset beyond what is published changes nothing: the stage skips no user.'
}

function groupsOf({ sources, topics }: Config): { stage: Stage; group: string; topic: string }[] {
  const { interactions, userSequences, modelUpdates } = topics
  return [
    ...sources.map(({ topic }) => ({ stage: 'ingest' as const, group: 'mtmi-ingest', topic })),
    { stage: 'sequence', group: 'mtmi-sequence', topic: interactions },
    { stage: 'train', group: 'mtmi-train', topic: userSequences },
    ...[userSequences, modelUpdates, interactions].map((topic) => ({
      ...{ stage: 'publish' as const, group: 'mtmi-publish', topic }
    }))
  ]
}

export async function showOffsets(config: Config, { json }: { json?: boolean }): Promise<void> {
  const run = runToRead(checked(config)).name
  const stages = []
  for (const { stage, group, topic } of groupsOf(config))
    stages.push({ stage, topic, ...(await groupOffsets(config.kafka, { group, run, topic })) })
  if (json === true) {
    print(`${JSON.stringify({ stages }, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}\n`)
    return
  }
  for (const { stage, topic, groupId, members, partitions } of stages) {
    print(`${stage}: topic ${topic}, group ${groupId}, ${members} members\n`)
    if (partitions.length === 0) print('  there is no such topic: `mtmi topics apply` creates it\n')
    for (const { partition, start, next, end } of partitions)
      print(`  partition ${partition}: next ${next ?? '(none)'} of ${start} to ${end}, lag ${end - (next ?? start)}\n`)
  }
}

export async function resetOffsets(
  config: Config,
  { stage, topic, to, json }: { stage: Stage; topic?: string; to: string; json?: boolean }
): Promise<void> {
  const groups = groupsOf(checked(config)).filter((one) => one.stage === stage)
  const named = topic === undefined ? groups : groups.filter((one) => one.topic === topic)
  // Of the topics of `publish`, the first is the one that can be reset.
  const [chosen, ...others] = stage === 'publish' ? named.slice(0, 1) : named
  if (chosen === undefined || others.length > 0 || (stage === 'publish' && chosen !== groups[0]))
    throw new ConfigError([
      `--topic ${topic ?? '(none)'}: give one of ${groups.map((one) => one.topic).join(', ') || 'sources, which is empty'}${stage === 'publish' ? ', of which the first can be reset' : ''}`
    ])
  const target = targetOf(to)
  const run = runToChange(config)
  const holder = stage === 'ingest' ? undefined : run.holder(stage)
  if (holder !== undefined) throw new ConfigError([`${holder} is running: stop it, then reset again`])
  const positions = await resetGroup(config.kafka, { ...chosen, run: run.name }, target)
  const partitions = [...positions].map(([partition, next]) => ({ partition, next: String(next) }))
  if (json === true) return print(`${JSON.stringify({ stage, topic: chosen.topic, partitions })}\n`)
  for (const { partition, next } of partitions) print(`${chosen.topic}, partition ${partition}: next ${next}\n`)
  print(`${effects[stage]}\n`)
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
