import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../../src/core/rng.ts'
import type { Detection } from '../../../src/monitor/drift/detection.ts'
import { type BatchSigns, ModelDrift } from '../../../src/monitor/drift/modelDrift.ts'

const unknownRank = 2 ** 31 - 1

const batch = (changes: Partial<BatchSigns> = {}): BatchSigns => ({
  ranks: Int32Array.of(0, 5, 19, 20),
  unknownRank,
  freshLosses: Float32Array.of(4, 6),
  replayedLoss: 3,
  wins: Float32Array.of(0.5, 0.5),
  eventTimeMs: 1,
  ...changes
})

test('one batch by hand: hit rate, loss, gap between unseen and seen, entropy of the winners, share of new items', () => {
  const drift = new ModelDrift({ confidence: 1e-4 })
  assert.deepEqual(drift.observe(batch()), [])
  const { hitRate, loss, overfitGap, winsEntropy, newItemShare } = drift.report
  assert.equal(hitRate, 0.75) // ranks 0, 5 and 19 are among the first 20, rank 20 is not
  assert(Math.abs(loss - 5) < 1e-9) // (4 + 6) / 2
  assert.equal(overfitGap, 2) // 5 unseen − 3 replayed
  assert.equal(winsEntropy, 1) // two interests, each wins half
  assert.equal(newItemShare, 0)
})

test('averages fade: a batch of n examples weighs n of 5,000', () => {
  const drift = new ModelDrift({ confidence: 1e-4 })
  drift.observe(batch())
  // 500 of 5,000 is a tenth: gap 2 + (7 − 2) / 10, new items 0 + (1 − 0) / 10.
  // Wins begin at 0, and only their shares count: .5 · 4 / 5,000 of the first batch, nine tenths of it left after the
  // second, which adds a tenth to the first tower.
  const ranks = new Int32Array(500).fill(unknownRank)
  drift.observe(batch({ ranks, freshLosses: new Float32Array(500).fill(10), wins: Float32Array.of(1, 0) }))
  const { overfitGap, winsEntropy, newItemShare } = drift.report
  assert(Math.abs(overfitGap! - 2.5) < 1e-6)
  assert(Math.abs(newItemShare! - 0.1) < 1e-9)
  const [one, two] = [0.9 * 0.0004 + 0.1, 0.9 * 0.0004]
  const share = one / (one + two)
  assert(Math.abs(winsEntropy! - -(share * Math.log(share) + (1 - share) * Math.log(1 - share)) / Math.log(2)) < 1e-9)
})

test('what is not known is not made up: targets that were not ranked, steps that were dropped, nothing replayed', () => {
  const drift = new ModelDrift({ confidence: 1e-4 })
  drift.observe(batch({ ranks: Int32Array.of(-1, -1), freshLosses: undefined, replayedLoss: undefined }))
  const { hitRate, overfitGap, winsEntropy, newItemShare } = drift.report
  assert(Number.isNaN(hitRate))
  assert.deepEqual([overfitGap, winsEntropy, newItemShare], [undefined, undefined, undefined])
  drift.observe(batch({ replayedLoss: undefined }))
  assert.equal(drift.report.overfitGap, undefined)
})

test('planted: learning by heart opens the gap, and interests that collapse onto one lower the entropy', () => {
  const drift = new ModelDrift({ confidence: 1e-4 })
  const many = { ranks: new Int32Array(256).fill(30), freshLosses: new Float32Array(256).fill(5) }
  const even = Float32Array.of(0.25, 0.25, 0.25, 0.25)
  for (let i = 0; i < 60; i++) drift.observe(batch({ ...many, replayedLoss: 4.8, wins: even }))
  const healthy = drift.report
  assert(Math.abs(healthy.overfitGap! - 0.2) < 1e-3 && healthy.winsEntropy! > 0.999)
  for (let i = 0; i < 60; i++)
    drift.observe(batch({ ...many, replayedLoss: 2, wins: Float32Array.of(0.97, 0.01, 0.01, 0.01) }))
  const ill = drift.report
  // 60 · 256 / 5,000 = 3.07 lifetimes: all but a twentieth of the way from .2 to 3.
  assert(ill.overfitGap! > 2.8 && ill.winsEntropy! < 0.25, JSON.stringify(ill))
})

test('planted: a fall of the hit rate is found, a rise is not, and state goes on as if never interrupted', () => {
  const watch = (after: number, restart: boolean): { found: Detection[]; before: number } => {
    const rng = new Rng(7)
    let drift = new ModelDrift({ confidence: 1e-4 })
    const found: Detection[] = []
    let before = 0
    for (let i = 0; i < 160; i++) {
      const rate = i < 80 ? 0.3 : after
      const ranks = Int32Array.from({ length: 128 }, () => (rng.uniform() < rate ? 3 : 50))
      found.push(...drift.observe(batch({ ranks, freshLosses: undefined, eventTimeMs: i })))
      if (i === 79) before = found.length
      if (!restart || i % 20 !== 0) continue
      const state = JSON.parse(JSON.stringify(drift.state())) as ReturnType<ModelDrift['state']>
      drift = new ModelDrift({ confidence: 1e-4 })
      assert(drift.restore(state))
    }
    return { found, before }
  }
  const fall = watch(0.1, false)
  assert.equal(fall.before, 0)
  assert.deepEqual(
    new Set(fall.found.map(({ signal, detector }) => `${signal} ${detector}`)),
    new Set(['hit_rate adwin'])
  )
  for (const { eventTimeMs } of fall.found) assert(eventTimeMs >= 80)
  assert.deepEqual(watch(0.1, true), fall)
  assert.deepEqual(watch(0.6, false).found, [])
})

test('the warm-up and the silence after an alarm are counted in examples, also where a tenth of them is ranked', () => {
  const rng = new Rng(3)
  const drift = new ModelDrift()
  const alarms: number[] = []
  let examples = 0
  const run = (count: number, hitRate: number) => {
    for (const end = examples + count; examples < end; examples += 100) {
      const ranks = Int32Array.from({ length: 100 }, (_, b) => (b % 10 > 0 ? -1 : rng.uniform() < hitRate ? 0 : 30))
      const found = drift.observe(batch({ ranks, freshLosses: undefined, replayedLoss: undefined }))
      if (found.some(({ signal }) => signal === 'hit_rate')) alarms.push(examples)
    }
  }
  run(8000, 0.7)
  run(8000, 0.4)
  run(8000, 0.1)
  assert(alarms[0]! >= 8000 && alarms[0]! < 12_000 && alarms.at(-1)! >= 16_000, `${alarms}`)
})
