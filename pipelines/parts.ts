// The configured parts, opened: which log, which index, and where on disk the embedded ones live.

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Clock, systemClock } from '../src/base/clock.ts'
import type { Config } from '../src/base/config.ts'
import type { Offsets } from '../src/base/offsets.ts'
import type { EventLog } from '../src/event/eventLog.ts'
import { type Codecs, createCodecs } from '../src/io/avroCodecs.ts'
import { EmbeddedIndex } from '../src/io/embeddedIndex.ts'
import { LmdbSequenceStore } from '../src/io/lmdbSequenceStore.ts'
import { LocalLog } from '../src/io/localLog.ts'
import { LocalRegistry } from '../src/io/localRegistry.ts'
import type { SchemaRegistry } from '../src/io/schemaRegistry.ts'
import type { VectorIndex } from '../src/retrieval/vectorIndex.ts'
import type { SequenceStore } from '../src/sequence/sequenceStore.ts'

/** Where one run keeps everything: `<dataDir>/<run>`. Runs on different data never share state. */
export class RunDirectory {
  readonly root: string
  readonly name: string

  constructor(dataDir: string, name: string) {
    this.name = name
    this.root = path.resolve(dataDir, name)
    mkdirSync(this.root, { recursive: true })
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
    writeFileSync(path.join(this.root, '..', 'current'), `${this.name}\n`)
    return this
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

function writeFileAtomically(file: string, content: string): void {
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
  readonly clock: Clock
  readonly log: EventLog
  readonly registry: SchemaRegistry
  readonly codecs: Codecs
}

export async function openWire(config: Config, run: RunDirectory): Promise<Wire> {
  const { topics } = config
  const clock = systemClock
  const registry = new LocalRegistry(run.path('schemas'))
  const codecs = await createCodecs(registry, topics)
  const partitioned = new Set([topics.interactions, topics.userSequences])
  const compacted = new Set([topics.items, topics.userSequences, topics.modelUpdates])
  const log = await LocalLog.open(run.path('log'), {
    partitions: (topic) => (partitioned.has(topic) ? topics.partitions : 1),
    compacted: (topic) => compacted.has(topic),
    retentionMs: topics.retentionMs,
    minCompactionLagMs: topics.minCompactionLagMs,
    clock
  })
  return { config, clock, log, registry, codecs }
}

export function openIndex(run: RunDirectory, options: { searchThread: boolean }): Promise<VectorIndex> {
  return EmbeddedIndex.open(run.path('index'), options)
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
