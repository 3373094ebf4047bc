// `POST /v1/recommendations` in every way to serve: a process with everything in it, and one that only serves.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { MtmiProcess } from '../support/mtmiProcess.ts'

const patienceMs = 60_000

interface List {
  readonly version: string
  readonly coldStart?: string
  readonly items: readonly {
    readonly itemId: string
    readonly score: number
    readonly interest: number | null
    readonly because?: readonly string[]
  }[]
}

async function ask(base: string, body: unknown): Promise<List> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${base}/v1/recommendations`, { method: 'POST', headers, body: JSON.stringify(body) })
  assert.equal(response.status, 200, await response.clone().text())
  return (await response.json()) as List
}

test('a session gets the list of a stored user with the same history, from `start` and from `serve` alike', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-sessions-'))
  const args = ['--data-dir', path.join(folder, 'data')]
  const servers: MtmiProcess[] = []
  try {
    const all = new MtmiProcess([...args, 'start', '--events', '2500', '--port', '0'], { cwd: folder })
    servers.push(all)
    const base = (await all.says(/Serving on (http:\S+)/))[1]!
    const get = async <T>(url: string) => (await (await fetch(`${base}${url}`)).json()) as T
    const { items } = await get<{ items: { itemId: string }[] }>('/v1/items?limit=3')
    const { newestEventMs } = await get<{ newestEventMs: number }>('/v1/status')
    const steps = items.map(({ itemId }, i) => ({ itemId, eventTime: newestEventMs + i * 1000 }))
    const events = JSON.stringify(steps.map((step) => ({ ...step, userId: 'twin', type: 'click' })))
    const posted = await fetch(`${base}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: events
    })
    assert.equal(posted.status, 202)
    let twin: { historyLength?: number } = {}
    for (const deadline = performance.now() + patienceMs; twin.historyLength !== 3; twin = await get('/v1/users/twin'))
      assert(performance.now() < deadline, `the clicks never reached the index: ${JSON.stringify(twin)}`)
    const history = items.map(({ itemId }) => itemId)
    const session = await ask(base, { history: steps, limit: 5, explain: true })
    const stored = await get<List>('/v1/users/twin/recommendations?limit=5&explain=true')
    // Encoded in batches of other sizes: the same up to rounding.
    const brief = ({ items }: List) => items.map(({ itemId, interest, because }) => ({ itemId, interest, because }))
    assert.deepEqual(brief(session), brief(stored))
    for (const [i, { score }] of session.items.entries()) assert(Math.abs(score - stored.items[i]!.score) < 1e-5)
    assert.equal(session.coldStart, undefined)
    assert(session.items.every(({ itemId, because }) => !history.includes(itemId) && because !== undefined))
    assert.equal((await ask(base, { history: ['never seen'], limit: 3 })).coldStart, 'popular')
    await all.stop('SIGTERM')

    const alone = new MtmiProcess([...args, 'serve', '--run', 'simulation-2500', '--port', '0'], { cwd: folder })
    servers.push(alone)
    const served = (await alone.says(/serving .* on (http:[^\s"]+)/))[1]!
    // It comes to know the model as it reads the log: until then what is popular.
    let list = await ask(served, { history: steps, limit: 5 })
    for (
      const deadline = performance.now() + patienceMs;
      list.coldStart !== undefined && performance.now() < deadline;
    )
      list = await ask(served, { history: steps, limit: 5 })
    // Weights may have moved on since the twin's vectors were made: the same taste, if not the same list.
    const twins = (await (await fetch(`${served}/v1/users/twin/recommendations?limit=50`)).json()) as List
    assert.deepEqual([list.coldStart, list.version, list.items.length], [undefined, twins.version, 5])
    assert(list.items.every(({ itemId, interest }) => interest !== null && !history.includes(itemId)))
    assert(
      list.items.filter(({ itemId }) => twins.items.some((item) => item.itemId === itemId)).length >= 3,
      `${JSON.stringify(list)} against ${JSON.stringify(twins)}`
    )
    const off = new MtmiProcess(
      [...args, '--set', 'serve.sessions=false', 'serve', '--run', 'simulation-2500', '--port', '0'],
      {
        cwd: folder
      }
    )
    servers.push(off)
    const without = (await off.says(/serving .* on (http:[^\s"]+)/))[1]!
    const refused = await fetch(`${without}/v1/recommendations`, {
      method: 'POST',
      body: '{"history":["i1"]}',
      headers: { 'content-type': 'application/json' }
    })
    assert.equal(refused.status, 400)
    assert.match(await refused.text(), /serve\.sessions/)
  } finally {
    for (const server of servers) await server.stop('SIGTERM')
    rmSync(folder, { recursive: true, force: true })
  }
})
