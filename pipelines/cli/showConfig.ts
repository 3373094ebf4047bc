// `mtmi config`: the configuration in force, with secrets masked.

import { stringify } from 'yaml'
import { type Config, describeConfig } from '../../src/core/config/config.ts'
import { withoutSecrets } from '../../src/core/secrets.ts'
import { print } from '../../src/core/terminal.ts'

export async function showConfig(config: Config, options: { explain: boolean; json?: boolean }): Promise<void> {
  const shown = withoutSecrets(config)
  if (options.json === true) print(`${JSON.stringify(shown)}\n`)
  else if (options.explain)
    for (const { path, variable, value, reason } of describeConfig(shown))
      print(`${path} = ${JSON.stringify(value)}\n    ${variable}${reason === undefined ? '' : `. ${reason}`}\n`)
  else print(stringify(shown))
}
