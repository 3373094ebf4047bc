import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../../src/core/rng.ts'
import { cutWindows, type TrainingWindow } from '../../../src/lab/evaluation/trainingWindow.ts'
import { assembleWindows, unrolled } from '../../../src/lab/evaluation/windowBatch.ts'
import type { Example } from '../../../src/records/example.ts'
import { BatchAssembler } from '../../../src/train/batch/batchAssembler.ts'
import { CandidateSampler } from '../../../src/train/batch/candidateSampler.ts'
import { ItemTable } from '../../../src/train/batch/itemTable.ts'

const step = (itemId: string, seconds: number, type = 'click') => ({ itemId, type, eventTimeMs: 1000 * seconds })
const all = () => 1

/** Two assemblers that draw the same negatives, over one table of the items given. */
function assemblers(known: readonly string[], historyMax: number): [BatchAssembler, BatchAssembler] {
  const rng = new Rng(1)
  const items = new ItemTable({ dimensions: 4, itemsMax: 100, admissionMin: 1, rng: rng.fork('items') })
  const features = new ItemTable({ dimensions: 4, itemsMax: 100, admissionMin: 1, rng: rng.fork('features') })
  const sampler = new CandidateSampler({ items })
  for (const itemId of known) sampler.observe(items.observe(itemId, 0))
  const make = () =>
    new BatchAssembler({ items, features, sampler, historyMax, negatives: 5, rng: new Rng(9), featuresOf: () => [] })
  return [make(), make()]
}

/** The examples of the windows, one by one. */
function examplesOf(windows: readonly TrainingWindow[]): Example[] {
  return windows.flatMap(({ userId, steps, targets }) =>
    targets.map(({ at, weight }) => ({
      userId,
      history: steps.slice(0, at),
      target: steps[at]!,
      source: { partition: 0, offset: 0n },
      weight
    }))
  )
}

test('cutWindows: every position once, with as many steps before it as are read', () => {
  const steps = Array.from({ length: 8 }, (_, i) => step(`i${i}`, i, i === 4 ? 'view' : 'click'))
  const windows = cutWindows('u', steps, {
    historyMax: 2,
    targetsMax: 3,
    weightOf: ({ type }) => (type === 'click' ? 0.5 : 0)
  })
  // Targets 1–3 with steps 0–3; targets 5, 6 (4 does not count) with steps 2–6; target 7 with steps 5–7.
  assert.deepEqual(
    windows.map((window) => [
      window.steps.map(({ itemId }) => itemId).join(' '),
      window.targets.map(({ at }) => window.steps[at]!.itemId).join(' ')
    ]),
    [
      ['i0 i1 i2 i3', 'i1 i2 i3'],
      ['i2 i3 i4 i5 i6', 'i5 i6'],
      ['i5 i6 i7', 'i7']
    ]
  )
  assert.ok(windows.every(({ targets }) => targets.every(({ weight }) => weight === 0.5)))
  assert.deepEqual(cutWindows('u', steps.slice(0, 1), { historyMax: 2, targetsMax: 3, weightOf: all }), [])
})

test('unrolled: the same mini-batch as from the examples one by one', () => {
  const historyMax = 3
  const [ofWindows, ofExamples] = assemblers(['a', 'b', 'c', 'd', 'e'], historyMax)
  // 'new' has no row: it is left out of histories, and is not learned as a target. The first window's first history is
  // longer than three steps.
  const windows: TrainingWindow[] = [
    {
      userId: 'u',
      steps: ['a', 'b', 'new', 'c', 'd', 'a', 'e', 'b'].map((id, i) => step(id, i * i)),
      targets: [
        { at: 5, weight: 1 },
        { at: 6, weight: 0.5 },
        { at: 7, weight: 1 }
      ]
    },
    {
      userId: 'v',
      steps: ['new', 'c', 'new'].map((id, i) => step(id, 100 + i)),
      targets: [
        { at: 1, weight: 1 },
        { at: 2, weight: 1 }
      ]
    }
  ]
  const ranges = new Map([[0, { from: 0n, to: 9n }]])
  const windowBatch = assembleWindows(ofWindows, windows, ranges)
  const fromWindows = unrolled(windowBatch, historyMax)
  const oneByOne = ofExamples.assemble(examplesOf(windows), ranges)
  // Positions are numbered otherwise; the rows behind them are the same.
  const rows = (batch: { items: Int32Array }, positions: Int32Array) =>
    Array.from(positions, (position) => batch.items[position])
  assert.equal(fromWindows.length, oneByOne.length)
  assert.deepEqual(rows(fromWindows, fromWindows.history), rows(oneByOne, oneByOne.history))
  assert.deepEqual(rows(fromWindows, fromWindows.target), rows(oneByOne, oneByOne.target))
  assert.deepEqual(rows(fromWindows, fromWindows.negatives), rows(oneByOne, oneByOne.negatives))
  assert.deepEqual(fromWindows.age, oneByOne.age)
  assert.deepEqual(fromWindows.weight, oneByOne.weight)
  // v's first target has no known step before it, his second no row.
  assert.deepEqual([...fromWindows.weight], [1, 0.5, 1, 0, 0])
  assert.deepEqual([...fromWindows.groups!], [0, 0, 0, 1, 1])
  // b c d, then a e, of the first window: nothing before its first history is carried along. Of v: c. Rows are 1 … 5
  // for a … e.
  assert.deepEqual(rows(windowBatch, windowBatch.steps), [2, 3, 4, 1, 5, 3, 0, 0, 0, 0])
})

test('targets that are not steps of their window, or not in order, are refused', () => {
  const [assembler] = assemblers(['a'], 3)
  const steps = [step('a', 0), step('a', 1), step('a', 2)]
  for (const places of [[3], [2, 1], [1, 1]]) {
    const targets = places.map((at) => ({ at, weight: 1 }))
    assert.throws(() => assembleWindows(assembler, [{ userId: 'u', steps, targets }], new Map()), RangeError)
  }
})

test('windows of one user are one group, wherever they stand in the batch', () => {
  const [assembler] = assemblers(['a', 'b', 'c'], 2)
  const steps = ['a', 'b', 'c', 'a', 'b'].map((id, i) => step(id, i))
  const cut = (userId: string) => cutWindows(userId, steps, { historyMax: 2, targetsMax: 2, weightOf: all })
  const [first, second] = cut('u')
  const { groups } = assembleWindows(assembler, [first!, ...cut('v'), second!], new Map())
  assert.deepEqual([...groups!], [0, 0, 1, 1, 1, 1, 0, 0])
})
