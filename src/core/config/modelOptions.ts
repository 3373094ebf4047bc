// What can be configured of a model: on its own, because a model travels with its options.

import { z } from 'zod'
import { count, real } from './settingTypes.ts'

export const modelSchema = z.strictObject({
  name: z
    .enum(['mtmi', 'mind', 'comirec-dr', 'comirec-sa', 'one-vector'])
    .default('mtmi')
    .describe(
      'Architecture of the user model. one-vector: one self-attentive vector with as many weights as MTMI with K = `heads`'
    ),
  interestCount: count(1, 16)
    .default(4)
    .describe('K: number of user towers and of vectors per user. Always 1 for one-vector'),
  dimensions: count(4, 512).default(64).describe('D: length of item and user vectors'),
  loss: z.enum(['softmax', 'triplet']).default('softmax'),
  readout: z
    .enum(['model', 'idw', 'hard', 'label-aware'])
    .default('model')
    .describe(
      'Which interests are trained by a target. idw: all, weighted by inverse distance, with repel (MTMI); hard: the nearest (ComiRec); label-aware: an attention over interests (MIND). model: as published for the architecture'
    ),
  score: z
    .enum(['nearest', 'mixture'])
    .default('mixture')
    .describe(
      'Score of an item from its cosines to the user’s interests, in ranking and in serving. nearest: the greatest cosine; mixture: τ ln mean e^(cosine/τ)'
    ),
  labelAwarePower: real(0, 8)
    .default(2)
    .describe(
      'p of the label-aware readout, over cosine / temperature. 0: even weights; from 4 on nearly the hard choice'
    ),
  temperature: real(0.01, 10)
    .default(0.15)
    .describe(
      'Temperature of the softmax over cosines. Hit rate@20 in one pass over the first 40,000 of MovieLens 100k: .07 .266, .1 .269, .15 .273, .2 .273, .3 .261'
    ),
  margin: real(0, 2).default(0.5).describe('Margin m of the triplet loss, a distance on the unit sphere'),
  idwAlpha: real(0, 64)
    .default(8)
    .describe(
      'α of the inverse distance weights. 0: the mean over the towers; large: the nearest tower only. On the simulation 2 finds 38% of the planted interests at hit rate@20 .385, and 8 finds 66% at .425. Trade-off on the first 40,000 of MovieLens 100k: .272 with 2, .261 with 8'
    ),
  idwForm: z
    .enum(['power', 'gaussian'])
    .default('power')
    .describe(
      'Inverse distance weight by distance d. power: d^−α; gaussian: e^(−d²/2sτ), with s = 1 the responsibilities of expectation maximisation'
    ),
  idwSoftness: real(0.1, 100).default(1.4).describe('s of the gaussian form. Above 1, distant towers get more weight'),
  idwStopGradient: z
    .boolean()
    .default(true)
    .describe('Whether gradients stop at the weights. Otherwise distant towers are pushed away for α > 1'),
  repelBeta: real(0, 100)
    .default(1)
    .describe('β of user representation repel, for readout idw. Below .1 the towers collapse into one'),
  repelMargin: real(0, 2).default(1).describe('m_r: distance from which towers are not repelled further'),
  routingIterations: count(1, 10)
    .default(3)
    .describe('Iterations of dynamic routing (mind, comirec-dr); default as published'),
  heads: count(1, 16).default(4).describe('Towers of one-vector, which are summed'),
  communication: z
    .enum(['none', 'mean'])
    .default('none')
    .describe(
      'Communication between towers. mean: each tower adds the mean of the others’ pooled vectors, through a linear map that starts at 0. For mtmi with at least two towers'
    ),
  context: z
    .enum(['none', 'time'])
    .default('none')
    .describe(
      'Inputs of a step in addition to its item, position and age. time: its distance from the newest step in the day (24 hours) and in the week (7 days). For mtmi and one-vector'
    ),
  featuresHalveAt: count(0, 1_000_000_000)
    .default(100)
    .describe(
      'n: number of interactions at which the weight of an item’s features, n/(n + interactions), is a half. 0: always 1. Hit rate@20 in one pass over MovieLens 100k: 0 .295, 300 .294, 100 .293, 30 .292; over many epochs a much smaller n is best'
    ),
  dropout: real(0, 0.9)
    .default(0)
    .describe('Dropout of the item embeddings that the user towers read. In one pass over the data .2 gains nothing'),
  logQ: z
    .boolean()
    .default(true)
    .describe('Whether logits are corrected by the probability that an item is sampled as a candidate')
})

/** Every name that `name` may have. */
export const learnedModels: readonly string[] = modelSchema.shape.name.unwrap().options

export type ModelOptions = z.infer<typeof modelSchema>

/** K: vectors per user. */
export function interestCountOf({ name, interestCount }: Pick<ModelOptions, 'name' | 'interestCount'>): number {
  return name === 'one-vector' ? 1 : interestCount
}
