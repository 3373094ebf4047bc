// `mtmi topics plan` and `apply`: the topics that we need on Kafka, and how they differ from what is there.

import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { print } from '../../src/core/terminal.ts'
import { applyTopics, planTopics, type TopicPlan, wantedTopics } from '../../src/log/kafka/kafkaTopics.ts'

export async function planTopicsCommand(config: Config, options: { json?: boolean }): Promise<void> {
  show(await planTopics(checked(config).kafka, wantedTopics(config)), 'would be', options)
}

export async function applyTopicsCommand(config: Config, options: { json?: boolean }): Promise<void> {
  show(await applyTopics(checked(config).kafka, wantedTopics(config)), 'was', options)
}

function checked(config: Config): Config {
  if (config.log !== 'kafka')
    throw new ConfigError(['the embedded log makes its topics by itself: topics are planned where log is kafka'])
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
