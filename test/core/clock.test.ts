import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { steadyClock } from '../../src/core/clock.ts'

function clockAt(startMs: number) {
  const time = { wallMs: startMs, monotonicMs: 0 }
  const nowMs = steadyClock(
    () => time.wallMs,
    () => time.monotonicMs
  )
  const pass = (ms: number, { wallMs = ms }: { wallMs?: number } = {}) => {
    time.monotonicMs += ms
    time.wallMs += wallMs
    return nowMs()
  }
  return { time, nowMs, pass }
}

test('a clock that is not set follows the wall clock, also where that jumps ahead', () => {
  const { nowMs, pass } = clockAt(1_000_000)
  assert.equal(nowMs(), 1_000_000)
  assert.equal(pass(250), 1_000_250)
  assert.equal(pass(10, { wallMs: 3_600_000 }), 4_600_250)
})

test('a wall clock that is set back by ten seconds is waited for at half its speed', () => {
  const { nowMs, pass } = clockAt(1_000_000)
  assert.equal(nowMs(), 1_000_000)
  assert.equal(pass(0, { wallMs: -10_000 }), 1_000_000)
  assert.equal(pass(4000), 1_002_000) // the wall clock is at 994,000
  assert.equal(pass(15_999), 1_009_999)
  assert.equal(pass(1), 1_010_000) // 20 s later both are the same
  assert.equal(pass(500), 1_010_500)
})

test('it never goes back, gives whole milliseconds, and is never slower than half the time that passes', () => {
  const step = fc.record({
    ms: fc.double({ min: 0, max: 10_000, noNaN: true }),
    jumpMs: fc.integer({ min: -1e6, max: 1e6 })
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
      const { nowMs, pass } = clockAt(1e12)
      const first = nowMs()
      let last = first
      let passedMs = 0
      for (const { ms, jumpMs } of steps) {
        const now = pass(ms, { wallMs: ms + jumpMs })
        passedMs += ms
        assert(Number.isInteger(now) && now >= last)
        assert(now - first >= Math.floor(passedMs / 2) - 1, `${now - first} after ${passedMs}`)
        last = now
      }
    })
  )
})
