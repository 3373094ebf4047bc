import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { ConfigError, CorruptError } from '../../../src/core/errors.ts'
import { readHead, readLines } from '../../../src/lab/dataset/lineReader.ts'

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mtmi-lines-'))
})
after(() => rm(folder, { recursive: true }))

async function file(content: string | Uint8Array, name = 'file'): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}

/** [number, line, whether it was cut] */
async function linesOf(path: string, lineCharsMax?: number): Promise<[number, string, boolean][]> {
  const lines: [number, string, boolean][] = []
  for await (const block of readLines(path, lineCharsMax === undefined ? {} : { lineCharsMax })) {
    for (const [i, line] of block.lines.entries()) lines.push([block.first + i, line, block.cut.includes(i)])
  }
  return lines
}

test('line ends, byte order mark, empty lines, no end of the last line', async () => {
  const expected = [
    [1, 'a', false],
    [2, '', false],
    [3, 'b', false]
  ]
  assert.deepEqual(await linesOf(await file('\ufeffa\r\n\r\nb')), expected)
  assert.deepEqual(await linesOf(await file('a\n\nb\n')), expected)
  assert.deepEqual(await linesOf(await file('')), [])
  assert.deepEqual(await linesOf(await file('\n')), [[1, '', false]])
})

test('gzip is known by its bytes, whatever the name', async () => {
  assert.deepEqual(await linesOf(await file(gzipSync('a\nb\n'), 'packed')), [
    [1, 'a', false],
    [2, 'b', false]
  ])
})

test('lines and characters across blocks of 256 KiB stay whole', async () => {
  // Lines of 3 and 5 bytes, the ends of which drift through every position at the block boundaries
  const expected = Array.from({ length: 200_000 }, (_, i) => (i % 2 === 0 ? 'é' : '€a'))
  const found = await linesOf(await file(expected.join('\n')))
  assert.equal(found.length, expected.length)
  assert(found.every(([number, line], i) => number === i + 1 && line === expected[i]))
})

test('a line that is too long is cut, and the next one has its right number', async () => {
  const long = 'x'.repeat(700_000)
  assert.deepEqual(await linesOf(await file(`a\n${'y'.repeat(20)}\n${long}\nb\n${long}`), 10), [
    [1, 'a', false],
    [2, 'y'.repeat(10), true],
    [3, 'x'.repeat(10), true],
    [4, 'b', false],
    [5, 'x'.repeat(10), true]
  ])
})

test('any text is read as split would', async () => {
  const path = join(folder, 'any')
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: fc.constantFrom('a', '€', '\n', '\r\n', ' ') }), async (text) => {
      await writeFile(path, text)
      const expected = text.split(/\r?\n/)
      if (expected.at(-1) === '') expected.pop()
      assert.deepEqual(
        (await linesOf(path)).map(([, line]) => line),
        expected
      )
    }),
    { numRuns: 50 }
  )
})

test('the head leaves out empty lines and ends at its limits', async () => {
  const path = await file('\na\n\nb\nc\n')
  assert.deepEqual(await readHead(path, 2, 100), ['a', 'b'])
  assert.deepEqual(await readHead(path, 100, 1), ['a'])
})

test('what cannot be read says so', async () => {
  await assert.rejects(
    linesOf(join(folder, 'nothing')),
    (error) => error instanceof ConfigError && /cannot read .*nothing/.test(error.message)
  )
  await assert.rejects(linesOf(folder), ConfigError)
  await assert.rejects(linesOf(await file(Buffer.from('\ufeffa\n', 'utf16le'))), /UTF-16/)
  const packed = gzipSync('a\n'.repeat(1000))
  await assert.rejects(linesOf(await file(packed.subarray(0, packed.length - 12))), CorruptError)
})
