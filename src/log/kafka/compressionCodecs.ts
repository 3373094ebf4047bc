// The codecs that Kafka's producers may have used, for kafkajs, which brings only gzip: without them a consumer fails
// on the first foreign batch, hours later. All work on the calling thread: a batch of 1 MiB takes 1 to 3 ms, and a thread
// that computes between its turns would get one batch a turn back from another thread.

import { init as initZstd, compress as zstdCompress } from '@bokuweb/zstd-wasm'
import { decompress as zstdDecompress } from 'fzstd'
import kafkajs from 'kafkajs'
import { compressFrameSync, decompressFrameSync } from 'lz4-napi'
import { compressSync, uncompressSync } from 'snappy'
import { MtmiError } from '../../core/errors.ts'
import { handledLater } from '../../core/promises.ts'

const { CompressionTypes, CompressionCodecs } = kafkajs

/** Of kafkajs: it hands its encoder to `compress` and bytes to `decompress`. */
export interface CompressionCodec {
  compress(encoder: { readonly buffer: Buffer }): Promise<Buffer>
  decompress(bytes: Buffer): Promise<Buffer>
}

export type CompressionName = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

export const compressionTypes: Readonly<Record<CompressionName, number>> = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD
}

/**
 * Java's clients cut snappy into blocks of 32 KiB behind this header (xerial's SnappyOutputStream); others write one
 * bare block. Both are read.
 */
const xerialHeader = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00, 0, 0, 0, 1, 0, 0, 0, 1])
const xerialMagicBytes = 8
const xerialBlockBytes = 32 * 1024
/** zstd's own default: beyond it each level costs more time than it saves bytes. */
const zstdLevel = 3

export const snappyCodec: CompressionCodec = {
  async compress({ buffer }) {
    const parts: Buffer[] = [xerialHeader]
    for (let at = 0; at < buffer.length; at += xerialBlockBytes) {
      const block = compressSync(buffer.subarray(at, at + xerialBlockBytes))
      const length = Buffer.alloc(4)
      length.writeInt32BE(block.length)
      parts.push(length, block)
    }
    return Buffer.concat(parts)
  },
  async decompress(bytes) {
    if (bytes.compare(xerialHeader, 0, xerialMagicBytes, 0, Math.min(xerialMagicBytes, bytes.length)) !== 0)
      return uncompressBlock(bytes)
    const parts: Buffer[] = []
    for (let at = xerialHeader.length; at < bytes.length; ) {
      const length = bytes.readInt32BE(at)
      if (length < 0 || at + 4 + length > bytes.length)
        throw new Error(`a snappy block of ${length} bytes in ${bytes.length - at - 4}`)
      parts.push(uncompressBlock(bytes.subarray(at + 4, at + 4 + length)))
      at += 4 + length
    }
    return Buffer.concat(parts)
  }
}

export const lz4Codec: CompressionCodec = {
  compress: async ({ buffer }) => compressFrameSync(buffer),
  decompress: async (bytes) => decompressFrameSync(bytes)
}

let zstdReady: Promise<unknown> | undefined

/** Two libraries: the WASM one writes, but only reads frames that say their size, which streams of Java's do not. */
export const zstdCodec: CompressionCodec = {
  async compress({ buffer }) {
    zstdReady ??= Promise.resolve(initZstd())
    await zstdReady
    return Buffer.from(zstdCompress(buffer, zstdLevel))
  },
  async decompress(bytes) {
    const plain = zstdDecompress(bytes)
    return Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength)
  }
}

let tested: Promise<void> | undefined

/**
 * Makes kafkajs read and write all of Kafka's codecs, and proves each on a sample, once a process.
 *
 * @throws MtmiError UNAVAILABLE, canRetry false, if one does not work here
 */
export function registerCompressionCodecs(): Promise<void> {
  tested ??= handledLater(register())
  return tested
}

async function register(): Promise<void> {
  const codecs = CompressionCodecs as unknown as Record<number, () => CompressionCodec>
  codecs[CompressionTypes.Snappy] = () => snappyCodec
  codecs[CompressionTypes.LZ4] = () => lz4Codec
  codecs[CompressionTypes.ZSTD] = () => zstdCodec
  // Some that repeats and some that does not, over more than one of snappy's blocks.
  const sample = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i < 35_000 ? i % 7 : (i * i * 31) >>> 5) & 255))
  for (const [name, type] of Object.entries(compressionTypes)) {
    const codec = codecs[type]?.()
    if (codec === undefined) continue
    try {
      const back = await codec.decompress(await codec.compress({ buffer: sample }))
      if (Buffer.compare(back, sample) !== 0) throw new Error('what was compressed came back changed')
    } catch (cause) {
      const message = `the ${name} codec of Kafka does not work here (${String(cause)}): run \`node infra/setup.mjs\` again, and report the platform (${process.platform} ${process.arch})`
      throw new MtmiError('UNAVAILABLE', message, { cause, canRetry: false })
    }
  }
}

function uncompressBlock(block: Buffer): Buffer {
  return uncompressSync(block, { asBuffer: true }) as Buffer
}
