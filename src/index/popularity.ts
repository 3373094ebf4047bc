// What is popular now, of all and within contexts such as a country: interactions that fade with a half-life.
//
// Published with each item as its `popularity`, a level that stays right without new events of the item (see
// ForwardDecay): items are written again when they are clicked, never because time passes.
//
// It counts users, not interactions. A user adds to an item at most the weight of one interaction, and a new user only
// a share of it:
//
//     added(u, i) ≤ max over types of w(type) · min(1, k / κ)       k items that u has acted on lately, this one included, κ = 5
//
// So N invented users who act on c items each add at most N · w_max · min(1, c / κ) to one item: with one click each, N
// / 5 clicks. A context is known by the same shares of users, without weights: each user adds at most min(1, k / κ) to
// it for an item.

import type { Config } from '../core/config/config.ts'
import { hashKey } from '../core/hashKey.ts'
import { own, setOwn } from '../core/own.ts'
import { ForwardDecay, type ForwardDecayState } from '../monitor/drift/forwardDecay.ts'
import type { Interaction, ItemId } from '../records/interaction.ts'

/** Of one item. */
export interface ItemPopularity {
  /** Level of all interactions with it; 0: none that count. */
  readonly popularity: number
  /** Level within each context that has enough interactions, by `contextKey`. */
  readonly popularityIn?: Readonly<Record<string, number>>
}

export interface PopularityState {
  readonly all: ForwardDecayState
  readonly contexts: ForwardDecayState
  readonly inContext: Readonly<Record<string, ForwardDecayState>>
  readonly counted: RecentState
  readonly itemsOf: RecentState
}

/** Least recently set first, in base64: int32 keys and float64 values, little-endian. 16 bytes an entry. */
interface RecentState {
  readonly keys: string
  readonly values: string
}

/**
 * Interactions among which a user counts once for an item: one who clicks a thousand times makes nothing popular. About
 * 4 MB.
 */
const repeatsWithin = 1 << 16
/**
 * κ: from so many items on a user counts in full. A visitor who looks around reaches it; inventing users then costs
 * five times as many events.
 */
const establishedItems = 5
/**
 * Users whose items are counted, those who acted last; a user beyond them is new again, which never adds to a share.
 * About 8 MB.
 */
const usersWithin = 1 << 17
/** Of a context's value: longer ones are no category. */
const contextLengthMax = 100

const unpopular: ItemPopularity = { popularity: 0 }

/**
 * `country=de`. What is `=` in the field's name, and `"`, `\` and `%` anywhere, as `%3D` and so on: no two become the
 * same, and Qdrant can name them in a path.
 */
export function contextKey(field: string, value: string): string {
  return `${escaped(field, /[%"\\=]/g)}=${escaped(value, /[%"\\]/g)}`
}

function escaped(text: string, special: RegExp): string {
  return text.replace(special, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}

/** Faded count as a share of the greatest, 0 … 1, from their levels. */
export function popularityScore(level: number, greatest: number): number {
  return level > 0 ? 2 ** (level - greatest) : 0
}

const limits = {
  /** Items whose popularity is counted, the most popular ones: some 100 bytes each. */
  itemsMax: 100_000,
  /** Values of the context's fields that are counted, the most frequent ones. */
  contextsMax: 32,
  /** Items counted within one of them. */
  contextItemsMax: 1000
}

/** The settings; a limit is given by tests alone. */
type PopularityOptions = Config['popularity'] & Partial<typeof limits>

export class Popularity {
  readonly #options: Config['popularity'] & typeof limits
  /** Interactions of each type, by weight. */
  readonly #types: Readonly<Record<string, number>>
  readonly #all: ForwardDecay
  /** Interactions of each context. */
  readonly #contexts: ForwardDecay
  readonly #inContext = new Map<string, ForwardDecay>()
  /** What a user added to an item lately, by a hash of both, without the share. */
  readonly #counted = new Recent(repeatsWithin)
  /** Items that a user acted on lately, at most κ, by a hash. */
  readonly #itemsOf = new Recent(usersWithin)
  #touched = new Set<ItemId>()

  /** @param types `events.types`: what does not count there does not count here */
  constructor(options: PopularityOptions, types: Readonly<Record<string, number>>) {
    this.#options = { ...limits, ...options }
    this.#types = types
    const { halfLifeMs, itemsMax, contextsMax } = this.#options
    this.#all = new ForwardDecay({ halfLifeMs, keysMax: itemsMax })
    this.#contexts = new ForwardDecay({ halfLifeMs, keysMax: contextsMax })
  }

  /** @returns whether it counts */
  note({
    userId,
    itemId,
    type,
    eventTimeMs,
    context = {}
  }: Omit<Interaction, 'eventId' | 'value' | 'source'>): boolean {
    const full = own(this.#types, type) ?? 0
    if (full === 0) return false
    const { weight, users } = this.#added(userId, itemId, full)
    if (weight === 0) return false
    this.#all.add(itemId, eventTimeMs, weight)
    this.#touched.add(itemId)
    for (const field of this.#options.contexts) {
      const value = own(context, field)
      if (value === undefined || value === '' || value.length > contextLengthMax) continue
      const key = contextKey(field, value)
      // With the same bound: a few invented users make no context known.
      if (users > 0 || this.#contexts.level(key) === undefined)
        this.#contexts.add(key, eventTimeMs, users > 0 ? users : weight / full)
      let items = this.#inContext.get(key)
      if (items === undefined) {
        items = new ForwardDecay({ halfLifeMs: this.#options.halfLifeMs, keysMax: this.#options.contextItemsMax })
        this.#inContext.set(key, items)
        // What the others had to make room for takes its items with it.
        for (const other of this.#inContext.keys())
          if (this.#contexts.level(other) === undefined) this.#inContext.delete(other)
      }
      items.add(itemId, eventTimeMs, weight)
    }
    return true
  }

  of(itemId: ItemId): ItemPopularity {
    const level = this.#all.level(itemId)
    if (level === undefined) return unpopular
    const popularityIn: Record<string, number> = {}
    for (const [key, items] of this.#inContext) {
      const inIt = items.level(itemId)
      if (inIt !== undefined && this.#contexts.count(key) >= this.#options.contextMin)
        setOwn(popularityIn, key, rounded(inIt))
    }
    return { popularity: rounded(level), ...(Object.keys(popularityIn).length === 0 ? {} : { popularityIn }) }
  }

  /** Whether there are items that `takeTouched` would give. */
  get touched(): boolean {
    return this.#touched.size > 0
  }

  /** Items acted on since the last call. */
  takeTouched(): ReadonlySet<ItemId> {
    const touched = this.#touched
    this.#touched = new Set()
    return touched
  }

  /**
   * What is new of this interaction, by weight and as a share of a user: nothing where the user acted on the item
   * before by a type of at least this weight.
   */
  #added(userId: string, itemId: ItemId, weight: number): { weight: number; users: number } {
    const both = hashKey(JSON.stringify([userId, itemId])) | 0
    const before = this.#counted.get(both)
    if (before !== undefined && before >= weight) return { weight: 0, users: 0 }
    this.#counted.set(both, weight)
    const user = hashKey(userId) | 0
    const items = Math.min(establishedItems, (this.#itemsOf.get(user) ?? 0) + (before === undefined ? 1 : 0))
    this.#itemsOf.set(user, items)
    const share = items / establishedItems
    return { weight: (weight - (before ?? 0)) * share, users: before === undefined ? share : 0 }
  }

  state(): PopularityState {
    const contexts = this.#contexts.state()
    const kept = contexts.levels.flatMap(([key]) =>
      this.#inContext.has(key) ? [[key, this.#inContext.get(key)!.state()] as const] : []
    )
    const lately = { counted: this.#counted.state(), itemsOf: this.#itemsOf.state() }
    return { all: this.#all.state(), contexts, inContext: Object.fromEntries(kept), ...lately }
  }

  /** Contexts that the configuration no longer names are left behind. */
  restore({ all, contexts, inContext, counted, itemsOf }: PopularityState): void {
    this.#all.restore(all)
    this.#counted.restore(counted)
    this.#itemsOf.restore(itemsOf)
    const named = (key: string) => this.#options.contexts.some((field) => key.startsWith(contextKey(field, '')))
    this.#contexts.restore({ ...contexts, levels: contexts.levels.filter(([key]) => named(key)) })
    this.#inContext.clear()
    for (const key of this.#contexts.keys()) {
      const items = new ForwardDecay({ halfLifeMs: this.#options.halfLifeMs, keysMax: this.#options.contextItemsMax })
      const state = own(inContext, key)
      if (state !== undefined) items.restore(state)
      this.#inContext.set(key, items)
    }
  }
}

/** The last `max` int32 keys that were set, and their values. */
class Recent {
  readonly #max: number
  readonly #values = new Map<number, number>()

  constructor(max: number) {
    this.#max = max
  }

  get(key: number): number | undefined {
    return this.#values.get(key)
  }

  /** The key is the newest then. */
  set(key: number, value: number): void {
    this.#values.delete(key)
    this.#values.set(key, value)
    if (this.#values.size > this.#max) this.#values.delete(this.#values.keys().next().value!)
  }

  state(): RecentState {
    const bytes = { keys: Buffer.alloc(4 * this.#values.size), values: Buffer.alloc(8 * this.#values.size) }
    let i = 0
    for (const [key, value] of this.#values) {
      bytes.keys.writeInt32LE(key, 4 * i)
      bytes.values.writeDoubleLE(value, 8 * i++)
    }
    return { keys: bytes.keys.toString('base64'), values: bytes.values.toString('base64') }
  }

  restore(state: RecentState): void {
    const keys = Buffer.from(state.keys, 'base64')
    const values = Buffer.from(state.values, 'base64')
    this.#values.clear()
    for (let i = 0; 4 * i < keys.length; i++) this.set(keys.readInt32LE(4 * i), values.readDoubleLE(8 * i))
  }
}

/**
 * To a ten-thousandth of a half-life: what is written to the index is compared with what is counted. Never below 0,
 * where nothing is.
 */
function rounded(level: number): number {
  return Math.max(1e-4, Math.round(level * 1e4) / 1e4)
}
