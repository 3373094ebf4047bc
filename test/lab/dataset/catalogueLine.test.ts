import assert from 'node:assert/strict'
import test from 'node:test'
import { catalogueLine } from '../../../src/lab/dataset/catalogueLine.ts'
import { atomicHeader } from '../../../src/lab/dataset/headerLine.ts'

const columns = atomicHeader('item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tprice:float')
assert(columns !== undefined)
const parse = catalogueLine(columns)

test('title, one-valued and several-valued features; numbers are left out', () => {
  assert.deepEqual(parse("1\tToy Story\t1995\tAnimation Children's  Comedy Comedy\t9.5"), {
    itemId: '1',
    title: 'Toy Story',
    features: { release_year: ['1995'], class: ['Animation', "Children's", 'Comedy'] },
    updatedAtMs: 0
  })
})

test('empty fields are no features', () => {
  assert.deepEqual(parse('267\t\t\t\t'), { itemId: '267', features: {}, updatedAtMs: 0 })
})

test('a line of another width is refused', () => {
  assert.throws(() => parse('1\tToy Story'), /expected 5 fields \(item_id, movie_title, release_year, class, price\), found 2/)
})
