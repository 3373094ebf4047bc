// What every VectorIndex promises, whoever keeps it. Scores are compared to 1e-5: engines add up in different orders.

import assert from 'node:assert/strict'
import test from 'node:test'
import { MtmiError } from '../../src/core/errors.ts'
import { Rng } from '../../src/core/rng.ts'
import type { FeatureFilter } from '../../src/index/itemFilter.ts'
import { contextKey } from '../../src/index/popularity.ts'
import type {
  Candidate,
  ItemPoint,
  SearchResult,
  SeenRepeats,
  UserPoint,
  VectorIndex
} from '../../src/index/vectorIndex.ts'
import { addSeen } from '../../src/records/seenItems.ts'
import { filterChecks } from './vectorIndexFilters.ts'
import { memoryChecks } from './vectorIndexMemory.ts'
import { itemPoint, randomUnit, userPoint } from './vectorIndexPoints.ts'

export interface IndexUnderTest {
  readonly index: VectorIndex
  /** Closes it and removes what it left. */
  dispose(): Promise<void>
}

/** D 4, K 2 unless a test says otherwise: small enough to work out by hand. */
const shape = { dimensions: 4, interestCount: 2 }
const x = [1, 0, 0, 0]
const y = [0, 1, 0, 0]
const z = [0, 0, 1, 0]

/** A vector of length 1 at `degrees` from x towards y: its cosine with x is cos(degrees), with y sin(degrees). */
function towards(degrees: number): number[] {
  const radians = (degrees * Math.PI) / 180
  return [Math.cos(radians), Math.sin(radians), 0, 0]
}

const byVector = (...vectors: (readonly number[])[]) => ({
  by: { vectors: Float32Array.from(vectors.flat()), count: vectors.length }
})
const ids = (list: readonly Candidate[] | undefined) => list?.map(({ itemId }) => itemId)
const idsOf = (result: SearchResult) => result.lists?.map(ids)

function near(actual: number | undefined, expected: number): void {
  assert(actual !== undefined && Math.abs(actual - expected) <= 1e-5, `${actual} is not ${expected} to 1e-5`)
}

const refusedWith =
  (code: string, ...texts: readonly string[]) =>
  (error: unknown) => {
    assert(error instanceof MtmiError, `not an MtmiError: ${String(error)}`)
    assert.equal(error.code, code)
    for (const text of texts) assert(error.message.includes(text), `"${error.message}" does not name ${text}`)
    return true
  }

/** @param make an empty index; called once a test */
export function vectorIndexSuite(name: string, make: () => Promise<IndexUnderTest>): void {
  const check = (what: string, body: (index: VectorIndex) => Promise<void>): void => {
    test(`${name}: ${what}`, async () => {
      const { index, dispose } = await make()
      try {
        await body(index)
      } finally {
        await dispose()
      }
    })
  }

  /** Index version `a` live with three items on the way from x to y, and a user who likes x and y and has just seen `east`. */
  async function small(index: VectorIndex): Promise<void> {
    await index.createVersion('a', shape)
    await index.upsert('a', 1, [
      itemPoint('east', x, {
        count: 5,
        popularity: 7,
        title: 'East',
        features: { genre: ['war', 'drama'], year: ['1999'] }
      }),
      itemPoint('between', towards(30), { count: 9, popularity: 10, features: { genre: ['drama'], year: ['2001'] } }),
      itemPoint('north', y, { count: 6, popularity: 8, features: { genre: ['war'], year: ['2001'] } }),
      userPoint('ann', [x, y], ['east'])
    ])
    await index.promote('a', { items: 3, users: 1 })
  }

  check('an index nobody wrote to has no index version, nothing live, and says so when asked', async (index) => {
    assert.deepEqual(await index.versions(), [])
    assert.equal(await index.live(), undefined)
    assert.equal(await index.user('ann'), undefined)
    assert.equal(await index.item('east'), undefined)
    await assert.rejects(index.search({ by: { userId: 'ann' } }, 3), refusedWith('UNAVAILABLE'))
    await assert.rejects(index.popular(3), refusedWith('UNAVAILABLE'))
  })

  check('an index version that was written but not promoted answers nothing', async (index) => {
    await index.createVersion('a', shape)
    await index.upsert('a', 1, [itemPoint('east', x)])
    assert.deepEqual(await index.versions(), ['a'])
    assert.equal(await index.live(), undefined)
    await assert.rejects(index.search(byVector(x), 3), refusedWith('UNAVAILABLE'))
  })

  filterChecks(check)

  check('users by the beginning of their id, and items by words, where the index has such lists', async (index) => {
    if (index.usersFrom === undefined || index.itemsLike === undefined) return
    assert.deepEqual(await index.usersFrom('', 3), [])
    await small(index)
    await index.upsert('a', 1, [
      userPoint('anna', [x, y]),
      userPoint('bob', [x, y]),
      userPoint('an€', [x, y]),
      userPoint('aé', [x, y])
    ])
    const from = async (prefix: string, limit: number) =>
      (await index.usersFrom!(prefix, limit)).map(({ userId }) => userId)
    assert.deepEqual(await from('', 9), ['ann', 'anna', 'an€', 'aé', 'bob'])
    assert.deepEqual(await from('ann', 9), ['ann', 'anna'])
    assert.deepEqual(await from('ann', 1), ['ann'])
    assert.deepEqual(await from('annabel', 9), [])
    assert.deepEqual((await index.usersFrom('ann', 1))[0]?.payload.recent, ['east'])
    await index.remove('a', 'user', ['ann'])
    assert.deepEqual(await from('ann', 9), ['anna'])
    const like = async (text: string, limit: number) => ids(await index.itemsLike!(text, limit))
    assert.deepEqual(await like('EAST', 9), ['east'])
    assert.deepEqual(await like('t', 9), ['between', 'north', 'east']) // counts 9, 6, 5
    assert.deepEqual(await like('t', 1), ['between'])
    assert.deepEqual(await like('nowhere', 9), [])
    await assert.rejects(index.itemsLike('t', 0), refusedWith('CONFIG', '0'))
    await assert.rejects(index.usersFrom('', 0), refusedWith('CONFIG', '0'))
  })

  check('all users come in pages, each once, whatever is written and removed in between', async (index) => {
    await assert.rejects(index.usersAfter(undefined, 2), refusedWith('UNAVAILABLE'))
    await small(index)
    const more = ['anna', 'an€', 'aé', 'bob', 'b', 'z'.repeat(1024)]
    await index.upsert(
      'a',
      1,
      more.map((id) => userPoint(id, [x, y]))
    )
    const found: string[] = []
    for (;;) {
      const page = await index.usersAfter(found.at(-1), 2)
      found.push(...page)
      if (page.length < 2) break
    }
    assert.deepEqual(found.toSorted(), ['ann', ...more].toSorted())
    // The user after whom the next page begins is gone.
    const [first, second, third] = found
    await index.remove('a', 'user', [second!])
    assert.deepEqual(await index.usersAfter(second, 1), [third])
    assert.deepEqual(await index.usersAfter(first, 1), [third])
    await assert.rejects(index.usersAfter(undefined, 0), refusedWith('CONFIG', '0'))
  })

  check('a search by vectors gives one list a vector, best first, with cosines', async (index) => {
    await small(index)
    const { indexVersion, step, lists, user } = await index.search(byVector(x, y), 2)
    assert.deepEqual([indexVersion, step, user], ['a', 1, undefined])
    assert.deepEqual(lists?.map(ids), [
      ['east', 'between'],
      ['north', 'between']
    ])
    near(lists?.[0]?.[0]?.score, 1)
    near(lists?.[0]?.[1]?.score, 0.8660254) // cos 30°
    near(lists?.[1]?.[1]?.score, 0.5) // sin 30°
  })

  check('what is found can be described: payloads as they were written', async (index) => {
    await small(index)
    const described = await index.items('a', ['east', 'between'])
    assert.deepEqual(described.get('east')?.payload, {
      title: 'East',
      features: { genre: ['war', 'drama'], year: ['1999'] },
      count: 5,
      popularity: 7,
      updatedAtMs: 1000
    })
    assert.deepEqual(described.get('between')?.payload, {
      ...{ features: { genre: ['drama'], year: ['2001'] }, count: 9, popularity: 10, updatedAtMs: 1000 }
    })
  })

  check('scores go down to −1, and a limit above the number of items gives them all', async (index) => {
    await small(index)
    const [list] = (await index.search(byVector([-1, 0, 0, 0]), 1000)).lists ?? []
    assert.deepEqual(ids(list), ['north', 'between', 'east'])
    near(list?.[0]?.score, 0)
    near(list?.[2]?.score, -1)
    assert(list?.every(({ score }) => score >= -1 && score <= 1))
  })

  check('more interests than a user has, or fewer, may be given', async (index) => {
    await small(index)
    const five = await index.search(byVector(x, y, x, y, towards(30)), 1)
    assert.deepEqual(idsOf(five), [['east'], ['north'], ['east'], ['north'], ['between']])
    assert.deepEqual(idsOf(await index.search(byVector(y), 1)), [['north']])
  })

  check(
    'a search by user uses the stored vectors, excludes what is recent unless told not to, and returns the payload',
    async (index) => {
      await small(index)
      const result = await index.search({ by: { userId: 'ann' } }, 2)
      assert.deepEqual(idsOf(result), [
        ['between', 'north'],
        ['north', 'between']
      ])
      assert.deepEqual(result.user, { recent: ['east'], historyLength: 1, newestMs: 500, updatedAtMs: 1000 })
      const all = await index.search({ by: { userId: 'ann' } }, 1, { excludeRecent: false })
      assert.deepEqual(idsOf(all), [['east'], ['north']])
    }
  )

  check('excluded items make room for the next best', async (index) => {
    await small(index)
    const result = await index.search({ by: { userId: 'ann' } }, 2, { excludeItems: ['between', 'never heard of'] })
    assert.deepEqual(idsOf(result), [['north'], ['north']])
  })

  check('a search by item finds what is like it, not the item itself', async (index) => {
    await small(index)
    const result = await index.search({ by: { itemId: 'east' } }, 5)
    assert.deepEqual(idsOf(result), [['between', 'north']])
    near(result.lists?.[0]?.[0]?.score, 0.8660254)
  })

  check('a user or an item that is not here has no lists', async (index) => {
    await small(index)
    const byUser = await index.search({ by: { userId: 'bob' } }, 5)
    assert.deepEqual([byUser.indexVersion, byUser.lists, byUser.user], ['a', undefined, undefined])
    assert.equal((await index.search({ by: { itemId: 'south' } }, 5)).lists, undefined)
    assert.equal(await index.user('bob'), undefined)
    assert.equal(await index.item('south'), undefined)
  })

  check('a feature filter asks for all its features', async (index) => {
    await small(index)
    const found = async (features: Record<string, string>) =>
      idsOf(await index.search(byVector(x), 5, { features }))?.[0]
    assert.deepEqual(await found({ genre: 'drama' }), ['east', 'between'])
    assert.deepEqual(await found({ genre: 'war', year: '2001' }), ['north'])
    assert.deepEqual(await found({ genre: 'war', year: '2002' }), [])
    assert.deepEqual(await found({ planet: 'mars' }), [])
    assert.deepEqual(await found({}), ['east', 'between', 'north'])
    assert.deepEqual(ids((await index.popular(5, { features: { genre: 'war' } })).items), ['north', 'east'])
  })

  check(
    'a filter takes several values, values to leave out, bounds of numbers and dates, and presence',
    async (index) => {
      await small(index)
      const shown = { genre: ['war', 'a "quoted" % one'], price: ['9.5', 'or more'], day: ['2026-01-31'] }
      await index.upsert('a', 2, [
        itemPoint('up', z, { popularity: 7, features: shown }),
        itemPoint('bare', z, { popularity: 1 }),
        itemPoint('odd', z, {
          popularity: 2,
          features: { 'a"b%c': ['3'], price: ['-1e3'], day: ['2026-02-01T10:00:00+01:00'] }
        })
      ])
      const found = async (features: FeatureFilter) => {
        const listed = idsOf(await index.search(byVector(x), 9, { features }))?.[0]?.toSorted()
        assert.deepEqual(ids((await index.popular(9, { features })).items)?.toSorted(), listed)
        assert.equal(await index.holdsAny(features), listed!.length > 0)
        return listed
      }
      const dayMs = Date.parse('2026-01-31')
      assert.deepEqual(await found({ genre: { any: ['war', 'drama'] } }), ['between', 'east', 'north', 'up'])
      assert.deepEqual(await found({ genre: { any: ['war'], not: ['drama'] } }), ['north', 'up'])
      assert.deepEqual(await found({ genre: { not: ['war', 'nothing'] } }), ['bare', 'between', 'odd'])
      assert.deepEqual(await found({ genre: { not: ['drama'] }, year: '2001' }), ['north'])
      assert.deepEqual(await found({ genre: 'a "quoted" % one' }), ['up'])
      assert.deepEqual(await found({ year: { range: { gte: 1999, lt: 2001 } } }), ['east'])
      assert.deepEqual(await found({ year: { range: { gt: 1999, lte: 2001 } } }), ['between', 'north'])
      assert.deepEqual(await found({ price: { range: { lt: 9.5 } } }), ['odd'])
      assert.deepEqual(await found({ price: { range: { lte: 9.5 } } }), ['odd', 'up'])
      assert.deepEqual(await found({ day: { range: { gte: dayMs } } }), ['odd', 'up'])
      assert.deepEqual(
        await found({ day: { range: { gt: dayMs + 33 * 3_600_000 - 1, lt: dayMs + 33 * 3_600_000 + 1 } } }),
        ['odd']
      )
      assert.deepEqual(await found({ 'a"b%c': { range: { gte: 3 } } }), ['odd'])
      assert.deepEqual(await found({ genre: { range: { gte: 0 } } }), [])
      assert.deepEqual(await found({ price: { exists: true } }), ['odd', 'up'])
      assert.deepEqual(await found({ genre: { exists: false } }), ['bare', 'odd'])
      assert.deepEqual(await found({ genre: { exists: false }, price: { exists: false } }), ['bare'])
      assert.deepEqual(await found({ planet: { exists: false } }), ['bare', 'between', 'east', 'north', 'odd', 'up'])
      assert.deepEqual(await index.fields(), ['a"b%c', 'day', 'genre', 'price', 'year'])
      await index.remove('a', 'item', ['bare', 'odd'])
      assert.equal(await index.holdsAny({ genre: { exists: false } }), false, 'what was removed meets nothing')
      assert.equal(await index.holdsAny({ price: { not: ['7'] }, day: { exists: true } }), true)
    }
  )

  check('what a user has seen is left out, beyond the history too; what is not wanted, always', async (index) => {
    await small(index)
    const dayMs = 86_400_000
    const nowMs = 100 * dayMs
    const step = (itemId: string, type: string, days: number) => ({ itemId, type, eventTimeMs: nowMs - days * dayMs })
    const others = Array.from({ length: 80 }, (_, i) => itemPoint(`old ${i}`, towards(i / 100)))
    await index.upsert('a', 2, others)
    const left = [
      step('bought', 'purchase', 90),
      ...others.map(({ id }) => step(id, 'view', 60)),
      step('between', 'view', 50)
    ]
    const seen = Buffer.from(
      addSeen(addSeen(undefined, left), [step('between', 'purchase', 3), step('north', 'view', 2)])
    )
    const user = userPoint('ann', [x, y], ['north'])
    const payload = { ...user.payload, strengths: [0.75, 0.25], seen: seen.toString('base64') }
    await index.upsert('a', 2, [{ ...user, payload }])
    const found = async (repeats?: SeenRepeats['after']) => {
      const filter = repeats === undefined ? {} : { repeats: { after: repeats, nowMs } }
      const result = await index.search({ by: { userId: 'ann' } }, 3, filter)
      assert.deepEqual(result.user, (await index.user('ann'))?.payload)
      return idsOf(result)?.map((list) => list?.toSorted())
    }
    assert.deepEqual(await found(), [['east'], ['east']])
    assert.deepEqual(await found({}), [['east'], ['east']])
    assert.deepEqual(await found({ click: 0 }), [['east'], ['east']])
    // Viewed 50 days ago, but bought since.
    assert.deepEqual((await found({ view: 55 * dayMs }))?.[0]?.includes('old 0'), true)
    assert.deepEqual(await found({ view: 70 * dayMs }), [['east'], ['east']])
    assert.deepEqual((await found({ view: 0 }))?.[1], ['north', 'old 78', 'old 79'])
    assert.deepEqual((await found(true))?.[1], ['between', 'north', 'old 79'])

    await index.upsert('a', 3, [
      {
        ...user,
        payload: {
          ...payload,
          unwanted: [{ itemId: 'east', untilMs: nowMs + 1 }, { itemId: 'north' }, { itemId: 'between', untilMs: nowMs }]
        }
      }
    ])
    assert.deepEqual(await found({}), [[], []])
    assert.deepEqual((await found(true))?.[1], ['between', 'old 78', 'old 79'])
    assert.equal(idsOf(await index.search({ by: { userId: 'ann' } }, 3, { excludeRecent: false }))?.[1]?.[0], 'north')
  })

  check('an index without a live version has no fields', async (index) => {
    await assert.rejects(index.fields(), refusedWith('UNAVAILABLE', 'no index version is live'))
    await assert.rejects(index.holdsAny({ genre: 'war' }), refusedWith('UNAVAILABLE', 'no index version is live'))
  })

  check('an item whose features changed is found by the new ones only', async (index) => {
    await small(index)
    await index.upsert('a', 2, [itemPoint('east', x, { features: { genre: ['comedy'] } })])
    const found = async (genre: string) => idsOf(await index.search(byVector(x), 5, { features: { genre } }))?.[0]
    assert.deepEqual(await found('comedy'), ['east'])
    assert.deepEqual(await found('drama'), ['between'])
    await index.upsert('a', 3, [itemPoint('east', x, { features: { genre: ['drama'] } })])
    assert.deepEqual(await found('drama'), ['east', 'between'])
    assert.deepEqual(await found('comedy'), [])
  })

  check('popular is by popularity, with the share of the most popular one, under the filter', async (index) => {
    await small(index)
    const { items: list, ...version } = await index.popular(2)
    assert.deepEqual(version, { indexVersion: 'a', step: 1 })
    assert.deepEqual(ids(list), ['between', 'north'])
    near(list[0]?.score, 1)
    near(list[1]?.score, 1 / 4) // two half-lives less: 2^(8 − 10)
    const others = (await index.popular(9, { excludeItems: ['between'] })).items
    assert.deepEqual(ids(others), ['north', 'east'])
    near(others[0]?.score, 1 / 4) // of all, whatever the filter
    await index.upsert('a', 2, [itemPoint('east', x, { popularity: 11 }), itemPoint('new', y)])
    assert.deepEqual(ids((await index.popular(9)).items), ['east', 'between', 'north', 'new'])
    const scores = (await index.popular(9)).items.map(({ score }) => score)
    near(scores[1], 1 / 2)
    assert.equal(scores[3], 0) // nobody has acted on it
  })

  check(
    'popular within a context is by the popularity there; a context that is not known has nothing',
    async (index) => {
      await small(index)
      const spain = 'country=es'
      await index.upsert('a', 2, [
        itemPoint('east', x, { popularity: 7, popularityIn: { [spain]: 3 }, features: { genre: ['war'] } }),
        itemPoint('north', y, {
          popularity: 8,
          popularityIn: { [spain]: 5, 'country=fr': 8 },
          features: { genre: ['war'] }
        }),
        itemPoint('south', towards(200), {
          popularity: 1,
          popularityIn: { [spain]: 1, [contextKey('a=b', 'say "\\"')]: 1 }
        })
      ])
      const { items: list, indexVersion } = await index.popular(9, {}, spain)
      assert.equal(indexVersion, 'a')
      assert.deepEqual(ids(list), ['north', 'east', 'south'])
      near(list[1]?.score, 1 / 4)
      assert.deepEqual(
        ids((await index.popular(9, { features: { genre: 'war' }, excludeItems: ['north'] }, spain)).items),
        ['east']
      )
      assert.deepEqual(ids((await index.popular(1, {}, 'country=fr')).items), ['north'])
      assert.deepEqual(ids((await index.popular(9, {}, contextKey('a=b', 'say "\\"'))).items), ['south'])
      assert.deepEqual((await index.popular(9, {}, 'country=no')).items, [])
      assert.deepEqual((await index.item('north'))?.payload.popularityIn, { [spain]: 5, 'country=fr': 8 })
      await index.upsert('a', 3, [itemPoint('north', y, { popularity: 8 })])
      assert.deepEqual(ids((await index.popular(9, {}, spain)).items), ['east', 'south'])
    }
  )

  check('a search brings the vectors of what it found, where that is asked for', async (index) => {
    await small(index)
    const { lists } = await index.search(byVector(x), 2, {}, { vectors: true })
    assert.deepEqual(ids(lists![0]!), ['east', 'between'])
    for (const { itemId, vector } of lists![0]!) assert.deepEqual(vector, (await index.item(itemId))?.vector)
    for (const candidate of (await index.search(byVector(x), 2)).lists![0]!)
      assert.deepEqual(Object.keys(candidate).sort(), ['itemId', 'score'])
  })

  check('items are looked up in the index version that is named, live or not', async (index) => {
    await small(index)
    await index.createVersion('b', { dimensions: 4, interestCount: 2 })
    await index.upsert('b', 1, [itemPoint('east', y, { count: 1 })])
    const inA = await index.items('a', ['east', 'nobody', 'north', 'east'], { vectors: true })
    assert.deepEqual([...inA.keys()], ['east', 'north'])
    assert.deepEqual(inA.get('east')?.vector, (await index.item('east'))?.vector)
    assert.equal(inA.get('east')?.payload.count, 5)
    near((await index.items('b', ['east'], { vectors: true })).get('east')?.vector?.[1], 1)
    assert.deepEqual(Object.keys((await index.items('b', ['east'])).get('east') ?? {}), ['payload'])
    assert.equal((await index.items('gone', ['east'])).size, 0)
    assert.equal((await index.items('a', [])).size, 0)
  })

  check('an erased user is gone from every index version, and can come back', async (index) => {
    await small(index)
    const ann = userPoint('ann', [x, y])
    await index.createVersion('b', { dimensions: 4, interestCount: 2 })
    await index.upsert('b', 7, [ann, userPoint('bob', [x, y])])
    await index.remove('a', 'user', ['ann'])
    await index.erase(['ann', 'nobody'])
    assert.equal(await index.user('ann'), undefined)
    assert.equal((await index.live())?.users, 0)
    await index.promote('b', { items: 0, users: 1 })
    assert.equal(await index.user('ann'), undefined)
    assert.notEqual(await index.user('bob'), undefined)
    assert.equal((await index.live())?.users, 1)
    await index.upsert('b', 1, [ann])
    assert.notEqual(await index.user('ann'), undefined)
    await index.erase([])
    await index.erase(['ann'])
    assert.equal((await index.search({ by: { userId: 'ann' } }, 3)).lists, undefined)
  })

  check('live, item and user tell what is stored', async (index) => {
    await small(index)
    assert.deepEqual(await index.live(), {
      indexVersion: 'a',
      step: 1,
      items: 3,
      users: 1,
      dimensions: 4,
      interestCount: 2
    })
    const item = await index.item('between')
    for (const [d, value] of towards(30).entries()) near(item?.vector[d], value)
    assert.deepEqual(item?.payload, {
      ...{ features: { genre: ['drama'], year: ['2001'] }, count: 9, popularity: 10, updatedAtMs: 1000 }
    })
    const user = await index.user('ann')
    assert.equal(user?.vectors.length, 8)
    for (const [d, value] of [...x, ...y].entries()) near(user?.vectors[d], value)
    assert.deepEqual(user?.payload.recent, ['east'])
  })

  check('a write may be repeated, and replaces what was', async (index) => {
    await small(index)
    const again = [itemPoint('east', x, { count: 5, title: 'East' }), userPoint('ann', [x, y], ['east'])]
    assert.equal(await index.upsert('a', 1, again), 2)
    assert.equal(await index.upsert('a', 1, again), 2)
    assert.equal((await index.live())?.items, 3)
    assert.equal((await index.live())?.users, 1)
    await index.upsert('a', 1, [itemPoint('east', z)]) // the same step, as when a user clicked again between two steps of the model
    near((await index.search({ by: { itemId: 'between' } }, 5, { excludeItems: ['north'] })).lists?.[0]?.[0]?.score, 0)
  })

  check('a write of an older step changes nothing, point by point', async (index) => {
    await small(index)
    await index.upsert('a', 7, [itemPoint('east', y, { title: 'moved' }), userPoint('ann', [y, y], ['north'])])
    assert.equal(await index.upsert('a', 6, [itemPoint('east', x), userPoint('ann', [x, x]), itemPoint('new', x)]), 1)
    assert.equal((await index.item('east'))?.payload.title, 'moved')
    assert.deepEqual((await index.user('ann'))?.payload.recent, ['north'])
    assert.deepEqual(idsOf(await index.search(byVector(x), 1)), [['new']])
    assert.equal((await index.live())?.step, 7)
  })

  check('the last of two writes of one point in one call stays', async (index) => {
    await small(index)
    await index.upsert('a', 2, [itemPoint('twice', x, { title: 'first' }), itemPoint('twice', y, { title: 'second' })])
    assert.equal((await index.item('twice'))?.payload.title, 'second')
    assert.equal((await index.live())?.items, 4)
  })

  check('a removed point is gone from everything, and removing it again is nothing', async (index) => {
    await small(index)
    await index.remove('a', 'item', ['between', 'never heard of'])
    await index.remove('a', 'item', ['between'])
    await index.remove('a', 'user', ['ann'])
    assert.deepEqual(await index.live(), {
      indexVersion: 'a',
      step: 1,
      items: 2,
      users: 0,
      dimensions: 4,
      interestCount: 2
    })
    assert.deepEqual(idsOf(await index.search(byVector(x), 5)), [['east', 'north']])
    assert.deepEqual(ids((await index.popular(5)).items), ['north', 'east'])
    near((await index.popular(5)).items[1]?.score, 1 / 2) // 2^(7 − 8)
    assert.equal(await index.item('between'), undefined)
    assert.equal(await index.user('ann'), undefined)
    assert.equal((await index.search({ by: { userId: 'ann' } }, 5)).lists, undefined)
    assert.equal((await index.search({ by: { itemId: 'between' } }, 5)).lists, undefined)
  })

  check('a role is removed without its namesake', async (index) => {
    await small(index)
    await index.upsert('a', 1, [itemPoint('ann', x)])
    await index.remove('a', 'item', ['ann'])
    assert(await index.user('ann'))
  })

  check('an older write does not bring a removed point back; one as new or newer does', async (index) => {
    await small(index)
    await index.upsert('a', 5, [itemPoint('east', x), userPoint('ann', [x, y])])
    await index.remove('a', 'item', ['east'])
    await index.remove('a', 'user', ['ann'])
    assert.equal(await index.upsert('a', 4, [itemPoint('east', x), userPoint('ann', [x, y])]), 0)
    assert.equal(await index.item('east'), undefined)
    assert.equal(await index.user('ann'), undefined)
    assert.deepEqual(idsOf(await index.search(byVector(x), 1)), [['between']])
    assert.equal(await index.upsert('a', 5, [userPoint('ann', [x, y])]), 1)
    assert.equal(await index.upsert('a', 6, [itemPoint('east', x)]), 1)
    assert.deepEqual(idsOf(await index.search({ by: { userId: 'ann' } }, 1)), [['east'], ['north']])
    assert.equal((await index.live())?.items, 3)
  })

  check(
    'vectors that are not finite, not of length 1 or of another shape are refused, with everything beside them',
    async (index) => {
      await small(index)
      const refused = (point: ItemPoint | UserPoint, code: string, ...texts: string[]) =>
        assert.rejects(index.upsert('a', 2, [itemPoint('beside', x), point]), refusedWith(code, ...texts))
      await refused(itemPoint('broken', [Number.NaN, 0, 0, 0]), 'DIVERGED', 'broken', 'NaN')
      await refused(itemPoint('broken', [0, Number.POSITIVE_INFINITY, 0, 0]), 'DIVERGED', 'broken', 'Infinity')
      await refused(itemPoint('long', [1.01, 0, 0, 0]), 'DIVERGED', 'long', '1.00999')
      await refused(itemPoint('zero', [0, 0, 0, 0]), 'DIVERGED', 'zero', 'length 0')
      await refused(itemPoint('short', [1, 0, 0]), 'CONFIG', 'short', '3')
      await refused(userPoint('cy', [x]), 'CONFIG', 'cy', '2 × 4')
      await refused(userPoint('cy', [x, [0, Number.NaN, 0, 0]]), 'DIVERGED', 'cy', 'NaN')
      await refused(itemPoint('', x), 'CONFIG', 'id')
      await refused(itemPoint('e'.repeat(1025), x), 'CONFIG', '1025')
      await refused(itemPoint('\ud800', x), 'CONFIG', 'surrogate')
      await refused(itemPoint('字'.repeat(342), x), 'CONFIG', '1026')
      await refused(itemPoint('\u0000', x), 'CONFIG', 'control character')
      await refused(itemPoint('counted', x, { count: Number.NaN }), 'CONFIG', 'counted', 'NaN')
      await refused(itemPoint('popular', x, { popularity: -1 }), 'CONFIG', 'popular', '-1')
      await refused(
        itemPoint('there', x, { popularityIn: { 'country=es': Number.POSITIVE_INFINITY } }),
        'CONFIG',
        'there',
        'Infinity'
      )
      await assert.rejects(index.upsert('a', -1, [itemPoint('beside', x)]), refusedWith('CONFIG', '-1'))
      assert.equal(await index.item('beside'), undefined)
      assert.equal((await index.live())?.items, 3)
      await index.upsert('a', 2, [itemPoint('fine', [1.0005, 0, 0, 0])])
      assert(((await index.search(byVector(x), 1)).lists?.[0]?.[0]?.score ?? 2) <= 1)
    }
  )

  check('a query that makes no sense is refused', async (index) => {
    await small(index)
    await assert.rejects(index.search(byVector([Number.NaN, 0, 0, 0]), 3), refusedWith('DIVERGED', 'NaN'))
    await assert.rejects(
      index.search({ by: { vectors: Float32Array.from([1, 0, 0]), count: 1 } }, 3),
      refusedWith('CONFIG', '3')
    )
    await assert.rejects(
      index.search({ by: { vectors: new Float32Array(0), count: 0 } }, 3),
      refusedWith('CONFIG', '0')
    )
    await assert.rejects(index.search(byVector(x), 0), refusedWith('CONFIG', '0'))
    await assert.rejects(index.search(byVector(x), 1.5), refusedWith('CONFIG', '1.5'))
    await assert.rejects(index.popular(-1), refusedWith('CONFIG', '-1'))
  })

  check('an index version is made once; with another shape it is refused', async (index) => {
    await small(index)
    await index.createVersion('a', shape)
    assert.equal((await index.live())?.items, 3)
    await assert.rejects(index.createVersion('a', { ...shape, dimensions: 8 }), refusedWith('CONFIG', '8'))
    await assert.rejects(
      index.createVersion('b', { dimensions: 0, interestCount: 2 }),
      refusedWith('CONFIG', 'dimensions', '0')
    )
    assert.deepEqual(await index.versions(), ['a'])
  })

  check('an index version that does not exist takes no writes', async (index) => {
    await assert.rejects(index.upsert('nowhere', 1, [itemPoint('east', x)]), refusedWith('CONFIG', 'nowhere'))
    await assert.rejects(index.remove('nowhere', 'item', ['east']), refusedWith('CONFIG', 'nowhere'))
    await assert.rejects(index.promote('nowhere', { items: 0, users: 0 }), refusedWith('UNAVAILABLE', 'nowhere'))
    await index.dropVersion('nowhere')
    assert.deepEqual(await index.versions(), [])
  })

  check('promote switches items and users together, and not before there are enough of both', async (index) => {
    await small(index)
    await index.createVersion('b', { dimensions: 4, interestCount: 1 })
    await index.upsert('b', 9, [itemPoint('south', z), itemPoint('east', z)])
    await assert.rejects(index.promote('b', { items: 3, users: 0 }), refusedWith('UNAVAILABLE', 'b', '3'))
    await assert.rejects(index.promote('b', { items: 2, users: 1 }), refusedWith('UNAVAILABLE', '0 users'))
    assert.equal((await index.live())?.indexVersion, 'a')
    assert.deepEqual(idsOf(await index.search({ by: { userId: 'ann' } }, 1)), [['between'], ['north']])
    await index.upsert('b', 9, [userPoint('ann', [z])])
    await index.promote('b', { items: 2, users: 1 })
    assert.deepEqual(await index.live(), {
      indexVersion: 'b',
      step: 9,
      items: 2,
      users: 1,
      dimensions: 4,
      interestCount: 1
    })
    const result = await index.search({ by: { userId: 'ann' } }, 5)
    assert.deepEqual([result.indexVersion, result.step, result.lists?.length], ['b', 9, 1])
    assert.deepEqual(idsOf(result)?.[0]?.toSorted(), ['east', 'south'])
    await index.promote('b', { items: 2, users: 1 }) // again: nothing
    await index.promote('a', { items: 3, users: 1 }) // and back
    assert.deepEqual(idsOf(await index.search({ by: { userId: 'ann' } }, 1)), [['between'], ['north']])
  })

  check('writing to an index version that is not live does not show', async (index) => {
    await small(index)
    await index.createVersion('b', shape)
    await index.upsert('b', 2, [itemPoint('east', y, { title: 'other' }), userPoint('ann', [z, z])])
    await index.remove('b', 'item', ['east'])
    assert.equal((await index.item('east'))?.payload.title, 'East')
    assert.deepEqual(idsOf(await index.search(byVector(x), 1)), [['east']])
  })

  check(
    'the live index version is not dropped; another is, and may be made again, empty, with another shape',
    async (index) => {
      await small(index)
      await index.createVersion('b', shape)
      await index.upsert('b', 50, [itemPoint('east', y), userPoint('ann', [z, z])])
      await assert.rejects(index.dropVersion('a'), refusedWith('CONFIG', 'a'))
      await index.dropVersion('b')
      assert.deepEqual(await index.versions(), ['a'])
      await index.createVersion('b', { dimensions: 2, interestCount: 1 })
      assert.equal(await index.upsert('b', 1, [itemPoint('east', [0, 1])]), 1) // no memory of step 50
      await index.promote('b', { items: 1, users: 0 })
      assert.deepEqual(await index.live(), {
        indexVersion: 'b',
        step: 1,
        items: 1,
        users: 0,
        dimensions: 2,
        interestCount: 1
      })
      await index.dropVersion('a')
      assert.deepEqual(idsOf(await index.search(byVector([0, 1]), 5)), [['east']])
    }
  )

  check('ids are any text that admission takes', async (index) => {
    await small(index)
    const strange = [
      'ë',
      'e\u0308',
      '商品',
      '👩‍👩‍👧',
      'a/b c',
      '__proto__',
      'constructor',
      '0',
      '-1',
      ' ',
      '字'.repeat(341),
      'x'.repeat(1024)
    ]
    await index.upsert(
      'a',
      2,
      strange.map((id) => itemPoint(id, z, { title: id, features: { [id]: [id] } }))
    )
    await index.upsert('a', 2, [userPoint('用户', [z, z], strange.slice(0, 3))])
    for (const id of strange) {
      assert.equal((await index.item(id))?.payload.title, id)
      if (id !== '__proto__')
        assert.deepEqual(idsOf(await index.search(byVector(z), 3, { features: { [id]: id } })), [[id]])
    }
    const lists = idsOf(await index.search({ by: { userId: '用户' } }, strange.length - 3, { features: {} }))
    assert.deepEqual(lists?.[0]?.toSorted(), strange.slice(3).toSorted())
    await index.remove('a', 'item', ['ë'])
    assert.equal(await index.item('ë'), undefined)
    assert(await index.item('e\u0308'))
  })

  check('10,000 items in several writes: every search is exact', async (index) => {
    const rng = new Rng(7)
    const [D, N] = [16, 10_000]
    const vectors = Array.from({ length: N }, () => randomUnit(rng, D))
    await index.createVersion('a', { dimensions: D, interestCount: 3 })
    for (let from = 0; from < N; from += 2500) {
      const points = vectors
        .slice(from, from + 2500)
        .map((vector, i) => itemPoint(`item ${from + i}`, [...vector], { popularity: from + i }))
      assert.equal(await index.upsert('a', 1, points), 2500)
    }
    await index.promote('a', { items: N, users: 0 })
    const query = Array.from({ length: 3 }, () => randomUnit(rng, D))
    const excluded = new Set(['item 0', 'item 77', 'item 9999'])
    const { lists } = await index.search(byVector(...query.map((vector) => [...vector])), 50, {
      excludeItems: [...excluded]
    })
    query.forEach((interest, k) => {
      const expected = vectors
        .map((vector, i) => ({
          id: `item ${i}`,
          score: vector.reduce((sum, value, d) => sum + value * interest[d]!, 0)
        }))
        .filter(({ id }) => !excluded.has(id))
        .sort((a, b) => b.score - a.score)
        .slice(0, 50)
      const list = lists?.[k] ?? []
      assert.equal(new Set(ids(list)).size, 50)
      // By score, not by id: of two scores within 1e-5 either may come first.
      for (const [i, { score }] of expected.entries()) near(list[i]?.score, score)
      for (const { itemId, score } of list) {
        near(
          vectors[Number(itemId.slice(5))]!.reduce((sum, value, d) => sum + value * interest[d]!, 0),
          score
        )
      }
    })
    assert.deepEqual(ids((await index.popular(3)).items), ['item 9999', 'item 9998', 'item 9997'])
  })

  check('writes at the same time all arrive, and the newest step of each point stays', async (index) => {
    await index.createVersion('a', shape)
    await index.promote('a', { items: 0, users: 0 })
    const writes = Array.from({ length: 20 }, (_, i) => (i * 7) % 20) // the steps, not in order
    await Promise.all(
      writes.map((step) =>
        index.upsert('a', step, [itemPoint('shared', towards(step), { title: `${step}` }), itemPoint(`own ${step}`, x)])
      )
    )
    assert.equal((await index.item('shared'))?.payload.title, '19')
    assert.equal((await index.live())?.items, 21)
    assert.equal((await index.live())?.step, 19)
    near((await index.search(byVector(towards(19)), 1)).lists?.[0]?.[0]?.score, 1)
  })

  check('a search begun after a write sees it, every time', async (index) => {
    await small(index)
    for (let step = 2; step < 52; step++) {
      await index.upsert('a', step, [itemPoint(`fresh ${step}`, z), userPoint('ann', [z, z], [`fresh ${step - 1}`])])
      const result = await index.search({ by: { userId: 'ann' } }, 100)
      assert.equal(result.step, step)
      assert(ids(result.lists?.[0])?.includes(`fresh ${step}`))
      assert.deepEqual(result.user?.recent, [`fresh ${step - 1}`])
      await index.remove('a', 'item', [`fresh ${step}`])
      assert(!ids((await index.search(byVector(z), 100)).lists?.[0])?.includes(`fresh ${step}`))
    }
  })

  check('an answer is from one index version alone while versions are switched', async (index) => {
    for (const indexVersion of ['a', 'b']) {
      await index.createVersion(indexVersion, shape)
      const points = Array.from({ length: 30 }, (_, i) =>
        itemPoint(`item ${i}`, towards(i), { title: indexVersion, features: { of: [indexVersion] } })
      )
      await index.upsert(indexVersion, indexVersion === 'a' ? 1 : 2, [
        ...points,
        userPoint('ann', indexVersion === 'a' ? [x, y] : [y, x], [`${indexVersion} recent`])
      ])
    }
    await index.promote('a', { items: 30, users: 1 })
    let done = false
    let answers = 0
    const reader = async () => {
      while (!done) {
        const { indexVersion, step, lists, user } = await index.search({ by: { userId: 'ann' } }, 10)
        answers++
        assert.equal(step, indexVersion === 'a' ? 1 : 2)
        assert.deepEqual(user?.recent, [`${indexVersion} recent`])
        const described = await index.items(
          indexVersion,
          lists?.flatMap((list) => list.map(({ itemId }) => itemId)) ?? []
        )
        for (const { payload } of described.values()) assert.equal(payload.title, indexVersion)
        assert.equal(lists?.[0]?.[0]?.itemId, indexVersion === 'a' ? 'item 0' : 'item 29')
        await new Promise(setImmediate) // an index that answers in microtasks alone would keep the switches waiting
      }
    }
    const readers = [reader(), reader()]
    try {
      for (let i = 0; i < 20; i++) {
        const indexVersion = i % 2 === 0 ? 'b' : 'a'
        await index.promote(indexVersion, { items: 30, users: 1 })
        assert.equal((await index.search(byVector(x), 1)).indexVersion, indexVersion)
      }
    } finally {
      done = true
      await Promise.all(readers)
    }
    assert(answers > 0)
  })

  check('closing twice is closing once', async (index) => {
    await small(index)
    await index.close()
    await index.close()
  })

  memoryChecks(check)
}
