// `mtmi up`: everything for one configuration in one process. Its `files` are loaded once, the topics of its `sources` are
// read from their beginning and then followed, and events may be posted, all in the run and the folders that the stages
// use one by one.

import type { Config } from '../src/core/config/config.ts'
import { ConfigError } from '../src/core/errors.ts'
import { type RunDirectory, writerRoles } from '../src/core/runDirectory.ts'
import { openConfiguredFiles } from './configuredFiles.ts'
import { isAnyPort, type OneProcessOptions, runOneProcess } from './oneProcess.ts'
import { checkLog, runToBegin } from './runs.ts'
import type { StartSource } from './startSource.ts'

interface UpOptions extends OneProcessOptions {
  readonly port?: number
  /** Absolute; null: there is none. */
  readonly configFile: string | null
}

/** @throws ConfigError if the configuration names nothing to read, or cannot be used */
export async function up(config: Config, options: UpOptions): Promise<void> {
  if (config.files.length + config.sources.length === 0)
    throw new ConfigError([
      `${options.configFile === null ? 'there is no mtmi.yaml here' : `${options.configFile} names no data`}: \`mtmi init FILE\` or \`mtmi init --topic NAME\` proposes \`files\` or \`sources\`; \`mtmi start\` is a demonstration without data`
    ])
  const run = runToBegin(config, options.configFile)
  checkLog(config, run)
  await runOneProcess(
    {
      ...{ config, run, command: 'mtmi up', clock: 'wall' },
      origin: { configFile: options.configFile },
      followsTopics: config.sources.length > 0,
      anyPort: isAnyPort(config, options.port),
      open: () => openSources(config, run),
      lock: () => lockOf(config, run)
    },
    options
  )
}

async function openSources(config: Config, run: RunDirectory): Promise<StartSource> {
  const files = await openConfiguredFiles(config, run)
  const topics = config.sources.map(({ topic }) => topic).join(', ')
  const titles = [files.title, ...(topics === '' ? [] : [`following ${topics}`])].filter((title) => title !== '')
  return { ...files, title: titles.join('; ') }
}

/** The locks of the stages that this process is; on Kafka their first places, which `mtmi sequence` and `publish` take. */
function lockOf(config: Config, run: RunDirectory) {
  const ingest = config.sources.length > 0 && config.log === 'local' ? (['ingest'] as const) : []
  if (config.log === 'local') return run.lock('mtmi up', [...writerRoles, ...ingest])
  const locks = [run.lock('mtmi up', ['train'])]
  const release = () => {
    for (const lock of locks) lock.release()
  }
  try {
    const [sequence, publish] = (['sequence', 'publish'] as const).map((role) => run.lockPlace('mtmi up', role))
    locks.push(sequence!, publish!)
    return { release, places: { sequence: sequence!.place, publish: publish!.place } }
  } catch (error) {
    release()
    throw error
  }
}
