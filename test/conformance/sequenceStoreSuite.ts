// What every SequenceStore promises.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { UserWindow } from '../../src/records/userSequence.ts'
import type { SequenceStore } from '../../src/sequence/sequenceStore.ts'

/** Stores that follow each other in one place, as processes on one machine do. */
export interface StorePlace {
  open(): SequenceStore | Promise<SequenceStore>
  dispose(): Promise<void>
}

const day = 24 * 60 * 60_000

function windowAt(newestMs: number, items: readonly string[] = ['a', 'b']): UserWindow {
  return {
    steps: items.map((itemId, i) => ({
      itemId,
      type: i % 2 === 0 ? 'click' : 'purchase',
      eventTimeMs: newestMs - (items.length - 1 - i) * 60_001,
      ...(i === items.length - 1 ? { source: { partition: 3, offset: 2n ** 60n + 1n } } : {})
    })),
    recent: [{ idHash: -(2n ** 63n), eventTimeMs: newestMs }],
    newestMs
  }
}

export function sequenceStoreSuite(name: string, make: () => StorePlace): void {
  const promise = (what: string, check: (place: StorePlace) => Promise<void>) => {
    void test(`${name}: ${what}`, async () => {
      const place = make()
      try {
        await check(place)
      } finally {
        await place.dispose()
      }
    })
  }

  promise('an empty store starts at offset 0 and knows nobody', async (place) => {
    const store = await place.open()
    assert.equal(store.committed(), 0n)
    assert.equal(store.watermarkMs(), 0)
    assert.equal(store.userCount(), 0)
    assert.equal(store.get('nobody'), undefined)
    assert.deepEqual([...store.users()], [])
    assert.deepEqual(store.idle(Number.MAX_SAFE_INTEGER, 10), [])
    await store.close()
  })

  promise('a read sees the put, and the delete, before it', async (place) => {
    const store = await place.open()
    store.put('u', windowAt(1000 * day))
    assert.deepEqual(store.get('u'), windowAt(1000 * day))
    store.put('u', windowAt(1001 * day, ['c']))
    assert.deepEqual(store.get('u'), windowAt(1001 * day, ['c']))
    store.delete('u')
    assert.equal(store.get('u'), undefined)
    await store.close()
  })

  promise('a commit makes windows, offset and watermark durable, and a window comes back as it was', async (place) => {
    const ids = ['u', 'ü €', '0', '', 'a user with versions', '\u0000\u0001', '😀'.repeat(50)]
    const before = await place.open()
    ids.forEach((id, i) => {
      before.put(id, windowAt(1000 * day + i, ['x', `item ${i}`, '', 'ÿ']))
    })
    before.put('empty', { steps: [], recent: [], newestMs: 5 })
    await before.commit(2n ** 62n, 1000 * day + 99)
    assert.equal(before.committed(), 2n ** 62n)
    await before.close()
    const after = await place.open()
    assert.equal(after.committed(), 2n ** 62n)
    assert.equal(after.watermarkMs(), 1000 * day + 99)
    assert.equal(after.userCount(), ids.length + 1)
    ids.forEach((id, i) => {
      assert.deepEqual(after.get(id), windowAt(1000 * day + i, ['x', `item ${i}`, '', 'ÿ']))
    })
    assert.deepEqual(after.get('empty'), { steps: [], recent: [], newestMs: 5 })
    assert.deepEqual(new Set([...after.users()].map(([id]) => id)), new Set([...ids, 'empty']))
    await after.close()
  })

  promise('what was not committed is gone with the process', async (place) => {
    const before = await place.open()
    before.put('kept', windowAt(1000 * day))
    before.put('changed', windowAt(1000 * day))
    await before.commit(7n, 1000 * day)
    before.put('new', windowAt(1001 * day, ['new item']))
    before.put('changed', windowAt(1001 * day))
    before.delete('kept')
    await before.close()
    const after = await place.open()
    assert.equal(after.committed(), 7n)
    assert.equal(after.watermarkMs(), 1000 * day)
    assert.equal(after.get('new'), undefined)
    assert.deepEqual(after.get('kept'), windowAt(1000 * day))
    assert.deepEqual(after.get('changed'), windowAt(1000 * day))
    // The lost put had given the new item a number; nothing else may have that number now.
    after.put('other', windowAt(1002 * day, ['another item']))
    await after.commit(8n, 1002 * day)
    await after.close()
    const last = await place.open()
    assert.deepEqual(last.get('other'), windowAt(1002 * day, ['another item']))
    await last.close()
  })

  promise('a deleted user is gone after the commit, and may come back', async (place) => {
    const store = await place.open()
    store.put('u', windowAt(1000 * day))
    store.put('v', windowAt(1000 * day))
    await store.commit(1n, 1000 * day)
    store.delete('u')
    store.delete('never there')
    await store.commit(2n, 1000 * day)
    assert.equal(store.get('u'), undefined)
    assert.equal(store.userCount(), 1)
    assert.deepEqual(store.idle(2000 * day, 10), ['v'])
    store.put('u', windowAt(1500 * day))
    await store.commit(3n, 1500 * day)
    await store.close()
    const after = await place.open()
    assert.deepEqual(after.get('u'), windowAt(1500 * day))
    assert.equal(after.userCount(), 2)
    await after.close()
  })

  promise('idle gives the users whose newest event is older, no others, and at most `limit`', async (place) => {
    const store = await place.open()
    // Half days, so that two users share a day with the bound and lie on either side of it.
    for (let i = 0; i < 10; i++) store.put(`u${i}`, windowAt(1000 * day + (i * day) / 2))
    await store.commit(1n, 1010 * day)
    const older = (beforeMs: number) => store.idle(beforeMs, 100).sort()
    assert.deepEqual(older(1000 * day), [])
    assert.deepEqual(older(1000 * day + 1), ['u0'])
    assert.deepEqual(older(1001.5 * day), ['u0', 'u1', 'u2'])
    assert.deepEqual(older(-5), [])
    assert.equal(store.idle(1010 * day, 4).length, 4)
    // A user who acts again moves in the index, and is in it once.
    store.put('u0', windowAt(1009 * day))
    await store.commit(2n, 1010 * day)
    assert.deepEqual(older(1001.5 * day), ['u1', 'u2'])
    assert.equal(store.idle(2000 * day, 100).length, 10)
    await store.close()
    const after = await place.open()
    assert.deepEqual(after.idle(1001.5 * day, 100).sort(), ['u1', 'u2'])
    await after.close()
  })

  promise('users and idle are as of the last commit', async (place) => {
    const store = await place.open()
    store.put('u', windowAt(1000 * day))
    assert.deepEqual([...store.users()], [])
    assert.deepEqual(store.idle(2000 * day, 10), [])
    await store.commit(1n, 1000 * day)
    assert.deepEqual([...store.users()], [['u', windowAt(1000 * day)]])
    store.delete('u')
    assert.deepEqual(store.idle(2000 * day, 10), ['u'])
    await store.close()
  })

  promise('a commit tells its listener whether windows were put', async (place) => {
    const store = await place.open()
    const told: boolean[] = []
    store.onCommit((changed) => told.push(changed))
    store.put('u', windowAt(1000 * day))
    await store.commit(1n, 1000 * day)
    await store.commit(2n, 1000 * day)
    store.delete('u')
    await store.commit(3n, 1000 * day)
    assert.deepEqual(told, [true, false, false])
    await store.close()
  })

  promise('what is put while a commit is under way belongs to the next one', async (place) => {
    const store = await place.open()
    store.put('u', windowAt(1000 * day))
    const underWay = store.commit(1n, 1000 * day)
    store.put('u', windowAt(1200 * day))
    store.put('v', windowAt(1200 * day))
    await underWay
    assert.deepEqual(store.get('u'), windowAt(1200 * day))
    await store.commit(2n, 1200 * day)
    await store.close()
    const after = await place.open()
    assert.deepEqual(after.get('u'), windowAt(1200 * day))
    assert.deepEqual(after.get('v'), windowAt(1200 * day))
    assert.deepEqual(after.idle(1100 * day, 10), [])
    await after.close()
  })

  promise(
    'of many users the last put or delete is there after the commit, and the index by time with it',
    async (place) => {
      const store = await place.open()
      store.put('there', windowAt(1000 * day, ['old']))
      store.put('leaves', windowAt(1000 * day))
      await store.commit(3n, 1000 * day)
      // More than are kept in memory, with users that come again later.
      const users = 20_000
      const change = (userId: string, window: UserWindow | undefined) =>
        window === undefined ? store.delete(userId) : store.put(userId, window)
      for (let i = 0; i < users; i++) change(`u${i}`, windowAt((1000 + (i % 7)) * day, [`item ${i % 100}`]))
      await store.commit(4n, 1000 * day)
      change('leaves', undefined)
      change('never there', undefined)
      change('there', windowAt(1005 * day, ['new']))
      change('u1', windowAt(1100 * day, ['last']))
      change('u2', windowAt(1100 * day))
      change('u2', undefined)
      await store.commit(9n, 1100 * day)
      await store.close()
      const after = await place.open()
      assert.deepEqual([after.committed(), after.watermarkMs(), after.userCount()], [9n, 1100 * day, users])
      assert.deepEqual(after.get('there'), windowAt(1005 * day, ['new']))
      assert.deepEqual(after.get('u1'), windowAt(1100 * day, ['last']))
      assert.deepEqual(after.get('u19999'), windowAt((1000 + (19_999 % 7)) * day, ['item 99']))
      assert.deepEqual([after.get('leaves'), after.get('u2')], [undefined, undefined])
      // All but u1; each once.
      const idle = after.idle(1050 * day, users + 10)
      assert.equal(new Set(idle).size, idle.length)
      assert.equal(idle.length, users - 1)
      assert(!idle.includes('u1') && !idle.includes('u2') && !idle.includes('leaves'))
      await after.close()
    }
  )
}
