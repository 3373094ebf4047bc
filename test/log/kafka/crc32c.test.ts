import assert from 'node:assert/strict'
import test from 'node:test'
import { crc32c } from '../../../src/log/kafka/crc32c.ts'

test('the check values of RFC 3720, B.4', () => {
  assert.equal(crc32c(new TextEncoder().encode('123456789')), 0xe3069283)
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa)
  assert.equal(crc32c(new Uint8Array(32).fill(255)), 0x62a8ab43)
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e)
})

test('any part, wherever it begins and however long it is', () => {
  const bytes = Uint8Array.from({ length: 100 }, (_, i) => (i * 37) & 255)
  for (const [start, end] of [
    [0, 0],
    [1, 8],
    [3, 11],
    [5, 100]
  ] as const)
    assert.equal(crc32c(bytes, start, end), crc32c(bytes.slice(start, end)))
})
