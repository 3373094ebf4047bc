// `mtmi export`: every user of the index has a line, over interruptions too.

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { lastLine, mtmi } from '../../support/mtmiProcess.ts'

const cwd = mkdtempSync(path.join(os.tmpdir(), 'mtmi-export-'))
after(() => rmSync(cwd, { recursive: true, force: true }))

interface List {
  readonly userId: string
  readonly version: string
  readonly items: readonly { readonly itemId: string }[]
}

test('every user has one line, that of the list alone; an interrupted export continues; what is there is kept', async () => {
  const started = await mtmi(['start', '--events', '3000', '--once', '--json'], { cwd })
  assert.equal(started.status, 0, started.stderr)
  const report = lastLine(started.stdout) as { users: number; accounts: { publish: { waiting: number } } }
  // Users who wait have no item that the model knows yet, and are not in the index.
  const users = report.users - report.accounts.publish.waiting
  assert(users > 300, `${users} users are more than a page`)
  const out = path.join(cwd, 'lists.jsonl')
  const command = ['export', '--out', 'lists.jsonl', '--limit', '3', '--json']
  const whole = await mtmi(command, { cwd })
  assert.equal(whole.status, 0, whole.stderr)
  const text = readFileSync(out, 'utf8')
  const lists = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as List)
  assert.deepEqual([lists.length, new Set(lists.map(({ userId }) => userId)).size], [users, users])
  const counts = { out: 'lists.jsonl', lists: users, popular: 0, before: 0, versions: [lists[0]!.version] }
  assert.deepEqual(lastLine(whole.stdout), counts)
  const one = lists[7]!
  const alone = await mtmi(['recommend', '--user', one.userId, '--limit', '3', '--json'], { cwd })
  assert.deepEqual(lastLine(alone.stdout), one)
  assert.equal(one.items.length, 3)

  const again = await mtmi(command, { cwd })
  assert.equal(again.status, 78)
  assert.match(again.stderr, /--out lists\.jsonl exists already: remove it, or name another file/)
  assert.equal(readFileSync(out, 'utf8'), text)

  // A kill within a line.
  rmSync(out)
  writeFileSync(`${out}.part`, text)
  const cut = text.indexOf('\n', text.length / 2) + 20
  truncateSync(`${out}.part`, Buffer.byteLength(text.slice(0, cut)))
  const before = text.slice(0, cut).split('\n').length - 1
  const rest = await mtmi(command, { cwd })
  assert.equal(rest.status, 0, rest.stderr)
  assert.deepEqual(lastLine(rest.stdout), { ...counts, lists: users - before, before })
  assert.equal(readFileSync(out, 'utf8'), text)
  assert(!existsSync(`${out}.part`))
})

test('a file of something else is not continued, and stays; without an index there is nothing to export', async () => {
  const part = path.join(cwd, 'other.jsonl.part')
  writeFileSync(part, 'no list\n')
  const other = await mtmi(['export', '--out', 'other.jsonl'], { cwd })
  assert.equal(other.status, 78)
  assert.match(other.stderr, /other\.jsonl\.part is not what an export left: remove it, or name another file/)
  assert.equal(readFileSync(part, 'utf8'), 'no list\n')
  const nowhere = await mtmi(['export', '--out', 'no/lists.jsonl'], { cwd })
  assert.equal(nowhere.status, 78)
  assert.match(nowhere.stderr, /--out no\/lists\.jsonl cannot be written: ENOENT/)
  const nothing = await mtmi(['export', '--out', 'x.jsonl', '--data-dir', 'empty'], { cwd })
  assert.notEqual(nothing.status, 0)
  assert.match(nothing.stderr, /empty/)
})
