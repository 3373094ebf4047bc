// `mtmi config`: what is in force. Secrets are never among it.

import { stringify } from 'yaml'
import { type Config, describeConfig, isSecretName } from '../../src/core/config/config.ts'
import { print } from '../../src/core/terminal.ts'

const hidden = '***'

export async function showConfig(config: Config, options: { explain: boolean; json?: boolean }): Promise<void> {
  const shown = withoutSecrets(config)
  if (options.json === true) print(`${JSON.stringify(shown)}\n`)
  else if (options.explain)
    for (const { path, variable, value, reason } of describeConfig(shown as Config))
      print(`${path} = ${JSON.stringify(value)}\n    ${variable}${reason === undefined ? '' : `. ${reason}`}\n`)
  else print(stringify(shown))
}

/**
 * A copy in which values under secret names, and passwords within addresses, are stars. A secret that is not set stays
 * visibly so.
 */
export function withoutSecrets(value: unknown, name = ''): unknown {
  if (typeof value === 'string') {
    if (value === '') return value
    return isSecretName(name) ? hidden : value.replace(/(\/\/[^/:@\s]*:)[^/@\s]*@/g, `$1${hidden}@`)
  }
  if (Array.isArray(value)) return value.map((inner) => withoutSecrets(inner, name))
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => [key, withoutSecrets(inner, isSecretName(name) ? name : key)])
    )
  return value
}
