// `mtmi schemas check | register`: our four schemas against the configured registry.

import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { print } from '../../src/core/terminal.ts'
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

/** Status 78 if a schema is incompatible. Changes nothing. */
export async function checkSchemas(config: Config, options: { json?: boolean }): Promise<void> {
  const reports = await examineSchemas(config)
  printReports(reports, options.json === true, config)
  refuseIncompatible(reports)
}

/**
 * Registers what is missing, and sets each subject's compatibility level. Nothing is registered if one of them is
 * incompatible.
 */
export async function registerSchemas(config: Config, options: { json?: boolean }): Promise<void> {
  const registry = configuredRegistry(config)
  const before = await examineSchemas(config)
  refuseIncompatible(before, '. Nothing was registered')
  for (const { subject, schema, state, compatibility } of before) {
    if (compatibility !== levelWanted) await registry.setCompatibilityLevel(subject, levelWanted)
    if (state !== 'registered') await registry.register(subject, schemaText(schema))
  }
  printReports(await examineSchemas(config), options.json === true, config)
}

/** @throws ConfigError where there is only the embedded one */
function configuredRegistry(config: Config, retryMaxMs?: number): ReturnType<typeof openHttpRegistry> {
  if (config.registry.url === '')
    throw new ConfigError([
      'registry.url is empty: the embedded registry needs no registration. Set registry.url to a Confluent schema registry'
    ])
  return openHttpRegistry(config, retryMaxMs)
}

/** @throws ConfigError that names every incompatible schema */
function refuseIncompatible(reports: readonly SchemaReport[], after = ''): void {
  const wrong = reports.filter(({ state }) => state === 'incompatible')
  if (wrong.length > 0)
    throw new ConfigError(
      wrong.map(
        ({ subject, messages }) =>
          `schema of ${subject} cannot read records of its earlier schemas: ${messages.join('; ')}${after}`
      )
    )
}

function printReports(reports: readonly SchemaReport[], json: boolean, config: Config): void {
  if (json) {
    print(`${JSON.stringify({ registry: config.registry.url, schemas: reports })}\n`)
    return
  }
  for (const { subject, state, id, version, compatibility } of reports) {
    const where = id === undefined ? '' : `, id ${id}, version ${version}`
    const level =
      compatibility === levelWanted ? compatibility : `${compatibility}; \`mtmi schemas register\` sets ${levelWanted}`
    print(`${subject}: ${state}${where}; compatibility ${level}\n`)
  }
}
