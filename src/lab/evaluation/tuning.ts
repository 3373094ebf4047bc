// Random search with successive halving: many settings for few epochs, the better ones for more. The same draws for
// every model.

import { setOwn } from '../../core/own.ts'
import type { Rng } from '../../core/rng.ts'

export interface Trial {
  readonly number: number
  /** Nested, as settings are. */
  readonly settings: { readonly model: Record<string, number>; readonly evaluate: Record<string, number> }
}

interface Rung {
  readonly epochs: number
  readonly trials: number
}

type Draw = (rng: Rng) => number

const logUniform =
  (least: number, most: number): Draw =>
  (rng) =>
    significant(least * (most / least) ** rng.uniform())
const uniform =
  (least: number, most: number): Draw =>
  (rng) =>
    significant(least + (most - least) * rng.uniform())
const oneOf =
  (...values: number[]): Draw =>
  (rng) =>
    values[rng.integer(values.length)]!

/** What is searched. Ranges hold every value that papers use, and a factor of two beyond. */
const indexVersion: Readonly<Record<`${'model' | 'evaluate'}.${string}`, Draw>> = {
  'evaluate.denseLearningRate': logUniform(0.0005, 0.01),
  'evaluate.rowLearningRate': logUniform(0.01, 0.3),
  'evaluate.dropout': uniform(0, 0.5),
  'evaluate.temperature': logUniform(0.05, 0.4),
  'evaluate.negatives': oneOf(512, 1024, 2048),
  'evaluate.historyMax': oneOf(10, 20, 50),
  'model.interestCount': oneOf(2, 4, 8),
  'model.idwAlpha': oneOf(0, 1, 2, 4, 8, 16),
  'model.repelBeta': logUniform(0.1, 5),
  'model.repelMargin': uniform(0.6, 1.4)
}

/**
 * Every setting is drawn for every trial, whether the model knows it or not: so that trial n is the same for each
 * model.
 */
export function drawTrials(count: number, rng: Rng): Trial[] {
  return Array.from({ length: count }, (_, number): Trial => {
    const settings: Trial['settings'] = { model: {}, evaluate: {} }
    // The first trial is what is in force now: nothing is recommended that is worse.
    if (number === 0) return { number, settings }
    for (const [name, draw] of Object.entries(indexVersion)) {
      const [section, key] = name.split('.') as ['model' | 'evaluate', string]
      setOwn(settings[section], key, draw(rng))
    }
    return { number, settings }
  })
}

/**
 * @param trials of the first rung @param epochsMax of the last one @returns each with a third of the trials and three
 *   times the epochs of the one before
 */
export function rungs(trials: number, epochsMax: number): Rung[] {
  const steps: Rung[] = []
  for (
    let left = trials, back = Math.floor(Math.log(trials) / Math.log(3));
    back >= 0;
    left = Math.max(1, Math.floor(left / 3)), back--
  )
    steps.push({ epochs: Math.max(1, Math.round(epochsMax / 3 ** back)), trials: left })
  return steps
}

/** Three digits: what is printed is what was run. */
function significant(value: number): number {
  return Number(value.toPrecision(3))
}
