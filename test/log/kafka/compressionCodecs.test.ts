import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { compress } from 'snappy'
import {
  type CompressionCodec,
  lz4Codec,
  registerCompressionCodecs,
  snappyCodec,
  zstdCodec
} from '../../../src/log/kafka/compressionCodecs.ts'

const codecs: Readonly<Record<string, CompressionCodec>> = { snappy: snappyCodec, lz4: lz4Codec, zstd: zstdCodec }

test('all codecs pass their own test', () => registerCompressionCodecs())

for (const [name, codec] of Object.entries(codecs)) {
  test(`${name} gives back whatever was compressed`, () =>
    fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), fc.integer({ min: 1, max: 300 }), async (bytes, times) => {
        const buffer = Buffer.concat(Array.from({ length: times }, () => bytes))
        assert.equal(Buffer.compare(await codec.decompress(await codec.compress({ buffer })), buffer), 0)
      }),
      { numRuns: 50 }
    ))

  test(`${name} refuses bytes that were cut off`, async () => {
    const whole = await codec.compress({ buffer: Buffer.from(Array.from({ length: 50_000 }, (_, i) => (i * i) & 255)) })
    await assert.rejects(async () => codec.decompress(whole.subarray(0, whole.length / 2)))
  })
}

test('snappy is read as one bare block, too, and as Java frames it', async () => {
  const plain = Buffer.from('to be or not to be, to be or not to be')
  const block = Buffer.from(await compress(plain))
  assert.equal((await snappyCodec.decompress(block)).toString(), plain.toString())
  // Header of 16 bytes: magic, version 1, compatible with 1; then each block after its length.
  const header = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1])
  const framed = Buffer.concat([
    header,
    Buffer.from([0, 0, 0, block.length]),
    block,
    Buffer.from([0, 0, 0, block.length]),
    block
  ])
  assert.equal((await snappyCodec.decompress(framed)).toString(), plain.toString() + plain.toString())
})

test('zstd reads frames that do not say their size, as streams write them', async () => {
  // A frame without content size: magic, descriptor 0 (window given), window 1 KiB, one last raw block of 5 bytes.
  const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x00, 0x29, 0x00, 0x00, ...Buffer.from('hello')])
  assert.equal((await zstdCodec.decompress(frame)).toString(), 'hello')
})
