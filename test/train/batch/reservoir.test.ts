import assert from 'node:assert/strict'
import test from 'node:test'
import type { NamedArrays } from '../../../src/core/namedArrays.ts'
import { Rng } from '../../../src/core/rng.ts'
import type { Example } from '../../../src/records/example.ts'
import { ItemTable } from '../../../src/train/batch/itemTable.ts'
import { Reservoir } from '../../../src/train/batch/reservoir.ts'
import type { StoredExample } from '../../../src/train/batch/storedExample.ts'
import { partsOf, restoreFrom } from '../../support/copies.ts'

const tableOf = () => {
  const items = new ItemTable({ dimensions: 1, itemsMax: 1000, admissionMin: 1, rng: new Rng(1) })
  for (let i = 0; i < 100; i++) items.observe(`item${i}`, i)
  return items
}

/** Example n of user n mod 10: history item n−3 … n−1 (mod 100), target item n mod 100. */
function exampleOf(n: number): Example {
  const stepOf = (i: number) => ({
    itemId: `item${(i + 100) % 100}`,
    type: i % 2 === 0 ? 'view' : 'purchase',
    eventTimeMs: 1_700_000_000_000 + i
  })
  return {
    userId: `user${n % 10}`,
    history: [stepOf(n - 3), stepOf(n - 2), stepOf(n - 1)],
    target: stepOf(n),
    source: { partition: 2, offset: 9007199254740993n + BigInt(n) },
    weight: 1 + (n % 3) / 10
  }
}

/** What is kept of an example: its items, times and weight. */
const keptOf = (items: ItemTable) => {
  const idsOf = (rows: Int32Array) => Array.from(rows, (row) => items.idOf(row))
  return ({ userId, rows, timesMs, weight }: StoredExample) => ({
    userId,
    ids: idsOf(rows),
    timesMs: [...timesMs],
    weight
  })
}
const expected = ({ userId, history, target, weight }: Example) => ({
  userId,
  ids: [...history, target].map(({ itemId }) => itemId),
  timesMs: [...history, target].map(({ eventTimeMs }) => eventTimeMs),
  weight
})
const numberOf = ({ timesMs }: StoredExample) => timesMs.at(-1)! - 1_700_000_000_000

const reservoirOf = (items: ItemTable, examplesMax: number, seed = 1, historyMax = 50) =>
  new Reservoir({ items, examplesMax, historyMax, rng: new Rng(seed) })

test('what is drawn is what was added', () => {
  const items = tableOf()
  const reservoir = reservoirOf(items, 100)
  assert.deepEqual(reservoir.draw(5), [])
  for (let n = 0; n < 80; n++) reservoir.add(exampleOf(n))
  assert.equal(reservoir.size, 80)
  const drawn = reservoir.draw(500)
  assert.equal(drawn.length, 500)
  for (const example of drawn) assert.deepEqual(keptOf(items)(example), expected(exampleOf(numberOf(example))))
})

test('half are the most recent, half a uniform sample of what came before', () => {
  // 100 recent (900 … 999) and 100 of the 900 before. Over 60 seeds each of nine blocks of 100 expects 60·100/9 = 667 ±
  // 24 of the sample's places.
  const blocks = new Array<number>(9).fill(0)
  for (let seed = 0; seed < 60; seed++) {
    const reservoir = reservoirOf(tableOf(), 200, seed)
    for (let n = 0; n < 1000; n++) reservoir.add(exampleOf(n))
    assert.equal(reservoir.size, 200)
    const drawn = reservoir.draw(4000).map(numberOf)
    // 4,000 coins: 2,000 ± 32.
    assert(Math.abs(drawn.filter((n) => n >= 900).length - 2000) < 160)
    const recent = new Set(drawn.filter((n) => n >= 900))
    const older = new Set(drawn.filter((n) => n < 900))
    assert.equal(recent.size, 100)
    assert.equal(older.size, 100)
    for (const n of older) blocks[Math.floor(n / 100)]!++
  }
  for (const count of blocks) assert(Math.abs(count - 667) < 120, `${blocks}`)
})

test('an erased user is never drawn again, nor found in the state', () => {
  const items = tableOf()
  const reservoir = reservoirOf(items, 60)
  for (let n = 0; n < 200; n++) reservoir.add(exampleOf(n))
  const before = reservoir.size
  reservoir.remove('user3')
  const after = reservoir.size
  assert(after < before)
  reservoir.remove('user3')
  assert.equal(reservoir.size, after)
  const copy = reservoirOf(items, 60)
  restoreFrom(copy, partsOf(reservoir))
  for (const one of [reservoir, copy]) for (const example of one.draw(2000)) assert.notEqual(example.userId, 'user3')
  for (const part of partsOf(reservoir))
    for (const array of part.values()) assert(!Buffer.from(array.buffer).includes(Buffer.from('user3', 'utf16le')))
  for (let n = 200; n < 400; n++) reservoir.add(exampleOf(n))
  assert.equal(reservoir.size, 60) // the gaps are filled again
})

test('items that lose their row leave; a target without one takes its example along', () => {
  const items = tableOf()
  const reservoir = reservoirOf(items, 100)
  for (let n = 3; n < 9; n++) reservoir.add(exampleOf(n))
  items.expire(5) // items 0 … 4
  items.releaseFreed()
  for (let i = 200; i < 205; i++) items.observe(`item${i}`, i) // their rows are others' now
  const seen = new Map(reservoir.draw(300).map((example) => [numberOf(example), example]))
  // 3 and 4: no target. 5: history 2, 3, 4 is gone.
  assert.deepEqual([...seen.keys()].sort(), [6, 7, 8])
  assert.deepEqual(
    [...seen.get(6)!.rows].map((row) => items.idOf(row)),
    ['item5', 'item6']
  )
})

test('what has no row is not kept, and long histories keep their newest steps', () => {
  const items = tableOf()
  const reservoir = reservoirOf(items, 10, 1, 2)
  const example = exampleOf(50)
  reservoir.add({ ...example, target: { ...example.target, itemId: 'unknown' } })
  reservoir.add({ ...example, history: example.history.map((step) => ({ ...step, itemId: 'unknown' })) })
  reservoir.add({ ...example, history: [] })
  assert.equal(reservoir.size, 0)
  assert.deepEqual(reservoir.draw(3), [])
  reservoir.add(example)
  const shorter = { ...example, history: example.history.slice(1) }
  assert.deepEqual(keptOf(items)(reservoir.draw(1)[0]!), expected(shorter))
})

test('0 switches it off, 1 keeps the last', () => {
  const off = reservoirOf(tableOf(), 0)
  const one = reservoirOf(tableOf(), 1)
  for (let n = 0; n < 10; n++) {
    off.add(exampleOf(n))
    one.add(exampleOf(n))
  }
  assert.deepEqual(off.draw(3), [])
  assert.deepEqual(one.draw(3).map(numberOf), [9, 9, 9])
})

test('a restored reservoir goes on exactly as the first would have', () => {
  const items = tableOf()
  const first = reservoirOf(items, 50)
  for (let n = 0; n < 300; n++) first.add(exampleOf(n))
  first.remove('user1')
  const second = reservoirOf(items, 50, 99)
  restoreFrom(second, partsOf(first))
  assert.deepEqual(partsOf(second), partsOf(first))
  for (let n = 300; n < 500; n++) {
    first.add(exampleOf(n))
    second.add(exampleOf(n))
    assert.deepEqual(second.draw(4), first.draw(4))
  }
  assert.deepEqual(partsOf(second), partsOf(first))
})

test('a smaller reservoir keeps the newest of each half, with shorter histories', () => {
  const items = tableOf()
  const large = reservoirOf(items, 100)
  for (let n = 0; n < 90; n++) large.add(exampleOf(n))
  const small = reservoirOf(items, 20, 1, 2)
  restoreFrom(small, partsOf(large))
  assert.equal(small.size, 20)
  const drawn = small.draw(1000)
  for (const example of drawn)
    assert.deepEqual(
      keptOf(items)(example),
      expected({ ...exampleOf(numberOf(example)), history: exampleOf(numberOf(example)).history.slice(1) })
    )
  const recent = new Set(drawn.map(numberOf).filter((n) => n >= 80))
  assert.equal(recent.size, 10)
  small.add(exampleOf(95))
  assert(small.draw(500).some((example) => numberOf(example) === 95))
})

test('a copy shows what was kept when it began, whatever is added and erased until it has been fetched', () => {
  const items = tableOf()
  const run = (reservoir: Reservoir, from: number, to: number) => {
    for (let n = from; n < to; n++) reservoir.add(exampleOf(n))
    if (from % 2 === 0) reservoir.remove('user4')
  }
  for (const extent of ['whole', 'changed'] as const) {
    const reservoir = reservoirOf(items, 4000)
    run(reservoir, 0, 6000)
    const before = partsOf(reservoir)
    run(reservoir, 6000, 6100)
    const then = reservoirOf(items, 4000)
    run(then, 0, 6000)
    run(then, 6000, 6100)
    const parts: NamedArrays[] = []
    let n = 6100
    for (const part of reservoir.copy(extent)) {
      parts.push(part)
      run(reservoir, n, n + 300)
      n += 300
    }
    const restored = reservoirOf(items, 4000, 9)
    restoreFrom(restored, extent === 'whole' ? parts : [...before, ...parts])
    assert.deepEqual(partsOf(restored), partsOf(then), extent)
    const slots = parts.slice(1).flatMap((part) => [...part.get('slots')!])
    assert.equal(new Set(slots).size, slots.length)
    if (extent === 'changed') assert(slots.length < 700, `${slots.length} slots`)
  }
})

test('what changed since is told of all where fewer examples, or shorter histories, are kept than before', () => {
  const items = tableOf()
  const large = reservoirOf(items, 100)
  for (let n = 0; n < 90; n++) large.add(exampleOf(n))
  const small = reservoirOf(items, 20, 1, 2)
  const before = partsOf(large)
  restoreFrom(small, before)
  small.add(exampleOf(95))
  const restored = reservoirOf(items, 20, 1, 2)
  restoreFrom(restored, [...before, ...partsOf(small, 'changed')])
  assert.deepEqual(partsOf(restored), partsOf(small))
})

test('parts that do not fit are refused', () => {
  const items = tableOf()
  const reservoir = reservoirOf(items, 10)
  reservoir.add(exampleOf(5))
  const [small, examples] = partsOf(reservoir) as [NamedArrays, NamedArrays]
  const without = (part: NamedArrays, name: string) => new Map([...part].filter(([key]) => key !== name))
  for (const name of small.keys())
    assert.throws(
      () => restoreFrom(reservoirOf(items, 10), [without(small, name), examples]),
      { code: 'CORRUPT' },
      name
    )
  for (const name of examples.keys())
    assert.throws(
      () => restoreFrom(reservoirOf(items, 10), [small, without(examples, name)]),
      { code: 'CORRUPT' },
      name
    )
  const empty = new ItemTable({ dimensions: 1, itemsMax: 10, admissionMin: 1, rng: new Rng(1) })
  assert.throws(() => restoreFrom(reservoirOf(empty, 10), [small, examples]), {
    code: 'CORRUPT',
    message: /beyond an item table of 1 rows/
  })
})
