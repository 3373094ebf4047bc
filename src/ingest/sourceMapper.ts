// One source of the configuration, ready to work: its decoder and its mapping.

import { readFileSync } from 'node:fs'
import type { SourceOptions } from '../core/config/sources.ts'
import { ConfigError } from '../core/errors.ts'
import type { LogRecord } from '../log/eventLog.ts'
import type { Wire } from '../log/wire.ts'
import { admit, futureProblem, interactionProblem } from '../records/admission.ts'
import type { Interaction } from '../records/interaction.ts'
import { valueRules } from '../records/value/valueRules.ts'
import { createForeignDecoder } from './foreignDecoder.ts'
import { compileInteractionMapper } from './mapping/mapInteraction.ts'
import { compileItemMapper, type ItemChange } from './mapping/mapItem.ts'

export type Mapped =
  | { readonly kind: 'interaction'; readonly interaction: Interaction }
  | ({ readonly kind: 'item' } & ItemChange)
  | { readonly kind: 'filtered' }

export interface SourceMapper {
  readonly source: SourceOptions
  /** Call it on each batch before. @throws UnavailableError if a registry that is needed does not answer */
  prepare(records: readonly LogRecord[]): Promise<void>
  /** What the bytes say; undefined where there are none. @throws BadEventError with what is wrong */
  decode(record: LogRecord): unknown
  /** What the record becomes, validated. @throws BadEventError with what is wrong */
  map(record: LogRecord): Mapped
}

const filtered: Mapped = { kind: 'filtered' }

/** @throws ConfigError if the schema that the source names cannot be used */
export function openSource(source: SourceOptions, wire: Pick<Wire, 'config' | 'registry' | 'codecs'>): SourceMapper {
  const { config, registry, codecs } = wire
  const { topic } = source
  const schemaJson = schemaOf(source)
  const decoder = createForeignDecoder(source, { registry, codecs, ...(schemaJson === undefined ? {} : { schemaJson }) })
  const prepare = (records: readonly LogRecord[]) => decoder.prepare(records)
  if (source.kind === 'items') {
    const mapItem = compileItemMapper(source, valueRules(config.events))
    return {
      source,
      prepare,
      decode: decoder.decode,
      map: (record) => {
        const change = mapItem({ topic, record, value: decoder.decode(record) })
        return change === 'filtered' ? filtered : { kind: 'item', ...change }
      }
    }
  }
  const mapInteraction = compileInteractionMapper(source, valueRules(config.events))
  return {
    source,
    prepare,
    decode: decoder.decode,
    map: (record) => {
      const interaction = mapInteraction({ topic, record, value: decoder.decode(record) })
      if (interaction === 'filtered') return filtered
      admit(interactionProblem(interaction) ?? futureProblem(interaction, record.timestampMs, config.events.futureMaxMs))
      return { kind: 'interaction', interaction }
    }
  }
}

function schemaOf({ topic, schema }: SourceOptions): string | undefined {
  if (schema === undefined || typeof schema === 'object') return schema === undefined ? undefined : JSON.stringify(schema)
  if (schema.trimStart().startsWith('{')) return schema
  try {
    return readFileSync(schema, 'utf8')
  } catch (error) {
    throw new ConfigError([`schema of source ${topic}: file ${schema} cannot be read: ${(error as Error).message}`])
  }
}
