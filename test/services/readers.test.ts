// Readers over HTTP while index versions are switched and rolled back: no error, and no answer that mixes two.
//
// The short form by default; MTMI_READERS=full is 100 switches and 20 rollbacks. With QDRANT_URL on a real Qdrant too.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test, { type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { EmbeddedIndex } from '../../src/index/embedded/embeddedIndex.ts'
import type { VectorIndex, VectorPoint } from '../../src/index/vectorIndex.ts'
import type { Recommendations, SimilarItems } from '../../src/serve/answers.ts'
import { itemPoint, userPoint } from '../conformance/vectorIndexPoints.ts'
import { openLoop } from '../support/openLoop.ts'
import { servedIndex } from '../support/servedIndex.ts'
import { clearQdrant, openQdrant, qdrantGiven, qdrantOptions } from './qdrant.ts'

const full = process.env.MTMI_READERS === 'full'
const [switches, rollbacks] = full ? [100, 20] : [12, 4]
const ratePerSecond = 200
/**
 * At least this long between two switches: the reader's knowledge of what is live, 50 ms here, is renewed in between.
 */
const betweenMs = 100
const shape = { dimensions: 4, interestCount: 2 }
const [items, users] = [60, 8]

/** Index versions by turns: the one that is filled is neither live nor the one before, of which a reader may still know. */
const indexVersions = ['a', 'b', 'c']

/** Every text of every point tells the number, which is also the step. */
function pointsOf(number: number): VectorPoint[] {
  const at = (degrees: number) => [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180), 0, 0]
  return [
    ...Array.from({ length: items }, (_, i) =>
      itemPoint(`item ${i}`, at(i * 6 + number), {
        ...{ title: `of ${number}`, count: i + 1, popularity: i + 1 },
        features: { of: [`${number}`], parity: [i % 2 === 0 ? 'even' : 'odd'] }
      })
    ),
    ...Array.from({ length: users }, (_, u) =>
      userPoint(`user ${u}`, [at(u + number), at(90 + u + number)], [`item ${number % items}`])
    )
  ]
}

/** What readers ask, and in which proportion. */
const questions = [
  (u: number) => `/v1/users/user%20${u}/recommendations?limit=5`,
  (u: number) => `/v1/users/user%20${u}/recommendations?limit=5&explain=true&repeats=true`,
  (u: number) => `/v1/users/user%20${u}/recommendations?limit=5&filter.parity=odd&diversity=0.3`,
  () => '/v1/users/nobody/recommendations?limit=5',
  (u: number) => `/v1/items/item%20${u}/similar?limit=5`
]

async function readThrough(t: TestContext, writer: VectorIndex, reader: VectorIndex): Promise<void> {
  for (const indexVersion of indexVersions) await writer.createVersion(indexVersion, shape)
  let [live, left] = ['', '']
  const promote = async (indexVersion: string) => {
    await writer.promote(indexVersion, { items, users })
    left = live
    live = indexVersion
  }
  const fillAnother = async (number: number) => {
    const indexVersion = indexVersions.find((one) => one !== live && one !== left)!
    await writer.upsert(indexVersion, number, pointsOf(number))
    return indexVersion
  }
  await promote(await fillAnother(1))
  const { get, close } = await servedIndex(reader)
  const failures: string[] = []
  const mixed: string[] = []
  const versions = new Map<string, number>()
  let answered = 0
  /** Overload is refused at once, on a machine that is busy with other tests. */
  let refused = 0
  let longestMs = 0
  const ask = async (i: number, dueMs: number) => {
    try {
      const text = await get(questions[i % questions.length]!(i % users))
      longestMs = Math.max(longestMs, performance.now() - dueMs)
      const { version, items: list } = JSON.parse(text) as Recommendations | SimilarItems
      const [, number] = /^[abc]@(\d+)$/.exec(version) ?? []
      if (
        number === undefined ||
        list.length !== 5 ||
        list.some(({ title, about }) => title !== `of ${number}` || !about?.includes(number))
      )
        mixed.push(text)
      versions.set(version, (versions.get(version) ?? 0) + 1)
      answered++
    } catch (error) {
      if ((error as Error).message.includes('lists are being made already')) refused++
      else failures.push((error as Error).message)
    }
  }
  let asking = true
  let asked = 0
  let seconds = 0
  const startMs = performance.now()
  const reading = openLoop(
    ratePerSecond,
    () => asking,
    (i, dueMs) => {
      asked++
      return ask(i, dueMs)
    }
  )
  try {
    let back = 0
    for (let i = 0; i < switches; i++) {
      await promote(await fillAnother(i + 2))
      await pause(betweenMs)
      // Every fifth or so is found to be bad: back to the one before, and on from there.
      if (back >= rollbacks || i % Math.floor(switches / rollbacks) !== 1) continue
      back++
      await promote(left)
      await pause(betweenMs)
    }
    assert.equal(back, rollbacks)
  } finally {
    asking = false
    seconds = (performance.now() - startMs) / 1000
    await reading
    await close()
  }
  t.diagnostic(
    `${switches} switches, ${rollbacks} rollbacks in ${seconds.toFixed(1)} s: ${asked} requests (${Math.round(asked / seconds)}/s), ${answered} answered, ${refused} refused, ${failures.length} failed, ${mixed.length} mixed, from ${versions.size} versions; the longest took ${Math.round(longestMs)} ms`
  )
  assert.deepEqual([failures.slice(0, 5), mixed.slice(0, 5)], [[], []])
  assert.equal(answered + refused, asked)
  assert(refused < 0.5 * asked, `${refused} of ${asked} requests were refused`)
  assert(asked / seconds > 0.95 * ratePerSecond, `${asked} requests in ${seconds} s`)
  assert(versions.size > switches / 2, `${versions.size} versions were seen of ${switches + 1}`)
}

const what = `${ratePerSecond} requests a second over HTTP through ${switches} switches and ${rollbacks} rollbacks: no error, no answer of two versions`

test(`embedded index: ${what}`, async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-readers-'))
  const [writer, reader] = [
    await EmbeddedIndex.open(folder, { searchThread: false }),
    await EmbeddedIndex.open(folder, { searchThread: true })
  ]
  try {
    await readThrough(t, writer, reader)
  } finally {
    await Promise.all([writer.close(), reader.close()])
    rmSync(folder, { recursive: true })
  }
})

if (qdrantGiven('Qdrant: readers')) {
  test(`Qdrant: ${what}`, async (t) => {
    // Patient, so that a machine that is busy with other tests is no failure: what is asked for is that an answer
    // comes, and is whole.
    const options = qdrantOptions({ liveMaxAgeMs: 50, searchTimeoutMs: 20_000, searchRetryMs: 60_000 })
    const [writer, reader] = [openQdrant(options), openQdrant(options)]
    try {
      await readThrough(t, writer, reader)
    } finally {
      await Promise.all([writer.close(), reader.close()])
      await clearQdrant(options)
    }
  })
}
