// The `mtmi` command: one verb a process. Results go to standard output, everything else to standard error.

import path from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { type Config, environmentVariable } from '../../src/core/config/config.ts'
import { configFilePath, loadConfig } from '../../src/core/config/configFile.ts'
import { learnedModels } from '../../src/core/config/modelOptions.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { lmdbFault } from '../../src/core/lmdbTurns.ts'
import { own, setOwn } from '../../src/core/own.ts'
import { keepTerminalPlain } from '../../src/core/terminal.ts'
import { version } from '../../src/core/version.ts'
import { offlineProtocols } from '../../src/lab/evaluation/offlineSplit.ts'
import { isSimpleMethod, simpleMethods } from '../../src/lab/evaluation/simpleMethods.ts'
import { streamPolicies } from '../../src/lab/evaluation/streamResult.ts'
import type { Study } from '../../src/lab/evaluation/studyPlan.ts'
import { type LabConfig, labConfig, labOptionsHelp } from '../../src/lab/labOptions.ts'
import { format, type GivenOptions, readingOf, readingOptions, typeSettings } from './dataOptions.ts'
import { explainFailure } from './explainFailure.ts'

/** Where state is kept; known once a command has read its configuration. */
let dataDir: string | undefined

// Whoever reads the result may have had enough: `mtmi recommend … | head -1`.
keepTerminalPlain((error) => process.exit(error.code === 'EPIPE' ? 0 : explainFailure(error)))
process.on('uncaughtException', (error) => void fail(error))

const program = new Command('mtmi')
  .description('Continuous learning of multi-interest recommendations from a clickstream.')
  .version(version)
  .option('--config <file>', 'YAML configuration (default: mtmi.yaml, where there is one)')
  .option('--data-dir <folder>', 'where state is kept (default: data)')
  .option(
    '--run <name>',
    'name of the run, the folder of --data-dir with the state of one stream, as in --run ml-100k (default: the only run; start and replay: the name of the data; docs/operations.md, "Runs")'
  )
  .option('--set <key=value>', 'one setting, as in --set train.batchSize=512; may be repeated', collect, [])
  .showSuggestionAfterError()
  .configureHelp({ showGlobalOptions: true })
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'mtmi: ')) })
  .exitOverride() // before the verbs: they inherit it

const json = () => new Option('--json', 'one JSON object on the last line of standard output').default(false, 'no')
const data = () => new Option('--data <path>', 'a data set: a file or a folder').argParser(given('a path'))
const port = () => new Option('--port <number>', 'of the HTTP service; 0 takes a free one').argParser(wholeNumber)
const option = (what = 'option of the evaluation or of the model, as in --option evaluate.epochsMax=10') =>
  new Option('--option <key=value...>', `${what}; listed below`).argParser(collect).default([], 'none')
const model = () => new Option('--model <name>', 'user model, for comparisons').choices(learnedModels).default('mtmi')
const once = (what: string) => new Option('--once', what).default(false, 'no')

withReading(program.command('start', { isDefault: false }))
  .description('everything in one process: learn from a simulated clickstream, or from a data set, then serve')
  .addOption(data())
  .addOption(
    new Option('--events <number>', 'events of the simulation (default: 60,000)')
      .argParser(wholeNumber)
      .conflicts(['data', 'format', 'columns', 'items', 'itemColumns', 'types', 'filter'])
  )
  .addOption(port())
  .addOption(model())
  .addOption(option('option of the model, as in --option model.temperature=0.2'))
  .addOption(once('end after the report'))
  .addOption(json())
  .addHelpText('after', () => labOptionsHelp('model'))
  .action(startLearning)

withReading(program.command('replay'))
  .description('learn from a data set in time order, then serve')
  .addOption(data().makeOptionMandatory())
  .addOption(port())
  .addOption(model())
  .addOption(option('option of the model, as in --option model.temperature=0.2'))
  .addOption(once('end after the report'))
  .addOption(json())
  .addHelpText('after', () => labOptionsHelp('model'))
  .action(startLearning)

program
  .command('simulate')
  .description('write a simulated clickstream to a file of JSON lines, or into the log')
  .option('--events <number>', 'genuine events', wholeNumber)
  .option('--users <number>', 'users', wholeNumber)
  .option('--items <number>', 'items', wholeNumber)
  .option('--out <file>', 'JSON lines; - is standard output. Without it: into the log')
  .option('--shop', "records of an imaginary shop's topic instead of interactions, to try a mapping with")
  .addOption(json())
  .action(async (options) =>
    (await import('./simulate.ts')).simulateEvents(configured(), { ...options, configFile: configFile() })
  )

program
  .command('ingest')
  .description('one stage on the configured parts: topics of others, as sources says → interactions and items')
  .addOption(once('end when everything in the log has been worked off'))
  .addOption(json())
  .action(async (options) =>
    (await import('../runStage.ts')).runStage('ingest', configured(), { ...options, configFile: configFile() })
  )

for (const [stage, description] of [
  ['sequence', 'interactions → user-sequences'],
  ['train', 'user-sequences → model-updates and checkpoints']
] as const) {
  program
    .command(stage)
    .description(`one stage on the configured parts: ${description}`)
    .addOption(once('end when everything in the log has been worked off'))
    .addOption(json())
    .action(async (options) =>
      (await import('../runStage.ts')).runStage(stage, configured(), { ...options, configFile: configFile() })
    )
}

/** @param lines command, and what it is for */
function examples(lines: readonly (readonly [command: string, purpose: string])[]): string {
  return ['', 'Examples:', ...lines.flatMap(([command, purpose]) => [`  $ ${command}`, `      ${purpose}`])].join('\n')
}

const yes = () =>
  new Option('--yes', 'serve the model even if the gate finds that lists get much worse').default(false, 'no')
const wait = () =>
  new Option('--wait <seconds>', 'how long to wait until the model is served').argParser(wholeNumber).default(120)
program
  .command('publish')
  .description('one stage on the configured parts: model-updates and user-sequences → the index')
  .addOption(once('end when everything in the log has been worked off'))
  .addOption(
    new Option(
      '--rebuild',
      'run no stage: ask the running trainer and publisher to write all vectors of the newest model into a new index version, which then goes live'
    )
      .default(false, 'no')
      .conflicts(['resume', 'once'])
  )
  .addOption(
    new Option(
      '--resume',
      'run no stage: ask them to serve the newest model again, after `mtmi rollback --hold` or after the gate refused it'
    )
      .default(false, 'no')
      .conflicts('once')
  )
  .addOption(yes())
  .addOption(wait())
  .addOption(json())
  .addHelpText(
    'after',
    examples([
      ['mtmi publish --rebuild --run ml-100k', 'an index version is damaged, or lost vectors: write all of them again'],
      ['mtmi publish --resume --run ml-100k', 'the earlier model is no longer needed: serve the newest one']
    ])
  )
  .action(async (options) => {
    if (options.rebuild) await (await import('./changeModel.ts')).publishNewest(configured(), 'rebuild', options)
    else if (options.resume) await (await import('./changeModel.ts')).publishNewest(configured(), 'resume', options)
    else
      await (await import('../runStage.ts')).runStage('publish', configured(), { ...options, configFile: configFile() })
  })

program
  .command('versions')
  .description('what is served, what can be gone back to, and what the gate said of new weights')
  .addOption(json())
  .action(async (options) => (await import('./versions.ts')).versions(configured(), options))

program
  .command('rollback')
  .description(
    "serve the model of an earlier checkpoint: all users and items are encoded by it into a new index version, which then goes live. The trainer goes on from that checkpoint; today's model is kept as a version"
  )
  .argument(
    '[version]',
    'step of the checkpoint, as `mtmi versions` lists them; without it all versions are compared and nothing changes',
    wholeNumber
  )
  .addOption(yes())
  .option(
    '--hold',
    'the trainer keeps its newest model and goes on learning; the earlier one is served until `mtmi publish --resume`',
    false
  )
  .addOption(wait())
  .addOption(json())
  .addHelpText(
    'after',
    examples([
      ['mtmi rollback --run ml-100k', 'compare the versions with what is served; nothing changes'],
      ['mtmi rollback 180 --run ml-100k', 'serve the model of step 180, and train on from it'],
      ['mtmi rollback 180 --hold --run ml-100k', 'serve it for the time being, while the trainer goes on with its own']
    ])
  )
  .action(async (version, options) => (await import('./changeModel.ts')).rollback(configured(), version, options))

program
  .command('serve')
  .description('one stage on the configured parts: HTTP: recommendations from the index, events into the log')
  .addOption(port())
  .action(async (options) =>
    (await import('../runStage.ts')).runStage('serve', configured({ serve: { port: options.port } }), {
      once: false,
      configFile: configFile()
    })
  )

program
  .command('recommend')
  .description('recommendations for a user')
  .requiredOption('--user <id>', 'whose', given('a user'))
  .option('--limit <number>', 'how many', wholeNumber, 10)
  .option('--explain', 'name the items of the history that each comes from', false)
  .addOption(json())
  .action(async (options) => (await import('./ask.ts')).recommend(configured(), options))

program
  .command('similar')
  .description('items near to an item')
  .requiredOption('--item <id>', 'which', given('an item'))
  .option('--limit <number>', 'how many', wholeNumber, 10)
  .addOption(json())
  .action(async (options) => (await import('./ask.ts')).similar(configured(), options))

withReading(program.command('evaluate'))
  .description('how well a model does on a data set; without --data the progressive report of a run')
  .addOption(data())
  .option(
    '--model <name>',
    `a learned one: ${learnedModels.join(', ')}; or a simple one: ${simpleMethods.join(', ')}`,
    'mtmi'
  )
  .addOption(
    new Option('--protocol <name>', 'how the data is cut').choices([...offlineProtocols, 'stream']).default('users')
  )
  .addOption(
    new Option('--policy <name>', 'of --protocol stream: how a model is kept up (default: replay)').choices(
      streamPolicies
    )
  )
  .option('--seed <number...>', 'of the split and of all that is drawn; several give means and spreads', wholeNumbers)
  .option('--fresh', 'train again what was trained before', false)
  .addOption(option())
  .addOption(json())
  .addHelpText('after', () => labOptionsHelp())
  .action(async (options) => {
    const { evaluate } = await import('./evaluate.ts')
    const { seed, columns, itemColumns, filter, option: _, ...rest } = options
    const config = withModel(options.model, options.option, typeSettings(options))
    await evaluate(config, {
      ...rest,
      ...readingOf({ ...rest, columns, itemColumns, filter }),
      seeds: seed ?? [config.seed]
    })
  })

const studyCommand = program
  .command('study')
  .description('many evaluations, one question: a table and plots under results')
for (const [name, description] of [
  ['compare', 'all models and simple methods on each data set'],
  ['ablation', 'what each part of mtmi is good for'],
  ['sensitivity', 'K against α and β, as heat maps'],
  ['cost', 'what K costs: learning, serving, memory'],
  ['coldstart', 'users of whom little is known, and items that were hardly met'],
  ['context', 'whether times and side features help'],
  ['communication', 'whether towers that hear the others beat independent ones']
] as const satisfies readonly (readonly [Study, string])[]) {
  studyCommand
    .command(name)
    .description(description)
    .requiredOption('--data <path...>', 'data sets: files or folders')
    .addOption(format())
    .addOption(new Option('--protocol <name>', 'how the data is cut').choices(offlineProtocols).default('users'))
    .option('--seed <number...>', 'of the splits and of all that is drawn', wholeNumbers)
    .option('--model <name...>', 'of compare: only these (default: all)')
    .option('--only <text...>', 'only rows with one of these in their name', [])
    .option('--out <folder>', 'where the report goes', 'results')
    .addOption(option())
    .addOption(json())
    .addHelpText('after', () => labOptionsHelp())
    .action(async ({ seed, model, option, ...rest }) => {
      const config = withModel('mtmi', option)
      const models = model ?? [...learnedModels, ...simpleMethods]
      for (const one of models) withModel(one, option)
      await (await import('./study.ts')).study(name, config, { ...rest, models, seeds: seed ?? [config.seed] })
    })
}

program
  .command('tune')
  .description('which settings do best on validation users: random search, the better third for three times as long')
  .requiredOption('--data <path...>', 'data sets: files or folders')
  .option('--model <name...>', 'learned models, each with the same budget', ['mtmi'])
  .option('--trials <number>', 'settings tried for each model', wholeNumber, 27)
  .option('--seed <number>', 'of the split and of what is drawn', wholeNumber)
  .option('--out <folder>', 'where the report goes', 'results')
  .addOption(option())
  .addOption(json())
  .addHelpText('after', () => labOptionsHelp())
  .action(async ({ seed, model, trials, option, ...rest }) => {
    const config = withModel('mtmi', option)
    for (const one of model) withModel(one, option)
    if (trials < 1) throw new ConfigError([`--trials must be at least 1, not ${trials}`])
    await (await import('./tune.ts')).tune(config, { ...rest, trials, models: model, seed: seed ?? config.seed })
  })

program
  .command('produce')
  .description('lines of a file as raw records of a topic, to try a mapping with')
  .requiredOption('--topic <name>', 'of a source', given('a topic'))
  .requiredOption('--data <file>', 'each line is the value of a record', given('a file'))
  .option('--key <path>', 'where the key of the record is in the line, which is then JSON')
  .option(
    '--raw',
    'lines are whole records: {"key": …, "value": …, "headers": {}}; a string is text, {"hex": "00ff"} bytes, null nothing'
  )
  .addOption(json())
  .action(async (options) =>
    (await import('./produce.ts')).produce(configured(), { ...options, configFile: configFile() })
  )

const mapping = program.command('mapping').description('how records of others become ours')
mapping
  .command('try')
  .description('raw records of a source beside what they become, and what was refused and why')
  .requiredOption('--topic <name>', 'one of the sources', given('a topic'))
  .option('--samples <number>', 'how many of the newest records', wholeNumber, 10)
  .addOption(json())
  .action(async (options) => (await import('./mapping.ts')).tryMapping(configured(), options))

mapping
  .command('guess')
  .description('a source of the configuration, guessed from samples of a topic, to check and edit')
  .requiredOption('--topic <name>', 'any topic', given('a topic'))
  .option('--samples <number>', 'how many of the newest records', wholeNumber, 200)
  .action(async (options) => (await import('./mapping.ts')).guessMapping(configured(), options))

const schemas = program.command('schemas').description('our schemas in the schema registry')
schemas
  .command('check')
  .description('whether they are registered, or could be')
  .addOption(json())
  .action(async (options) => (await import('./schemas.ts')).checkSchemas(configured(), options))
schemas
  .command('register')
  .description('register them, with compatibility BACKWARD_TRANSITIVE')
  .addOption(json())
  .action(async (options) => (await import('./schemas.ts')).registerSchemas(configured(), options))

const topics = program.command('topics').description('the topics that we need on Kafka')
topics
  .command('plan')
  .description('what is missing, and what differs')
  .addOption(json())
  .action(async (options) => (await import('./topics.ts')).planTopicsCommand(configured(), options))
topics
  .command('apply')
  .description('make what is missing, change what may be changed')
  .addOption(json())
  .action(async (options) => (await import('./topics.ts')).applyTopicsCommand(configured(), options))

const dlq = program.command('dlq').description('records that could not be used')
dlq
  .command('ls')
  .description('topics of dead letters, with counts and reasons')
  .option('--topic <name>', 'only those of this topic')
  .addOption(json())
  .action(async (options) => (await import('./dlq.ts')).list(configured(), options))
dlq
  .command('show')
  .description('dead letters: where from, why, and their bytes')
  .requiredOption('--topic <name>', 'the topic that was read, or that of its dead letters', given('a topic'))
  .option('--partition <number>', 'only of this partition', wholeNumber)
  .option('--offset <number>', 'from this offset on', wholeNumber)
  .option('--limit <number>', 'how many', wholeNumber, 5)
  .addOption(json())
  .action(async (options) => (await import('./dlq.ts')).show(configured(), options))
dlq
  .command('replay')
  .description('append the originals to their topic again; each is replayed once')
  .requiredOption('--topic <name>', 'the topic that was read, or that of its dead letters', given('a topic'))
  .option('--reason <text>', 'only letters whose reason contains this')
  .option('--dry-run', 'say how many, change nothing', false)
  .option('--yes', 'without asking', false)
  .addOption(json())
  .action(async (options) => (await import('./dlq.ts')).replay(configured(), options))

program
  .command('setup')
  .description('install what is missing, foremost the native part of tfjs-node; what failed before is tried again')
  .action(async () => (await import('./setUp.ts')).setUp())

program
  .command('doctor')
  .description(
    'what is installed, which backend is live, what answers and what we may do there, and what to do about the rest'
  )
  .addOption(
    new Option('--stage <name>', 'ask for the rights on Kafka of this stage only').choices([
      'ingest',
      'sequence',
      'train',
      'publish',
      'serve'
    ])
  )
  .addOption(json())
  .action(async (options) => (await import('./doctor.ts')).doctor(configured(), options))

program
  .command('config')
  .description('the configuration in force, with what each setting means')
  .option('--explain', 'with bounds and reasons', false)
  .addOption(json())
  .action(async (options) => (await import('./showConfig.ts')).showConfig(configured(), options))

program
  .command('erase')
  .description('erase a user: event, histories, vectors, examples; says what remains until when')
  .requiredOption('--user <id>', 'whom', given('a user'))
  .addOption(json())
  .action(async (options) => (await import('./erase.ts')).erase(configured(), options))

program
  .command('reset')
  .description('remove the state of a run: log, histories, model, index')
  .option('--yes', 'without asking', false)
  .addOption(json())
  .action(async (options) => (await import('./reset.ts')).reset(configured(), options))

try {
  await program.parseAsync()
} catch (error) {
  // At once: after a failure something may still be waiting for what will not come.
  await fail(error)
}

// ---------------------------------------------------------------------------------------------------------------------

/** Ends the process with what the error is to its user. */
async function fail(error: unknown): Promise<never> {
  process.exit(explainFailure(await lmdbFault(error, dataDir ?? process.cwd()), undefined, dataDir))
}

function configured(overrides: Record<string, unknown> = {}): Config {
  const { config, run, set, ...options } = program.opts<{
    config?: string
    dataDir?: string
    run?: string
    set: Record<string, unknown>[]
  }>()
  const all = [...set, overrides, { dataDir: options.dataDir, run }].reduce(mergeDeep, {})
  const engine = environmentVariable('MTMI_BACKEND')
  if (engine !== undefined && !['tensorflow', 'wasm'].includes(engine))
    throw new ConfigError([
      `MTMI_BACKEND is ${JSON.stringify(engine)}: give tensorflow or wasm, or nothing for the better one that loads`
    ])
  const loaded = loadConfig(config, all)
  dataDir = path.resolve(loaded.dataDir)
  return loaded
}

/** Absolute path of the configuration file; null: there is none. */
function configFile(): string | null {
  return configFilePath(program.opts<{ config?: string }>().config)
}

/** The configuration with the options of the lab, and with this model unless it is a simple method, which has none. */
function withModel(
  model: string,
  options: readonly Record<string, unknown>[],
  settings: Record<string, unknown> = {}
): LabConfig {
  const named = isSimpleMethod(model) ? {} : { model: { name: model } }
  try {
    return labConfig(configured(settings), [named, ...options].reduce(mergeDeep, {}))
  } catch (error) {
    if (!(error instanceof ConfigError) || !error.problems.some((problem) => problem.startsWith('model.name')))
      throw error
    throw new ConfigError(error.problems.map((problem) => `${problem}; simple methods are ${simpleMethods.join(', ')}`))
  }
}

async function startLearning(given: GivenOptions & Record<string, unknown>): Promise<void> {
  const { model, option, ...options } = given as typeof given & {
    model: string
    option: Record<string, unknown>[]
    port?: number
  }
  const { start } = await import('../start.ts')
  const config = withModel(model, option, { serve: { port: options.port }, ...typeSettings(options) })
  await start(config, startOptions(options))
}

function startOptions({ columns, itemColumns, filter, ...rest }: GivenOptions & Record<string, unknown>) {
  return {
    ...rest,
    ...readingOf({ ...rest, columns, itemColumns, filter })
  } as unknown as import('../start.ts').StartOptions
}

/** With the options that say how a data set is read. */
function withReading(command: Command): Command {
  return readingOptions().reduce((with_, option) => with_.addOption(option), command)
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
    const before = own(merged, key)
    const both = typeof value === 'object' && value !== null && typeof before === 'object' && before !== null
    if (value !== undefined)
      setOwn(merged, key, both ? mergeDeep(before as Record<string, unknown>, value as Record<string, unknown>) : value)
  }
  return merged
}

function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('Give a whole number, such as 1000.')
  return Number(text)
}

function wholeNumbers(text: string, earlier: number[] | undefined): number[] {
  return [...(earlier ?? []), wholeNumber(text)]
}

function given(what: string): (text: string) => string {
  return (text) => {
    if (text.trim() === '') throw new InvalidArgumentError(`Give ${what}.`)
    return text
  }
}
