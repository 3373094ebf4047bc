// The commands of what is on Kafka: `mtmi topics`.

import { type Command, Option } from 'commander'
import type { Config } from '../../src/core/config/config.ts'
import { addCommand, json, wholeNumber, withOptions } from './commandOptions.ts'

export function addKafkaCommands(program: Command, configured: () => Config): void {
  const topics = addCommand(program, 'topics', 'The topics on Kafka: plan, apply, repartition', [
    ['mtmi topics plan', 'what is missing or different; changes nothing']
  ])
  withOptions(
    addCommand(topics, 'plan', 'Missing topics, and settings that differ', [
      ['mtmi topics plan --json', 'for a script']
    ]),
    [json()]
  ).action(async (options) => (await import('./topics.ts')).planTopicsCommand(configured(), options))
  withOptions(
    addCommand(topics, 'apply', 'Creation of missing topics, and change of settings', [
      ['mtmi topics apply', 'see `mtmi topics plan` first']
    ]),
    [json()]
  ).action(async (options) => (await import('./topics.ts')).applyTopicsCommand(configured(), options))
  withOptions(
    addCommand(
      topics,
      'repartition',
      'Another number of partitions. Histories and unread events go to new topics; stop all stages before',
      [['mtmi topics repartition --partitions 12', 'prints the settings to change']]
    ),
    [
      new Option('--partitions <number>', 'Partitions of the new topics').argParser(wholeNumber).makeOptionMandatory(),
      new Option('--skip-unread', 'Also where train or publish have not read everything').default(false, 'no'),
      json()
    ]
  ).action(async (options) => (await import('./topics.ts')).repartitionCommand(configured(), options))
}
