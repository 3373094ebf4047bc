// One simulated run: the pipeline's processes in a world that a seed decides about, until nothing more goes wrong and
// everything has come to rest.

import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Config } from '../../src/core/config/config.ts'
import { MtmiError } from '../../src/core/errors.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { type Codecs, createCodecs } from '../../src/records/avro/avroCodecs.ts'
import { LocalRegistry } from '../../src/records/registry/localRegistry.ts'
import type { SchemaRegistry } from '../../src/records/registry/schemaRegistry.ts'
import { resolveWithLimits } from '../support/limits.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import { Faults, ServiceError, services } from './faults.ts'
import { checkAtRest, checkInvariants } from './invariants.ts'
import { clicks, goods, play, playLast } from './scenario.ts'
import { SimBroker } from './simBroker.ts'
import { SimDisk } from './simState.ts'
import {
  encode,
  ingest,
  lag,
  type Parts,
  publishAlone,
  type Running,
  type Start,
  sequenceShare,
  trainAlone,
  whole
} from './stages.ts'
import { Life, World } from './world.ts'

/** After the last fault everything has to be at rest within so much virtual time. */
const settleMs = 15 * 60_000
/** A process that is asked to end has to have ended, with all its timers, within so much. */
const stopMs = 60_000

export interface Outcome {
  readonly seed: number
  /** What was violated; empty if nothing. */
  readonly violations: readonly string[]
  /** What happened, a line each. */
  readonly lines: readonly string[]
  readonly virtualMs: number
}

/** What runs of one process share: making it takes longer than a run. */
export interface Setting {
  readonly registry: SchemaRegistry
  readonly codecs: Codecs
}

export async function prepare(): Promise<Setting> {
  await loadBackend('wasm')
  // The engine's own handlers would end the process; here a rejection without a handler is a finding.
  process.removeAllListeners('unhandledRejection').removeAllListeners('uncaughtException')
  const directory = mkdtempSync(path.join(os.tmpdir(), 'mtmi-simulate-'))
  const registry = new LocalRegistry(directory)
  const codecs = await createCodecs(registry)
  rmSync(directory, { recursive: true }) // what has been registered is in memory
  return { registry, codecs }
}

const actions = ['rebuild', 'rebuild', 'rollback'] as const

interface Process {
  readonly name: string
  readonly start: Start
  readonly disk: SimDisk
  life: Life
  stop: AbortController
  running: readonly Running[]
  /** undefined while it runs. */
  ended: 'stopped' | 'failed' | undefined
}

export async function simulateRun(seed: number, { registry, codecs }: Setting): Promise<Outcome> {
  const world = new World(seed)
  const onUnhandled = (reason: unknown) =>
    world.violated(`a rejection without a handler: ${(reason as Error)?.stack ?? String(reason)}`)
  process.on('unhandledRejection', onUnhandled)
  const partitions = { [clicks]: 2, [goods]: 1, interactions: 1 + world.rng.integer(3) } as const
  const shared = { ...partitions, 'user-sequences': partitions.interactions }
  const broker = new SimBroker(world, (topic) =>
    Object.hasOwn(shared, topic) ? shared[topic as keyof typeof shared] : 1
  )
  const faults = new Faults(world)
  const parts: Parts = {
    config: configOf(world),
    broker,
    index: new MemoryVectorIndex(),
    ...{ registry, codecs, faults, request: undefined, trainer: undefined, published: undefined, replicas: [] },
    ...{ batches: new Map(), seen: new Set(), isUndone: false, checkpoints: undefined }
  }
  const simulation = new Simulation(world, parts)
  try {
    await simulation.run()
  } finally {
    await simulation.release()
    process.off('unhandledRejection', onUnhandled)
    for (const replica of parts.replicas) replica.dispose()
  }
  return { seed, violations: world.violations, lines: world.lines, virtualMs: world.nowMs }
}

class Simulation {
  readonly #world: World
  readonly #parts: Parts
  readonly #processes: Process[]
  /** Of every process that was started. */
  readonly #stops: AbortController[] = []
  #hurries = false

  constructor(world: World, parts: Parts) {
    this.#world = world
    this.#parts = parts
    const split: [string, Start][] = [
      ['sequence-0', sequenceShare],
      ['sequence-1', sequenceShare],
      ['train', trainAlone],
      ['publish', publishAlone]
    ]
    const starts: [string, Start][] = [
      ...(world.chance(0.5) ? split : [['start', whole] as [string, Start]]),
      ['ingest', ingest],
      ['serve', encode]
    ]
    this.#processes = starts.map(([name, start]) => ({
      ...{
        name,
        start,
        disk: new SimDisk(),
        life: new Life(world, name),
        stop: new AbortController(),
        running: [],
        ended: 'stopped'
      }
    }))
  }

  async run(): Promise<void> {
    const world = this.#world
    const { faults } = this.#parts
    const { lengthMs } = play(world, this.#parts.broker)
    for (const process of this.#processes)
      world.schedule(world.outside, world.between(0, 3000), () => this.#launch(process))
    this.#plan(lengthMs)
    await world.run(() => world.violations.length > 0, lengthMs * 1.2)
    if (world.violations.length > 0) return
    faults.end()
    if (!(await this.#settle())) return
    if (this.#parts.request?.hold === true) {
      await this.#request()
      if (!(await this.#settle())) return
    }
    await checkAtRest(this.#parts, world)
    this.#hurries = true
    for (const process of this.#processes) for (const running of process.running) running.drain(true)
    playLast(world, this.#parts.broker)
    if (world.violations.length > 0 || !(await this.#settle())) return
    await this.#stopAll()
    if (world.violations.length === 0) await checkInvariants(this.#parts, this.#processes, world)
  }

  /**
   * Lets the memory of killed processes go: Node keeps a signal of `AbortSignal.any` alive, with everything that its
   * listeners refer to, until they are removed.
   */
  async release(): Promise<void> {
    this.#world.end()
    for (const stop of this.#stops) stop.abort()
    await new Promise((resolve) => setImmediate(resolve))
  }

  async #settle(): Promise<boolean> {
    const world = this.#world
    const settled = await world.run(
      () => world.violations.length > 0 || this.#behind() === undefined,
      world.nowMs + settleMs
    )
    if (world.violations.length > 0) return false
    if (settled) world.trace('world', 'everything is at rest')
    else world.violated(`not at rest ${settleMs / 60_000} minutes after the last fault: ${this.#behind()}`)
    return settled
  }

  /** Everything that goes wrong besides calls that fail. */
  #plan(lengthMs: number): void {
    const { faults, broker, config } = this.#parts
    const world = this.#world
    const now = (meanMs: number, act: () => void) => {
      for (let atMs = 0; Number.isFinite(meanMs); ) {
        atMs += -meanMs * Math.log(1 - world.rng.uniform())
        if (atMs >= lengthMs * 1.2) return
        world.schedule(world.outside, atMs, () => faults.on && act())
      }
    }
    now(faults.killMeanMs, () => this.#disturb(world.pick(this.#processes)))
    now(faults.outageMeanMs, () => faults.breakDown(world.pick(services), 10 ** world.between(2, 5.3)))
    now(faults.jumpMeanMs, () => world.jumpClock(world.pick([-1, 1]) * 10 ** world.between(1, 6.5)))
    now(faults.rebalanceMeanMs, () => {
      for (const group of broker.groups) if (world.chance(0.7)) group.rebalance()
    })
    now(faults.compactMeanMs, () => {
      for (const topic of [config.topics.items, config.topics.modelUpdates])
        broker.compact(topic, (partition) => world.rng.integer(broker.topic(topic)[partition]!.length + 1))
      // One that reads what is left from its beginning.
      const reader = world.pick(this.#processes)
      if (world.chance(0.3) && reader.ended === undefined) this.#kill(reader)
    })
    now(faults.requestMeanMs, () => void this.#request())
    faults.onKill = (life) => {
      const process = this.#processes.find((each) => each.life === life)
      if (process !== undefined && process.ended === undefined) this.#kill(process)
    }
  }

  /** An operator's request to the trainer. */
  async #request(): Promise<void> {
    const world = this.#world
    const parts = this.#parts
    const id = (parts.request?.id ?? 0) + 1
    const steps = (await parts.checkpoints?.steps()) ?? []
    const action = parts.request?.hold === true ? 'resume' : steps.length === 0 ? 'rebuild' : world.pick(actions)
    if (action === 'rollback') {
      const [version, hold] = [world.pick(steps), world.chance(0.5)]
      parts.request = { id, action, version, hold, requestedAtMs: 0 }
      if (!hold) parts.isUndone = true
      world.trace('outside', `request ${id}: ${action} to ${version}${hold ? ', and hold' : ''}`)
    } else {
      parts.request = { id, action, requestedAtMs: 0 }
      world.trace('outside', `request ${id}: ${action}`)
    }
  }

  #launch(process: Process): void {
    const world = this.#world
    process.life = new Life(world, process.name)
    process.stop = new AbortController()
    this.#stops.push(process.stop)
    process.ended = undefined
    world.trace(process.name, 'starts')
    const { life, stop } = process
    const run = async () => {
      process.running = process.start(this.#parts, life, process.disk)
      if (this.#hurries) for (const running of process.running) running.drain(true)
      const results = await Promise.allSettled(
        process.running.map((running) => running.run(stop.signal).finally(() => stop.abort()))
      )
      for (const result of results) if (result.status === 'rejected') throw result.reason
    }
    const asked = () => process.life === life && process.ended === 'stopped'
    run().then(
      () => {
        if (!asked()) world.violated(`${process.name} ended though it was not stopped`)
        world.trace(process.name, 'has ended')
      },
      (error: unknown) => this.#failed(process, error)
    )
  }

  /** A supervisor starts again what ended with status 1, and nothing else. */
  #failed(process: Process, error: unknown): void {
    const world = this.#world
    const { life } = process
    if (!(error instanceof MtmiError && error.code === 'UNAVAILABLE'))
      world.violated(`${process.name} ended with ${(error as Error)?.stack ?? String(error)}`)
    else if (error instanceof ServiceError && error.service === 'index')
      world.violated(`${process.name} ended though an index that is away is to be waited for: ${error.message}`)
    world.trace(process.name, `ends: ${(error as Error).message}`)
    life.kill()
    for (const group of this.#parts.broker.groups) group.lookAfter(life)
    const wasAsked = process.ended === 'stopped'
    process.ended = 'failed'
    if (!wasAsked)
      world.schedule(world.outside, world.between(100, 5000), () => process.life === life && this.#launch(process))
  }

  #disturb(process: Process): void {
    const world = this.#world
    const { life } = process
    if (process.ended !== undefined) return
    const how = world.rng.integer(4)
    if (how === 0) {
      life.freeze(10 ** world.between(2, 4.7))
    } else if (how === 1) {
      world.trace(process.name, 'is asked to end, and starts again')
      process.ended = 'stopped'
      process.stop.abort()
      const again = () => {
        if (process.life !== life) return
        life.kill()
        this.#launch(process)
      }
      world.schedule(world.outside, world.between(1000, 20_000), again)
    } else {
      this.#kill(process)
      return
    }
    for (const group of this.#parts.broker.groups) group.lookAfter(life)
  }

  /** It starts again after a while. */
  #kill(process: Process): void {
    const { life } = process
    life.kill()
    process.ended = 'failed'
    const world = this.#world
    world.schedule(world.outside, 10 ** world.between(2, 4.5), () => process.life === life && this.#launch(process))
    for (const group of this.#parts.broker.groups) group.lookAfter(life)
  }

  #behind(): string | undefined {
    const { broker, config } = this.#parts
    const sequenced = new Map<number, bigint>()
    for (const { name, ended, running } of this.#processes) {
      if (ended !== undefined || running.length === 0) return `${name} does not run`
      for (const stage of running) {
        const behind = stage.behind()
        if (behind !== undefined) return `${stage.name}: ${behind}`
        for (const [partition, next] of stage.consumed?.() ?? []) sequenced.set(partition, next)
      }
    }
    return lag(broker, config.topics.interactions, sequenced)
  }

  async #stopAll(): Promise<void> {
    const world = this.#world
    for (const process of this.#processes) {
      process.ended = 'stopped'
      process.stop.abort()
    }
    await world.run(() => false, world.nowMs + stopMs)
    for (const { name, life } of this.#processes) {
      if (life.alive && life.waiting > 0)
        world.violated(`${name} was asked to end, and ${life.waiting} of its timers are left after ${stopMs} ms`)
    }
  }
}

function configOf(world: World): Config {
  const { rng } = world
  return resolveWithLimits({
    events: { types: { click: 1, purchase: 3 } },
    model: { dimensions: 4, interestCount: 2 },
    sequence: {
      historyMax: 3 + rng.integer(6),
      graceMs: 60_000,
      commitIntervalMs: 100 + rng.integer(3000),
      emitEventsMax: 1 + rng.integer(8)
    },
    train: {
      batchSize: 1 + rng.integer(8),
      batchWaitMaxMs: 100 + rng.integer(2000),
      checkpointIntervalMs: 500 + rng.integer(10_000),
      updateIntervalMs: 200 + rng.integer(5000),
      weightsIntervalMs: 500 + rng.integer(20_000),
      versionIntervalMs: 30_000
    },
    publish: {
      userWaitMs: world.chance(0.8) ? rng.integer(500) : 2000 + rng.integer(20_000),
      sweepIntervalMs: world.pick([1000, 10_000, 3_600_000]),
      gate: { targets: rng.integer(50), hitLossMax: 1 }
    },
    sources: [
      {
        topic: clicks,
        format: 'json',
        user: 'user',
        item: 'item',
        type: 'type',
        time: { path: 'time', unit: 'ms' },
        eventId: { path: 'id', scope: 'global' }
      },
      { topic: goods, kind: 'items', format: 'json', item: 'item', title: 'title', features: { colour: 'colour' } }
    ]
  })
}
