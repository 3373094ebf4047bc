// What every EventLog does. Offsets ascend, but need not be contiguous, and nothing is assumed of how long anything
// takes.

import assert from 'node:assert/strict'
import test from 'node:test'
import { ManualClock } from '../../src/core/clock.ts'
import { MtmiError, UnavailableError } from '../../src/core/errors.ts'
import type { EventLog, LogEvent, LogRecord, NewRecord, ReadOptions } from '../../src/log/eventLog.ts'
import { partitionOf } from '../../src/log/partitioner.ts'

export interface LogUnderTest {
  readonly log: EventLog
  /** A fresh topic with as many partitions as were asked for. */
  readonly topic: string
  /** Another member on the same records, as another process has. */
  readonly another: () => Promise<EventLog>
  /** The clock of `log`, which appends ask for the time. */
  readonly clock: FailingClock
  /** Closes and removes all of it. */
  readonly close: () => Promise<void>
}

/** Fails whoever asks for the time, while a test says so: an append then fails on its way. */
export class FailingClock extends ManualClock {
  fails = false
  override nowMs(): number {
    if (this.fails) throw new UnavailableError('the clock does not answer')
    return super.nowMs()
  }
}

const text = (bytes: Uint8Array | null) => (bytes === null ? null : new TextDecoder().decode(bytes))
const bytes = (from: string) => new TextEncoder().encode(from)
const record = (key: string, value: string | null): NewRecord => ({
  key: bytes(key),
  value: value === null ? null : bytes(value)
})
const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, i) => record('k', String(from + i)))
const values = (records: readonly LogRecord[]) => records.map((r) => text(r.value))
const fromStart = async () => 0n

/** Everything that is in the topic now. */
async function readAll(log: EventLog, topic: string, resume: ReadOptions['resume'] = fromStart): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  for await (const event of log.read(topic, { resume, signal: new AbortController().signal, untilEnd: true })) {
    if (event.kind === 'records') records.push(...event.records)
  }
  return records
}

/** Follows the topic, giving every event to `take` until it says that this was enough. */
async function follow(
  log: EventLog,
  topic: string,
  take: (event: LogEvent) => Promise<boolean> | boolean
): Promise<void> {
  const abort = new AbortController()
  for await (const event of log.read(topic, { resume: fromStart, signal: abort.signal })) {
    if (await take(event)) abort.abort()
  }
}

/** @param make a log with a fresh topic of that many partitions */
export function eventLogSuite(name: string, make: (partitions: number) => Promise<LogUnderTest>): void {
  const check = (what: string, partitions: number, body: (under: LogUnderTest) => Promise<void>): void => {
    void test(`${name}: ${what}`, { timeout: 120_000 }, async () => {
      const under = await make(partitions)
      try {
        await body(under)
      } finally {
        await under.close()
      }
    })
  }

  check(
    'gives records back in the order of their appends, offsets ascending, times never going back',
    1,
    async ({ log, topic }) => {
      await log.append(topic, numbered(700))
      await Promise.all([
        log.append(topic, numbered(3, 700)),
        log.append(topic, numbered(3, 703)),
        log.append(topic, numbered(1, 706))
      ])
      const records = await readAll(log, topic)
      assert.deepEqual(values(records), values(numbered(707) as LogRecord[]))
      for (let i = 1; i < records.length; i++) {
        assert(records[i]!.offset > records[i - 1]!.offset)
        assert(records[i]!.timestampMs >= records[i - 1]!.timestampMs)
      }
      const end = (await log.ends(topic)).get(0)!
      assert(end > records.at(-1)!.offset)
    }
  )

  check(
    'says what is assigned first, then records of one partition at a time, with the end',
    3,
    async ({ log, topic }) => {
      await log.append(
        topic,
        Array.from({ length: 60 }, (_, i) => record(`user-${i}`, String(i)))
      )
      const events: LogEvent[] = []
      for await (const event of log.read(topic, {
        resume: fromStart,
        signal: new AbortController().signal,
        untilEnd: true
      }))
        events.push(event)
      const assigned = events.filter((event) => event.kind === 'assigned').flatMap((event) => event.partitions)
      assert.deepEqual(
        [...assigned].sort((a, b) => a - b),
        [0, 1, 2]
      )
      assert.equal(events[0]?.kind, 'assigned')
      for (const event of events) {
        if (event.kind !== 'records') continue
        assert(event.records.length > 0)
        assert(event.records.every((r) => r.partition === event.partition && r.offset < event.end))
      }
    }
  )

  check(
    'asks where to resume once a partition, after it was assigned, and reads on from there',
    2,
    async ({ log, topic }) => {
      await log.append(
        topic,
        numbered(1200).map((r, i) => ({ ...r, partition: i % 2 }))
      )
      const all = await readAll(log, topic)
      for (const index of [0, 1, 299, 300, 511, 512, 599]) {
        const wanted = [0, 1].map((partition) => all.filter((r) => r.partition === partition).slice(index))
        const asked: number[] = []
        const again = await readAll(log, topic, async (partition) => {
          asked.push(partition)
          return wanted[partition]![0]!.offset
        })
        assert.deepEqual(asked.sort(), [0, 1])
        for (const partition of [0, 1])
          assert.deepEqual(values(again.filter((r) => r.partition === partition)), values(wanted[partition]!))
      }
      const ends = await log.ends(topic)
      assert.deepEqual(await readAll(log, topic, async (partition) => ends.get(partition)!), [])
    }
  )

  check(
    "puts a record where murmur2 of its key says, or where it says itself; a key's records stay in order",
    3,
    async ({ log, topic }) => {
      const records = Array.from({ length: 90 }, (_, i) => record(`user-${i % 30}`, String(i)))
      await log.append(topic, [...records, { ...record('elsewhere', 'here'), partition: 2 }])
      const read = await readAll(log, topic)
      assert.equal(read.length, 91)
      const here = read.find((r) => text(r.key) === 'elsewhere')
      assert.equal(here?.partition, 2)
      for (const r of read) if (r !== here) assert.equal(r.partition, partitionOf(r.key, 3))
      for (let user = 0; user < 30; user++) {
        const own = read.filter((r) => text(r.key) === `user-${user}`)
        assert.deepEqual(values(own), [user, user + 30, user + 60].map(String))
      }
    }
  )

  check('keeps null, empty, binary values, and headers', 1, async ({ log, topic }) => {
    const binary = Uint8Array.from({ length: 256 }, (_, i) => i)
    const headers = { reason: bytes('ünïcode'), empty: new Uint8Array(0), bits: binary }
    await log.append(topic, [
      record('a', null),
      record('b', ''),
      { key: binary, value: binary, headers },
      record('c', 'plain')
    ])
    const [deleted, empty, full, plain] = await readAll(log, topic)
    assert.equal(deleted?.value, null)
    assert.equal(text(deleted!.key), 'a')
    assert.equal(empty?.value?.length, 0)
    assert.deepEqual(Uint8Array.from(full!.key), binary)
    assert.deepEqual(Uint8Array.from(full!.value!), binary)
    assert.deepEqual(Object.keys(full!.headers).sort(), ['bits', 'empty', 'reason'])
    assert.equal(text(full!.headers.reason!), 'ünïcode')
    assert.equal(full!.headers.empty!.length, 0)
    assert.deepEqual(Uint8Array.from(full!.headers.bits!), binary)
    assert.deepEqual(plain!.headers, {})
  })

  check('takes records of several hundred kilobytes, unchanged', 1, async ({ log, topic }) => {
    const big = Uint8Array.from({ length: 700_000 }, (_, i) => (i * 31) & 255)
    await log.append(topic, [record('a', 'before'), { key: bytes('a'), value: big }, record('a', 'after')])
    await log.append(topic, [{ key: bytes('a'), value: big }])
    const read = await readAll(log, topic)
    assert.equal(read.length, 4)
    assert.deepEqual(Uint8Array.from(read[1]!.value!), big)
    assert.deepEqual(Uint8Array.from(read[3]!.value!), big)
    assert.equal(text(read[2]!.value), 'after')
  })

  check('does not keep the buffers that it was given', 1, async ({ log, topic }) => {
    const value = bytes('before')
    await log.append(topic, [{ key: bytes('k'), value }])
    value.fill(0)
    assert.deepEqual(values(await readAll(log, topic)), ['before'])
  })

  check(
    'ends at the end that there was when reading began, though more is appended meanwhile',
    1,
    async ({ log, topic }) => {
      await log.append(topic, numbered(5))
      const read: LogRecord[] = []
      for await (const event of log.read(topic, {
        resume: fromStart,
        signal: new AbortController().signal,
        untilEnd: true
      })) {
        if (event.kind !== 'records') continue
        await log.append(topic, [record('k', 'later')])
        read.push(...event.records)
      }
      assert.deepEqual(values(read).slice(0, 5), ['0', '1', '2', '3', '4'])
      assert(read.length <= 6)
    }
  )

  check('ends at once when there is nothing, and it is to be read to the end', 2, async ({ log, topic }) => {
    assert.deepEqual(await readAll(log, topic), [])
    assert.deepEqual([...(await log.ends(topic)).keys()].sort(), [0, 1])
  })

  check('says that it is idle, again and again while it is; gives what is appended then', 1, async ({ log, topic }) => {
    const kinds: string[] = []
    const read: LogRecord[] = []
    await follow(log, topic, async (event) => {
      kinds.push(event.kind)
      if (event.kind === 'idle' && read.length < 3) await log.append(topic, [record('k', String(read.length))])
      if (event.kind === 'records') read.push(...event.records)
      return kinds.at(-1) === 'idle' && kinds.at(-2) === 'idle' && read.length === 3
    })
    assert.deepEqual(values(read), ['0', '1', '2'])
    assert.equal(kinds.filter((kind) => kind === 'assigned').length, 1)
  })

  check('ends without an error on abort, while it waits and while it gives records', 1, async ({ log, topic }) => {
    await log.append(topic, numbered(5))
    const waiting = new AbortController()
    let given = 0
    for await (const event of log.read(topic, { resume: fromStart, signal: waiting.signal })) {
      if (event.kind === 'records') given += event.records.length
      // Asked for more right after it was idle, it waits: this comes then.
      if (event.kind === 'idle') setImmediate(() => waiting.abort())
    }
    assert.equal(given, 5)
    await follow(log, topic, (event) => event.kind === 'records')
    const before = AbortSignal.abort()
    for await (const event of log.read(topic, { resume: fromStart, signal: before }))
      assert.fail(`an event after abort: ${event.kind}`)
  })

  check('a reader that leaves early harms nobody', 1, async ({ log, topic }) => {
    await log.append(topic, numbered(5))
    for await (const event of log.read(topic, { resume: fromStart, signal: new AbortController().signal })) {
      if (event.kind === 'records') break
    }
    assert.equal((await readAll(log, topic)).length, 5)
  })

  check(
    'gives everything to each of several readers, of another member too, while it is appended',
    1,
    async ({ log, topic, another }) => {
      const other = await another()
      const reader = async (from: EventLog) => {
        const read: LogRecord[] = []
        await follow(from, topic, (event) => {
          if (event.kind === 'records') read.push(...event.records)
          return read.length >= 300
        })
        return values(read)
      }
      const readers = [reader(log), reader(log), reader(other)]
      for (let i = 0; i < 300; i += 10) await (i % 20 === 0 ? log : other).append(topic, numbered(10, i))
      const wanted = Array.from({ length: 300 }, (_, i) => String(i))
      for (const read of await Promise.all(readers)) assert.deepEqual(read, wanted)
    }
  )

  check(
    'several members appending at once lose nothing and keep their own order',
    1,
    async ({ log, topic, another }) => {
      const members = [log, await another(), await another()]
      await Promise.all(
        members.map(async (member, m) => {
          for (let i = 0; i < 20; i++) await member.append(topic, [record('k', `${m}:${i}`), record('k', `${m}:${i}b`)])
        })
      )
      const read = values(await readAll(log, topic))
      assert.equal(read.length, 120)
      for (let m = 0; m < 3; m++) {
        const own = read.filter((value) => value!.startsWith(`${m}:`))
        assert.deepEqual(own, Array.from({ length: 20 }, (_, i) => [`${m}:${i}`, `${m}:${i}b`]).flat())
      }
    }
  )

  check('refuses the older owner of a fence for good, and nobody else', 1, async ({ log, topic, another }) => {
    const newer = await another()
    await log.append(topic, [record('k', 'old 1')], 'owner-0')
    await log.append(topic, [record('k', 'old 2')], 'owner-0')
    // Claims without a record.
    await newer.append(topic, [], 'owner-0')
    for (let i = 0; i < 2; i++) {
      await assert.rejects(log.append(topic, [record('k', 'stalled')], 'owner-0'), (error: unknown) => {
        assert(error instanceof MtmiError)
        assert.equal(error.code, 'UNAVAILABLE')
        assert.equal(error.canRetry, false)
        return true
      })
    }
    await newer.append(topic, [record('k', 'new')], 'owner-0')
    await log.append(topic, [record('k', 'other fence')], 'owner-1')
    await log.append(topic, [record('k', 'no fence')])
    assert.deepEqual(values(await readAll(log, topic)), ['old 1', 'old 2', 'new', 'other fence', 'no fence'])
  })

  check('after an append that failed its fence refuses later ones until it is claimed again', 1, async (under) => {
    const { log, topic, clock } = under
    await log.append(topic, [record('k', '1')], 'owner-0')
    clock.fails = true
    const failed = log.append(topic, [record('k', '2')], 'owner-0')
    const inFlight = log.append(topic, [record('k', '3')], 'owner-0')
    const ends = Promise.allSettled([failed, inFlight])
    await assert.rejects(failed)
    clock.fails = false
    for (const { status } of await ends) assert.equal(status, 'rejected')
    await assert.rejects(log.append(topic, [record('k', '4')], 'owner-0'), (error: unknown) => {
      assert(error instanceof MtmiError)
      assert.equal(error.code, 'UNAVAILABLE')
      assert.equal(error.canRetry, false)
      return true
    })
    await log.append(topic, [record('k', 'no fence')])
    await log.append(topic, [], 'owner-0')
    await log.append(topic, [record('k', '5')], 'owner-0')
    assert.deepEqual(values(await readAll(log, topic)), ['1', 'no fence', '5'])
  })

  check('under a fence all records of a call become readable, or none', 2, async ({ log, topic }) => {
    await log.append(topic, [], 'owner-0')
    const nowhere = { ...record('k', 'nowhere'), partition: 7 }
    await assert.rejects(log.append(topic, [record('k', 'beside it'), nowhere], 'owner-0'), RangeError)
    assert.deepEqual(await readAll(log, topic), [])
    await log.append(topic, [], 'owner-0')
    await Promise.all([
      log.append(topic, [record('k', '1'), record('k', '2')], 'owner-0'),
      log.append(topic, [record('k', '3')], 'owner-0')
    ])
    assert.deepEqual(values(await readAll(log, topic)), ['1', '2', '3'])
  })
}
