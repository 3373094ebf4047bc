// A foreign record → an interaction, as the configuration says.

import type { SourceOptions } from '../../core/config/sources.ts'
import { BadEventError } from '../../core/errors.ts'
import { listsOf } from '../../core/fieldPath.ts'
import type { Interaction } from '../../records/interaction.ts'
import { cleanText, type ValueRules } from '../../records/value/valueRules.ts'
import { changeOf } from './envelope.ts'
import type { ForeignRecord } from './foreignRecord.ts'
import { compileTime } from './mapTime.ts'
import {
  elementName,
  type Fields,
  ofElement,
  parseFields,
  readField,
  readRequiredText,
  readText,
  scalarText
} from './readField.ts'
import { compileFilters } from './sourceFilter.ts'

/**
 * One element of a record → its interaction. 'filtered': it is sound and not for us.
 *
 * @throws BadEventError saying which path, and what was found there
 */
type InteractionMapper = (foreign: ForeignRecord) => Interaction | 'filtered'

/** Where a CloudEvent has what a source does not say itself. */
const cloudEvents = {
  type: { path: ['header:ce_type'], others: 'filter' },
  time: { path: ['header:ce_time', 'log:time'] }
} as const

/** @param source of kind interactions, as the configuration's schema has checked it */
export function compileInteractionMapper(source: SourceOptions, rules: ValueRules): InteractionMapper {
  const passes = compileFilters(source.filter)
  if (source.format === 'mtmi') {
    return (foreign) => (passes(foreign) ? withSource(foreign.value as Interaction, foreign) : 'filtered')
  }
  const cloud = source.format === 'cloudevents'
  const user = parseFields(source.user!)
  const item = parseFields(source.item!)
  const type = compileType(source.type ?? { ...cloudEvents.type, path: [...cloudEvents.type.path] }, rules)
  const time = compileTime(source.time ?? { path: [...cloudEvents.time.path] }, rules)
  const eventId = source.eventId === undefined ? undefined : compileEventId(source.eventId, source.topic, rules)
  const value = source.value === undefined ? undefined : parseFields(source.value)
  const list = source.listId === undefined ? undefined : parseFields(source.listId)
  const context = Object.entries(source.context).map(([name, paths]) => ({
    name,
    role: `context.${name}`,
    fields: parseFields(paths)
  }))
  return (foreign) => {
    // A tombstone, or a row that was deleted: no interaction, and nothing is wrong. A CloudEvent may say all in its
    // headers.
    if ((foreign.value === undefined && !cloud) || changeOf(foreign.value) === 'other') return 'filtered'
    if (changeOf(foreign.value) === 'delete' || !passes(foreign)) return 'filtered'
    const ourType = type(foreign)
    if (ourType === undefined) return 'filtered'
    const { topic, record } = foreign
    const interaction: { -readonly [F in keyof Interaction]: Interaction[F] } = {
      eventId:
        eventId !== undefined
          ? eventId(foreign)
          : numbered(cloud ? cloudEventId(foreign, rules) : sourceId(foreign), foreign),
      userId: readRequiredText(ofElement(user, foreign), foreign, 'user', rules),
      itemId: readRequiredText(ofElement(item, foreign), foreign, 'item', rules),
      type: ourType,
      eventTimeMs: time(foreign),
      source: { topic, partition: record.partition, offset: record.offset }
    }
    const number = value === undefined ? undefined : readNumber(value, foreign, 'value', rules)
    if (number !== undefined) interaction.value = number
    const listId = list === undefined ? undefined : readText(list, foreign, 'listId', rules)
    if (listId !== undefined) interaction.listId = listId
    if (context.length > 0) {
      const facts: [string, string][] = []
      for (const { name, role, fields } of context) {
        const text = readText(fields, foreign, role, rules)
        if (text !== undefined) facts.push([name, text])
      }
      if (facts.length > 0) interaction.context = Object.fromEntries(facts)
    }
    return interaction
  }
}

/** Ids of one topic say nothing about those of another: two tables both count their rows from 1. */
function compileEventId(
  { path, scope }: NonNullable<SourceOptions['eventId']>,
  topic: string,
  rules: ValueRules
): (foreign: ForeignRecord) => string {
  const fields = parseFields(path)
  const scoped = (id: string) => (scope === 'global' ? id : `${topic}/${id}`)
  return (foreign) => {
    const { element } = foreign
    const own =
      element === undefined ? undefined : fields.filter((path) => listsOf(path).includes([...element.keys()].at(-1)!))
    const ownId = own === undefined ? undefined : readText(own, foreign, 'eventId', rules)
    if (ownId !== undefined) return scoped(ownId)
    return numbered(scoped(readRequiredText(fields, foreign, 'eventId', rules)), foreign)
  }
}

/** The elements of a record share its id: each has its place behind it. */
function numbered(id: string, foreign: ForeignRecord): string {
  const element = elementName(foreign)
  return element === undefined ? id : `${id}#${element}`
}

/** Enough to distinguish a topic from earlier ones of the same name. */
const topicIdDigits = 8

/** Unique for ever, also after the topic was created again, and the same however often the record is read. */
function sourceId({ topic, topicId = '', record }: ForeignRecord): string {
  const of = topicId === '' ? topic : `${topic}:${topicId.slice(0, topicIdDigits)}`
  return `${of}/${record.partition}/${record.offset}`
}

const cloudSource = parseFields(['header:ce_source'])
const cloudId = parseFields(['header:ce_id'])

/** CloudEvents 1.0: the source and the id together are unique, the id alone is not. */
function cloudEventId(foreign: ForeignRecord, rules: ValueRules): string {
  return `${readRequiredText(cloudSource, foreign, 'eventId', rules)}/${readRequiredText(cloudId, foreign, 'eventId', rules)}`
}

/** An interaction that was re-keyed before keeps where it was first seen. */
function withSource(interaction: Interaction, { topic, record }: ForeignRecord): Interaction {
  return interaction.source === undefined
    ? { ...interaction, source: { topic, partition: record.partition, offset: record.offset } }
    : interaction
}

function compileType(
  { path, names, others }: NonNullable<SourceOptions['type']>,
  rules: ValueRules
): (foreign: ForeignRecord) => string | undefined {
  const fields = parseFields(path)
  const only = fields[0]!
  // The whole topic is of one type.
  if (only.kind === 'constant' && names === undefined) return () => only.value
  if (names === undefined) return (foreign) => readRequiredText(fields, foreign, 'type', rules)
  const table = new Map(Object.entries(names))
  return (foreign) => {
    const theirs = readRequiredText(fields, foreign, 'type', rules)
    return table.get(theirs) ?? (others === 'keep' ? theirs : undefined)
  }
}

function readNumber(fields: Fields, foreign: ForeignRecord, role: string, rules: ValueRules): number | undefined {
  for (const path of fields) {
    const found = readField(path, foreign)
    if (found === undefined) continue
    if (typeof found === 'number' && Number.isFinite(found)) return found
    const text = cleanText(scalarText(found, path, role), rules)
    if (text === undefined) continue
    const number = typeof found === 'boolean' ? Number.NaN : Number(text)
    if (!Number.isFinite(number))
      throw new BadEventError(
        `${role} (${path.text}) is ${JSON.stringify(text.slice(0, 64))}: expected a finite number`
      )
    return number
  }
  return undefined
}
