// `mtmi config`: what is in force.

import { stringify } from 'yaml'
import { type Config, describeConfig, withoutSecrets } from '../src/base/config.ts'

export async function showConfig(config: Config, options: { explain: boolean; json?: boolean }): Promise<void> {
  if (options.json === true) process.stdout.write(`${JSON.stringify(withoutSecrets(config))}\n`)
  else if (options.explain)
    for (const { path, variable, value, reason } of describeConfig(config))
      process.stdout.write(`${path} = ${JSON.stringify(value)}\n    ${variable}${reason === undefined ? '' : `. ${reason}`}\n`)
  else process.stdout.write(stringify(withoutSecrets(config)))
}
