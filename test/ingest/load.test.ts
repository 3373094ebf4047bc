import assert from 'node:assert/strict'
import test from 'node:test'
import { Account, unaccounted } from '../../src/core/account.ts'
import { loadInteractions, loadItems } from '../../src/ingest/load.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { type TestStageIo, testStageIo } from '../support/stageIo.ts'

const clicks = (count: number): Interaction[] =>
  Array.from({ length: count }, (_, i) => ({
    eventId: `e${i}`,
    userId: `u${i % 7}`,
    itemId: `i${i}`,
    type: 'click',
    eventTimeMs: 1000 + i
  }))

async function withWire(run: (io: TestStageIo) => Promise<void>): Promise<void> {
  const io = await testStageIo()
  try {
    await run(io)
  } finally {
    io.dispose()
  }
}

const ids = (io: TestStageIo) =>
  io.log.records('interactions').map(({ value }) => io.codecs.interaction.decode(value!).eventId)

test('a feed that was interrupted goes on where it was, however often', () =>
  withWire(async (io) => {
    const source = clicks(2000)
    for (const stopAfter of [1, 600, Number.POSITIVE_INFINITY]) {
      const stop = new AbortController()
      const account = new Account('source')
      await loadInteractions(source, {
        log: io.log,
        codecs: io.codecs,
        topic: 'interactions',
        name: 'clicks',
        signal: stop.signal,
        hasRoom: async () => {
          if (account.of('loaded') >= stopAfter) stop.abort()
          return true
        },
        account
      })
      if (stopAfter === Number.POSITIVE_INFINITY)
        assert.deepEqual([unaccounted(account.numbers()), account.of('loadedBefore') > 0], [0, true])
    }
    assert.deepEqual(
      ids(io),
      source.map(({ eventId }) => eventId)
    )
  }))

test('two feeds of different names do not take each other for themselves', () =>
  withWire(async (io) => {
    const options = {
      log: io.log,
      codecs: io.codecs,
      topic: 'interactions',
      signal: new AbortController().signal,
      hasRoom: async () => true
    }
    assert.equal(await loadInteractions(clicks(3), { ...options, name: 'a' }), 3)
    assert.equal(await loadInteractions(clicks(5), { ...options, name: 'a#1' }), 5)
    assert.equal(await loadInteractions(clicks(3), { ...options, name: 'a' }), 3)
    assert.equal(ids(io).length, 8)
  }))

test('items are fed once, and again only where they changed', () =>
  withWire(async (io) => {
    const options = { log: io.log, codecs: io.codecs, topic: 'items', signal: new AbortController().signal }
    const item = (title: string) => ({ itemId: 'i', title, features: {}, updatedAtMs: 0 })
    await loadItems([item('one')], options)
    await loadItems([item('one')], options)
    await loadItems([item('two')], options)
    const titles = io.log.records('items').map(({ value }) => io.codecs.item.decode(value!).title)
    assert.deepEqual(titles, ['one', 'two'])
  }))

test('a header that is no number of the feed neither repeats nor skips an interaction', () =>
  withWire(async (io) => {
    const options = {
      log: io.log,
      codecs: io.codecs,
      topic: 'interactions',
      name: 'clicks',
      signal: new AbortController().signal,
      hasRoom: async () => true
    }
    await loadInteractions(clicks(20), options)
    const bytes = new TextEncoder()
    const value = io.log.records('interactions')[0]!.value
    for (const number of ['', 'NaN', '1e300', '-5', '99999999999999999999', '7.5'])
      await io.log.append('interactions', [
        { key: bytes.encode('u1'), value, headers: { 'mtmi.feed': bytes.encode(`clicks#${number}`) } }
      ])
    const account = new Account('source')
    await loadInteractions(clicks(30), { ...options, account })
    assert.deepEqual([account.of('loadedBefore'), account.of('loaded')], [20, 10])
  }))
