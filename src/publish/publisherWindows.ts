// The last window of every user, packed, so that all of them can be encoded again when the tower weights move.
//
// A step takes 8 bytes: the item's number and its age against the user's newest step, as float32 seconds, which is
// exactly what the towers read. Slots have room for a multiple of 8 steps. With the maps around it a user of 50 steps
// takes about 0.6 KB: 448 bytes of steps, 14 of fixed fields, and the id in three maps. Anything freed is used again.

import type { EncoderStep } from '../model/encoder.ts'
import type { ItemId, UserId } from '../records/interaction.ts'

/** Steps by which slots grow: at most 7 of a user's places stay empty. */
const slotSteps = 8
/**
 * Steps of one page, 64 KiB: large enough that pages are few, small enough that a rare length of window wastes little.
 */
const pageSteps = 8192

/** Slots of one length. */
interface SizeClass {
  /** Steps of a slot. */
  readonly capacity: number
  readonly slotsPerPage: number
  readonly items: Int32Array[]
  readonly ages: Float32Array[]
  readonly free: number[]
  used: number
}

export class PublisherWindows {
  readonly #usersMax: number
  /** By last change, longest ago first. */
  readonly #users = new Map<UserId, number>()
  readonly #freeUsers: number[] = []
  #slot = new Int32Array(1024)
  #length = new Uint16Array(1024)
  #newestMs = new Float64Array(1024)
  readonly #classes = new Map<number, SizeClass>()

  readonly #numbers = new Map<ItemId, number>()
  readonly #itemIds: (ItemId | undefined)[] = []
  #uses = new Int32Array(1024)
  readonly #freeItems: number[] = []

  /** @param usersMax beyond it the user whose last change is longest ago is forgotten */
  constructor(usersMax: number) {
    this.#usersMax = usersMax
  }

  get size(): number {
    return this.#users.size
  }

  has(userId: UserId): boolean {
    return this.#users.has(userId)
  }

  /**
   * @param steps oldest first, at most 65,535
   * @returns the user that had to make room, if one had to
   */
  set(userId: UserId, steps: readonly EncoderStep[]): UserId | undefined {
    this.delete(userId)
    let evicted: UserId | undefined
    if (this.#users.size >= this.#usersMax) {
      evicted = this.#users.keys().next().value
      if (evicted !== undefined) this.delete(evicted)
    }
    const user = this.#freeUsers.pop() ?? this.#users.size
    this.#growUsers(user)
    const sizeClass = this.#classOf(steps.length)
    const slot = take(sizeClass)
    const items = sizeClass.items[Math.floor(slot / sizeClass.slotsPerPage)]!
    const ages = sizeClass.ages[Math.floor(slot / sizeClass.slotsPerPage)]!
    const from = (slot % sizeClass.slotsPerPage) * sizeClass.capacity
    const newestMs = steps.reduce((newest, step) => Math.max(newest, step.eventTimeMs), 0)
    for (const [i, step] of steps.entries()) {
      items[from + i] = this.#acquire(step.itemId)
      ages[from + i] = (newestMs - step.eventTimeMs) / 1000
    }
    this.#users.set(userId, user)
    this.#slot[user] = slot
    this.#length[user] = steps.length
    this.#newestMs[user] = newestMs
    return evicted
  }

  delete(userId: UserId): boolean {
    const user = this.#users.get(userId)
    if (user === undefined) return false
    const { items, from, length, sizeClass } = this.#at(user)
    for (let i = 0; i < length; i++) this.#release(items[from + i]!)
    sizeClass.free.push(this.#slot[user]!)
    this.#users.delete(userId)
    this.#freeUsers.push(user)
    return true
  }

  /**
   * Oldest first; event times to the precision of float32 seconds before the newest. Empty for a user that is not
   * there.
   */
  steps(userId: UserId): EncoderStep[] {
    const user = this.#users.get(userId)
    if (user === undefined) return []
    const { items, ages, from, length } = this.#at(user)
    const newestMs = this.#newestMs[user]!
    const steps: EncoderStep[] = new Array(length)
    for (let i = 0; i < length; i++) {
      steps[i] = {
        itemId: this.#itemIds[items[from + i]!]!,
        eventTimeMs: Math.max(0, Math.round(newestMs - ages[from + i]! * 1000))
      }
    }
    return steps
  }

  /** Whether the user's window holds one of the items. */
  holdsAny(userId: UserId, itemIds: ReadonlySet<ItemId>): boolean {
    const user = this.#users.get(userId)
    if (user === undefined) return false
    const { items, from, length } = this.#at(user)
    for (let i = 0; i < length; i++) if (itemIds.has(this.#itemIds[items[from + i]!]!)) return true
    return false
  }

  #at(user: number): { sizeClass: SizeClass; items: Int32Array; ages: Float32Array; from: number; length: number } {
    const length = this.#length[user]!
    const sizeClass = this.#classOf(length)
    const page = Math.floor(this.#slot[user]! / sizeClass.slotsPerPage)
    const from = (this.#slot[user]! % sizeClass.slotsPerPage) * sizeClass.capacity
    return { sizeClass, items: sizeClass.items[page]!, ages: sizeClass.ages[page]!, from, length }
  }

  #classOf(length: number): SizeClass {
    const capacity = Math.max(1, Math.ceil(length / slotSteps)) * slotSteps
    let sizeClass = this.#classes.get(capacity)
    if (sizeClass === undefined) {
      sizeClass = {
        capacity,
        slotsPerPage: Math.max(1, Math.floor(pageSteps / capacity)),
        items: [],
        ages: [],
        free: [],
        used: 0
      }
      this.#classes.set(capacity, sizeClass)
    }
    return sizeClass
  }

  #growUsers(user: number): void {
    if (user < this.#slot.length) return
    this.#slot = grown(this.#slot, new Int32Array(2 * this.#slot.length))
    this.#length = grown(this.#length, new Uint16Array(2 * this.#length.length))
    this.#newestMs = grown(this.#newestMs, new Float64Array(2 * this.#newestMs.length))
  }

  #acquire(itemId: ItemId): number {
    let item = this.#numbers.get(itemId)
    if (item === undefined) {
      item = this.#freeItems.pop() ?? this.#itemIds.length
      this.#itemIds[item] = itemId
      this.#numbers.set(itemId, item)
      if (item >= this.#uses.length) this.#uses = grown(this.#uses, new Int32Array(2 * this.#uses.length))
    }
    this.#uses[item]! += 1
    return item
  }

  #release(item: number): void {
    this.#uses[item]! -= 1
    if (this.#uses[item]! > 0) return
    this.#numbers.delete(this.#itemIds[item]!)
    this.#itemIds[item] = undefined
    this.#freeItems.push(item)
  }
}

function take(sizeClass: SizeClass): number {
  const freed = sizeClass.free.pop()
  if (freed !== undefined) return freed
  const slot = sizeClass.used++
  if (slot >= sizeClass.items.length * sizeClass.slotsPerPage) {
    sizeClass.items.push(new Int32Array(sizeClass.slotsPerPage * sizeClass.capacity))
    sizeClass.ages.push(new Float32Array(sizeClass.slotsPerPage * sizeClass.capacity))
  }
  return slot
}

function grown<T extends Int32Array | Uint16Array | Float64Array>(from: T, into: T): T {
  into.set(from)
  return into
}
