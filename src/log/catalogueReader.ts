// Reads the topic `items` into the one catalogue of this heap, for every stage that runs in it. A heap is a thread: the main thread and the model thread have one each, because
// JavaScript objects are not shared between threads.

import { Catalogue, type CatalogueChange } from '../records/catalogue.ts'
import { loadSchemas } from '../records/registry/schemaRegistry.ts'
import type { LogRecord } from './eventLog.ts'
import type { Wire } from './wire.ts'

const text = new TextDecoder()

export class CatalogueReader {
  readonly catalogue = new Catalogue()
  readonly #wire: Wire
  readonly #listeners: ((change: CatalogueChange) => void)[] = []
  readonly #holds = new Set<Promise<void>>()
  #next = 0n
  #isCaughtUp = false
  readonly #waiting: (() => void)[] = []
  #following: Promise<void> | undefined

  constructor(wire: Wire) {
    this.#wire = wire
  }

  /** Next offset of `items` to read. */
  get next(): bigint {
    return this.#next
  }

  /** Everything that was in the log when reading began has been read. */
  get isCaughtUp(): boolean {
    return this.#isCaughtUp
  }

  /** Resolves when everything that was in the log when reading began has been read, or on abort. */
  async caughtUp(signal: AbortSignal): Promise<void> {
    if (this.#isCaughtUp || signal.aborted) return
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve)
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
  }

  /** Called for every record, after the catalogue holds it. Before reading begins: no change is repeated. */
  onChange(listener: (change: CatalogueChange) => void): void {
    this.#listeners.push(listener)
  }

  /** Reading does not begin before `release`: for a stage that must restore its own state first. */
  hold(): { release(): void } {
    let release!: () => void
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    this.#holds.add(held)
    return { release }
  }

  /** Reads until abort. The first call begins; every other one fails with the same error, and waits for the same end, or for its own abort. */
  follow(signal: AbortSignal): Promise<void> {
    this.#following ??= this.#follow(signal)
    return Promise.race([this.#following, aborted(signal)])
  }

  async #follow(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    await Promise.race([Promise.all(this.#holds), aborted(signal)])
    await this.#read(signal, true)
    if (signal.aborted) return
    this.#isCaughtUp = true
    for (const resolve of this.#waiting.splice(0)) resolve()
    await this.#read(signal, false)
  }

  async #read(signal: AbortSignal, untilEnd: boolean): Promise<void> {
    const { log, registry, config } = this.#wire
    for await (const event of log.read(config.topics.items, { resume: async () => this.#next, signal, untilEnd })) {
      if (event.kind !== 'records') continue
      await loadSchemas(registry, event.records)
      for (const record of event.records) this.#take(record)
    }
  }

  #take({ key, value, offset }: LogRecord): void {
    const item = value === null ? null : this.#wire.codecs.item.decode(value)
    const change = this.catalogue.apply(item?.itemId ?? text.decode(key), offset, item)
    this.#next = offset + 1n
    for (const listener of this.#listeners) listener(change)
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
