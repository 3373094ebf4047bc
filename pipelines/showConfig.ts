// `mtmi config`: what is in force.

import { stringify } from 'yaml'
import { type Config, describeConfig } from '../src/base/config.ts'

export async function showConfig(config: Config, options: { explain: boolean; json?: boolean }): Promise<void> {
  if (options.json === true) process.stdout.write(`${JSON.stringify(config)}\n`)
  else if (options.explain)
    for (const { path, variable, value, reason } of describeConfig(config))
      process.stdout.write(`${path} = ${JSON.stringify(value)}\n    ${variable}${reason === undefined ? '' : `. ${reason}`}\n`)
  else process.stdout.write(stringify(config))
}
