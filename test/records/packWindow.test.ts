import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { CorruptError } from '../../src/core/errors.ts'
import { Rng } from '../../src/core/rng.ts'
import { newStepDictionary, packWindow, unpackNewestMs, unpackWindow } from '../../src/records/packWindow.ts'
import { addSeen } from '../../src/records/seenItems.ts'
import type { UserWindow } from '../../src/records/userSequence.ts'
import { canonicalWindow } from '../support/windows.ts'

const gap = fc.oneof(
  fc.constant(0),
  fc.nat(5000),
  fc.nat(3_000_000).map((s) => s * 1000),
  fc.integer({ min: 0, max: 2 ** 31 }),
  fc.integer({ min: 0, max: 2 ** 45 })
)
const offset = fc.oneof(fc.bigInt({ min: 0n, max: 100n }), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }))

const window: fc.Arbitrary<UserWindow> = fc
  .record({
    firstMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2 ** 41 })),
    steps: fc.array(
      fc.record({
        itemId: fc.oneof(fc.string(), fc.nat(300).map(String)),
        type: fc.constantFrom('click', 'view', '', 'purchase'),
        gap
      }),
      { maxLength: 70 }
    ),
    sources: fc.array(fc.record({ partition: fc.nat(2 ** 31), offset }), { maxLength: 10 }),
    recent: fc.array(
      fc.record({ idHash: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), ageMs: fc.nat(1_000_000) }),
      {
        maxLength: 10
      }
    ),
    behindMs: fc.oneof(fc.constant(0), fc.nat(1000)),
    left: fc.array(fc.record({ itemId: fc.string(), type: fc.constantFrom('a', 'b'), eventTimeMs: fc.nat(1e9) }), {
      maxLength: 4
    }),
    unwanted: fc.array(
      fc.record(
        {
          itemId: fc.nat(300).map(String),
          type: fc.constantFrom('dislike', 'hide', 'unhide'),
          eventTimeMs: fc.nat(1e9),
          untilMs: fc.integer({ min: 1, max: 2 ** 41 }),
          offset: fc.bigInt({ min: 0n, max: 2n ** 62n })
        },
        { requiredKeys: ['itemId', 'type', 'eventTimeMs', 'offset'], noNullPrototype: true }
      ),
      { maxLength: 4 }
    )
  })
  .map(({ firstMs, steps, sources, recent, behindMs, left, unwanted }) => {
    let eventTimeMs = firstMs
    const placed = steps.map((step, i) => {
      eventTimeMs += step.gap
      const source = sources[i - (steps.length - sources.length)]
      return {
        itemId: step.itemId,
        type: step.type,
        eventTimeMs,
        ...(source === undefined ? {} : { source: { ...source } })
      }
    })
    const newestMs = eventTimeMs + behindMs
    return {
      steps: placed,
      recent: recent.map(({ idHash, ageMs }) => ({ idHash, eventTimeMs: Math.max(0, newestMs - ageMs) })),
      newestMs,
      ...(left.length === 0 ? {} : { seen: addSeen(undefined, left) }),
      ...(unwanted.length === 0 ? {} : { feedback: unwanted })
    }
  })

test('a window comes back from its bytes as it was, whatever the dictionary held before', () => {
  fc.assert(
    fc.property(fc.array(window, { minLength: 1, maxLength: 4 }), (windows) => {
      const dictionary = newStepDictionary()
      const packed = windows.map((each) => packWindow(each, dictionary))
      windows.forEach((each, i) => {
        assert.deepEqual(unpackWindow(packed[i]!, dictionary), each)
        assert.equal(unpackNewestMs(packed[i]!), each.newestMs)
        assert.deepEqual(packWindow(each, dictionary), packed[i])
      })
    }),
    { numRuns: 500 }
  )
})

test('two runs that see the same windows in the same order write the same bytes', () => {
  fc.assert(
    fc.property(fc.array(window, { maxLength: 4 }), (windows) => {
      const [one, other] = [newStepDictionary(), newStepDictionary()]
      for (const each of windows) assert.deepEqual(packWindow(each, one), packWindow(structuredClone(each), other))
    })
  )
})

test('any changed byte, and any missing one, is noticed', () => {
  fc.assert(
    fc.property(window, fc.nat(), fc.integer({ min: 1, max: 255 }), (each, at, flip) => {
      const dictionary = newStepDictionary()
      const bytes = packWindow(each, dictionary)
      const changed = Uint8Array.from(bytes)
      changed[at % bytes.length]! ^= flip
      assert.throws(() => unpackWindow(changed, dictionary), CorruptError)
      assert.throws(() => unpackWindow(bytes.subarray(0, at % bytes.length), dictionary), CorruptError)
    })
  )
})

test('a window whose items the dictionary does not know is corrupt', () => {
  const bytes = packWindow(
    { steps: [{ itemId: 'a', type: 'click', eventTimeMs: 1 }], recent: [], newestMs: 1 },
    newStepDictionary()
  )
  assert.throws(() => unpackWindow(bytes, newStepDictionary()), /dictionary does not know/)
})

test('fifty steps at realistic gaps of a catalogue of 100,000 items take less than seven bytes each', () => {
  // An item's index of 17 bits times a type of three: 3 bytes; a gap of up to three days: 4 bytes, shorter in the mean.
  const dictionary = newStepDictionary()
  for (let i = 0; i < 100_000; i++) dictionary.items.add(`item ${i}`)
  for (const type of ['click', 'view', 'purchase']) dictionary.types.add(type)
  let timeMs = 1_700_000_000_000
  const rng = new Rng(1)
  const steps = Array.from({ length: 50 }, () => {
    timeMs += Math.round(60_000 * (3 * 24 * 60) ** rng.uniform())
    return {
      itemId: `item ${Math.floor(rng.uniform() * 100_000)}`,
      type: ['click', 'view', 'purchase'][Math.floor(rng.uniform() * 3)]!,
      eventTimeMs: timeMs
    }
  })
  const bytes = packWindow({ steps, recent: [{ idHash: 1n, eventTimeMs: timeMs }], newestMs: timeMs }, dictionary)
  // Besides the steps: 13 bytes for times and counts, 9 for the remembered id, 4 of checksum.
  assert.ok(bytes.length < 50 * 7 + 26, `${bytes.length} bytes`)
})

test('a source before one without is our bug, not data', () => {
  const source = { partition: 0, offset: 1n }
  const steps = [
    { itemId: 'a', type: 'click', eventTimeMs: 1, source },
    { itemId: 'b', type: 'click', eventTimeMs: 2 }
  ]
  assert.throws(() => packWindow({ steps, recent: [], newestMs: 2 }, newStepDictionary()), /has no source/)
  // and the writer is not left with half a message
  const clean = { steps: [], recent: [], newestMs: 2 }
  assert.deepEqual(unpackWindow(packWindow(clean, newStepDictionary()), newStepDictionary()), clean)
})

test('the canonical form tells windows apart that differ in anything, and needs no dictionary', () => {
  fc.assert(
    fc.property(window, window, (one, other) => {
      const text = (each: UserWindow) => Buffer.from(canonicalWindow('u', each)).toString('hex')
      const same = (() => {
        try {
          assert.deepEqual(one, other)
          return true
        } catch {
          return false
        }
      })()
      assert.equal(text(one) === text(other), same)
      assert.equal(text(structuredClone(one)), text(one))
    })
  )
  assert.equal(
    Buffer.from(
      canonicalWindow('u', {
        steps: [{ itemId: 'a', type: 'click', eventTimeMs: 5, source: { partition: 1, offset: 2n } }],
        recent: [{ idHash: -3n, eventTimeMs: 5 }],
        newestMs: 5
      })
    ).toString(),
    '["u",5,[["a","click",5,1,"2"]],[["-3",5]],"",[]]'
  )
})
