// What others wrote reaches the terminal as text: the real commands on a run whose ids, titles, types, keys, headers
// and reasons hold escapes.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { type Finished, mtmi } from '../support/mtmiProcess.ts'

/**
 * Clears the screen, sets the title by a C1 control, rings, returns, reverses the direction, and begins a line of its
 * own.
 */
const hostile = '\u001b[2J\u009d0;owned\u009c\u0007\r\u202e\u2066\nforged line'
/** As an id: admission refuses control characters, not marks of direction. */
const hostileId = '\u202e\u2066forged'
const config = `
events: { types: { view: 1 } }
sources:
  - topic: shop.clicks
    format: json
    user: user
    item: sku
    type: event
    time: { path: at, unit: s }
  - topic: shop.items
    format: json
    kind: items
    item: sku
    title: name
`

function assertPlain({ status, stdout, stderr }: Finished, what: string): void {
  const harmful = /(?![\t\n])[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u
  for (const [name, text] of Object.entries({ stdout, stderr })) {
    const at = harmful.exec(text)
    assert.equal(
      at,
      null,
      `${what}, status ${status}: ${JSON.stringify(text.slice(Math.max(0, (at?.index ?? 0) - 60), (at?.index ?? 0) + 20))} on ${name}`
    )
  }
}

test('no command lets stored text move the cursor, reverse a line or forge one', async () => {
  const cwd = mkdtempSync(path.join(os.tmpdir(), 'mtmi-hostile-'))
  try {
    writeFileSync(path.join(cwd, 'mtmi.yaml'), config)
    const clicks = Array.from({ length: 90 }, (_, i) =>
      JSON.stringify({
        event: i % 9 === 8 ? `type${hostileId}` : 'view',
        user: `${i % 3 === 0 ? 'u' : 'v'}${hostileId}`,
        sku: `i${i % 3 === 0 ? i % 7 : i % 30}${hostileId}`,
        at: 1700000000 + i * 60
      })
    )
    clicks.push(
      JSON.stringify({ event: `view${hostile}`, user: `u${hostile}` }),
      `not JSON ${hostile.replace('\n', '')}`
    )
    const items = Array.from({ length: 30 }, (_, i) =>
      JSON.stringify({ sku: `i${i}${hostileId}`, name: `Title ${i} ${hostile}` })
    )
    writeFileSync(path.join(cwd, 'clicks.jsonl'), `${clicks.join('\n')}\n`)
    writeFileSync(path.join(cwd, 'items.jsonl'), `${items.join('\n')}\n`)
    let shown = 0
    const run = async (statuses: readonly number[], ...args: string[]) => {
      const finished = await mtmi(args, { cwd })
      const name = args.slice(0, 2).join(' ').replaceAll(hostile, '…')
      assert(statuses.includes(finished.status ?? -1), `${name}: status ${finished.status}\n${finished.stderr}`)
      assertPlain(finished, name)
      if (`${finished.stdout}${finished.stderr}`.includes('\\u202e')) shown++
      return finished
    }
    await run([0], 'produce', '--topic', 'shop.items', '--data', 'items.jsonl', '--key', 'sku')
    await run([0], 'produce', '--topic', 'shop.clicks', '--data', 'clicks.jsonl', '--key', 'user')
    const tried = await run([0], 'mapping', 'try', '--topic', 'shop.clicks', '--samples', '92')
    await run([0], 'mapping', 'try', '--topic', 'shop.items')
    await run([0], 'ingest', '--once')
    await run([0], 'dlq', 'ls')
    const letters = await run([0], 'dlq', 'show', '--topic', 'shop.clicks')
    await run([78], 'dlq', 'show', '--topic', `no${hostile}`)
    await run([0], 'dlq', 'replay', '--topic', 'shop.clicks', '--dry-run', '--reason', hostile)
    await run([0], 'sequence', '--once')
    await run([0], 'train', '--once')
    await run([0], 'publish', '--once')
    const lists = [
      await run([0], 'recommend', '--user', `u${hostileId}`, '--explain'),
      await run([0], 'recommend', '--user', `stranger${hostileId}`),
      await run([0], 'similar', '--item', `i1${hostileId}`)
    ]
    for (const { stdout } of lists) assert.match(stdout, /Title \d+ \\u001b\[2J/)
    for (const { stdout } of [...lists, tried, letters])
      assert.doesNotMatch(stdout, /^forged/m, 'stored text began a line of its own')
    const { stdout } = await run([0], 'recommend', '--user', `u${hostileId}`, '--json')
    const answer = JSON.parse(stdout) as { items: { title: string }[] }
    assert(
      answer.items.every(({ title }) => title.includes(hostile)),
      'JSON gives stored text back as it is'
    )
    await run([78], 'similar', '--item', `none${hostile}`)
    await run([0], 'versions')
    await run([0], 'doctor')
    await run([0], 'config', '--set', `qdrant.url=http://127.0.0.1/${hostile}`)
    await run([0], 'erase', '--user', `u${hostileId}`)
    // What commander and the configuration say of arguments.
    await run([78], `start${hostile}`)
    await run([78], 'recommend', `--user${hostile}`)
    await run([78], 'recommend', '--user', 'u', '--set', `no.such${hostile}=1`)
    await run([78], 'recommend', '--user', 'u', '--run', `r${hostile}`)
    await run([78], 'reset')
    await run([0], 'reset', '--yes')
    assert(shown >= 12, `only ${shown} outputs showed hostile text at all`)
  } finally {
    rmSync(cwd, { recursive: true, force: true })
  }
})
