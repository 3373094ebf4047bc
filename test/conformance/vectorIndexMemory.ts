// What every VectorIndex promises of the memory: lists, votes, and candidates with all that their scores are made of.

import assert from 'node:assert/strict'
import { MtmiError } from '../../src/core/errors.ts'
import { Rng } from '../../src/core/rng.ts'
import { nearestInterest } from '../../src/index/interestScore.ts'
import { votesOf } from '../../src/index/memory.ts'
import type { Candidates, ItemPoint, UserPoint, VectorIndex } from '../../src/index/vectorIndex.ts'
import { itemPoint, randomUnit, userPoint } from './vectorIndexPoints.ts'

/** D 4, K 2. */
const shape = { dimensions: 4, interestCount: 2 }
const x = [1, 0, 0, 0]
const y = [0, 1, 0, 0]
const z = [0, 0, 1, 0]
const options = { scoring: nearestInterest }

const listOf = (list: Readonly<Record<string, number>>) => ({
  neighbours: Object.keys(list),
  weights: Float32Array.from(Object.values(list))
})
const withMemory = (point: ItemPoint, list: Readonly<Record<string, number>>): ItemPoint => ({
  ...point,
  memory: listOf(list)
})
const voting = (point: UserPoint, weight: number, decay: number): UserPoint => ({
  ...point,
  payload: { ...point.payload, memory: { weight, decay } }
})

/** Item → its cosines, then its memory, in the order of the ids. */
function numbersOf(candidates: Candidates | undefined): Record<string, number[]> {
  assert(candidates !== undefined)
  const { itemIds, interestCount: K, cosines, memory } = candidates
  assert.deepEqual([cosines.length, memory.length], [itemIds.length * K, itemIds.length])
  assert.equal(new Set(itemIds).size, itemIds.length)
  const near = (value: number) => Math.round(value * 1e5) / 1e5 + 0 // no −0
  return Object.fromEntries(
    itemIds
      .map((id, c) => [id, [...Array.from(cosines).slice(c * K, (c + 1) * K), memory[c]!].map(near)] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1))
  )
}

/** Three items on the axes; `far` is spoken for by `a` and `b`, `north` by `b`. */
async function fill(index: VectorIndex): Promise<void> {
  await index.createVersion('a', shape)
  await index.upsert('a', 3, [
    itemPoint('east', x, { features: { genre: ['war'] } }),
    withMemory(itemPoint('north', y), { b: 0.25 }),
    withMemory(itemPoint('far', z, { features: { genre: ['war'] } }), { a: 0.5, b: 0.25, gone: 0.125 }),
    voting(userPoint('ann', [x, y], ['b', 'a']), 2, 0.5),
    userPoint('bob', [x, y], ['b', 'a'])
  ])
  await index.promote('a', { items: 3, users: 2 })
}

type Check = (what: string, body: (index: VectorIndex) => Promise<void>) => void

export function memoryChecks(check: Check): void {
  check('a candidate has every cosine and its memory, whichever search found it', async (index) => {
    await fill(index)
    const { indexVersion, step, user, candidates } = await index.candidates({ by: { userId: 'ann' } }, 2, {}, options)
    assert.deepEqual([indexVersion, step, user?.recent], ['a', 3, ['b', 'a']])
    // Votes: b 2, a 2 · .5 = 1.
    assert.deepEqual(numbersOf(candidates), { east: [1, 0, 0], far: [0, 0, 1], north: [0, 1, 0.5] })
  })

  check('the memory is silent for a user without votes, and where it is turned off', async (index) => {
    await fill(index)
    const ofBob = await index.candidates({ by: { userId: 'bob' } }, 3, {}, options)
    const without = await index.candidates({ by: { userId: 'ann' } }, 3, {}, { ...options, memory: false })
    for (const { candidates } of [ofBob, without])
      assert.deepEqual(numbersOf(candidates), { east: [1, 0, 0], far: [0, 0, 0], north: [0, 1, 0] })
  })

  check('a user whose weight is 0 has candidates without memory', async (index) => {
    await fill(index)
    await index.upsert('a', 3, [voting(userPoint('ann', [x, y], ['b', 'a']), 0, 0.5)])
    const { candidates } = await index.candidates({ by: { userId: 'ann' } }, 3, {}, options)
    assert.deepEqual(numbersOf(candidates), { east: [1, 0, 0], far: [0, 0, 0], north: [0, 1, 0] })
  })

  check('given vectors vote with a given history, or the history votes alone', async (index) => {
    await fill(index)
    const votes = votesOf(['a', 'nothing', 'b'], { weight: 4, decay: 0.5 })
    const given = { vectors: Float32Array.from(x), count: 1, votes }
    const { candidates } = await index.candidates({ by: given }, 1, {}, options)
    assert.deepEqual(numbersOf(candidates), { east: [1, 0], far: [0, 2.25] })
    const alone = await index.candidates({ by: { vectors: new Float32Array(0), count: 0, votes } }, 5, {}, options)
    assert.deepEqual(numbersOf(alone.candidates), { far: [2.25], north: [0.25] })
    const none = await index.candidates({ by: { vectors: new Float32Array(0), count: 0 } }, 5, {}, options)
    assert.deepEqual(numbersOf(none.candidates), {})
  })

  check('a user of whom the model knows no item has candidates by votes alone', async (index) => {
    await fill(index)
    await index.upsert('a', 4, [voting(userPoint('cold', [], ['b']), 2, 0.5)])
    const { candidates, user } = await index.candidates({ by: { userId: 'cold' } }, 5, {}, options)
    assert.deepEqual([candidates?.interestCount, user?.recent], [0, ['b']])
    assert.deepEqual(numbersOf(candidates), { far: [0.5], north: [0.5] })
    assert.deepEqual((await index.search({ by: { userId: 'cold' } }, 5)).lists, [])
    assert.equal((await index.user('cold'))?.vectors.length, 0)
  })

  check('filters, exclusions and the history apply to what the memory finds', async (index) => {
    await fill(index)
    const by = { userId: 'ann' }
    const ids = async (filter: Parameters<VectorIndex['candidates']>[2]) =>
      Object.keys(numbersOf((await index.candidates({ by }, 5, filter, options)).candidates))
    assert.deepEqual(await ids({ features: { genre: 'war' } }), ['east', 'far'])
    assert.deepEqual(await ids({ excludeItems: ['far'] }), ['east', 'north'])
    await index.upsert('a', 3, [voting(userPoint('ann', [x, y], ['b', 'far']), 2, 0.5)])
    assert.deepEqual(await ids({}), ['east', 'north'])
    assert.deepEqual(await ids({ excludeRecent: false }), ['east', 'far', 'north'])
  })

  check('a list alone is replaced, and the vector and the payload stay', async (index) => {
    await fill(index)
    const lists = { east: { a: 1 }, far: { a: 0.25 }, north: {}, nobody: { a: 1 } }
    const entries = Object.entries(lists).map(([id, list]) => ({ id, memory: listOf(list) }))
    assert.equal(await index.updateMemory('a', 5, entries), 3)
    const { candidates, step } = await index.candidates({ by: { userId: 'ann' } }, 3, {}, options)
    assert.deepEqual(numbersOf(candidates), { east: [1, 0, 1], far: [0, 0, 0.25], north: [0, 1, 0] })
    assert.equal(step, 5)
    assert.deepEqual((await index.item('east'))?.payload.features, { genre: ['war'] })
    assert.equal(await index.item('nobody'), undefined)
    // An older write replaces nothing of it.
    assert.equal(await index.updateMemory('a', 4, [{ id: 'east', memory: listOf({ b: 9 }) }]), 0)
    assert.equal(await index.upsert('a', 4, [withMemory(itemPoint('east', z), { b: 9 })]), 0)
    assert.deepEqual(
      [...(await index.items('a', ['east', 'north'], { memory: ['a', 'b'] }))].map(([id, { memory }]) => [
        id,
        [...memory!]
      ]),
      [
        ['east', [1, 0]],
        ['north', [0, 0]]
      ]
    )
  })

  check('a written point has the list that came with it, and none if none came', async (index) => {
    await fill(index)
    await index.upsert('a', 4, [itemPoint('far', z), withMemory(itemPoint('north', y), { a: 1 })])
    await index.remove('a', 'item', ['east'])
    const { candidates } = await index.candidates({ by: { userId: 'ann' } }, 3, {}, options)
    assert.deepEqual(numbersOf(candidates), { far: [0, 0, 0], north: [0, 1, 1] })
    assert.equal(await index.updateMemory('a', 9, [{ id: 'east', memory: listOf({ a: 1 }) }]), 0)
    assert.equal(await index.item('east'), undefined)
  })

  check('vectors come with the candidates that they belong to', async (index) => {
    await fill(index)
    const { candidates } = await index.candidates({ by: { userId: 'ann' } }, 2, {}, { ...options, vectors: true })
    const at = candidates!.itemIds.indexOf('far')
    assert.deepEqual([...candidates!.vectors!.subarray(4 * at, 4 * at + 4)], z)
  })

  check('a list that is not one is refused, and nothing of the call is written', async (index) => {
    await fill(index)
    for (const [memory, text] of [
      [{ neighbours: ['a', 'b'], weights: Float32Array.of(1) }, '2 neighbours, but 1 weights'],
      [{ neighbours: ['a'], weights: Float32Array.of(Number.NaN) }, 'NaN'],
      [{ neighbours: ['a'], weights: Float32Array.of(-1) }, '-1'],
      [{ neighbours: ['a', 'a'], weights: Float32Array.of(1, 1) }, 'twice']
    ] as const) {
      const refused = (error: unknown) =>
        error instanceof MtmiError && error.code === 'CONFIG' && error.message.includes(text)
      await assert.rejects(index.upsert('a', 9, [itemPoint('new', x), { ...itemPoint('far', x), memory }]), refused)
      await assert.rejects(index.updateMemory('a', 9, [{ id: 'far', memory }]), refused)
    }
    assert.equal(await index.item('new'), undefined)
  })

  check('for any lists and votes every number is the one worked out by hand', async (index) => {
    const rng = new Rng(7)
    await index.createVersion('a', shape)
    const ids = Array.from({ length: 60 }, (_, i) => `item ${i}`)
    const points = ids.map((id) => {
      const list: Record<string, number> = {}
      for (let n = rng.integer(6); n > 0; n--) list[ids[rng.integer(ids.length)]!] = 0.1 + rng.uniform()
      return withMemory(itemPoint(id, [...randomUnit(rng, 4)]), list)
    })
    const recent = ids.slice(0, 25)
    const vectors = [[...randomUnit(rng, 4)], [...randomUnit(rng, 4)]]
    await index.upsert('a', 1, [...points, voting(userPoint('ann', vectors, recent), 2, 0.9)])
    await index.promote('a', { items: 60, users: 1 })
    const { candidates } = await index.candidates({ by: { userId: 'ann' } }, 5, {}, options)
    const found = numbersOf(candidates)
    const expected = points
      .filter(({ id }) => !recent.includes(id))
      .map(({ id, vector, memory }) => {
        const cosines = vectors.map((other) => other.reduce((sum, value, d) => sum + value * vector[d]!, 0))
        let votes = 0
        for (const [i, h] of memory!.neighbours.entries()) {
          const age = recent.indexOf(h)
          if (age >= 0 && age < 20) votes += 2 * 0.9 ** age * memory!.weights[i]!
        }
        return { id, numbers: [...cosines, votes] }
      })
    for (const { id, numbers } of expected)
      for (const [i, value] of (found[id] ?? numbers).entries())
        assert(Math.abs(value - numbers[i]!) < 2e-5, `${id}: ${found[id]} is not ${numbers}`)
    // The nearest of each interest, and those with the most votes, are all there.
    for (const by of [0, 1, 2])
      for (const { id } of expected.toSorted((a, b) => b.numbers[by]! - a.numbers[by]!).slice(0, by < 2 ? 5 : 1))
        assert(id in found, `${id} is missing, of the best by ${by}`)
  })
}
