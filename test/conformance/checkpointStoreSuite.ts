// What every CheckpointStore promises.
import assert from 'node:assert/strict'
import test from 'node:test'
import {
  arraysOf,
  type Checkpoint,
  type CheckpointPart,
  type CheckpointStore
} from '../../src/model/replica/checkpoint.ts'

export function checkpointOf(step: number): Checkpoint {
  return {
    header: { step, text: 'Grüße', nested: { list: [1, 2.5, null, true], offset: '9007199254740993' } },
    parts: [
      {
        name: 'first',
        arrays: new Map<string, Float32Array | Uint8Array>([
          ['weights', Float32Array.of(0.1, -0, Number.NaN, Number.POSITIVE_INFINITY, step)],
          ['odd', Uint8Array.of(1, 2, 3)]
        ])
      },
      { name: 'empty', arrays: new Map() },
      {
        name: 'second',
        arrays: new Map<string, Float32Array | Float64Array | Int32Array>([
          ['times', Float64Array.of(1.7e12 + step, Number.MIN_VALUE)],
          ['rows', Int32Array.of(-1, 2147483647)],
          ['none', new Float32Array(0)]
        ])
      }
    ]
  }
}

/** As a list, whatever its parts come from. */
export const listed = ({ header, parts }: Checkpoint): Checkpoint => ({ header, parts: [...parts] })

/** @param make a fresh, empty store that keeps `keep` checkpoints, and how to dispose of it */
export function checkpointStoreSuite(
  name: string,
  make: (keep: number) => Promise<{ store: CheckpointStore; dispose: () => Promise<void> }>
): void {
  const withStore = (title: string, keep: number, body: (store: CheckpointStore) => Promise<void>): void => {
    test(`${name}: ${title}`, async () => {
      const { store, dispose } = await make(keep)
      try {
        await body(store)
      } finally {
        await dispose()
      }
    })
  }

  withStore('an empty store has no latest and no steps', 3, async (store) => {
    assert.equal(await store.latest(), undefined)
    assert.deepEqual(await store.steps(), [])
  })

  withStore('what is saved comes back, bit by bit', 3, async (store) => {
    await store.save(7, checkpointOf(7))
    const latest = await store.latest()
    assert.equal(latest?.step, 7)
    assert.deepEqual(latest.skipped, [])
    assert.deepEqual(listed(latest.checkpoint), checkpointOf(7))
    assert.deepEqual(listed(latest.checkpoint), checkpointOf(7), 'a second time')
    assert.deepEqual(listed(await store.load(7)), checkpointOf(7))
  })

  withStore('without room for versions a version is kept like any other', 2, async (store) => {
    await store.save(1, checkpointOf(1), { version: true })
    await store.save(2, checkpointOf(2))
    await store.save(3, checkpointOf(3))
    assert.deepEqual([await store.steps(), await store.versions()], [[2, 3], []])
  })

  withStore(
    'a save that prunes later deletes nothing: a checkpoint that is being restored stays until the next save',
    1,
    async (store) => {
      await store.save(1, checkpointOf(1))
      const restored = await store.load(1)
      assert.equal((await store.save(2, checkpointOf(2), { version: true, pruneLater: true })).oldest, 0)
      assert.deepEqual(await store.steps(), [1, 2])
      assert.deepEqual(listed(restored), checkpointOf(1))
      await store.save(3, checkpointOf(3))
      assert.equal((await store.steps()).includes(1), false)
    }
  )

  withStore('a checkpoint without parts or header entries is one', 1, async (store) => {
    await store.save(0, { header: {}, parts: [] })
    assert.deepEqual(listed(await store.load(0)), { header: {}, parts: [] })
  })

  withStore('an array that is part of a larger buffer is saved as the part', 1, async (store) => {
    const whole = Float32Array.of(1, 2, 3, 4)
    await store.save(1, { header: {}, parts: [{ name: 'a', arrays: new Map([['part', whole.subarray(1, 3)]]) }] })
    assert.deepEqual(arraysOf(await store.load(1), 'a').get('part'), Float32Array.of(2, 3))
  })

  withStore('the newest `keep` stay, by step and not by text', 2, async (store) => {
    for (const step of [9, 10, 100, 1000]) await store.save(step, checkpointOf(step))
    assert.deepEqual(await store.steps(), [100, 1000])
    assert.equal((await store.latest())?.step, 1000)
    await assert.rejects(store.load(9), { code: 'CONFIG', message: /no checkpoint of step 9.*100, 1000/ })
  })

  withStore('the same step again replaces', 2, async (store) => {
    await store.save(5, checkpointOf(5))
    await store.save(5, { ...checkpointOf(5), header: { again: true } })
    assert.deepEqual((await store.load(5)).header, { again: true })
    assert.deepEqual(await store.steps(), [5])
  })

  withStore('one of changes comes after what it builds on, and is kept as long as that is', 2, async (store) => {
    const part = (step: number): CheckpointPart => ({
      name: `of ${step}`,
      arrays: new Map([['step', Int32Array.of(step)]])
    })
    const save = (step: number, since?: number) =>
      store.save(step, { header: { step }, parts: [part(step)] }, since === undefined ? {} : { since })
    await save(1)
    await save(2, 1)
    await save(3)
    await save(4, 3)
    assert.equal((await save(6, 4)).oldest, 1)
    assert.deepEqual(await store.steps(), [1, 2, 3, 4, 6])
    assert.deepEqual(listed(await store.load(6)), { header: { step: 6 }, parts: [part(3), part(4), part(6)] })
    assert.deepEqual(listed(await store.load(2)), { header: { step: 2 }, parts: [part(1), part(2)] })
    assert.equal((await save(7)).oldest, 3)
    assert.deepEqual(await store.steps(), [3, 4, 6, 7])
    await assert.rejects(save(7, 7), RangeError)
    await assert.rejects(store.save(8, checkpointOf(8), { since: 7, version: true }), RangeError)
    await assert.rejects(save(9, 5))
    assert.deepEqual(await store.steps(), [3, 4, 6, 7])
  })

  withStore(
    'what is kept can be written anew, whatever its age, and what builds on it still does',
    3,
    async (store) => {
      await store.save(10, checkpointOf(10))
      await store.save(
        20,
        { header: {}, parts: [{ name: 'first', arrays: new Map([['odd', Uint8Array.of(7)]]) }] },
        { since: 10 }
      )
      await store.save(30, checkpointOf(30))
      const names: string[] = []
      const withoutSevens = (part: CheckpointPart): CheckpointPart => {
        names.push(part.name)
        return part.arrays.get('odd')?.[0] === 7 ? { ...part, arrays: new Map([['odd', Uint8Array.of(0)]]) } : part
      }
      assert.deepEqual(await store.rewrite(['first'], withoutSevens, true), { rewritten: 1, damaged: [] })
      assert.equal(arraysOf(await store.load(20), 'first').get('odd')![0], 7)
      assert.deepEqual(await store.rewrite(['first'], withoutSevens), { rewritten: 1, damaged: [] })
      assert.deepEqual(await store.rewrite(['first'], withoutSevens), { rewritten: 0, damaged: [] })
      assert.deepEqual(new Set(names), new Set(['first']))
      assert.equal(arraysOf(await store.load(20), 'first').get('odd')![0], 0)
      const above = (part: CheckpointPart): CheckpointPart =>
        part.arrays.get('odd')?.[0] === 1 ? { ...part, arrays: new Map([['odd', Uint8Array.of(9)]]) } : part
      assert.deepEqual(await store.rewrite(['first'], above), { rewritten: 2, damaged: [] })
      assert.deepEqual(
        [...(await store.load(20)).parts]
          .filter(({ name }) => name === 'first')
          .map(({ arrays }) => arrays.get('odd')![0]),
        [9, 0]
      )
      assert.deepEqual(await store.steps(), [10, 20, 30])
    }
  )

  withStore('after going back, latest is the one saved last', 3, async (store) => {
    for (const step of [10, 20, 30]) await store.save(step, checkpointOf(step))
    await store.save(15, checkpointOf(15))
    assert.equal((await store.latest())?.step, 15)
    assert.deepEqual(await store.steps(), [10, 15])
  })

  withStore('saves that overlap are made one after the other', 10, async (store) => {
    await Promise.all([1, 2, 3, 4].map((step) => store.save(step, checkpointOf(step))))
    assert.deepEqual(await store.steps(), [1, 2, 3, 4])
    for (const step of [1, 2, 3, 4]) assert.deepEqual(listed(await store.load(step)), checkpointOf(step))
  })

  withStore('a header that JSON would change is refused, and the earlier one stays', 3, async (store) => {
    await store.save(1, checkpointOf(1))
    for (const header of [
      { loss: Number.NaN },
      { offsets: new Map([[0, 1]]) },
      { offset: 1n },
      { list: [undefined] },
      { row: Float32Array.of(1) }
    ]) {
      await assert.rejects(store.save(2, { header, parts: [] }), TypeError)
    }
    await assert.rejects(store.save(1.5, checkpointOf(1)), RangeError)
    assert.deepEqual(await store.steps(), [1])
    await store.save(2, checkpointOf(2))
    assert.equal((await store.latest())?.step, 2)
  })

  withStore('what is loaded is the receiver’s own', 3, async (store) => {
    await store.save(1, checkpointOf(1))
    arraysOf(await store.load(1), 'second')
      .get('rows')!
      .fill(0)
    assert.deepEqual(listed(await store.load(1)), checkpointOf(1))
  })
}
