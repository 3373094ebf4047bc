import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { Worker } from 'node:worker_threads'
import { ManualClock } from '../../../src/core/clock.ts'
import { ConfigError, CorruptError } from '../../../src/core/errors.ts'
import type { LogRecord } from '../../../src/log/eventLog.ts'
import { LocalLog, type LocalLogOptions } from '../../../src/log/local/localLog.ts'
import { eventLogSuite, FailingClock } from '../../conformance/eventLogSuite.ts'

eventLogSuite('LocalLog', async (partitions) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-log-'))
  const options = { partitions: () => partitions, clock: new FailingClock(1000) }
  const opened: LocalLog[] = []
  const another = async () => {
    const log = await LocalLog.open(directory, options)
    opened.push(log)
    return log
  }
  const close = async () => {
    for (const log of opened) await log.close()
    rmSync(directory, { recursive: true })
  }
  return { log: await another(), topic: 'events', another, clock: options.clock, close }
})

const bytes = (from: string) => new TextEncoder().encode(from)
const text = (from: Uint8Array | null) => (from === null ? null : new TextDecoder().decode(from))
const pair = (key: string, value: string | null) => ({ key: bytes(key), value: value === null ? null : bytes(value) })

/** A directory that is gone after the test. */
async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-log-'))
  try {
    await body(directory)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

async function withLog(
  options: Partial<LocalLogOptions>,
  body: (log: LocalLog, clock: ManualClock) => Promise<void>
): Promise<void> {
  await inDirectory(async (directory) => {
    const clock = new ManualClock(1000)
    const log = await LocalLog.open(directory, { partitions: () => 1, clock, ...options })
    try {
      await body(log, clock)
    } finally {
      await log.close()
    }
  })
}

async function readAll(log: LocalLog, topic: string, resume = 0n): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  for await (const event of log.read(topic, {
    resume: async () => resume,
    signal: new AbortController().signal,
    untilEnd: true
  })) {
    if (event.kind === 'records') records.push(...event.records)
  }
  return records
}

const pairs = (records: readonly LogRecord[]) =>
  records.map((record) => `${record.offset} ${text(record.key)}=${text(record.value)}`)

test('offsets start at 0 and count on after it was closed and opened again', async () => {
  await inDirectory(async (directory) => {
    const options = { partitions: () => 2, clock: new ManualClock(5) }
    for (let i = 0; i < 3; i++) {
      const log = await LocalLog.open(directory, options)
      await log.append('t', [
        { ...pair('a', String(i)), partition: 1 },
        { ...pair('b', String(i)), partition: 1 }
      ])
      await log.close()
    }
    const log = await LocalLog.open(directory, options)
    assert.deepEqual(pairs(await readAll(log, 't')), ['0 a=0', '1 b=0', '2 a=1', '3 b=1', '4 a=2', '5 b=2'])
    assert.deepEqual(
      [...(await log.ends('t'))],
      [
        [0, 0n],
        [1, 6n]
      ]
    )
    await log.close()
  })
})

test('takes a record of several megabytes beside small ones', async () => {
  await withLog({}, async (log) => {
    const big = new Uint8Array(5_000_000).fill(7)
    await log.append('t', [pair('a', '1'), { key: bytes('b'), value: big }, pair('c', '3')])
    const read = await readAll(log, 't')
    assert.deepEqual(
      read.map((record) => record.value!.length),
      [1, 5_000_000, 1]
    )
    assert(read[1]!.value!.every((byte) => byte === 7))
  })
})

test('times never go back, though the clock does', async () => {
  await withLog({}, async (log, clock) => {
    await log.append('t', [pair('a', '1')])
    clock.advance(-500)
    await log.append('t', [pair('a', '2')])
    clock.advance(600)
    await log.append('t', [pair('a', '3')])
    assert.deepEqual(
      (await readAll(log, 't')).map((record) => record.timestampMs),
      [1000, 1000, 1100]
    )
  })
})

test('retention removes what is older, keeps offsets, and goes on', async () => {
  await withLog({ retentionMs: 100 }, async (log, clock) => {
    await log.append('t', [pair('a', '1'), pair('a', '2')])
    clock.advance(60)
    await log.append('t', [pair('a', '3')])
    clock.advance(40)
    // Taken at 1000 and 1060, now 1100: none is older than 100 ms.
    assert.deepEqual(await log.maintain(), { removed: 0, more: false })
    clock.advance(1)
    assert.deepEqual(await log.maintain(), { removed: 2, more: false })
    assert.deepEqual(pairs(await readAll(log, 't')), ['2 a=3'])
    clock.advance(1000)
    assert.deepEqual(await log.maintain(), { removed: 1, more: false })
    assert.deepEqual(await readAll(log, 't'), [])
    await log.append('t', [pair('a', '4')])
    assert.deepEqual(pairs(await readAll(log, 't')), ['3 a=4'])
  })
})

test('compaction keeps the newest of each key and everything younger than the lag', async () => {
  await withLog({ compactionLagMs: () => 100, retentionMs: 1 }, async (log, clock) => {
    await log.append('t', [pair('a', '1'), pair('b', '1'), pair('a', '2'), pair('c', '1')])
    clock.advance(50)
    await log.append('t', [pair('b', '2'), pair('c', null)])
    clock.advance(50)
    assert.deepEqual(await log.maintain(), { removed: 0, more: false })
    clock.advance(1)
    // Only the first four are old enough: of them a=1 has a successor.
    assert.deepEqual(await log.maintain(), { removed: 1, more: false })
    assert.deepEqual(pairs(await readAll(log, 't')), ['1 b=1', '2 a=2', '3 c=1', '4 b=2', '5 c=null'])
    clock.advance(50)
    // Now b=1 has one too, c is deleted, and its deletion was kept as long as the lag.
    assert.deepEqual(await log.maintain(), { removed: 3, more: false })
    assert.deepEqual(pairs(await readAll(log, 't')), ['2 a=2', '4 b=2'])
    // From before, within and after the gaps.
    assert.deepEqual(pairs(await readAll(log, 't', 3n)), ['4 b=2'])
    assert.deepEqual(pairs(await readAll(log, 't', 5n)), [])
    await log.append('t', [pair('c', '3')])
    assert.deepEqual(pairs(await readAll(log, 't', 5n)), ['6 c=3'])
  })
})

test('a topic that keeps tombstones still says after compaction which keys were deleted', async () => {
  await withLog({ compactionLagMs: () => 0, keepsTombstones: () => true }, async (log, clock) => {
    await log.append('t', [pair('a', '1'), pair('b', '1'), pair('a', null)])
    clock.advance(1)
    assert.deepEqual(await log.maintain(), { removed: 1, more: false })
    assert.deepEqual(pairs(await readAll(log, 't')), ['1 b=1', '2 a=null'])
    await log.append('t', [pair('a', '2')])
    clock.advance(1)
    await log.maintain()
    assert.deepEqual(pairs(await readAll(log, 't')), ['1 b=1', '3 a=2'])
  })
})

test('compaction takes single records out of blocks that were written before the topic was compacted', async () => {
  await inDirectory(async (directory) => {
    const clock = new ManualClock(1000)
    const plain = await LocalLog.open(directory, { partitions: () => 1, clock })
    const headers = { h: bytes('kept') }
    await plain.append('t', [pair('a', '1'), { ...pair('b', '1'), headers }, pair('a', '2'), pair('a', '3')])
    await plain.close()
    const log = await LocalLog.open(directory, { partitions: () => 1, clock, compactionLagMs: () => 0 })
    clock.advance(1)
    assert.deepEqual(await log.maintain(), { removed: 2, more: false })
    const read = await readAll(log, 't')
    assert.deepEqual(pairs(read), ['1 b=1', '3 a=3'])
    assert.equal(text(read[0]!.headers.h!), 'kept')
    assert.deepEqual(
      read.map((record) => record.timestampMs),
      [1000, 1000]
    )
    await log.close()
  })
})

test('compaction does its work in parts and says that there is more', async () => {
  await withLog({ compactionLagMs: () => 0 }, async (log, clock) => {
    await log.append(
      't',
      Array.from({ length: 2500 }, (_, i) => pair(`key-${i % 10}`, String(i)))
    )
    clock.advance(1)
    let removed = 0
    let calls = 0
    for (let more = true; more; calls++) {
      const done = await log.maintain()
      removed += done.removed
      more = done.more
    }
    assert.equal(removed, 2490)
    assert(calls > 1)
    assert.deepEqual(
      pairs(await readAll(log, 't')),
      Array.from({ length: 10 }, (_, i) => `${2490 + i} key-${i}=${2490 + i}`)
    )
  })
})

test('a reader that starts beyond the end is told that log and state do not belong together', async () => {
  await withLog({}, async (log) => {
    await log.append('t', [pair('a', '1')])
    await assert.rejects(readAll(log, 't', 2n), CorruptError)
  })
})

test('refuses another number of partitions, and names that are no file names', async () => {
  await inDirectory(async (directory) => {
    const clock = new ManualClock()
    const two = await LocalLog.open(directory, { partitions: () => 2, clock })
    await two.append('t', [pair('a', '1')])
    await two.close()
    const three = await LocalLog.open(directory, { partitions: () => 3, clock })
    await assert.rejects(
      three.append('t', [pair('a', '1')]),
      (error: unknown) => error instanceof ConfigError && /2 partitions.*3/.test(error.message)
    )
    for (const name of ['..', '.', '', 'a/b', 'a b'])
      await assert.rejects(three.append(name, [pair('a', '1')]), ConfigError)
    await assert.rejects(three.append('u', [{ ...pair('a', '1'), partition: 3 }]), RangeError)
    await three.close()
  })
})

test('asking for the ends of a topic that is not there does not make it', async () => {
  await withLog({}, async (log) => {
    assert.deepEqual([...(await log.ends('nobody'))], [[0, 0n]])
    assert.deepEqual(log.topics(), [])
  })
})

test('a closed log refuses appends and ends its readers', async () => {
  await withLog({}, async (log) => {
    const kinds: string[] = []
    for await (const event of log.read('t', { resume: async () => 0n, signal: new AbortController().signal })) {
      kinds.push(event.kind)
      if (event.kind === 'idle') setImmediate(() => void log.close())
    }
    assert.deepEqual(kinds, ['assigned', 'idle'])
    await assert.rejects(log.append('t', [pair('a', '1')]), /closed/)
  })
})

test('files that are not what was written are CorruptErrors, never a crash', async () => {
  await inDirectory(async (directory) => {
    const options = { partitions: () => 1, clock: new ManualClock() }
    const damage: Record<string, (file: string) => void> = {
      noise: (file) => writeFileSync(file, Buffer.alloc(40_000, 7)),
      zeros: (file) => writeFileSync(file, Buffer.alloc(40_000)),
      short: (file) => writeFileSync(file, 'abc'),
      cut: (file) => truncateSync(file, 8192)
    }
    for (const [name, spoil] of Object.entries(damage)) {
      const log = await LocalLog.open(directory, options)
      await log.append(name, [pair('a', '1')])
      await log.close()
      spoil(path.join(directory, name, 'data.mdb'))
      const again = await LocalLog.open(directory, options)
      await assert.rejects(readAll(again, name), CorruptError, name)
      await assert.rejects(again.append(name, [pair('a', '1')]), CorruptError, name)
      await again.close()
    }
  })
})

test('a changed byte in a record is found by its checksum', async () => {
  await inDirectory(async (directory) => {
    const options = { partitions: () => 1, clock: new ManualClock() }
    const log = await LocalLog.open(directory, options)
    await log.append('t', [pair('a', 'a value to be damaged')])
    await log.close()
    const file = path.join(directory, 't', 'data.mdb')
    const content = readFileSync(file)
    for (let at = content.indexOf('to be damaged'); at >= 0; at = content.indexOf('to be damaged', at + 1))
      content[at]! ^= 1
    writeFileSync(file, content)
    const again = await LocalLog.open(directory, options)
    await assert.rejects(
      readAll(again, 't'),
      (error: unknown) => error instanceof CorruptError && /checksum/.test(error.message)
    )
    await again.close()
  })
})

const appender = new URL('./localLogAppender.ts', import.meta.url)

test('processes append at once; one that is killed in the middle loses nothing that it was told is durable', async () => {
  await inDirectory(async (directory) => {
    const log = await LocalLog.open(directory, { partitions: () => 1, clock: new ManualClock(1) })
    const execArgv = ['--import', 'tsx']
    const acknowledged = [0, 0]
    const children = acknowledged.map((_, i) => {
      const child = fork(appender, [directory, String(i)], { execArgv })
      child.on('message', (count: number) => {
        acknowledged[i] = count
        // Mid-way: most likely within an append.
        if (count >= 50 && i === 0) child.kill('SIGKILL')
      })
      return child
    })
    const exits = children.map((child) => once(child, 'exit'))
    const seen: string[] = []
    const abort = new AbortController()
    // One that fails would be waited for in vain; what it did not write is missed below.
    children[1]!.on('exit', (code) => code !== 0 && abort.abort())
    for await (const event of log.read('t', { resume: async () => 0n, signal: abort.signal })) {
      if (event.kind !== 'records') continue
      seen.push(...event.records.map((record) => text(record.value)!))
      if (seen.filter((value) => value.startsWith('1:')).length === 200) abort.abort()
    }
    const [, [code]] = (await Promise.all(exits)) as [unknown, [number | null]]
    assert.equal(code, 0)
    const all = (await readAll(log, 't')).map((record) => text(record.value)!)
    assert.deepEqual(all.slice(0, seen.length), seen)
    const killed = all.filter((value) => value.startsWith('0:'))
    assert(killed.length >= acknowledged[0]! && acknowledged[0]! >= 50)
    assert.deepEqual(
      killed,
      killed.map((_, i) => `0:${i}`)
    )
    await log.append('t', [pair('k', 'after')])
    assert.equal((await readAll(log, 't')).length, all.length + 1)
    await log.close()
  })
})

test('worker threads append to what the main thread reads', async () => {
  await inDirectory(async (directory) => {
    const log = await LocalLog.open(directory, { partitions: () => 1, clock: new ManualClock(1) })
    const worker = new Worker(
      `import('tsx/esm/api').then(({ register }) => { register(); return import(${JSON.stringify(appender.href)}) })`,
      {
        eval: true,
        argv: [directory, '7']
      }
    )
    const exit = once(worker, 'exit')
    let seen = 0
    const abort = new AbortController()
    for await (const event of log.read('t', { resume: async () => 0n, signal: abort.signal })) {
      if (event.kind === 'records') seen += event.records.length
      if (seen === 200) abort.abort()
    }
    assert.deepEqual(await exit, [0])
    await log.append('t', [pair('k', 'after')])
    assert.equal((await readAll(log, 't')).length, 201)
    await log.close()
  })
})
