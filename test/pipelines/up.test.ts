// `mtmi up`: one's own files and topics, trained on, served with the clock of this machine, and continued.

import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { Rng } from '../../src/core/rng.ts'
import { lastLine, MtmiProcess, mtmi } from '../support/mtmiProcess.ts'

const root = mkdtempSync(path.join(os.tmpdir(), 'mtmi-up-'))
after(() => rmSync(root, { recursive: true, force: true }))

type Accounts = Record<string, Record<string, number>>

/** Rows of a shop in German, `from` days ago on: 20 customers, 30 articles. */
function clicks(count: number, daysAgo: number, type: string): string[] {
  const rng = new Rng(count)
  const startMs = Date.now() - daysAgo * 86_400_000
  return Array.from({ length: count }, (_, i) => {
    const at = new Date(startMs + i * 60_000).toISOString()
    const [date, time] = [at.slice(0, 10).split('-').reverse().join('.'), at.slice(11, 19)]
    return `${date} ${time};K${rng.integer(20)};A${rng.integer(30)};${type}`
  })
}

const header = 'Zeit;Kunde;Artikel;Aktion'
const columns = 'user: Kunde, item: Artikel, type: Aktion, time: { path: Zeit, format: d.M.yyyy H:mm:ss }'
const files = `
files:
  - { path: views.csv, ${columns} }
  - { path: orders.csv, ${columns} }
  - { path: articles.csv, kind: items, item: Nr, title: Name, features: [Art] }
events: { types: { view: 1, order: 3 } }
`

function shop(): string {
  const cwd = mkdtempSync(path.join(root, 'shop-'))
  writeFileSync(path.join(cwd, 'views.csv'), [header, ...clicks(300, 2, 'view'), 'no row'].join('\n'))
  writeFileSync(path.join(cwd, 'orders.csv'), [header, ...clicks(60, 2, 'order')].join('\n'))
  const articles = Array.from({ length: 30 }, (_, i) => `A${i};Artikel ${i};${i % 2 === 0 ? 'Hut' : 'Schuh'}`)
  writeFileSync(path.join(cwd, 'articles.csv'), ['Nr;Name;Art', ...articles].join('\n'))
  writeFileSync(path.join(cwd, 'mtmi.yaml'), files)
  return cwd
}

const until = async <T>(look: () => Promise<T | undefined>): Promise<T> => {
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
  }
}

test('files are loaded once, merged by time; a second run serves them, takes a true event of now, and a third continues', async () => {
  const cwd = shop()
  const first = await mtmi(['up', '--once', '--json'], { cwd })
  assert.equal(first.status, 0, first.stderr)
  const { accounts, users, items } = lastLine(first.stdout) as { accounts: Accounts; users: number; items: number }
  assert.deepEqual(accounts.source, { read: 361, loaded: 360, loadedBefore: 0, refused: 1, waiting: 0 })
  // Orders are as old as views: file after file they would be too late.
  assert.deepEqual([accounts.sequence!.placed, accounts.sequence!.late], [360, 0])
  assert.deepEqual([users, items], [20, 30])
  const [, next] = first.stderr.split('Next, on run live:\n')
  const commands = next!.trim().split('\n').slice(0, 2)
  for (const command of commands) {
    const words = command.trim().split(' ').slice(1)
    const answer = await mtmi([...words, '--json'], { cwd })
    assert.equal(answer.status, 0, `${command}: ${answer.stderr}`)
    assert.equal((lastLine(answer.stdout).items as unknown[]).length, 5, command)
  }

  const token = 'a-token-of-sixteen-characters'
  const env = { MTMI_SERVE_ADMIN_TOKEN: token }
  const serving = new MtmiProcess(['up', '--port', '0'], { cwd, env })
  try {
    const [, url] = await serving.says(/^console: (http:\S+)\/ \(requires a token: serve\.adminToken\)\n/)
    await serving.says(/Serving on http:\S+ until/)
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` }
    const body = JSON.stringify({ userId: 'new', itemId: 'A1', type: 'order', eventTime: new Date().toISOString() })
    const posted = await fetch(`${url}/v1/events`, { method: 'POST', headers, body })
    assert.equal(posted.status, 202, await posted.text())
    await until(async () => {
      const answer = await fetch(`${url}/v1/users/new/recommendations`, { headers })
      return ((await answer.json()) as { coldStart?: string }).coldStart === undefined ? true : undefined
    })
  } finally {
    const { status, stderr } = await serving.stop('SIGINT')
    assert.equal(status, 0, stderr)
    assert.match(stderr, /curl -H "authorization: Bearer \$MTMI_SERVE_ADMIN_TOKEN" 'http/)
    assert(!stderr.includes(token), 'a token is never printed')
  }

  rmSync(path.join(cwd, 'views.csv'))
  const third = await mtmi(['up', '--once', '--json'], { cwd })
  assert.equal(third.status, 0, third.stderr)
  const again = lastLine(third.stdout).accounts as Accounts
  assert.deepEqual([again.source!.read, again.sequence!.read, again.sequence!.placed], [0, 361, 361])

  const kafka = ['--set', 'log=kafka', '--set', 'kafka.brokers=["127.0.0.1:1"]']
  const onKafka = await mtmi(['up', '--once', ...kafka], { cwd })
  assert.equal(onKafka.status, 78)
  assert.match(onKafka.stderr, /run live has its events in the embedded log.*begin another run/)

  appendFileSync(path.join(cwd, 'orders.csv'), `\n${clicks(1, 1, 'order')[0]}`)
  const changed = await mtmi(['up', '--once'], { cwd })
  assert.equal(changed.status, 78)
  assert.match(
    changed.stderr,
    /orders\.csv, or how it is read, has changed since run live loaded it.*mtmi reset --run live/
  )
})

test('an interrupted load continues where it ended, and a file that is added later is loaded alone', async () => {
  const cwd = shop()
  writeFileSync(path.join(cwd, 'views.csv'), [header, ...clicks(40_000, 40, 'view')].join('\n'))
  const one = files.replace(/ {2}- \{ path: orders.*\n/, '')
  writeFileSync(path.join(cwd, 'mtmi.yaml'), one)
  const loading = new MtmiProcess(['up', '--once'], { cwd })
  // Some 2,000 of the rows are in the log.
  await loading.hasWritten(path.join(cwd, 'data/live/log/interactions/data.mdb'), 200_000)
  assert.equal((await loading.stop('SIGINT')).status, 130)
  const state = () =>
    (
      JSON.parse(readFileSync(path.join(cwd, 'data/live/files.json'), 'utf8')) as {
        state: Record<string, { path: string }[]>
      }
    ).state
  assert.deepEqual(
    state().loading!.map(({ path }) => path),
    ['views.csv', 'articles.csv']
  )
  writeFileSync(path.join(cwd, 'mtmi.yaml'), files)
  const rest = await mtmi(['up', '--once', '--json'], { cwd })
  assert.equal(rest.status, 0, rest.stderr)
  const { source, sequence } = lastLine(rest.stdout).accounts as Accounts
  assert(source!.loadedBefore! > 0, 'it was interrupted in the middle')
  assert.equal(source!.read, 40_060)
  assert.equal(sequence!.read, 40_060, 'each row once')
  assert.deepEqual([state().loaded!.length, state().loading!.length], [3, 0])
})

test('a topic is read from its beginning and followed; its stages find nothing left to do', async () => {
  const cwd = mkdtempSync(path.join(root, 'topic-'))
  const source = '{ topic: shop.clicks, format: json, user: u, item: i, type: t, time: { path: at, unit: ms } }'
  writeFileSync(path.join(cwd, 'mtmi.yaml'), `sources: [${source}]\nevents: { types: { view: 1 } }\n`)
  const rng = new Rng(1)
  const line = (i: number, atMs: number) =>
    JSON.stringify({ u: `u${i % 20}`, i: `i${rng.integer(30)}`, t: 'view', at: atMs })
  const lines = Array.from({ length: 200 }, (_, i) => line(i, Date.now() - (400 - i) * 60_000))
  writeFileSync(path.join(cwd, 'clicks.jsonl'), [...lines, 'no JSON'].join('\n'))
  const produced = await mtmi(['produce', '--topic', 'shop.clicks', '--data', 'clicks.jsonl'], { cwd })
  assert.equal(produced.status, 0, produced.stderr)
  const up = new MtmiProcess(['up', '--port', '0', '--json'], { cwd })
  const [, url] = await up.says(/Serving on (http:\S+) until/)
  const status = (await (await fetch(`${url}/v1/status`)).json()) as { records: { reader: string; read: number }[] }
  assert.deepEqual(
    status.records.filter(({ reader }) => reader === 'ingest').map(({ read }) => read),
    [201]
  )
  const { stdout, stderr } = await up.stop('SIGTERM')
  const { accounts } = lastLine(stdout) as { accounts: Accounts }
  assert.deepEqual(
    [accounts.ingest!.mapped, accounts.ingest!.refused, accounts.sequence!.placed],
    [200, 1, 200],
    stderr
  )
  for (const stage of ['ingest', 'sequence', 'train'] as const) {
    const alone = await mtmi([stage, '--once'], { cwd })
    assert.equal(alone.status, 0, alone.stderr)
    if (stage === 'ingest') assert.match(alone.stderr, /shop\.clicks: 0 records read/)
  }
  for (const topic of ['shop.clicks', 'user-sequences', 'model-updates'])
    rmSync(path.join(cwd, 'data/live/log', topic), { recursive: true })
  writeFileSync(path.join(cwd, 'clicks.jsonl'), lines.slice(0, 20).join('\n'))
  assert.equal((await mtmi(['produce', '--topic', 'shop.clicks', '--data', 'clicks.jsonl'], { cwd })).status, 0)
  const refused = await mtmi(['up', '--once'], { cwd })
  assert.equal(refused.status, 2, refused.stderr)
  assert.match(refused.stderr, /topic \S+ was created again.*--accept-new-topic/s)
  const accepted = await mtmi(['up', '--once', '--json', '--accept-new-topic'], { cwd })
  assert.equal(accepted.status, 0, accepted.stderr)
  const { ingest, sequence } = lastLine(accepted.stdout).accounts as Accounts
  assert.deepEqual([ingest!.mapped, sequence!.read], [20, 220], 'the new topic is read from its beginning')
  assert.equal((await mtmi(['up', '--once'], { cwd })).status, 0, 'the new topics are accepted once')
})

test('what cannot be is refused before anything is made', async () => {
  const cwd = mkdtempSync(path.join(root, 'wrong-'))
  writeFileSync(path.join(cwd, 'one.csv'), 'a;b\n1;2\n')
  for (const [yaml, says] of [
    ['files: [{ path: missing.csv }]', /files: there is no file .*missing\.csv/],
    [
      'files: [{ path: one.csv, user: x, item: b, time: none }]',
      /one\.csv: there is no column "x" for user; there are a, b/
    ],
    ['files: [{ path: one.csv }, { path: sub/one.csv }]', /two files are called one\.csv/],
    ['files: [{ path: one.csv, kind: items, user: a }]', /files\.0\.user: has no meaning for a file of kind items/],
    ['files: [{ path: one.csv, usr: a }]', /files\.0\.usr: there is no such setting; did you mean user\?/],
    ['train: { batchSize: 64 }', /mtmi\.yaml names no data: `mtmi init FILE`/]
  ] as const) {
    writeFileSync(path.join(cwd, 'mtmi.yaml'), yaml)
    const { status, stderr } = await mtmi(['up', '--once'], { cwd })
    assert.equal(status, 78, `${yaml}: ${stderr}`)
    assert.match(stderr, says)
    assert.doesNotMatch(stderr, /a bug/)
  }
})
