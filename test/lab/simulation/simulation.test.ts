import assert from 'node:assert/strict'
import test from 'node:test'
import { ConfigError } from '../../../src/core/errors.ts'
import { Rng } from '../../../src/core/rng.ts'
import { type SimulationCounts, simulate } from '../../../src/lab/simulation/simulation.ts'
import { SimulationDraw, zipf } from '../../../src/lab/simulation/simulationDraw.ts'
import { SimulationHeap } from '../../../src/lab/simulation/simulationHeap.ts'
import type { SimulationOptions } from '../../../src/lab/simulation/simulationOptions.ts'
import { simulationTopic } from '../../../src/lab/simulation/simulationTopics.ts'
import type { Interaction } from '../../../src/records/interaction.ts'

const dayMs = 86_400_000
const small: Partial<SimulationOptions> = { users: 100, items: 240, topics: 12, events: 6000, durationMs: 7 * dayMs }
const clean: Partial<SimulationOptions> = { ...small, duplicateShare: 0, outOfOrderShare: 0, lateShare: 0, badShare: 0 }
const noCounts = (): SimulationCounts => ({ events: 0, duplicates: 0, outOfOrder: 0, late: 0, bad: 0 })

test('the same seed gives the same stream, as often as it is read; another seed another one', () => {
  const simulation = simulate(small)
  const first = [...simulation.interactions()]
  assert.deepEqual([...simulation.interactions()], first)
  assert.deepEqual([...simulate(small).interactions()], first)
  assert.deepEqual(simulate(small).items(), simulation.items())
  assert.notDeepEqual([...simulate({ ...small, seed: 2 }).interactions()], first)
})

test('without faults there are exactly as many events as asked for, in time order, over the whole time, with ids of their own', () => {
  const { options, ...rest } = simulate(clean)
  assert(rest !== undefined)
  const stream = [...simulate(clean).interactions()]
  assert.equal(stream.length, 6000)
  assert.equal(new Set(stream.map((event) => event.eventId)).size, 6000)
  stream.forEach((event, i) => {
    assert(i === 0 || event.eventTimeMs >= stream[i - 1]!.eventTimeMs, `event ${i} goes back in time`)
    assert(Number.isSafeInteger(event.eventTimeMs))
  })
  assert(stream[0]!.eventTimeMs >= options.startMs)
  // Half of the events by half of the time: sessions are spread evenly, so within a few of them.
  const early = stream.filter((event) => event.eventTimeMs < options.startMs + options.durationMs / 2).length
  assert(Math.abs(early - 3000) < 60, `${early} events in the first half`)
})

test('no item is clicked before it arrives, and new ones are clicked', () => {
  const simulation = simulate(clean)
  const arrival = new Map(simulation.items().map((item) => [item.itemId, item.updatedAtMs]))
  const clicked = new Set<string>()
  for (const event of simulation.interactions()) {
    assert(event.eventTimeMs >= arrival.get(event.itemId)!, `${event.itemId} is clicked before it is there`)
    clicked.add(event.itemId)
  }
  const fresh = simulation.items().filter((item) => item.updatedAtMs > simulation.options.startMs)
  assert.equal(fresh.length, 48) // ⌊240 · 0.2⌋
  assert(fresh.filter((item) => clicked.has(item.itemId)).length > 24)
})

test('users click what they are interested in at that time, but for noise', () => {
  const simulation = simulate(clean)
  let inside = 0
  for (const event of simulation.interactions()) {
    if (simulation.interestsOf(event.userId, event.eventTimeMs).includes(simulation.topicOf(event.itemId)!)) inside++
  }
  // 5% noise, a quarter of it inside by chance (3 of 12 topics): 96% ± 4 · √(.96 · .04 / 6000) = 1%; sessions across
  // the drift cost a little more.
  assert(inside / 6000 > 0.94 && inside / 6000 < 0.98, `${inside / 6000}`)
  const quiet = simulate({ ...clean, noiseShare: 0, driftAt: 1 })
  for (const event of quiet.interactions()) {
    assert(quiet.interestsOf(event.userId, event.eventTimeMs).includes(quiet.topicOf(event.itemId)!))
  }
})

test('at the drift the planted share of users swaps one or two interests for new ones; numbers stay', () => {
  const simulation = simulate({ ...clean, users: 1000, driftUserShare: 0.5 })
  let changed = 0
  for (const userId of simulation.userIds()) {
    const before = simulation.interestsOf(userId, simulation.driftMs - 1)
    const after = simulation.interestsOf(userId, simulation.driftMs)
    assert.equal(new Set(before).size, before.length)
    assert.equal(new Set(after).size, after.length)
    assert(before.length >= 2 && before.length <= 4)
    assert.equal(after.length, before.length)
    const swapped = after.filter((topic) => !before.includes(topic)).length
    assert(swapped <= 2)
    if (swapped > 0) changed++
  }
  assert(Math.abs(changed - 500) < 64, `${changed} of 1,000`) // 4 standard deviations: √(1000 / 4) · 4 = 63
  const steady = simulate({ ...clean, driftAt: 1 })
  assert.equal(steady.driftMs, Number.POSITIVE_INFINITY)
  assert.deepEqual(steady.interestsOf('u1', 0), steady.interestsOf('u1', Number.MAX_SAFE_INTEGER))
})

test('what is popular and what goes with what is different after the drift, and the same without one', () => {
  const correlation = (options: Partial<SimulationOptions>) => {
    const simulation = simulate({ ...clean, events: 40_000, newItemShare: 0, ...options })
    const middleMs = simulation.options.startMs + simulation.options.durationMs / 2
    const halves = [new Map<string, number>(), new Map<string, number>()] as const
    for (const event of simulation.interactions()) {
      const half = halves[event.eventTimeMs < middleMs ? 0 : 1]
      half.set(event.itemId, (half.get(event.itemId) ?? 0) + 1)
    }
    const ids = simulation.items().map((item) => item.itemId)
    const [a, b] = halves.map((half) => ids.map((id) => Math.log(1 + (half.get(id) ?? 0)))) as [number[], number[]]
    const mean = (list: number[]) => list.reduce((sum, value) => sum + value, 0) / list.length
    const [meanA, meanB] = [mean(a), mean(b)]
    const dot = (x: number[], y: number[], meanX: number, meanY: number) =>
      x.reduce((sum, value, i) => sum + (value - meanX) * (y[i]! - meanY), 0)
    return dot(a, b, meanA, meanB) / Math.sqrt(dot(a, a, meanA, meanA) * dot(b, b, meanB, meanB))
  }
  assert(correlation({ driftAt: 1 }) > 0.9)
  assert(correlation({ driftItemShare: 1, driftUserShare: 1 }) < 0.5)
})

test('order carries signal: the next click is near the last one on the ring of its topic', () => {
  const simulation = simulate({ ...clean, driftAt: 1, newItemShare: 0, sequentialShare: 1, noiseShare: 0 })
  const place = new Map(simulation.items().map((item) => [item.itemId, Number(item.title!.split('#')[1])]))
  const last = new Map<string, Interaction>()
  let steps = 0
  let near = 0
  for (const event of simulation.interactions()) {
    const before = last.get(event.userId)
    last.set(event.userId, event)
    if (before === undefined || event.eventTimeMs - before.eventTimeMs > 300_000) continue
    if (simulation.topicOf(before.itemId) !== simulation.topicOf(event.itemId)) continue
    steps++
    const gap = (place.get(event.itemId)! - place.get(before.itemId)! + 20) % 20 // 240 items / 12 topics
    if (gap <= 5 || gap >= 15) near++
  }
  assert(steps > 2000)
  assert(near / steps > 0.85, `${near / steps} of the steps are near; by chance it would be .5`) // the rest avoids repeats
})

test('planted faults: every one is what it says, and nothing else is', () => {
  const graceMs = 3_600_000
  const simulation = simulate({
    ...small,
    graceMs,
    duplicateShare: 0.02,
    outOfOrderShare: 0.05,
    lateShare: 0.01,
    badShare: 0.01
  })
  const counts = noCounts()
  const seen = new Set<string>()
  const newest = new Map<string, number>()
  const met = noCounts()
  for (const event of simulation.interactions(counts)) {
    if (event.eventId.startsWith('bad')) {
      assert(event.itemId === '' || event.userId === '' || event.eventTimeMs < 0 || event.eventTimeMs > 1e14)
      met.bad++
    } else if (seen.has(event.eventId)) {
      assert(newest.get(event.userId)! - event.eventTimeMs <= graceMs, 'a duplicate comes while its id is remembered')
      met.duplicates++
    } else {
      seen.add(event.eventId)
      met.events++
      const behindMs = (newest.get(event.userId) ?? 0) - event.eventTimeMs
      if (behindMs > graceMs) met.late++
      else if (behindMs > 0) met.outOfOrder++
      newest.set(event.userId, Math.max(newest.get(event.userId) ?? 0, event.eventTimeMs))
    }
  }
  assert.equal(met.events, 6000)
  assert.deepEqual(met, counts)
  assert(
    counts.duplicates > 60 && counts.outOfOrder > 100 && counts.late > 20 && counts.bad > 30,
    JSON.stringify(counts)
  )
})

test('the catalogue names the topic in the title and, unless told to, not in the features', () => {
  const simulation = simulate(small)
  const [item] = simulation.items()
  const topic = simulation.topicOf(item!.itemId)!
  assert.match(item!.title!, new RegExp(`^${simulation.topicName(topic)} #\\d+$`))
  assert.deepEqual(item!.features, { category: [simulationTopic(topic).category] })
  assert.deepEqual(simulate({ ...small, features: 'none' }).items()[0]!.features, {})
  assert.deepEqual(simulate({ ...small, features: 'topic' }).items()[0]!.features.topic, [simulation.topicName(topic)])
  assert.equal(new Set(Array.from({ length: 100 }, (_, t) => simulationTopic(t).name)).size, 100)
  assert.equal(new Set(Array.from({ length: 24 }, (_, t) => simulationTopic(t).category)).size, 6)
})

test('the truth of what is not of this simulation is empty', () => {
  const simulation = simulate(small)
  for (const id of ['', 'i0', 'i241', 'u1', 'i1x', '-1']) assert.equal(simulation.topicOf(id), undefined)
  for (const id of ['', 'u0', 'u101', 'i1']) assert.deepEqual(simulation.interestsOf(id, 0), [])
})

test('tiny and odd worlds still work', () => {
  for (const options of [
    { users: 1, items: 2, topics: 2, interestsMin: 1, interestsMax: 2, events: 50, newItemShare: 0 },
    { users: 3, items: 4, topics: 2, interestsMin: 2, interestsMax: 2, events: 200, newItemShare: 0.5, graceMs: 0 },
    { users: 2, items: 5, topics: 1, interestsMin: 1, interestsMax: 1, events: 30, durationMs: 1, sessionMean: 1 },
    { events: 0 },
    { driftAt: 0, users: 5, events: 20 }
  ]) {
    const counts = noCounts()
    for (const _ of simulate(options).interactions(counts));
    assert.equal(counts.events, options.events, JSON.stringify(options))
  }
})

test('options that contradict each other are refused, all at once', () => {
  assert.throws(
    () => simulate({ users: 0, topics: 30, items: 20, interestsMin: 5, interestsMax: 4, badShare: 2 }),
    (error) => error instanceof ConfigError && error.problems.length === 4 && /users is 0/.test(error.message)
  )
  assert.throws(() => simulate({ events: Number.NaN }), ConfigError)
  assert.throws(() => simulate({ duplicateShare: 0.6, lateShare: 0.6 }), /sum/)
})

test('a draw follows its weights', () => {
  const rng = new Rng(7)
  const draw = new SimulationDraw(Float64Array.of(1, 2, 5))
  const counts = [0, 0, 0]
  for (let i = 0; i < 8000; i++) counts[draw.next(rng)]!++
  // Expected 1000, 2000, 5000; 5 standard deviations are at most 224.
  assert(
    Math.abs(counts[0]! - 1000) < 224 && Math.abs(counts[1]! - 2000) < 224 && Math.abs(counts[2]! - 5000) < 224,
    counts.join()
  )
  assert.throws(() => new SimulationDraw(Float64Array.of(1, 0)), /above 0/)
  assert.throws(() => new SimulationDraw(new Float64Array(0)), /above 0/)
  assert.deepEqual([...zipf(3, 1)], [1, 1 / 2, 1 / 3])
})

test('a heap gives the earliest first, equals in order of arrival', () => {
  const heap = new SimulationHeap<string>()
  assert.equal(heap.nextMs, Number.POSITIVE_INFINITY)
  assert.equal(heap.pop(), undefined)
  for (const [timeMs, name] of [
    [5, 'e'],
    [1, 'a'],
    [3, 'c'],
    [1, 'b'],
    [3, 'd']
  ] as const)
    heap.push(timeMs, name)
  assert.equal(heap.nextMs, 1)
  assert.deepEqual(
    Array.from({ length: 5 }, () => heap.pop()),
    ['a', 'b', 'c', 'd', 'e']
  )
  assert.equal(heap.size, 0)
})
