// Reads the topic `items` into the one catalogue of this heap, for every stage that runs in it. A heap is a thread: the
// main thread and the model thread have one each, because JavaScript objects are not shared between threads.

import { Account, type AccountNumbers } from '../core/account.ts'
import { untilAborted } from '../core/backgroundTasks.ts'
import { handledLater } from '../core/promises.ts'
import { Catalogue, type CatalogueChange } from '../records/catalogue.ts'
import type { LogRecord } from './eventLog.ts'
import { followTopic, type StageReader } from './followTopic.ts'
import type { StageIo } from './stageIo.ts'
import { keyText } from './userRecords.ts'

export class CatalogueReader {
  readonly catalogue = new Catalogue()
  readonly #io: StageIo
  readonly #reader: Pick<StageReader, 'stage' | 'measure' | 'logger'>
  readonly #listeners: ((change: CatalogueChange) => void)[] = []
  readonly #holds = new Set<Promise<void>>()
  readonly #account = new Account('catalogue')
  /** 1 while the record that was read last becomes a dead letter. */
  #refusing = 0
  #next = 0n
  #isCaughtUp = false
  readonly #waiting: (() => void)[] = []
  #following: Promise<void> | undefined

  /** @param reader whose dead letters records that cannot be used become */
  constructor(io: StageIo, reader: Pick<StageReader, 'stage' | 'measure' | 'logger'>) {
    this.#io = io
    this.#reader = reader
  }

  /** Next offset of `items` to read. */
  get next(): bigint {
    return this.#next
  }

  /** Of every record that this process has read. */
  account(): AccountNumbers<'catalogue'> {
    return this.#account.numbers(this.#refusing)
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

  /**
   * Reads until abort. The first call begins, with its signal; every other one fails with the same error, and otherwise
   * ends with its own abort: why the first was stopped is for its stage to say.
   */
  follow(signal: AbortSignal): Promise<void> {
    this.#following ??= handledLater(this.#follow(signal))
    const aborted = handledLater(untilAborted(signal))
    return Promise.race([this.#following.then(() => aborted), aborted])
  }

  /** Reads what is in the log now, for a process that does not `follow`. One call at a time. */
  readToEnd(signal: AbortSignal): Promise<void> {
    return this.#read(signal, true)
  }

  async #follow(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    await Promise.race([Promise.all(this.#holds), untilAborted(signal)])
    await this.#read(signal, true)
    if (signal.aborted) return
    this.#isCaughtUp = true
    for (const resolve of this.#waiting.splice(0)) resolve()
    await this.#read(signal, false)
  }

  async #read(signal: AbortSignal, untilEnd: boolean): Promise<void> {
    await followTopic(this.#io, {
      ...{ ...this.#reader, topic: this.#io.config.topics.items, signal, untilEnd },
      resume: async () => this.#next,
      use: (record) => this.#take(record),
      skip: (record) => this.#refuse(record)
    })
  }

  #take(record: LogRecord): void {
    const { key, value, offset } = record
    this.#account.read()
    this.#refusing = 1 // until it is known that the record can be used
    const item = value === null ? null : this.#io.codecs.item.decode(value)
    const change = this.catalogue.apply(item?.itemId ?? keyText('item', key), offset, item)
    this.#refusing = 0
    this.#account.add(item === null ? 'removed' : 'applied')
    this.#next = offset + 1n
    for (const listener of this.#listeners) listener(change)
  }

  #refuse({ offset }: LogRecord): void {
    this.#refusing = 0
    this.#account.add('refused')
    this.#next = offset + 1n
  }
}
