import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { EncoderStep } from '../../src/model/encoder.ts'
import { PublisherWindows } from '../../src/publish/publisherWindows.ts'

const hourMs = 3_600_000

test('what goes in comes out, whatever is set, replaced and deleted before', () => {
  const steps = fc
    .array(fc.record({ item: fc.nat(12), gapMs: fc.nat(40_000) }), { minLength: 1, maxLength: 40 })
    .map((list): EncoderStep[] => {
      let eventTimeMs = 1_700_000_000_000
      return list.map(({ item, gapMs }) => {
        eventTimeMs += gapMs
        return { itemId: `i${item}`, eventTimeMs }
      })
    })
  const action = fc.record({ user: fc.nat(8), steps: fc.option(steps, { nil: undefined }) })
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const windows = new PublisherWindows(100)
      const expected = new Map<string, EncoderStep[]>()
      for (const { user, steps: window } of actions) {
        const userId = `u${user}`
        if (window === undefined) assert.equal(windows.delete(userId), expected.delete(userId))
        else {
          assert.equal(windows.set(userId, window), undefined)
          expected.set(userId, window)
        }
      }
      assert.equal(windows.size, expected.size)
      for (let user = 0; user <= 8; user++) {
        const wanted = expected.get(`u${user}`) ?? []
        const got = windows.steps(`u${user}`)
        assert.deepEqual(
          got.map(({ itemId }) => itemId),
          wanted.map(({ itemId }) => itemId)
        )
        for (const [i, step] of got.entries()) {
          // float32 has 24 bits: half of the last one of the age in seconds, and half a millisecond of rounding.
          const ageMs = wanted.at(-1)!.eventTimeMs - wanted[i]!.eventTimeMs
          assert(Math.abs(step.eventTimeMs - wanted[i]!.eventTimeMs) <= 0.5 + ageMs * 2 ** -24)
        }
        assert.equal(
          windows.holdsAny(`u${user}`, new Set(['i3'])),
          wanted.some(({ itemId }) => itemId === 'i3')
        )
      }
    }),
    { numRuns: 200 }
  )
})

test('milliseconds are kept for two hours back, and the float32 age for ever', () => {
  const newestMs = 1_700_000_000_000
  const ages = [2 * hourMs - 1, 1234, 1, 0]
  const windows = new PublisherWindows(1)
  windows.set(
    'u',
    ages.map((ageMs) => ({ itemId: 'x', eventTimeMs: newestMs - ageMs }))
  )
  assert.deepEqual(
    windows.steps('u').map((step) => newestMs - step.eventTimeMs),
    ages
  )
  windows.set('u', [
    { itemId: 'x', eventTimeMs: 0 },
    { itemId: 'y', eventTimeMs: newestMs }
  ])
  assert.equal(Math.fround((newestMs - windows.steps('u')[0]!.eventTimeMs) / 1000), Math.fround(newestMs / 1000))
})

test('the user whose last change is longest ago makes room', () => {
  const windows = new PublisherWindows(2)
  const step = [{ itemId: 'x', eventTimeMs: 5 }]
  assert.equal(windows.set('a', step), undefined)
  assert.equal(windows.set('b', step), undefined)
  assert.equal(windows.set('a', step), undefined)
  assert.equal(windows.set('c', step), 'b')
  assert.deepEqual([windows.has('a'), windows.has('b'), windows.has('c'), windows.size], [true, false, true, 2])
})

test('a window longer than a page, and more users than a first array', () => {
  const windows = new PublisherWindows(10_000)
  const long = Array.from({ length: 20_000 }, (_, i) => ({ itemId: `i${i % 7}`, eventTimeMs: i }))
  windows.set('long', long)
  for (let u = 0; u < 3000; u++) windows.set(`u${u}`, [{ itemId: `item${u}`, eventTimeMs: u }])
  assert.deepEqual(windows.steps('long'), long)
  for (let u = 0; u < 3000; u++) assert.deepEqual(windows.steps(`u${u}`), [{ itemId: `item${u}`, eventTimeMs: u }])
})
