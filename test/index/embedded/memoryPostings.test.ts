// The postings against the plainest way: a list for each row, looked through for every vote.

import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../../src/core/rng.ts'
import { MemoryPostings } from '../../../src/index/embedded/memoryPostings.ts'
import { type Neighbours, votesOf, weightsIn } from '../../../src/index/memory.ts'

const rows = 300
const ids = Array.from({ length: 80 }, (_, i) => `item ${i}`)

function anyList(rng: Rng): Neighbours {
  const neighbours = [...new Set(Array.from({ length: rng.integer(30) }, () => ids[rng.integer(ids.length)]!))]
  return { neighbours, weights: Float32Array.from(neighbours, () => 0.1 + rng.uniform()) }
}

/** Of each row that gets any, to 1e-6. */
function countsOf(postings: MemoryPostings, history: readonly string[]): [number, number][] {
  return [...postings.count(votesOf(history, { weight: 1, decay: 0.9 }), rows)]
    .sort((a, b) => a - b)
    .map((row) => [row, Math.round(postings.sum(row) * 1e6) / 1e6])
}

function plainCounts(lists: readonly (Neighbours | undefined)[], history: readonly string[]): [number, number][] {
  const { items, weights } = votesOf(history, { weight: 1, decay: 0.9 })
  return lists.flatMap((list, row): [number, number][] => {
    const sum = weightsIn(list, items).reduce((sum, weight, age) => sum + weight * weights[age]!, 0)
    return sum > 0 ? [[row, Math.round(sum * 1e6) / 1e6]] : []
  })
}

test('votes are what all lists together give, however often lists are replaced, removed and moved', () => {
  const rng = new Rng(5)
  const postings = new MemoryPostings()
  const lists: (Neighbours | undefined)[] = Array.from({ length: rows }, () => undefined)
  for (let round = 0; round < 40; round++) {
    // More lists than are numbered at once: numbers are given again on the way.
    for (let i = 0; i < 400; i++) {
      const row = rng.integer(rows)
      const what = rng.integer(10)
      if (what === 0) {
        postings.remove(row)
        lists[row] = undefined
      } else if (what === 1) {
        const to = lists.indexOf(undefined)
        if (to < 0) continue
        postings.move(row, to)
        ;[lists[row], lists[to]] = [undefined, lists[row]]
      } else {
        lists[row] = anyList(rng)
        postings.set(row, lists[row])
      }
    }
    for (let query = 0; query < 5; query++) {
      const history = Array.from({ length: 25 }, () => ids[rng.integer(ids.length)]!)
      const distinct = [...new Set(history)]
      assert.deepEqual(countsOf(postings, distinct), plainCounts(lists, distinct))
    }
    assert.equal(postings.size, lists.filter((list) => (list?.neighbours.length ?? 0) > 0).length)
  }
})

test('an item that nobody names has no votes, and a count is forgotten with the next', () => {
  const postings = new MemoryPostings()
  postings.set(2, { neighbours: ['a', 'b'], weights: Float32Array.of(0.5, 0.25) })
  assert.deepEqual(countsOf(postings, ['a', 'x', 'b']), [[2, 0.7025]])
  assert.deepEqual(countsOf(postings, ['x']), [])
  assert.equal(postings.sum(2), 0)
})

test('lists that are replaced all the time take no more room', () => {
  const rng = new Rng(6)
  const postings = new MemoryPostings()
  const replaceAll = () => {
    for (let row = 0; row < rows; row++) postings.set(row, anyList(rng))
  }
  for (let i = 0; i < 20; i++) replaceAll()
  const { bytes } = postings
  for (let i = 0; i < 200; i++) replaceAll()
  assert(postings.bytes <= 2 * bytes, `${postings.bytes} bytes, before ${bytes}`)
})
