// A trace from the header of a request to the vectors that came of its event: the whole way in one process, on the
// local log.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { MtmiProcess } from '../support/mtmiProcess.ts'

const cwd = mkdtempSync(path.join(os.tmpdir(), 'mtmi-trace-'))
after(() => rmSync(cwd, { recursive: true, force: true }))

test('the trace of a posted event is told by every stage up to the index', async () => {
  const on = ['--set', 'trace.enabled=true', '--set', 'logFormat=json']
  const process = new MtmiProcess([...on, 'start', '--events', '1000', '--port', '0'], { cwd })
  try {
    const url = (await process.says(/Serving on (http:\S+) until/))[1]!
    const { items } = (await (await fetch(`${url}/v1/users/nobody/recommendations?limit=2`)).json()) as {
      items: { itemId: string }[]
    }
    const post = async (itemId: string, digit: string) => {
      const traceId = digit.repeat(32)
      const response = await fetch(`${url}/v1/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-${'b'.repeat(16)}-01` },
        body: JSON.stringify({ userId: 'ann the traced', itemId, type: 'click' })
      })
      assert.equal(response.status, 202, await response.text())
      return traceId
    }
    const lineOf = async (stage: string, traceId: string) => {
      const [line] = await process.says(new RegExp(`^\\{.*"stage":"${stage}".*"traceId":"${traceId}".*\\}$`, 'm'))
      return JSON.parse(line) as Record<string, unknown>
    }
    // The first click makes a history, and vectors; the second is an example as well.
    const first = await post(items[0]!.itemId, 'a')
    const placed = await lineOf('sequence', first)
    assert.equal(placed.topic, 'interactions')
    assert.equal(Number(placed.to), Number(placed.from) + 1)
    assert.match(String((await lineOf('publish', first)).model), /^mtmi-4x64@\d+$/)
    const second = await post(items[1]!.itemId, 'c')
    assert.equal((await lineOf('train', second)).examples, 1)
    const published = await lineOf('publish', second)
    assert.equal(published.msg, 'vectors published')
    assert(!JSON.stringify([placed, published]).includes('ann the traced'), 'no user is named in the log')
  } finally {
    await process.stop('SIGTERM')
  }
})
