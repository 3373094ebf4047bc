import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { UserWindow } from '../../src/records/userSequence.ts'
import { type Arrival, compareSteps, type PlacementOptions, placeStep } from '../../src/sequence/placeStep.ts'

const options: PlacementOptions = { historyMax: 4, historyAgeMaxMs: 1000, graceMs: 10, recentMax: 100 }

/** The id is the item unless given; the source offset is the time unless given. */
function arrival(itemId: string, eventTimeMs: number, offset = BigInt(eventTimeMs), id = itemId): Arrival {
  return {
    step: { itemId, type: 'click', eventTimeMs, source: { partition: 0, offset } },
    idHash: BigInt([...id].reduce((h, c) => h * 131 + c.charCodeAt(0), 7))
  }
}

function place(arrivals: readonly Arrival[], limits = options): { window: UserWindow | undefined; outcomes: string[] } {
  let window: UserWindow | undefined
  const outcomes: string[] = []
  for (const next of arrivals) {
    const placement = placeStep(window, next, limits)
    outcomes.push(placement.outcome)
    if (placement.outcome === 'placed') window = placement.window
  }
  return { window, outcomes }
}

const items = (window: UserWindow | undefined) => window?.steps.map((step) => step.itemId).join('')

test('steps stand in order of event time, then source partition, then source offset', () => {
  const { window } = place([arrival('b', 105, 7n), arrival('a', 101), arrival('c', 105, 8n), arrival('d', 103)])
  assert.equal(items(window), 'adbc')
  const early = arrival('e', 105, 99n)
  const ofPartition = { ...early, step: { ...early.step, source: { partition: -1, offset: 99n } } }
  const placement = placeStep(window, ofPartition, { ...options, historyMax: 9 })
  assert.equal(placement.outcome === 'placed' && items(placement.window), 'adebc')
})

test('an event is late when it is older than the newest by more than the grace, not by exactly the grace', () => {
  assert.deepEqual(place([arrival('a', 100), arrival('b', 90), arrival('c', 89)]).outcomes, [
    'placed',
    'placed',
    'late'
  ])
})

test('a repeat within the grace is a duplicate, even where its step has been pushed out of the window', () => {
  const five = [1, 2, 3, 4, 5].map((i) => arrival(`${i}`, 100 + i))
  const { window, outcomes } = place([...five, arrival('1', 101), arrival('3', 103), arrival('3', 104, 9n)])
  assert.equal(items(window), '2345')
  assert.deepEqual(outcomes.slice(5), ['duplicate', 'duplicate', 'duplicate'])
})

test('a step older than all of a full window is late at once, and leaves no trace', () => {
  const four = [1, 2, 3, 4].map((i) => arrival(`${i}`, 100 + i))
  const before = place(four)
  const after = place([...four, arrival('0', 100)])
  assert.equal(after.outcomes.at(-1), 'late')
  assert.deepEqual(after.window, before.window)
})

test('steps older than the age limit against the newest are dropped, those exactly as old are kept', () => {
  const placement = placeStep(
    place([arrival('a', 1), arrival('b', 2), arrival('c', 3)]).window,
    arrival('d', 1002),
    options
  )
  assert.ok(placement.outcome === 'placed')
  assert.equal(items(placement.window), 'bcd')
  assert.equal(placement.dropped, 1)
  assert.equal(placement.position, 2)
})

test('with an age limit shorter than the grace, what is too old already is late', () => {
  assert.deepEqual(
    place([arrival('a', 100), arrival('b', 94), arrival('c', 95)], { ...options, historyAgeMaxMs: 5 }).outcomes,
    ['placed', 'late', 'placed']
  )
})

test('source and id are forgotten when the step is older than the grace, not before', () => {
  const { window } = place([arrival('a', 100), arrival('b', 101), arrival('c', 111)])
  assert.deepEqual(
    window?.steps.map((step) => step.source?.offset),
    [undefined, 101n, 111n]
  )
  assert.deepEqual(
    window?.recent.map((event) => event.eventTimeMs),
    [101, 111]
  )
})

test('beyond recentMax the oldest ids are forgotten, and counted', () => {
  let window: UserWindow | undefined
  let forgotten = 0
  for (let i = 0; i < 5; i++) {
    const placement = placeStep(window, arrival(`${i}`, 100 + i), { ...options, recentMax: 3, historyMax: 2 })
    assert.ok(placement.outcome === 'placed')
    window = placement.window
    forgotten += placement.forgotten
  }
  assert.equal(forgotten, 2)
  assert.deepEqual(
    window?.recent.map((event) => event.eventTimeMs),
    [102, 103, 104]
  )
})

test('a source record read twice is one event even where its id was forgotten; another item at its place is not', () => {
  const limits = { ...options, recentMax: 1 }
  assert.deepEqual(place([arrival('a', 100), arrival('b', 101), arrival('a', 100)], limits).outcomes, [
    'placed',
    'placed',
    'duplicate'
  ])
  const tie = place([arrival('a', 100), arrival('b', 101), arrival('z', 100)], limits)
  assert.equal(items(tie.window), 'azb')
})

test('a window longer than the limit, from an earlier configuration, shrinks with the next step', () => {
  const { window } = place([1, 2, 3, 4].map((i) => arrival(`${i}`, 100 + i)))
  const placement = placeStep(window, arrival('5', 105), { ...options, historyMax: 2 })
  assert.ok(placement.outcome === 'placed')
  assert.equal(items(placement.window), '45')
  assert.equal(placement.dropped, 3)
})

// Events with distinct ids and sources, small times so that ties are common, and for each the delay (within the grace)
// after which it arrives.
const events = fc
  .array(
    fc.record({
      gap: fc.nat(8),
      delay: fc.nat(options.graceMs),
      partition: fc.nat(1),
      copies: fc.array(fc.nat(40), { maxLength: 2 })
    }),
    { maxLength: 40 }
  )
  .map((parts) => {
    let timeMs = 0
    return parts.map(({ gap, delay, partition, copies }, i) => {
      timeMs += gap
      const step = {
        itemId: `item ${i}`,
        type: 'click',
        eventTimeMs: timeMs,
        source: { partition, offset: BigInt((i * 7) % 41) }
      }
      return {
        arrival: { step, idHash: BigInt(i) },
        arrivesMs: timeMs + delay,
        copies: copies.map((later) => timeMs + delay + later)
      }
    })
  })
const limits = fc.record({
  historyMax: fc.integer({ min: 1, max: 12 }),
  historyAgeMaxMs: fc.integer({ min: 0, max: 60 }),
  graceMs: fc.constant(10),
  recentMax: fc.constantFrom(3, 1000)
})

test('any order of arrival within the grace gives the steps of sorted arrival', () => {
  fc.assert(
    fc.property(events, limits, (made, limit) => {
      const sorted = made.map((event) => event.arrival).sort((a, b) => compareSteps(a.step, b.step))
      // An event arrives at most `delay` ≤ grace after its time, so nothing that arrived before it is newer by more
      // than the grace.
      const shuffled = [...made].sort((a, b) => a.arrivesMs - b.arrivesMs).map((event) => event.arrival)
      const [one, other] = [place(sorted, limit), place(shuffled, limit)]
      assert.deepEqual(other.window?.steps, one.window?.steps)
      assert.equal(other.window?.newestMs, one.window?.newestMs)
      if (!other.outcomes.includes('late')) assert.deepEqual(other.window, one.window)
      // With room for all, only ids of steps that fell off at once are missing.
      if (limit.recentMax < 1000) return
      const known = new Set(one.window?.recent.map((event) => event.idHash))
      assert.ok(other.window?.recent.every((event) => known.has(event.idHash)) ?? true)
    }),
    { numRuns: 1000 }
  )
})

test('copies of an event after the first change nothing', () => {
  fc.assert(
    fc.property(events, limits, fc.boolean(), (made, limit, forgetful) => {
      const limited = forgetful ? { ...limit, recentMax: 2 } : limit
      const once = made
        .map(({ arrival, arrivesMs }) => ({ arrival, arrivesMs }))
        .sort((a, b) => a.arrivesMs - b.arrivesMs)
      const repeats = made.flatMap(({ arrival, copies }) => copies.map((arrivesMs) => ({ arrival, arrivesMs })))
      // Stable: a copy that arrives with its original comes after it.
      const twice = [...once, ...repeats].sort((a, b) => a.arrivesMs - b.arrivesMs)
      const [one, other] = [
        place(
          once.map((event) => event.arrival),
          limited
        ),
        place(
          twice.map((event) => event.arrival),
          limited
        )
      ]
      assert.deepEqual(other.window?.steps, one.window?.steps)
      if (limited.recentMax === 1000) assert.deepEqual(other.window, one.window)
    }),
    { numRuns: 1000 }
  )
})

test('a placement says where the new step is and how far the others moved', () => {
  fc.assert(
    fc.property(events, limits, (made, limit) => {
      let window: UserWindow | undefined
      for (const { arrival } of [...made].sort((a, b) => a.arrivesMs - b.arrivesMs)) {
        const placement = placeStep(window, arrival, limit)
        if (placement.outcome !== 'placed') continue
        const { steps } = placement.window
        assert.equal(steps[placement.position], arrival.step)
        window?.steps.forEach((step, p) => {
          const moved = p - placement.dropped
          if (moved >= 0) assert.equal(steps[moved < placement.position ? moved : moved + 1]?.itemId, step.itemId)
        })
        assert.ok(steps.length <= limit.historyMax)
        for (let i = 1; i < steps.length; i++) assert.ok(compareSteps(steps[i - 1]!, steps[i]!) <= 0)
        window = placement.window
      }
    })
  )
})
