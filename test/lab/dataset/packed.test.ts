import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { gzipSync } from 'node:zlib'
import { compress, init } from '@bokuweb/zstd-wasm'
import { ConfigError, CorruptError } from '../../../src/core/errors.ts'
import { openDataset } from '../../../src/lab/dataset/dataset.ts'
import { packingOf } from '../../../src/lab/dataset/packed.ts'

let root: string
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'mtmi-packed-'))
  await init()
})
after(() => rm(root, { recursive: true, force: true }))

const open = (name: string) => openDataset(join(root, name), { seed: 1, tempDir: root, deadLetterDir: root })
async function rows(name: string): Promise<string[]> {
  const found: string[] = []
  for await (const { userId, itemId, type, eventTimeMs } of (await open(name)).interactions())
    found.push(`${userId} ${itemId} ${type} ${eventTimeMs}`)
  return found
}

const csv = `user_id,item_id,timestamp\n${Array.from({ length: 5000 }, (_, i) => `${i % 97},${i % 53},${1_700_000_000 + i}`).join('\n')}\n`

test('gzip, zstd, and zstd of several frames hold the same rows as the text', async () => {
  const half = csv.indexOf('\n', csv.length / 2) + 1
  await writeFile(join(root, 'a.csv'), csv)
  await writeFile(join(root, 'a.csv.gz'), gzipSync(csv))
  await writeFile(join(root, 'a.csv.zst'), compress(Buffer.from(csv)))
  await writeFile(
    join(root, 'frames.csv.zst'),
    Buffer.concat([compress(Buffer.from(csv.slice(0, half))), compress(Buffer.from(csv.slice(half)))])
  )
  const plain = await rows('a.csv')
  assert.equal(plain.length, 5000)
  for (const name of ['a.csv.gz', 'a.csv.zst', 'frames.csv.zst']) assert.deepEqual(await rows(name), plain, name)
})

test('packed data that ends too early is an error, never fewer rows', async () => {
  for (const [name, bytes] of [
    ['cut.csv.gz', gzipSync(csv)],
    ['cut.csv.zst', Buffer.from(compress(Buffer.from(csv)))]
  ] as const) {
    await writeFile(join(root, name), bytes.subarray(0, bytes.length - 20))
    await assert.rejects(
      rows(name),
      (error) => error instanceof CorruptError && /damaged or ends too early/.test(error.message),
      name
    )
  }
})

for (const codec of ['snappy', 'zstd']) {
  // Written by pyarrow: user_id int64, item_id string, event_time timestamp[us], event_type dictionary, price double
  // with a null.
  test(`Parquet with ${codec} is read by the names of its columns, long ids whole`, async () => {
    await copyFile(join(import.meta.dirname, `${codec}.parquet`), join(root, `${codec}.parquet`))
    assert.deepEqual(await rows(`${codec}.parquet`), [
      '9007199254740993 a view 1714557600000',
      '2 b cart 1714557601000',
      '3 c view 1714557602000'
    ])
    assert.match(
      (await open(`${codec}.parquet`)).describe,
      /user = user_id, item = item_id, time = event_time \(unit iso, first 2024-05-01T10:00:00Z\), type = event_type; unused: price/
    )
  })
}

test('a damaged Parquet file is an error', async () => {
  await writeFile(
    join(root, 'bad.parquet'),
    readFileSync(join(import.meta.dirname, 'snappy.parquet')).fill(0xff, 20, 400)
  )
  await assert.rejects(
    rows('bad.parquet'),
    (error) => error instanceof CorruptError && /bad\.parquet: the Parquet file cannot be read/.test(error.message)
  )
})

const hex = (text: string) => Buffer.from(text, 'hex')
const tar = Buffer.concat([Buffer.alloc(257), Buffer.from('ustar'), Buffer.alloc(250)])
const others: readonly [name: string, bytes: Uint8Array, message: RegExp][] = [
  ['a.zip', hex('504b030414000000'), /is a zip archive, which is not read; unpack it first: unzip (\S*)a\.zip -d \1a,/],
  [
    'a.xlsx',
    Buffer.concat([hex('504b030414000600'), Buffer.alloc(22), Buffer.from('[Content_Types].xml')]),
    /is an Excel workbook, which is not read; save the sheet as CSV/
  ],
  ['a.tar', tar, /is a tar archive/],
  ['a.tar.gz', gzipSync(tar), /is a tar archive, which is not read; unpack it first: tar xf (\S*)a\.tar\.gz -C \1a,/],
  ['a.csv.bz2', Buffer.from('BZh91AY'), /is bzip2 data, which is not read; unpack it first: bunzip2 -k \S*a\.csv\.bz2/],
  ['a.csv.xz', hex('fd377a585a0000'), /is xz data/],
  ['a.7z', hex('377abcaf271c0004'), /is a 7-Zip archive/],
  ['a.rar', Buffer.from('Rar!\x1a'), /is a RAR archive/],
  ['a.orc', Buffer.from('ORC\x00'), /is an ORC file.*convert it to Parquet or CSV/],
  ['a.feather', Buffer.from('ARROW1\0\0'), /is an Arrow file/],
  ['a.avro', hex('4f626a0104'), /is an Avro file.*JSON lines/],
  ['a.db', Buffer.from('SQLite format 3\0'), /is an SQLite database.*export the table/],
  ['a.pkl', hex('80049500'), /is a Python pickle/],
  ['a.csv', hex('fffe7500'), /is UTF-16 text.*iconv/]
]
for (const [name, bytes, message] of others) {
  test(`${name} is refused by what it is, with what to do`, async () => {
    await writeFile(join(root, name), bytes)
    await assert.rejects(
      open(name),
      (error) => error instanceof ConfigError && message.test(error.message),
      String(message)
    )
  })
}

test('text is not taken for anything packed', () => {
  for (const text of ['user,item\n', '1 2', '{"a":1}', 'BZ', '']) assert.equal(packingOf(Buffer.from(text)), undefined)
})
