// The stores of the users' windows, on LMDB and in memory, and the sweep over them.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { Rng } from '../../src/core/rng.ts'
import { PublishedUsers, type UserDisk, userDisk } from '../../src/publish/publishedUsers.ts'
import type { UserWindow } from '../../src/records/userSequence.ts'
import { MemoryUserDisk } from '../support/memoryUserStore.ts'

const dayMs = 24 * 60 * 60_000
const nobody = () => false
const none = () => new Map<number, bigint>()

function windowOn(day: number, itemId = 'x'): UserWindow {
  const newestMs = day * dayMs + 5
  return { steps: [{ itemId, type: 'click', eventTimeMs: newestMs }], recent: [], newestMs }
}

const disks: readonly [string, (use: (disk: UserDisk) => Promise<void>) => Promise<void>][] = [
  ['memory', (use) => use(new MemoryUserDisk())],
  [
    'lmdb',
    async (use) => {
      const directory = mkdtempSync(path.join(os.tmpdir(), 'mtmi-users-'))
      try {
        await use(userDisk(directory))
      } finally {
        rmSync(directory, { recursive: true })
      }
    }
  ]
]

async function openOn(
  disk: UserDisk,
  { id = 'topic', partitions = 1, end = 100n }: { id?: string; partitions?: number; end?: bigint } = {}
): Promise<PublishedUsers> {
  const users = new PublishedUsers()
  await users.open(disk, { id, partitions }, new Map(Array.from({ length: partitions }, (_, p) => [p, end])))
  return users
}

for (const [name, withDisk] of disks) {
  test(`${name}: what was committed is there after a restart, with the offset of the oldest change that is not published`, () =>
    withDisk(async (disk) => {
      const users = await openOn(disk)
      users.put('a', windowOn(3))
      users.put('b', windowOn(4))
      users.delete('b')
      users.put('c', windowOn(5))
      users.noteRead({ partition: 0, offset: 9n })
      assert.deepEqual([users.get('a'), users.has('b'), users.dirty], [windowOn(3), false, 3])
      await users.commit(() => new Map([[0, 4n]]))
      users.put('a', windowOn(8)) // and never committed
      await users.close()

      const again = await openOn(disk)
      assert.deepEqual([again.get('a'), again.has('b'), again.count, again.dirty], [windowOn(3), false, 2, 0])
      assert.equal(again.resume(0), 4n)
      assert.equal(again.resume(0, 50n), 4n, 'no change is skipped')
      assert.equal(again.resume(0, 2n), 2n)
      assert.deepEqual(
        again.newest(10).map(([userId]) => userId),
        ['a', 'c']
      )
      await again.close()
    }))

  test(`${name}: a store of another topic, and one ahead of its topic, are begun again`, () =>
    withDisk(async (disk) => {
      for (const other of [{ id: 'created again' }, { end: 5n }]) {
        const users = await openOn(disk)
        users.put('a', windowOn(3))
        users.noteRead({ partition: 0, offset: 9n })
        await users.commit(none)
        await users.close()
        const again = await openOn(disk, other)
        assert.deepEqual([again.count, again.resume(0)], [0, 0n])
        await again.close()
        disk.remove(0)
      }
    }))

  test(`${name}: users are taken by the day of their newest event, newest first, a page at a time`, () =>
    withDisk(async (disk) => {
      const users = await openOn(disk)
      for (const [userId, day] of Object.entries({ a: 1, b: 9, ü: 9, c: 3, d: 300 })) users.put(userId, windowOn(day))
      users.sweep.begin()
      assert.equal(users.sweep.takeNeedsCommit(), true)
      await users.commit(none)
      const order: string[] = []
      while (users.sweep.isRunning) {
        order.push(...users.sweep.take(2, nobody).map(({ userId }) => userId))
        users.sweep.settle(true)
      }
      assert.deepEqual(order, ['d', 'ü', 'b', 'c', 'a'])
      await users.close()
    }))

  test(`${name}: every user is encoded after the last change of the weights, whatever fails, moves, or ends in between`, () =>
    withDisk(async (disk) => {
      for (let seed = 1; seed <= (name === 'memory' ? 200 : 12); seed++) {
        const rng = new Rng(seed)
        const partitions = 1 + rng.integer(3)
        for (let partition = 0; partition < 3; partition++) disk.remove(partition)
        let users = await openOn(disk, { partitions })
        const names = Array.from({ length: 1 + rng.integer(30) }, (_, u) => `u${u}`)
        for (const userId of names) users.put(userId, windowOn(rng.integer(6)))
        const old = new Set(names)
        /** Of those that count, since the weights changed: an index version has to hold as many users as were written. */
        const written = new Set<string>()
        const begun = () => {
          for (const userId of names) old.add(userId)
          written.clear()
        }
        const begin = () => {
          users.sweep.begin()
          begun()
        }
        begin()
        for (let turn = 0; turn < 40; turn++) {
          if (users.sweep.takeNeedsCommit()) await users.commit(none)
          const taken = users.sweep.take(1 + rng.integer(5), nobody)
          // The weights may change while a batch is written: the batch is by the weights before.
          const changes = rng.integer(12) === 0
          if (changes) users.sweep.begin() // which is noted below
          const isDone = rng.integer(5) > 0
          for (const { userId, counts } of isDone ? taken : []) {
            old.delete(userId)
            if (!counts) continue
            users.sweep.wrote()
            written.add(userId)
          }
          users.sweep.settle(isDone)
          if (changes) begun()
          else if (rng.integer(20) === 0) begin()
          assert.equal(users.sweep.written, written.size, `seed ${seed}: users are counted once`)
          // Who acts is encoded as changed.
          if (rng.integer(3) === 0) {
            const userId = names[rng.integer(names.length)]!
            // The newest event of a history does not become older.
            users.put(userId, windowOn(5 + Math.floor(turn / 10)))
            old.delete(userId)
          }
          if (rng.integer(4) === 0) await users.commit(none)
          if (rng.integer(8) === 0) {
            await users.commit(none)
            await users.close()
            users = await openOn(disk, { partitions })
            written.clear()
          }
        }
        for (let turn = 0; users.sweep.isRunning; turn++) {
          assert(turn < 500, `seed ${seed}: the sweep does not end`)
          if (users.sweep.takeNeedsCommit()) await users.commit(none)
          for (const { userId } of users.sweep.take(3, nobody)) old.delete(userId)
          users.sweep.settle(true)
        }
        assert.deepEqual([...old], [], `seed ${seed}`)
        await users.close()
      }
    }))
}
