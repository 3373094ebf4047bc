// The `mtmi` command. Results go to standard output, everything else to standard error.

import { existsSync } from 'node:fs'
import path from 'node:path'
import { Command, Option } from 'commander'
import { type Config, configFromEnvironment, environmentVariable, mergeSettings } from '../../src/core/config/config.ts'
import { configFilePath, loadConfig } from '../../src/core/config/configFile.ts'
import { learnedModels } from '../../src/core/config/modelOptions.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { lmdbFault } from '../../src/core/lmdbTurns.ts'
import { keepTerminalPlain } from '../../src/core/terminal.ts'
import { version } from '../../src/core/version.ts'
import { labOptionsHelp } from '../../src/lab/labOptions.ts'
import {
  addCommand,
  collect,
  data,
  json,
  limit,
  nonEmpty,
  once,
  port,
  type Settings,
  samples,
  topic,
  wholeNumber,
  withOptions,
  yes
} from './commandOptions.ts'
import { addDataCommands } from './dataCommands.ts'
import { type GivenOptions, readingOf, readingOptions, typeSettings } from './dataOptions.ts'
import { explainFailure } from './explainFailure.ts'
import { addKafkaCommands } from './kafkaCommands.ts'
import { addLabCommands, withModel } from './labCommands.ts'

/** Known once a command has read its configuration: for errors that name no file. */
let dataDir: string | undefined

// The reader of the output may stop early: `mtmi recommend … | head -1`.
keepTerminalPlain((error) => process.exit(error.code === 'EPIPE' ? 0 : explainFailure(error)))
process.on('uncaughtException', (error) => void fail(error))

const program = new Command('mtmi')
  .description('Continuous learning of multi-interest recommendations from a clickstream.')
  .version(version)
  .option('--config <file>', 'YAML configuration (default: mtmi.yaml, if it exists)')
  .option('--data-dir <folder>', 'Folder of all state (default: data)')
  .option('--run <name>', 'State of one stream in it (default: the only one)')
  .addOption(
    new Option('--set <key=value>', 'One setting, such as seed=7; repeatable').argParser(collect).default([], 'none')
  )
  .showSuggestionAfterError()
  .configureHelp({
    showGlobalOptions: true,
    subcommandTerm: (command) => command.name(),
    // Groups of commands without blank lines between them: all of them fit a screen.
    formatItemList: (heading, items) =>
      items.length === 0 ? [] : [heading, ...items, ...(heading.includes('$') ? [] : [''])]
  })
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'mtmi: ')) })
  .exitOverride() // commands inherit it
  .helpCommand('help [command]', 'Help for a command, such as mtmi help topics')

/** Heading of a group, with an example. */
const group = (title: string, example: string) => program.commandsGroup(`${`${title}:`.padEnd(28)}$ ${example}`)

const stageOnce = () => once('End when everything in the log has been processed')
const acceptNewTopic = () =>
  new Option('--accept-new-topic', 'Read topics that were deleted and created again from the beginning').default(
    false,
    'no'
  )
const user = () => new Option('--user <id>', 'User ID').argParser(nonEmpty('a user')).makeOptionMandatory()

group('Everything in one process', 'mtmi init clicks.csv && mtmi up')
const serving = () => [port(), once('End after the report instead of serving'), acceptNewTopic(), json()]
const learning = () => [
  new Option('--model <name>', 'User model, for comparisons').choices(learnedModels).default('mtmi'),
  new Option('--option <key=value...>', 'Option of the model, such as model.temperature=0.2')
    .argParser(collect)
    .default([], 'none')
]
withOptions(
  addCommand(program, 'start', 'The demonstration, on a simulated clickstream. It trains, reports and serves', [
    ['mtmi start --events 20000 --once', 'a small one, and the report']
  ]),
  [
    new Option('--events <number>', 'Events of the simulation (default: 60,000)').argParser(wholeNumber),
    ...[...learning(), ...serving()]
  ]
)
  .addHelpText('after', () => labOptionsHelp('model'))
  .action(startLearning)
withOptions(
  addCommand(
    program,
    'init',
    'A configuration, proposed for a file or a topic. Shows how its events are understood, and writes mtmi.yaml for you to check',
    [
      ['mtmi init clicks.csv --items products.csv', 'shows ten events as they are understood, and writes mtmi.yaml'],
      ['mtmi init shop.csv --columns user=2,item=3,time=1', 'where the columns are not recognized'],
      ['mtmi init --topic shop.clicks --set log=kafka --set kafka.brokers=["host:9092"]', 'from a topic on Kafka']
    ]
  ),
  [
    topic('Topic to propose a source for').conflicts(['format', 'columns', 'items', 'itemColumns', 'filter']),
    samples(200),
    ...readingOptions().filter(({ long }) => long !== '--types'),
    new Option('--force', 'Replace files, sources and events.types of a configuration that exists').default(false, 'no')
  ]
)
  .argument('[file]', 'File or folder of events')
  .action(async (file, { columns, itemColumns, filter, ...options }) =>
    (await import('./init.ts')).init(configured({}, true), {
      ...{ ...options, file, configFile: configFile(), given: given() },
      ...readingOf({ ...options, columns, itemColumns, filter, data: file })
    })
  )
withOptions(
  addCommand(
    program,
    'up',
    'Your configuration: load, train, serve, follow. `files` are loaded once, topics of `sources` are read from their beginning and followed; a second run continues',
    [
      ['mtmi up', 'the configuration that `mtmi init` wrote; Ctrl-C and a second run continue'],
      ['mtmi up --once', 'what there is so far, and the report']
    ]
  ),
  serving()
).action(async (options) =>
  (await import('../up.ts')).up(configured({ serve: { port: options.port } }), { ...options, configFile: configFile() })
)
withOptions(
  addCommand(
    program,
    'replay',
    'A recorded data set: train, report, serve. Without configuration; the clock is that of its newest event',
    [
      ['mtmi replay --data clicks.csv --columns user=uid,item=sku,time=ts', 'a file of events'],
      ['mtmi replay --data ml-100k --once --json', 'the figures of a data set as JSON']
    ]
  ),
  [data().makeOptionMandatory(), ...readingOptions(), ...learning(), ...serving()]
)
  .addHelpText('after', () => labOptionsHelp('model'))
  .action(startLearning)
withOptions(
  addCommand(program, 'reset', 'Removal of a run: log, windows, model, index', [
    ['mtmi reset --run ml-100k', 'asks first']
  ]),
  [yes('Do not ask'), json()]
).action(async (options) => (await import('./reset.ts')).reset(configured(), options))

group('One stage a process', 'mtmi sequence --config mtmi.yaml')
for (const [stage, description] of [
  ['ingest', 'The topics of `sources` → interactions and items'],
  ['sequence', 'interactions → user-sequences'],
  ['train', 'user-sequences → model-updates, and checkpoints']
] as const)
  withOptions(addCommand(program, stage, description, [[`mtmi ${stage} --config mtmi.yaml`, 'until Ctrl-C']]), [
    stageOnce(),
    acceptNewTopic(),
    json()
  ]).action((options) => runStage(stage, configured(), options))

const serveAnyway = () => yes('Serve the model even if the gate finds a large loss')
const wait = () =>
  new Option('--wait <seconds>', 'Longest wait until the model is served').argParser(wholeNumber).default(120)
withOptions(
  addCommand(program, 'publish', 'model-updates and user-sequences → the index', [
    ['mtmi publish', 'the stage, until Ctrl-C'],
    ['mtmi publish --rebuild', 'an index version is damaged, or lost vectors: write all of them again'],
    ['mtmi publish --resume', 'an earlier model is no longer needed: serve the newest one']
  ]),
  [
    stageOnce(),
    acceptNewTopic(),
    new Option('--rebuild', 'No stage: all vectors of the newest model into a new index version, which then goes live')
      .default(false, 'no')
      .conflicts(['resume', 'once']),
    new Option('--resume', 'No stage: serve the newest model again, after `rollback --hold` or a rejection by the gate')
      .default(false, 'no')
      .conflicts('once'),
    ...[serveAnyway(), wait(), json()]
  ]
).action(async (options) => {
  if (!options.rebuild && !options.resume) return runStage('publish', configured(), options)
  const { publishNewest } = await import('./changeModel.ts')
  await publishNewest(configured(), options.rebuild ? 'rebuild' : 'resume', options)
})
withOptions(
  addCommand(program, 'serve', 'HTTP: lists from the index, events into the log', [
    ['mtmi serve --port 8080', 'until Ctrl-C']
  ]),
  [port()]
).action((options) => runStage('serve', configured({ serve: { port: options.port } }), { once: false }))

group('Queries', 'mtmi recommend --user u42 --explain')
withOptions(
  addCommand(program, 'recommend', 'Recommendations for a user', [
    ['mtmi recommend --user u42 --limit 5 --explain', 'with the items of the history behind them']
  ]),
  [
    user(),
    limit('Number of items', 10),
    new Option('--explain', 'Name the items of the history behind each').default(false, 'no'),
    json()
  ]
).action(async (options) => (await import('./queries.ts')).recommend(configured(), options))
withOptions(
  addCommand(program, 'similar', 'Items similar to an item', [['mtmi similar --item i7', 'the ten nearest']]),
  [
    new Option('--item <id>', 'Item ID').argParser(nonEmpty('an item')).makeOptionMandatory(),
    limit('Number of items', 10),
    json()
  ]
).action(async (options) => (await import('./queries.ts')).similar(configured(), options))

withOptions(
  addCommand(program, 'export', 'Lists of all users, a line of JSON each. What an interruption left is continued', [
    ['mtmi export --out lists.jsonl --limit 20', 'a file in the form of the HTTP API']
  ]),
  [
    new Option('--out <file>', 'File to write').argParser(nonEmpty('a file')).makeOptionMandatory(),
    limit('Number of items of a list', 10),
    json()
  ]
).action(async (options) => (await import('./export.ts')).exportLists(configured(), options))

group('Model versions', 'mtmi rollback 180 --hold')
withOptions(
  addCommand(program, 'versions', 'What is served, checkpoints, verdicts of the gate', [
    ['mtmi versions --run ml-100k', 'of one run']
  ]),
  [json()]
).action(async (options) => (await import('./versions.ts')).versions(configured(), options))
withOptions(
  addCommand(
    program,
    'rollback',
    'The model of an earlier checkpoint, served again. All users and items are encoded by it into a new index version, which then goes live. The trainer continues from that checkpoint; the present model is kept as a version',
    [
      ['mtmi rollback', 'compare the versions with what is served; nothing changes'],
      ['mtmi rollback 180', 'serve the model of step 180, and train on from it'],
      ['mtmi rollback 180 --hold', 'serve it for now, while the trainer continues with its own']
    ]
  ),
  [
    serveAnyway(),
    new Option(
      '--hold',
      'The trainer keeps its newest model; the earlier one is served until `publish --resume`'
    ).default(false, 'no'),
    ...[wait(), json()]
  ]
)
  .argument('[version]', 'Step of the checkpoint (`mtmi versions`); without it versions are compared', wholeNumber)
  .action(async (step, options) => (await import('./changeModel.ts')).rollback(configured(), step, options))

group('Data', 'mtmi mapping try --topic shop.clicks')
addDataCommands(program, configured, configFile)

group('Set-up and operation', 'mtmi doctor --stage ingest')
addCommand(program, 'setup', 'Installation of what is missing, such as tfjs-node', [
  ['mtmi setup', 'also tries again what failed before']
]).action(async () => (await import('./setUp.ts')).setUp())
withOptions(
  addCommand(program, 'doctor', 'Checks of installation, servers and permissions', [
    ['mtmi doctor --stage ingest', 'Kafka permissions of one stage only']
  ]),
  [
    new Option('--stage <name>', 'Kafka permissions of this stage only (default: all)').choices([
      ...['ingest', 'sequence', 'train', 'publish', 'serve']
    ]),
    json()
  ]
).action(async (options) => (await import('./doctor.ts')).doctor(configured(), options))
withOptions(
  addCommand(program, 'config', 'The configuration in force', [
    ['mtmi config --explain', 'every setting with its variable, bounds and reason']
  ]),
  [new Option('--explain', 'With variables, bounds and reasons').default(false, 'no'), json()]
).action(async (options) => (await import('./showConfig.ts')).showConfig(configured(), options))
addKafkaCommands(program, configured)
const schemas = addCommand(program, 'schemas', 'The schemas in the registry: check, register', [
  ['mtmi schemas check', 'changes nothing']
])
withOptions(
  addCommand(schemas, 'check', 'Registered schemas, and compatibility of the others', [
    ['mtmi schemas check --json', 'for a script']
  ]),
  [json()]
).action(async (options) => (await import('./schemas.ts')).checkSchemas(configured(), options))
withOptions(
  addCommand(schemas, 'register', 'Registration with compatibility BACKWARD_TRANSITIVE', [
    ['mtmi schemas register', 'nothing is registered if one of them is incompatible']
  ]),
  [json()]
).action(async (options) => (await import('./schemas.ts')).registerSchemas(configured(), options))
withOptions(
  addCommand(program, 'erase', 'Erasure of a user. Reports what remains where, and until when', [
    ['mtmi erase --user u42', 'event, window, vectors, training examples']
  ]),
  [user(), json()]
).action(async (options) => (await import('./erase.ts')).erase(configured(), options))

group('Evaluation', 'mtmi evaluate --data ml-100k')
addLabCommands(program, configured)

try {
  await program.parseAsync()
} catch (error) {
  // At once: after a failure something may still wait for an event that will not come.
  await fail(error)
}

/** Reports the error and ends the process with its exit status. */
async function fail(error: unknown): Promise<never> {
  process.exit(explainFailure(await lmdbFault(error, dataDir ?? process.cwd()), undefined, dataDir))
}

/**
 * The configuration in force.
 *
 * @param overrides settings from options of the command
 * @param isWritten whether the command writes the configuration file, which then need not exist
 */
function configured(overrides: Settings = {}, isWritten = false): Config {
  const { config, run, set, ...options } = program.opts<{
    config?: string
    dataDir?: string
    run?: string
    set: Settings[]
  }>()
  const all = [...set, overrides, { dataDir: options.dataDir, run }].reduce<Record<string, unknown>>(mergeSettings, {})
  const engine = environmentVariable('MTMI_BACKEND')
  if (engine !== undefined && !['tensorflow', 'wasm'].includes(engine))
    throw new ConfigError([
      `MTMI_BACKEND is ${JSON.stringify(engine)}: give tensorflow or wasm, or nothing for the better one that loads`
    ])
  const file = configFile()
  const loaded =
    isWritten && file !== null && !existsSync(file) ? configFromEnvironment(undefined, all) : loadConfig(config, all)
  dataDir = path.resolve(loaded.dataDir)
  return loaded
}

/** The settings of `--set`, together. */
function given(): Settings {
  return program.opts<{ set: Settings[] }>().set.reduce<Settings>(mergeSettings, {})
}

/** Absolute path of the configuration file; null: there is none. */
function configFile(): string | null {
  return configFilePath(program.opts<{ config?: string }>().config)
}

async function runStage(
  stage: 'ingest' | 'sequence' | 'train' | 'publish' | 'serve',
  config: Config,
  options: { readonly once: boolean; readonly acceptNewTopic?: boolean; readonly json?: boolean }
): Promise<void> {
  await (await import('../runStage.ts')).runStage(stage, config, { ...options, configFile: configFile() })
}

async function startLearning(given: GivenOptions & Settings): Promise<void> {
  const { model, option, columns, itemColumns, filter, ...options } = given as typeof given & {
    model: string
    option: Settings[]
    port?: number
  }
  const settings = { serve: { port: options.port }, ...typeSettings(options) }
  const config = withModel(configured, model, option, settings)
  const reading = readingOf({ ...options, columns, itemColumns, filter })
  const { start } = await import('../start.ts')
  await start(config, { ...options, ...reading } as unknown as import('../start.ts').StartOptions)
}
