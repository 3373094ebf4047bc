// The `mtmi` command: one verb a process. Results go to standard output, everything else to standard error.

import { Command, InvalidArgumentError, Option } from 'commander'
import type { Config } from '../src/base/config.ts'
import { exitCodes, MtmiError } from '../src/base/errors.ts'
import { loadConfig } from '../src/io/configFile.ts'
import { version } from './version.ts'

const program = new Command('mtmi')
  .description('Continuous learning of multi-interest recommendations from a clickstream.')
  .version(version)
  .option('--config <file>', 'YAML configuration (default: mtmi.yaml, where there is one)')
  .option('--data-dir <folder>', 'where state is kept (default: data)')
  .option('--set <key=value>', 'one setting, as in --set train.batchSize=512; may be repeated', collect, [])
  .showSuggestionAfterError()
  .configureHelp({ showGlobalOptions: true })

const json = () => new Option('--json', 'one JSON object on the last line of standard output')
const data = () => new Option('--data <path>', 'a data set: a file or a folder')
const format = () => new Option('--format <name>', 'instead of recognising it: see the README for the formats')
const columns = () => new Option('--columns <mapping>', 'of CSV and JSON lines: user=…,item=…,time=…,type=…,value=…,unit=…')

program
  .command('start', { isDefault: false })
  .description('everything in one process: learn from a simulated clickstream, or from a data set, then serve')
  .addOption(data())
  .addOption(format())
  .addOption(columns())
  .option('--events <number>', 'events of the simulation', wholeNumber)
  .option('--port <number>', 'of the HTTP service', wholeNumber)
  .option('--once', 'end after the report', false)
  .addOption(json())
  .action(async (options) => {
    const { start } = await import('./start.ts')
    await start(configured({ serve: { port: options.port } }), await startOptions(options))
  })

program
  .command('replay')
  .description('learn from a data set in time order, then serve')
  .addOption(data().makeOptionMandatory())
  .addOption(format())
  .addOption(columns())
  .option('--port <number>', 'of the HTTP service', wholeNumber)
  .option('--once', 'end after the report', false)
  .addOption(json())
  .action(async (options) => {
    const { start } = await import('./start.ts')
    await start(configured({ serve: { port: options.port } }), await startOptions(options))
  })

program
  .command('simulate')
  .description('write a simulated clickstream to a file of JSON lines, or into the log')
  .option('--events <number>', 'genuine events', wholeNumber)
  .option('--users <number>', 'users', wholeNumber)
  .option('--items <number>', 'items', wholeNumber)
  .option('--out <file>', 'JSON lines; - is standard output. Without it: into the log')
  .addOption(json())
  .action(async (options) => (await import('./simulate.ts')).simulateEvents(configured(), options))

for (const [stage, description] of [
  ['sequence', 'interactions → user-sequences'],
  ['train', 'user-sequences → model-updates and checkpoints'],
  ['publish', 'model-updates and user-sequences → the index'],
  ['serve', 'HTTP: recommendations from the index, events into the log']
] as const) {
  program
    .command(stage)
    .description(`one stage on the configured parts: ${description}`)
    .option('--once', 'end when everything in the log has been worked off', false)
    .option('--port <number>', 'of the HTTP service', wholeNumber)
    .action(async (options) => (await import('./stage.ts')).runStage(stage, configured({ serve: { port: options.port } }), options))
}

program
  .command('recommend')
  .description('recommendations for a user')
  .requiredOption('--user <id>', 'whose')
  .option('--limit <number>', 'how many', wholeNumber, 10)
  .option('--explain', 'name the items of the history that each comes from', false)
  .addOption(json())
  .action(async (options) => (await import('./ask.ts')).recommend(configured(), options))

program
  .command('similar')
  .description('items near to an item')
  .requiredOption('--item <id>', 'which')
  .option('--limit <number>', 'how many', wholeNumber, 10)
  .addOption(json())
  .action(async (options) => (await import('./ask.ts')).similar(configured(), options))

program
  .command('evaluate')
  .description('the progressive report of the run that was started last')
  .addOption(json())
  .action(async (options) => (await import('./ask.ts')).evaluate(configured(), options))

program
  .command('doctor')
  .description('what is installed, which backend is live, and what is missing for what')
  .addOption(json())
  .action(async (options) => (await import('./doctor.ts')).doctor(configured(), options))

program
  .command('config')
  .description('the configuration in force, with what each setting means')
  .option('--explain', 'with bounds and reasons', false)
  .addOption(json())
  .action(async (options) => (await import('./showConfig.ts')).showConfig(configured(), options))

program
  .command('reset')
  .description('remove the state of a run: log, histories, model, index')
  .option('--run <name>', 'which (default: the one that was started last)')
  .option('--yes', 'without asking', false)
  .action(async (options) => (await import('./reset.ts')).reset(configured(), options))

program.exitOverride()

try {
  await program.parseAsync()
} catch (error) {
  // At once: after a failure something may still be waiting for what will not come.
  process.exit(explain(error))
}

// ---------------------------------------------------------------------------------------------------------------------

function configured(overrides: Record<string, unknown> = {}): Config {
  const { config, dataDir, set } = program.opts<{ config?: string; dataDir?: string; set: Record<string, unknown>[] }>()
  const all = [...set, overrides, { dataDir }].reduce(mergeDeep, {})
  return loadConfig(config, all)
}

async function startOptions(options: Record<string, unknown>) {
  const { parseColumnMapping } = await import('../src/event/format/columnMapping.ts')
  const { columns, ...rest } = options
  return {
    ...rest,
    ...(columns === undefined ? {} : { columns: parseColumnMapping(columns as string) })
  } as unknown as import('./start.ts').StartOptions
}

function collect(text: string, earlier: Record<string, unknown>[]): Record<string, unknown>[] {
  const at = text.indexOf('=')
  if (at <= 0) throw new InvalidArgumentError('give it as key=value, such as train.batchSize=512')
  const value = text.slice(at + 1)
  let parsed: unknown = value
  try {
    parsed = JSON.parse(value)
  } catch {
    // plain text
  }
  const nested = text
    .slice(0, at)
    .split('.')
    .reduceRight<unknown>((inner, key) => ({ [key]: inner }), parsed)
  return [...earlier, nested as Record<string, unknown>]
}

function mergeDeep(a: Record<string, unknown>, b: Record<string, unknown>): Record<string, unknown> {
  const merged = { ...a }
  for (const [key, value] of Object.entries(b)) {
    const before = merged[key]
    const both = typeof value === 'object' && value !== null && typeof before === 'object' && before !== null
    if (value !== undefined) merged[key] = both ? mergeDeep(before as Record<string, unknown>, value as Record<string, unknown>) : value
  }
  return merged
}

function wholeNumber(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('give a whole number')
  return value
}

/** Says what went wrong. @returns the exit status */
function explain(error: unknown): number {
  if (error instanceof MtmiError) {
    process.stderr.write(`mtmi: ${error.message}\n`)
    return exitCodes[error.code]
  }
  const { code, exitCode } = error as { code?: string; exitCode?: number }
  if (code?.startsWith('commander.') === true) return exitCode === 0 ? 0 : exitCodes.CONFIG // commander has said it already
  process.stderr.write(`mtmi: this is a bug, please report it\n${error instanceof Error ? error.stack : String(error)}\n`)
  return 70
}
