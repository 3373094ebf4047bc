// One source of the configuration, ready to work: its decoder and its mapping.

import { readFileSync } from 'node:fs'
import type { SourceOptions } from '../core/config/sources.ts'
import { BadEventError, ConfigError } from '../core/errors.ts'
import { listsOf } from '../core/fieldPath.ts'
import type { LogRecord } from '../log/eventLog.ts'
import type { StageIo } from '../log/stageIo.ts'
import { admit, futureProblem, interactionProblem } from '../records/admission.ts'
import type { Interaction } from '../records/interaction.ts'
import { valueRules } from '../records/value/valueRules.ts'
import { createForeignDecoder } from './foreignDecoder.ts'
import type { ForeignRecord } from './mapping/foreignRecord.ts'
import { compileInteractionMapper } from './mapping/mapInteraction.ts'
import { compileItemMapper, type ItemChange } from './mapping/mapItem.ts'
import { elementName, elementsOf, type Fields, parseFields } from './mapping/readField.ts'

/**
 * What one record says: all its interactions, or all changes of items. Elements that cannot be used do not cost the
 * others.
 */
interface Mapped {
  /** Both empty: the record is sound and not for us. */
  readonly interactions: readonly Interaction[]
  readonly items: readonly ItemChange[]
  /** Elements that cannot be used, together. */
  readonly refused?: BadEventError
}

export interface SourceMapper {
  readonly source: SourceOptions
  /** Of the source's topic, as `EventLog.describe` has it: part of the ids of events that have none of their own. */
  topicId: string
  /** Call it on each batch before. @throws UnavailableError if a registry that is needed does not answer */
  prepare(records: readonly LogRecord[]): Promise<void>
  /** What the bytes say; undefined where there are none. @throws BadEventError with what is wrong */
  decode(record: LogRecord): unknown
  /** What the record becomes, validated. @throws BadEventError with what is wrong, where nothing of it can be used */
  map(record: LogRecord): Mapped
}

/** Reasons that a message lists; the rest are counted. */
const reasonsMax = 5

/** @throws ConfigError if the schema that the source names cannot be used */
export function openSource(source: SourceOptions, io: Pick<StageIo, 'config' | 'registry' | 'codecs'>): SourceMapper {
  const { config, registry, codecs } = io
  const { topic } = source
  const schemaJson = schemaOf(source)
  const decoder = createForeignDecoder(source, {
    registry,
    codecs,
    ...(schemaJson === undefined ? {} : { schemaJson })
  })
  const rules = valueRules(config.events)
  const elements = compileElements(source)
  const open = (record: LogRecord) => {
    const [value, key] = [decoder.decode(record), () => decoder.decodeKey(record)]
    return elements({ topic, topicId: mapper.topicId, record, value, key })
  }
  const { prepare, decode } = decoder
  const mapper: SourceMapper = {
    source,
    topicId: '',
    prepare,
    decode,
    map: source.kind === 'items' ? items() : clicks()
  }
  return mapper

  function items(): SourceMapper['map'] {
    const mapItem = compileItemMapper(source, rules)
    return (record) => ({ interactions: [], ...mapAll(open(record), mapItem, 'items') })
  }

  function clicks(): SourceMapper['map'] {
    const mapInteraction = compileInteractionMapper(source, rules)
    const validated = (foreign: ForeignRecord) => {
      const interaction = mapInteraction(foreign)
      if (interaction !== 'filtered')
        admit(
          interactionProblem(interaction) ??
            futureProblem(interaction, foreign.record.timestampMs, config.events.futureMaxMs)
        )
      return interaction
    }
    return (record) => ({ items: [], ...mapAll(open(record), validated, 'interactions') })
  }
}

/**
 * @throws ConfigError if item and user go through different lists: which users belong to which items would be a guess
 */
function compileElements({
  topic,
  item = [],
  user = []
}: SourceOptions): (foreign: ForeignRecord) => readonly ForeignRecord[] {
  const [items, users] = [parseFields(item), parseFields(user)]
  const goThroughLists = (fields: Fields) => fields.some((path) => listsOf(path).length > 0)
  if (!goThroughLists(items))
    return goThroughLists(users) ? (foreign) => elementsOf(users, foreign) : (foreign) => [foreign]
  const lists = new Set(items.flatMap(listsOf))
  const other = users.find((path) => listsOf(path).some((list) => !lists.has(list)))
  if (other !== undefined) {
    throw new ConfigError([
      `source ${topic}: item goes through the list of ${items.map(({ text }) => text).join(', ')} and user through that of ${other.text}: ` +
        `which user belongs to which item? Use the same list, or an element of it such as ${other.text.replaceAll('[*]', '[0]')}`
    ])
  }
  return (foreign) => elementsOf(items, foreign)
}

function mapAll<T, K extends 'interactions' | 'items'>(
  elements: readonly ForeignRecord[],
  map: (foreign: ForeignRecord) => T | 'filtered',
  kind: K
): Record<K, T[]> & { readonly refused?: BadEventError } {
  const mapped: T[] = []
  const reasons: string[] = []
  for (const foreign of elements) {
    try {
      const result = map(foreign)
      if (result !== 'filtered') mapped.push(result)
    } catch (error) {
      if (!(error instanceof BadEventError) || foreign.element === undefined) throw error
      if (reasons.length < reasonsMax) reasons.push(`element ${elementName(foreign)}: ${error.message}`)
      else reasons.length++
    }
  }
  const result = { [kind]: mapped } as Record<K, T[]>
  if (reasons.length === 0) return result
  const others = reasons.length > reasonsMax ? `; and ${reasons.length - reasonsMax} more` : ''
  const refused = new BadEventError(`${reasons.slice(0, reasonsMax).join('; ')}${others}`)
  if (mapped.length === 0) throw refused
  return { ...result, refused }
}

function schemaOf({ topic, schema }: SourceOptions): string | undefined {
  if (schema === undefined || typeof schema === 'object')
    return schema === undefined ? undefined : JSON.stringify(schema)
  if (schema.trimStart().startsWith('{')) return schema
  try {
    return readFileSync(schema, 'utf8')
  } catch (error) {
    throw new ConfigError([`schema of source ${topic}: file ${schema} cannot be read: ${(error as Error).message}`])
  }
}
