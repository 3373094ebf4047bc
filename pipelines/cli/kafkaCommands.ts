// The commands of what is on Kafka: `mtmi topics` and `mtmi offsets`.

import { type Command, Option } from 'commander'
import type { Config } from '../../src/core/config/config.ts'
import { addCommand, json, topic, wholeNumber, withOptions } from './commandOptions.ts'

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
  const offsets = addCommand(program, 'offsets', 'Positions of stages in topics on Kafka: show, reset', [
    ['mtmi offsets show', 'position and lag by partition']
  ])
  withOptions(
    addCommand(offsets, 'show', 'Position and lag of every stage, by partition', [
      ['mtmi offsets show --json', 'for a script']
    ]),
    [json()]
  ).action(async (options) => (await import('./offsets.ts')).showOffsets(configured(), options))
  withOptions(
    addCommand(offsets, 'reset', 'Where a stage begins in its topic, next time it is started', [
      ['mtmi offsets reset --stage ingest --to earliest', 'reads the source again; event ids recognize what is known'],
      ['mtmi offsets reset --stage train --to 2026-05-01T12:00:00Z', 'trains on the examples since then once more']
    ]),
    [
      new Option('--stage <stage>', 'The stage')
        .choices(['ingest', 'sequence', 'train', 'publish'])
        .makeOptionMandatory(),
      topic('A topic of `sources`, where there are several (ingest)'),
      new Option('--to <where>', 'earliest, latest, or a time such as 2026-05-01T12:00:00Z').makeOptionMandatory(),
      json()
    ]
  ).action(async (options) => (await import('./offsets.ts')).resetOffsets(configured(), options))
}
