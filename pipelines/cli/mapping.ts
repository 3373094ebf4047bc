// `mtmi mapping try`: raw records of a source beside what they become, and what was refused and why. Changes nothing.

import type { Config } from '../../src/core/config/config.ts'
import type { SourceOptions } from '../../src/core/config/sources.ts'
import { BadEventError, ConfigError } from '../../src/core/errors.ts'
import { own } from '../../src/core/own.ts'
import { plainLine, print } from '../../src/core/terminal.ts'
import type { ItemChange } from '../../src/ingest/mapping/mapItem.ts'
import { openSource, type SourceMapper } from '../../src/ingest/sourceMapper.ts'
import type { LogRecord } from '../../src/log/eventLog.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { shownTime } from '../../src/records/value/eventTime.ts'
import { type ValueRules, valueRules } from '../../src/records/value/valueRules.ts'
import { newestRecords } from '../newestRecords.ts'
import { openStageIo } from '../parts.ts'
import { runToRead } from '../runs.ts'
import { eventTable, type TableRow } from './eventTable.ts'
import { nearestFix } from './guessMapping.ts'
import { shownBytes } from './shownBytes.ts'

interface Tried {
  readonly partition: number
  readonly offset: string
  readonly takenAt: string
  readonly key: string
  readonly headers: Readonly<Record<string, string>>
  /** The bytes, as text where they are. */
  readonly raw: string
  /** What the format says they say; absent where they could not be decoded. */
  readonly decoded?: unknown
  readonly outcome: 'mapped' | 'filtered' | 'refused'
  readonly interactions?: readonly Interaction[]
  readonly items?: readonly ItemChange[]
  readonly reason?: string
}

export async function tryMapping(
  config: Config,
  options: { topic: string; samples: number; json?: boolean }
): Promise<void> {
  const source = config.sources.find(({ topic }) => topic === options.topic)
  if (source === undefined) {
    const known = config.sources.map(({ topic }) => topic).join(', ')
    throw new ConfigError([
      `sources has no topic ${options.topic}${known === '' ? ': it is empty. Name the topic, its format and where user, item, type and time are in it' : `; it has ${known}`}`
    ])
  }
  const io = await openStageIo(config, runToRead(config))
  try {
    const mapper = openSource(source, io)
    const records = await newestRecords(io, options.topic, options.samples)
    if (records.length === 0)
      throw new ConfigError([`topic ${options.topic} is empty: nothing to try the mapping with`])
    await mapper.prepare(records)
    const tried = records.map((record) => tryOne(mapper, record))
    const counts = { mapped: 0, filtered: 0, refused: 0 }
    for (const { outcome } of tried) counts[outcome]++
    if (options.json === true) print(`${toJson({ topic: options.topic, ...counts, samples: tried })}\n`)
    else {
      print(`${eventTable(tried.flatMap(rowsOf), config.events.types)}\n\n`)
      const rules = valueRules(config.events)
      const shown = tried.filter(({ reason, items }) => reason !== undefined || items !== undefined)
      const example = tried.find(({ outcome }) => outcome === 'mapped')
      for (const one of shown.length > 0 || example === undefined ? shown : [example])
        print(`${textOfTried(source, one, rules)}\n\n`)
      const types = new Set(
        tried
          .flatMap(({ interactions = [] }) => interactions.map(({ type }) => type))
          .filter((type) => own(config.events.types, type) === undefined)
      )
      if (types.size > 0)
        print(
          `events.types has no ${plainLine([...types].join(', '))}: such interactions are ingested, and then ignored\n`
        )
      print(
        `${tried.length} records of ${options.topic}: ${counts.mapped} mapped, ${counts.filtered} filtered, ${counts.refused} refused\n`
      )
    }
  } finally {
    await io.log.close()
  }
}

function tryOne(mapper: SourceMapper, record: LogRecord): Tried {
  const raw = {
    partition: record.partition,
    offset: String(record.offset),
    takenAt: new Date(record.timestampMs).toISOString(),
    key: shownBytes(record.key),
    headers: Object.fromEntries(Object.entries(record.headers).map(([name, bytes]) => [name, shownBytes(bytes)])),
    raw: shownBytes(record.value, 2000)
  }
  let decoded: { decoded?: unknown } = {}
  try {
    decoded = { decoded: mapper.decode(record) }
    const { interactions, items, refused } = mapper.map(record)
    const reason = refused === undefined ? {} : { reason: refused.message }
    if (interactions.length > 0) return { ...raw, ...decoded, outcome: 'mapped', interactions, ...reason }
    if (items.length > 0) return { ...raw, ...decoded, outcome: 'mapped', items, ...reason }
    return { ...raw, ...decoded, outcome: 'filtered' }
  } catch (error) {
    if (!(error instanceof BadEventError)) throw error
    return { ...raw, ...decoded, outcome: 'refused', reason: error.message }
  }
}

/** A row for each interaction, or what became of the record. */
function rowsOf({ partition, offset, outcome, interactions = [] }: Tried): TableRow[] {
  const from = `${partition}/${offset}`
  if (interactions.length === 0) return [{ from, outcome: outcome === 'mapped' ? 'an item, below' : outcome }]
  return interactions.map((interaction) => ({ from, interaction }))
}

function textOfTried(source: SourceOptions, tried: Tried, rules: ValueRules): string {
  const headers = Object.entries(tried.headers).map(([name, value]) => `${name}: ${value}`)
  const decoded = tried.decoded === undefined ? undefined : toJson(tried.decoded)
  // Of JSON the bytes say it already.
  const differs = decoded !== undefined && decoded.replaceAll(' ', '') !== tried.raw.replaceAll(/\s/g, '')
  const became =
    tried.outcome === 'filtered'
      ? ['→ filtered']
      : [
          ...(tried.interactions ?? []).map((interaction) => `→ ${shownInteraction(interaction, source)}`),
          ...(tried.items ?? []).map(({ itemId, item }) => `→ ${toJson(item ?? { itemId, deleted: true })}`),
          ...(tried.reason === undefined ? [] : [`✗ ${tried.reason}`, ...fixOf(source, tried, rules)])
        ]
  return [
    `${source.topic}/${tried.partition}/${tried.offset}  ${tried.takenAt}  key ${tried.key === '' ? '(none)' : tried.key}`,
    ...(headers.length === 0 ? [] : [`  ${headers.join(' · ')}`]),
    `  ${tried.raw}`,
    ...(differs ? [`  = ${decoded.length > 2000 ? `${decoded.slice(0, 2000)}…` : decoded}`] : []),
    ...became.map((line) => `  ${line}`)
  ]
    .map(plainLine)
    .join('\n')
}

/** A long is printed with all its digits, as text. */
function toJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? String(inner) : inner)) ?? 'null'
}

function shownInteraction(interaction: Interaction, { time }: SourceOptions): string {
  const { userId, itemId, type, eventTimeMs, value, context, listId, eventId } = interaction
  const form =
    time === undefined ? '' : time.format !== undefined ? ` (format ${time.format})` : ` (unit ${time.unit ?? 'ms'})`
  const facts = Object.entries(context ?? {}).map(([name, text]) => `${name}=${text}`)
  return [
    ...[`user ${userId}`, `item ${itemId}`, `type ${type}`, `time ${shownTime(eventTimeMs)}${form}`],
    ...(value === undefined ? [] : [`value ${value}`]),
    ...(facts.length === 0 ? [] : [`context ${facts.join(', ')}`]),
    ...(listId === undefined ? [] : [`list ${listId}`]),
    `id ${eventId}`
  ].join('  ')
}

function fixOf(source: SourceOptions, { reason = '', decoded }: Tried, rules: ValueRules): string[] {
  const fix = nearestFix(source, reason, decoded, rules)
  return fix === undefined ? [] : [`  ${fix}`]
}
