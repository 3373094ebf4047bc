import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { Catalogue } from '../../src/records/catalogue.ts'
import { featureKeys } from '../../src/records/catalogueItem.ts'

const names = fc.constantFrom('a', 'b', 'a=b', 'constructor', '__proto__', '')
const features = fc
  .array(fc.tuple(names, fc.array(names, { maxLength: 3 })), { maxLength: 3 })
  .map((entries) => Object.fromEntries(entries))
const record = fc.record({
  itemId: fc.constantFrom('i1', 'i2', 'constructor', '__proto__'),
  item: fc.option(fc.record({ title: fc.option(names, { nil: undefined }), features }))
})

test('the catalogue holds the newest record of each item, whatever names its features have, and knows which items were deleted', () => {
  fc.assert(
    fc.property(fc.array(record), (records) => {
      const catalogue = new Catalogue()
      const newest = new Map<string, (typeof records)[number]['item']>()
      for (const [i, { itemId, item }] of records.entries()) {
        const before = newest.get(itemId)
        const change = catalogue.apply(itemId, BigInt(i), item)
        newest.set(itemId, item)
        assert.deepEqual(change, {
          ...{ itemId, offset: BigInt(i), wasDeleted: before === null, isDeleted: item === null },
          ...{ before: before ? featureKeys(before) : [], after: item ? featureKeys(item) : [] }
        })
      }
      const living = [...newest].filter(([, item]) => item !== null)
      assert.equal(catalogue.size, living.length)
      for (const [itemId, item] of newest) {
        assert.equal(catalogue.isDeleted(itemId), item === null)
        assert.deepEqual(catalogue.featuresOf(itemId), item ? featureKeys(item) : [])
        const held = catalogue.get(itemId)
        assert.equal(held?.title, item?.title)
        // A field without values says nothing.
        const said = Object.entries(item?.features ?? {}).filter(([, values]) => values.length > 0)
        assert.deepEqual(Object.entries(held?.features ?? {}), said)
      }
      assert.deepEqual(
        new Set(catalogue.deleted()),
        new Set([...newest].filter(([, item]) => item === null).map(([itemId]) => itemId))
      )
      assert.equal(catalogue.isDeleted('never seen'), false)
    })
  )
})
