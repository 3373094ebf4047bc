// The configured parts, opened: which log, which index, and where on disk the embedded ones live. The clients of Kafka and Qdrant are only loaded where they are used.

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type StageClock, systemClock } from '../src/base/clock.ts'
import type { Config } from '../src/base/config.ts'
import { ConfigError, UnavailableError } from '../src/base/errors.ts'
import type { Offsets } from '../src/base/offsets.ts'
import { Rng } from '../src/base/rng.ts'
import type { EventLog } from '../src/event/eventLog.ts'
import { type Codecs, createCodecs } from '../src/io/avro/avroCodecs.ts'
import { EmbeddedIndex } from '../src/io/embeddedIndex/embeddedIndex.ts'
import { LocalLog } from '../src/io/localLog/localLog.ts'
import type { MetricsReport } from '../src/io/metrics.ts'
import type { QdrantIndex } from '../src/io/qdrant/qdrantIndex.ts'
import { HttpRegistry } from '../src/io/registry/httpRegistry.ts'
import { LocalRegistry } from '../src/io/registry/localRegistry.ts'
import type { SchemaRegistry } from '../src/io/registry/schemaRegistry.ts'
import { LmdbSequenceStore } from '../src/io/state/lmdbSequenceStore.ts'
import { describeHolder, isLock, lockHolders, type ProcessLock, takeProcessLock } from '../src/io/state/processLock.ts'
import type { VectorIndex } from '../src/retrieval/vectorIndex.ts'
import type { SequenceStore } from '../src/sequence/sequenceStore.ts'

/** The stages that write state: one process each at a time. */
export type WriterRole = 'ingest' | 'sequence' | 'train' | 'publish' | 'replay' | 'control'

export const writerRoles: readonly WriterRole[] = ['sequence', 'train', 'publish']

const aloneName = 'alone'

/** Processes of one role on one machine's folder: far more than it has cores. */
const placesMax = 256

/** Where one run keeps everything: `<dataDir>/<run>`. Runs on different data never share state. */
export class RunDirectory {
  readonly root: string
  readonly name: string

  constructor(dataDir: string, name: string) {
    this.name = name
    this.root = path.resolve(dataDir, name)
  }

  /** The run that commands without a data set mean: the one that was started last. */
  static current(dataDir: string): RunDirectory {
    return new RunDirectory(dataDir, RunDirectory.currentName(dataDir))
  }

  static currentName(dataDir: string): string {
    const pointer = path.join(dataDir, 'current')
    return existsSync(pointer) ? readFileSync(pointer, 'utf8').trim() : 'live'
  }

  makeCurrent(): this {
    makeFolder(this.root)
    writeFileAtomically(path.join(this.root, '..', 'current'), `${this.name}\n`)
    return this
  }

  /**
   * Makes this process the only one with these roles in the run, until it releases them or ends. Without a role it only says that it is here:
   * any number of processes may, but `reset` waits for them.
   *
   * @param what `mtmi start`, for those who are refused
   * @throws UnavailableError if another process has one of the roles
   */
  lock(what: string, roles: readonly WriterRole[]): ProcessLock {
    makeFolder(this.path('locks'))
    const taken: ProcessLock[] = []
    const release = () => {
      for (const lock of taken.splice(0)) lock.release()
    }
    for (const name of roles.length === 0 ? [`process-${process.pid}`] : roles) {
      const result = takeProcessLock(this.path('locks', `${name}.lock`), what, systemClock)
      if (isLock(result)) {
        taken.push(result)
        this.#refuseWhileAlone(what, release)
      } else {
        release()
        throw new UnavailableError(
          `${what} cannot use ${this.root}: ${describeHolder(result)} is using it. End that first, or choose another --data-dir`
        )
      }
    }
    return { release }
  }

  /**
   * For a role that several processes share through a consumer group: takes the first place in the run that is free. What the process keeps there
   * (`path('sequence-2')`) is its own, and found again by whoever takes the place next.
   */
  lockPlace(what: string, role: WriterRole): ProcessLock & { readonly place: string } {
    makeFolder(this.path('locks'))
    for (let number = 0; number < placesMax; number++) {
      const place = `${role}-${number}`
      const result = takeProcessLock(this.path('locks', `${place}.lock`), what, systemClock)
      if (!isLock(result)) continue
      this.#refuseWhileAlone(what, () => result.release())
      return { place, release: () => result.release() }
    }
    throw new UnavailableError(`${what} cannot use ${this.root}: ${placesMax} processes do so already. Choose another --data-dir`)
  }

  /**
   * For a moment in which files are put in the place of others: whoever has the run does not begin meanwhile, and those who use it already are told of by `users`.
   * Each side first says that it is there and then looks for the other: one of them sees the other.
   */
  lockAlone(what: string): ProcessLock {
    makeFolder(this.path('locks'))
    const result = takeProcessLock(this.path('locks', `${aloneName}.lock`), what, systemClock)
    if (isLock(result)) return result
    throw new UnavailableError(`${what} cannot use ${this.root}: ${describeHolder(result)} is changing its files. Try again in a moment`)
  }

  #refuseWhileAlone(what: string, release: () => void): void {
    const [alone] = lockHolders(this.path('locks'), systemClock, (name) => name === aloneName)
    if (alone === undefined || alone.pid === process.pid) return
    release()
    throw new UnavailableError(`${what} cannot use ${this.root}: ${describeHolder(alone)} is changing its files. Try again in a moment`)
  }

  /** Who works in this role, in words; one of them, where they share it. */
  holder(role: WriterRole): string | undefined {
    const [holder] = lockHolders(this.path('locks'), systemClock, (name) => name === role || name.replace(/-\d+$/, '') === role)
    return holder === undefined ? undefined : describeHolder(holder)
  }

  /** Every process that uses the run now, in words. */
  users(): string[] {
    const byProcess = new Map(lockHolders(this.path('locks'), systemClock).map((holder) => [`${holder.host} ${holder.pid}`, holder]))
    return [...byProcess.values()].map(describeHolder)
  }

  path(...parts: string[]): string {
    return path.join(this.root, ...parts)
  }

  /** undefined if the file was never written. */
  readJson<T>(file: string): T | undefined {
    return existsSync(this.path(file)) ? (JSON.parse(readFileSync(this.path(file), 'utf8')) as T) : undefined
  }

  /** Whole or not at all: readers never see half a file. */
  writeJson(file: string, value: unknown): void {
    writeFileAtomically(this.path(file), `${JSON.stringify(value)}\n`)
  }
}

/** @throws ConfigError if it cannot be made. Step by step: Node's own recursive way never returns in folders such as /proc. */
export function makeFolder(folder: string): void {
  if (existsSync(folder)) return
  makeFolder(path.dirname(folder))
  try {
    mkdirSync(folder)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return // another process was as fast
    throw new ConfigError([`folder ${folder} cannot be made: ${message}. Choose another --data-dir, or mend its permissions`])
  }
}

export function writeFileAtomically(file: string, content: string): void {
  const temporary = `${file}.${process.pid}.tmp`
  const descriptor = openSync(temporary, 'w')
  try {
    writeFileSync(descriptor, content)
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
  renameSync(temporary, file)
}

/** What every stage needs: the log, and the codecs to read and write it. */
export interface Wire {
  readonly config: Config
  readonly clock: StageClock
  readonly log: EventLog
  readonly registry: SchemaRegistry
  readonly codecs: Codecs
  /** Removes what retention and compaction allow, a bounded part of it. A broker does so by itself. */
  maintain(): Promise<void>
}

/** Nobody needs what a row was before: only that a reader under way meets no gap. */
const modelUpdatesLagMs = 60_000

/** Confluent's where one is configured, and the embedded one otherwise. */
export function openRegistry(config: Config, run: RunDirectory): SchemaRegistry {
  return config.registry.url === '' ? new LocalRegistry(run.path('schemas')) : openHttpRegistry(config)
}

export function openHttpRegistry(config: Config): HttpRegistry {
  const onProblem = (problem: string) => process.stderr.write(`warning: ${problem}\n`)
  // Processes that lose the registry at once shall not come back at once.
  return new HttpRegistry(config.registry, { clock: systemClock, rng: new Rng(process.pid), onProblem })
}

export async function openWire(config: Config, run: RunDirectory): Promise<Wire> {
  const { topics } = config
  const clock = systemClock
  const registry = openRegistry(config, run)
  const codecs = await createCodecs(registry, topics)
  const partitioned = new Set([topics.interactions, topics.userSequences])
  const compactionLags = new Map([
    [topics.items, topics.minCompactionLagMs],
    [topics.userSequences, topics.minCompactionLagMs], // each record is an example that a trainer may still have to learn
    [topics.modelUpdates, modelUpdatesLagMs]
  ])
  if (config.log === 'kafka') {
    const { KafkaLog } = await import('../src/io/kafka/kafkaLog.ts')
    const log = await KafkaLog.open(config.kafka, clock)
    return { config, clock, log, registry, codecs, maintain: async () => {} }
  }
  const log = await LocalLog.open(run.path('log'), {
    partitions: (topic) => (partitioned.has(topic) ? topics.partitions : 1),
    compactionLagMs: (topic) => compactionLags.get(topic),
    retentionMs: topics.retentionMs,
    clock
  })
  const maintain = async () => {
    while ((await log.maintain()).more) await nextTurn()
  }
  return { config, clock, log, registry, codecs, maintain }
}

/** For those who only ask: nothing is made where nothing is. @throws UnavailableError if the run has no index yet */
export async function openIndexToRead(config: Config, run: RunDirectory): Promise<VectorIndex> {
  if (config.index === 'embedded' && !existsSync(run.path('index')))
    throw new UnavailableError(
      `nothing has been published in ${run.root} yet: run \`mtmi start\` or \`mtmi replay --data PATH\` first, or choose another --data-dir`
    )
  return openIndex(config, run, { searchThread: false })
}

export interface IndexUse {
  /** Whether the embedded index searches on a thread of its own. */
  readonly searchThread: boolean
  /** Told of requests to an index elsewhere that failed and are sent again. */
  readonly onProblem?: (message: string) => void
  readonly measure?: (report: MetricsReport) => void
}

export async function openIndex(config: Config, run: RunDirectory, use: IndexUse): Promise<VectorIndex> {
  return config.index === 'qdrant' ? openQdrantIndex(config, run.name, use) : EmbeddedIndex.open(run.path('index'), use)
}

export async function openQdrantIndex(
  config: Config,
  run: string,
  { onProblem, measure }: Omit<IndexUse, 'searchThread'> = {}
): Promise<QdrantIndex> {
  const { QdrantIndex } = await import('../src/io/qdrant/qdrantIndex.ts')
  const { qdrant, sequence } = config
  // Processes that lose the server at once shall not come back at once.
  const rng = new Rng(process.pid)
  return new QdrantIndex(qdrant, { clock: systemClock, rng, run, historyMax: sequence.historyMax, onProblem, measure })
}

export async function openSequenceStore(run: RunDirectory, partition: number): Promise<SequenceStore> {
  return LmdbSequenceStore.open(run.path('sequences'), partition)
}

/** Offsets as JSON: partition → decimal string. */
export function offsetsToJson(offsets: Offsets): Record<string, string> {
  return Object.fromEntries([...offsets].map(([partition, offset]) => [partition, String(offset)]))
}

export function offsetsFromJson(json: Readonly<Record<string, string>>): Offsets {
  return new Map(Object.entries(json).map(([partition, offset]) => [Number(partition), BigInt(offset)]))
}
