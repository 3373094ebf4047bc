// `mtmi schemas check | register`: our four schemas against the configured registry.

import type { Config } from '../src/base/config.ts'
import { ConfigError } from '../src/base/errors.ts'
import { type SchemaName, schemaText } from '../src/io/avro/avroCodecs.ts'
import { openHttpRegistry } from './parts.ts'

/** Today's readers read every earlier record: what compacted topics and replays rely on. */
const levelWanted = 'BACKWARD_TRANSITIVE'

interface SchemaReport {
  readonly subject: string
  readonly schema: SchemaName
  readonly state: 'registered' | 'new' | 'compatible' | 'incompatible'
  readonly id?: number
  readonly version?: number
  readonly compatibility: string
  readonly messages: readonly string[]
}

/** Status 78 if a schema is incompatible. Changes nothing. */
export async function checkSchemas(config: Config, options: { json?: boolean }): Promise<void> {
  const reports = await examine(config)
  print(reports, options.json === true, config)
  const wrong = reports.filter(({ state }) => state === 'incompatible')
  if (wrong.length > 0)
    throw new ConfigError(
      wrong.map(({ subject, messages }) => `schema of ${subject} cannot read records of its earlier schemas: ${messages.join('; ')}`)
    )
}

/** Registers what is missing, and sets each subject's compatibility level. Nothing is registered if one of them is incompatible. */
export async function registerSchemas(config: Config, options: { json?: boolean }): Promise<void> {
  const registry = httpRegistry(config)
  const before = await examine(config)
  const wrong = before.filter(({ state }) => state === 'incompatible')
  if (wrong.length > 0)
    throw new ConfigError(
      wrong.map(
        ({ subject, messages }) =>
          `schema of ${subject} cannot read records of its earlier schemas: ${messages.join('; ')}. Nothing was registered`
      )
    )
  for (const { subject, schema, state, compatibility } of before) {
    if (compatibility !== levelWanted) await registry.setCompatibilityLevel(subject, levelWanted)
    if (state !== 'registered') await registry.register(subject, schemaText(schema))
  }
  print(await examine(config), options.json === true, config)
}

async function examine(config: Config): Promise<SchemaReport[]> {
  const registry = httpRegistry(config)
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

function httpRegistry(config: Config): ReturnType<typeof openHttpRegistry> {
  if (config.registry.url === '')
    throw new ConfigError([
      'registry.url is empty: the embedded registry registers by itself. Set registry.url to a Confluent schema registry'
    ])
  return openHttpRegistry(config)
}

function print(reports: readonly SchemaReport[], json: boolean, config: Config): void {
  if (json) {
    process.stdout.write(`${JSON.stringify({ registry: config.registry.url, schemas: reports })}\n`)
    return
  }
  for (const { subject, state, id, version, compatibility } of reports) {
    const where = id === undefined ? '' : `, id ${id}, version ${version}`
    const level = compatibility === levelWanted ? compatibility : `${compatibility}; \`mtmi schemas register\` sets ${levelWanted}`
    process.stdout.write(`${subject}: ${state}${where}; compatibility ${level}\n`)
  }
}
