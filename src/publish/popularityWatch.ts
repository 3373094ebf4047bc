// interactions → popularity. Counts and offsets are saved together, so that a restart counts nothing twice.

import { Account, type AccountNumbers } from '../core/account.ts'
import { type Offsets, offsetsSchema } from '../core/offsets.ts'
import { type StateKind, z } from '../core/stateFile.ts'
import type { ItemPopularity } from '../index/popularity.ts'
import { Popularity, type PopularityState } from '../index/popularity.ts'
import type { LogRecord } from '../log/eventLog.ts'
import type { StageIo } from '../log/stageIo.ts'
import { admit, futureProblem } from '../records/admission.ts'
import type { ItemId } from '../records/interaction.ts'

export interface KeptPopularity {
  readonly state: PopularityState
  /** Next offset of interactions to read, by partition, in decimal. */
  readonly offsets: Readonly<Record<string, string>>
}

export const keptPopularity: StateKind<KeptPopularity> = {
  file: 'popularity.json',
  version: 2,
  schema: z.looseObject({
    state: z.looseObject({ all: z.looseObject({}), counted: z.looseObject({}), itemsOf: z.looseObject({}) }),
    offsets: offsetsSchema
  }),
  removed: 'popularity is counted again from the newest million interactions of each partition'
}

export interface PopularityStore {
  load(): KeptPopularity | undefined
  save(kept: KeptPopularity): void
}

/** How often it is saved: a restart reads later interactions again. */
const saveIntervalMs = 30_000
/** Interactions of a partition that are read if nothing was kept: a month of a topic would take minutes. */
const firstReadMax = 1_000_000n

export class PopularityWatch {
  readonly #io: StageIo
  readonly #store: PopularityStore | undefined
  readonly #isCandidate: (itemId: ItemId) => boolean
  readonly #popularity: Popularity
  readonly #next: Map<number, bigint>
  /** Of this process. */
  readonly #account = new Account('popularity')
  #savedAtMs: number
  #changed = false

  /** @param isCandidate whether an item may be in lists */
  constructor(io: StageIo, store: PopularityStore | undefined, isCandidate: (itemId: ItemId) => boolean) {
    this.#isCandidate = isCandidate
    const { config, clock } = io
    this.#io = io
    this.#store = store
    this.#popularity = new Popularity(config.popularity, config.events.types)
    const kept = store?.load()
    this.#next = new Map(
      Object.entries(kept?.offsets ?? {}).map(([partition, offset]) => [Number(partition), BigInt(offset)])
    )
    if (kept !== undefined) this.#popularity.restore(kept.state)
    this.#savedAtMs = clock.nowMs()
  }

  /** Next offset to read in a partition. */
  async resume(partition: number): Promise<bigint> {
    const known = this.#next.get(partition)
    if (known !== undefined) return known
    const end = (await this.#io.log.ends(this.#io.config.topics.interactions)).get(partition) ?? 0n
    return end > firstReadMax ? end - firstReadMax : 0n
  }

  /** @throws BadEventError if it is not an interaction; nothing has changed then */
  take(record: LogRecord): void {
    const { value, timestampMs } = record
    let outcome: 'counted' | 'unlisted' | 'uncounted' = 'uncounted'
    if (value !== null) {
      const interaction = this.#io.codecs.interaction.decode(value)
      admit(futureProblem(interaction, timestampMs, this.#io.config.events.futureMaxMs))
      // Items that the catalogue lacks are counted too: it may have them later.
      if (this.#popularity.note(interaction)) outcome = this.#isCandidate(interaction.itemId) ? 'counted' : 'unlisted'
    }
    this.#read(record, outcome)
  }

  /** The record was dead-lettered. */
  skip(record: LogRecord): void {
    this.#read(record, 'rejected')
  }

  #read({ partition, offset }: LogRecord, outcome: 'counted' | 'unlisted' | 'uncounted' | 'rejected'): void {
    this.#next.set(partition, offset + 1n)
    this.#changed = true
    this.#account.read()
    this.#account.add(outcome)
  }

  of(itemId: ItemId): ItemPopularity {
    return this.#popularity.of(itemId)
  }

  get touched(): boolean {
    return this.#popularity.touched
  }

  /** Items acted on since the last call. */
  takeTouched(): ReadonlySet<ItemId> {
    return this.#popularity.takeTouched()
  }

  consumed(): Offsets {
    return new Map(this.#next)
  }

  account(): AccountNumbers<'popularity'> {
    return this.#account.numbers()
  }

  /** @param now regardless of the last save */
  save(now = false): void {
    const nowMs = this.#io.clock.nowMs()
    if (this.#store === undefined || !this.#changed || (!now && nowMs - this.#savedAtMs < saveIntervalMs)) return
    const offsets = Object.fromEntries([...this.#next].map(([partition, next]) => [String(partition), String(next)]))
    this.#store.save({ state: this.#popularity.state(), offsets })
    this.#savedAtMs = nowMs
    this.#changed = false
  }
}
