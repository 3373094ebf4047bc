import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../../src/core/rng.ts'
import type { Detection } from '../../../src/monitor/drift/detection.ts'
import { InputDrift, type InputEvent } from '../../../src/monitor/drift/inputDrift.ts'

/** Blocks of 50 sessions, a window of 10 blocks, a reference of 40. */
const options = { windowSessions: 500, windowMs: 0, psiMin: 0.1 }

/** Each event is a session of its own. */
function event(i: number, changes: Partial<InputEvent> = {}): InputEvent {
  return {
    userId: `u${i}`,
    type: i % 5 < 4 ? 'click' : 'purchase',
    itemId: 'i1',
    categories: [],
    historyLength: 3,
    gapMs: 3_600_000,
    eventTimeMs: i,
    ...changes
  }
}

/** @param of the changes of event number i */
function watch(drift: InputDrift, events: number, of: (i: number) => Partial<InputEvent> = () => ({})): Detection[] {
  const found: Detection[] = []
  for (let i = 0; i < events; i++) found.push(...drift.observe(event(i, of(i))))
  return found
}

/** PSI of two bins; half a count is added to each. */
function psi(reference: readonly [number, number], window: readonly [number, number]): number {
  const share = ([a, b]: readonly [number, number]) => (a + 0.5) / (a + b + 1)
  const [q, p] = [share(reference), share(window)]
  return (p - q) * Math.log(p / q) + (q - p) * Math.log((1 - p) / (1 - q))
}

const near = (actual: number, expected: number) =>
  assert(Math.abs(actual - expected) < 1e-9, `${actual} is not ${expected}`)
const half = (i: number) => ({ type: i % 2 === 0 ? 'click' : 'purchase' })

test('by hand: event types that go from 80:20 to 50:50', () => {
  const drift = new InputDrift(options)
  assert.deepEqual(watch(drift, 2499), [])
  assert.deepEqual(drift.report.features, {}) // one event before window and reference are full
  const found: Detection[] = []
  for (let i = 2499; i < 3000; i++) found.push(...drift.observe(event(i, i < 2500 ? {} : half(i))))
  near(drift.report.features.event_type!.psi, psi([1600, 400], [250, 250]))
  near(drift.report.features.event_type!.threshold, 0.1)
  assert.deepEqual(
    found.map(({ signal, detector }) => [signal, detector]),
    [['event_type', 'psi']]
  )
})

test('by hand: the threshold is twice the largest difference of a reference window from the other three', () => {
  const drift = new InputDrift(options)
  // Purchases in the windows of the reference: 100, 100, 300, 100 of 500; in the newest 250: as far from the reference
  // as its third window is from the others.
  const purchases = [1, 1, 3, 1, 2.5]
  const found = watch(drift, 2500, (i) => ({ type: i % 5 < purchases[Math.floor(i / 500)]! ? 'purchase' : 'click' }))
  const { threshold } = drift.report.features.event_type!
  near(threshold, 2 * psi([1200, 300], [200, 300]))
  assert.deepEqual(found, [])
})

test('one alarm for one change: while it lasts, and while the reference takes it in', () => {
  const drift = new InputDrift(options)
  assert.equal(watch(drift, 10_000, (i) => (i < 3000 ? {} : half(i))).length, 1)
})

test('interactions of one session count as one, and of users who are busy no more than of others', () => {
  const drift = new InputDrift(options)
  // Three of four events are of one user without a pause, who only purchases.
  const found = watch(drift, 16_000, (i) =>
    i >= 8000 && i % 4 > 0
      ? { userId: 'busy', gapMs: 1, type: 'purchase', itemId: 'i2' }
      : { type: i % 20 < 16 ? 'click' : 'purchase' }
  )
  assert.deepEqual(found, [])
  assert(drift.report.features.event_type !== undefined)
  assert(drift.report.features.event_type.psi < 0.02)
})

test('more new users raise an alarm, fewer do not: their share falls for as long as a stream is young', () => {
  const share = (before: number, after: number) => {
    const drift = new InputDrift(options)
    const found = watch(drift, 3000, (i) => ({ historyLength: i % 100 < (i < 2500 ? before : after) ? 0 : 3 }))
    return { found: found.map(({ signal }) => signal), newUserShare: drift.report.newUserShare }
  }
  assert.deepEqual(share(2, 20), { found: ['new_user'], newUserShare: 0.2 })
  assert.deepEqual(share(20, 2), { found: [], newUserShare: 0.02 })
})

test('a window spans its time however many events there are, and looks at as many as it needs; after a rush too', () => {
  // 10,000 events in each tenth of a window, for seven windows; then 100.
  const drift = new InputDrift({ ...options, windowMs: 100_000 })
  const ends: number[] = []
  let firstMs: number | undefined
  const observe = (i: number, eventTimeMs: number) => {
    const before = drift.report
    drift.observe(event(i, { eventTimeMs }))
    if (drift.report === before) return
    ends.push(eventTimeMs)
    if (drift.report.features.event_type !== undefined) firstMs ??= eventTimeMs
  }
  for (let i = 0; i < 700_000; i++) observe(i, i)
  assert(ends.length === 69 || ends.length === 70, `${ends.length} blocks of 10,000 ms in 700,000`)
  assert(firstMs! >= 500_000 && firstMs! < 511_000, `first compared at ${firstMs}`)
  const { windows } = drift.state()
  const newest = windows.event_type!.at(-1)!.reduce((sum, count) => sum + count, 0)
  assert(newest >= 50 && newest < 60, `${newest} sampled`)
  for (let i = 0; i < 2000; i++) observe(i, 700_000 + 100 * i)
  // The first block of the quiet time has the stride of the rush for twice its time, and takes all that follows; the
  // others are of 10,000 ms.
  assert(ends.length >= 70 + 18, `${ends.length} blocks`)
})

test('an item that becomes popular is seen against what was popular before', () => {
  const rng = new Rng(3)
  const itemOf = (i: number) => `i${Math.floor(rng.uniform() ** 2 * (i < 9000 ? 200 : 20))}`
  const found = watch(new InputDrift(options), 11_000, (i) => ({ itemId: itemOf(i) }))
  assert.deepEqual(new Set(found.map(({ signal }) => signal)), new Set(['item_popularity']))
  for (const { eventTimeMs } of found) assert(eventTimeMs >= 9000)
})

test('it goes on from its state: at the end of a block as if never interrupted', () => {
  const one = new InputDrift(options)
  watch(one, 2600)
  const other = new InputDrift(options)
  assert.equal(other.restore(JSON.parse(JSON.stringify(one.state()))), true)
  const found: Detection[][] = [[], []]
  for (let i = 2600; i < 3400; i++) {
    for (const [d, drift] of [one, other].entries()) found[d]!.push(...drift.observe(event(i, half(i))))
    // Popularity is saved to four digits.
    for (const [feature, { psi }] of Object.entries(one.report.features)) {
      const { psi: restored } = other.report.features[feature as 'event_gap'] ?? { psi }
      assert(Math.abs(psi - restored) < 1e-3, `${feature} at ${i}: ${restored} is not ${psi}`)
    }
  }
  assert.deepEqual(found[0], found[1])
  assert.equal(found[0]!.length, 1)
  assert.equal(new InputDrift({ ...options, psiMin: 0.2 }).restore(one.state()), false)
})
