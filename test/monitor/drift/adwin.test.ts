import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../../src/core/rng.ts'
import { Adwin } from '../../../src/monitor/drift/adwin.ts'

test('by hand: sixteen zeros and ones that are cut where they change', () => {
  // δ = .5, n = 32: ln(2 ln n/δ) = 2.628. Cut at 16 | 16: 1/m = 1/8, variance 1/4: √(2 · 1/8 · 1/4 · 2.628) +
  // (2/3)(1/8)(2.628) = .405 + .219 = .624 < 1
  const adwin = new Adwin({ confidence: 0.5, checkEvery: 32 })
  let cut: ReturnType<Adwin['add']>
  for (let i = 0; i < 32; i++) cut = adwin.add(i < 16 ? 0 : 1)
  assert(cut !== undefined && cut.before < cut.after)
  assert(adwin.length < 32 && adwin.length >= 16)
  assert(adwin.mean > 0.75)
})

test('a window in which nothing changes grows, in memory that grows with its logarithm', () => {
  const adwin = new Adwin()
  for (let i = 0; i < 100_000; i++) assert.equal(adwin.add((i * 7919) % 2), undefined)
  assert.equal(adwin.length, 100_000)
  assert(Math.abs(adwin.mean - 0.5) < 1e-3)
  // Six at most of each power of two up to 2^16.
  assert(adwin.buckets <= 6 * 17, String(adwin.buckets))
})

test('planted: a fall from .3 to .2 after 5,000 clicks is seen within 2,000; false alarms are rarer than δ promises', () => {
  let alarms = 0
  for (let seed = 1; seed <= 20; seed++) {
    const rng = new Rng(seed)
    const adwin = new Adwin({ confidence: 0.002 })
    for (let i = 0; i < 5000; i++) if (adwin.add(rng.uniform() < 0.3 ? 1 : 0) !== undefined) alarms++
    let seenAfter = -1
    for (let i = 1; i <= 2000 && seenAfter < 0; i++) {
      const cut = adwin.add(rng.uniform() < 0.2 ? 1 : 0)
      if (cut !== undefined && cut.after < cut.before) seenAfter = i
    }
    assert(seenAfter > 0, `seed ${seed} saw nothing`)
  }
  assert(alarms <= 1, `${alarms} alarms in 20 × 5,000 values of one distribution`)
})

test('it goes on from its state, and leaves out what is no number', () => {
  const rng = new Rng(3)
  const one = new Adwin()
  const other = new Adwin()
  for (let i = 0; i < 777; i++) one.add(rng.uniform())
  other.restore(JSON.parse(JSON.stringify(one.state())))
  assert.equal(one.add(Number.NaN), undefined)
  for (let i = 0; i < 2000; i++) {
    const value = i < 500 ? rng.uniform() : 1
    assert.deepEqual(one.add(value), other.add(value))
  }
  assert.deepEqual(one.state(), other.state())
  assert.throws(() => new Adwin({ confidence: 0 }), /between 0 and 1/)
})

test('no longer than it may be', () => {
  const adwin = new Adwin({ lengthMax: 1000 })
  for (let i = 0; i < 5000; i++) adwin.add(0.5)
  assert(adwin.length <= 1000 && adwin.length > 500)
})
