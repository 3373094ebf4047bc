import assert from 'node:assert/strict'
import test from 'node:test'
import { ManualClock } from '../../src/core/clock.ts'
import { UnavailableError } from '../../src/core/errors.ts'
import type { VectorIndex } from '../../src/index/vectorIndex.ts'
import type { ListRequest, RecommenderOptions } from '../../src/serve/listRequest.ts'
import { Recommender } from '../../src/serve/recommender.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'

/** Unit vector at an angle in degrees: the cosine of two is the cosine of the angle between them. */
const at = (...degrees: number[]) =>
  Float32Array.from(degrees.flatMap((d) => [Math.cos((d * Math.PI) / 180), Math.sin((d * Math.PI) / 180)]))
const near = (actual: number, expected: number) =>
  assert(Math.abs(actual - expected) < 1e-6, `${actual} is not ${expected}`)

// East: jazz at 0° … 20°. North: films at 80° … 100°. User u has one interest in each, and has heard jazz0 and seen
// film90.
const angles = { jazz0: 0, jazz10: 10, jazz20: 20, film80: 80, film90: 90, film100: 100, west: 180 }

async function setUp(options: Partial<RecommenderOptions> = {}) {
  const index = new MemoryVectorIndex()
  const clock = new ManualClock(10_000)
  await index.createVersion('s', { dimensions: 2, interestCount: 2 })
  await index.upsert(
    's',
    7,
    Object.entries(angles).map(([id, angle], i) => ({
      role: 'item' as const,
      id,
      vector: at(angle),
      payload: {
        count: i + 1,
        popularity: i + 1,
        ...(id === 'film80' || id === 'jazz20' ? { popularityIn: { 'country=de': 10 - i } } : {}),
        updatedAtMs: 0,
        features: { kind: [id.replace(/\d+/, '')] },
        ...(id === 'jazz10' ? { title: 'Jazz 10' } : {})
      }
    }))
  )
  const payload = {
    ...{ recent: ['film90', 'jazz0'], historyLength: 2, newestMs: 0, updatedAtMs: 4000 },
    strengths: [0.75, 0.25]
  }
  await index.upsert('s', 7, [{ role: 'user', id: 'u', vectors: at(1, 90.5), payload }])
  await index.promote('s', { items: 7, users: 1 })
  return { index, clock, recommender: new Recommender({ index, clock, options }) }
}

test('each result names the interest that it is nearest to, and nothing of the history comes back', async () => {
  const { recommender } = await setUp()
  const { items, ...rest } = await recommender.recommend({ userId: 'u', limit: 4 })
  // 1° against 10° and 20°: cos 9°, cos 19°. 90.5° against 80° and 100°: cos 10.5°, cos 9.5°.
  assert.deepEqual(
    items.map(({ itemId, interest }) => [itemId, interest]),
    [
      ['jazz10', 0],
      ['film100', 1],
      ['film80', 1],
      ['jazz20', 0]
    ]
  )
  near(items[0]!.score, Math.cos((9 * Math.PI) / 180))
  near(items[3]!.score, Math.cos((19 * Math.PI) / 180))
  assert.equal(items.find(({ itemId }) => itemId === 'jazz10')?.title, 'Jazz 10')
  assert(!('title' in items[2]!))
  assert.deepEqual(rest, { userId: 'u', version: 's@7', updatedAtMs: 4000 })
})

test('what a user does not want is in no list, and makes what is like it come later', async () => {
  const { index, recommender } = await setUp()
  const stored = (await index.user('u'))!
  const ids = async (more = {}) =>
    (await recommender.recommend({ userId: 'u', limit: 4, quotaShare: 0, ...more })).items.map(({ itemId }) => itemId)
  const unwant = (unwanted: readonly { itemId: string; untilMs?: number }[], vectors = stored.vectors) =>
    index.upsert('s', 8, [{ role: 'user', id: 'u', vectors, payload: { ...stored.payload, unwanted } }])
  assert.deepEqual(await ids(), ['jazz10', 'film100', 'film80', 'jazz20'])
  await unwant([{ itemId: 'jazz10' }])
  // jazz20 is as near as cos 19° to an interest, but as cos 10° to what is not wanted.
  assert.deepEqual(await ids(), ['film100', 'film80', 'jazz20', 'west'])
  const { items } = await recommender.recommend({ userId: 'u', limit: 4, quotaShare: 0 })
  const cos = (degrees: number) => Math.cos((degrees * Math.PI) / 180)
  near(items[2]!.score, cos(19) - 0.3 * cos(10))
  near(items[1]!.score, cos(10.5) - 0.3 * cos(70))
  assert.equal((await ids({ repeats: true })).includes('jazz10'), false, 'with repeats neither')
  await unwant([{ itemId: 'jazz10', untilMs: 10_000 }])
  assert.equal((await ids())[0], 'jazz10', 'until now')
  await unwant([{ itemId: 'jazz10', untilMs: 10_001 }])
  assert.equal((await ids()).includes('jazz10'), false)

  await unwant([{ itemId: 'west' }], new Float32Array(0))
  const cold = await recommender.recommend({ userId: 'u', limit: 7 })
  assert.equal(cold.coldStart, 'popular')
  assert.deepEqual(
    cold.items.map(({ itemId }) => itemId),
    ['film100', 'film80', 'jazz20', 'jazz10'],
    'neither what is not wanted, nor the history'
  )
})

test('the list is as long as the catalogue allows, and a filter narrows it', async () => {
  const { recommender } = await setUp()
  const ids = async (filter?: Record<string, string>) =>
    (await recommender.recommend({ userId: 'u', limit: 100, ...(filter === undefined ? {} : { filter }) })).items.map(
      ({ itemId }) => itemId
    )
  assert.equal((await ids()).length, 5) // 7 less 2 of the history
  assert.deepEqual((await ids({ kind: 'film' })).sort(), ['film100', 'film80'])
  assert.deepEqual(await ids({ kind: 'opera' }), [])
})

test('an item is in lists within its window, from the moment on', async () => {
  const { index, clock, recommender } = await setUp()
  const { payload, vector } = (await index.item('jazz10'))!
  const limited = { ...payload, availableFromMs: 20_000, availableUntilMs: 30_000 }
  await index.upsert('s', 8, [{ role: 'item', id: 'jazz10', vector, payload: limited }])
  const lists = async () => {
    const found = [
      await recommender.recommend({ userId: 'u', limit: 9 }),
      await recommender.popular({ limit: 9 }, ''),
      await recommender.similar({ itemId: 'jazz0', limit: 9 }),
      await recommender.recommendFor({ limit: 9, modelVersion: 's', vectors: at(1), count: 1, strengths: [1] })
    ]
    return found.map((list) => list!.items.some(({ itemId }) => itemId === 'jazz10'))
  }
  for (const [atMs, there] of [
    [10_000, false],
    [20_000, true],
    [29_999, true],
    [30_000, false]
  ] as const) {
    clock.advance(atMs - clock.nowMs())
    assert.deepEqual(await lists(), Array(4).fill(there), `at ${atMs}`)
  }
})

test('a user never seen gets what is popular, and is told so', async () => {
  const { recommender } = await setUp()
  const { items, coldStart, why, version } = await recommender.recommend({ userId: 'nobody', limit: 2, explain: true })
  // Levels 1 … 7; the last two of the table lead, the one a half-life before the other.
  assert.deepEqual(items, [
    { itemId: 'west', score: 1, interest: null, about: 'west' },
    { itemId: 'film100', score: 1 / 2, interest: null, about: 'film' }
  ])
  assert.deepEqual([coldStart, version], ['popular', 's@7'])
  assert.match(why ?? '', /no vectors of this user/)
  const filtered = await recommender.recommend({ userId: 'nobody', limit: 2, filter: { kind: 'jazz' } })
  assert.deepEqual(
    filtered.items.map(({ itemId }) => itemId),
    ['jazz20', 'jazz10']
  )
})

test('what is popular in the context comes first, then what is popular with everybody', async () => {
  const { recommender } = await setUp()
  const ask = async (context: Record<string, string>, filter: Record<string, string> = {}) => {
    const { items, popularIn } = await recommender.recommend({ userId: 'nobody', limit: 3, context, filter })
    return [items.map(({ itemId }) => itemId), popularIn]
  }
  assert.deepEqual(await ask({ country: 'de' }), [['jazz20', 'film80', 'west'], 'country=de'])
  assert.deepEqual(await ask({ device: 'phone', country: 'de' }), [['jazz20', 'film80', 'west'], 'country=de'])
  assert.deepEqual(await ask({ country: 'de' }, { kind: 'film' }), [['film80', 'film100', 'film90'], 'country=de'])
  assert.deepEqual(await ask({ country: 'fr' }), [['west', 'film100', 'film90'], undefined])
  const known = await recommender.recommend({ userId: 'u', limit: 1, context: { country: 'de' } })
  assert.equal(known.coldStart, undefined)
})

test('an explanation names the nearest items of the user’s own history', async () => {
  const { recommender } = await setUp()
  const { items, strengths } = await recommender.recommend({ userId: 'u', limit: 5, explain: true })
  assert.deepEqual(strengths, [0.75, 0.25])
  assert.equal((await recommender.recommend({ userId: 'u', limit: 5 })).strengths, undefined)
  const because = Object.fromEntries(items.map(({ itemId, because }) => [itemId, because]))
  // jazz20 is 20° from jazz0 and 70° from film90: cos 70° = 0.34 ≥ 0.3. jazz10 is 80° from film90: cos 80° = 0.17.
  assert.deepEqual(because, {
    jazz10: ['jazz0'],
    jazz20: ['jazz0', 'film90'],
    film80: ['film90'],
    film100: ['film90'],
    west: []
  })
})

test('an item of the history that has left the index explains nothing and is still excluded', async () => {
  const { index, recommender } = await setUp()
  await index.remove('s', 'item', ['jazz0'])
  const { items } = await recommender.recommend({ userId: 'u', limit: 5, explain: true })
  assert.deepEqual(items.find(({ itemId }) => itemId === 'jazz10')?.because, [])
})

test('similar items leave the item itself out; an item that is not there is undefined', async () => {
  const { recommender } = await setUp()
  const similar = await recommender.similar({ itemId: 'jazz0', limit: 2 })
  assert.deepEqual(
    similar?.items.map(({ itemId }) => itemId),
    ['jazz10', 'jazz20']
  )
  assert.equal(similar?.items[0]?.title, 'Jazz 10')
  assert.equal(similar?.version, 's@7')
  assert.equal(await recommender.similar({ itemId: 'nothing', limit: 2 }), undefined)
})

test('a session that is not stored gets lists from its own vectors, if they are of the live index version', async () => {
  const { recommender } = await setUp()
  const request = {
    vectors: at(0, 180),
    count: 2,
    strengths: [0.75, 0.25],
    modelVersion: 's',
    limit: 3,
    history: ['jazz0']
  }
  const { items } = await recommender.recommendFor(request)
  assert.deepEqual(
    items.map(({ itemId, interest }) => [itemId, interest]),
    [
      ['west', 1],
      ['jazz10', 0],
      ['jazz20', 0]
    ]
  )
  await assert.rejects(recommender.recommendFor({ ...request, modelVersion: 'other' }), UnavailableError)
  const popular = await recommender.popular({ limit: 1, history: ['west'] }, 'of a reason')
  assert.deepEqual(
    popular.items.map(({ itemId }) => itemId),
    ['film100']
  )
})

test('diversity prefers an item unlike those already chosen', async () => {
  const request = {
    vectors: at(0, 90),
    count: 2,
    strengths: [0.75, 0.25],
    modelVersion: 's',
    limit: 2,
    history: ['jazz0']
  }
  const ids = async (options: Partial<RecommenderOptions>) =>
    (await (await setUp({ quotaShare: 0, ...options })).recommender.recommendFor(request)).items.map(
      ({ itemId }) => itemId
    )
  // film90 scores 1; then film100, film80 and jazz10 are equal at cos 10° = 0.985, and the least id of those that
  // rounding leaves on top follows.
  const [first, second] = await ids({})
  assert.equal(first, 'film90')
  assert(second !== undefined && ['film100', 'film80', 'jazz10'].includes(second))
  // With diversity: jazz10 is worth (0.985 − cos 80°) / 2 = 0.405, the films (0.985 − cos 10°) / 2 = 0.
  assert.deepEqual(await ids({ diversity: 0.5 }), ['film90', 'jazz10'])
})

test('a request may ask for another list than is configured', async () => {
  const { recommender } = await setUp({ quotaShare: 0 })
  const ids = async (request: Partial<ListRequest>) =>
    (await recommender.recommend({ userId: 'u', limit: 2, ...request })).items.map(({ itemId }) => itemId)
  assert.deepEqual(await ids({}), ['jazz10', 'film100'])
  // At 1° and 90.5°: film90 is ½° away, jazz0 1°.
  assert.deepEqual(await ids({ repeats: true }), ['film90', 'jazz0'])
  assert.deepEqual(await ids({ exclude: ['jazz10', 'west'] }), ['film100', 'film80'])
  assert.deepEqual(await ids({ exclude: ['film100', 'film80'] }), ['jazz10', 'jazz20'])
  const cold = await recommender.recommend({ userId: 'nobody', limit: 1, exclude: ['west'] })
  assert.equal(cold.items[0]?.itemId, 'film100')
})

test('one request to the index for the nearest items, and one for what is shown of them; both from the index version that the answer names', async () => {
  const { index } = await setUp()
  await index.createVersion('t', { dimensions: 2, interestCount: 2 })
  const asked: string[] = []
  const watched: Pick<VectorIndex, 'candidates' | 'items'> = {
    async candidates(...query) {
      asked.push('candidates')
      const found = await index.candidates(...query)
      await index.promote('t', { items: 0, users: 0 }) // another index version goes live as soon as the search has been answered
      return found
    },
    items(indexVersion, ids, options) {
      asked.push(`items of ${indexVersion}`)
      return index.items(indexVersion, ids, options)
    }
  }
  const recommender = new Recommender({ index: watched as VectorIndex, clock: new ManualClock(10_000) })
  const list = await recommender.recommend({ userId: 'u', limit: 5, explain: true, diversity: 0.3 })
  assert.deepEqual(asked, ['candidates', 'items of s'])
  assert.equal(list.version, 's@7')
  assert.deepEqual(list.items.find(({ itemId }) => itemId === 'jazz10')?.because, ['jazz0'])
})

test('where the index version is dropped before its items are described, the one that is live by then answers', async () => {
  const { index } = await setUp()
  await index.createVersion('t', { dimensions: 2, interestCount: 1 })
  await index.upsert('t', 9, [
    { role: 'item', id: 'other', vector: Float32Array.of(1, 0), payload: { title: 'Other', count: 1, updatedAtMs: 0 } },
    {
      role: 'user',
      id: 'u',
      vectors: Float32Array.of(1, 0),
      payload: { recent: [], historyLength: 1, newestMs: 0, updatedAtMs: 0 }
    }
  ])
  let drop = true
  const watched: Pick<VectorIndex, 'candidates' | 'items'> = {
    async candidates(...query) {
      const found = await index.candidates(...query)
      if (!drop) return found
      drop = false
      await index.promote('t', { items: 1, users: 1 })
      await index.dropVersion('s')
      return found
    },
    items: (indexVersion, ids, options) =>
      indexVersion === 's' ? Promise.resolve(new Map()) : index.items(indexVersion, ids, options)
  }
  const recommender = new Recommender({ index: watched as VectorIndex, clock: new ManualClock(10_000) })
  const { version, items } = await recommender.recommend({ userId: 'u', limit: 5 })
  assert.equal(version, 't@9')
  assert.deepEqual(
    items.map(({ itemId, title }) => [itemId, title]),
    [['other', 'Other']]
  )
  // And again and again: then it says so.
  const gone: Pick<VectorIndex, 'candidates' | 'items'> = {
    candidates: (...query) => index.candidates(...query),
    items: async () => new Map()
  }
  const never = new Recommender({ index: gone as VectorIndex, clock: new ManualClock(10_000) })
  await assert.rejects(never.recommend({ userId: 'u', limit: 5 }), UnavailableError)
})

test('before anything is published, or with an index that is down, it says so', async () => {
  const recommender = new Recommender({ index: new MemoryVectorIndex(), clock: new ManualClock(0) })
  await assert.rejects(recommender.recommend({ userId: 'u', limit: 1 }), UnavailableError)
  await assert.rejects(recommender.similar({ itemId: 'i', limit: 1 }), UnavailableError)
  await assert.rejects(recommender.popular({ limit: 1 }, ''), /no index version is live/)
  const { index, recommender: down } = await setUp()
  index.down = true
  await assert.rejects(down.recommend({ userId: 'u', limit: 1 }), UnavailableError)
})

/** `west` is often taken after jazz0, and a little after film90; u votes with 1 for film90, the newest, and ½ for jazz0. */
async function setUpMemory() {
  const { index, recommender } = await setUp()
  const memory = { neighbours: ['jazz0', 'film90', 'odd'], weights: Float32Array.of(4, 0.5, 2) }
  await index.updateMemory('s', 7, [{ id: 'west', memory }])
  const payload = { recent: ['film90', 'jazz0'], historyLength: 2, newestMs: 0, updatedAtMs: 4000 }
  const voting = { weight: 1, decay: 0.5 }
  await index.upsert('s', 7, [{ role: 'user', id: 'u', vectors: at(1, 90.5), payload: { ...payload, memory: voting } }])
  return { index, recommender, voting }
}

test('the memory adds to the score, is a reason, and can be left out of a request', async () => {
  const { recommender } = await setUpMemory()
  const { items } = await recommender.recommend({ userId: 'u', limit: 2, explain: true, quotaShare: 0 })
  assert.equal(items[0]!.itemId, 'west')
  near(items[0]!.score, Math.cos((89.5 * Math.PI) / 180) + 0.5 * 4 + 0.5)
  assert.deepEqual(items[0]!.takenAfter, ['jazz0', 'film90']) // 2 and .5
  assert.deepEqual([items[1]!.itemId, items[1]!.because, items[1]!.takenAfter], ['jazz10', ['jazz0'], undefined])
  const without = await recommender.recommend({ userId: 'u', limit: 5, explain: true, quotaShare: 0, memory: false })
  assert.deepEqual([without.items[0]!.itemId, without.items.at(-1)!.itemId], ['jazz10', 'west'])
  assert.equal(without.items.at(-1)!.takenAfter, undefined)
})

test('a user whose items the model does not know has a list by the memory, or a popular one where that has none', async () => {
  const { index, recommender, voting } = await setUpMemory()
  const cold = (id: string, recent: readonly string[]) => ({
    ...{ role: 'user' as const, id, vectors: new Float32Array(0) },
    payload: { recent, historyLength: 1, newestMs: 0, updatedAtMs: 0, memory: voting }
  })
  await index.upsert('s', 7, [cold('odd user', ['odd']), cold('other user', ['nothing'])])
  const { items, coldStart } = await recommender.recommend({ userId: 'odd user', limit: 3, explain: true })
  assert.deepEqual(
    items.map(({ itemId, score, interest, takenAfter }) => ({ itemId, score, interest, takenAfter })),
    [{ itemId: 'west', score: 2, interest: null, takenAfter: ['odd'] }]
  )
  assert.equal(coldStart, undefined)
  for (const request of [{ userId: 'other user' }, { userId: 'odd user', memory: false }])
    assert.equal((await recommender.recommend({ ...request, limit: 3 })).coldStart, 'popular')
})

test('a session votes with its history', async () => {
  const { recommender, voting } = await setUpMemory()
  const session = { modelVersion: 's', history: ['jazz0'], voting }
  const known = { ...session, vectors: at(0), count: 1, strengths: [1], limit: 1 }
  assert.equal((await recommender.recommendFor(known)).items[0]!.itemId, 'west')
  assert.equal((await recommender.recommendFor({ ...known, memory: false })).items[0]!.itemId, 'jazz10')
  const cold = { ...session, vectors: new Float32Array(0), count: 0, strengths: [], limit: 5 }
  assert.deepEqual(
    (await recommender.recommendFor(cold)).items.map(({ itemId }) => itemId),
    ['west']
  )
  assert.equal((await recommender.recommendFor({ ...cold, history: ['nothing'] })).coldStart, 'popular')
})
