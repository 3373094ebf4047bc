// What a study runs: cells, each one model with some settings changed, and how they are shown.

import type { SimpleMethod } from './simpleMethods.ts'

export const studies = ['compare', 'ablation', 'sensitivity', 'cost', 'coldstart', 'context', 'communication'] as const
export type Study = (typeof studies)[number]

/** The question, as the report's first line. */
export const studyQuestions: Readonly<Record<Study, string>> = {
  compare:
    'Which model finds more of what held-out users took next, when table, item tower, loss, sampler, trainer and budget are the same?',
  ablation: 'What is each part of mtmi good for? Each row changes one thing of the first.',
  sensitivity: 'How much do the number of interests (K), the inverse distance weights (α) and repel (β) matter?',
  cost: 'What does an interest more cost: learning, serving, memory?',
  coldstart: 'What is found for users of whom little is known, and of items that were hardly met in training?',
  context:
    'Does it help the towers to know when a step happened, and what its item is? A step carries item, type and time; what else an event says (context) does not reach histories, and is not tried here.',
  communication:
    'Do towers that hear what the others read (the mean of what they pooled, through a map that starts at 0) beat independent ones? One vector, which adds the towers up, stands beside them.'
}

export interface StudyCell {
  /** What is asked with it: the heading of its rows. */
  readonly question: string
  /** The row. */
  readonly name: string
  readonly model: string
  /** Settings that differ from those in force, as nested objects. */
  readonly settings: Readonly<Record<string, unknown>>
  /** Name of the row that it is held against, seed by seed. */
  readonly against?: string
  /** Of a grid: where it stands. */
  readonly at?: { readonly x: number; readonly y: number; readonly xName: string; readonly yName: string }
}

interface StudyOptions {
  /** Learned models to compare. */
  readonly models: readonly string[]
  readonly simple: readonly SimpleMethod[]
}

/** α that stands for the nearest tower alone: e^(−64 ln d) leaves nothing for the others. */
const hardest = 64

export function studyCells(study: Study, options: StudyOptions): StudyCell[] {
  const model = (question: string, name: string, settings: Record<string, unknown> = {}, of = 'mtmi'): StudyCell => ({
    question,
    name,
    model: of,
    settings
  })
  const mtmi = (question: string, name: string, settings: Record<string, unknown>) =>
    model(question, name, { model: settings })
  const simple = (names: readonly SimpleMethod[]) => names.map((name) => model('simple methods', name, {}, name))
  /** All but the first are held against the first. */
  const againstFirst = ([first, ...others]: StudyCell[]) => [
    first!,
    ...others.map((cell) => ({ ...cell, against: first!.name }))
  ]
  switch (study) {
    case 'compare':
      return [...options.models.map((name) => model('learned models', name, {}, name)), ...simple(options.simple)]
    case 'ablation':
      return againstFirst([
        model('as it is', 'mtmi', {}),
        mtmi('inverse distance weights (α)', 'α 0: the mean of the towers', { idwAlpha: 0 }),
        ...[1, 2, 4].map((idwAlpha) => mtmi('inverse distance weights (α)', `α ${idwAlpha}`, { idwAlpha })),
        mtmi('inverse distance weights (α)', 'α 64: the nearest tower alone', { idwAlpha: hardest }),
        mtmi('inverse distance weights (form)', 'no stop-gradient', { idwStopGradient: false }),
        mtmi('inverse distance weights (form)', 'gaussian', { idwForm: 'gaussian' }),
        mtmi('score of an item', 'by the nearest interest', { score: 'nearest' }),
        mtmi('inverse distance weights (form)', 'triplet', { loss: 'triplet' }),
        mtmi('what keeps towers apart', 'nothing', { repelBeta: 0 }),
        model('side features of an item', 'always in full', { evaluate: { featuresHalveAt: 0 } }),
        ...[256, 1024].map((negatives) => model('negatives', `${negatives}`, { evaluate: { negatives } })),
        mtmi('negatives', 'no logQ correction', { logQ: false }),
        ...[0.05, 0.1, 0.2].map((temperature) => model('temperature', `${temperature}`, { evaluate: { temperature } })),
        ...[256, 4096].map((batchSize) => model('batch size', `${batchSize}`, { evaluate: { batchSize } }))
      ])
    case 'sensitivity':
      return [
        ...grid('K', [2, 4, 8], 'α', [0, 2, 8], (interestCount, idwAlpha) => ({ interestCount, idwAlpha })),
        ...grid('K', [2, 4, 8], 'β', [0, 0.3, 1, 3], (interestCount, repelBeta) => ({ interestCount, repelBeta }))
      ]
    case 'cost':
      return [1, 2, 4, 8, 16].map((interestCount) => mtmi('interests', `K ${interestCount}`, { interestCount }))
    case 'coldstart':
      return [
        model('learned models', 'mtmi', {}),
        model('learned models', 'mtmi without side features', { evaluate: { features: false } }),
        mtmi('learned models', 'one interest', { interestCount: 1 }),
        ...simple(['item-to-item', 'most-popular'])
      ]
    case 'context':
      return againstFirst([
        model('what the towers know of a step', 'item, place, age, side features', {}),
        mtmi('what the towers know of a step', 'and how far apart in the day and the week', { context: 'time' }),
        model('what the towers know of a step', 'without age', { evaluate: { times: false } }),
        model('what the towers know of a step', 'without side features', { evaluate: { features: false } }),
        model('what the towers know of a step', 'item and place alone', { evaluate: { times: false, features: false } })
      ])
    case 'communication': {
      const independent = (K: number) => `independent towers, K ${K}`
      const hearing = [4, 8].flatMap((interestCount) => [
        mtmi('towers', independent(interestCount), { interestCount }),
        {
          ...mtmi('towers', `towers that hear the others, K ${interestCount}`, {
            interestCount,
            communication: 'mean'
          }),
          against: independent(interestCount)
        }
      ])
      return [
        ...hearing,
        { ...model('towers', 'one vector: the towers added up', {}, 'one-vector'), against: independent(4) }
      ]
    }
  }
}

function grid(
  xName: string,
  xs: readonly number[],
  yName: string,
  ys: readonly number[],
  settings: (x: number, y: number) => Record<string, unknown>
): StudyCell[] {
  return xs.flatMap((x) =>
    ys.map((y) => ({
      question: `${xName} × ${yName}`,
      name: `${xName} ${x}, ${yName} ${y}`,
      model: 'mtmi',
      settings: { model: settings(x, y) },
      at: { x, y, xName, yName }
    }))
  )
}
