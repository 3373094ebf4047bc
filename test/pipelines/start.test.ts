// The whole way as one process, and everything that can be asked of it and of what it leaves behind.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { lastLine, MtmiProcess, mtmi } from '../support/mtmiProcess.ts'

const cwd = mkdtempSync(path.join(os.tmpdir(), 'mtmi-start-'))
after(() => rmSync(cwd, { recursive: true, force: true }))
const events = ['--events', '3000']

interface Answer {
  readonly userId?: string
  readonly version: string
  readonly items: readonly { readonly itemId: string; readonly score: number; readonly interest: number | null }[]
  readonly coldStart?: string
}

async function get<T>(url: string): Promise<{ status: number; body: T }> {
  const response = await fetch(url)
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') === true
  return { status: response.status, body: (isJson ? JSON.parse(text) : text) as T }
}

test('a simulation is learned, a second start takes it up again and serves it, and other processes may ask meanwhile', async () => {
  const first = await mtmi(['start', ...events, '--once', '--json'], { cwd })
  assert.equal(first.status, 0, first.stderr)
  assert.equal(first.stdout.split('\n').length, 2, 'one line of JSON, and nothing else, is on standard output')
  const report = lastLine(first.stdout)
  assert.match(first.stderr, /training 100% /)
  // 3,000 genuine events, about 1% of them twice, and a few bad ones: all of them are accounted for.
  const { interactions, examplesTrained } = report as Record<string, number>
  const { source, sequence, train } = report.accounts as Record<string, Record<string, number>>
  assert(interactions! > 3000 && interactions! < 3100, `${interactions} interactions`)
  assert(examplesTrained! > 1500 && sequence!.duplicate! > 0 && sequence!.late! + sequence!.rejected! > 0)
  assert.deepEqual([source!.loaded, sequence!.read, train!.read], [interactions, interactions, sequence!.placed])
  const { share } = report.progressive as Record<string, number>
  assert(share! > 0.5 && share! <= 1, `${share} of the examples were ranked`)

  const serving = new MtmiProcess(['start', ...events, '--json', '--port', '0'], { cwd })
  try {
    const url = (await serving.says(/Serving on (http:\S+) until/))[1]!
    await serve(url, cwd)
    await whileItRuns(cwd)
  } finally {
    await serving.stop('SIGTERM')
  }
  const { status, stdout, stderr } = await serving.ended
  assert.equal(status, 0, stderr)
  assert.match(stderr, /stopping: /)
  // Nothing was new: no rate, no freshness, and the numbers of the first run. Only the vectors of users are newer: all
  // were made again with the last weights.
  const again = lastLine(stdout)
  assert.equal(again.interactionsThisTime, 0)
  const kept = ({
    interactions,
    users,
    items,
    examplesTrained,
    progressive,
    ignoredTypes,
    accounts
  }: Record<string, unknown>) => ({
    ...{ interactions, users, items, examplesTrained, progressive, ignoredTypes },
    ...{ sequence: (accounts as typeof report).sequence, train: (accounts as typeof report).train }
  })
  assert.deepEqual(kept(again), kept(report))
  assert(!('freshnessMs' in again) && !('examplesPerSecond' in again), 'what was not measured is not reported')

  await afterwards(cwd, report)
})

/** `train  514 examples read: 308 trained on, 206 without a step before it`, of which each number. */
function accountsIn(text: string): Map<string, { read: number; outcomes: number }> {
  const whole = (digits: string) => Number(digits.replaceAll(',', ''))
  return new Map(
    [...text.matchAll(/^ +(\w+) +([\d,]+) \w+ read:?(.*)$/gm)].map(([, reader, read, rest]) => {
      const outcomes = [...rest!.matchAll(/(?:^|,) ([\d,]+) /g)].map(([, count]) => whole(count!))
      return [reader!, { read: whole(read!), outcomes: outcomes.reduce((sum, count) => sum + count, 0) }]
    })
  )
}

test('interrupted before the report, a run says what became of every record so far, and the same command continues to all of them', async () => {
  const command = ['start', '--events', '40000', '--once', '--json']
  const interrupted = new MtmiProcess(command, { cwd })
  await interrupted.hasWritten(path.join(cwd, 'data/simulation-40000/log/interactions/data.mdb'), 200_000)
  const { status, stdout, stderr } = await interrupted.stop('SIGINT')
  assert.deepEqual([status, stdout], [130, ''], stderr)
  const [, told] = stderr.split('interrupted before the report: the same command continues from here. So far:\n')
  const accounts = accountsIn(told!)
  const readers = ['source', 'sequence', 'categories', 'train', 'catalogue', 'publish', 'popularity', 'model']
  assert.deepEqual([...accounts.keys()], readers)
  for (const [reader, { read, outcomes }] of accounts) assert.equal(outcomes, read, `${reader}: ${told}`)
  assert(accounts.get('sequence')!.read < 40_000, 'it was interrupted in the middle')
  assert.doesNotMatch(told!, /UNACCOUNTED|training +\d/)

  const again = await mtmi(command, { cwd })
  assert.equal(again.status, 0, again.stderr)
  const { interactions, accounts: all } = lastLine(again.stdout) as {
    interactions: number
    accounts: Record<string, Record<string, number>>
  }
  assert.deepEqual([all.sequence!.read, all.train!.read], [interactions, all.sequence!.placed])
  assert(all.source!.loadedBefore! > 0, 'nothing is fed twice')
})

async function serve(url: string, cwd: string): Promise<void> {
  assert.equal((await get(`${url}/livez`)).status, 200)
  const ready = await get<{ ready: boolean }>(`${url}/readyz`)
  assert.equal(ready.status, 200, JSON.stringify(ready.body))
  const description = await get<{ openapi: string; paths: object }>(`${url}/openapi.json`)
  assert.match(description.body.openapi, /^3\./)
  assert('/v1/users/{id}/recommendations' in description.body.paths || Object.keys(description.body.paths).length >= 3)

  // u1 … are the simulation's users: the first with vectors will do.
  const known = await firstPersonal(url)
  assert.equal(known.items.length, 7)
  // A score is that of the cosines, at most 1, and what the memory adds.
  for (const { interest, score } of known.items)
    assert(interest !== null && interest >= 0 && interest < 4 && Number.isFinite(score), `${interest}, ${score}`)
  assert.deepEqual(
    known.items.map(({ score }) => score),
    known.items.map(({ score }) => score).sort((a, b) => b - a)
  )
  const itemId = known.items[0]!.itemId
  const near = await get<Answer>(`${url}/v1/items/${encodeURIComponent(itemId)}/similar?limit=5`)
  assert.equal(near.status, 200)
  assert.equal(near.body.items.length, 5)
  assert(near.body.items.every((item) => item.itemId !== itemId))
  assert.equal((await get(`${url}/v1/items/never-heard-of/similar`)).status, 404)

  const stranger = `${url}/v1/users/a%20stranger/recommendations?limit=7`
  assert.equal((await get<Answer>(stranger)).body.coldStart, 'popular')
  const posted = await fetch(`${url}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ userId: 'a stranger', itemId, type: 'click' })
  })
  assert.equal(posted.status, 202, await posted.text())
  const personal = await until(async () => {
    const { body } = await get<Answer>(stranger)
    return body.coldStart === undefined ? body : undefined
  }, 'the new user has recommendations of their own')
  assert(
    personal.items.every((item) => item.itemId !== itemId && item.interest !== null),
    'what was just clicked is not recommended again'
  )
  // The same from another process, while this one runs.
  const asked = await mtmi(['recommend', '--user', 'a stranger', '--limit', '7', '--json'], { cwd })
  assert.deepEqual((lastLine(asked.stdout) as unknown as Answer).items, personal.items)

  // The clock of the demonstration stands in its own time, and an event of now is no event of the future.
  const ofNow = JSON.stringify({ userId: 'a visitor', itemId, type: 'click', eventTime: new Date().toISOString() })
  const headers = { 'content-type': 'application/json' }
  assert.equal((await fetch(`${url}/v1/events`, { method: 'POST', headers, body: ofNow })).status, 202)

  const metrics = (await get<string>(`${url}/metrics`)).body
  assert.match(metrics, /^mtmi_index_points\{role="item"\} 2000$/m)
  assert.match(metrics, /^mtmi_stage_records_total\{reader="sequence",.*outcome="placed".*\} [1-9]/m)
  assert.match(metrics, /^mtmi_serve_request_seconds_count\{.*\} [1-9]/m)
}

async function firstPersonal(url: string): Promise<Answer> {
  for (let user = 1; user < 100; user++) {
    const { body } = await get<Answer>(`${url}/v1/users/u${user}/recommendations?limit=7`)
    if (body.coldStart === undefined) return body
  }
  throw new Error('none of the first 100 users has vectors')
}

async function whileItRuns(cwd: string): Promise<void> {
  const [second, reset, stage, doctor] = await Promise.all([
    mtmi(['start', ...events, '--once'], { cwd }),
    mtmi(['reset', '--yes'], { cwd }),
    mtmi(['train', '--run', 'simulation-3000', '--once'], { cwd }),
    mtmi(['doctor'], { cwd })
  ])
  for (const refused of [second, reset, stage]) {
    assert.equal(refused.status, 1, refused.stderr)
    assert.match(
      refused.stderr,
      /^mtmi: mtmi \w+ cannot use .*simulation-3000: mtmi start \(process \d+, since .*\) is using it/m
    )
    assert.equal(refused.stdout, '')
  }
  assert.equal(doctor.status, 0, doctor.stdout)
  assert.match(doctor.stdout, /run simulation-3000 +in use by mtmi start \(process \d+/)
  assert.match(doctor.stdout, /index +index version mtmi-4x64, step \d+, 2000 items/)
}

/** The event that was posted is in the log, and is found there by whoever comes next. */
async function afterwards(cwd: string, report: Record<string, unknown>): Promise<void> {
  const [evaluated, similar, unknown, stranger] = await Promise.all([
    mtmi(['evaluate', '--json'], { cwd }),
    mtmi(['similar', '--item', 'i1', '--limit', '3', '--json'], { cwd }),
    mtmi(['similar', '--item', 'never heard of', '--json'], { cwd }),
    mtmi(['recommend', '--user', 'another stranger', '--limit', '3'], { cwd })
  ])
  // One of the two is rounded to four digits.
  const ndcg = lastLine(evaluated.stdout)['ndcg@20'] as number
  const reported = (report.progressive as Record<string, number>)['ndcg@20']!
  assert(Math.abs(ndcg - reported) <= 0.00005 + 1e-9, `${ndcg}, and ${reported} in the report`)
  assert.equal((lastLine(similar.stdout) as unknown as Answer).items.length, 3)
  assert.equal(unknown.status, 78)
  assert.equal(unknown.stdout, '')
  assert.match(unknown.stderr, /item never heard of is not in the index/)
  assert.match(
    stranger.stdout,
    /^user another stranger · what is popular now, because there are no vectors of this user: no interaction/
  )
  assert.equal(stranger.stdout.trimEnd().split('\n').length, 4)

  const reset = await mtmi(['reset', '--yes', '--json'], { cwd })
  assert.equal(reset.status, 0, reset.stderr)
  assert.match(String(lastLine(reset.stdout).removed), /simulation-3000$/)
  const empty = await mtmi(['recommend', '--user', 'u1'], { cwd })
  assert.equal(empty.status, 1)
  assert.match(empty.stderr, /nothing has been published in .* yet: run `mtmi start`/)
}

async function until<T>(ask: () => Promise<T | undefined>, what: string): Promise<T> {
  const deadline = AbortSignal.timeout(60_000)
  while (!deadline.aborted) {
    const answer = await ask()
    if (answer !== undefined) return answer
    await pause(50)
  }
  throw new Error(`for a minute it has not come true that ${what}`)
}

test('a topic of the run that was created again is refused, or accepted with the option', async () => {
  const small = ['start', '--run', 'small', '--events', '500', '--once']
  const first = await mtmi(small, { cwd })
  assert.equal(first.status, 0, first.stderr)
  rmSync(path.join(cwd, 'data/small/log/model-updates'), { recursive: true })
  const refused = await mtmi(small, { cwd })
  assert.equal(refused.status, 2, refused.stderr)
  assert.match(refused.stderr, /topic model-updates was created again.*--accept-new-topic/s)
  const accepted = await mtmi([...small, '--accept-new-topic'], { cwd })
  assert.equal(accepted.status, 0, accepted.stderr)
})
