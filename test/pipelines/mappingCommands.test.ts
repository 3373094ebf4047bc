// `produce`, `mapping try`, `ingest`, `dlq` and `schemas` as their users meet them, on the local log.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { lastLine, mtmi } from '../support/mtmiProcess.ts'
import { RegistryServer } from '../support/registryServer.ts'

const config = `
sources:
  - topic: shop.clicks
    format: json
    user: [user.id, visitor]
    item: sku
    type: { path: event, names: { product_view: view } }
    time: { path: at, unit: s }
`
const lines = [
  '{"event":"product_view","user":{"id":9007199254740993},"sku":"A1","at":1700000000}',
  '{"event":"newsletter","at":1700000001}',
  '{"event":"product_view","user":{"id":1},"at":1700000002}',
  'not JSON \u001b[31m'
]

test('from raw lines to interactions, and the refused ones back again', async () => {
  const cwd = mkdtempSync(path.join(os.tmpdir(), 'mtmi-mapping-'))
  try {
    writeFileSync(path.join(cwd, 'mtmi.yaml'), config)
    writeFileSync(path.join(cwd, 'clicks.jsonl'), `${lines.join('\n')}\n`)
    const run = async (...args: string[]) => {
      const { status, stdout, stderr } = await mtmi([...args, '--json'], { cwd })
      assert.equal(status, 0, stderr)
      return lastLine(stdout)
    }
    assert.deepEqual(await run('produce', '--topic', 'shop.clicks', '--data', 'clicks.jsonl', '--key', 'user.id'), {
      run: 'live',
      topic: 'shop.clicks',
      records: 4
    })

    const tried = await run('mapping', 'try', '--topic', 'shop.clicks', '--samples', '3')
    assert.deepEqual([tried.mapped, tried.filtered, tried.refused], [0, 1, 2])
    const shown = await mtmi(['mapping', 'try', '--topic', 'shop.clicks'], { cwd })
    const rows = shown.stdout.split('\n')
    assert.match(rows[0]!, /^ +user +item +type +weight +time +value$/)
    assert.match(rows[1]!, /^ {2}0\/0 {2}9007199254740993 {2}A1 +view +1 +2023-11-14T22:13:20Z$/)
    assert.match(rows[2]!, /^ {2}0\/1 {2}filtered$/)
    assert.match(shown.stdout, /✗ item is missing: nothing at sku: the value is an object with event, user, at/)
    assert(!shown.stdout.includes('\u001b'), 'a record must not reach the terminal as a command')

    const counts = {
      reader: 'ingest',
      read: 4,
      outcomes: { mapped: 1, filtered: 1, partly: 0, refused: 2 },
      waiting: 0
    }
    assert.deepEqual(await run('ingest', '--once'), { run: 'live', sources: { 'shop.clicks': counts } })
    const listed = (await run('dlq', 'ls')).topics as {
      topic: string
      deadLetters: number
      replayed: number
      reasons: { deadLetters: number }[]
    }[]
    assert.deepEqual(
      listed.map(({ topic, deadLetters, replayed, reasons }) => [topic, deadLetters, replayed, reasons.length]),
      [['shop.clicks.mtmi.dlq', 2, 0, 2]]
    )
    const letters = (await run('dlq', 'show', '--topic', 'shop.clicks', '--offset', '1')).deadLetters as {
      source: unknown
      value: { text: string; hex: string }
    }[]
    assert.deepEqual(
      letters.map(({ source }) => source),
      [{ topic: 'shop.clicks', partition: 0, offset: '3' }]
    )
    assert.equal(Buffer.from(letters[0]!.value.hex, 'hex').toString(), lines[3])

    const replay = (...args: string[]) => run('dlq', 'replay', '--topic', 'shop.clicks', ...args)
    assert.deepEqual(await replay('--dry-run'), {
      topic: 'shop.clicks.mtmi.dlq',
      due: 2,
      replayed: 0,
      before: 0,
      dryRun: true
    })
    const unasked = await mtmi(['dlq', 'replay', '--topic', 'shop.clicks'], { cwd })
    assert.equal(unasked.status, 78)
    assert.match(unasked.stderr, /Append 2 dead letters of shop\.clicks\.mtmi\.dlq to shop\.clicks again\? Add --yes/)
    assert.equal((await replay('--yes', '--reason', 'NOT json')).replayed, 1)
    assert.deepEqual(await replay('--yes'), {
      topic: 'shop.clicks.mtmi.dlq',
      due: 1,
      replayed: 1,
      before: 1,
      dryRun: false
    })
    // Replayed records are read like any others, and refused again.
    assert.deepEqual(await run('ingest', '--once'), {
      run: 'live',
      sources: { 'shop.clicks': { ...counts, read: 2, outcomes: { mapped: 0, filtered: 0, partly: 0, refused: 2 } } }
    })

    const unknown = await mtmi(['mapping', 'try', '--topic', 'nothing'], { cwd })
    assert.equal(unknown.status, 78)
    assert.match(unknown.stderr, /sources has no topic nothing; it has shop\.clicks/)
  } finally {
    rmSync(cwd, { recursive: true })
  }
})

test('whole records with keys, headers, bytes and nulls are produced as they are given, or refused by line', async () => {
  const cwd = mkdtempSync(path.join(os.tmpdir(), 'mtmi-raw-'))
  try {
    const sources = [
      { topic: 'rows', format: 'json', user: 'key.id', item: 'header:sku', type: '=view', time: 't' },
      {
        topic: 'tabs',
        format: 'tsv',
        user: '[0]',
        item: '[2]|json[*].sku',
        type: '=view',
        time: { path: '[1]', unit: 's' }
      }
    ]
    writeFileSync(path.join(cwd, 'mtmi.yaml'), JSON.stringify({ sources }))
    const row = {
      key: '{"id":7}',
      value: { hex: Buffer.from('\ufeff{"t":1714557976123}').toString('hex') },
      headers: { sku: 'A1' }
    }
    writeFileSync(
      path.join(cwd, 'rows.jsonl'),
      [row, { key: row.key, value: null }].map((one) => JSON.stringify(one)).join('\n')
    )
    writeFileSync(path.join(cwd, 'tabs.jsonl'), JSON.stringify({ value: 'ada\t1714557976\t[{"sku":"B"},{"sku":"C"}]' }))
    writeFileSync(path.join(cwd, 'bad.jsonl'), '{"value":"x"}\n{"value":{"hex":"0"}}\n')
    for (const name of ['rows', 'tabs']) {
      const { status, stderr } = await mtmi(['produce', '--raw', '--topic', name, '--data', `${name}.jsonl`], { cwd })
      assert.equal(status, 0, stderr)
    }
    const ingested = lastLine((await mtmi(['ingest', '--once', '--json'], { cwd })).stdout) as {
      sources: Record<string, unknown>
    }
    const none = { filtered: 0, partly: 0, refused: 0 }
    const counts = (topic: string) => {
      const { read, outcomes } = ingested.sources[topic] as { read: number; outcomes: object }
      return { read, ...outcomes }
    }
    assert.deepEqual(counts('rows'), { read: 2, mapped: 1, ...none, filtered: 1 })
    assert.deepEqual(counts('tabs'), { read: 1, mapped: 1, ...none })
    const bad = await mtmi(['produce', '--raw', '--topic', 'rows', '--data', 'bad.jsonl'], { cwd })
    assert.equal(bad.status, 78)
    assert.match(bad.stderr, /bad\.jsonl, line 2: .*hex/s)
  } finally {
    rmSync(cwd, { recursive: true })
  }
})

test('schemas are registered once, checked, and never broken', async () => {
  const cwd = mkdtempSync(path.join(os.tmpdir(), 'mtmi-schemas-'))
  const server = await new RegistryServer().start()
  try {
    const env = { MTMI_REGISTRY_URL: server.url }
    const states = async (verb: string) => {
      const { status, stdout, stderr } = await mtmi(['schemas', verb, '--json'], { cwd, env })
      assert.equal(status, 0, stderr)
      return (lastLine(stdout).schemas as { state: string; compatibility: string }[]).map(
        ({ state, compatibility }) => `${state} ${compatibility}`
      )
    }
    assert.deepEqual(await states('check'), Array(4).fill('new BACKWARD'))
    assert.deepEqual(await states('register'), Array(4).fill('registered BACKWARD_TRANSITIVE'))
    assert.deepEqual(await states('check'), Array(4).fill('registered BACKWARD_TRANSITIVE'))
    // Somebody else's schema under one of our subjects, which ours cannot read.
    server.forget('items-value')
    server.add('items-value', {
      type: 'record',
      name: 'CatalogueItem',
      namespace: 'stream.mtmi',
      fields: [{ name: 'sku', type: 'string' }]
    })
    for (const verb of ['check', 'register']) {
      const { status, stderr } = await mtmi(['schemas', verb], { cwd, env })
      assert.equal(status, 78)
      assert.match(stderr, /schema of items-value cannot read records of its earlier schemas/)
    }
    const embedded = await mtmi(['schemas', 'check'], { cwd })
    assert.match(embedded.stderr, /registry\.url is empty: the embedded registry needs no registration/)
  } finally {
    await server.stop()
    rmSync(cwd, { recursive: true })
  }
})
