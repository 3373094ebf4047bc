import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { compileKernel } from '../../../infra/buildKernel.mjs'
import { Rng } from '../../../src/core/rng.ts'
import { ExactItems } from '../../../src/index/embedded/exactItems.ts'
import { nearestInterest, scoreOf } from '../../../src/index/interestScore.ts'
import { itemScanWasm } from '../../../src/index/itemScanWasm.ts'
import { blockRows, ItemTable } from '../../../src/index/itemTable.ts'
import { votesOf, weightsIn } from '../../../src/index/memory.ts'
import { mergeInterests } from '../../../src/index/mergeInterests.ts'
import { randomUnit } from '../../conformance/vectorIndexPoints.ts'

const everything = {}

for (const dimensions of [1, 3, 4, 8, 50, 64, 100]) {
  test(`a scan finds the rows above a threshold, with the scores of plain loops, D ${dimensions}`, () => {
    const table = new ItemTable(dimensions)
    const rng = new Rng(dimensions)
    const N = 9 * blockRows + 7 // an odd last block
    const vectors = Array.from({ length: N }, () => randomUnit(rng, dimensions))
    for (const [row, vector] of vectors.entries()) table.write(row, vector)
    const Q = 6 // a whole group and half of another
    const interests = Array.from({ length: Q }, () => randomUnit(rng, dimensions))
    table.setQuery(Float32Array.from(interests.flatMap((interest) => [...interest])), Q)
    const score = (row: number, k: number) =>
      (interests[k] ?? new Float32Array(0)).reduce((sum, x, d) => sum + x * vectors[row]![d]!, 0)
    for (const [from, to] of [
      [0, 1],
      [0, 2],
      [1, 4],
      [blockRows, 2 * blockRows],
      [9 * blockRows, N],
      [5, 5]
    ] as const) {
      for (const group of [0, 1]) {
        const all = new Float32Array(4).fill(Number.NEGATIVE_INFINITY)
        assert.equal(table.scan(from, to, group, all), to - from)
        assert.deepEqual(
          table.foundRows.slice(0, to - from),
          Int32Array.from({ length: to - from }, (_, i) => from + i)
        )
        const scores = Float64Array.from({ length: 4 * (to - from) }, (_, i) =>
          score(from + (i >> 2), 4 * group + (i & 3))
        )
        for (const [i, expected] of scores.entries()) assert(Math.abs(table.foundScores[i]! - expected) < 1e-5)
        const lanes = group === 0 ? 4 : Q - 4
        const thresholds = Float32Array.from({ length: 4 }, (_, lane) =>
          lane < lanes ? 0.2500001 : Number.POSITIVE_INFINITY
        )
        const expected = [...Array(to - from).keys()]
          .filter((i) => [...Array(lanes).keys()].some((lane) => scores[i * 4 + lane]! > 0.25))
          .map((i) => from + i)
        assert.deepEqual([...table.foundRows.slice(0, table.scan(from, to, group, thresholds))], expected)
      }
    }
    assert.deepEqual(table.read(17), vectors[17])
    table.move(17, 3)
    assert.deepEqual(table.read(3), vectors[17])
  })
}

test('the kernel in the repository is what its text compiles to', async () => {
  assert.equal(itemScanWasm, (await compileKernel()).toString('base64'), 'run `npm run build:kernel`')
})

test('any sequence of writes and removals leaves what a plain map would hold', () => {
  const write = fc.record({
    id: fc.integer({ min: 0, max: 12 }),
    step: fc.integer({ min: 0, max: 5 }),
    degrees: fc.integer({ min: 0, max: 359 }),
    genre: fc.constantFrom('war', 'drama', undefined),
    count: fc.integer({ min: 0, max: 9 }),
    remove: fc.boolean()
  })
  fc.assert(
    fc.property(fc.array(write, { maxLength: 60 }), (writes) => {
      const items = new ExactItems(2)
      const model = new Map<string, (typeof writes)[number]>()
      for (const one of writes) {
        const id = `${one.id}`
        if (one.remove) {
          assert.equal(items.remove(id), model.get(id)?.step)
          model.delete(id)
          continue
        }
        const fresh = (model.get(id)?.step ?? 0) <= one.step
        const radians = (one.degrees * Math.PI) / 180
        const payload = {
          count: 1,
          popularity: one.count,
          updatedAtMs: 0,
          ...(one.genre === undefined ? {} : { features: { genre: [one.genre] } })
        }
        assert.equal(
          items.upsert(id, one.step, Float32Array.from([Math.cos(radians), Math.sin(radians)]), payload),
          fresh
        )
        if (fresh) model.set(id, one)
      }
      for (const genre of ['war', 'drama', undefined]) {
        const expected = [...model].filter(([, { genre: has }]) => genre === undefined || has === genre)
        const filter = { excludeItems: ['3'], ...(genre === undefined ? {} : { features: { genre } }) }
        const [list] = items.search(Float32Array.from([1, 0]), 100, filter)
        const kept = expected.filter(([id]) => id !== '3')
        assert.deepEqual(list?.map(({ itemId }) => itemId).sort(), kept.map(([id]) => id).sort())
        for (const { itemId, score } of list ?? [])
          assert(Math.abs(score - Math.cos((model.get(itemId)!.degrees * Math.PI) / 180)) < 1e-6)
        const greatest = Math.max(...[...model.values()].map(({ count }) => count))
        const popular = items.popular(3, filter)
        assert.deepEqual(
          popular.map(({ score }) => (score === 0 ? 0 : Math.round(Math.log2(score) + greatest))),
          kept
            .map(([, { count }]) => count)
            .sort((a, b) => b - a)
            .slice(0, 3)
        )
      }
    })
  )
})

test('gaps are closed without losing anything', () => {
  const items = new ExactItems(8)
  const rng = new Rng(3)
  const vectors = Array.from({ length: 6000 }, () => randomUnit(rng, 8))
  const payload = (i: number) => ({
    count: i,
    ...(i > 0 ? { popularity: i } : {}),
    updatedAtMs: 0,
    features: { tenth: [`${i % 10}`] }
  })
  for (const [i, vector] of vectors.entries()) items.upsert(`${i}`, 1, vector, payload(i))
  for (let i = 0; i < 6000; i++) if (i % 3 !== 0) items.remove(`${i}`) // 4,000 gaps: closed more than once on the way
  assert.equal(items.size, 2000)
  for (const i of [0, 3, 2997, 5997]) {
    const [list] = items.search(vectors[i]!, 1, everything)
    assert.equal(list?.[0]?.itemId, `${i}`)
    assert.deepEqual(items.get(`${i}`), { payload: payload(i), vector: vectors[i] })
  }
  const [list] = items.search(vectors[0]!, 6000, { features: { tenth: '7' } })
  assert.equal(list?.length, 200) // i ≡ 0 (mod 3) and i ≡ 7 (mod 10): one in thirty of 6,000
  assert(list?.every(({ itemId }) => Number(itemId) % 30 === 27))
  assert.equal(items.popular(1, everything)[0]?.itemId, '5997')
})

test('a rare feature and a common one give what a search through everything would', () => {
  const rng = new Rng(5)
  const items = new ExactItems(16)
  for (let i = 0; i < 5000; i++) {
    items.upsert(`${i}`, 1, randomUnit(rng, 16), {
      count: 1,
      updatedAtMs: 0,
      features: { common: [`${i % 2}`], rare: [`${i % 100}`] }
    })
  }
  const query = randomUnit(rng, 16)
  const [all] = items.search(query, 5000, everything)
  for (const features of [{ common: '1' }, { rare: '42' }, { rare: '43', common: '1' }, { rare: '42', common: '1' }]) {
    const [list] = items.search(query, 10, { features })
    const expected = all?.filter(({ itemId }) =>
      Object.entries(features).every(([field, value]) => items.get(itemId)?.payload.features?.[field]?.includes(value))
    )
    assert.deepEqual(list, expected?.slice(0, 10))
  }
})

test('a list chosen from the candidates is the list of all items, by both scores, with votes of any weight', () => {
  const rng = new Rng(17)
  const [D, K, N] = [8, 3, 1200]
  const items = new ExactItems(D)
  const vectors = Array.from({ length: N }, () => randomUnit(rng, D))
  const lists = vectors.map(() => {
    const neighbours = [...new Set(Array.from({ length: rng.integer(12) }, () => `item ${rng.integer(N)}`))]
    return { neighbours, weights: Float32Array.from(neighbours, () => rng.uniform()) }
  })
  for (const [row, vector] of vectors.entries())
    items.upsert(`item ${row}`, 1, vector, { count: 1, updatedAtMs: 0 }, { changedAt: 1, read: () => lists[row]! })
  for (let query = 0; query < 60; query++) {
    const scoring = query % 2 === 0 ? nearestInterest : ({ form: 'mixture', temperature: 0.12 } as const)
    const interests = Float32Array.from(Array.from({ length: K }, () => [...randomUnit(rng, D)]).flat())
    const history = [...new Set(Array.from({ length: 25 }, () => `item ${rng.integer(N)}`))]
    const votes = votesOf(history, { weight: [0.05, 0.5, 3][query % 3]!, decay: 0.9 })
    const filter = { excludeItems: history }
    // Twice as many candidates as places, as lists by a mixture are made: by the nearest interest as many are enough.
    const found = items.candidates(interests, votes, query % 2 === 0 ? 20 : 40, filter, { scoring })
    const all = vectors.map((vector, row) => {
      const cosines = Array.from({ length: K }, (_, k) =>
        vector.reduce((sum, value, d) => sum + value * interests[k * D + d]!, 0)
      )
      const shares = weightsIn(lists[row], votes.items)
      const memory = shares.reduce((sum, share, age) => sum + share * votes.weights[age]!, 0)
      return { id: `item ${row}`, score: scoreOf(cosines, 0, K, scoring) + memory }
    })
    const expected = all.filter(({ id }) => !history.includes(id)).sort((a, b) => b.score - a.score)
    const merged = mergeInterests(found, 20, new Set(), { quotaShare: 0, scoring })
    for (const [place, { score }] of merged.entries()) assert(Math.abs(score - expected[place]!.score) < 1e-5)
    assert.equal(merged.length, 20)
  }
})
