import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { Partitioners } from 'kafkajs'
import { murmur2, partitionOf } from '../../src/log/partitioner.ts'

const bytes = (from: string) => new TextEncoder().encode(from)

test('murmur2 gives the numbers of the tests of Kafka’s Java client', () => {
  const known: [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107]
  ]
  for (const [key, hash] of known) assert.equal(murmur2(bytes(key)), hash, key)
})

test('puts every key where kafkajs’ default partitioner does', () => {
  const partitioner = Partitioners.DefaultPartitioner()
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), fc.integer({ min: 1, max: 50 }), (key, partitions) => {
      const partitionMetadata = Array.from({ length: partitions }, (_, partitionId) => ({
        partitionErrorCode: 0,
        partitionId,
        leader: 1,
        replicas: [1],
        isr: [1]
      }))
      const message = { key: Buffer.from(key), value: null }
      assert.equal(partitionOf(key, partitions), partitioner({ topic: 't', partitionMetadata, message }))
    })
  )
})
