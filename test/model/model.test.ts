// What a model declares, what travels of it, and what is refused.
import '../../src/lab/models/comparisonModels.ts'
import assert from 'node:assert/strict'
import test from 'node:test'
import { modelSchema } from '../../src/core/config/modelOptions.ts'
import { ConfigError, CorruptError } from '../../src/core/errors.ts'
import { Rng } from '../../src/core/rng.ts'
import { createModel, differences, modelFromJson, modelToJson, modelVersionOf } from '../../src/model/model.ts'
import { checkWeights, sizeOf } from '../../src/model/weights.ts'

const optionsOf = (model: Record<string, unknown>) => modelSchema.parse(model)

test('first values have the declared shapes, and the same seed gives the same ones', () => {
  const model = createModel(optionsOf({ dimensions: 8, interestCount: 3 }), 5)
  const weights = model.initialWeights(new Rng(4))
  assert.deepEqual(Object.keys(weights), Object.keys(model.shapes))
  for (const [name, shape] of Object.entries(model.shapes)) assert.equal(weights[name]!.length, sizeOf(shape), name)
  assert.deepEqual(model.initialWeights(new Rng(4)), weights)
  assert.equal(checkWeights(weights, model.shapes)['item.bias'], weights['item.bias'])
})

test('weights that are missing, of another size or of another model are named, all of them', () => {
  const model = createModel(optionsOf({ dimensions: 4, interestCount: 2 }), 5)
  const { 'user.bias': _, ...rest } = model.initialWeights(new Rng(4))
  assert.throws(
    () => checkWeights({ ...rest, 'item.bias': new Float32Array(3), 'routing.map': new Float32Array(1) }, model.shapes),
    (error: unknown) => {
      assert.ok(error instanceof ConfigError)
      assert.equal(error.problems.length, 3)
      assert.match(error.problems[0]!, /'user.bias' must have 8 values \(\[2, 1, 4\]\), but has none/)
      assert.match(error.problems[1]!, /'item.bias' must have 4 values \(\[4\]\), but has 3/)
      assert.match(error.problems[2]!, /'routing.map' is of another model/)
      return true
    }
  )
})

test('a model travels as JSON; options that came later are as they were before', () => {
  const options = optionsOf({ dimensions: 8, interestCount: 3, temperature: 0.3 })
  const model = modelFromJson(modelToJson(options, 7))
  assert.deepEqual(model.architecture, createModel(options, 7).architecture)
  assert.deepEqual(
    modelFromJson('{"name":"mtmi","interestCount":3,"dimensions":8,"historyMax":7}').architecture,
    model.architecture
  )
  assert.equal(modelVersionOf(options), 'mtmi-3x8')
  assert.equal(modelVersionOf(optionsOf({ dimensions: 8, context: 'time', idwAlpha: 4 })), 'mtmi-4x8-context-time')
})

test('a model that this program does not know is refused by name; what is no model is corrupt', () => {
  const text = '{"name":"oracle","interestCount":3,"dimensions":8,"historyMax":7}'
  assert.throws(() => modelFromJson(text), {
    name: 'ConfigError',
    message: /model has name "oracle", which this program does not know/
  })
  assert.throws(() => modelFromJson('{'), CorruptError)
  assert.throws(() => modelFromJson('{"name":"mtmi","interestCount":3,"dimensions":8}'), CorruptError)
})

test('architectures differ in sentences', () => {
  const { architecture } = createModel(optionsOf({ dimensions: 8, interestCount: 3 }), 7)
  assert.deepEqual(differences(architecture, { ...architecture }), [])
  assert.deepEqual(differences(architecture, { ...architecture, name: 'mind', dimensions: 16 }), [
    "name is mtmi, but the checkpoint has mind: restore the setting, or start a new model with 'mtmi reset'",
    "dimensions is 8, but the checkpoint has 16: restore the setting, or start a new model with 'mtmi reset'"
  ])
})
