import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { after, before } from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { ConfigError } from '../../../src/core/errors.ts'
import { type Dataset, type DatasetOptions, openDataset, syntheticStartMs } from '../../../src/lab/dataset/dataset.ts'
import type { Interaction } from '../../../src/records/interaction.ts'

let root = ''
let count = 0
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'mtmi-dataset-'))
})
after(() => rm(root, { recursive: true }))

const weekMs = 7 * 24 * 60 * 60 * 1000

/** Files by name, in a folder of their own. */
async function folderOf(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const folder = join(root, `set-${count++}`)
  await mkdir(folder)
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), content)
  }
  return folder
}

async function open(path: string, options: Partial<DatasetOptions> = {}): Promise<Dataset> {
  return openDataset(path, { seed: 1, tempDir: join(root, 'temp'), deadLetterDir: join(root, 'letters'), ...options })
}

async function collect<T>(values: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const value of values) all.push(value)
  return all
}

const short = ({ userId, itemId, eventTimeMs }: Interaction) => `${userId}:${itemId}@${eventTimeMs}`
const lines = (...rows: string[]) => `${rows.join('\n')}\n`

test('RecBole: rows by time, equal times by line; titles and features; ids by line', async () => {
  const folder = await folderOf({
    'a.inter': lines(
      'user_id:token\titem_id:token\trating:float\ttimestamp:float',
      'u\ti2\t4\t1400000030',
      'v\ti1\t3\t1400000010',
      'u\ti1\t5\t1400000030',
      'u\ti3\t1\t1400000010'
    ),
    'a.item': lines('item_id:token\ttitle:token_seq\tgenre:token_seq', 'i1\tOne Film\tDrama Comedy'),
    'a.user': lines('user_id:token\tage:token', 'u\t20')
  })
  for (const path of [folder, join(folder, 'a.inter')]) {
    const dataset = await open(path)
    assert.equal(dataset.ordering, 'time')
    assert.equal(dataset.format, 'recbole')
    assert.deepEqual(await collect(dataset.interactions()), [
      { eventId: 'a.inter:3', userId: 'v', itemId: 'i1', type: 'rating', eventTimeMs: 1_400_000_010_000, value: 3 },
      { eventId: 'a.inter:5', userId: 'u', itemId: 'i3', type: 'rating', eventTimeMs: 1_400_000_010_000, value: 1 },
      { eventId: 'a.inter:2', userId: 'u', itemId: 'i2', type: 'rating', eventTimeMs: 1_400_000_030_000, value: 4 },
      { eventId: 'a.inter:4', userId: 'u', itemId: 'i1', type: 'rating', eventTimeMs: 1_400_000_030_000, value: 5 }
    ])
    assert.deepEqual(await collect(dataset.items()), [
      { itemId: 'i1', title: 'One Film', features: { genre: ['Drama', 'Comedy'] }, updatedAtMs: 0 }
    ])
    assert.match(dataset.describe, /recbole.*a\.inter.*items from a\.item/)
    const lists = await dataset.lists()
    assert.deepEqual(lists.users, ['u', 'v'])
    assert.deepEqual(
      [...lists.steps].map((item) => lists.items[item]),
      ['i3', 'i2', 'i1', 'i1']
    )
  }
})

test('periods: files in numeric order, a week apart, rows a second apart', async () => {
  const folder = await folderOf({
    'period_10.txt': lines('1 30'),
    'period_2.txt': lines('3 20', '4 21'),
    'period_0.txt': lines('1 10', '2 11', '1 12')
  })
  const dataset = await open(folder)
  assert.equal(dataset.format, 'clicks')
  assert.equal(dataset.ordering, 'order')
  assert.deepEqual((await collect(dataset.interactions())).map(short), [
    `1:10@${syntheticStartMs}`,
    `2:11@${syntheticStartMs + 1000}`,
    `1:12@${syntheticStartMs + 2000}`,
    `3:20@${syntheticStartMs + weekMs}`,
    `4:21@${syntheticStartMs + weekMs + 1000}`,
    `1:30@${syntheticStartMs + 2 * weekMs}`
  ])
  assert.deepEqual(await dataset.periods(), [
    { name: 'period_0', start: 0, startMs: syntheticStartMs },
    { name: 'period_2', start: 3, startMs: syntheticStartMs + weekMs },
    { name: 'period_10', start: 5, startMs: syntheticStartMs + 2 * weekMs }
  ])
})

test('sessions: a line is a user, named after it; train before test', async () => {
  const folder = await folderOf({ 'test_sessions.txt': lines('2 3'), 'train_sessions.txt': lines('1 2 1', '3 1 3 4') })
  const dataset = await open(folder, { format: 'sessions' })
  const rows = await collect(dataset.interactions())
  assert.deepEqual(rows.map(({ eventId }) => eventId).slice(0, 4), [
    'train_sessions.txt:1:1',
    'train_sessions.txt:1:2',
    'train_sessions.txt:1:3',
    'train_sessions.txt:2:1'
  ])
  assert.deepEqual(
    [...new Set(rows.map(({ userId }) => userId))],
    ['train_sessions:1', 'train_sessions:2', 'test_sessions:1']
  )
  assert.deepEqual(
    rows.map(({ eventTimeMs }) => eventTimeMs),
    rows.map((_, i) => syntheticStartMs + i * 1000)
  )
})

test("the tail of Gowalla: a user's rows of prev10pct before those of last20pct, users interleaved", async () => {
  const part = (from: number) => lines(...Array.from({ length: 60 }, (_, i) => `${Math.floor(i / 3)} ${from + i} 1`))
  const folder = await folderOf({ 'last20pct.txt': part(1000), 'prev10pct.txt': part(0) })
  const dataset = await open(folder)
  assert.equal(dataset.format, 'flagged-pairs')
  const rows = await collect(dataset.interactions())
  const lists = await dataset.lists()
  lists.users.forEach((user, u) => {
    const own = rows.filter(({ userId }) => userId === user).map(({ itemId }) => itemId)
    assert.deepEqual(
      own,
      [...lists.steps.subarray(lists.starts[u], lists.starts[u + 1])].map((item) => lists.items[item])
    )
    assert.deepEqual(
      own.map((item) => Number(item) >= 1000),
      [false, false, false, true, true, true]
    )
  })
})

test('interleaving: every row once, own order kept, by seed, and not the order of the file', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 0 }),
      async (lengths, seed) => {
        let item = 0
        const folder = await folderOf({
          'a.txt': lines(...lengths.map((length, user) => [user, ...Array.from({ length }, () => item++)].join(' ')))
        })
        const read = async (memoryMaxBytes?: number) =>
          collect(
            (
              await open(folder, {
                format: 'user-items',
                seed,
                ...(memoryMaxBytes === undefined ? {} : { memoryMaxBytes })
              })
            ).interactions()
          )
        const rows = await read()
        assert.equal(rows.length, item)
        lengths.forEach((_, user) => {
          const own = rows.filter(({ userId }) => userId === String(user)).map(({ itemId }) => Number(itemId))
          assert.deepEqual(
            own,
            own.toSorted((a, b) => a - b)
          )
        })
        assert.deepEqual(await read(1), rows)
      }
    ),
    { numRuns: 25 }
  )
})

test('interleaving draws users in proportion to what they have left', async () => {
  // User 0 has 900 rows, user 1 has 100: of the first 500 rows about 50 are user 1's. The count is hypergeometric with
  // variance 500 · .1 · .9 · 500/999 = 22.5, so 25 … 75 is more than five standard deviations.
  const folder = await folderOf({
    'a.txt': lines(...Array.from({ length: 1000 }, (_, i) => `${i < 900 ? 0 : 1} ${i}`))
  })
  const rows = await collect((await open(folder, { format: 'pairs' })).interactions())
  const early = rows.slice(0, 500).filter(({ userId }) => userId === '1').length
  assert(early > 25 && early < 75, String(early))
})

test('more rows than memory: sorted on disk as in memory, and nothing is left there', async () => {
  const row = (i: number) => `u${(i * 31) % 97},i${(i * 17) % 53},${1_400_000_000 + ((i * 7919) % 500)}`
  const folder = await folderOf({
    'a.csv': lines('user,item,timestamp', ...Array.from({ length: 3000 }, (_, i) => row(i)))
  })
  const small = await collect((await open(folder, { memoryMaxBytes: 1000 })).interactions())
  const large = await collect((await open(folder)).interactions())
  assert.equal(small.length, 3000)
  assert.deepEqual(small, large)
  assert(large.every(({ eventTimeMs }, i) => i === 0 || eventTimeMs >= large[i - 1]!.eventTimeMs))
  assert.deepEqual(await readdir(join(root, 'temp')).catch(() => []), [])
})

test('CRLF, byte order mark, quotes, line ends within quotes, empty lines, gzip: the same rows and ids', async () => {
  const plain = lines(
    'user,item,title,time',
    'u1,i1,"a, b",1400000010',
    '',
    'u2,i2,"two',
    'lines",1400000020',
    'u3,i3,12" disc,1400000030'
  )
  const variants = [plain, `\ufeff${plain.replaceAll('\n', '\r\n')}`, gzipSync(plain)]
  const expected = ['d.csv:2 u1:i1@1400000010000', 'd.csv:4 u2:i2@1400000020000', 'd.csv:6 u3:i3@1400000030000']
  for (const [i, content] of variants.entries()) {
    const dataset = await open(await folderOf({ [i === 2 ? 'd.csv.gz' : 'd.csv']: content }))
    assert.deepEqual(
      (await collect(dataset.interactions())).map((row) => `${row.eventId} ${short(row)}`),
      expected
    )
    assert.equal(dataset.deadLetters, 0)
  }
})

test('a bad line is set aside with its number and its text, once for all passes, and nothing else is', async () => {
  const folder = await folderOf({
    'a.csv': lines(
      'user,item,time',
      'u,i,1400000030',
      'u,i',
      'u,"i,20',
      'v,j,1400000010',
      'v,j,later',
      'w,"k",1400000040',
      'w,k,1400000050'
    )
  })
  const told: string[] = []
  const dataset = await open(folder, {
    deadLetterDir: join(folder, 'letters'),
    onDeadLetter: ({ reason }) => told.push(reason)
  })
  for (let pass = 0; pass < 2; pass++) {
    assert.deepEqual((await collect(dataset.interactions())).map(short), [
      'v:j@1400000010000',
      'u:i@1400000030000',
      'w:k@1400000040000',
      'w:k@1400000050000'
    ])
    assert.equal(dataset.deadLetters, 3)
  }
  const letters = (await readFile(dataset.deadLetterPath, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { line: number; reason: string; raw: string })
  assert.deepEqual(
    letters.map(({ line, raw }) => [line, raw]),
    [
      [3, 'u,i'],
      [4, 'u,"i,20'],
      [6, 'v,j,later']
    ]
  )
  assert.equal(told.length, 3)
  assert.match(told[0]!, /a\.csv:3: expected 3 fields \(user, item, time\), found 2/)
})

test('bytes that are not UTF-8 are a bad line: two users must not become one', async () => {
  const folder = await folderOf({
    'a.txt': Buffer.concat([Buffer.from('1 2\n1 3\n4 '), Buffer.from([0xe9]), Buffer.from('\n')])
  })
  const dataset = await open(folder, { format: 'pairs' })
  assert.equal((await collect(dataset.interactions())).length, 2)
  assert.equal(dataset.deadLetters, 1)
})

test('the wrong format stops before the first row', async () => {
  const folder = await folderOf({
    'a.txt': lines(...Array.from({ length: 3000 }, (_, i) => (i % 2 === 1 ? `${i} ${i}` : `${i} 1 2 3`)))
  })
  const dataset = await open(folder, { format: 'pairs' })
  // 500 of 1,000 is not more than half; one more is
  assert.equal((await collect(dataset.interactions())).length, 1500)
  const worse = await open(
    await folderOf({
      'a.txt': lines(...Array.from({ length: 1000 }, (_, i) => (i % 2 === 1 && i > 1 ? '1 2' : 'x')), '1 2')
    }),
    { format: 'pairs' }
  )
  let rows = 0
  await assert.rejects(
    async () => {
      for await (const _ of worse.interactions()) rows++
    },
    (error) =>
      error instanceof ConfigError && /501 of the first 1000 records .* line 1: expected 2 fields/.test(error.message)
  )
  assert.equal(rows, 0)
  await assert.rejects(
    collect((await open(await folderOf({ 'a.txt': lines('a b c', 'd', 'e f') }), { format: 'pairs' })).interactions()),
    /2 of the first 3 records/
  )
})

test('what cannot be opened says what was seen and what can be done', async () => {
  await assert.rejects(open(join(root, 'nowhere')), /cannot read data set .*nowhere/)
  await assert.rejects(open(root, { format: 'parquet' }), /there is no such format; there are recbole, pairs/)
  const refused = async (
    files: Record<string, string | Uint8Array>,
    message: RegExp,
    options: Partial<DatasetOptions> = {}
  ) => {
    const path = await folderOf(files)
    await assert.rejects(
      open(path, options),
      (error) => error instanceof ConfigError && message.test(error.message),
      String(message)
    )
  }
  await refused({}, /there is no data file/)
  await refused({ 'README.md': 'x', 'inner/a.txt': '1 2' }, /give one of its folders: inner/)
  await refused({ 'a.txt': '' }, /a\.txt \(empty\)/)
  await refused({ 'a.bin': new Uint8Array([1, 0, 2, 0]) }, /a\.bin \(not text\)/)
  await refused(
    { 'notes.txt': 'Dear all,\nhere are the clicks.\n' },
    /not recognised[\s\S]*"Dear all,"[\s\S]*--columns[\s\S]*retailrocket/
  )
  await refused({ 'a.csv': 'client,sku\n1,2\n' }, /no column "customer" for user; there are client, sku/, {
    columns: { user: 'customer', item: 'sku' }
  })
  await refused(
    { 'a.txt': '1 2\n1 3\n2 4\n', 'b.txt': '1 2 3\n2 4 5 6\n3 1\n' },
    /several kinds[\s\S]*a\.txt: pairs: user = 1, item = 2[\s\S]*b\.txt: user-items/
  )
  await refused({ 'a.txt': '1 2\n1 3\n', 'a.txt.gz': gzipSync('1 2\n1 3\n') }, /with and without \.gz/)
  await refused({ 'a.txt': '1 2\r3 4\r' }, /carriage returns only/)
  await refused({ 'a.item': 'item_id:token\n1\n' }, /it is a catalogue/)
})

test('a stray quote costs its own line, whatever quotes follow', async () => {
  // Closed by the quote of the last line, the title would swallow the lines between
  const folder = await folderOf({
    'a.csv': lines(
      'user;item;title',
      '1;1;plain',
      '2;2;"open',
      '3;3;plain',
      '4;4;"whole"',
      '5;5;"open too',
      '6;6;plain',
      '7;7;"two',
      'lines"'
    )
  })
  const dataset = await open(folder)
  const rows = await collect(dataset.interactions())
  assert.deepEqual(rows.map(({ userId }) => userId).sort(), ['1', '3', '4', '6', '7'])
  assert.equal(dataset.deadLetters, 2)
})

test('columns of a format without a header have numbers, and a unit of their own', async () => {
  const folder = await folderOf({ 'a.txt': lines('1 2 1400000000123', '3 4 1400000000123') })
  await assert.rejects(
    open(folder, { format: 'user-item-time', columns: { user: 'a' } }),
    /there is no column "a" for user; there are 1, 2, 3/
  )
  const [row] = await collect(
    (await open(folder, { format: 'user-item-time', columns: { unit: 'ms' } })).interactions()
  )
  assert.equal(row?.eventTimeMs, 1_400_000_000_123)
})

test('columns that only the user knows', async () => {
  const folder = await folderOf({ 'a.csv': 'client;sku;when\nA;1;2020-01-02 00:00:00\nB;2;2020-01-01 00:00:00\n' })
  const dataset = await open(folder, { columns: { user: 'client', item: 'sku', time: 'when' } })
  assert.deepEqual((await collect(dataset.interactions())).map(short), [
    `B:2@${Date.UTC(2020, 0, 1)}`,
    `A:1@${Date.UTC(2020, 0, 2)}`
  ])
})

test("Retail Rocket's folder: events are read, properties of items are not", async () => {
  const folder = await folderOf({
    'events.csv':
      'timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n1433221000000,992329,transaction,248676,7\n',
    'item_properties_part1.csv': 'timestamp,itemid,property,value\n1435460400000,460429,categoryid,1338\n'
  })
  const dataset = await open(folder)
  assert.deepEqual(
    (await collect(dataset.interactions())).map(({ userId, type }) => [userId, type]),
    [
      ['992329', 'transaction'],
      ['257597', 'view']
    ]
  )
  assert.match(dataset.describe, /not read: item_properties_part1\.csv/)
})

test("long ids are whole, and a csv without times has each user's own order", async () => {
  const user = 'AHV6QCNBJNSGLATP56JAWJ3C4G2A'
  const folder = await folderOf({ 'a.csv': `user,item\n${user},B00YQ6X8EO\n${user},B081TJ8YS3\n` })
  const dataset = await open(folder)
  assert.equal(dataset.ordering, 'interleaved')
  assert.deepEqual(
    (await collect(dataset.interactions())).map(({ userId, itemId }) => [userId, itemId]),
    [
      [user, 'B00YQ6X8EO'],
      [user, 'B081TJ8YS3']
    ]
  )
})

test('filters choose records by their columns, and what they leave out is counted once', async () => {
  const folder = await folderOf({
    'a.csv': lines(
      'user_id,item_id,event,bot,timestamp',
      '1,a,view,,1400000003',
      '2,b,cart,yes,1400000002',
      '3,c,buy,NULL,1400000001'
    ),
    'b.jsonl': lines('{"user":1,"item":"a","event":{"name":"view"}}', '{"user":2,"item":"b","event":{"name":"buy"}}')
  })
  const csv = await open(join(folder, 'a.csv'), {
    filters: [
      { path: 'event', in: ['view', 'cart', 'buy'] },
      { path: 'bot', exists: false }
    ]
  })
  for (let pass = 0; pass < 2; pass++)
    assert.deepEqual(
      (await collect(csv.interactions())).map(({ userId }) => userId),
      ['3', '1']
    )
  assert.deepEqual(csv.notes, [
    '1 records were left out: they hold no interaction that is wanted (filters, other events, nothing clicked)'
  ])
  const json = await open(join(folder, 'b.jsonl'), { filters: [{ path: 'event.name', equals: 'buy' }] })
  assert.deepEqual(
    (await collect(json.interactions())).map(({ userId }) => userId),
    ['2']
  )
})

test('a field of several lines is one record: most lines may be such, and are neither bad nor judged', async () => {
  const text = (i: number) => `${i % 7},${i % 5},"good\n\nbad, ""very""",${1_400_000_000 + i}`
  const folder = await folderOf({
    'a.csv': lines(
      'user_id,item_id,review,timestamp',
      ...Array.from({ length: 1200 }, (_, i) => text(i)),
      'NULL,1,"two\nlines",1400009999'
    )
  })
  const dataset = await open(folder)
  const rows = await collect(dataset.interactions())
  assert.equal(rows.length, 1200)
  assert.equal(rows[1199]?.eventTimeMs, 1_400_001_199_000)
  assert.equal(dataset.deadLetters, 1)
  assert.equal(JSON.parse(await readFile(dataset.deadLetterPath, 'utf8')).raw, 'NULL,1,"two\nlines",1400009999')
})

test('two fields of one record may go on over lines', async () => {
  const dataset = await open(await folderOf({ 'a.csv': 'user,item,a,b\n1,2,"x\ny","z\nw"\n3,4,p,q\n' }))
  assert.deepEqual((await collect(dataset.interactions())).map(({ userId }) => userId).sort(), ['1', '3'])
  assert.equal(dataset.deadLetters, 0)
})

test('an interaction whose value is no number counts without it, and is told of', async () => {
  const dataset = await open(await folderOf({ 'a.csv': lines('user_id;item_id;rating', '1;2;4,5', '1;3;good') }))
  assert.deepEqual(
    (await collect(dataset.interactions())).map(({ value }) => value),
    [4.5, undefined]
  )
  assert.match(
    dataset.notes[0]!,
    /^1 interactions have a value that is no number and count without it; the first: .*a\.csv:3: "1;3;good"$/
  )
})

test('a second table with users and items is not read as more interactions: it is named, or asked for', async () => {
  const rated = lines('userId,movieId,rating,timestamp', '1,2,3,1400000000')
  const named = await open(
    await folderOf({ 'ratings.csv': rated, 'tags.csv': lines('userId,movieId,tag,timestamp', '1,2,funny,1400000001') })
  )
  assert.equal((await collect(named.interactions())).length, 1)
  assert.match(named.describe, /not read: tags\.csv/)
  const files = {
    'views.csv': lines('user_id,item_id,seconds', '1,2,3'),
    'notes.csv': lines('user_id,item_id,note', '1,2,x')
  }
  await assert.rejects(
    open(await folderOf(files)),
    /several kinds; give one of them[\s\S]*notes\.csv: csv: user = user_id, item = item_id; unused: note/
  )
})

test('a file of a known data set has its titles beside it', async () => {
  const folder = await folderOf({
    'ratings.csv': lines('userId,movieId,rating,timestamp', '1,2,3,1400000000'),
    'movies.csv': lines('movieId,title,genres', '2,Two,Drama')
  })
  const dataset = await open(join(folder, 'ratings.csv'))
  assert.deepEqual(
    (await collect(dataset.items())).map(({ title }) => title),
    ['Two']
  )
})
