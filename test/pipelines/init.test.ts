// `mtmi init`: what a stranger's file or topic is taken for, what is written, and what is refused with what to do.

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, suite, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { parse } from 'yaml'
import { likelyWeight } from '../../pipelines/cli/typeWeights.ts'
import { CatchUp, duration } from '../../pipelines/progress.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { mtmi } from '../support/mtmiProcess.ts'

const root = mkdtempSync(path.join(os.tmpdir(), 'mtmi-init-'))
after(() => rmSync(root, { recursive: true, force: true }))

const clicks = [
  'Zeitpunkt;Kundennr;Artikelnr;Käufe;Preis',
  ...Array.from({ length: 60 }, (_, i) => {
    const day = i === 7 ? '31.02' : `${String(1 + (i % 28)).padStart(2, '0')}.09`
    return `${day}.2026 10:00:00;${i === 9 ? '' : 7000 + (i % 9)};A-${i % 12};${i % 10 === 3 ? 'Bestellung' : i % 10 === 4 ? 'Newsletter' : 'Ansicht'};${i},50`
  })
].join('\n')
const articles = [
  'Nr;Bezeichnung;Gruppe',
  ...Array.from({ length: 12 }, (_, i) => `A-${i};Hut ${i};${i % 2 ? 'Hut' : 'Schal'}`)
]

interface Written {
  readonly files: readonly Record<string, unknown>[]
  readonly events: { readonly types: Record<string, number> }
}

test('a file with names that nobody knows, and its catalogue: shown, weighed, written with comments, and never over another', async () => {
  const cwd = mkdtempSync(path.join(root, 'file-'))
  writeFileSync(path.join(cwd, 'k.csv'), `\ufeff${clicks}`)
  writeFileSync(path.join(cwd, 'a.csv'), articles.join('\n'))
  const { status, stdout, stderr } = await mtmi(['init', 'k.csv', '--items', 'a.csv'], { cwd })
  assert.equal(status, 0, stderr)
  assert.match(stdout, /k\.csv is csv .*guessed.*: 58 events, 2 rows refused/)
  assert.match(stdout, /^ {2}line 2 +7000 +A-0 +Ansicht +1 +2026-09-01T10:00:00Z +0\.5$/m)
  assert.match(stdout, /^ {2}line 9 +✗ expected a time/m)
  assert.match(stdout, /^ {2}line 11 +✗ expected a user id, found nothing/m)
  assert.match(stdout, /Newsletter +6 +no weight: ignored/)
  assert.match(stderr, /mtmi\.yaml is written\. Next:\n {2}mtmi up /)
  const text = readFileSync(path.join(cwd, 'mtmi.yaml'), 'utf8')
  const { files, events } = parse(text) as Written
  const time = { path: 'Zeitpunkt', format: 'd.M.yyyy H:mm:ss' }
  const mapping = { user: 'Kundennr', item: 'Artikelnr', type: 'Käufe', value: 'Preis', time }
  assert.deepEqual(files, [
    { path: 'k.csv', ...mapping },
    { path: 'a.csv', kind: 'items', item: 'Nr', title: 'Bezeichnung' }
  ])
  assert.deepEqual(events.types, { Ansicht: 1, Bestellung: 3 })
  assert.equal(resolveConfig(parse(text), {}).files.length, 2)

  const again = await mtmi(['init', 'k.csv'], { cwd })
  assert.equal(again.status, 78)
  assert.match(again.stderr, /mtmi\.yaml exists and was left as it is.*--force/)
  assert.match(again.stdout, /^ {4}user: Kundennr$/m)
  assert.equal(readFileSync(path.join(cwd, 'mtmi.yaml'), 'utf8'), text)

  writeFileSync(
    path.join(cwd, 'mtmi.yaml'),
    '# mine\ntrain: { batchSize: 64 } # small\nfiles: [{ path: old.csv }]\nevents: { badShareMax: .9 }\n'
  )
  const forced = await mtmi(['init', 'k.csv', '--force'], { cwd })
  assert.equal(forced.status, 0, forced.stderr)
  const replaced = readFileSync(path.join(cwd, 'mtmi.yaml'), 'utf8')
  assert.match(replaced, /# mine\ntrain: \{ batchSize: 64 \} # small\n/)
  const config = parse(replaced) as Written
  assert.deepEqual(
    [config.files.map(({ path }) => path), config.events],
    [['k.csv'], { badShareMax: 0.9, types: events.types }]
  )
})

test('nested fields of JSON lines are found by their names, and the sample of a shop comes with its catalogue', async () => {
  const cwd = mkdtempSync(path.join(root, 'sample-'))
  const sample = ['simulate', '--shop', '--events', '200', '--users', '20', '--items', '100', '--out', 'clicks.jsonl']
  assert.equal((await mtmi(sample, { cwd })).status, 0)
  const { status, stderr } = await mtmi(['init', 'clicks.jsonl', '--items', 'clicks.items.jsonl'], { cwd })
  assert.equal(status, 0, stderr)
  const { files, events } = parse(readFileSync(path.join(cwd, 'mtmi.yaml'), 'utf8')) as Written
  const time = { path: 'payload.ts', unit: 's' }
  assert.deepEqual(files, [
    { path: 'clicks.jsonl', user: 'payload.user.id', item: 'payload.items[*].sku', type: 'event', time },
    { path: 'clicks.items.jsonl', kind: 'items' }
  ])
  assert.deepEqual(events.types, { product_view: 1, order_placed: 3 })
})

test('a topic is sampled, and settings of the command line are written, too', async () => {
  const cwd = mkdtempSync(path.join(root, 'topic-'))
  const lines = Array.from({ length: 20 }, (_, i) =>
    JSON.stringify({
      user: { id: `u${i}` },
      ...(i === 3 ? {} : { sku: `s${i % 4}` }),
      event: i % 5 ? 'product_view' : 'order_placed',
      ts: 1_780_000_000 + i
    })
  )
  writeFileSync(path.join(cwd, 'c.jsonl'), lines.join('\n'))
  assert.equal((await mtmi(['produce', '--topic', 'shop', '--data', 'c.jsonl'], { cwd })).status, 0)
  const { status, stdout, stderr } = await mtmi(['init', '--topic', 'shop', '--set', 'train.batchSize=64'], { cwd })
  assert.equal(status, 0, stderr)
  assert.match(stdout, /^ {2}0\/0 +u0 +s0 +order_placed +3 +2026-05-28T\S+Z$/m)
  assert.match(stdout, /^ {2}0\/3 +✗ item is missing/m)
  assert.deepEqual(parse(readFileSync(path.join(cwd, 'mtmi.yaml'), 'utf8')), {
    train: { batchSize: 64 },
    sources: [
      { topic: 'shop', format: 'json', user: 'user.id', item: 'sku', type: 'event', time: { path: 'ts', unit: 's' } }
    ],
    events: { types: { product_view: 1, order_placed: 3 } }
  })
  const tried = await mtmi(['mapping', 'try', '--topic', 'shop', '--samples', '1'], { cwd })
  assert.match(tried.stdout, /1 mapped, 0 filtered, 0 refused/)

  // A file with the connection alone: what is there stays, and nothing is replaced.
  writeFileSync(path.join(cwd, 'mine.yaml'), '# mine\ntrain: { batchSize: 32 }\n')
  const added = await mtmi(
    ['--config', 'mine.yaml', '--data-dir', 'data', '--run', 'live', 'init', '--topic', 'shop'],
    { cwd }
  )
  assert.equal(added.status, 0, added.stderr)
  const mine = readFileSync(path.join(cwd, 'mine.yaml'), 'utf8')
  assert.match(mine, /^# mine\ntrain: \{ batchSize: 32 \}\n/)
  assert.equal((parse(mine) as { sources: object[] }).sources.length, 1)

  writeFileSync(path.join(cwd, 'd.jsonl'), '{"a":1}\n')
  await mtmi(['produce', '--topic', 'odd', '--data', 'd.jsonl'], { cwd })
  const odd = await mtmi(['init', '--topic', 'odd', '--force'], { cwd })
  assert.equal(odd.status, 78)
  assert.match(odd.stderr, /nothing was written: no field of odd has a name like user and item/)
})

suite('what cannot be proposed is refused with what to do, and nothing is written', { concurrency: 2 }, () => {
  const utf16 = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from('user,item\na,b\n', 'utf16le')])
  const floats = Array.from({ length: 20 }, (_, i) => `${i % 5}.0,${i % 3}.0,${1_780_000_000 + i}`)
  const cases: readonly [string, string | Buffer | undefined, RegExp, number?][] = [
    ['empty.csv', '', /no text to read: empty\.csv \(empty\)/],
    ['binary.dat', Buffer.from([0, 1, 2, 3, 10, 0, 255]), /not text/],
    ['one-column.csv', 'name\na\nb\nc\n', /format is not recognised[\s\S]*--columns user=/],
    ['utf16.csv', utf16, /UTF-16 text.*iconv -f UTF-16 -t UTF-8 utf16\.csv > utf16\.csv\.utf8/],
    ['a.zip', Buffer.from('504b030414000000', 'hex'), /zip archive.*unzip a\.zip -d a,/],
    ['https://example.org/c.csv', undefined, /is an address.*curl -LO 'https:\/\/example\.org\/c\.csv'/],
    ['missing.csv', undefined, /cannot read data set missing\.csv/],
    ['no-times.csv', `user_id,item_id,ts\n${'a,b,never\nc,d,ever\n'.repeat(9)}`, /column ts holds no times/],
    ['odd-times.csv', `Kunde;Artikel;Zeit\n${'a1;b1;never\nc2;d2;ever\n'.repeat(9)}`, /column Zeit holds no times/],
    ['bad-rows.csv', `user,item,time\n${'a,b\n'.repeat(30)}a,b,1780000000\n`, /not in the expected format/],
    ['plain.csv.gz', gzipSync('user,item,time\na,b,1780000000\nb,a,1780000001\n'), /plain\.csv is csv/, 0],
    ['floats.csv', `user_id,item_id,ts\n${floats.join('\n')}`, /^ {2}line 3 +1 +1 +click/m, 0]
  ]
  for (const [name, content, says, status = 78] of cases)
    test(name, async () => {
      const cwd = mkdtempSync(path.join(root, 'wrong-'))
      if (content !== undefined) writeFileSync(path.join(cwd, name), content)
      const result = await mtmi(['init', name], { cwd })
      assert.match(status === 0 ? result.stdout : result.stderr, says)
      assert.equal(result.status, status, result.stderr)
      assert.equal(existsSync(path.join(cwd, 'mtmi.yaml')), status === 0)
      assert.doesNotMatch(result.stderr, /a bug/)
    })
})

test('weights by name: what has one keeps it, words of the trade in some languages, and what takes back has none', () => {
  const weights = { view: 1, purchase: 3, pageview: 0.5 }
  const known = (type: string) => likelyWeight(type, weights)
  assert.deepEqual(
    ['purchase', 'page_view', 'order_placed', 'Warenkorb', 'compra', 'Produktansicht'].map(known),
    [3, 0.5, 3, 2, 3, 1]
  )
  assert.deepEqual(['remove_from_cart', 'order_cancelled', 'search', 'x1'].map(known), [
    undefined,
    undefined,
    undefined,
    undefined
  ])
})

test('progress: the share, the rate of the newest seconds, and the time left by it', () => {
  const catchUp = new CatchUp()
  assert.match(catchUp.text(0, 1000, 0), /^training {3}0% ░{24} 0 of 1,000 events$/)
  // The start is no part of the rate: nothing was handled for 30 s, then 100 events in each second.
  catchUp.text(0, 1000, 30_000)
  assert.match(catchUp.text(100, 900, 31_000), / 10% .* 100 of 1,000 events · 100 events\/s · 9 s left$/)
  assert.match(catchUp.text(200, 800, 32_000), / 20% .* · 100 events\/s · 8 s left$/)
  assert.match(catchUp.text(1000, 0, 33_000), / 100% █{24} 1,000 of 1,000 events$/)
  assert.deepEqual([0.2, 89, 600, 9000].map(duration), ['1 s', '89 s', '10 min', '2.5 h'])
})
