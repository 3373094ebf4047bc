import assert from 'node:assert/strict'
import test from 'node:test'
import { CorruptError } from '../../src/base/errors.ts'
import { Rng } from '../../src/base/rng.ts'
import { ItemTable } from '../../src/batch/itemTable.ts'
import { Reservoir } from '../../src/batch/reservoir.ts'
import { withoutUser } from '../../src/batch/reservoirState.ts'

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

/** What is drawn over and over, by source: everything that is kept. */
function contents(reservoir: Reservoir): string[] {
  const seen = new Map<bigint, string>()
  for (const { userId, history, target, source, weight } of reservoir.draw(2000)) {
    const steps = [...history, target].map(({ itemId, eventTimeMs }) => `${itemId}@${eventTimeMs}`).join(' ')
    seen.set(source.offset, `${userId} ${source.partition} ${weight}: ${steps}`)
  }
  return [...seen].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text)
}

test('a state without a user holds all examples of the others, as they were, and no byte of the user', () => {
  // 20 offered to 8 places: 4 recent ones and a sample of 4 of those before.
  const whole = filled(20)
  const before = contents(whole)
  const { arrays, removed } = withoutUser(whole.state(), 'user1')
  const restored = empty()
  restored.restore(arrays)
  assert(removed > 0)
  assert.equal(restored.size, whole.size - removed)
  assert.deepEqual(
    contents(restored),
    before.filter((example) => !example.startsWith('user1 '))
  )
  for (const array of arrays.values())
    assert(!Buffer.from(array.buffer, array.byteOffset, array.byteLength).includes(Buffer.from('user1', 'utf16le')))
  // And it goes on as a reservoir does.
  for (let i = 0; i < 3; i++)
    restored.add({
      userId: 'new',
      history: [{ itemId: 'item1', type: 'click', eventTimeMs: 1 }],
      target: { itemId: 'item2', type: 'click', eventTimeMs: 2 },
      source: { partition: 0, offset: BigInt(i) },
      weight: 1
    })
  assert(contents(restored).some((example) => example.startsWith('new ')))
})

test('one that is not there changes nothing, and neither does erasing twice', () => {
  const state = filled(20).state()
  assert.deepEqual(withoutUser(state, 'nobody'), { arrays: state, removed: 0 })
  const once = withoutUser(state, 'user0').arrays
  assert.equal(withoutUser(once, 'user0').removed, 0)
  const all = ['user0', 'user1', 'user2'].reduce((arrays, user) => withoutUser(arrays, user).arrays, state)
  const restored = empty()
  restored.restore(all)
  assert.equal(restored.size, 0)
  assert.equal(withoutUser(empty().state(), 'user0').removed, 0)
})

test('a state that was left with gaps by an erasure in memory is taken as well', () => {
  const reservoir = filled(20)
  reservoir.remove('user2')
  const { arrays } = withoutUser(reservoir.state(), 'user0')
  const restored = empty()
  restored.restore(arrays)
  assert.deepEqual(
    contents(restored).map((example) => example.split(' ')[0]),
    contents(reservoir)
      .map((example) => example.split(' ')[0])
      .filter((user) => user === 'user1')
  )
})

test('a state that does not fit is refused', () => {
  const state = new Map(filled(20).state())
  state.set('rows', new Int32Array(3))
  assert.throws(() => withoutUser(state, 'user0'), CorruptError)
})
