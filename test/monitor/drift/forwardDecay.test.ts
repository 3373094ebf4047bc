import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Rng } from '../../../src/core/rng.ts'
import { ForwardDecay } from '../../../src/monitor/drift/forwardDecay.ts'

const hourMs = 3_600_000
/** A day of 2025: levels of some 480,000 half-lives. */
const nowMs = 1_750_000_000_000

test('an occurrence counts half after a half-life, a quarter after two', () => {
  const counts = new ForwardDecay({ halfLifeMs: hourMs, keysMax: 10 })
  counts.add('old', nowMs - 2 * hourMs, 4) // 4 / 4
  counts.add('both', nowMs - hourMs) // 1 / 2 + 1
  counts.add('both', nowMs)
  assert(Math.abs(counts.count('old') - 1) < 1e-6)
  assert(Math.abs(counts.count('both') - 1.5) < 1e-6)
  assert.equal(counts.count('never'), 0)
})

test('the same by definition, whatever the order of the events', () => {
  const rng = new Rng(7)
  const events = Array.from({ length: 500 }, () => ({
    key: `k${rng.integer(5)}`,
    timeMs: nowMs + rng.integer(20 * hourMs),
    weight: 1 + rng.integer(3)
  }))
  const counts = new ForwardDecay({ halfLifeMs: hourMs, keysMax: 10 })
  for (const { key, timeMs, weight } of events) counts.add(key, timeMs, weight)
  const newestMs = Math.max(...events.map(({ timeMs }) => timeMs))
  for (const key of counts.keys()) {
    const exact = events.reduce(
      (sum, one) => (one.key === key ? sum + one.weight * 2 ** ((one.timeMs - newestMs) / hourMs) : sum),
      0
    )
    assert(Math.abs(counts.count(key) / exact - 1) < 1e-6, `${key}: ${counts.count(key)} for ${exact}`)
  }
})

test('memory is bounded: the greatest stay, and what has faded away is gone', () => {
  const counts = new ForwardDecay({ halfLifeMs: hourMs, keysMax: 100 })
  for (let i = 0; i < 50; i++) counts.add('best', nowMs)
  let most = 0
  for (let i = 0; i < 5000; i++) {
    counts.add(`once ${i}`, nowMs + i)
    most = Math.max(most, counts.size)
  }
  assert(most <= 126, `${most} keys held`)
  assert(counts.level('best') !== undefined)
  counts.add('much later', nowMs + 20 * hourMs)
  counts.dropLeast()
  assert.deepEqual([...counts.keys()], ['much later'])
})

test('what was saved goes on, with another half-life too', () => {
  const counts = new ForwardDecay({ halfLifeMs: hourMs, keysMax: 10 })
  counts.add('a', nowMs - hourMs)
  counts.add('b', nowMs, 3)
  const again = new ForwardDecay({ halfLifeMs: hourMs, keysMax: 10 })
  again.restore(JSON.parse(JSON.stringify(counts.state())))
  assert.deepEqual(again.state(), counts.state())
  const slower = new ForwardDecay({ halfLifeMs: 24 * hourMs, keysMax: 10 })
  slower.restore(counts.state())
  for (const key of ['a', 'b']) assert(Math.abs(slower.count(key) / counts.count(key) - 1) < 1e-6)
  slower.add('b', nowMs + 24 * hourMs)
  assert(Math.abs(slower.count('b') - 2.5) < 1e-6) // 3 / 2 + 1
})
