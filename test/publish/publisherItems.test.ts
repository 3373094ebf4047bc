import assert from 'node:assert/strict'
import test from 'node:test'
import { PublisherItems } from '../../src/publish/publisherItems.ts'

test('a sweep looks at every item once, also while new items come', () => {
  // Found by the simulator (seed 182): the sweep passed the places of new items instead of old ones, and an index
  // version went live without the items that it had missed.
  for (let firstTake = 1; firstTake <= 4; firstTake++) {
    const items = new PublisherItems(4)
    const old = ['a', 'b', 'c', 'd', 'e']
    for (const id of old) items.note(id, false)
    const takeAll = (max: number) => {
      const taken: string[] = []
      while (items.pending > 0) taken.push(...items.take(max).map(({ itemId }) => itemId))
      return taken
    }
    takeAll(10)
    // The cursor stands in the middle.
    items.sweep()
    items.take(3)
    items.beginVersion(4)
    const looked = items.take(firstTake).map(({ itemId }) => itemId)
    for (const id of ['new1', 'new2', 'new3']) items.note(id, true)
    looked.push(...takeAll(2))
    assert.deepEqual([...looked].sort(), [...old, 'new1', 'new2', 'new3'])
  }
})
