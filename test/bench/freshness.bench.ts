// From click to answer: how long after the log took an event a search finds the vectors that it changed, by stage, at a
// steady rate and with training on.
//
// What should be possible: sequencing emits within milliseconds, publisher and trainer share a thread: a user waits for
// the step under way (60–90 ms), userWaitMs (50 ms) and the batch of others. An item that is new waits for its first
// batch and for the next of the updates (train.updateIntervalMs).
//
// node --import tsx test/bench/freshness.bench.ts [--rate 1000 --rate 3000] [--seconds 20] [--kafka] [--set
// section.key=value …] [--json]
// --kafka: over the brokers of KAFKA_BROKERS, or one that is started for it. QDRANT_URL: into that index.
//
// byStage: `accepted`, the event's way into the log; then, each from where the one before ends, `sequenced`, until the
// user's window is in user-sequences; `read`, until the publisher knows of it; `wait`, until it takes the user up;
// `encode` and `write`, of the batch. `users` is from accepted to found by a search.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { WholePipeline } from '../../pipelines/allInOne.ts'
import { openQdrantIndex } from '../../pipelines/parts.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import { applyTopics, wantedTopics } from '../../src/log/kafka/kafkaTopics.ts'
import type { MetricsReport } from '../../src/monitor/metrics.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { benchBroker } from './benchBroker.ts'

const { values } = parseArgs({
  options: {
    rate: { type: 'string', multiple: true, default: ['1000', '3000'] },
    seconds: { type: 'string', default: '20' },
    set: { type: 'string', multiple: true, default: [] },
    kafka: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false }
  }
})
const seconds = Number(values.seconds)
const warmupSeconds = 10
/** Users looked for at a time: more would be a load of their own. */
const probesMax = 200
/** Share of the events that are looked for. */
const probedPerSecond = 40
const tickMs = 5
const pollMs = 10
const patienceMs = 60_000
const text = new TextDecoder()

interface Quantiles {
  readonly count: number
  readonly p50Ms: number
  readonly p99Ms: number
}

function quantiles(ages: number[]): Quantiles {
  ages.sort((a, b) => a - b)
  const at = (share: number) => Math.round(ages[Math.floor(ages.length * share)] ?? Number.NaN)
  return { count: ages.length, p50Ms: at(0.5), p99Ms: at(0.99) }
}

interface Probe {
  readonly userId: string
  readonly eventTimeMs: number
  readonly acceptedMs: number
  readonly measured: boolean
  sequencedMs?: number
}

/** @param brokers of Kafka; undefined: the embedded log */
async function measure(rate: number, brokers: readonly string[] | undefined): Promise<Record<string, unknown>> {
  const dataDir = mkdtempSync(path.join(tmpdir(), 'mtmi-bench-'))
  const settings: Record<string, Record<string, unknown>> = {}
  for (const setting of values.set) {
    const [, section, key, value] = /^(\w+)\.(\w+)=(.*)$/.exec(setting)!
    settings[section!] = { ...settings[section!], [key!]: JSON.parse(value!) }
  }
  const suffix = `${process.pid}-${rate}`
  const qdrant = process.env.QDRANT_URL
  const config = resolveConfig(
    undefined,
    {},
    {
      ...settings,
      dataDir,
      ...(brokers === undefined
        ? {}
        : { log: 'kafka', kafka: { ...settings.kafka, brokers, clientId: `bench-${suffix}` } }),
      ...(qdrant === undefined
        ? {}
        : { index: 'qdrant', qdrant: { prefix: `bench_${process.pid}_${rate}_`, ...settings.qdrant, url: qdrant } }),
      ...(brokers === undefined
        ? {}
        : {
            topics: Object.fromEntries(
              ['interactions', 'items', 'userSequences', 'modelUpdates'].map((topic) => [
                topic,
                `bench-${suffix}-${topic}`
              ])
            )
          })
    }
  )
  if (brokers !== undefined) await applyTopics(config.kafka, wantedTopics(config))
  const run = new RunDirectory(dataDir, `bench-${suffix}`).make({ configFile: null })
  const pipeline = await WholePipeline.open(config, dataDir, run, {
    onProblem: (problem) => process.stderr.write(`warning: ${problem}\n`)
  })
  const stop = new AbortController()
  const { log, codecs } = pipeline.io
  const total = rate * (warmupSeconds + seconds)
  const simulation = simulate({ events: total, users: 2000, items: 3000, topics: 40, badShare: 0 })
  await pipeline.loadItems(simulation.items())
  const ages = {
    accepted: [] as number[],
    sequenced: [] as number[],
    users: [] as number[],
    items: [] as number[]
  }
  /** What the publisher says of all users that it wrote, milliseconds. */
  const parts: Record<'read' | 'wait' | 'encode' | 'write', number[]> = { read: [], wait: [], encode: [], write: [] }
  let measuring = false
  const apply = pipeline.metrics.apply.bind(pipeline.metrics)
  pipeline.metrics.apply = (report: MetricsReport) => {
    for (const entry of report) {
      if (measuring && entry.metric === 'freshnessParts' && 'values' in entry)
        for (const value of entry.values) parts[entry.labels.part].push(value * 1000)
    }
    apply(report)
  }
  let lost = 0
  const waiting = new Map<string, Probe>()
  const newItems = new Map<string, { readonly acceptedMs: number; readonly measured: boolean }>()
  const seenItems = new Set<string>()
  const encoder = new TextEncoder()

  const follow = async () => {
    const ends = await log.ends(config.topics.userSequences)
    for await (const event of log.read(config.topics.userSequences, {
      resume: async (partition) => ends.get(partition) ?? 0n,
      signal: stop.signal
    })) {
      if (event.kind !== 'records') continue
      const nowMs = performance.now()
      for (const { key, value } of event.records) {
        const probe = waiting.get(text.decode(key))
        if (probe === undefined || value === null || probe.sequencedMs !== undefined) continue
        if (codecs.userSequence.decode(value).newestMs >= probe.eventTimeMs) probe.sequencedMs = nowMs
      }
    }
  }
  const lookForUser = async (userId: string, probe: Probe) => {
    const user = await pipeline.index.user(userId)
    if (performance.now() - probe.acceptedMs > patienceMs) {
      waiting.delete(userId)
      lost++
      return
    }
    if (user === undefined || user.payload.newestMs < probe.eventTimeMs) return
    waiting.delete(userId)
    // Found by a search, not only stored.
    const found = await pipeline.index.search({ by: { userId } }, 1)
    const foundMs = performance.now()
    if (!probe.measured || (found.user?.newestMs ?? 0) < probe.eventTimeMs) return
    ages.users.push(foundMs - probe.acceptedMs)
    if (probe.sequencedMs !== undefined) ages.sequenced.push(Math.max(0, probe.sequencedMs - probe.acceptedMs))
  }
  const lookForItem = async (
    itemId: string,
    { acceptedMs, measured }: { readonly acceptedMs: number; readonly measured: boolean }
  ) => {
    const item = await pipeline.index.item(itemId)
    if (item === undefined || item.payload.count === 0) return
    newItems.delete(itemId)
    if (measured) ages.items.push(performance.now() - acceptedMs)
  }
  // All of a round at once: with an answer of some milliseconds each, one after the other would be what is measured.
  const look = async () => {
    while (!stop.signal.aborted) {
      await Promise.all([...waiting].map(([userId, probe]) => lookForUser(userId, probe)))
      await Promise.all([...newItems].map(([itemId, item]) => lookForItem(itemId, item)))
      await pause(pollMs)
    }
  }
  const following = follow()
  const looking = look()

  // Open loop: what is due is appended, whether or not the append before has been acknowledged.
  const events = simulation.interactions()[Symbol.iterator]() as Iterator<Interaction>
  const startMs = performance.now()
  const appends: Promise<void>[] = []
  let sent = 0
  let nextProbe = 0
  while (sent < total) {
    const due = Math.min(total, Math.floor(((performance.now() - startMs) * rate) / 1000))
    const block: Interaction[] = []
    while (sent < due) {
      const { value, done } = events.next()
      if (done === true) break
      block.push(value)
      sent++
    }
    if (block.length > 0) {
      const dueMs = performance.now()
      const measured = dueMs - startMs > warmupSeconds * 1000
      measuring = measured
      const records = block.map((interaction) => ({
        key: encoder.encode(interaction.userId),
        value: codecs.interaction.encode(interaction)
      }))
      appends.push(
        log.append(config.topics.interactions, records).then(() => {
          const acceptedMs = performance.now()
          if (measured) ages.accepted.push(acceptedMs - dueMs)
          for (const { itemId } of block) {
            if (seenItems.has(itemId)) continue
            seenItems.add(itemId)
            newItems.set(itemId, { acceptedMs, measured })
          }
          const last = block.at(-1)!
          if (acceptedMs < nextProbe || waiting.size >= probesMax || waiting.has(last.userId)) return
          nextProbe = acceptedMs + 1000 / probedPerSecond
          waiting.set(last.userId, { userId: last.userId, eventTimeMs: last.eventTimeMs, acceptedMs, measured })
        })
      )
    }
    if (pipeline.failure !== undefined) throw pipeline.failure
    await pause(tickMs)
  }
  await Promise.all(appends)
  const lagAtEnd = Object.fromEntries(
    [...pipeline.stages()].map(({ stage, lagSeconds }) => [stage, Number(lagSeconds.toFixed(1))])
  )
  for (const deadline = performance.now() + patienceMs; waiting.size > 0 && performance.now() < deadline; )
    await pause(pollMs)
  const learned = pipeline.status().train?.examplesThisRun ?? 0
  const elapsedSeconds = (performance.now() - startMs) / 1000
  stop.abort()
  await Promise.all([following, looking])
  await pipeline.close()
  if (qdrant !== undefined) {
    // What is left behind costs whoever measures next.
    const index = await openQdrantIndex(config, run.name)
    await index.clear()
    await index.close()
  }
  rmSync(dataDir, { recursive: true, force: true })
  return {
    ...{ rate, seconds, users: quantiles(ages.users), items: quantiles(ages.items), lost: lost + waiting.size },
    byStage: {
      ...{ accepted: quantiles(ages.accepted), sequenced: quantiles(ages.sequenced) },
      ...Object.fromEntries(Object.entries(parts).map(([part, values]) => [part, quantiles(values)]))
    },
    trainedPerSecond: Math.round(learned / elapsedSeconds),
    lagSecondsAtEnd: lagAtEnd
  }
}

const results: Record<string, unknown>[] = []
const broker = values.kafka ? await benchBroker() : undefined
for (const rate of values.rate.map(Number)) {
  const result = await measure(rate, broker?.brokers)
  results.push(result)
  if (!values.json) process.stdout.write(`${JSON.stringify(result, null, 1)}\n`)
}
await broker?.stop()
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
const load = Number(loadavg()[0]!.toFixed(1))
const on = {
  log: values.kafka ? 'Kafka' : 'embedded',
  index: process.env.QDRANT_URL === undefined ? 'embedded' : 'Qdrant'
}
process.stdout.write(
  `${JSON.stringify({ benchmark: 'freshness', commit, cpu: cpus()[0]?.model, cores: cpus().length, load, node: process.version, ...on, set: values.set, results })}\n`
)
