// Our four schemas against the configured registry: what is there, and what could be.

import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { type SchemaName, schemaText } from '../../src/records/avro/avroCodecs.ts'
import { openHttpRegistry } from '../parts.ts'

/** Today's readers read every earlier record: what compacted topics and replays rely on. */
export const levelWanted = 'BACKWARD_TRANSITIVE'

export interface SchemaReport {
  readonly subject: string
  readonly schema: SchemaName
  readonly state: 'registered' | 'new' | 'compatible' | 'incompatible'
  readonly id?: number
  readonly version?: number
  readonly compatibility: string
  readonly messages: readonly string[]
}

/**
 * Changes nothing. @param retryMaxMs how long a registry that does not answer is waited for
 *
 * @throws ConfigError without a registry's address; UnavailableError
 */
export async function examineSchemas(config: Config, retryMaxMs?: number): Promise<SchemaReport[]> {
  const registry = configuredRegistry(config, retryMaxMs)
  const { interactions, items, userSequences, modelUpdates } = config.topics
  const subjects: readonly (readonly [SchemaName, string])[] = [
    ['interaction', interactions],
    ['item', items],
    ['user-sequence', userSequences],
    ['model-update', modelUpdates]
  ]
  const reports: SchemaReport[] = []
  for (const [schema, topic] of subjects) {
    const subject = `${topic}-value`
    const text = schemaText(schema)
    const compatibility = await registry.compatibilityLevel(subject)
    const registered = await registry.lookUp(subject, text)
    if (registered !== undefined) {
      reports.push({ subject, schema, state: 'registered', ...registered, compatibility, messages: [] })
      continue
    }
    const { compatible, messages } = await registry.compatibility(subject, text)
    const state = !compatible ? 'incompatible' : (await registry.hasSubject(subject)) ? 'compatible' : 'new'
    reports.push({ subject, schema, state, compatibility, messages })
  }
  return reports
}

/** @throws ConfigError where there is only the embedded one */
export function configuredRegistry(config: Config, retryMaxMs?: number): ReturnType<typeof openHttpRegistry> {
  if (config.registry.url === '')
    throw new ConfigError([
      'registry.url is empty: the embedded registry needs no registration. Set registry.url to a Confluent schema registry'
    ])
  return openHttpRegistry(config, retryMaxMs)
}
