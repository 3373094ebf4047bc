// The index version that is written: created, filled while an older one is served, promoted when it is complete.

import { MtmiError } from '../core/errors.ts'
import type { VectorIndex } from '../index/vectorIndex.ts'
import type { Promotion, PublisherLimits } from './publisherReport.ts'

/** The keys of a Set or a Map. */
export type RemovedIds = Pick<ReadonlyMap<string, unknown>, 'size' | 'keys'> & { delete(id: string): boolean }

export class PublisherVersion {
  readonly #index: VectorIndex
  readonly #limits: PublisherLimits
  #name: string | undefined
  #isLive = false
  #promotionWaits = false

  constructor(index: VectorIndex, limits: PublisherLimits) {
    this.#index = index
    this.#limits = limits
  }

  /** undefined before the first is opened. */
  get name(): string | undefined {
    return this.#name
  }

  get isLive(): boolean {
    return this.#isLive
  }

  /**
   * Not live, and it is not decided whether it goes live: something is missing, the switch is under way, or the index did
   * not accept it. Tried again with the next batch, even an empty one.
   */
  get promotionWaits(): boolean {
    return this.#promotionWaits
  }

  async isInIndex(name: string): Promise<boolean> {
    return (await this.#index.versions()).includes(name)
  }

  async open(name: string, shape: { dimensions: number; interestCount: number }): Promise<void> {
    await this.#index.createVersion(name, shape)
    const live = await this.#index.live()
    this.#name = name
    this.#isLive = live?.indexVersion === name
    this.#promotionWaits = false
  }

  /** Removes points from every version: an erased user must not return with a rollback. Empties `gone`. */
  async remove(role: 'item' | 'user', gone: RemovedIds): Promise<number> {
    if (gone.size === 0) return 0
    const ids = [...gone.keys()]
    if (role === 'user') await this.#index.erase(ids)
    else for (const indexVersion of await this.#index.versions()) await this.#index.remove(indexVersion, role, ids)
    for (const id of ids) gone.delete(id)
    return ids.length
  }

  /**
   * The first version goes live with its first item. A later one replaces the live one when all that the publisher
   * knows is in it, and it has about as many items as the live one.
   * @returns undefined: there is nothing to do yet. An index that is down only delays it: the points are written.
   */
  async promoteWhenComplete(filled: {
    /** Points that were written: users at least so many. */
    items: number
    users: number
    /** Items that were written, or have no vector in this version. */
    itemsLookedAt: number
    pending: number
  }): Promise<Promotion | undefined> {
    const { items, users, itemsLookedAt, pending } = filled
    const name = this.#name
    if (name === undefined || this.#isLive || items === 0) return undefined
    this.#promotionWaits = true
    try {
      const live = await this.#index.live()
      if (live !== undefined) {
        if (pending > 0) return undefined
        const share = this.#limits.completeShareMin
        if (itemsLookedAt < share * live.items) {
          const reason = `index version ${name} has ${items} items, less than ${share} of the ${live.items} of live index version ${live.indexVersion}`
          this.#promotionWaits = false
          return { outcome: 'held', reason }
        }
      }
      await this.#index.promote(name, { items, users: live === undefined ? 0 : users })
      this.#isLive = true
      this.#promotionWaits = false
      const droppedVersions = await this.#dropOld(name, live?.indexVersion)
      return { outcome: 'done', items, users: live === undefined ? 0 : await this.#usersLive(users), droppedVersions }
    } catch (error) {
      if (!(error instanceof MtmiError && error.code === 'UNAVAILABLE' && !this.#isLive)) throw error
      return { outcome: 'held', reason: error.message }
    }
  }

  /** Users of the live version. @param atLeast where the index does not answer */
  async #usersLive(atLeast: number): Promise<number> {
    try {
      return (await this.#index.live())?.users ?? atLeast
    } catch (error) {
      if (!(error instanceof MtmiError && error.code === 'UNAVAILABLE')) throw error
      return atLeast
    }
  }

  /**
   * All but the live version, the one before it, and the newest others up to `versionsKept`. A version that cannot be
   * dropped now is dropped after the next promotion.
   */
  async #dropOld(live: string, before: string | undefined): Promise<string[]> {
    const dropped: string[] = []
    try {
      const others = (await this.#index.versions()).filter((name) => name !== live && name !== before)
      const newestFirst = [...others, ...(before === undefined ? [] : [before])].reverse()
      for (const name of newestFirst.slice(Math.max(0, this.#limits.versionsKept - 1))) {
        await this.#index.dropVersion(name)
        dropped.push(name)
      }
    } catch (error) {
      if (!(error instanceof MtmiError && error.code === 'UNAVAILABLE')) throw error
    }
    return dropped
  }
}
