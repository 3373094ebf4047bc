import assert from 'node:assert/strict'
import test from 'node:test'
import { configSchema, resolveConfig, variablePaths } from '../../../src/core/config/config.ts'
import { ConfigError } from '../../../src/core/errors.ts'
import { settingsAlone } from '../../support/limits.ts'

test('without a file or variables the defaults are in force', () => {
  const config = resolveConfig(undefined, {})
  assert.equal(config.log, 'local')
  assert.equal(config.train.batchSize, 256)
  assert.equal(config.serve.host, '127.0.0.1')
})

test('a variable wins over the file, the command line over both', () => {
  const file = { train: { batchSize: 64, negatives: 32 }, seed: 4 }
  const config = resolveConfig(file, { MTMI_TRAIN_BATCH_SIZE: '128', MTMI_SEED: '5' }, { seed: 6 })
  assert.equal(config.train.batchSize, 128)
  assert.equal(config.train.negatives, 32)
  assert.equal(config.seed, 6)
})

test('all problems are reported at once, each with its name, its value and what was probably meant', () => {
  const file = { trian: {}, train: { batchSize: -1, negativs: 3 }, model: { repelBeta: 'much' } }
  assert.throws(
    () => resolveConfig(file, { MTMI_MODEL_REPEL_BTA: '0' }),
    (error) => {
      assert(error instanceof ConfigError)
      const text = error.message
      assert.equal(error.problems.length, 5)
      assert.match(text, /trian: there is no such setting; did you mean train\?/)
      assert.match(text, /train\.negativs: .*did you mean negatives\?/)
      assert.match(text, /train\.batchSize: .*given: -1/)
      assert.match(text, /model\.repelBeta: .*given: "much"/)
      assert.match(text, /MTMI_MODEL_REPEL_BTA: .*did you mean MTMI_MODEL_REPEL_BETA\?/)
      return true
    }
  )
})

test('a name that cannot be kept is refused where it is, in a list too, and other names of every object are kept', () => {
  const types = JSON.parse('{"toString": 2, "__proto__": 1}')
  const features = JSON.parse('{"constructor": "a", "__proto__": "b"}')
  const sources = [{ topic: 'goods', kind: 'items', format: 'json', item: 'id', features }]
  assert.throws(
    () => resolveConfig({ events: { types }, sources }, {}),
    (error: ConfigError) => {
      assert.match(error.message, /events\.types\.__proto__: `__proto__` is reserved/)
      assert.match(error.message, /sources\.0\.features\.__proto__/)
      return true
    }
  )
  assert.equal(resolveConfig({ events: { types: { toString: 2 } } }, {}).events.types.toString, 2)
})

test('a file that is not a mapping is refused', () => {
  assert.throws(() => resolveConfig(['a'], {}), /must be a mapping/)
})

test('a user may not be forgotten while steps still count', () => {
  assert.throws(
    () => resolveConfig({ sequence: { idleMaxMs: 1, historyAgeMaxMs: 2 } }, {}),
    /idleMaxMs \(1\) must be at least/
  )
})

test('every setting has a variable, and no two share one', () => {
  const paths = variablePaths(configSchema)
  assert(paths.has('MTMI_SEQUENCE_HISTORY_MAX'))
  const leaves = (value: unknown): number =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.values(value).reduce<number>((sum, inner) => sum + leaves(inner), 0)
      : 1
  const config = resolveConfig(undefined, {})
  const { types, ...events } = config.events
  const { interestCount, dimensions, idwAlpha, repelBeta } = config.model
  const model = { interestCount, dimensions, idwAlpha, repelBeta }
  assert(Object.keys(types).length > 0)
  assert.equal(paths.size, leaves({ ...settingsAlone({ ...config }), events, model }) + 1) // a table, the event types, is one setting, as a list is
})

test('a table can be given in a variable as JSON', () => {
  assert.deepEqual(resolveConfig({}, { MTMI_EVENTS_TYPES: '{"play": 2}' }).events.types, { play: 2 })
})
