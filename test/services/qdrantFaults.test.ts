// A real Qdrant behind a proxy that loses, refuses, delays and cuts off: nothing is lost, nothing is mixed.

import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Rng } from '../../src/core/rng.ts'
import type { QdrantIndex } from '../../src/index/qdrant/qdrantIndex.ts'
import type { QdrantOptions } from '../../src/index/qdrant/qdrantOptions.ts'
import type { VectorPoint } from '../../src/index/vectorIndex.ts'
import { itemPoint, userPoint } from '../conformance/vectorIndexPoints.ts'
import { type Fate, FaultProxy, type SeenRequest } from '../index/qdrant/faultProxy.ts'
import { clearQdrant, openQdrant, qdrantGiven, qdrantOptions, qdrantUrl } from './qdrant.ts'

const shape = { dimensions: 4, interestCount: 2 }
const x = [1, 0, 0, 0]
const y = [0, 1, 0, 0]
const items = 60
const users = 8

/** Vectors, titles and recent items of an index version at a step: each tells which it is. */
function pointsOf(indexVersion: string, step: number, round = 0): VectorPoint[] {
  const degrees = (i: number) => ((i * 6 + step) * Math.PI) / 180
  return [
    ...Array.from({ length: items }, (_, i) =>
      itemPoint(`item ${i}`, [Math.cos(degrees(i)), Math.sin(degrees(i)), 0, 0], {
        title: `${indexVersion} ${step} ${round}`,
        count: i + 1
      })
    ),
    ...Array.from({ length: users }, (_, u) => userPoint(`user ${u}`, [x, y], [`${indexVersion} ${step} ${round}`]))
  ]
}

/** Every point of the index version, as a reader sees it. */
async function contentOf(
  index: QdrantIndex
): Promise<{ titles: Set<string | undefined>; recent: Set<string | undefined>; items: number; users: number }> {
  const live = await index.live()
  const found = await index.items(
    live!.indexVersion,
    Array.from({ length: items }, (_, i) => `item ${i}`)
  )
  const recent = new Set<string | undefined>()
  for (let u = 0; u < users; u++) recent.add((await index.user(`user ${u}`))?.payload.recent[0])
  return {
    titles: new Set([...found.values()].map(({ payload }) => payload.title)),
    recent,
    items: found.size,
    users: live!.users
  }
}

const whole = (text: string) => ({ titles: new Set([text]), recent: new Set([text]), items, users })

async function behindProxy(
  fate: (request: SeenRequest) => Fate,
  body: (parts: {
    proxy: FaultProxy
    index: QdrantIndex
    direct: QdrantIndex
    options: QdrantOptions
  }) => Promise<void>,
  more: Partial<QdrantOptions> = {}
): Promise<void> {
  const proxy = await new FaultProxy(qdrantUrl, fate).start()
  const direct = qdrantOptions(more)
  const options = { ...direct, url: proxy.url }
  const [index, straight] = [openQdrant(options), openQdrant(direct)]
  try {
    await body({ proxy, index, direct: straight, options })
  } finally {
    await proxy.stop()
    await Promise.all([index.close(), straight.close()])
    await clearQdrant(direct)
  }
}

if (qdrantGiven('Qdrant: faults')) {
  for (const [what, fates] of [
    ['429 and 500 answers', [{ refuse: 429 }, { refuse: 500 }, { refuse: 503 }]],
    ['connections that break, answers that are lost', ['break', 'lose']],
    ['answers that never come', ['stall']]
  ] as const satisfies [string, Fate[]][]) {
    test(`${what}, one request in four: every point arrives, at its newest step`, async () => {
      const rng = new Rng(7)
      const fate = (): Fate => (rng.uniform() < 0.25 ? fates[rng.integer(fates.length)]! : 'pass')
      const more = {
        timeoutMs: what.includes('never') ? 400 : 30_000,
        searchTimeoutMs: 400,
        retryMs: 60_000,
        searchRetryMs: 60_000,
        batchBytesMax: 20_000
      }
      await behindProxy(
        fate,
        async ({ index, direct, proxy }) => {
          await index.createVersion('a', shape)
          for (let step = 1; step <= 4; step++) await index.upsert('a', step, pointsOf('a', step))
          await index.promote('a', { items, users })
          assert.equal(await index.upsert('a', 2, pointsOf('a', 2)), 0)
          await index.remove('a', 'item', ['item 0'])
          await index.upsert('a', 3, [itemPoint('item 0', x)])
          await index.upsert('a', 5, pointsOf('a', 5))
          assert.deepEqual(await contentOf(direct), whole('a 5 0'))
          // A rebuild beside it: nobody sees it before the switch, nobody misses anything after it.
          await index.createVersion('b', shape)
          await index.upsert('b', 9, pointsOf('b', 9))
          assert.deepEqual(await contentOf(direct), whole('a 5 0'))
          await index.promote('b', { items, users })
          await index.dropVersion('a')
          assert.deepEqual([await contentOf(direct), await direct.versions()], [whole('b 9 0'), ['b']])
          assert((await index.search({ by: { userId: 'user 1' } }, 5)).lists?.every(({ length }) => length === 5))
          assert(proxy.requests.length > 20)
        },
        more
      )
    })
  }

  test('an outage while points are written: the writer waits, and goes on where it was', async () => {
    await behindProxy(
      () => 'pass',
      async ({ proxy, index, direct }) => {
        await index.createVersion('a', shape)
        await index.upsert('a', 1, pointsOf('a', 1))
        await index.promote('a', { items, users })
        await proxy.stop()
        const writing = index.upsert('a', 2, pointsOf('a', 2))
        await assert.rejects(
          openQdrant({ ...qdrantOptions(), url: proxy.url, searchRetryMs: 100 }).search(
            { by: { itemId: 'item 1' } },
            1
          ),
          { code: 'UNAVAILABLE' }
        )
        await pause(1500) // the outage: a minute, made short
        assert.deepEqual(await contentOf(direct), whole('a 1 0'))
        await proxy.start()
        assert.equal(await writing, items + users)
        assert.deepEqual(await contentOf(direct), whole('a 2 0'))
      },
      { retryMs: 60_000 }
    )
  })

  test('an outage in the middle of a rebuild, and another before its switch: the old index version answers meanwhile, then the new one, whole', async () => {
    await behindProxy(
      () => 'pass',
      async ({ proxy, index, direct }) => {
        await index.createVersion('a', shape)
        await index.upsert('a', 1, pointsOf('a', 1))
        await index.promote('a', { items, users })
        await index.createVersion('b', shape)
        const points = pointsOf('b', 2)
        await index.upsert('b', 2, points.slice(0, points.length / 2))
        for (const work of [() => index.upsert('b', 2, points), () => index.promote('b', { items, users })]) {
          await proxy.stop()
          const working = work()
          await pause(1500) // the outage: a minute, made short
          assert.deepEqual(await contentOf(direct), whole('a 1 0'))
          await proxy.start()
          await working
        }
        assert.deepEqual(await contentOf(direct), whole('b 2 0'))
      },
      { retryMs: 60_000, searchRetryMs: 60_000 }
    )
  })

  test('an outage that is longer than a write is tried: UNAVAILABLE, and the same call later completes it', async () => {
    await behindProxy(
      () => 'pass',
      async ({ proxy, index, direct }) => {
        await index.createVersion('a', shape)
        await index.promote('a', { items: 0, users: 0 })
        await proxy.stop()
        await assert.rejects(index.upsert('a', 1, pointsOf('a', 1)), { code: 'UNAVAILABLE' })
        await proxy.start()
        assert.equal(await index.upsert('a', 1, pointsOf('a', 1)), items + users)
        assert.deepEqual(await contentOf(direct), whole('a 1 0'))
      },
      { retryMs: 300 }
    )
  })

  test('killed between any two requests of a rebuild, and begun again: readers see the old index version whole, then the new one', async () => {
    const rebuild = async (index: QdrantIndex) => {
      await index.createVersion('b', shape)
      await index.upsert('b', 9, pointsOf('b', 9))
      await index.promote('b', { items, users })
      await index.remove('b', 'user', ['nobody'])
      for (const indexVersion of await index.versions()) if (indexVersion !== 'b') await index.dropVersion(indexVersion)
    }
    let requests = Number.POSITIVE_INFINITY
    for (let killAt = 0; killAt < requests; killAt++) {
      let alive = true
      const fate = ({ number }: SeenRequest): Fate => {
        if (number >= killAt) alive = false
        return alive ? 'pass' : number % 2 === 0 ? 'break' : 'lose' // done or not, whoever was killed does not hear of it
      }
      await behindProxy(
        fate,
        async ({ proxy, index, direct, options }) => {
          await direct.createVersion('a', shape)
          await direct.upsert('a', 3, pointsOf('a', 3))
          await direct.promote('a', { items, users })
          const ended = await rebuild(index).then(
            () => true,
            () => false
          )
          const seen = await contentOf(direct)
          assert.deepEqual(
            seen,
            seen.titles.has('a 3 0') ? whole('a 3 0') : whole('b 9 0'),
            `killed at request ${killAt}`
          )
          const again = openQdrant({ ...options, url: qdrantUrl })
          await rebuild(again)
          assert.deepEqual(await contentOf(direct), whole('b 9 0'))
          assert.deepEqual(await direct.versions(), ['b'])
          await again.close()
          if (ended) requests = proxy.requests.length
        },
        { retryMs: 0, searchRetryMs: 0, batchBytesMax: 40_000 }
      )
    }
    assert(Number.isFinite(requests) && requests > 20)
  })

  test('an index version that is dropped under its readers: they go on with the one that is live', async () => {
    const options = qdrantOptions({ liveMaxAgeMs: 60_000 })
    const [writer, reader] = [openQdrant(options), openQdrant(options)]
    try {
      for (const indexVersion of ['a', 'b']) {
        await writer.createVersion(indexVersion, shape)
        await writer.upsert(indexVersion, 1, pointsOf(indexVersion, 1))
        await writer.promote(indexVersion, { items, users })
        if (indexVersion === 'a') assert.equal((await reader.search({ by: { userId: 'user 1' } }, 1)).indexVersion, 'a')
      }
      await writer.dropVersion('a')
      assert.equal((await reader.search({ by: { userId: 'user 1' } }, 1)).indexVersion, 'b')
      assert.equal((await reader.item('item 1'))?.payload.title, 'b 1 0')
    } finally {
      await Promise.all([writer.close(), reader.close()])
      await clearQdrant(options)
    }
  })
}
