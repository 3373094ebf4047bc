// `mtmi init`: proposes a configuration for a file or a topic, shows what comes of its first events, and writes it with
// comments, for a person to check.

import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { type Document, isMap, parse, parseDocument, stringify } from 'yaml'
import { type Config, resolveConfig } from '../../src/core/config/config.ts'
import { defaultConfigFile } from '../../src/core/config/configFile.ts'
import { BadEventError, ConfigError } from '../../src/core/errors.ts'
import { writeFileAtomically } from '../../src/core/files.ts'
import { note, print } from '../../src/core/terminal.ts'
import { openSource } from '../../src/ingest/sourceMapper.ts'
import type { DatasetReading } from '../../src/lab/dataset/dataset.ts'
import type { LogRecord } from '../../src/log/eventLog.ts'
import type { StageIo } from '../../src/log/stageIo.ts'
import { valueRules } from '../../src/records/value/valueRules.ts'
import { newestRecords } from '../newestRecords.ts'
import { openStageIo } from '../parts.ts'
import { runToRead } from '../runs.ts'
import { eventTable, ShownEvents, type TableRow } from './eventTable.ts'
import { guessedSource, guessFormat, nearestFix } from './guessMapping.ts'
import { proposeFile, proposeItems } from './proposeFile.ts'
import { proposeWeights, type SeenType, shownTypes, typesYaml } from './typeWeights.ts'

interface InitOptions extends DatasetReading {
  readonly file?: string
  readonly topic?: string
  readonly samples: number
  /** Replace `files`, `sources` and `events.types` of a configuration that exists. */
  readonly force: boolean
  /** Absolute; null: there is none, and mtmi.yaml is written. */
  readonly configFile: string | null
  /** Settings of the command line: they are written, too. */
  readonly given: Readonly<Record<string, unknown>>
}

/** What is written, and what a person sees before. */
interface Proposal {
  readonly yaml: string
  readonly title: string
  readonly rows: readonly TableRow[]
  readonly types: readonly SeenType[]
  readonly notes: readonly string[]
  /** Why it cannot be used as it is. */
  readonly incomplete?: string
}

const shownEvents = 10
const shownRefused = 5

/** @throws ConfigError if nothing can be proposed, or a configuration exists and would be overwritten */
export async function init(config: Config, options: InitOptions): Promise<void> {
  const { file, topic } = options
  if ((file === undefined) === (topic === undefined))
    throw new ConfigError([
      'give a file or a folder (`mtmi init clicks.csv`), or a topic (`mtmi init --topic shop.clicks`)'
    ])
  const { yaml, title, rows, types, notes, incomplete } =
    file === undefined ? await fromTopic(config, topic!, options) : await fromFile(config, file, options)
  const weights = Object.fromEntries(
    types.flatMap(({ type, weight }) => (weight === undefined ? [] : [[type, weight]]))
  )
  print(`${title}\n\nAs it is understood:\n${eventTable(rows, weights)}\n`)
  if (types.length > 0) print(`\nEvent types:\n${shownTypes(types)}\n`)
  for (const text of notes) print(`\nNote: ${text}\n`)
  print('\n')
  write(yaml, incomplete, options, `http://${config.serve.host}:${config.serve.port}/`)
}

function write(
  yaml: string,
  incomplete: string | undefined,
  { configFile, force, file, topic, given }: InitOptions,
  url: string
): void {
  const target = configFile ?? path.resolve(defaultConfigFile)
  const name = path.relative('.', target) || target
  const about = `# Written by \`mtmi init ${file ?? `--topic ${topic}`}\`. Check it; \`mtmi config --explain\` has every setting.\n`
  const ours = `${about}${Object.keys(given).length > 0 ? `\n${stringify(given)}` : ''}\n${yaml}\n`
  if (incomplete !== undefined) {
    print(`${ours}\n`)
    throw new ConfigError([`nothing was written: ${incomplete}`])
  }
  if (!existsSync(target)) writeFileAtomically(target, ours)
  else if (force || !hasData(target)) writeFileAtomically(target, replaced(target, yaml))
  else {
    print(`${ours}\n`)
    throw new ConfigError([
      `${name} exists and was left as it is. Add the lines above to it, or let --force replace its files, sources and events.types`
    ])
  }
  const flag = configFile === null || name === defaultConfigFile ? '' : ` --config ${name}`
  note(
    `${name} is written. Next:\n  mtmi up${flag}          # trains on it, reports, and serves it at ${url} until Ctrl-C\n  mtmi up${flag} --once   # the report alone`
  )
}

/** Whether a configuration names data or event types already: of the connection alone nothing is replaced. */
function hasData(target: string): boolean {
  const document = parseDocument(readFileSync(target, 'utf8'))
  return document.has('files') || document.has('sources') || document.hasIn(['events', 'types'])
}

/** The existing file with our files, sources and event types; its other settings and comments stay. */
function replaced(target: string, yaml: string): string {
  const document: Document = parseDocument(readFileSync(target, 'utf8'))
  const ours = parseDocument(yaml)
  for (const name of ['files', 'sources'])
    if (ours.has(name)) document.set(name, ours.get(name, true))
    else document.delete(name)
  const types = ours.getIn(['events', 'types'], true)
  if (document.has('events') && isMap(document.get('events')) && types !== undefined)
    document.setIn(['events', 'types'], types)
  else if (types !== undefined) document.set('events', ours.get('events', true))
  return document.toString({ lineWidth: 0 })
}

async function fromFile(config: Config, file: string, options: InitOptions): Promise<Proposal> {
  const rules = valueRules(config.events)
  const { items, itemColumns } = options
  const found = await proposeFile(file, options, rules, textOf)
  const catalogue =
    items === undefined ? undefined : await proposeItems(items, itemColumns ?? {}, found.itemIds, rules, textOf)
  const types = proposeWeights(found.types, config.events.types)
  const counted = `${found.counted.toLocaleString('en')} ${found.counted === 1 ? 'event' : 'events'}${found.isPart ? ' at its beginning' : ''}, ${found.refused.toLocaleString('en')} rows refused`
  return {
    types,
    title: `${found.because}: ${counted}`,
    rows: found.rows,
    yaml: [
      `files:`,
      found.yaml,
      ...(catalogue === undefined ? [] : [catalogue.yaml]),
      '',
      typesYaml(types, textOf)
    ].join('\n'),
    notes: [
      ...found.notes,
      ...(catalogue === undefined
        ? []
        : [
            `items: ${catalogue.shown}; the first: ${catalogue.items.map(({ itemId, title, features }) => `${itemId} ${title ?? '(no title)'} (${Object.values(features).flat().join(', ')})`).join(', ')}`
          ])
    ]
  }
}

async function fromTopic(config: Config, topic: string, { samples }: InitOptions): Promise<Proposal> {
  const io = await openStageIo(config, runToRead(config))
  try {
    const records = await newestRecords(io, topic, samples)
    if (records.length === 0)
      throw new ConfigError([`topic ${topic} is empty, or does not exist: nothing to guess from`])
    const format = guessFormat(records)
    if (format === undefined) {
      throw new ConfigError([
        `the newest ${records.length} records of ${topic} are neither JSON, CloudEvents, delimited text nor framed by a schema registry: ` +
          'if they are Avro, write a source of format avro with their schema (docs/mapping.md)'
      ])
    }
    const anywhere = { topic, format, user: 'log:source', item: 'log:source', type: '=view', time: 'log:time' }
    const values = await decoded(io, anywhere, records)
    const rules = valueRules(config.events)
    const yaml = guessedSource(topic, format, values, rules)
    const { sources } = parse(yaml) as { sources: { user?: string; item?: string }[] }
    const lacking = (['user', 'item'] as const).filter((role) => sources[0]![role] === undefined)
    const title = `${topic} is ${format}: the newest ${records.length} records`
    if (lacking.length > 0) {
      const incomplete = `no field of ${topic} has a name like ${lacking.join(' and ')}: write its path into the lines above (docs/mapping.md)`
      return { title, yaml: yaml.trimEnd(), rows: [], types: [], notes: [], incomplete }
    }
    const { rows, counts } = await mapped(io, sources[0]!, records)
    const types = proposeWeights(counts, config.events.types)
    const text = [yaml.trimEnd(), ...(types.length === 0 ? [] : ['', typesYaml(types, textOf)])].join('\n')
    return { title, types, rows, yaml: text, notes: [] }
  } finally {
    await io.log.close()
  }
}

async function decoded(io: StageIo, source: object, records: readonly LogRecord[]): Promise<unknown[]> {
  const mapper = openSource(resolveConfig({ sources: [source] }, {}).sources[0]!, io)
  await mapper.prepare(records)
  return records.flatMap((record) => {
    try {
      return [mapper.decode(record)]
    } catch (error) {
      if (error instanceof BadEventError) return []
      throw error
    }
  })
}

/** What the proposed source makes of the records: an event of each type and the first ones, and those it refuses. */
async function mapped(
  io: StageIo,
  proposed: object,
  records: readonly LogRecord[]
): Promise<{ rows: TableRow[]; counts: Map<string, number> }> {
  const source = resolveConfig({ sources: [proposed] }, {}).sources[0]!
  const rules = valueRules(io.config.events)
  const mapper = openSource(source, io)
  await mapper.prepare(records)
  const counts = new Map<string, number>()
  const shown = new ShownEvents(shownEvents)
  const refusedRows: TableRow[] = []
  for (const record of records) {
    const from = `${record.partition}/${record.offset}`
    try {
      for (const interaction of mapper.map(record).interactions) {
        counts.set(interaction.type, (counts.get(interaction.type) ?? 0) + 1)
        shown.add(from, interaction)
      }
    } catch (error) {
      if (!(error instanceof BadEventError)) throw error
      const fix = nearestFix(source, error.message, decodedOrNothing(mapper, record), rules)
      if (refusedRows.length < shownRefused)
        refusedRows.push({ from, outcome: `✗ ${error.message}${fix === undefined ? '' : `; ${fix}`}` })
    }
  }
  return { rows: [...shown.rows(), ...refusedRows], counts }
}

function decodedOrNothing(mapper: ReturnType<typeof openSource>, record: LogRecord): unknown {
  try {
    return mapper.decode(record)
  } catch (error) {
    if (error instanceof BadEventError) return undefined
    throw error
  }
}

/** A scalar of YAML. */
const textOf = (text: string) => stringify(text, { lineWidth: 0 }).trimEnd()
