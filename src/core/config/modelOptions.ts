// What can be configured of a model: on its own, because a model travels with its options.

import { z } from 'zod'
import { count, real } from './settingTypes.ts'

/** Those that make one vector of a history, whatever `interestCount` says. */
const ofOneVector: readonly string[] = ['one-vector', 'transformer']

export const modelSchema = z.strictObject({
  name: z
    .enum(['mtmi', 'mind', 'comirec-dr', 'comirec-sa', 'one-vector', 'transformer', 'mtmi-transformer'])
    .default('mtmi')
    .describe(
      'What makes interests of a history; all else is the same. The last three: one self-attentive vector with as many weights as MTMI has at K = `heads`; one causal transformer; K independent ones'
    ),
  interestCount: count(1, 16)
    .default(4)
    .describe('K: user towers, and vectors per user; 1 for one-vector and transformer, whatever is said here'),
  dimensions: count(4, 512).default(64).describe('D'),
  loss: z.enum(['softmax', 'triplet']).default('softmax'),
  readout: z
    .enum(['model', 'idw', 'hard', 'label-aware'])
    .default('model')
    .describe(
      'Which interests learn from a target. idw: all, by inverse distance, with repel (MTMI); hard: the nearest alone (ComiRec); label-aware: one vector, mixed by how near each is (MIND). model: as the model was published'
    ),
  score: z
    .enum(['nearest', 'mixture'])
    .default('mixture')
    .describe(
      'What an item’s cosines to the interests of a user make of it, in ranking as in serving. nearest: the greatest; mixture: τ ln mean e^(cosine/τ), so that what several interests like counts for more'
    ),
  labelAwarePower: real(0, 8)
    .default(2)
    .describe(
      'p of the label-aware readout, over cosine / temperature: 0 mixes the interests evenly, from 4 on it is nearly the hard choice'
    ),
  temperature: real(0.01, 10)
    .default(0.15)
    .describe(
      'Of the softmax over cosines. One pass over the first 40,000 of MovieLens 100k, hit rate@20: .07 .266, .1 .269, .15 .273, .2 .273, .3 .261'
    ),
  margin: real(0, 2).default(0.5).describe('m of the triplet form, in distance on the unit sphere'),
  idwAlpha: real(0, 64)
    .default(8)
    .describe(
      'α of the inverse distance weights: 0 is the mean over the towers, large is the nearest tower alone. A small one turns all towers to what is wanted now: on the simulation 2 finds 38% of the planted interests at hit rate@20 .385, 8 finds 66% at .425. The price, on the first 40,000 of MovieLens 100k: .261 against .272'
    ),
  idwForm: z
    .enum(['power', 'gaussian'])
    .default('power')
    .describe(
      'How weights fall with the distance d: power, d^−α; gaussian, e^(−d²/2sτ). With s 1 they are what each interest answers for of the target’s likelihood, as in expectation maximisation'
    ),
  idwSoftness: real(0.1, 100)
    .default(1.4)
    .describe('s of the gaussian form: above 1 further towers learn more than they answer for'),
  idwStopGradient: z
    .boolean()
    .default(true)
    .describe('Weights as constants; without it far towers are pushed away for α > 1'),
  repelBeta: real(0, 100)
    .default(1)
    .describe('β of user representation repel: below .1 the towers collapse into one. Counts with readout idw'),
  repelMargin: real(0, 2).default(1).describe('m_r: towers further apart than this are left alone'),
  hardNegativesBeta: real(0, 16)
    .default(0)
    .describe('β of REMI: a negative weighs e^(β·cosine/temperature), with mean 1. 0: all alike. For the softmax loss'),
  routingRegularisation: real(0, 1e6)
    .default(0)
    .describe(
      'λ of REMI: times the sum over interests of the squared variance of their shares in the steps, against an interest that lives on one step'
    ),
  routingIterations: count(1, 10).default(3).describe('Of dynamic routing (mind, comirec-dr), as published'),
  heads: count(1, 16)
    .default(4)
    .describe('Of one-vector’s attention; of each transformer’s, where they must divide `dimensions`'),
  layers: count(1, 8).default(2).describe('Of each transformer'),
  communication: z
    .enum(['none', 'mean'])
    .default('none')
    .describe(
      'Whether towers tell each other what they read before they say what they want. mean: each adds the mean of what the others pooled, through a map of its own that starts at 0. For mtmi with two towers or more'
    ),
  context: z
    .enum(['none', 'time'])
    .default('none')
    .describe(
      'What the towers know of a step beyond its item, place and age. time: how far it is from the newest step in the day (24 hours) and in the week (7 days). For mtmi and one-vector'
    ),
  featuresHalveAt: count(0, 1_000_000_000)
    .default(100)
    .describe(
      'n: interactions of an item after which its features count half, n/(n + its interactions) of them being added to its row; 0: they always count in full. A new item is what its features say, a known one what was clicked beside it. One pass over MovieLens 100k, hit rate@20: 0 .295, 300 .294, 100 .293, 30 .292; over many epochs much less is best (evaluate.featuresHalveAt)'
    ),
  dropout: real(0, 0.9)
    .default(0)
    .describe(
      'Of the numbers of item rows that the user towers read. In one pass nothing is seen often enough to be learned by heart: .2 gains nothing'
    ),
  logQ: z.boolean().default(true).describe('Correct for how often an item is drawn as a candidate')
})

/** Every name that `name` may have. */
export const learnedModels: readonly string[] = modelSchema.shape.name.unwrap().options

export type ModelOptions = z.infer<typeof modelSchema>

/** K: vectors per user. */
export function interestCountOf({ name, interestCount }: Pick<ModelOptions, 'name' | 'interestCount'>): number {
  return ofOneVector.includes(name) ? 1 : interestCount
}

/** What no single bound can say. */
export function modelProblems(options: ModelOptions): string[] {
  const { name, dimensions, heads, routingRegularisation, hardNegativesBeta, loss } = options
  const problems: string[] = []
  const isTransformer = name === 'transformer' || name === 'mtmi-transformer'
  if (isTransformer && dimensions % heads !== 0) {
    problems.push(
      `model.heads (${heads}) must divide model.dimensions (${dimensions}): each head of a transformer reads a share of them`
    )
  }
  if (isTransformer && routingRegularisation > 0) {
    problems.push(
      `model.routingRegularisation (${routingRegularisation}) must be 0 with model.name ${name}: a transformer has no one share for each step and interest`
    )
  }
  if (hardNegativesBeta > 0 && loss !== 'softmax') {
    problems.push(
      `model.hardNegativesBeta (${hardNegativesBeta}) must be 0 with model.loss ${loss}: it weighs the negatives of the softmax`
    )
  }
  return problems
}
