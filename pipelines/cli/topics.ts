// `mtmi topics plan`, `apply` and `repartition`: the topics that we need on Kafka, how they differ from what is there, and
// another number of partitions.

import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { print } from '../../src/core/terminal.ts'
import { groupOffsets } from '../../src/log/kafka/kafkaOffsets.ts'
import { applyTopics, planTopics, type TopicPlan, wantedTopics } from '../../src/log/kafka/kafkaTopics.ts'
import type { StageIo } from '../../src/log/stageIo.ts'
import { repartition } from '../../src/sequence/repartition.ts'
import { openStageIo } from '../parts.ts'
import { runToChange } from '../runs.ts'

export async function planTopicsCommand(config: Config, options: { json?: boolean }): Promise<void> {
  show(await planTopics(checked(config).kafka, wantedTopics(config)), 'would be', options)
}

export async function applyTopicsCommand(config: Config, options: { json?: boolean }): Promise<void> {
  show(await applyTopics(checked(config).kafka, wantedTopics(config)), 'was', options)
}

/** The stages that read what is written again, and that have to have read all of it. */
const readers = [
  { stage: 'train', group: 'mtmi-train', topic: 'userSequences' },
  { stage: 'publish', group: 'mtmi-publish', topic: 'interactions' }
] as const

/** Creates topics with another number of partitions and moves histories and unread events into them. */
export async function repartitionCommand(
  config: Config,
  { partitions, skipUnread, json }: { partitions: number; skipUnread: boolean; json?: boolean }
): Promise<void> {
  const { topics, kafka } = checked(config)
  const name = (topic: string) => `${topic.replace(/\.p\d+$/, '')}.p${partitions}`
  const from = { interactions: topics.interactions, userSequences: topics.userSequences }
  const to = { interactions: name(from.interactions), userSequences: name(from.userSequences) }
  if (to.interactions === from.interactions) throw new ConfigError([`the topics have ${partitions} partitions already`])
  const run = runToChange(config)
  const lock = run.lockAlone('mtmi topics repartition')
  try {
    const io = await openStageIo(config, run)
    try {
      await checkUnread(config, io, run.name, skipUnread)
      const wanted = wantedTopics({ ...config, sources: [], topics: { ...topics, ...to, partitions } })
      await applyTopics(
        kafka,
        wanted.filter(({ topic }) => Object.values(to).some((one) => topic.startsWith(one)))
      )
      const report = await repartition(io, from, to)
      if (json === true) return print(`${JSON.stringify({ ...report, partitions, topics: to })}\n`)
      print(
        `${report.users} histories are written to ${to.userSequences}, ${report.merged} of them merged from two partitions; ` +
          `${report.events} events that no history has to ${to.interactions}\n` +
          `Set topics.interactions to ${to.interactions}, topics.userSequences to ${to.userSequences} and topics.partitions to ` +
          `${partitions}, and start sequence, train and publish once with --accept-new-topic\n`
      )
    } finally {
      await io.log.close()
    }
  } finally {
    lock.release()
  }
}

/** @throws ConfigError while stages run, or where one has not read what is not moved */
async function checkUnread(config: Config, { log }: StageIo, run: string, skipUnread: boolean): Promise<void> {
  const { topics, sources } = config
  const groups = sources.map(({ topic }) => ({ group: 'mtmi-ingest', topic }))
  for (const { group, topic } of [...groups, { group: 'mtmi-sequence', topic: topics.interactions }]) {
    const { groupId, members } = await groupOffsets(config.kafka, { group, run, topic })
    if (members > 0)
      throw new ConfigError([`group ${groupId} has ${members} active members: stop all stages, then try again`])
  }
  for (const { stage, group, topic } of readers) {
    const ends = await log.ends(topics[topic])
    const { partitions } = await groupOffsets(config.kafka, { group, run, topic: topics[topic] })
    const next = new Map(partitions.map((one) => [one.partition, one.next ?? 0n]))
    const unread = [...ends].reduce(
      (sum, [partition, end]) => sum + Math.max(0, Number(end - (next.get(partition) ?? 0n))),
      0
    )
    if (unread > 0 && !skipUnread)
      throw new ConfigError([
        `${stage} has ${unread} records of ${topics[topic]} to read: start \`mtmi ${stage} --once\` first, or give --skip-unread: histories keep their events, but ${stage} does not read them`
      ])
  }
}

function checked(config: Config): Config {
  if (config.log !== 'kafka')
    throw new ConfigError(['the embedded log creates its topics automatically: plans are for log: kafka'])
  return config
}

/** @param verb before what is done with a topic */
function show(plans: readonly TopicPlan[], verb: string, options: { json?: boolean }): void {
  if (options.json === true) {
    print(`${JSON.stringify({ topics: plans })}\n`)
    return
  }
  const done = { make: 'made', change: 'changed', keep: 'kept' } as const
  for (const { topic, partitions, settings, action, differences } of plans) {
    print(`${topic}: ${action === 'keep' ? 'as it is' : `${verb} ${done[action]}`}\n`)
    if (action === 'make') {
      print(`  partitions ${partitions}\n`)
      for (const [name, value] of Object.entries(settings)) print(`  ${name} ${value}\n`)
    }
    for (const { what, wanted, found, refused } of differences)
      print(
        `  ${what} ${found ?? '(unknown)'} → ${wanted}${refused === undefined ? '' : `: not changed. ${refused}`}\n`
      )
  }
}
