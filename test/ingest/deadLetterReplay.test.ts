import assert from 'node:assert/strict'
import test from 'node:test'
import { ManualClock } from '../../src/core/clock.ts'
import { DeadLetterReplay, type ReplayState, replayedHeader } from '../../src/ingest/deadLetterReplay.ts'
import { deadLetterOf } from '../../src/log/deadLetter.ts'
import { MemoryLog } from '../support/memoryLog.ts'

const utf8 = new TextEncoder()
const { signal } = new AbortController()
const dlq = 'clicks.mtmi.dlq'

class Store {
  state: ReplayState | undefined
  /** Saves that fail from now on: the process dies there. */
  savesLeft = Number.POSITIVE_INFINITY
  load(): ReplayState | undefined {
    return this.state
  }
  save(state: ReplayState): void {
    if (this.savesLeft-- <= 0) throw new Error('killed')
    this.state = JSON.parse(JSON.stringify(state)) as ReplayState
  }
}

/** Three records of partition 1 of `clicks`, all dead; the second for another reason. */
async function lay(): Promise<{ log: MemoryLog; store: Store }> {
  const log = new MemoryLog({ partitions: (topic) => (topic === 'clicks' ? 2 : 1), clock: new ManualClock(1) })
  const records = [0, 1, 2].map((i) => ({
    key: Uint8Array.of(0xff, i),
    value: i === 2 ? null : Uint8Array.of(i, 0xfe),
    headers: { own: utf8.encode(`h${i}`) },
    partition: 1
  }))
  await log.append('clicks', records)
  const letters = log
    .records('clicks')
    .map((record) =>
      deadLetterOf(
        record,
        { topic: 'clicks', topicId: '' },
        new Error(record.offset === 1n ? 'too odd' : 'not JSON'),
        'sequence'
      )
    )
  await log.append(dlq, letters)
  return { log, store: new Store() }
}

const open = (log: MemoryLog, store: Store, ours: string[] = []) =>
  DeadLetterReplay.open({ log, store, ours: new Set(ours), signal })
const replayed = (log: MemoryLog) =>
  log
    .records('clicks')
    .filter(({ headers }) => headers[replayedHeader] !== undefined)
    .map(({ headers }) => new TextDecoder().decode(headers[replayedHeader]))

test('appends the originals to where they were, once, by reason or all', async () => {
  const { log, store } = await lay()
  const limits = await log.ends(dlq)
  assert.equal(await (await open(log, store)).replay(dlq, ({ message }) => message === 'too odd', limits), 1)
  assert.equal(await (await open(log, store)).replay(dlq, () => true, limits), 2)
  assert.equal(await (await open(log, store)).replay(dlq, () => true, limits), 0)
  assert.deepEqual(replayed(log), [`${dlq}/0/1`, `${dlq}/0/0`, `${dlq}/0/2`])
  const back = log.records('clicks').slice(3)
  assert.deepEqual(
    back.map(({ key, value, headers, partition }) => [
      [...key],
      value === null ? null : [...value],
      new TextDecoder().decode(headers.own),
      Object.keys(headers).length,
      partition
    ]),
    [
      [[0xff, 1], [1, 0xfe], 'h1', 2, 1],
      [[0xff, 0], [0, 0xfe], 'h0', 2, 1],
      [[0xff, 2], null, 'h2', 2, 1]
    ]
  )
  const letters: boolean[] = []
  for await (const letter of (await open(log, store)).letters(dlq)) letters.push(letter.replayed)
  assert.deepEqual(letters, [true, true, true])
})

test('our own topics are keyed: the key decides where a record goes', async () => {
  const { log, store } = await lay()
  await (await open(log, store, ['clicks'])).replay(dlq, () => true, await log.ends(dlq))
  const keyed = new MemoryLog({ partitions: () => 2, clock: new ManualClock(1) })
  await keyed.append(
    'x',
    log
      .records('clicks')
      .slice(0, 3)
      .map(({ key, value }) => ({ key, value }))
  )
  const where = (records: readonly { key: Uint8Array; partition: number }[]) =>
    records.map(({ key, partition }) => `${key[1]} ${partition}`).sort()
  assert.deepEqual(
    where(log.records('clicks').filter(({ headers }) => headers[replayedHeader] !== undefined)),
    where(keyed.records('x'))
  )
})

test('what fails anew meanwhile is not replayed in a circle', async () => {
  const { log, store } = await lay()
  const limits = await log.ends(dlq)
  await log.append(
    dlq,
    log
      .records('clicks')
      .map((record) => deadLetterOf(record, { topic: 'clicks', topicId: '' }, new Error('again'), 'sequence'))
  )
  assert.equal(await (await open(log, store)).replay(dlq, () => true, limits), 3)
})

test('killed at any moment, nothing is lost or appended twice', async () => {
  // Saves: one before the append, one after. Killed before the first, before the second, or not.
  for (const savesLeft of [0, 1, 2]) {
    const { log, store } = await lay()
    const limits = await log.ends(dlq)
    store.savesLeft = savesLeft
    const first = (await open(log, store)).replay(dlq, () => true, limits)
    if (savesLeft < 2) await assert.rejects(first, /killed/)
    else await first
    store.savesLeft = Number.POSITIVE_INFINITY
    await (await open(log, store)).replay(dlq, () => true, limits)
    assert.deepEqual(replayed(log).sort(), [`${dlq}/0/0`, `${dlq}/0/1`, `${dlq}/0/2`], `${savesLeft} saves`)
  }
})

test('killed between the note and the append: appended by the next', async () => {
  const { log, store } = await lay()
  const ends = await log.ends('clicks')
  store.state = {
    replayed: {},
    pending: {
      from: dlq,
      fromId: '',
      to: 'clicks',
      ends: Object.fromEntries([...ends].map(([partition, end]) => [partition, String(end)])),
      letters: [`${dlq}/0/0`]
    }
  }
  assert.equal(await (await open(log, store)).replay(dlq, () => true, await log.ends(dlq)), 3)
  assert.equal(store.state.pending, undefined)
})
