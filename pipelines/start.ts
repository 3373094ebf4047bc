// `mtmi start` and `mtmi replay`: the demonstration, and a recording. Both have the clock of their newest event.

import type { Config } from '../src/core/config/config.ts'
import { RunDirectory, writerRoles } from '../src/core/runDirectory.ts'
import { note } from '../src/core/terminal.ts'
import { isAnyPort, type OneProcessOptions, runOneProcess } from './oneProcess.ts'
import { checkOrigin, openStartSource, originOf, runName, type SourceOptions } from './startSource.ts'

export interface StartOptions extends SourceOptions, OneProcessOptions {
  /** Absent: another port is taken where the default one is in use. */
  readonly port?: number
}

export async function start(config: Config, options: StartOptions): Promise<void> {
  const run = new RunDirectory(config.dataDir, config.run ?? runName(options))
  const origin = originOf(config, options)
  const command = options.data === undefined ? 'mtmi start' : 'mtmi replay'
  if (config.sources.length + config.files.length > 0)
    note(`${command} does not read the \`files\` and \`sources\` of the configuration: \`mtmi up\` does`)
  await runOneProcess(
    {
      ...{ config, run, origin, command, followsTopics: false, clock: 'recorded' },
      anyPort: isAnyPort(config, options.port),
      open: () => {
        checkOrigin(run, origin)
        return openStartSource(config, options, run)
      },
      lock: () => run.lock(command, writerRoles)
    },
    options
  )
}
