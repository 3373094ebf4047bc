// The configuration file and the secrets beside it.

import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { parseDocument } from 'yaml'
import { ConfigError } from '../errors.ts'
import { type Config, configFromEnvironment, environmentVariable } from './config.ts'

/** Read when neither `--config` nor MTMI_CONFIG names another; it need not exist. */
export const defaultConfigFile = 'mtmi.yaml'

/**
 * Defaults, under the YAML file, under `MTMI_…` variables, under `overrides`.
 *
 * @throws ConfigError with every problem at once
 */
export function loadConfig(file: string | undefined, overrides: Readonly<Record<string, unknown>> = {}): Config {
  const found = configFilePath(file)
  return configFromEnvironment(found === null ? undefined : readYaml(found), overrides, readSecret)
}

/** Absolute path of the file that `loadConfig` reads; null: there is none. */
export function configFilePath(file: string | undefined): string | null {
  const named = file ?? environmentVariable('MTMI_CONFIG')
  const found = named ?? (existsSync(defaultConfigFile) ? defaultConfigFile : undefined)
  return found === undefined ? null : path.resolve(found)
}

function readYaml(file: string): unknown {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new ConfigError([`configuration file ${file} cannot be read: ${(cause as Error).message}`])
  }
  const document = parseDocument(text, { uniqueKeys: true })
  if (document.errors.length > 0)
    throw new ConfigError(document.errors.map((error) => `${file}: ${error.message.split('\n')[0]}`))
  return document.toJS() as unknown
}

function readSecret(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new ConfigError([`secret file ${file} cannot be read: ${(cause as Error).message}`])
  }
}
