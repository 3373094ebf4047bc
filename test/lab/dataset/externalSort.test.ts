import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import fc from 'fast-check'
import { ExternalSort } from '../../../src/lab/dataset/externalSort.ts'

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mtmi-sort-test-'))
})
after(() => rm(folder, { recursive: true }))

interface Row {
  readonly key: number
  readonly at: number
  readonly text: string
}

async function sort(
  rows: readonly Row[],
  memoryMaxBytes: number,
  fanInMax: number
): Promise<{ sorted: Row[]; runs: number }> {
  const sorter = new ExternalSort<Row>({ tempDir: folder, memoryMaxBytes, sizeOf: () => 1, fanInMax })
  try {
    for (const row of rows) {
      sorter.add(row.key, row)
      await sorter.spill()
    }
    const sorted: Row[] = []
    for await (const block of sorter.sorted()) sorted.push(...block)
    return { sorted, runs: sorter.runsWritten }
  } finally {
    await sorter.close()
  }
}

test('as a stable sort in memory, whatever the memory and the fan-in', async () => {
  await fc.assert(
    fc.asyncProperty(
      // Few keys, so that many are equal
      fc.array(
        fc.record({ key: fc.oneof(fc.integer({ min: -3, max: 3 }), fc.double({ noNaN: true })), text: fc.string() }),
        {
          maxLength: 120
        }
      ),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 2, max: 4 }),
      async (drawn, memoryMaxBytes, fanInMax) => {
        // JSON has neither −0 nor infinities; keys are times and numbers from 0 to 1
        const rows = drawn.map(({ key, text }, at) => ({ key: Number.isFinite(key) ? key + 0 : 0, at, text }))
        const { sorted } = await sort(rows, memoryMaxBytes, fanInMax)
        assert.deepEqual(
          sorted.map(({ at, text }) => [at, text]),
          rows.toSorted((a, b) => a.key - b.key || a.at - b.at).map(({ at, text }) => [at, text])
        )
      }
    ),
    { numRuns: 60 }
  )
})

test('100 runs by 3 at once need several rounds; 5,000 rows are more than one block', async () => {
  const rows = Array.from({ length: 5000 }, (_, at) => ({ key: (at * 7919) % 101, at, text: '' }))
  const { sorted, runs } = await sort(rows, 50, 3)
  // 100 runs; rounds of 34, 12 and 4 merged ones (a group of one is left as it is) leave 2 at the last: 100 + 33 + 11 +
  // 4 + 1
  assert(runs > 100, String(runs))
  assert.deepEqual(
    sorted.map(({ at }) => at),
    rows.toSorted((a, b) => a.key - b.key || a.at - b.at).map(({ at }) => at)
  )
})

test('what fits in memory is never written, and nothing is left on disk', async () => {
  assert.equal((await sort([{ key: 1, at: 0, text: '' }], 100, 2)).runs, 0)
  assert.deepEqual((await sort([], 1, 2)).sorted, [])
  await sort(
    Array.from({ length: 100 }, (_, at) => ({ key: -at, at, text: '' })),
    10,
    2
  )
  assert.deepEqual(await readdir(folder), [])
})

test('a reader that stops early leaves nothing on disk', async () => {
  const sorter = new ExternalSort<number>({ tempDir: folder, memoryMaxBytes: 10, sizeOf: () => 1 })
  for (let i = 0; i < 5000; i++) {
    sorter.add(-i, i)
    await sorter.spill()
  }
  for await (const block of sorter.sorted()) {
    assert.equal(block[0], 4999)
    break
  }
  await sorter.close()
  assert.deepEqual(await readdir(folder), [])
})
