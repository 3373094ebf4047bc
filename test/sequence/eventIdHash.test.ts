import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hashEventId } from '../../src/sequence/eventIdHash.ts'

test('ids that count up, as producers make them, do not collide and fill both halves evenly', () => {
  // 300,000 values in 65,536 bins: 4.58 each; chi-squared has mean 65,535 and standard deviation √(2·65,535) = 362.
  const count = 300_000
  const bins = 65_536
  const high = new Uint32Array(bins)
  const low = new Uint32Array(bins)
  const seen = new Set<bigint>()
  for (let i = 0; i < count; i++) {
    const hash = BigInt.asUintN(64, hashEventId(`clicks/0/${i}`))
    seen.add(hash)
    high[Number(hash >> 48n)]!++
    low[Number(hash & 0xffffn)]!++
  }
  assert.equal(seen.size, count)
  for (const half of [high, low]) {
    const expected = count / bins
    const chiSquared = half.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0)
    assert.ok(Math.abs(chiSquared - 65_535) < 6 * 362, `chi-squared ${chiSquared}`)
  }
})

test('one changed bit of the id changes half the bits of the hash', () => {
  const id = '3f2a9c1e-77b0-4d2e-9a41-0c55e6d1f8ab'
  const before = hashEventId(id)
  let changed = 0
  let tried = 0
  for (let at = 0; at < id.length; at++) {
    for (let bit = 0; bit < 7; bit++) {
      const other = id.slice(0, at) + String.fromCharCode(id.charCodeAt(at) ^ (1 << bit)) + id.slice(at + 1)
      changed += BigInt.asUintN(64, hashEventId(other) ^ before)
        .toString(2)
        .replaceAll('0', '').length
      tried++
    }
  }
  // 252 · 64 bits: the mean's standard deviation is .5 · 64 / √(252 · 64) = .25
  assert.ok(Math.abs(changed / tried - 32) < 1.5, `${changed / tried} bits of 64`)
})

test('length counts: an id is not its prefix padded with zeros', () => {
  const ids = ['', '\0', '\0\0', '\0\0\0', 'a', 'a\0', 'a\0\0']
  assert.equal(new Set(ids.map(hashEventId)).size, ids.length)
})

test('the hash of an id is a signed 64-bit integer that never changes: stored windows depend on it', () => {
  const hashes = ['', 'a', 'clicks/0/42', 'ü€😀'].map(hashEventId)
  for (const hash of hashes) assert.equal(BigInt.asIntN(64, hash), hash)
  assert.deepEqual(hashes, [-6024520592336041920n, 8837045615095810491n, -8603634184693369809n, 4869716335401661513n])
})
