// `--set section.key=value` of the benchmarks: as in a configuration file.

import { resolveConfig } from '../../src/core/config/config.ts'
import { type LabConfig, labConfig } from '../../src/lab/labOptions.ts'

/** @param defaults settings by section, which those given go before */
export function settingsOf(
  given: readonly string[],
  defaults: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {}
): Record<string, Record<string, unknown>> {
  const settings: Record<string, Record<string, unknown>> = Object.fromEntries(
    Object.entries(defaults).map(([section, values]) => [section, { ...values }])
  )
  for (const setting of given) {
    const [key, text] = setting.split('=') as [string, string]
    const [section, ...path] = key.split('.') as [string, ...string[]]
    const value: unknown = /^(true|false|-?[\d.]+(e-?\d+)?|[{[].*)$/.test(text)
      ? JSON.parse(text.replace(/^(-?)\./, '$10.'))
      : text
    const inner = path.reduceRight<unknown>((nested, name) => ({ [name]: nested }), value) as Record<string, unknown>
    settings[section] = { ...settings[section], ...inner }
  }
  return settings
}

/** The configuration with these settings; sections `model` and `evaluate` are options of the lab. */
export function configOf({ model = {}, evaluate = {}, ...settings }: ReturnType<typeof settingsOf>): LabConfig {
  return labConfig(resolveConfig(settings, {}), { model, evaluate })
}
