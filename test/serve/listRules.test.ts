// Boosts, pins, lists for several, and what a list is to be unlike: among items whose scores can be worked out by hand.

import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { ManualClock } from '../../src/core/clock.ts'
import type { ListRule } from '../../src/core/config/listRules.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { hashKey } from '../../src/core/hashKey.ts'
import type { UserPayload } from '../../src/index/vectorIndex.ts'
import type { ListRequest, RecommenderOptions } from '../../src/serve/listRequest.ts'
import { rulesOfRequest, withPins } from '../../src/serve/listRules.ts'
import { Recommender } from '../../src/serve/recommender.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'

/** [N, 2]: at angles in degrees. */
const at = (...degrees: number[]) =>
  Float32Array.from(degrees.flatMap((d) => [Math.cos((d * Math.PI) / 180), Math.sin((d * Math.PI) / 180)]))

/** Items a0 … a89 at 0° … 89°; every third is red. Ann likes 0°, Bob 90°. a1 is not yet available. */
async function setUp(options: Partial<RecommenderOptions> = {}) {
  const index = new MemoryVectorIndex()
  await index.createVersion('s', { dimensions: 2, interestCount: 1 })
  const items = Array.from({ length: 90 }, (_, i) => ({
    ...{ role: 'item' as const, id: `a${i}`, vector: at(i) },
    payload: {
      ...{ count: 1, popularity: 90 - i, updatedAtMs: 0, features: { color: [i % 3 === 0 ? 'red' : 'blue'] } },
      ...(i === 1 ? { availableFromMs: 20_000 } : {})
    }
  }))
  const user = (id: string, angle: number, more: Partial<UserPayload>) => ({
    ...{ role: 'user' as const, id, vectors: at(angle) },
    payload: { recent: [], historyLength: 1, newestMs: 0, updatedAtMs: 0, ...more }
  })
  await index.upsert('s', 1, [
    ...items,
    user('ann', 0, { recent: ['a0'], unwanted: [{ itemId: 'a5' }] }),
    user('bob', 90, { recent: ['a89'] })
  ])
  await index.promote('s', { items: 90, users: 2 })
  return new Recommender({ index, clock: new ManualClock(10_000), options: { quotaShare: 0, ...options } })
}

const idsOf = ({ items }: { readonly items: readonly { readonly itemId: string }[] }) =>
  items.map(({ itemId }) => itemId)
/** Without what Ann does not want, so that scores are plain cosines. */
const forBob = async (recommender: Recommender, given: readonly ListRule[], more: Partial<ListRequest> = {}) =>
  recommender.recommend({ userId: 'bob', limit: 4, rules: rulesOfRequest(given), ...more })

test('a boost finds items far from the interests, moves them by what it says, and is explained', async () => {
  const recommender = await setUp()
  assert.deepEqual(idsOf(await forBob(recommender, [])), ['a88', 'a87', 'a86', 'a85'])
  // cos 60° + 0.6 > 1; cos 87° + 0.6 is not.
  const boosted = await forBob(recommender, [{ items: ['a30', 'a3'], boost: 0.6 }], { explain: true })
  assert.deepEqual(idsOf(boosted), ['a30', 'a88', 'a87', 'a86'])
  const [{ score, rule, boost, pin }] = boosted.items as [(typeof boosted.items)[0]]
  assert(Math.abs(score - 1.1) < 1e-6)
  assert.deepEqual([rule, boost, pin], ['rules[0]', 0.6, undefined])
  assert.equal(boosted.items[1]?.rule, undefined)
  // By a filter, with the filter of the request: red items below 45°.
  const red = await forBob(recommender, [{ filter: { color: 'red' }, boost: 0.01 }])
  assert.deepEqual(idsOf(red), ['a87', 'a84', 'a88', 'a81'])
  const blue = await forBob(recommender, [{ filter: { color: 'red' }, boost: 0.5 }], { filter: { color: 'blue' } })
  assert.deepEqual(idsOf(blue), ['a88', 'a86', 'a85', 'a83'])
  // Less than 0: later, not out.
  const later = await forBob(recommender, [{ items: ['a88', 'a87', 'a86', 'a85'], boost: -0.5 }], { limit: 3 })
  assert.deepEqual(idsOf(later), ['a84', 'a83', 'a82'])
  const all = await forBob(recommender, [{ items: ['a88'], boost: -9 }], { limit: 100 })
  assert.equal(idsOf(all).at(-1), 'a88')
  // Of several rules the strongest.
  const several = [
    { items: ['a30'], boost: 0.1 },
    { items: ['a30'], boost: 0.6 },
    { items: ['a30'], boost: -0.2 }
  ]
  assert.equal((await forBob(recommender, several, { explain: true })).items[0]?.rule, 'rules[1]')
})

test('with boosts a list is the one that scoring every item would give, as long as none is negative', async () => {
  const recommender = await setUp()
  const rule = fc.record({
    from: fc.integer({ min: 0, max: 80 }),
    step: fc.integer({ min: 1, max: 9 }),
    boost: fc.double({ min: 0, max: 1, noNaN: true })
  })
  await fc.assert(
    fc.asyncProperty(fc.array(rule, { maxLength: 4 }), fc.integer({ min: 1, max: 20 }), async (drawn, limit) => {
      const rules = drawn.map(({ from, step, boost }) => ({
        items: Array.from({ length: 6 }, (_, n) => `a${from + n * step}`),
        boost
      }))
      const { items } = await forBob(recommender, rules, { limit })
      const score = (i: number) =>
        Math.cos(((90 - i) * Math.PI) / 180) +
        Math.max(0, ...rules.map((one) => (one.items.includes(`a${i}`) ? one.boost : 0)))
      const expected = Array.from({ length: 89 }, (_, i) => i)
        .filter((i) => i !== 1)
        .map(score)
        .sort((a, b) => b - a)
      for (const [n, item] of items.entries()) assert(Math.abs(item.score - expected[n]!) < 1e-6)
      assert.equal(items.length, limit)
    }),
    { numRuns: 60 }
  )
})

test('pins take their places, over pages too; what may not be in the list is not pinned', async () => {
  const recommender = await setUp()
  const list = await forBob(
    recommender,
    [
      { items: ['a10', 'a20'], pin: 2 },
      { filter: { color: 'red' }, pin: 1 }
    ],
    { explain: true }
  )
  assert.deepEqual(idsOf(list), ['a87', 'a10', 'a20', 'a88'])
  assert.deepEqual(
    list.items.map(({ rule, pin }) => [rule, pin]),
    [
      ['rules[1]', 1],
      ['rules[0]', 2],
      ['rules[0]', 3],
      [undefined, undefined]
    ]
  )
  // Seen, unavailable, unwanted, excluded, beside the filter, unknown: none of them.
  const refused: ListRule[] = [{ items: ['a0', 'a1', 'a5', 'a7', 'a3', 'nothing', 'a8'], pin: 1 }]
  const ann = (more: Partial<ListRequest>, rules = refused) =>
    recommender.recommend({ userId: 'ann', limit: 3, rules: rulesOfRequest(rules), ...more })
  assert.equal(idsOf(await ann({ exclude: ['a7'], filter: { color: 'blue' } }))[0], 'a8')
  // Where the rule says so, what was seen; never what is unwanted or not available.
  const again = await ann({}, [{ ...refused[0]!, repeats: true }])
  assert.deepEqual(idsOf(again), ['a0', 'a7', 'a3'])
  // Pages: the place counts from the first one, and no item comes twice.
  const rules: ListRule[] = [
    { items: ['a40'], pin: 6 },
    { items: ['a41'], pin: 1000 }
  ]
  const pages: string[] = []
  for (let page = 0; page < 30; page++) {
    const shown = new Set(pages.map(hashKey))
    const next = idsOf(await forBob(recommender, rules, { shown }))
    pages.push(...next)
    if (next.length < 4) break
  }
  assert.deepEqual(pages.slice(0, 7), ['a88', 'a87', 'a86', 'a85', 'a84', 'a40', 'a83'])
  assert.equal(pages.at(-1), 'a41', 'a place that the list does not reach is the last')
  assert.equal(new Set(pages).size, 88)
  assert.equal(pages.length, 88)
})

test('rules hold for popular lists as well, those of the configuration after those of the request', async () => {
  const rules: ListRule[] = [
    { filter: { color: 'red' }, boost: 0.4 },
    { items: ['a50'], pin: 1 }
  ]
  const recommender = await setUp({ rules })
  // Shares of the most popular: 1, 1/2 (not available), 1/4, 1/8 …
  const list = await recommender.popular({ limit: 5, explain: true }, 'popular')
  assert.deepEqual(idsOf(list), ['a50', 'a0', 'a3', 'a6', 'a9'])
  assert.deepEqual([list.items[0]?.rule, list.items[1]?.rule], ['recommend.rules[1]', 'recommend.rules[0]'])
  const cold = await recommender.recommend({
    userId: 'nobody',
    limit: 2,
    rules: rulesOfRequest([{ items: ['a60'], pin: 1 }])
  })
  assert.deepEqual(idsOf(cold), ['a60', 'a50'])
})

test('rules that make no sense are named, all at once', async () => {
  const wrong: ListRule[] = [
    { boost: 1 },
    { items: ['a'] },
    { items: ['a'], boost: 1, pin: 1 },
    { filter: { price: { lt: 'cheap' } }, boost: 1 }
  ]
  for (const make of [
    () => rulesOfRequest(wrong),
    () => new Recommender({ index: new MemoryVectorIndex(), clock: new ManualClock(), options: { rules: wrong } })
  ])
    assert.throws(make, (error: Error & { problems?: string[] }) => {
      const text = (error.problems ?? []).join('\n')
      for (const part of [
        /\[0\]: name the items/,
        /\[1\]: give either boost or pin/,
        /\[2\]: give either/,
        /\[3\]: filter.price.lt: the bound must be/
      ])
        assert.match(text, part)
      return true
    })
  assert.throws(
    () => new Recommender({ index: new MemoryVectorIndex(), clock: new ManualClock(), options: { rules: wrong } }),
    ConfigError
  )
})

test('a page with pins has every item once, each pin at its place or after the last item', () => {
  fc.assert(
    fc.property(
      fc.nat(12),
      fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 5 }),
      fc.integer({ min: 1, max: 9 }),
      (count, places, limit) => {
        const items = Array.from({ length: count }, (_, i) => `i${i}`)
        const pins = places.sort((a, b) => a - b).map((place, i) => ({ place, item: `p${i}` }))
        const whole: string[] = []
        for (;;) {
          const left = {
            items: items.filter((one) => !whole.includes(one)),
            pins: pins.filter(({ item, place }) => !whole.includes(item) && place > whole.length)
          }
          const page = withPins(left.items, left.pins, whole.length, limit)
          whole.push(...page)
          if (page.length < limit) break
        }
        assert.equal(new Set(whole).size, whole.length)
        assert.deepEqual(
          whole.filter((one) => one.startsWith('i')),
          items
        )
        for (const [i, { place, item }] of pins.entries()) {
          const before = pins.slice(0, i).filter((other) => other.place >= place - i).length
          const found = whole.indexOf(item) + 1
          if (found > 0)
            assert(
              found >= Math.min(place, whole.length - pins.length + 1) && found <= place + before,
              `${item} of ${place} at ${found}`
            )
        }
      }
    )
  )
})

test('a list for several has something for each, nothing that one has seen or does not want, and says for whom', async () => {
  const recommender = await setUp({ quotaShare: 1 })
  const list = await recommender.recommendTogether({ userIds: ['ann', 'bob', 'nobody'], limit: 4, explain: true })
  assert.deepEqual(list.items.map(({ itemId, userId }) => [itemId, userId]).toSorted(), [
    ['a2', 'ann'],
    ['a3', 'ann'],
    ['a87', 'bob'],
    ['a88', 'bob']
  ])
  assert(list.items.every(({ interest }) => interest === 0))
  assert.deepEqual(list.warnings, ['there are no vectors of user "nobody"'])
  const all = idsOf(await recommender.recommendTogether({ userIds: ['ann', 'bob'], limit: 1000 }))
  for (const out of ['a0', 'a89', 'a5', 'a1']) assert.equal(all.includes(out), false, out)
  assert.equal(all.length, 86)
  const strangers = await recommender.recommendTogether({ userIds: ['x', 'y'], limit: 2 })
  assert.equal(strangers.coldStart, 'popular')
})

test('a basket has items like its own, without them; with a user both', async () => {
  const recommender = await setUp({ quotaShare: 1 })
  const basket = await recommender.recommendTogether({ basket: ['a40', 'a70', 'nothing'], limit: 4 })
  assert.deepEqual(idsOf(basket).toSorted(), ['a39', 'a41', 'a69', 'a71'])
  assert(basket.items.every(({ interest, userId }) => interest === null && userId === undefined))
  const both = await recommender.recommendTogether({ userIds: ['bob'], basket: ['a40'], limit: 4 })
  assert.deepEqual(idsOf(both).toSorted(), ['a39', 'a41', 'a87', 'a88'])
})

test('a basket votes with all of its items alike, where its votes have a weight', async () => {
  const index = new MemoryVectorIndex()
  await index.createVersion('s', { dimensions: 2, interestCount: 1 })
  const item = (id: string, angle: number, neighbours: readonly string[] = []) => ({
    ...{ role: 'item' as const, id, vector: at(angle), payload: { count: 1, updatedAtMs: 0 } },
    memory: { neighbours, weights: Float32Array.from(neighbours, () => 1) }
  })
  await index.upsert('s', 1, [
    item('bread', 0),
    item('milk', 10),
    item('butter', 90, ['bread', 'milk']),
    item('tea', 80, ['milk'])
  ])
  await index.promote('s', { items: 4, users: 0 })
  const recommender = new Recommender({ index, clock: new ManualClock() })
  const voting = { weight: 2, decay: 0.5 }
  const list = await recommender.recommendTogether({ basket: ['bread', 'milk'], voting, limit: 2, explain: true })
  assert.deepEqual(idsOf(list), ['butter', 'tea'])
  assert.deepEqual(list.items[0]?.takenAfter, ['bread', 'milk'])
  assert(
    Math.abs(
      list.items[0]!.score - list.items[1]!.score - 2 - Math.cos((80 * Math.PI) / 180) + Math.cos((70 * Math.PI) / 180)
    ) < 1e-6
  )
})

test('items like the negative ones come later, and these themselves are out', async () => {
  const recommender = await setUp()
  const list = await forBob(recommender, [], { negative: ['a86'], limit: 100 })
  assert.equal(idsOf(list).includes('a86'), false)
  const [first, last] = [idsOf(list)[0]!, idsOf(list).at(-1)!]
  // cos x − 0.3 cos(x − 4) is greatest at x = 90 − 0: far from 86 on the other side there is nothing.
  const score = (i: number) => Math.cos(((90 - i) * Math.PI) / 180) - 0.3 * Math.cos(((86 - i) * Math.PI) / 180)
  const best = [88, 87, 85, 84].sort((a, b) => score(b) - score(a))
  assert.equal(first, `a${best[0]}`)
  assert.equal(last, 'a0')
  assert(Math.abs(list.items[0]!.score - score(best[0]!)) < 1e-6)
})
