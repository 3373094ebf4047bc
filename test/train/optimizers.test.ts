import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../src/core/rng.ts'
import { ItemTable } from '../../src/train/batch/itemTable.ts'
import { Adam } from '../../src/train/step/adam.ts'
import { updateRows } from '../../src/train/step/rowAdagrad.ts'

const close = (a: number, b: number, tolerance = 1e-6) => assert.ok(Math.abs(a - b) <= tolerance, `${a}, expected ${b}`)

test('Adam: the first step moves each weight by the rate, against its gradient; the second follows the moments', () => {
  const adam = new Adam({ learningRate: 0.1, beta1: 0.9, beta2: 0.99 })
  const weights = { w: Float32Array.of(1, 1, 1) }
  adam.update(weights, { w: Float32Array.of(4, -0.5, 0) }, 1)
  // m̂ = g and √v̂ = |g|: the step is η·sign(g).
  close(weights.w[0]!, 0.9)
  close(weights.w[1]!, 1.1)
  close(weights.w[2]!, 1)
  adam.update(weights, { w: Float32Array.of(0, 0, 0) }, 1)
  // m = .9·.4 = .36, m̂ = .36/.19; v = .99·.16 = .1584, v̂ = .1584/.0199; step .1·1.894737/2.821311 = .0671580
  close(weights.w[0]!, 0.9 - 0.067158, 1e-5)
})

test('Adam: clipping scales the gradient, and the state survives a restore', () => {
  const make = () => ({ adam: new Adam({ learningRate: 0.01 }), weights: { w: Float32Array.of(0.3, -0.2) } })
  const a = make()
  const b = make()
  a.adam.update(a.weights, { w: Float32Array.of(8, 2) }, 0.5)
  b.adam.update(b.weights, { w: Float32Array.of(4, 1) }, 1)
  assert.deepEqual(a.weights, b.weights)
  const c = make()
  c.adam.restore(b.adam.step, b.adam.state())
  c.weights.w.set(b.weights.w)
  for (const side of [a, c]) side.adam.update(side.weights, { w: Float32Array.of(-1, 3) }, 1)
  assert.deepEqual(c.weights, a.weights)
})

test('row-wise Adagrad: one accumulator a row, padding and rows without a gradient left alone', () => {
  const table = new ItemTable({ dimensions: 2, itemsMax: 10, admissionMin: 1, rng: new Rng(1) })
  const [a, b] = [table.observe('a', 0), table.observe('b', 0)]
  table.values(a).set([1, 1])
  table.values(b).set([1, 1])
  table.takeDirty()
  const written = updateRows(table, Int32Array.of(0, a, b), Float32Array.of(9, 9, 3, 4, 0, 0), 1, 0.1)
  assert.equal(written, 1)
  // a: mean of 9 and 16 is 12.5; the step .1·(3, 4)/√12.5 = (.0848528, .1131371)
  close(table.accumulator(a), 12.5)
  close(table.values(a)[0]!, 1 - 0.0848528)
  close(table.values(a)[1]!, 1 - 0.1131371)
  assert.deepEqual([...table.values(b)], [1, 1])
  assert.deepEqual([...table.takeDirty()], [a])
  // Again with the same gradient: the accumulator doubles, the step shrinks by √2.
  updateRows(table, Int32Array.of(a), Float32Array.of(3, 4), 1, 0.1)
  close(table.values(a)[0]!, 1 - 0.0848528 * (1 + Math.SQRT1_2))
})
