// What every CheckpointStore promises.
import assert from 'node:assert/strict'
import test from 'node:test'
import type { Checkpoint, CheckpointStore } from '../../src/train/checkpoint.ts'

export function checkpointOf(step: number): Checkpoint {
  return {
    header: { step, text: 'Grüße', nested: { list: [1, 2.5, null, true], offset: '9007199254740993' } },
    arrays: new Map<string, Float32Array | Float64Array | Int32Array | Uint8Array>([
      ['weights', Float32Array.of(0.1, -0, Number.NaN, Number.POSITIVE_INFINITY, step)],
      ['odd', Uint8Array.of(1, 2, 3)],
      ['times', Float64Array.of(1.7e12 + step, Number.MIN_VALUE)],
      ['rows', Int32Array.of(-1, 2147483647)],
      ['none', new Float32Array(0)]
    ])
  }
}

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
    assert.deepEqual(latest.checkpoint, checkpointOf(7))
    assert.deepEqual([...latest.checkpoint.arrays.keys()], [...checkpointOf(7).arrays.keys()])
    assert.deepEqual(await store.load(7), checkpointOf(7))
  })

  withStore('without room for versions a version is kept like any other', 2, async (store) => {
    await store.save(1, checkpointOf(1), 'version')
    await store.save(2, checkpointOf(2))
    await store.save(3, checkpointOf(3))
    assert.deepEqual([await store.steps(), await store.versions()], [[2, 3], []])
  })

  withStore('a checkpoint without arrays or header entries is one', 1, async (store) => {
    await store.save(0, { header: {}, arrays: new Map() })
    assert.deepEqual(await store.load(0), { header: {}, arrays: new Map() })
  })

  withStore('an array that is part of a larger buffer is saved as the part', 1, async (store) => {
    const whole = Float32Array.of(1, 2, 3, 4)
    await store.save(1, { header: {}, arrays: new Map([['part', whole.subarray(1, 3)]]) })
    assert.deepEqual((await store.load(1)).arrays.get('part'), Float32Array.of(2, 3))
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

  withStore('one that is kept can be replaced, whatever its age; the others stay', 3, async (store) => {
    for (const step of [10, 20, 30]) await store.save(step, checkpointOf(step))
    await store.replace(10, { ...checkpointOf(10), header: { other: true } })
    assert.deepEqual(await store.steps(), [10, 20, 30])
    assert.deepEqual((await store.load(10)).header, { other: true })
    assert.deepEqual(await store.load(20), checkpointOf(20))
    await assert.rejects(store.replace(15, checkpointOf(15)), { code: 'CONFIG' })
    assert.deepEqual(await store.steps(), [10, 20, 30])
  })

  withStore('after going back, latest is the one saved last', 3, async (store) => {
    for (const step of [10, 20, 30]) await store.save(step, checkpointOf(step))
    await store.save(15, checkpointOf(15))
    assert.equal((await store.latest())?.step, 15)
    assert.deepEqual(await store.steps(), [10, 15])
  })

  withStore('saves that overlap are made one after the other', 10, async (store) => {
    await Promise.all([1, 2, 3, 4].map((step) => store.save(step, checkpointOf(step))))
    assert.deepEqual(await store.steps(), [1, 2, 3, 4])
    for (const step of [1, 2, 3, 4]) assert.deepEqual(await store.load(step), checkpointOf(step))
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
      await assert.rejects(store.save(2, { header, arrays: new Map() }), TypeError)
    }
    await assert.rejects(store.save(1.5, checkpointOf(1)), RangeError)
    assert.deepEqual(await store.steps(), [1])
    await store.save(2, checkpointOf(2))
    assert.equal((await store.latest())?.step, 2)
  })

  withStore('what is loaded is the receiver’s own', 3, async (store) => {
    await store.save(1, checkpointOf(1))
    const first = await store.load(1)
    first.arrays.get('rows')!.fill(0)
    assert.deepEqual(await store.load(1), checkpointOf(1))
  })
}
