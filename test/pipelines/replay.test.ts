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
  'small.inter': ['user_id:token\titem_id:token\ttimestamp:float', ...rows.map(({ user, item, time }) => `${user}\t${item}\t${time}`)],
  'small.csv': ['who,what,at', ...rows.map(({ user, item, time }) => `${user},${item},${time}`), 'a line that is none'],
  'small.jsonl': rows.map(({ user, item, time }) => JSON.stringify({ user_id: user, item_id: item, timestamp: time }))
}
const columns: Partial<Record<keyof typeof files, string[]>> = { 'small.csv': ['--columns', 'user=who,item=what,time=at'] }

suite('replay', { concurrency: 2 }, () => {
  for (const [name, lines] of Object.entries(files) as [keyof typeof files, string[]][])
    test(name, async () => {
      writeFileSync(path.join(cwd, name), `${lines.join('\n')}\n`)
      const { status, stdout, stderr } = await mtmi(['replay', '--data', name, '--once', '--json', ...(columns[name] ?? [])], { cwd })
      assert.equal(status, 0, stderr)
      assert.equal(stdout.split('\n').length, 2)
      const bad = name === 'small.csv' ? 1 : 0
      const { interactions, users, deadLetters, duplicates, late, progressive, freshnessMs, backend, version } = lastLine(stdout)
      assert.deepEqual(
        { interactions, users, deadLetters, duplicates, late },
        { interactions: 160, users: 20, deadLetters: bad, duplicates: 0, late: 0 }
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
