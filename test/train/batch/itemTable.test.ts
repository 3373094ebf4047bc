import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { NamedArrays } from '../../../src/core/namedArrays.ts'
import { Rng } from '../../../src/core/rng.ts'
import { ItemTable } from '../../../src/train/batch/itemTable.ts'
import { partsOf, restoreFrom } from '../../support/copies.ts'

const tableOf = (options: Partial<ConstructorParameters<typeof ItemTable>[0]> = {}) =>
  new ItemTable({ dimensions: 4, itemsMax: 1000, admissionMin: 1, rng: new Rng(1), ...options })

test('an item gets a row of its own at its first interaction, and keeps it', () => {
  const table = tableOf()
  assert.equal(table.rowOf('a'), 0)
  const a = table.observe('a', 1000)
  const b = table.observe('b', 2000)
  assert.deepEqual([a, b], [1, 2])
  assert.equal(table.observe('a', 500), a)
  assert.equal(table.count(a), 2)
  assert.equal(table.lastSeenMs(a), 1000) // the late one does not take it back
  assert.equal(table.idOf(b), 'b')
  assert.equal(table.size, 2)
  assert.equal(table.rows, 3)
  assert.deepEqual([...table.admitted()], [1, 2])
  assert.equal(table.observe('', 1), 0)
})

test('admission counts first', () => {
  const table = tableOf({ admissionMin: 3 })
  assert.equal(table.observe('a', 1), 0)
  assert.equal(table.observe('a', 2), 0)
  assert.equal(table.observe('b', 2), 0)
  const row = table.observe('a', 3)
  assert.equal(row, 1)
  assert.equal(table.count(row), 3)
  assert.equal(table.size, 1)
})

test('row 0 stays zeros whatever is done to it', () => {
  const table = tableOf()
  table.observe('a', 1)
  table.values(0).fill(9)
  table.setAccumulator(0, 5)
  table.markDirty(0)
  const out = new Float32Array(12).fill(7)
  table.gather(Int32Array.of(0, 1, 0), out)
  assert.deepEqual([...out.subarray(0, 4)], [0, 0, 0, 0])
  assert.deepEqual(out.subarray(4, 8), table.values(1))
  assert.deepEqual([...out.subarray(8)], [0, 0, 0, 0])
  assert.equal(table.accumulator(0), 0)
  assert.deepEqual([...table.takeDirty()], [1])
  assert(!table.isAdmitted(0))
})

test('initial values are the item’s own: not of the order of arrival, and others with another seed', () => {
  const one = tableOf()
  const other = tableOf()
  const reseeded = tableOf({ rng: new Rng(2) })
  for (const id of ['a', 'b', 'c']) one.observe(id, 1)
  for (const id of ['c', 'b', 'a']) other.observe(id, 1)
  reseeded.observe('a', 1)
  for (const id of ['a', 'b', 'c']) assert.deepEqual(one.values(one.rowOf(id)), other.values(other.rowOf(id)))
  assert.notDeepEqual(one.values(one.rowOf('a')), one.values(one.rowOf('b')))
  assert.notDeepEqual(one.values(one.rowOf('a')), reseeded.values(1))
})

test('initial values are normal with standard deviation 1/√D', () => {
  // 2,000 × 16 numbers: the mean's standard error is .25/√32,000 = .0014, the deviation's .001.
  const table = tableOf({ dimensions: 16, itemsMax: 5000 })
  let sum = 0
  let squares = 0
  for (let i = 0; i < 2000; i++) {
    for (const x of table.values(table.observe(`item${i}`, 1))) {
      sum += x
      squares += x * x
    }
  }
  const n = 2000 * 16
  assert(Math.abs(sum / n) < 0.006, `mean ${sum / n}`)
  assert(Math.abs(Math.sqrt(squares / n) - 0.25) < 0.005, `deviation ${Math.sqrt(squares / n)}`)
})

test('a freed row waits for releaseFreed, then is another item’s, of the next generation', () => {
  const table = tableOf()
  const a = table.observe('a', 1000)
  table.setAccumulator(a, 3)
  table.takeDirty()
  assert.equal(table.expire(1000), 0) // not older than
  const freed: [number, string][] = []
  table.onFreed((row) => freed.push([row, table.idOf(row)]))
  assert.equal(table.expire(1001), 1)
  assert.deepEqual(freed, [[a, 'a']])
  assert.equal(table.rowOf('a'), 0)
  assert.equal(table.idOf(a), '')
  assert.equal(table.generation(a), 1)
  // A batch that still holds the row may write into it.
  table.values(a).fill(1)
  table.markDirty(a)
  const b = table.observe('b', 2000)
  assert.notEqual(b, a)
  assert.deepEqual([...table.takeDirty()], [b])
  table.releaseFreed()
  const c = table.observe('c', 3000)
  assert.equal(c, a)
  assert.equal(table.accumulator(c), 0)
  assert.equal(table.count(c), 1)
  const fresh = tableOf()
  assert.deepEqual(table.values(c), fresh.values(fresh.observe('c', 1)))
  assert.deepEqual([...table.takeDirty()], [c])
  assert.deepEqual(table.takeExpired(), ['a'])
  assert.deepEqual(table.takeExpired(), [])
})

test('an item that comes back before it was reported expired is not reported', () => {
  const table = tableOf()
  table.observe('a', 1)
  table.observe('b', 1)
  table.expire(2)
  table.observe('a', 3)
  assert.deepEqual(table.takeExpired(), ['b'])
})

test('a row is dirty once, however often it changes hands', () => {
  const table = tableOf()
  for (let i = 0; i < 5; i++) {
    table.observe(`item${i}`, i)
    table.expire(i + 1)
    table.releaseFreed()
  }
  const row = table.observe('last', 9)
  table.markDirty(row)
  assert.deepEqual([...table.takeDirty()], [row])
  assert.deepEqual([...table.takeDirty()], [])
})

test('a full table lets old items go and keeps most new ones', () => {
  const table = tableOf({ itemsMax: 200 })
  for (let i = 0; i < 2000; i++) {
    table.observe(`item${i}`, i)
    table.releaseFreed()
  }
  assert.equal(table.size, 200)
  assert.equal(table.rows, 202) // row 0, 200 items, and the one freed while the next came
  let recent = 0
  for (let i = 1800; i < 2000; i++) if (table.rowOf(`item${i}`) !== 0) recent++
  // By 16 looks the victim is among the oldest eighth with probability .88: few of the newest 200 are ever victims.
  // Drawn blindly, 1/e of them would survive: 126.
  assert(recent > 170, `${recent} of the newest 200`)
  assert.equal(table.takeExpired().length, 1800)
})

test('without releaseFreed the rows in use grow by what was let go, and no row is given twice', () => {
  const table = tableOf({ itemsMax: 10 })
  const rows = new Set<number>()
  for (let i = 0; i < 50; i++) rows.add(table.observe(`item${i}`, i))
  assert.equal(rows.size, 50)
  assert.equal(table.size, 10)
  assert.equal(table.rows, 51)
})

test('an output array that is too short is refused', () => {
  const table = tableOf()
  table.observe('a', 1)
  assert.throws(() => table.gather(Int32Array.of(1, 1), new Float32Array(7)), /2 rows of 4 into 7/)
})

test('it behaves as a Map under random observing, expiring and restoring', () => {
  const command = fc.oneof(
    { weight: 12, arbitrary: fc.record({ kind: fc.constant('observe' as const), id: fc.nat(60) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('expire' as const), age: fc.nat(40) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('release' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('restore' as const) }) }
  )
  fc.assert(
    fc.property(fc.array(command, { maxLength: 200 }), fc.integer({ min: 1, max: 3 }), (commands, admissionMin) => {
      const options = { itemsMax: 1000, admissionMin, dimensions: 3 }
      let table = tableOf(options)
      const model = new Map<string, { count: number; lastMs: number; value: number }>()
      const pending = new Map<string, number>()
      let nowMs = 100
      for (const command of commands) {
        if (command.kind === 'observe') {
          const id = `item${command.id}`
          nowMs++
          const row = table.observe(id, nowMs)
          const known = model.get(id)
          if (known !== undefined) {
            known.count++
            known.lastMs = nowMs
          } else {
            const count = (pending.get(id) ?? 0) + 1
            pending.set(id, count)
            if (count === admissionMin) {
              pending.delete(id)
              model.set(id, { count, lastMs: nowMs, value: nowMs })
              table.willChange(row)
              table.values(row).fill(nowMs)
              table.setAccumulator(row, nowMs / 2)
            }
          }
          assert.equal(row !== 0, model.has(id))
        } else if (command.kind === 'expire') {
          const before = nowMs - command.age
          const old = [...model].filter(([, { lastMs }]) => lastMs < before)
          for (const [id] of old) model.delete(id)
          assert.equal(table.expire(before), old.length)
        } else if (command.kind === 'release') table.releaseFreed()
        else {
          const parts = partsOf(table)
          table = tableOf({ ...options, rng: new Rng(99) })
          restoreFrom(table, parts)
          assert.deepEqual(partsOf(table), parts)
        }
      }
      assert.equal(table.size, model.size)
      const rows = new Set<number>()
      for (const [id, { count, lastMs, value }] of model) {
        const row = table.rowOf(id)
        rows.add(row)
        assert(table.isAdmitted(row))
        assert.equal(table.idOf(row), id)
        assert.equal(table.count(row), count)
        assert.equal(table.lastSeenMs(row), lastMs)
        assert.deepEqual([...table.values(row)], [value, value, value])
        assert.equal(table.accumulator(row), value / 2)
      }
      assert.deepEqual(new Set(table.admitted()), rows)
      assert.deepEqual(new Set(table.takeDirty()), new Set([...rows]))
    }),
    { numRuns: 100, seed: 3 }
  )
})

test('a restored table goes on exactly as the first would have', () => {
  const first = tableOf({ itemsMax: 50, admissionMin: 2 })
  const run = (table: ItemTable, from: number, to: number) => {
    for (let i = from; i < to; i++) {
      table.observe(`item${(i * 7919) % 300}`, i)
      if (i % 10 === 0) table.releaseFreed()
      if (i % 100 === 0) table.expire(i - 80)
    }
  }
  run(first, 0, 1500)
  const second = tableOf({ itemsMax: 50, admissionMin: 2, rng: new Rng(5) })
  restoreFrom(second, partsOf(first))
  run(first, 1500, 3000)
  run(second, 1500, 3000)
  assert.deepEqual(partsOf(second), partsOf(first))
  assert.deepEqual(second.takeExpired(), first.takeExpired())
})

test('a copy shows the table as it was when it began, whatever happens until it has been fetched', () => {
  const run = (table: ItemTable, from: number, to: number) => {
    for (let i = from; i < to; i++) {
      const row = table.observe(`item${(i * 7919) % 9000}`, i)
      table.willChange(row)
      table.values(row)[0] = i
      if (i % 100 === 0) table.expire(i - 4000)
      if (i % 10 === 0) table.releaseFreed()
    }
  }
  // As Maps by row: in which order rows come is nobody's concern.
  const contents = (table: ItemTable) => {
    const [, ...blocks] = partsOf(table)
    return blocks.map((block) => [...block])
  }
  for (const extent of ['whole', 'changed'] as const) {
    const table = tableOf({ itemsMax: 5000 })
    run(table, 0, 8000)
    const before = partsOf(table)
    run(table, 8000, 9000)
    const copy = table.copy(extent)
    const then = tableOf({ itemsMax: 5000 })
    run(then, 0, 9000)
    const parts: NamedArrays[] = []
    for (let i = 9000, next = copy.next(); next.done !== true; next = copy.next(), i += 700) {
      parts.push(next.value)
      run(table, i, i + 700)
    }
    assert.equal(table.waitingBlocks, 0)
    const restored = tableOf({ rng: new Rng(9) })
    restoreFrom(restored, extent === 'whole' ? parts : [...before, ...parts])
    assert.deepEqual(contents(restored), contents(then), extent)
    const rows = parts.slice(1).flatMap((part) => [...part.get('rows')!])
    assert.equal(new Set(rows).size, rows.length, 'a row comes once')
    if (extent === 'changed') assert.ok(rows.length < then.rows / 2, `${rows.length} of ${then.rows} rows`)
    const changes = tableOf({ rng: new Rng(9) })
    restoreFrom(changes, partsOf(restored))
    run(changes, 9000, 12_000)
    run(restored, 9000, 12_000)
    assert.deepEqual(partsOf(changes), partsOf(restored))
  }
})

test('an id that moves to another row is that row’s alone, whichever comes first', () => {
  const table = tableOf()
  for (const id of ['a', 'b']) table.observe(id, 1)
  const before = partsOf(table)
  table.expire(2)
  table.releaseFreed()
  for (const id of ['a', 'b', 'c']) table.observe(id, 3) // the row that was freed last is used first: a and b change places
  const restored = tableOf()
  restoreFrom(restored, [...before, ...partsOf(table, 'changed')])
  assert.deepEqual(
    ['a', 'b', 'c'].map((id) => restored.rowOf(id)),
    ['a', 'b', 'c'].map((id) => table.rowOf(id))
  )
  assert.deepEqual(partsOf(restored), partsOf(table))
})

test('parts that do not fit are refused', () => {
  const table = tableOf()
  table.observe('a', 1)
  const [small, rows] = partsOf(table) as [NamedArrays, NamedArrays]
  assert.throws(() => restoreFrom(tableOf({ dimensions: 5 }), [small, rows]), {
    code: 'CORRUPT',
    message: /4 dimensions.*of 5/
  })
  const without = (part: NamedArrays, name: string) => new Map([...part].filter(([key]) => key !== name))
  for (const name of small.keys())
    assert.throws(() => restoreFrom(tableOf(), [without(small, name), rows]), { code: 'CORRUPT' }, name)
  for (const name of rows.keys())
    assert.throws(() => restoreFrom(tableOf(), [small, without(rows, name)]), { code: 'CORRUPT' }, name)
  assert.throws(() => restoreFrom(tableOf(), [small, new Map(rows).set('places', Int32Array.of(-1, 7))]), {
    code: 'CORRUPT'
  })
  assert.throws(() => restoreFrom(tableOf(), [small]), { code: 'CORRUPT', message: /0 ids and 0 rows for 1 items/ })
  assert.throws(() => restoreFrom(tableOf(), []), { code: 'CORRUPT' })
})

test('a smaller table takes a larger one’s state and shrinks with the next admission', () => {
  const large = tableOf()
  for (let i = 0; i < 100; i++) large.observe(`item${i}`, i)
  const small = tableOf({ itemsMax: 20 })
  restoreFrom(small, partsOf(large))
  assert.equal(small.size, 100)
  small.observe('new', 1000)
  assert.equal(small.size, 20)
  assert.notEqual(small.rowOf('new'), 0)
})

test('an id asked for again has the row that it has now', () => {
  const table = new ItemTable({ dimensions: 2, itemsMax: 10, admissionMin: 1, rng: new Rng(1) })
  assert.equal(table.rowOf('a'), 0)
  const row = table.observe('a', 1)
  assert.equal(table.rowOf('a'), row)
  table.expire(2)
  assert.equal(table.rowOf('a'), 0)
  table.releaseFreed()
  assert.equal(table.observe('b', 3), row)
  assert.equal(table.rowOf('b'), row)
  const other = new ItemTable({ dimensions: 2, itemsMax: 10, admissionMin: 1, rng: new Rng(1) })
  other.observe('c', 4)
  assert.equal(other.rowOf('c'), row)
  restoreFrom(other, partsOf(table))
  assert.deepEqual([other.rowOf('a'), other.rowOf('b'), other.rowOf('c')], [0, row, 0])
})
