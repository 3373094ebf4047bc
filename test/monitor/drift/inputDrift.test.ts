import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../../src/core/rng.ts'
import type { Detection } from '../../../src/monitor/drift/detection.ts'
import { InputDrift, type InputEvent } from '../../../src/monitor/drift/inputDrift.ts'

const options = { reference: 'pinned', warmupEvents: 0, referenceEvents: 2000, windowEvents: 1000, psiMin: 0.2 } as const

/** Every feature as it is in quiet times; a part of it changed. */
function quiet(rng: Rng, i: number, changes: Partial<InputEvent> = {}): InputEvent {
  return {
    type: rng.uniform() < 0.8 ? 'click' : 'purchase',
    itemId: `i${Math.floor(rng.uniform() ** 2 * 200)}`,
    categories: [rng.uniform() < 0.5 ? 'books' : 'music'],
    historyLength: Math.floor(rng.uniform() * 40),
    gapMs: 60_000 * (1 + rng.uniform()),
    eventTimeMs: i,
    ...changes
  }
}

const quietEvents = 10_000
/** Until popularity is known: a reference of the first events would be one in which every item is new. */
const warmupEvents = 4000
const driftedEvents = 3000

function watch(drift: InputDrift, drifted: (rng: Rng) => Partial<InputEvent>): Detection[] {
  const rng = new Rng(3)
  const found: Detection[] = []
  for (let i = 0; i < quietEvents + driftedEvents; i++) found.push(...drift.observe(quiet(rng, i, i < quietEvents ? {} : drifted(rng))))
  return found
}

test('by hand: event types that go from 80:20 to 50:50', () => {
  // The reference is 800 clicks and 200 purchases, the window 250 and 250; half a count is added to each bin that is used.
  const drift = new InputDrift({ ...options, referenceEvents: 1000, windowEvents: 500 })
  for (let i = 0; i < 1500; i++)
    drift.observe({ ...quiet(new Rng(1), i), type: i < 1000 ? (i % 5 < 4 ? 'click' : 'purchase') : i % 2 === 0 ? 'click' : 'purchase' })
  const [p, q] = [800.5 / 1001, 250.5 / 501]
  const expected = (p - q) * Math.log(p / q) + (1 - p - (1 - q)) * Math.log((1 - p) / (1 - q))
  assert(Math.abs(drift.report.psi.event_type! - expected) < 1e-9, `${drift.report.psi.event_type} is not ${expected}`)
  assert.equal(drift.report.referenceEvents, 1000)
})

test('by hand: histories of 0 … 9 steps against 5 … 14: half of each is where the other has nothing', () => {
  const drift = new InputDrift({ ...options, referenceEvents: 1000, windowEvents: 500 })
  for (let i = 0; i < 1500; i++) drift.observe({ ...quiet(new Rng(1), i), historyLength: (i % 10) + (i < 1000 ? 0 : 5) })
  assert(Math.abs(drift.report.ks.history_length!.distance - 0.5) < 1e-9)
})

test('by hand: the share of new users is that of first events in the window', () => {
  const drift = new InputDrift({ ...options, referenceEvents: 1000, windowEvents: 500 })
  for (let i = 0; i < 1500; i++) drift.observe({ ...quiet(new Rng(1), i), historyLength: i % 4 === 0 ? 0 : 7 })
  assert.equal(drift.report.newUserShare, 0.25)
})

test('planted: each feature raises its own alarm after it changed, and none before; quiet times raise none', () => {
  const planted: Record<string, (rng: Rng) => Partial<InputEvent>> = {
    event_type: (rng) => ({ type: rng.uniform() < 0.3 ? 'click' : 'purchase' }),
    item_popularity: (rng) => ({ itemId: `new ${Math.floor(rng.uniform() * 5000)}` }),
    category: (rng) => ({ categories: [rng.uniform() < 0.8 ? 'games' : 'music'] }),
    history_length: (rng) => ({ historyLength: Math.floor(rng.uniform() * 8) }),
    event_gap: (rng) => ({ gapMs: 2000 * (1 + rng.uniform()) })
  }
  for (const reference of ['pinned', 'rolled'] as const) {
    assert.deepEqual(
      watch(new InputDrift({ ...options, warmupEvents, reference }), () => ({})),
      [],
      `${reference}: no drift`
    )
    for (const [feature, drifted] of Object.entries(planted)) {
      const found = watch(new InputDrift({ ...options, warmupEvents, reference }), drifted)
      assert(found.length > 0, `${reference}: ${feature} was not noticed`)
      assert.deepEqual(new Set(found.map(({ signal }) => signal)), new Set([feature]), reference)
      for (const { eventTimeMs } of found) assert(eventTimeMs >= quietEvents, `${feature} at ${eventTimeMs}`)
      if (feature === 'history_length' || feature === 'event_gap')
        assert.deepEqual(new Set(found.map(({ detector }) => detector)), new Set(['psi', 'ks']), `${reference}: ${feature}`)
    }
  }
})

test('pinning anew makes what comes now the reference', () => {
  const drift = new InputDrift(options)
  const rng = new Rng(5)
  const purchases = () => ({ type: 'purchase' })
  for (let i = 0; i < 6000; i++) drift.observe(quiet(rng, i, i < 3500 ? {} : purchases()))
  assert(drift.report.psi.event_type! > 1)
  drift.pin()
  for (let i = 0; i < 3500; i++) drift.observe(quiet(rng, i, purchases()))
  assert(drift.report.psi.event_type! < 0.01)
})
