import assert from 'node:assert/strict'
import test from 'node:test'
import { CorruptError } from '../../../src/core/errors.ts'
import type { NamedArrays } from '../../../src/core/namedArrays.ts'
import { Rng } from '../../../src/core/rng.ts'
import { examplesWithout } from '../../../src/train/batch/exampleBlock.ts'
import { ItemTable } from '../../../src/train/batch/itemTable.ts'
import { Reservoir } from '../../../src/train/batch/reservoir.ts'
import { partsOf, restoreFrom } from '../../support/copies.ts'

const items = new ItemTable({ dimensions: 1, itemsMax: 1000, admissionMin: 1, rng: new Rng(1) })
for (let i = 0; i < 10; i++) items.observe(`item${i}`, i)

const empty = () => new Reservoir({ items, examplesMax: 8, historyMax: 5, rng: new Rng(1) })

/** Examples 0 … n−1 of users 0, 1, 2 in turn; example n has n mod 4 + 1 steps before its target. */
function filled(n: number): Reservoir {
  const reservoir = empty()
  for (let i = 0; i < n; i++) {
    const stepOf = (at: number) => ({ itemId: `item${at % 10}`, type: 'click', eventTimeMs: at })
    reservoir.add({
      userId: `user${i % 3}`,
      history: Array.from({ length: (i % 4) + 1 }, (_, at) => stepOf(i + at)),
      target: stepOf(i + 7),
      source: { partition: i % 2, offset: 2n ** 40n + BigInt(i) },
      weight: i + 1
    })
  }
  return reservoir
}

const without = (parts: readonly NamedArrays[], userId: string) => parts.map((part) => examplesWithout(part, userId))

/** Everything that is kept: what is drawn over and over, by the time of the target. */
function contents(reservoir: Reservoir): string[] {
  const seen = new Map<number, string>()
  for (const { userId, rows, timesMs, weight } of reservoir.draw(2000)) {
    const steps = Array.from(rows, (row, i) => `${items.idOf(row)}@${timesMs[i]}`).join(' ')
    seen.set(timesMs.at(-1)!, `${userId} ${weight}: ${steps}`)
  }
  return [...seen].sort(([a], [b]) => a - b).map(([, text]) => text)
}

test('a state without a user holds all examples of the others, as they were, and no byte of the user', () => {
  // 20 offered to 8 places: 4 recent ones and a sample of 4 of those before.
  const whole = filled(20)
  const before = contents(whole)
  const parts = without(partsOf(whole), 'user1')
  const restored = empty()
  restoreFrom(restored, parts)
  assert(restored.size < whole.size)
  assert.deepEqual(
    contents(restored),
    before.filter((example) => !example.startsWith('user1 '))
  )
  for (const array of parts.flatMap((part) => [...part.values()]))
    assert(!Buffer.from(array.buffer, array.byteOffset, array.byteLength).includes(Buffer.from('user1', 'utf16le')))
  // And it goes on as a reservoir does.
  for (let i = 0; i < 3; i++)
    restored.add({
      userId: 'new',
      history: [{ itemId: 'item1', type: 'click', eventTimeMs: 1 }],
      target: { itemId: 'item2', type: 'click', eventTimeMs: 1000 + i },
      source: { partition: 0, offset: BigInt(i) },
      weight: 1
    })
  assert(contents(restored).some((example) => example.startsWith('new ')))
})

test('one that is not there changes nothing, and neither does erasing twice', () => {
  const parts = partsOf(filled(20))
  for (const part of parts) assert.equal(examplesWithout(part, 'nobody'), part)
  const once = without(parts, 'user0')
  assert.notDeepEqual(once, parts)
  assert.deepEqual(without(once, 'user0'), once)
  const all = ['user0', 'user1', 'user2'].reduce((left, user) => without(left, user), parts)
  const restored = empty()
  restoreFrom(restored, all)
  assert.equal(restored.size, 0)
  assert.deepEqual(without(partsOf(empty()), 'user0'), partsOf(empty()))
})

test('a user erased from a whole copy and from what changed since is in neither, and the others are as they were', () => {
  const reservoir = filled(20)
  const whole = partsOf(reservoir)
  for (let i = 0; i < 3; i++)
    reservoir.add({
      userId: i === 1 ? 'user1' : 'new',
      history: [{ itemId: 'item1', type: 'click', eventTimeMs: 1 }],
      target: { itemId: 'item2', type: 'click', eventTimeMs: 1000 + i },
      source: { partition: 0, offset: BigInt(i) },
      weight: 1
    })
  const before = contents(reservoir)
  const parts = without([...whole, ...partsOf(reservoir, 'changed')], 'user1')
  const restored = empty()
  restoreFrom(restored, parts)
  assert(before.some((example) => example.startsWith('user1 ')))
  assert.deepEqual(
    contents(restored),
    before.filter((example) => !example.startsWith('user1 '))
  )
})

test('parts that were left with gaps by an erasure in memory are taken as well', () => {
  const reservoir = filled(20)
  reservoir.remove('user2')
  const parts = without(partsOf(reservoir), 'user0')
  const restored = empty()
  restoreFrom(restored, parts)
  assert.deepEqual(
    contents(restored).map((example) => example.split(' ')[0]),
    contents(reservoir)
      .map((example) => example.split(' ')[0])
      .filter((user) => user === 'user1')
  )
})

test('a part that does not fit is refused', () => {
  const [, examples] = partsOf(filled(20))
  assert.throws(() => examplesWithout(new Map(examples).set('rows', new Int32Array(3)), 'user0'), CorruptError)
})
