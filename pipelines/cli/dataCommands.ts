// The commands about records: made up, produced, mapped, dead-lettered.

import { type Command, Option } from 'commander'
import type { Config } from '../../src/core/config/config.ts'
import { addCommand, json, limit, nonEmpty, samples, topic, wholeNumber, withOptions, yes } from './commandOptions.ts'

/** @param configured gives the configuration in force @param configFile absolute path of its file; null: there is none */
export function addDataCommands(program: Command, configured: () => Config, configFile: () => string | null): void {
  withOptions(
    addCommand(program, 'simulate', 'A simulated clickstream, into a file or the log', [
      ['mtmi simulate --events 1000 --out clicks.jsonl', 'as JSON lines']
    ]),
    [
      new Option('--events <number>', 'Genuine events (default: 60,000)').argParser(wholeNumber),
      new Option('--users <number>', 'Users (default: by the events)').argParser(wholeNumber),
      new Option('--items <number>', 'Items (default: 2,000)').argParser(wholeNumber),
      new Option('--out <file>', 'File of JSON lines; - for standard output (default: the log)'),
      new Option(
        '--shop',
        "Records of an imaginary shop's topic instead of interactions, and its catalogue beside them as NAME.items.jsonl"
      ),
      json()
    ]
  ).action(async (options) =>
    (await import('./simulate.ts')).simulateEvents(configured(), { ...options, configFile: configFile() })
  )
  withOptions(
    addCommand(program, 'produce', 'Lines of a file as records of a topic', [
      ['mtmi produce --topic shop.clicks --data clicks.jsonl', 'a line is the value of a record']
    ]),
    [
      topic('Topic of a source').makeOptionMandatory(),
      new Option('--data <file>', 'File of values, a line each').argParser(nonEmpty('a file')).makeOptionMandatory(),
      new Option('--key <path>', 'Path of the key in a line, which is then JSON (default: no key)'),
      new Option(
        '--raw',
        'Lines are whole records: {"key": …, "value": …, "headers": {}}; a string is text, {"hex": "00ff"} bytes, null nothing'
      ),
      json()
    ]
  ).action(async (options) =>
    (await import('./produce.ts')).produce(configured(), { ...options, configFile: configFile() })
  )
  const mapping = addCommand(program, 'mapping', 'Records of foreign topics → interactions: try', [
    ['mtmi mapping try --topic shop.clicks', 'changes nothing']
  ])
  withOptions(
    addCommand(mapping, 'try', 'Newest records of a source, and what each is mapped to', [
      ['mtmi mapping try --topic shop.clicks --samples 3', 'changes nothing']
    ]),
    [topic('Topic of a source').makeOptionMandatory(), samples(10), json()]
  ).action(async (options) => (await import('./mapping.ts')).tryMapping(configured(), options))
  const dlq = addCommand(program, 'dlq', 'Dead-letter records: list, show, replay', [
    ['mtmi dlq ls', 'topics and reasons, with counts']
  ])
  withOptions(
    addCommand(dlq, 'ls', 'Dead-letter topics, with counts and reasons', [
      ['mtmi dlq ls --topic shop.clicks', 'of one topic']
    ]),
    [topic('Only of this topic'), json()]
  ).action(async (options) => (await import('./dlq.ts')).list(configured(), options))
  const letterTopic = () => topic('The topic that was read, or its dead-letter topic').makeOptionMandatory()
  withOptions(
    addCommand(dlq, 'show', 'Dead-letter records: origin, reason and bytes', [
      ['mtmi dlq show --topic shop.clicks --limit 1', 'the first one']
    ]),
    [
      letterTopic(),
      new Option('--partition <number>', 'Only of this partition').argParser(wholeNumber),
      new Option('--offset <number>', 'From this offset on').argParser(wholeNumber),
      ...[limit('Number of records', 5), json()]
    ]
  ).action(async (options) => (await import('./dlq.ts')).show(configured(), options))
  withOptions(
    addCommand(dlq, 'replay', 'The original records, appended to their topic again. Each is replayed once', [
      ['mtmi dlq replay --topic shop.clicks --reason "time is missing"', 'after a fix of the mapping']
    ]),
    [
      letterTopic(),
      new Option('--reason <text>', 'Only records whose reason contains this'),
      new Option('--dry-run', 'Report the number, change nothing').default(false, 'no'),
      ...[yes('Do not ask'), json()]
    ]
  ).action(async (options) => (await import('./dlq.ts')).replay(configured(), options))
}
