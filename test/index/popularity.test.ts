import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resolveConfig } from '../../src/core/config/config.ts'
import { contextKey, Popularity, popularityScore } from '../../src/index/popularity.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'

const hourMs = 3_600_000
const startMs = 1_750_000_000_000
const tenYearsMs = 3650 * 24 * hourMs
const types = { click: 1, purchase: 3 }

function make({ contextsMax = 32, ...options }: Record<string, unknown> & { contextsMax?: number } = {}): Popularity {
  const settings = { halfLifeMs: hourMs, contextMin: 1, ...options }
  const { popularity } = resolveConfig(undefined, {}, { popularity: settings })
  return new Popularity({ ...popularity, contextsMax }, types)
}

/** Of the items, the most popular first. */
const order = (popularity: Popularity, itemIds: Iterable<string>) =>
  [...itemIds].sort((a, b) => popularity.of(b).popularity - popularity.of(a).popularity)

test('what is popular follows a drift within about a half-life; a count that does not fade does not', () => {
  const day = { events: 20_000, users: 4000, items: 400, topics: 10, badShare: 0 }
  // An event a second: a half-life is an eighth of what lies on either side of the drift.
  const halfLife = 1250
  const fading = make({ halfLifeMs: halfLife * 1000 })
  const counts = new Map<string, number>()
  const lately: string[] = []
  const overlap = (list: readonly string[], truth: ReadonlySet<string>) =>
    list.slice(0, 20).filter((id) => truth.has(id)).length
  const best = (of: ReadonlyMap<string, number>) =>
    [...of]
      .sort((a, b) => b[1] - a[1])
      .slice(0, 20)
      .map(([id]) => id)
  let n = 0
  const shares: { fading: number; counted: number }[] = []
  for (const { userId, itemId: drawn, type } of simulate(day).interactions()) {
    // The drift: from the middle on all that is clicked is new.
    const itemId = n < 10_000 ? drawn : `after ${drawn}`
    fading.note({ userId, itemId, type, eventTimeMs: startMs + n * 1000 })
    counts.set(itemId, (counts.get(itemId) ?? 0) + 1)
    lately.push(itemId)
    n++
    if (n !== 10_000 && n !== 10_000 + halfLife && n !== 10_000 + 2 * halfLife) continue
    const recent = new Map<string, number>()
    for (const id of lately.slice(-halfLife)) recent.set(id, (recent.get(id) ?? 0) + 1)
    const truth = new Set(best(recent))
    shares.push({ fading: overlap(order(fading, counts.keys()), truth), counted: overlap(best(counts), truth) })
  }
  const [before, afterOne, afterTwo] = shares as [(typeof shares)[0], (typeof shares)[0], (typeof shares)[0]]
  assert(before.fading >= 10, `before the drift ${before.fading} of the 20 most clicked lately`)
  assert(afterOne.fading >= 10, `a half-life after it ${afterOne.fading} of 20`)
  assert(afterTwo.fading >= 13, `two half-lives after it ${afterTwo.fading} of 20`)
  assert(
    afterOne.counted <= 2 && afterTwo.counted <= 8,
    `without fading ${afterOne.counted} and ${afterTwo.counted} of 20`
  )
})

test('types count by their weight, and one user who acts again and again counts once', () => {
  const popularity = make()
  const act = (userId: string, itemId: string, type = 'click') =>
    popularity.note({ userId, itemId, type, eventTimeMs: startMs })
  for (const user of ['u', 'v', 'w']) for (let i = 1; i < 5; i++) act(user, `${user}'s ${i}`) // from here on they count in full
  popularity.takeTouched()
  assert.equal(act('u', 'flooded'), true)
  for (let i = 0; i < 100; i++) assert.equal(act('u', 'flooded'), false)
  assert.equal(act('u', 'bought'), true)
  assert.equal(act('u', 'bought', 'purchase'), true, 'the rest of the weight')
  assert.equal(act('u', 'bought'), false)
  act('v', 'twice')
  act('w', 'twice')
  assert.equal(act('v', 'unknown type', 'hover'), false)
  assert.deepEqual(order(popularity, ['flooded', 'twice', 'bought', 'unknown type']), [
    'bought',
    'twice',
    'flooded',
    'unknown type'
  ])
  assert.equal(popularity.of('unknown type').popularity, 0)
  assert(
    Math.abs(popularityScore(popularity.of('twice').popularity, popularity.of('bought').popularity) - 2 / 3) < 1e-3
  )
  assert.deepEqual([...popularity.takeTouched()], ['flooded', 'bought', 'twice'])
  assert.equal(popularity.touched, false)
})

test('N invented users add at most N · w_max · min(1, c / 5) to an item: three of them put nothing into a list', () => {
  const popularity = make({ halfLifeMs: tenYearsMs })
  const ids = new Set<string>()
  let eventTimeMs = startMs
  for (const { userId, itemId, type } of simulate({
    events: 40_000,
    users: 10_000,
    items: 2000,
    topics: 20,
    badShare: 0
  }).interactions()) {
    popularity.note({ userId, itemId, type, eventTimeMs: eventTimeMs++ })
    ids.add(itemId)
  }
  const twentieth = popularity.of(order(popularity, ids)[19]!).popularity
  const count = (itemId: string) =>
    popularityScore(popularity.of(itemId).popularity, twentieth) * 2 ** (twentieth - eventTimeMs / tenYearsMs)
  const attack = (itemId: string, users: number, clicks: number) => {
    for (let u = 0; u < users; u++) {
      for (let c = 1; c < clicks; c++)
        popularity.note({ userId: `${itemId} ${u}`, itemId: `${itemId}'s ${c}`, type: 'click', eventTimeMs })
      for (const type of ['click', 'purchase', 'click'])
        popularity.note({ userId: `${itemId} ${u}`, itemId, type, eventTimeMs })
    }
    ids.add(itemId)
    const bound = users * types.purchase * Math.min(1, clicks / 5)
    assert(count(itemId) <= bound * 1.001, `${users} users with ${clicks} items: ${count(itemId)}, bound ${bound}`)
    return order(popularity, ids).indexOf(itemId) + 1
  }
  assert(attack('three users', 3, 1) > 100)
  assert(attack('three users with five items each', 3, 5) > 20)
})

test('contexts are counted by the fields that are named, from enough users on, the most frequent of them', () => {
  const popularity = make({ contexts: ['country', 'a=b'], contextMin: 3, contextsMax: 4 })
  const act = (userId: string, itemId: string, context: Record<string, string>) =>
    popularity.note({ userId, itemId, type: 'click', eventTimeMs: startMs, context })
  for (const userId of 'uvwxyz') for (let i = 1; i < 5; i++) act(userId, `${userId}'s ${i}`, {}) // from here on they count in full
  for (const userId of ['new', 'newer', 'newest']) act(userId, 'tea', { country: 'de' })
  for (const userId of ['u', 'v', 'w']) act(userId, 'tea', { country: 'uk', session: userId })
  act('x', 'tea', { country: 'fr', 'a=b': '"' })
  assert.deepEqual(Object.keys(popularity.of('tea').popularityIn ?? {}), ['country=uk']) // of fr and " there is one each
  for (const userId of ['y', 'z']) act(userId, 'wine', { country: 'fr', 'a=b': '"' })
  assert.deepEqual(Object.keys(popularity.of('wine').popularityIn ?? {}), ['country=fr', 'a%3Db=%22'])
  assert.deepEqual(Object.keys(popularity.of('tea').popularityIn ?? {}), ['country=uk', 'country=fr', 'a%3Db=%22'])
  for (let i = 0; i < 100; i++) act(`u${i}`, 'beer', { country: `c${i}` })
  const state = popularity.state()
  assert(state.contexts.levels.length <= 4)
  assert.deepEqual(Object.keys(state.inContext).sort(), state.contexts.levels.map(([key]) => key).sort())
  assert('country=uk' in state.inContext && 'country=fr' in state.inContext)
  assert.equal(contextKey('a=b', '"'), 'a%3Db=%22')
})

test('what was kept goes on as it was, without contexts that are no longer named', () => {
  const before = make({ contexts: ['country', 'device'] })
  for (let i = 0; i < 50; i++)
    before.note({
      ...{ userId: `u${i}`, itemId: `i${i % 7}`, type: 'click', eventTimeMs: startMs + i * 60_000 },
      context: { country: `c${i % 2}`, device: 'phone' }
    })
  const after = make({ contexts: ['country'] })
  after.restore(JSON.parse(JSON.stringify(before.state())))
  for (let i = 0; i < 7; i++) {
    const { popularityIn: { 'device=phone': _, ...inCountry } = {}, popularity } = before.of(`i${i}`)
    assert.deepEqual(after.of(`i${i}`), { popularity, popularityIn: inCountry })
  }
})

test('types, contexts and items that are called as what every object has are counted like any other, or not at all', () => {
  const popularity = make({ contexts: ['constructor', 'country'] })
  const event = { userId: 'u', eventTimeMs: startMs }
  for (let i = 1; i < 5; i++) popularity.note({ ...event, itemId: `i${i}`, type: 'click' }) // from here on the user counts in full
  for (const type of ['constructor', 'toString', '__proto__', 'hasOwnProperty'])
    assert.equal(popularity.note({ ...event, itemId: 'i1', type }), false, type)
  assert.equal(
    popularity.note({ ...event, itemId: '__proto__', type: 'click', context: { country: '__proto__' } }),
    true
  )
  assert.equal(popularity.note({ ...event, itemId: 'constructor', type: 'click', context: {} }), true)
  const { popularity: level, popularityIn } = popularity.of('__proto__')
  assert(level > 0)
  assert.deepEqual(Object.keys(popularityIn ?? {}), ['country=__proto__'])
  assert.equal(popularity.of('constructor').popularityIn, undefined)
  const again = make({ contexts: ['constructor', 'country'] })
  again.restore(JSON.parse(JSON.stringify(popularity.state())))
  assert.deepEqual(again.of('__proto__'), popularity.of('__proto__'))
})

test('after a restart a user who acts again counts no more than without one, and one who was established counts in full', () => {
  const before = make()
  const clicks = (popularity: Popularity, userId: string, itemIds: readonly string[]) => {
    for (const itemId of itemIds) popularity.note({ userId, itemId, type: 'click', eventTimeMs: startMs })
  }
  clicks(before, 'u', ['a', 'b', 'c', 'd', 'e'])
  const after = make()
  after.restore(JSON.parse(JSON.stringify(before.state())) as ReturnType<Popularity['state']>)
  for (const popularity of [before, after]) {
    popularity.takeTouched()
    assert.equal(popularity.note({ userId: 'u', itemId: 'a', type: 'click', eventTimeMs: startMs }), false)
    assert.equal(popularity.note({ userId: 'u', itemId: 'b', type: 'purchase', eventTimeMs: startMs }), true)
    clicks(popularity, 'u', ['f'])
    clicks(popularity, 'v', ['f', 'g'])
  }
  for (const itemId of ['a', 'b', 'c', 'f', 'g']) assert.deepEqual(after.of(itemId), before.of(itemId), itemId)
  assert.deepEqual(after.state(), before.state())
})
