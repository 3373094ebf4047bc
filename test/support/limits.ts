// Configurations for tests, which also vary what is no setting: `limits` of src/core/config/config.ts.

import { type Config, limits, resolveConfig } from '../../src/core/config/config.ts'

type Settings = Readonly<Record<string, unknown>>
type Section = keyof typeof limits

/** Of settings and limits the settings alone: for a configuration file. */
export function settingsAlone(given: Settings): Settings {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => [name, name in limits ? part(name as Section, value, false) : value])
  )
}

/** @param given settings as in a configuration file, and limits beside them */
export function resolveWithLimits(given: unknown = {}): Config {
  const settings = given as Settings
  const config = resolveConfig(settingsAlone(settings), {})
  const of = (name: Section) => part(name, settings[name] ?? {}, true)
  return {
    ...config,
    sequence: { ...config.sequence, ...of('sequence') },
    train: { ...config.train, ...of('train') },
    publish: { ...config.publish, ...of('publish') }
  }
}

function part(name: Section, value: unknown, isLimit: boolean): object {
  return Object.fromEntries(Object.entries(value as object).filter(([key]) => key in limits[name] === isLimit))
}
