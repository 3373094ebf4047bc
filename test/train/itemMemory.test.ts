// The memory counts each example once, as its formula says; it sends what moved, forgets, and continues from a copy.
import assert from 'node:assert/strict'
import test from 'node:test'
import type { NamedArrays } from '../../src/core/namedArrays.ts'
import { Rng } from '../../src/core/rng.ts'
import type { ModelUpdate } from '../../src/records/modelUpdate.ts'
import { updateProblem } from '../../src/records/modelUpdate.ts'
import { ItemTable } from '../../src/train/batch/itemTable.ts'
import { ItemMemory, type MemoryLimits } from '../../src/train/memory/itemMemory.ts'

type Learned = Parameters<ItemMemory['learn']>[0][number]

function makeTable(itemsMax = 1000): ItemTable {
  return new ItemTable({ dimensions: 1, itemsMax, admissionMin: 1, rng: new Rng(1) })
}

const step = (itemId: string) => ({ itemId, type: 'click', eventTimeMs: 1 })

/** Examples of a user who takes these items, admitted as the trainer does. */
function visit(table: ItemTable, ...items: readonly string[]): Learned[] {
  for (const itemId of items) table.observe(itemId, 1)
  return items.slice(1).map((itemId, i) => ({ history: items.slice(0, i + 1).map(step), target: step(itemId) }))
}

function makeMemory(limits: Partial<MemoryLimits> = {}, table = makeTable()) {
  return { table, memory: new ItemMemory(table, { halfLife: Number.POSITIVE_INFINITY, moveMin: 1e-6, ...limits }) }
}

/** Lists by item, of all updates in their order. */
function listsOf(updates: readonly ModelUpdate[], into = new Map<string, Map<string, number>>()) {
  for (const update of updates) {
    assert.equal(updateProblem(update), undefined)
    assert(update.kind === 'item-neighbours')
    into.set(update.itemId, new Map(update.neighbours.map((id, i) => [id, update.weights[i]!])))
  }
  return into
}

/** By row. */
function scoresOf(memory: ItemMemory, history: readonly number[], weights: readonly number[]) {
  const { rows, scores } = memory.scores(history, weights)
  assert.equal(new Set(rows).size, rows.length)
  return new Map([...rows].map((row, i) => [row, scores[i]!]))
}

function near(actual: number | undefined, expected: number): void {
  assert(actual !== undefined && Math.abs(actual - expected) < 1e-6, `${actual} is not ${expected}`)
}

test('S as defined: 1/δ forwards, half of it backwards, over √(n_h n_x) + 3', () => {
  const { table, memory } = makeMemory()
  memory.learn([...visit(table, 'a', 'b', 'c'), ...visit(table, 'd', 'c')])
  const lists = listsOf(memory.takeUpdates())
  // n: a 1, b 1, c 2, d 1.
  near(lists.get('b')!.get('a'), 1 / (1 + 3))
  near(lists.get('a')!.get('b'), 0.5 / (1 + 3))
  near(lists.get('c')!.get('a'), 0.5 / (Math.SQRT2 + 3))
  near(lists.get('a')!.get('c'), 0.25 / (Math.SQRT2 + 3))
  near(lists.get('c')!.get('d'), 1 / (Math.SQRT2 + 3))
  assert.deepEqual([...lists.get('c')!.keys()].sort(), ['a', 'b', 'd'])
  assert(!lists.get('c')!.has('c'))
  const scores = scoresOf(memory, [table.rowOf('b'), table.rowOf('a')], [1, 0.8])
  near(scores.get(table.rowOf('c')), 1 / (Math.SQRT2 + 3) + (0.8 * 0.5) / (Math.SQRT2 + 3))
})

test('distances over 10 are not counted, nor an item beside itself', () => {
  const { table, memory } = makeMemory()
  const far = Array.from({ length: 10 }, (_, i) => `m${i}`)
  memory.learn(visit(table, 'first', ...far, 'last', 'last'))
  const lists = listsOf(memory.takeUpdates())
  assert(!lists.get('last')!.has('first'))
  assert(!lists.get('last')!.has('last'))
  assert(lists.get('m9')!.has('first'))
})

test('only what moved by more than moveMin is sent again; a resend sends all', () => {
  const { table, memory } = makeMemory({ moveMin: 0.05 })
  for (let i = 0; i < 50; i++) memory.learn(visit(table, 'a', 'b'))
  assert.deepEqual([...listsOf(memory.takeUpdates()).keys()].sort(), ['a', 'b'])
  memory.learn(visit(table, 'a', 'b'))
  assert.deepEqual(memory.takeUpdates(), [])
  memory.resendAll()
  assert.deepEqual([...listsOf(memory.takeUpdates()).keys()].sort(), ['a', 'b'])
})

test('lists as sent are within moveMin of the counts, by a reader that applies every update', () => {
  const moveMin = 0.02
  const { table, memory } = makeMemory({ moveMin, slots: 16, sweptRows: 1000 })
  const exact = makeMemory({ slots: 16 }, makeTable())
  const rng = new Rng(3)
  const sent = new Map<string, Map<string, number>>()
  for (let i = 0; i < 300; i++) {
    const items = Array.from({ length: 4 }, () => `i${Math.floor(rng.uniform() ** 2 * 40)}`)
    memory.learn(visit(table, ...items))
    exact.memory.learn(visit(exact.table, ...items))
    listsOf(memory.takeUpdates(), sent)
  }
  exact.memory.resendAll()
  const lists = listsOf(exact.memory.takeUpdates())
  let compared = 0
  for (const [item, list] of lists)
    for (const neighbour of new Set([...list.keys(), ...(sent.get(item)?.keys() ?? [])])) {
      const difference = Math.abs((list.get(neighbour) ?? 0) - (sent.get(item)?.get(neighbour) ?? 0))
      assert(difference <= moveMin + 1e-6, `${item} ← ${neighbour} differs by ${difference}`)
      compared++
    }
  assert(compared > 200, `${compared} entries`)
})

test('a full list keeps the heavy neighbours and takes no more slots', () => {
  const { table, memory } = makeMemory({ slots: 8 })
  for (let i = 0; i < 400; i++) {
    memory.learn(visit(table, `heavy${i % 4}`, 'x'))
    memory.learn(visit(table, `rare${i}`, 'x'))
  }
  const list = listsOf(memory.takeUpdates()).get('x')!
  assert(list.size <= 8)
  for (let i = 0; i < 4; i++) assert(list.has(`heavy${i}`), `heavy${i} is not in ${[...list.keys()]}`)
})

test('counts fade: after a half-life the later of two equal pairs weighs twice as much', () => {
  const { table, memory } = makeMemory({ halfLife: 100, halfLifePerItem: 0 })
  for (let i = 0; i < 20; i++) memory.learn(visit(table, 'old', 'x'))
  for (let i = 0; i < 80; i++) memory.learn(visit(table, 'p', 'q'))
  for (let i = 0; i < 20; i++) memory.learn(visit(table, 'new', 'x'))
  memory.resendAll()
  const list = listsOf(memory.takeUpdates()).get('x')!
  // c halves and √n falls by √2 less.
  assert(list.get('new')! > 1.3 * list.get('old')!, `${[...list]}`)
  // Sixty half-lives move the scale: what is left of it is nothing, and nothing is not finite.
  for (let i = 0; i < 7000; i++) memory.learn(visit(table, 'p', 'q'))
  memory.resendAll()
  const later = listsOf(memory.takeUpdates())
  assert.equal(later.get('x')!.size, 0)
  assert(later.get('q')!.get('p')! > 0.9)
})

test('an item that loses its row leaves: an empty list of its own, and out of the others', () => {
  const { table, memory } = makeMemory({ sweptRows: 1000 })
  memory.learn(visit(table, 'a', 'b', 'c'))
  listsOf(memory.takeUpdates())
  // All but b are seen again later.
  for (const itemId of ['a', 'c']) table.observe(itemId, 10)
  assert.equal(table.expire(5), 1)
  const lists = listsOf(memory.takeUpdates())
  assert.equal(lists.get('b')!.size, 0)
  for (const other of ['a', 'c']) assert(!lists.get(other)!.has('b'), other)
  // Another item gets the row, and nothing of b's counts.
  table.releaseFreed()
  memory.learn(visit(table, 'z', 'c'))
  const after = listsOf(memory.takeUpdates())
  assert.deepEqual([...after.get('z')!.keys()], ['c'])
  const scores = scoresOf(memory, [table.rowOf('z')], [1])
  assert.deepEqual([...scores.keys()], [table.rowOf('c')])
})

test('continued from a whole copy and one of changes it counts and sends the same', () => {
  const table = makeTable()
  const { memory } = makeMemory({ moveMin: 0.02 }, table)
  const rng = new Rng(5)
  const visits = () => visit(table, ...Array.from({ length: 5 }, () => `i${rng.integer(60)}`))
  for (let i = 0; i < 50; i++) memory.learn(visits())
  const parts: NamedArrays[] = [...memory.copy('whole')]
  for (let i = 0; i < 30; i++) memory.learn(visits())
  memory.takeUpdates()
  const changes = memory.copy('changed')
  parts.push(changes.next().value as NamedArrays)
  const later = Array.from({ length: 20 }, visits)
  for (const examples of later) memory.learn(examples) // while it is written
  parts.push(...changes)
  const { memory: again } = makeMemory({ moveMin: 0.02 }, table)
  again.beginRestore()
  for (const part of parts) again.restorePart(part)
  again.endRestore()
  for (const examples of later) again.learn(examples)
  for (const each of [memory, again]) each.resendAll()
  const [expected, found] = [memory, again].map((each) => listsOf(each.takeUpdates()))
  assert(expected!.size > 40)
  assert.deepEqual(found, expected)
})
