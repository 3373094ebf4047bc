// `mtmi schemas check | register`: our four schemas against the configured registry.

import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { print } from '../../src/core/terminal.ts'
import { schemaText } from '../../src/records/avro/avroCodecs.ts'
import { configuredRegistry, examineSchemas, levelWanted, type SchemaReport } from './schemaReports.ts'

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
