// One source of the configuration, ready to work: its decoder and its mapping.

import { readFileSync } from 'node:fs'
import { ConfigError } from '../../src/base/errors.ts'
import type { SourceOptions } from '../../src/base/sources.ts'
import type { LogRecord } from '../../src/event/eventLog.ts'
import type { Interaction } from '../../src/event/interaction.ts'
import { compileInteractionMapper } from '../../src/event/mapping/mapInteraction.ts'
import { compileItemMapper, type ItemChange } from '../../src/event/mapping/mapItem.ts'
import { validateInteraction } from '../../src/event/validateInteraction.ts'
import { createForeignDecoder } from '../../src/io/avro/foreignDecoder.ts'
import type { Wire } from '../parts.ts'

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
    const mapItem = compileItemMapper(source)
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
  const mapInteraction = compileInteractionMapper(source)
  return {
    source,
    prepare,
    decode: decoder.decode,
    map: (record) => {
      const interaction = mapInteraction({ topic, record, value: decoder.decode(record) })
      if (interaction === 'filtered') return filtered
      validateInteraction(interaction, record.timestampMs, config.events)
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
