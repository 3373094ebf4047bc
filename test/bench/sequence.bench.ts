// How fast the sequencer is, and how much a user takes on disk. `node --import tsx test/bench/sequence.bench.ts
// [events] [users on disk]` prints one line of JSON.
//
// What should be possible. accept: a hash of a 36-character id (.1 µs), two map look-ups (.2 µs), two arrays of some 50
// pointers copied (.2 µs), six small objects (.3 µs): 1 million a second. With LMDB, a user who is not cached costs a
// read and an unpack of 50 steps (5 µs) and, once per commit, a pack and a put (8 µs): 70,000 a second where no user
// comes twice in a second. A user: 50 steps · 46 bits (17 of item, 2 of type, 27 of gap) = 288 bytes, 24 of time, id
// and checksum, 22 of key and node, 38 in the index by time: 372; over LMDB's pages, which are two thirds full in
// random order, 0.5 KiB.

import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { configSchema } from '../../src/core/config/config.ts'
import { Rng } from '../../src/core/rng.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { LmdbSequenceStore } from '../../src/sequence/lmdbSequenceStore.ts'
import { Sequencer } from '../../src/sequence/sequencer.ts'
import type { SequenceStore } from '../../src/sequence/sequenceStore.ts'
import { MemorySequenceStore } from '../support/memorySequenceStore.ts'

const count = Number(process.argv[2] ?? 300_000)
const usersOnDisk = Number(process.argv[3] ?? 100_000)
const repeats = 5
const catalogue = 100_000
const config = configSchema.parse({})
const types = ['click', 'click', 'click', 'view', 'purchase']

/** A gap between a user's steps, log-uniform between one minute and three days. */
const gapMs = (rng: Rng) => Math.round(60_000 * (3 * 24 * 60) ** rng.uniform())
/** Popular items come early in the dictionary, as they are seen first. */
const itemOf = (rng: Rng) => `item-${Math.floor(catalogue * rng.uniform() ** 2)}`

/**
 * A stream of 50 events a second, up to a minute out of order. @param skew 1: users are drawn alike; larger: few users
 * make most events
 */
function stream(rng: Rng, events: number, users: number, skew: number): Interaction[] {
  return Array.from({ length: events }, (_, i) => ({
    eventId: `${rng.uint32().toString(16).padStart(8, '0')}-5f7c-4d2e-9a41-${i.toString(16).padStart(12, '0')}`,
    userId: `user-${Math.floor(users * rng.uniform() ** skew)}`,
    itemId: itemOf(rng),
    type: types[rng.integer(types.length)]!,
    eventTimeMs: 1_700_000_000_000 + i * 20 - rng.integer(60_000),
    source: { topic: 'clicks', partition: i % 8, offset: BigInt(i) }
  }))
}

/** Events a second through accept and take, by 256, with a commit of the store every second. */
async function throughput(
  store: SequenceStore,
  events: readonly Interaction[]
): Promise<{ perSecond: number; perCpuSecond: number; commitMs: number }> {
  const sequencer = new Sequencer({ store, partition: 0, options: config.sequence, eventTypes: config.events.types })
  const cpu = process.cpuUsage()
  const start = performance.now()
  let lastCommit = start
  let commits = 0
  let commitMs = 0
  const commit = async (next: number) => {
    const before = performance.now()
    await sequencer.commit(BigInt(next))
    lastCommit = performance.now()
    commitMs += lastCommit - before
    commits++
  }
  const base = store.committed()
  for (let at = 0; at < events.length; at += config.sequence.emitEventsMax) {
    const end = Math.min(events.length, at + config.sequence.emitEventsMax)
    for (let i = at; i < end; i++) sequencer.accept(events[i]!, base + BigInt(i), i)
    sequencer.take()
    if (performance.now() - lastCommit >= config.sequence.commitIntervalMs) await commit(Number(base) + end)
  }
  await commit(Number(base) + events.length)
  const { user, system } = process.cpuUsage(cpu)
  return {
    perSecond: (events.length / (performance.now() - start)) * 1000,
    perCpuSecond: (events.length / (user + system)) * 1e6,
    commitMs: commitMs / commits
  }
}

function summary(values: readonly number[]): { median: number; min: number; max: number } {
  const sorted = values.map(Math.round).sort((a, b) => a - b)
  return { median: sorted[sorted.length >> 1]!, min: sorted[0]!, max: sorted.at(-1)! }
}

async function inDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'mtmi-bench-'))
  try {
    return await use(directory)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/**
 * A store that has grown as stores do: users in random order, whose windows grow in five rounds to 50 steps, in commits
 * of 1/200 of the users (a million users, 5,000 of them active in a second).
 */
async function fill(directory: string): Promise<{ bytesPerUser: number; usersPerSecond: number }> {
  const rng = new Rng(2)
  const store = await LmdbSequenceStore.open(directory, 0)
  const start = performance.now()
  const perCommit = Math.ceil(usersOnDisk / 200)
  let writes = 0
  for (let round = 1; round <= 5; round++) {
    const order = Array.from({ length: usersOnDisk }, (_, i) => i)
    for (let i = order.length - 1; i > 0; i--) {
      const j = rng.integer(i + 1)
      ;[order[i], order[j]] = [order[j]!, order[i]!]
    }
    for (const user of order) {
      const own = new Rng(user)
      let eventTimeMs = 1_650_000_000_000 + own.integer(1_000_000_000)
      const steps = Array.from({ length: round * 10 }, () => {
        eventTimeMs += gapMs(own)
        return { itemId: itemOf(own), type: types[own.integer(types.length)]!, eventTimeMs }
      })
      const newest = { ...steps.at(-1)!, source: { partition: 3, offset: BigInt(round * 1_000_000 + user) } }
      steps[steps.length - 1] = newest
      store.put(`user-${user}`, {
        steps,
        recent: [{ idHash: BigInt(own.uint32()) << 31n, eventTimeMs }],
        newestMs: eventTimeMs
      })
      if (++writes % perCommit === 0) await store.commit(BigInt(writes), eventTimeMs)
    }
    await store.commit(BigInt(writes), 1)
  }
  const seconds = (performance.now() - start) / 1000
  await store.close()
  return {
    bytesPerUser: statSync(join(directory, 'sequences-0.lmdb')).size / usersOnDisk,
    usersPerSecond: writes / seconds
  }
}

const memory: number[] = []
const memoryCpu: number[] = []
const lmdb: number[] = []
const lmdbFlat: number[] = []
const commitMs: number[] = []
const skewed = stream(new Rng(1), count, 50_000, 2)
const flat = stream(new Rng(3), count, 200_000, 1)
await throughput(new MemorySequenceStore(), skewed.slice(0, 50_000)) // warm-up
for (let i = 0; i < repeats; i++) {
  const inMemory = await throughput(new MemorySequenceStore(), skewed)
  memory.push(inMemory.perSecond)
  memoryCpu.push(inMemory.perCpuSecond)
  for (const [events, into] of [
    [skewed, lmdb],
    [flat, lmdbFlat]
  ] as const) {
    await inDirectory(async (directory) => {
      const store = await LmdbSequenceStore.open(directory, 0)
      const result = await throughput(store, events)
      into.push(result.perSecond)
      commitMs.push(result.commitMs)
      await store.close()
    })
  }
}
const disk = await inDirectory(fill)
const line = {
  bench: 'sequence',
  events: count,
  repeats,
  memoryEventsPerSecond: summary(memory),
  memoryEventsPerCpuSecond: summary(memoryCpu),
  lmdbEventsPerSecond: summary(lmdb),
  lmdbFlatEventsPerSecond: summary(lmdbFlat),
  commitMs: summary(commitMs),
  usersOnDisk,
  bytesPerUserOf50Steps: Math.round(disk.bytesPerUser),
  gibPerMillionUsers: Number(((disk.bytesPerUser * 1e6) / 2 ** 30).toFixed(3)),
  windowsWrittenPerSecond: Math.round(disk.usersPerSecond),
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  node: process.version
}
process.stdout.write(`${JSON.stringify(line)}\n`)
