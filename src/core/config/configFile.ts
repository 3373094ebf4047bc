// The configuration file and the secrets beside it.

import { existsSync, readFileSync } from 'node:fs'
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
  const named = file ?? environmentVariable('MTMI_CONFIG')
  const path = named ?? (existsSync(defaultConfigFile) ? defaultConfigFile : undefined)
  return configFromEnvironment(path === undefined ? undefined : readYaml(path), overrides, readSecret)
}

function readYaml(path: string): unknown {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new ConfigError([`configuration file ${path} cannot be read: ${(cause as Error).message}`])
  }
  const document = parseDocument(text, { uniqueKeys: true })
  if (document.errors.length > 0) throw new ConfigError(document.errors.map((error) => `${path}: ${error.message.split('\n')[0]}`))
  return document.toJS() as unknown
}

function readSecret(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new ConfigError([`secret file ${path} cannot be read: ${(cause as Error).message}`])
  }
}
