// The options of the lab's commands: how `mtmi evaluate`, `study` and `tune` train and test, and every option of a model.
// They are no settings: one value is measured to be right for the stream, and only a study varies it.

import { type Config, describeIssue, describeSchema } from '../core/config/config.ts'
import { sequenceSchema, trainSchema } from '../core/config/learningOptions.ts'
import { modelSchema } from '../core/config/modelOptions.ts'
import { count, real } from '../core/config/settingTypes.ts'
import { ConfigError } from '../core/errors.ts'
import { z } from '../core/stateFile.ts'

const { historyMax } = sequenceSchema.unwrap().shape
const { batchSize, negatives, denseLearningRate } = trainSchema.unwrap().shape
const { dropout, featuresHalveAt, temperature } = modelSchema.shape

/** What the state of a trained model depends on, of `evaluate`. The ranges are those of the settings of these names. */
export const trainingShape = {
  historyMax: historyMax
    .unwrap()
    .default(20)
    .describe('Newest steps of a history that the model reads. 20 is usual for the data sets of the papers'),
  batchSize: batchSize
    .unwrap()
    .default(1024)
    .describe('Positions a step. ComiRec gains a fifth of recall from 1,024 instead of 128'),
  negatives: negatives
    .unwrap()
    .default(2048)
    .describe('Drawn by popularity, shared by the batch: as good as a softmax over all items at a third of its cost'),
  denseLearningRate: denseLearningRate
    .unwrap()
    .default(0.002)
    .describe('Adam, for the towers. Many epochs bear less than one pass of a stream'),
  rowLearningRate: real(0, 10).default(0.05).describe('Row-wise Adagrad, for item and feature rows'),
  dropout: dropout
    .unwrap()
    .default(0.2)
    .describe('In one pass model.dropout is 0; over many epochs histories are learned by heart without it'),
  temperature: temperature
    .unwrap()
    .default(0.12)
    .describe(
      'As model.temperature, which is for one pass: many epochs bear a sharper softmax. Recall@50 on Gowalla’s tail, .15 / .12: MTMI .314 / .323, one vector .311 / .318'
    )
}

const evaluateSchema = z.strictObject({
  interactionsMin: count(1, 1000)
    .default(5)
    .describe(
      'Of `mtmi evaluate --data`: items with fewer interactions are left out, then users with fewer. 5 is what papers use'
    ),
  ...trainingShape,
  featuresHalveAt: featuresHalveAt
    .unwrap()
    .default(3)
    .describe(
      'As model.featuresHalveAt, which is for one pass: over many epochs features are learned at the cost of rows. MovieLens 100k, Recall@50 of 190 held-out users, seeds 1 and 2: without features .339 .329, 3 .338 .332, 30 .333 .329, always in full .320 .306'
    ),
  epochsMax: count(1, 10_000).default(40),
  patience: count(1, 1000)
    .default(3)
    .describe(
      'Epochs without a better Recall@50 on the validation users after which it stops; the best weights are kept'
    ),
  periods: count(2, 10_000)
    .default(10)
    .describe(
      'Of --protocol stream, where the files of the data set are not periods themselves: parts of as many interactions each'
    ),
  periodTargetsMax: count(0, 100_000_000)
    .default(5000)
    .describe(
      'Targets of a period that are asked, drawn by seed; 0: all. With 5,000 a recall of .35 is known within .007 (one standard error)'
    ),
  periodFrom: count(1, 10_000)
    .default(1)
    .describe(
      'Periods before this one are learned, but not asked; --policy retrain does not learn them one by one either'
    ),
  periodEpochs: count(1, 1000)
    .default(10)
    .describe('Maximum number of epochs over the periods that a model is trained on from scratch'),
  periodPatience: count(1, 1000)
    .default(1)
    .describe(
      'Of these, without a better Recall@20 on held-out users of the newest period, after which it stops; the best weights are kept'
    ),
  updateEpochs: count(1, 1000)
    .default(3)
    .describe(
      'Over a period that an existing model is updated with. On DIGINETICA two are worse than training from scratch, three are not'
    ),
  updateReplay: real(0, 8).default(1).describe('Older interactions beside each new one with --policy replay'),
  memory: z
    .boolean()
    .default(true)
    .describe('Also score with the memory (co-occurrence counts of items). Tables show figures with and without it'),
  times: z.boolean().default(true).describe('Whether the towers see how old a step is, where the data set has times'),
  features: z
    .boolean()
    .default(true)
    .describe('Whether the towers read side features of items, where the data set has any')
})

const labSchema = z.strictObject({ model: modelSchema.prefault({}), evaluate: evaluateSchema.prefault({}) })

type EvaluateOptions = z.infer<typeof evaluateSchema>
type LabOptions = Readonly<Record<string, unknown>>
/** The settings, with those of the lab; `model` has every option of a model. */
export type LabConfig = Config & { readonly evaluate: EvaluateOptions }

/**
 * @param options nested: `{ model: { dropout: 0.1 }, evaluate: { epochsMax: 10 } }`
 * @throws ConfigError with every problem at once
 */
export function labConfig(
  config: Config & { readonly evaluate?: EvaluateOptions },
  options: LabOptions = {}
): LabConfig {
  const given = {
    ...options,
    model: { ...config.model, ...(options.model as object | undefined) },
    evaluate: { ...config.evaluate, ...(options.evaluate as object | undefined) }
  }
  const parsed = labSchema.safeParse(given)
  if (!parsed.success)
    throw new ConfigError(parsed.error.issues.flatMap((issue) => describeIssue(labSchema, issue, given)))
  return { ...config, ...parsed.data }
}

/** What `--option` takes, for the help of a command. @param section only this one */
export function labOptionsHelp(section?: 'model'): string {
  const settings = describeSchema(labSchema, labSchema.parse({}))
    .filter(({ path }) => section === undefined || path.startsWith(`${section}.`))
    .map(({ path, value, reason }) => `  ${path}=${String(value)}${reason === undefined ? '' : `\n      ${reason}`}`)
  return ['', 'Options of --option, with their defaults:', ...settings].join('\n')
}
