import assert from 'node:assert/strict'
import test from 'node:test'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { Rng } from '../../../src/core/rng.ts'
import { drawTrials, rungs } from '../../../src/lab/evaluation/tuning.ts'
import { labConfig } from '../../../src/lab/labOptions.ts'

test('rungs: a third of the trials, three times the epochs', () => {
  assert.deepEqual(rungs(27, 27), [
    { epochs: 1, trials: 27 },
    { epochs: 3, trials: 9 },
    { epochs: 9, trials: 3 },
    { epochs: 27, trials: 1 }
  ])
  assert.deepEqual(rungs(1, 10), [{ epochs: 10, trials: 1 }])
  assert.deepEqual(rungs(4, 2), [
    { epochs: 1, trials: 4 },
    { epochs: 2, trials: 1 }
  ])
})

test('trials: the settings in force, then draws within the bounds, the same for the same seed', () => {
  const trials = drawTrials(40, new Rng(3))
  assert.deepEqual(trials[0], { number: 0, settings: { model: {}, evaluate: {} } })
  assert.deepEqual(drawTrials(40, new Rng(3)), trials)
  assert.notDeepEqual(drawTrials(40, new Rng(4)), trials)
  const config = resolveConfig(undefined, {})
  for (const { settings } of trials) labConfig(config, settings)
  // A longer search begins like a shorter one.
  assert.deepEqual(drawTrials(10, new Rng(3)), trials.slice(0, 10))
})
