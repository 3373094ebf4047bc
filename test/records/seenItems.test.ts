import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { hashKey } from '../../src/core/hashKey.ts'
import {
  addFeedback,
  addSeen,
  type Feedback,
  feedbackMax,
  feedbackTypes,
  seenMax,
  seenProblem
} from '../../src/records/seenItems.ts'
import { readSeen } from '../support/seenItems.ts'

const minuteMs = 60_000

test('seen items come back as they were added: the newest of each item and type, the newest 2,000 in all', () => {
  const step = fc.record({
    itemId: fc.nat(30).map((i) => `item ${i}`),
    type: fc.constantFrom('click', 'purchase', '購入', ''),
    eventTimeMs: fc.nat(2 ** 41)
  })
  fc.assert(
    fc.property(fc.array(fc.array(step, { maxLength: 5 }), { maxLength: 20 }), (rounds) => {
      let seen: Uint8Array | undefined
      for (const steps of rounds) seen = addSeen(seen, steps)
      const expected = new Map<string, { hash: number; type: string; atMs: number }>()
      for (const { itemId, type, eventTimeMs } of rounds.flat()) {
        expected.delete(`${itemId} ${type}`)
        expected.set(`${itemId} ${type}`, {
          ...{ hash: hashKey(itemId), type },
          atMs: Math.floor(eventTimeMs / minuteMs) * minuteMs
        })
      }
      if (seen === undefined) return
      assert.equal(seenProblem(seen), undefined)
      assert.deepEqual(readSeen(seen), [...expected.values()])
    })
  )
  let seen: Uint8Array | undefined
  for (let i = 0; i < seenMax + 500; i++)
    seen = addSeen(seen, [{ itemId: `i${i}`, type: 'click', eventTimeMs: i * minuteMs }])
  const all = readSeen(seen!)
  assert.deepEqual([all.length, all[0]!.hash, all.at(-1)!.atMs], [seenMax, hashKey('i500'), (seenMax + 499) * minuteMs])
  assert(seen!.length < 18_010)
  for (const bad of [Buffer.of(1), Buffer.of(0, 1), Buffer.of(1, 5, 0, 1), Buffer.alloc(1 + 9 * (seenMax + 1))])
    assert.match(seenProblem(bad)!, /are no seen items/)
})

test('of feedback on an item the newest counts, in any order and however often it is read; the newest 200 items are kept', () => {
  const one = fc.record<Feedback>(
    {
      itemId: fc.constantFrom('a', 'b', 'c'),
      type: fc.constantFrom(...feedbackTypes),
      eventTimeMs: fc.nat(5),
      untilMs: fc.nat({ max: 9 }),
      offset: fc.constant(0n)
    },
    { requiredKeys: ['itemId', 'type', 'eventTimeMs', 'offset'], noNullPrototype: true }
  )
  fc.assert(
    fc.property(fc.array(one), (feedback) => {
      const fold = (list: readonly Feedback[]) => list.reduce<readonly Feedback[]>(addFeedback, [])
      const result = fold(feedback)
      assert.deepEqual(fold([...feedback].reverse()), result)
      assert.equal(feedback.reduce(addFeedback, result), result, 'read again, it changes nothing')
      for (const { itemId, eventTimeMs } of feedback)
        assert(result.filter((kept) => kept.itemId === itemId && kept.eventTimeMs >= eventTimeMs).length === 1)
    })
  )
  let list: readonly Feedback[] = []
  for (let i = 0; i < feedbackMax + 3; i++)
    list = addFeedback(list, { itemId: `i${i}`, type: 'hide', eventTimeMs: i, offset: 0n })
  assert.deepEqual([list.length, list[0]!.itemId], [feedbackMax, 'i3'])
  assert.equal(addFeedback(list, { itemId: 'old', type: 'hide', eventTimeMs: 0, offset: 0n }), list)
})
