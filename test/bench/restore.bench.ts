// How fast the histories of a partition come back from user-sequences, where a process has no copy of its own: `npm run
// bench -- restore [users]`.
//
// What should be possible. A user of 50 steps is 760 bytes, lz4 half of it. To read them .5 µs, to find and decode 50
// steps 4, to pack them 6: 10 µs and 95,000 users a second on one core; a second one writes LMDB's pages meanwhile, 5
// µs a user.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { openStageIo } from '../../pipelines/parts.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { Rng } from '../../src/core/rng.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { applyTopics, wantedTopics } from '../../src/log/kafka/kafkaTopics.ts'
import { openOwnedSequences, ownedDisk } from '../../src/sequence/ownedSequences.ts'
import { benchBroker } from './benchBroker.ts'

// One JSON line either way: `--json` is for those who give it to every benchmark.
const users = Number(process.argv.slice(2).find((argument) => argument !== '--json') ?? 50_000)
if (!(Number.isInteger(users) && users > 0))
  throw new Error(`restore: give a whole number of users above 0, not ${process.argv[2]}`)
const stepsPerUser = 50
const repeats = 5
const { brokers, stop } = await benchBroker()
const dataDir = mkdtempSync(path.join(os.tmpdir(), 'mtmi-restore-'))
const name = `restore-${process.pid}`
const topics = {
  interactions: `${name}.i`,
  items: `${name}.c`,
  userSequences: `${name}.s`,
  modelUpdates: `${name}.m`,
  partitions: 1
}
const config = resolveConfig({}, {}, { dataDir, log: 'kafka', kafka: { brokers, clientId: name }, topics })
await applyTopics(config.kafka, wantedTopics(config))
const run = new RunDirectory(dataDir, 'live')
mkdirSync(run.root, { recursive: true })
const io = await openStageIo(config, run)
try {
  const rng = new Rng(1)
  const text = new TextEncoder()
  let block = []
  let bytes = 0
  for (let user = 0; user < users; user++) {
    const steps = Array.from({ length: stepsPerUser }, (_, i) => ({
      itemId: `item-${Math.floor(20_000 * rng.uniform() ** 2)}`,
      type: 'click',
      eventTimeMs: 1_700_000_000_000 + user * 1000 + i * 60_000
    }))
    const newestMs = steps.at(-1)!.eventTimeMs
    const fresh = [{ position: stepsPerUser - 1, offset: BigInt(user) }]
    const sequence = {
      userId: `user-${user}`,
      steps,
      recent: [],
      newestMs,
      fresh,
      partition: 0,
      committed: BigInt(user),
      watermarkMs: newestMs,
      acceptedAtMs: newestMs
    }
    const value = io.codecs.userSequence.encode(sequence)
    bytes += value.length
    block.push({ key: text.encode(sequence.userId), value, partition: 0 })
    if (block.length < 1000) continue
    await io.log.append(config.topics.userSequences, block)
    block = []
  }
  await io.log.append(config.topics.userSequences, block)
  const results: { usersPerSecond: number; cpuSeconds: number }[] = []
  for (let repeat = 0; repeat < repeats; repeat++) {
    const folder = run.path(`sequence-${repeat}`)
    const cpu = process.cpuUsage()
    const startedMs = performance.now()
    const store = await openOwnedSequences({ io, disk: ownedDisk(folder) }, 0)
    const seconds = (performance.now() - startedMs) / 1000
    const { user, system } = process.cpuUsage(cpu)
    results.push({
      usersPerSecond: Math.round(store.userCount() / seconds),
      cpuSeconds: Number(((user + system) / 1e6).toFixed(2))
    })
    await store.close()
  }
  results.sort((a, b) => a.usersPerSecond - b.usersPerSecond)
  const line = {
    bench: 'restore',
    users,
    stepsPerUser,
    bytesPerRecord: Math.round(bytes / users),
    medianUsersPerSecond: results[results.length >> 1]!.usersPerSecond,
    results,
    cpu: os.cpus()[0]?.model,
    cores: os.cpus().length,
    node: process.version
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
} finally {
  await io.log.close()
  await stop()
  rmSync(dataDir, { recursive: true, force: true })
}
