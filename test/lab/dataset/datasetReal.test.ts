// The real data sets, where MTMI_DATA says where they are: row, user and item counts as their README has them.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { openDataset } from '../../../src/lab/dataset/dataset.ts'

const data = process.env.MTMI_DATA || undefined
const skip = data === undefined ? 'MTMI_DATA is not set: the real data sets are NOT tested' : false

const sets = [
  { path: 'ml-100k', format: 'recbole', ordering: 'time', rows: 100_000, users: 943, items: 1_682 },
  { path: 'diginetica', format: 'clicks', ordering: 'order', rows: 993_483, users: 204_789, items: 43_136 },
  {
    path: 'gowalla-tail',
    format: 'flagged-pairs',
    ordering: 'interleaved',
    rows: 154_749,
    users: 13_149,
    items: 13_902
  },
  // The folder also holds the test sessions, which the table does not count.
  {
    path: 'retailrocket/train_sessions.txt',
    format: 'sessions',
    ordering: 'order',
    rows: 685_984,
    users: 126_168,
    items: 36_968
  },
  {
    path: 'amazon/video-games.txt',
    format: 'pairs',
    ordering: 'interleaved',
    rows: 287_107,
    users: 31_013,
    items: 23_715
  },
  {
    path: 'amazon/beauty.txt',
    format: 'user-items',
    ordering: 'interleaved',
    rows: 198_502,
    users: 22_363,
    items: 12_101
  }
]

for (const { path, format, ordering, rows, users, items } of sets) {
  test(path, { skip }, async () => {
    const dataset = await openDataset(join(data!, path), { seed: 1, tempDir: join(tmpdir(), 'mtmi-real') })
    assert.equal(dataset.format, format)
    assert.equal(dataset.ordering, ordering)
    const seen = { rows: 0, users: new Set<string>(), items: new Set<string>(), newestMs: 0 }
    for await (const block of dataset.blocks()) {
      for (const { userId, itemId, eventTimeMs } of block) {
        assert(eventTimeMs >= seen.newestMs)
        seen.newestMs = eventTimeMs
        seen.users.add(userId)
        seen.items.add(itemId)
      }
      seen.rows += block.length
    }
    assert.deepEqual([seen.rows, seen.users.size, seen.items.size, dataset.deadLetters], [rows, users, items, 0])
    const lists = await dataset.lists()
    assert.deepEqual([lists.steps.length, lists.users.length, lists.items.length], [rows, users, items])
  })
}

test('MovieLens 100k has a title and genres for every item', { skip }, async () => {
  const dataset = await openDataset(join(data!, 'ml-100k'), { seed: 1 })
  const found = []
  for await (const item of dataset.items()) found.push(item)
  assert.equal(found.length, 1_682)
  assert.equal(found[0]?.title, 'Toy Story')
  assert.deepEqual(found[0]?.features.class, ['Animation', "Children's", 'Comedy'])
})

test('MovieLens 100k comes by time, and by line within a second, on disk as in memory', { skip }, async () => {
  const path = join(data!, 'ml-100k', 'ml-100k.inter')
  const times = (await readFile(path, 'utf8'))
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line) => Number(line.split('\t')[3]))
  const expected = times.map((_, i) => i).sort((a, b) => times[a]! - times[b]! || a - b)
  for (const memoryMaxBytes of [undefined, 1024 * 1024]) {
    const dataset = await openDataset(path, { seed: 1, tempDir: join(tmpdir(), 'mtmi-real'), memoryMaxBytes })
    const ids: string[] = []
    for await (const block of dataset.blocks()) for (const { eventId } of block) ids.push(eventId)
    // Row 0 is line 2, after the header
    assert.deepEqual(
      ids,
      expected.map((row) => `ml-100k.inter:${row + 2}`)
    )
  }
})

test('DIGINETICA has 17 periods, a week or more apart', { skip }, async () => {
  const periods = await (await openDataset(join(data!, 'diginetica'), { seed: 1 })).periods()
  assert.deepEqual(
    periods.map(({ name }) => name),
    Array.from({ length: 17 }, (_, i) => `period_${i}`)
  )
  periods.slice(1).forEach(({ start, startMs }, i) => {
    assert(start > periods[i]!.start)
    assert(startMs - periods[i]!.startMs >= 7 * 24 * 60 * 60 * 1000)
  })
})
