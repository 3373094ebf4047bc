// The commands that measure and compare: `mtmi evaluate`, `study` and `tune`. Their options that are not the product's
// configuration are the lab's (`--option`).

import { type Command, Option } from 'commander'
import { type Config, mergeSettings } from '../../src/core/config/config.ts'
import { learnedModels } from '../../src/core/config/modelOptions.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { offlineProtocols } from '../../src/lab/evaluation/offlineSplit.ts'
import { isSimpleMethod, simpleMethods } from '../../src/lab/evaluation/simpleMethods.ts'
import { streamPolicies } from '../../src/lab/evaluation/streamResult.ts'
import type { Study } from '../../src/lab/evaluation/studyPlan.ts'
import { type LabConfig, labConfig, labOptionsHelp } from '../../src/lab/labOptions.ts'
import {
  addCommand,
  collect,
  data,
  type Example,
  json,
  type Settings,
  wholeNumber,
  wholeNumbers,
  withOptions
} from './commandOptions.ts'
import { format, readingOf, readingOptions, typeSettings } from './dataOptions.ts'

type Configured = (settings?: Settings) => Config

const option = () =>
  new Option('--option <key=value...>', 'Option of the evaluation or the model, such as evaluate.epochsMax=10')
    .argParser(collect)
    .default([], 'none')
const memory = () =>
  new Option('--memory <choice>', 'Also score with the memory: co-occurrence counts of items')
    .choices(['on', 'off'] as const)
    .default('on' as const)
const memorySettings = (choice: 'on' | 'off') => ({ evaluate: { memory: choice === 'on' } })
const out = () => new Option('--out <folder>', 'Folder of the report').default('results')
const seeds = () => new Option('--seed <number...>', 'Seeds (default: seed)').argParser(wholeNumbers)
const protocol = (names: readonly string[]) =>
  new Option('--protocol <name>', 'How the data is split').choices(names).default('users')

const studies = [
  ['compare', 'All models and simple methods on each data set'],
  ['ablation', 'Effect of each part of MTMI'],
  ['sensitivity', 'K against α and β, as heat maps'],
  ['cost', 'Cost of K: training, serving, memory'],
  ['coldstart', 'Users with short histories, and items with few events'],
  ['context', 'Effect of times and side features'],
  ['communication', 'Communicating towers against independent ones']
] as const satisfies readonly (readonly [Study, string])[]

export function addLabCommands(program: Command, configured: Configured): void {
  withOptions(
    addCommand(program, 'evaluate', 'Quality of a model on a data set, or of a run', [
      ['mtmi evaluate --data ml-100k --model mtmi', 'train and test on a data set'],
      ['mtmi evaluate --run ml-100k', 'the progressive report of a run']
    ]),
    [
      data(),
      ...readingOptions(),
      new Option(
        '--model <name>',
        `User model: ${learnedModels.join(', ')}; or simple method: ${simpleMethods.join(', ')}`
      ).default('mtmi'),
      protocol([...offlineProtocols, 'stream']),
      new Option('--policy <name>', 'With --protocol stream: how the model is updated (default: replay)').choices(
        streamPolicies
      ),
      seeds(),
      memory(),
      new Option('--fresh', 'Ignore results that were saved before').default(false, 'no'),
      option(),
      json()
    ]
  )
    .addHelpText('after', () => labOptionsHelp())
    .action(async (options) => {
      const { seed, columns, itemColumns, filter, option: _, memory: choice, ...rest } = options
      const settings = [memorySettings(choice), ...options.option]
      const config = withModel(configured, options.model, settings, typeSettings(options))
      const reading = readingOf({ ...rest, columns, itemColumns, filter })
      await (await import('./evaluate.ts')).evaluate(config, { ...rest, ...reading, seeds: seed ?? [config.seed] })
    })

  const study = addCommand(program, 'study', 'One question, many evaluations: tables and plots', [
    ['mtmi study compare --data ml-100k --seed 1 2 3', 'all models on one data set']
  ])
  for (const [name, description] of studies)
    withOptions(addCommand(study, name, description, [studyExample(name)]), [
      datasets(),
      format(),
      protocol(offlineProtocols),
      seeds(),
      memory(),
      new Option('--model <name...>', 'With compare: only these models (default: all but ease)'),
      new Option('--only <text...>', 'Rows whose name contains one of these').default([], 'all'),
      ...[out(), option(), json()]
    ])
      .addHelpText('after', () => labOptionsHelp())
      .action(async ({ seed, model, option, memory: choice, ...rest }) => {
        const config = withModel(configured, 'mtmi', [memorySettings(choice), ...option])
        // ease takes time by the cube of the items: only where it is named.
        const models = model ?? [...learnedModels, ...simpleMethods.filter((method) => method !== 'ease')]
        for (const one of models) withModel(configured, one, option)
        await (await import('./study.ts')).study(name, config, { ...rest, models, seeds: seed ?? [config.seed] })
      })

  withOptions(
    addCommand(program, 'tune', 'Random search of settings, on validation users', [
      ['mtmi tune --data ml-100k --trials 27', 'the better third of the trials runs three times as long']
    ]),
    [
      datasets(),
      new Option('--model <name...>', 'User models, each with the same budget').default(['mtmi']),
      new Option('--trials <number>', 'Settings tried for each model').argParser(wholeNumber).default(27),
      new Option('--seed <number>', 'Seed (default: seed)').argParser(wholeNumber),
      memory(),
      ...[out(), option(), json()]
    ]
  )
    .addHelpText('after', () => labOptionsHelp())
    .action(async ({ seed, model, trials, option, memory: choice, ...rest }) => {
      const config = withModel(configured, 'mtmi', [memorySettings(choice), ...option])
      for (const one of model) withModel(configured, one, option)
      if (trials < 1) throw new ConfigError([`--trials must be at least 1, not ${trials}`])
      await (await import('./tune.ts')).tune(config, { ...rest, trials, models: model, seed: seed ?? config.seed })
    })
}

const datasets = () => new Option('--data <path...>', 'Data sets: files or folders').makeOptionMandatory()

const studyExample = (name: Study): Example => [`mtmi study ${name} --data ml-100k`, 'on one data set']
/** The configuration with the options of the lab, and with this model unless it is a simple method, which has none. */
export function withModel(
  configured: Configured,
  model: string,
  options: readonly Settings[],
  settings: Settings = {}
): LabConfig {
  const named = isSimpleMethod(model) ? {} : { model: { name: model } }
  try {
    return labConfig(configured(settings), [named, ...options].reduce<Record<string, unknown>>(mergeSettings, {}))
  } catch (error) {
    if (!(error instanceof ConfigError) || !error.problems.some((problem) => problem.startsWith('model.name')))
      throw error
    throw new ConfigError(error.problems.map((problem) => `${problem}; simple methods are ${simpleMethods.join(', ')}`))
  }
}
