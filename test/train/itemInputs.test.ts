// What the towers read of an item, by how often it was met; and the gradient of the same.
import assert from 'node:assert/strict'
import test from 'node:test'
import { modelSchema } from '../../src/core/config/modelOptions.ts'
import { Rng } from '../../src/core/rng.ts'
import { createModel } from '../../src/model/model.ts'
import { ItemTable } from '../../src/train/batch/itemTable.ts'
import { ItemInputs } from '../../src/train/itemInputs.ts'

const D = 4

function setUp(featuresHalveAt: number) {
  const table = (seed: number) => new ItemTable({ dimensions: D, itemsMax: 100, admissionMin: 1, rng: new Rng(seed) })
  const [items, features] = [table(1), table(2)]
  const rows = ['once', 'thrice'].map((itemId) => items.observe(itemId, 0))
  for (let i = 0; i < 2; i++) items.observe('thrice', 0)
  const [a, b] = ['a', 'b'].map((feature) => features.observe(feature, 0)) as [number, number]
  // An item met once, one met three times, and one without a row that is known by a feature.
  const batch = {
    items: Int32Array.of(...rows, 0),
    features: { start: Int32Array.of(0, 2, 3, 4), rows: Int32Array.of(a, b, b, a) }
  }
  const model = createModel(modelSchema.parse({ dimensions: D, featuresHalveAt }), 5)
  const valuesOf = (of: ItemTable, row: number) => {
    const out = new Float32Array(D)
    of.gather(Int32Array.of(row), out)
    return out
  }
  const [rowA, rowB] = [valuesOf(features, a), valuesOf(features, b)]
  return {
    inputs: new ItemInputs(items, features, model),
    batch,
    a,
    b,
    rowA,
    rowB,
    own: rows.map((row) => valuesOf(items, row))
  }
}

for (const { halveAt, once, thrice } of [
  { halveAt: 3, once: 3 / 4, thrice: 1 / 2 },
  { halveAt: 0, once: 1, thrice: 1 }
]) {
  test(`features halve at ${halveAt}: an item met once adds ${once} of their mean to its row, one met three times ${thrice}, one without a row all`, () => {
    const { inputs, batch, a, b, rowA, rowB, own } = setUp(halveAt)
    const gathered = inputs.gather(batch.items, batch.features)
    for (let i = 0; i < D; i++) {
      assert.ok(Math.abs(gathered[i]! - (own[0]![i]! + (once * (rowA[i]! + rowB[i]!)) / 2)) < 1e-6)
      assert.ok(Math.abs(gathered[D + i]! - (own[1]![i]! + thrice * rowB[i]!)) < 1e-6)
      assert.ok(Math.abs(gathered[2 * D + i]! - rowA[i]!) < 1e-6)
    }
    const gradients = Float32Array.from({ length: 3 * D }, (_, i) => i + 1)
    const { rows, gradients: found } = inputs.featureGradients(batch.items, batch.features, gradients)
    assert.deepEqual([...rows].sort(), [a, b].sort())
    for (let i = 0; i < D; i++) {
      const [first, second, third] = [i + 1, D + i + 1, 2 * D + i + 1] as const
      assert.ok(Math.abs(found[rows.indexOf(a) * D + i]! - ((once * first) / 2 + third)) < 1e-5)
      assert.ok(Math.abs(found[rows.indexOf(b) * D + i]! - ((once * first) / 2 + thrice * second)) < 1e-5)
    }
  })
}
