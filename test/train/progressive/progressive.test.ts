import assert from 'node:assert/strict'
import test from 'node:test'
import { CorruptError } from '../../../src/core/errors.ts'
import { Rng } from '../../../src/core/rng.ts'
import type { Example } from '../../../src/records/example.ts'
import { PeriodCurve } from '../../../src/train/progressive/periodCurve.ts'
import { ProgressiveEvaluator, progressiveMethods } from '../../../src/train/progressive/progressive.ts'
import { unknownRank } from '../../../src/train/trainer.ts'

const example = (history: string[], target: string, eventTimeMs = 0): Example => ({
  userId: 'u',
  history: history.map((itemId) => ({ itemId, type: 'click', eventTimeMs: 0 })),
  target: { itemId: target, type: 'click', eventTimeMs },
  source: { partition: 0, offset: 0n },
  weight: 1
})

test('all targets of a batch are tested before any is learned', () => {
  const evaluator = new ProgressiveEvaluator()
  evaluator.observe([example(['a'], 'b'), example(['a'], 'b')], Int32Array.of(0, 0))
  let report = evaluator.report()
  assert.equal(report['hitRate@20'], 1)
  assert.equal(report.popularity['hitRate@20'], 0)
  evaluator.observe([example(['a'], 'b')], Int32Array.of(unknownRank))
  report = evaluator.report()
  assert.equal(report.targets, 3)
  assert.equal(report['hitRate@20'], 2 / 3)
  assert.equal(report.popularity['hitRate@20'], 1 / 3)
  assert.equal(report.popularity['ndcg@20'], 1 / 3) // rank 0: a is left out as history
})

test('the numbers by hand', () => {
  const evaluator = new ProgressiveEvaluator()
  // Counts after it: a 2 (the first step of two users), b 2, c 1.
  evaluator.observe([example(['a'], 'b'), example(['a'], 'c'), example(['a', 'c'], 'b')], Int32Array.of(-1, -1, -1))
  const others = { withoutMemory: Int32Array.of(3), cooccurrence: Int32Array.of(1) }
  evaluator.observe([example(['b'], 'c')], Int32Array.of(20), others)
  const report = evaluator.report()
  assert.equal(report.targets, 1)
  assert.equal(report['hitRate@20'], 0)
  assert.equal(report['hitRate@50'], 1)
  assert.equal(report['ndcg@50'], 1 / Math.log2(22))
  assert.equal(report.popularity['ndcg@20'], 1 / Math.log2(3)) // behind a, with b left out
  assert.equal(report.withoutMemory['ndcg@20'], 1 / Math.log2(5))
  assert.equal(report.cooccurrence['ndcg@20'], 1 / Math.log2(3))
  assert.equal(report.examples, 4)
  assert.equal(report.evaluatedShare, 1 / 4)
  // Three items are counted with b, and c is not: it follows them, first by popularity (two clicks, as a's, but later).
  evaluator.observe([example(['b'], 'c')], Int32Array.of(20), { cooccurrence: Int32Array.of(-1 - 3) })
  const later = evaluator.report()
  assert.equal(later.cooccurrence['ndcg@20'], (1 / Math.log2(3) + 1 / Math.log2(3 + 2)) / 2)
  assert.equal(later.withoutMemory['ndcg@50'], (1 / Math.log2(5) + 1 / Math.log2(22)) / 2, 'the same as the model')
})

test('repeats and targets that were not evaluated are left out for every method, and learned all the same', () => {
  const evaluator = new ProgressiveEvaluator()
  evaluator.observe([example(['a', 'b'], 'a'), example(['a'], 'b'), example(['a'], 'c')], Int32Array.of(0, -1, 3))
  const report = evaluator.report()
  assert.equal(report.examples, 3)
  assert.equal(report.repeats, 1)
  assert.equal(report.targets, 1)
  assert.equal(report.evaluatedShare, 1 / 2)
  for (const method of ['popularity', 'cooccurrence'] as const) assert.equal(report[method].targets, 1)
  evaluator.observe([example(['c'], 'b')], Int32Array.of(0))
  assert.equal(evaluator.report().popularity['hitRate@20'], 1 / 2) // b was learned though it was not evaluated
})

test('popularity is of late: old interactions fade', () => {
  const evaluator = new ProgressiveEvaluator({ popularityHalfLife: 10 })
  const observe = (item: string) => evaluator.observe([example(['h', 'g'], item)], Int32Array.of(0))
  for (let i = 0; i < 60; i++) for (let n = 0; n < 4; n++) observe(`old${i}`)
  const before = evaluator.report().popularity['hitRate@20'] * evaluator.targets
  for (let i = 0; i < 30; i++) observe(`new${i % 3}`)
  const hits = evaluator.report().popularity['hitRate@20'] * evaluator.targets - before
  assert.ok(Math.abs(hits - 27) < 1e-9, `${hits} of 30, all but the first of each of three`)
})

test('a sample is unbiased: its figures over many draws are those of ranking everything, as its standard error says', () => {
  // Ranks get better along the stream, and the probability of ranking falls: unweighted means would be far off.
  const batches = Array.from({ length: 60 }, (_, i) => ({
    inclusion: i < 10 ? 1 : i < 30 ? 0.5 : 0.2,
    ranks: Int32Array.from({ length: 8 }, (_, b) => ((7 * i + 3 * b) % 60 < i ? 3 : 40))
  }))
  const examples = Array.from({ length: 8 }, (_, b) => example(['a'], `t${b}`))
  const all = new ProgressiveEvaluator()
  for (const { ranks } of batches) all.observe(examples, ranks)
  assert.equal(all.report().standardError, 0)
  const truth = all.report()['hitRate@20']
  const rng = new Rng(9)
  const draws = 400
  let [sum, squares, variance, unweighted] = [0, 0, 0, 0]
  for (let draw = 0; draw < draws; draw++) {
    const sampled = new ProgressiveEvaluator({ windowTargets: 1000 })
    for (const { ranks, inclusion } of batches) {
      const isRanked = rng.uniform() < inclusion
      sampled.observe(examples, isRanked ? ranks : new Int32Array(8).fill(-1), { inclusion })
    }
    const report = sampled.report()
    sum += report['hitRate@20'] - truth
    squares += (report['hitRate@20'] - truth) ** 2
    variance += report.standardError ** 2
    unweighted += sampled.windowed()['hitRate@20'] - truth
  }
  const error = Math.sqrt(squares / draws)
  assert.ok(Math.abs(sum / draws) < 3 * (error / Math.sqrt(draws)) + 0.003, `off by ${sum / draws}`)
  assert.ok(Math.abs(unweighted / draws) > 10 * Math.abs(sum / draws), `unweighted off by ${unweighted / draws}`)
  const said = Math.sqrt(variance / draws)
  assert.ok(said / error > 0.85 && said / error < 1.15, `standard error ${said}, spread ${error}`)
})

test('the window holds the last targets only', () => {
  const evaluator = new ProgressiveEvaluator({ windowTargets: 4 })
  evaluator.observe(
    [1, 2, 3].map((n) => example(['a'], `b${n}`)),
    Int32Array.of(0, 0, 0)
  )
  assert.equal(evaluator.windowed()['hitRate@20'], 1)
  assert.equal(evaluator.windowed().targets, 3)
  evaluator.observe(
    [1, 2, 3].map((n) => example(['a'], `c${n}`)),
    Int32Array.of(99, 30, 99)
  )
  const { model } = evaluator.report().window
  assert.equal(model.targets, 4)
  assert.equal(model['hitRate@20'], 1 / 4)
  assert.equal(model['hitRate@50'], 2 / 4)
  assert(Math.abs(model['ndcg@20'] - 1 / 4) < 1e-12)
})

test('the curve has 32 to 64 points however long the stream, and they add up', () => {
  const curve = new PeriodCurve(['model'], 2)
  // 39 periods of 128: 2 targets doubled six times
  for (let i = 1; i <= 4992; i++) curve.add([i % 4 === 0 ? 0 : 99], i, i * 10)
  const points = curve.points()
  assert(points.length >= 31 && points.length <= 64, `${points.length} points`)
  assert.equal(
    points.reduce((sum, point) => sum + point.metrics.model.targets, 0),
    4992
  )
  for (const point of points) {
    assert(Math.abs(point.metrics.model['hitRate@20'] - 1 / 4) < 0.02)
    assert.equal(point.timeMs, point.examples * 10)
  }
  assert.equal(points.at(-1)!.examples, 4992)
})

test('time on the curve does not go back with a late target, and a period barely begun is no point', () => {
  const curve = new PeriodCurve(['model'], 4)
  for (const [i, timeMs] of [10, 30, 20, 25, 5].entries()) curve.add([0], i + 1, timeMs)
  assert.deepEqual(
    curve.points().map((point) => point.timeMs),
    [30]
  )
})

test('saved half way and loaded, it ends as if nothing had happened', () => {
  const rng = new Rng(5)
  const batches = Array.from({ length: 40 }, () => {
    const examples = Array.from({ length: 16 }, () =>
      example(
        Array.from({ length: 1 + rng.integer(6) }, () => `i${rng.integer(80)}`),
        `i${rng.integer(80)}`,
        rng.integer(1000)
      )
    )
    return { examples, ranks: Int32Array.from(examples, () => rng.integer(70) - 1) }
  })
  const options = { windowTargets: 100, periodTargets: 10 }
  const straight = new ProgressiveEvaluator(options)
  for (const { examples, ranks } of batches) straight.observe(examples, ranks)
  const first = new ProgressiveEvaluator(options)
  for (const { examples, ranks } of batches.slice(0, 17)) first.observe(examples, ranks)
  first.observe(batches[17]!.examples, batches[17]!.ranks)
  const { header, parts } = first.copy()
  // What is copied is of the moment when it was, however late it is fetched.
  for (const { examples, ranks } of batches.slice(18)) first.observe(examples, ranks)
  const [saved] = [...parts]
  const second = new ProgressiveEvaluator(options)
  assert.equal(second.restore(JSON.parse(JSON.stringify(header)) as typeof header, saved!), true)
  for (const { examples, ranks } of batches.slice(18)) second.observe(examples, ranks)
  const { window: expectedWindow, ...expected } = straight.report()
  const { window, ...rest } = second.report()
  assert.deepEqual(rest, expected)
  // Sums over the window are made anew: equal but for rounding.
  for (const method of progressiveMethods) {
    for (const [name, value] of Object.entries(expectedWindow[method])) {
      assert(Math.abs(window[method][name as 'hitRate@20'] - value) < 1e-9, `${method} ${name}`)
    }
  }
})

test('a copy is of its moment though the scale of the counts is moved, or another state restored, meanwhile', () => {
  // Everything fades by half with every click: the scale is moved after 60 of them.
  const evaluator = new ProgressiveEvaluator({ popularityHalfLife: 1 })
  const observe = (count: number) => {
    for (let i = 0; i < count; i++)
      evaluator.observe([example([`i${i % 7}`], `i${(i + 1) % 20_000}`, i)], Int32Array.of(0))
  }
  observe(20_000)
  const expected = [...evaluator.copy().parts]
  const { parts } = evaluator.copy()
  observe(150)
  const empty = new ProgressiveEvaluator({ popularityHalfLife: 1 }).copy()
  evaluator.restore(empty.header, [...empty.parts][0]!)
  assert.deepEqual([...parts], expected)
})

test('state of other options is not gone on with; an incomplete one is an error', () => {
  const { header, parts } = new ProgressiveEvaluator().copy()
  const [arrays] = [...parts]
  assert.equal(new ProgressiveEvaluator({ windowTargets: 7 }).restore(header, arrays!), false)
  assert.equal(new ProgressiveEvaluator().restore({}, arrays!), false)
  const evaluator = new ProgressiveEvaluator()
  const without = (left: string) => new Map([...arrays!].filter(([name]) => name !== left))
  assert.throws(() => evaluator.restore(header, without('curve')), CorruptError)
  assert.throws(
    () => evaluator.restore(header, new Map([...without('counts'), ['counts', new Float64Array(3)]])),
    CorruptError
  )
})

test('beyond itemsMax items the simple methods learn no more, and nothing breaks', () => {
  const evaluator = new ProgressiveEvaluator({ itemsMax: 3 })
  const examples = [example(['a'], 'b'), example(['a', 'b'], 'c'), example(['d', 'e'], 'f'), example(['a', 'f'], 'b')]
  evaluator.observe(examples, new Int32Array(4))
  evaluator.observe(examples, new Int32Array(4))
  const report = evaluator.report()
  assert.equal(report.targets, 8)
  assert.equal(report.popularity['hitRate@20'], 3 / 8) // b, c and b again in the second batch; f is never known
})

test('an empty report is all zeros; too few ranks are refused', () => {
  const report = new ProgressiveEvaluator().report()
  assert.equal(report.targets, 0)
  assert.equal(report.evaluatedShare, 0)
  assert.equal(report['hitRate@20'], 0)
  assert.deepEqual(report.curve, [])
  assert.throws(
    () => new ProgressiveEvaluator().observe([example(['a'], 'b')], new Int32Array(0)),
    /1 examples came with 0 ranks/
  )
})
