// Data sets as files, each learned from by a process of its own.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, suite, test } from 'node:test'
import { Rng } from '../../src/core/rng.ts'
import { lastLine, mtmi } from '../support/mtmiProcess.ts'

const cwd = mkdtempSync(path.join(os.tmpdir(), 'mtmi-replay-'))
after(() => rmSync(cwd, { recursive: true, force: true }))

/** 20 users, 8 actions each on 30 items: 160 rows, in time order. */
const rng = new Rng(1)
const rows = Array.from({ length: 160 }, (_, i) => ({
  user: `u${i % 20}`,
  item: `i${rng.integer(30)}`,
  time: 1_700_000_000 + 60 * i
}))

const files = {
  'small.inter': [
    'user_id:token\titem_id:token\ttimestamp:float',
    ...rows.map(({ user, item, time }) => `${user}\t${item}\t${time}`)
  ],
  'small.csv': ['who,what,at', ...rows.map(({ user, item, time }) => `${user},${item},${time}`), 'a line that is none'],
  'small.jsonl': rows.map(({ user, item, time }) => JSON.stringify({ user_id: user, item_id: item, timestamp: time }))
}
const columns: Partial<Record<keyof typeof files, string[]>> = {
  'small.csv': ['--columns', 'user=who,item=what,time=at']
}

suite('replay', { concurrency: 2 }, () => {
  for (const [name, lines] of Object.entries(files) as [keyof typeof files, string[]][])
    test(name, async () => {
      writeFileSync(path.join(cwd, name), `${lines.join('\n')}\n`)
      const { status, stdout, stderr } = await mtmi(
        ['replay', '--data', name, '--once', '--json', ...(columns[name] ?? [])],
        { cwd }
      )
      assert.equal(status, 0, stderr)
      assert.equal(stdout.split('\n').length, 2)
      const bad = name === 'small.csv' ? 1 : 0
      const report = lastLine(stdout)
      const { interactions, users, progressive, freshnessMs, backend, version } = report
      const accounts = report.accounts as Record<string, Record<string, number>>
      assert.deepEqual([interactions, users], [160, 20])
      assert.deepEqual(accounts.source, { read: 160 + bad, loaded: 160, loadedBefore: 0, refused: bad, waiting: 0 })
      assert.deepEqual([accounts.sequence!.read, accounts.sequence!.placed], [160, 160])
      assert.equal(accounts.train!.read, 160, 'every step that was placed reaches the trainer')
      for (const [reader, { read, ...rest }] of Object.entries(accounts))
        assert.equal(
          Object.values(rest).reduce((sum, count) => sum + count),
          read,
          reader
        )
      const { popularity, cooccurrence, share } = progressive as Record<string, Record<string, number>>
      assert.equal(typeof popularity?.['hitRate@20'], 'number')
      assert.equal(typeof cooccurrence?.['hitRate@20'], 'number')
      assert.equal(share, 1)
      assert.deepEqual(Object.keys(freshnessMs as object), ['p50', 'p99'])
      assert.equal(typeof backend, 'string')
      assert.equal(typeof version, 'string')
      if (bad > 0) {
        const [letter] = readFileSync(path.join(cwd, 'data', name, `${name}.dead-letters.jsonl`), 'utf8')
          .trim()
          .split('\n')
        assert.match(letter!, /162/, 'the letter names the line')
      }
    })
})

const types = ['hover', 'wiggle', 'click']
const withTypes = [
  'user_id,item_id,event_time,event_type',
  ...rows.map(({ user, item, time }, i) => `${user},${item},${time},${types[i % 3]}`)
]

test('events of types without a weight are counted by type, and the setting that the report gives lets them count', async () => {
  writeFileSync(path.join(cwd, 'types.csv'), `${withTypes.join('\n')}\n`)
  const { status, stdout, stderr } = await mtmi(['replay', '--data', 'types.csv', '--once'], { cwd })
  assert.equal(status, 0, stderr)
  assert.match(stdout, /107 of types without a weight: hover 54, wiggle 53\./)
  assert.doesNotMatch(stdout, /What went wrong\?\n {2}Nothing/)
  const [, setting] = /--set '(events\.types=.*)'/.exec(stdout)!
  assert.equal((await mtmi(['reset', '--run', 'types.csv', '--yes'], { cwd })).status, 0)
  const again = await mtmi(['replay', '--data', 'types.csv', '--once', '--json', '--set', setting!], { cwd })
  assert.equal(again.status, 0, again.stderr)
  assert.equal((lastLine(again.stdout).accounts as Record<string, Record<string, number>>).sequence!.placed, 160)
})

for (const [name, lines, why] of [
  ['header.csv', withTypes.slice(0, 1), /0 rows read[\s\S]*It has no rows/],
  [
    'unknown.csv',
    withTypes.filter((line) => !line.endsWith('click')),
    /107 of types without a weight[\s\S]*mtmi reset --run unknown\.csv/
  ],
  [
    'once.csv',
    [withTypes[0]!, 'u1,a,1700000000,click', 'u2,a,1700000060,click'],
    /2 without a step before it[\s\S]*give more events of the same users/
  ]
] as const)
  test(`a run that trained on nothing says what was read, why none of it was used and what to do, and ends with 65: ${name}`, async () => {
    writeFileSync(path.join(cwd, name), `${lines.join('\n')}\n`)
    const { status, stdout, stderr } = await mtmi(['replay', '--data', name, '--once'], { cwd })
    assert.deepEqual([status, stdout], [65, ''], stderr)
    assert.match(stderr, /mtmi: nothing of .* was trained on/)
    assert.match(stderr, why)
  })

test('events of a long history that none is learned from are reported so, with 65: there is no list yet to show a user of', async () => {
  writeFileSync(
    path.join(cwd, 'weightless.csv'),
    ['user,item,time,type', ...rows.map(({ item, time }) => `u,${item},${time},click`)].join('\n')
  )
  const args = ['replay', '--data', 'weightless.csv', '--once', '--set', 'events.types={"click":0}']
  const { status, stderr } = await mtmi(args, { cwd })
  assert.equal(status, 65, stderr)
  assert.match(stderr, /nothing of .* was trained on[\s\S]*160 of a type with weight 0/)
})

for (const events of [12, 120])
  test(`a data set of ${events} events is learned, published and reported`, async () => {
    const name = `tiny${events}.csv`
    const lines = Array.from(
      { length: events },
      (_, i) => `u${i % Math.ceil(events / 10)},i${i % 7},${1_700_000_000 + i},click`
    )
    writeFileSync(path.join(cwd, name), ['user,item,time,type', ...lines].join('\n'))
    const { status, stdout, stderr } = await mtmi(['replay', '--data', name, '--once', '--json'], { cwd })
    assert.equal(status, 0, stderr)
    const { items, users } = lastLine(stdout)
    assert.deepEqual([items, users], [7, Math.ceil(events / 10)])
  })

test('a run that was begun from other data is not mixed with this one', async () => {
  const other = mkdtempSync(path.join(cwd, 'other-'))
  writeFileSync(path.join(other, 'small.inter'), `${files['small.inter'].join('\n')}\n`)
  const { status, stderr } = await mtmi(['replay', '--data', path.join(other, 'small.inter'), '--once'], { cwd })
  assert.equal(status, 78, stderr)
  assert.match(
    stderr,
    /was begun from .*small.inter.* and this is .*Choose another name with --run, or remove the run: mtmi reset --run small.inter/
  )
})
