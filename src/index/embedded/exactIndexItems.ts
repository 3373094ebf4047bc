// The items of one index version in memory, and exact search among them.
//
// N items, D dimensions, Q interests of a query. An item is a row; a removed one leaves a gap that counts for nothing
// until the gaps are a quarter of all rows and are closed. An item whose features change moves to a new row, so that a
// row, while it lives, has the features it began with, and the lists of rows by feature only ever grow at the end.

import { own } from '../../core/own.ts'
import { blockRows, groupSize, type ItemTable, JavaScriptTable, queryInterestsMax } from '../dotKernel.ts'
import { popularityScore } from '../popularity.ts'
import {
  type Candidate,
  type ItemPayload,
  type PopularItem,
  popularityPart,
  type VectorWishes
} from '../vectorIndex.ts'
import { wasmTable } from '../wasmKernel.ts'

export interface ItemFilter {
  /** Not found, whatever they score. */
  readonly exclude: Iterable<string>
  readonly features: Readonly<Record<string, string>> | undefined
}

/** Features as a catalogue has them, shared by all items that have the same. */
interface Profile {
  readonly features: Readonly<Record<string, readonly string[]>>
  readonly keys: ReadonlySet<string>
  uses: number
}

/**
 * Below this share of all rows a feature's own rows are scored one by one: a call a row costs about 8 × its share of a
 * whole block.
 */
const listShareMax = 1 / 8
/** Rows that a search by words looks at: some 50 ms, for which other searches wait. */
const likeRowsMax = 300_000
/** Gaps are closed when they are more than this many and a quarter of all rows. */
const gapsMin = blockRows

export class ExactItems {
  readonly dimensions: number
  readonly #table: ItemTable
  readonly #rows = new Map<string, number>()
  readonly #ids: (string | undefined)[] = [] // undefined: a gap
  readonly #titles: (string | undefined)[] = []
  readonly #profiles: (Profile | undefined)[] = []
  #steps = new Float64Array(blockRows)
  #counts = new Float64Array(blockRows)
  #popularity = new Float64Array(blockRows)
  readonly #popularityIn: ItemPayload['popularityIn'][] = []
  #updatedAtMs = new Float64Array(blockRows)
  readonly #shared = new Map<string, Profile>()
  readonly #rowsByFeature = new Map<string, number[]>()
  #step = 0

  constructor(dimensions: number, table: ItemTable = wasmTable(dimensions) ?? new JavaScriptTable(dimensions)) {
    this.dimensions = dimensions
    this.#table = table
  }

  get size(): number {
    return this.#rows.size
  }

  /** The newest step written. */
  get step(): number {
    return this.#step
  }

  get kernel(): ItemTable['kind'] {
    return this.#table.kind
  }

  get vectorBytes(): number {
    return this.#table.bytes
  }

  stepOf(id: string): number | undefined {
    const row = this.#rows.get(id)
    return row === undefined ? undefined : this.#steps[row]
  }

  get(id: string): { payload: ItemPayload; vector: Float32Array } | undefined {
    const row = this.#rows.get(id)
    return row === undefined ? undefined : { payload: this.#payload(row), vector: this.#table.read(row) }
  }

  /** @returns whether it was written: not if the item is here at a newer step */
  upsert(id: string, step: number, vector: Float32Array, payload: ItemPayload): boolean {
    const before = this.#rows.get(id)
    if (before !== undefined && this.#steps[before]! > step) return false
    const profile = this.#profileOf(payload.features)
    const stays = before !== undefined && this.#profiles[before] === profile
    const row = stays ? before : this.#ids.length
    this.#table.write(row, vector) // first: it may refuse
    if (stays) {
      this.#titles[row] = payload.title
    } else {
      if (before !== undefined) this.#leave(before)
      if (row >= this.#steps.length) this.#grow()
      this.#ids.push(id)
      this.#titles.push(payload.title)
      this.#profiles.push(profile)
      this.#rows.set(id, row)
      if (profile !== undefined) {
        profile.uses++
        for (const key of profile.keys) this.#list(key).push(row)
      }
    }
    this.#steps[row] = step
    this.#counts[row] = payload.count
    this.#popularity[row] = payload.popularity ?? 0
    this.#popularityIn[row] = payload.popularityIn
    this.#updatedAtMs[row] = payload.updatedAtMs
    if (step > this.#step) this.#step = step
    this.#closeGaps()
    return true
  }

  /** @returns the step it had; undefined if it was not here */
  remove(id: string): number | undefined {
    const row = this.#rows.get(id)
    if (row === undefined) return undefined
    const step = this.#steps[row]!
    this.#leave(row)
    this.#rows.delete(id)
    this.#closeGaps()
    return step
  }

  /**
   * The `limit` nearest items to each of the vectors, best first; of equal ones the earlier row.
   *
   * @param vectors [Q, D], of length 1
   */
  search(
    vectors: Float32Array,
    count: number,
    limit: number,
    filter: ItemFilter,
    wishes: VectorWishes = {}
  ): Candidate[][] {
    if (count > queryInterestsMax) throw new RangeError(`${count} interests in one query; at most ${queryInterestsMax}`)
    const size = Math.min(limit, this.#rows.size)
    const tops = Array.from({ length: count }, () => new TopRows(size))
    if (size === 0) return tops.map(() => [])
    const excluded = this.#rowsOf(filter.exclude)
    const keys = featureKeys(filter.features)
    const shortest = this.#shortestList(keys)
    this.#table.setQuery(vectors, count)
    const thresholds = new Float32Array(Math.ceil(count / groupSize) * groupSize)
      .fill(Number.POSITIVE_INFINITY)
      .fill(Number.NEGATIVE_INFINITY, 0, count)
    const scan = (from: number, to: number) => this.#scan(from, to, tops, thresholds, excluded, keys)
    if (shortest !== undefined && shortest.length < this.#ids.length * listShareMax)
      for (const row of shortest) scan(row, row + 1)
    else
      for (let from = 0; from < this.#ids.length; from += blockRows)
        scan(from, Math.min(from + blockRows, this.#ids.length))
    const withVectors = wishes.vectors === true
    return tops.map((top) =>
      top.sorted((row, score) => {
        const candidate = { itemId: this.#ids[row]!, score: Math.max(-1, Math.min(1, score)) }
        return withVectors ? { ...candidate, vector: this.#table.read(row) } : candidate
      })
    )
  }

  /**
   * The `limit` most popular items, in the context if one is given, best first; score: as a share of the most popular
   * one's.
   */
  popular(limit: number, filter: ItemFilter, context?: string): PopularItem[] {
    const top = new TopRows(Math.min(limit, this.#rows.size))
    const excluded = this.#rowsOf(filter.exclude)
    const keys = featureKeys(filter.features)
    const rows = this.#shortestList(keys)
    const length = rows?.length ?? this.#ids.length
    for (let i = 0; i < length; i++) {
      const row = rows === undefined ? i : rows[i]!
      const level = this.#level(row, context)
      if (level > top.threshold && this.#admits(row, excluded, keys)) top.offer(row, level)
    }
    return this.#byPopularity(top, context)
  }

  /**
   * The `limit` most popular items among those whose id or title holds `text`, whatever its case; among the newest
   * `likeRowsMax` rows.
   */
  like(text: string, limit: number): PopularItem[] {
    const top = new TopRows(Math.min(limit, this.#rows.size))
    const wanted = text.toLowerCase()
    for (let row = Math.max(0, this.#ids.length - likeRowsMax); row < this.#ids.length; row++) {
      const id = this.#ids[row]
      const level = this.#popularity[row]!
      if (id === undefined || level <= top.threshold) continue
      if (id.toLowerCase().includes(wanted) || this.#titles[row]?.toLowerCase().includes(wanted)) top.offer(row, level)
    }
    return this.#byPopularity(top)
  }

  /** −∞: the context says nothing of the item. */
  #level(row: number, context: string | undefined): number {
    return context === undefined
      ? this.#popularity[row]!
      : (own(this.#popularityIn[row] ?? {}, context) ?? Number.NEGATIVE_INFINITY)
  }

  #byPopularity(top: TopRows, context?: string): PopularItem[] {
    let greatest = 0
    for (let row = 0; row < this.#ids.length; row++) greatest = Math.max(greatest, this.#level(row, context))
    return top.sorted((row, level) => ({
      itemId: this.#ids[row]!,
      score: popularityScore(level, greatest),
      payload: this.#payload(row)
    }))
  }

  #scan(
    from: number,
    to: number,
    tops: readonly TopRows[],
    thresholds: Float32Array,
    excluded: ReadonlySet<number>,
    keys: readonly string[]
  ): void {
    for (let group = 0; group * groupSize < tops.length; group++) {
      const first = group * groupSize
      const limits = thresholds.subarray(first, first + groupSize)
      const found = this.#table.scan(from, to, group, limits)
      const { foundRows, foundScores } = this.#table
      for (let i = 0; i < found; i++) {
        const row = foundRows[i]!
        // While the thresholds rise within a block most of what was found is too low by now: look at that before
        // anything dearer.
        let admitted = false
        for (let lane = 0; lane < groupSize && first + lane < tops.length; lane++) {
          const score = foundScores[i * groupSize + lane]!
          const top = tops[first + lane]!
          if (!(score > top.threshold)) continue
          if (!admitted) {
            if (!this.#admits(row, excluded, keys)) break
            admitted = true
          }
          top.offer(row, score)
        }
      }
      if (found > 0)
        for (let lane = 0; lane < groupSize && first + lane < tops.length; lane++)
          limits[lane] = tops[first + lane]!.threshold
    }
  }

  #admits(row: number, excluded: ReadonlySet<number>, keys: readonly string[]): boolean {
    if (this.#ids[row] === undefined || excluded.has(row)) return false
    if (keys.length === 0) return true
    const profile = this.#profiles[row]
    return profile !== undefined && keys.every((key) => profile.keys.has(key))
  }

  /** Rows of the rarest of the features, gaps included; undefined without a filter. */
  #shortestList(keys: readonly string[]): readonly number[] | undefined {
    if (keys.length === 0) return undefined
    return keys.map((key) => this.#rowsByFeature.get(key) ?? []).reduce((a, b) => (b.length < a.length ? b : a))
  }

  #rowsOf(ids: Iterable<string>): ReadonlySet<number> {
    const rows = new Set<number>()
    for (const id of ids) {
      const row = this.#rows.get(id)
      if (row !== undefined) rows.add(row)
    }
    return rows
  }

  #payload(row: number): ItemPayload {
    const title = this.#titles[row]
    const profile = this.#profiles[row]
    return {
      ...(title === undefined ? {} : { title }),
      ...(profile === undefined ? {} : { features: profile.features }),
      count: this.#counts[row]!,
      ...popularityPart(this.#popularity[row], this.#popularityIn[row]),
      updatedAtMs: this.#updatedAtMs[row]!
    }
  }

  #profileOf(features: ItemPayload['features']): Profile | undefined {
    if (features === undefined) return undefined
    const text = featuresText(features)
    let profile = this.#shared.get(text)
    if (profile === undefined) {
      const keys = new Set(
        Object.entries(features).flatMap(([field, values]) => values.map((value) => featureKey(field, value)))
      )
      profile = { features, keys, uses: 0 }
      this.#shared.set(text, profile)
    }
    return profile
  }

  #list(key: string): number[] {
    const known = this.#rowsByFeature.get(key)
    if (known !== undefined) return known
    const rows: number[] = []
    this.#rowsByFeature.set(key, rows)
    return rows
  }

  #leave(row: number): void {
    this.#ids[row] = undefined
    this.#titles[row] = undefined
    this.#counts[row] = 0
    this.#popularity[row] = 0
    this.#popularityIn[row] = undefined
    const profile = this.#profiles[row]
    if (profile !== undefined) profile.uses--
  }

  #grow(): void {
    const length = this.#steps.length * 2
    const grown = (values: Float64Array) => {
      const longer = new Float64Array(length)
      longer.set(values)
      return longer
    }
    this.#steps = grown(this.#steps)
    this.#counts = grown(this.#counts)
    this.#popularity = grown(this.#popularity)
    this.#updatedAtMs = grown(this.#updatedAtMs)
  }

  #closeGaps(): void {
    const gaps = this.#ids.length - this.#rows.size
    if (gaps <= gapsMin || gaps * 4 <= this.#ids.length) return
    this.#rowsByFeature.clear()
    let to = 0
    for (let from = 0; from < this.#ids.length; from++) {
      const id = this.#ids[from]
      if (id === undefined) continue
      if (from !== to) {
        this.#table.move(from, to)
        this.#ids[to] = id
        this.#titles[to] = this.#titles[from]
        this.#profiles[to] = this.#profiles[from]
        this.#steps[to] = this.#steps[from]!
        this.#counts[to] = this.#counts[from]!
        this.#popularity[to] = this.#popularity[from]!
        this.#popularityIn[to] = this.#popularityIn[from]
        this.#updatedAtMs[to] = this.#updatedAtMs[from]!
        this.#rows.set(id, to)
      }
      for (const key of this.#profiles[to]?.keys ?? []) this.#list(key).push(to)
      to++
    }
    this.#ids.length = to
    this.#titles.length = to
    this.#profiles.length = to
    this.#popularityIn.length = to
    for (const [text, profile] of this.#shared) if (profile.uses === 0) this.#shared.delete(text)
  }
}

/**
 * The same text for the same features in the same order, and another for any other (every part says its length): JSON
 * would do, but a load does this once an item.
 */
function featuresText(features: Readonly<Record<string, readonly string[]>>): string {
  let text = ''
  for (const field in features) {
    text += `${field.length}:${field}`
    for (const value of own(features, field)!) text += `,${value.length}:${value}`
    text += ';'
  }
  return text
}

function featureKey(field: string, value: string): string {
  return JSON.stringify([field, value])
}

function featureKeys(features: Readonly<Record<string, string>> | undefined): readonly string[] {
  return features === undefined ? [] : Object.entries(features).map(([field, value]) => featureKey(field, value))
}

/** The best rows so far: a heap with the worst of them on top. */
class TopRows {
  readonly #size: number
  #rows = new Int32Array(0)
  #scores = new Float64Array(0)
  #held = 0

  constructor(size: number) {
    this.#size = size
    this.#rows = new Int32Array(size)
    this.#scores = new Float64Array(size)
  }

  /** Only a greater score is of interest. */
  get threshold(): number {
    return this.#held < this.#size
      ? Number.NEGATIVE_INFINITY
      : this.#held === 0
        ? Number.POSITIVE_INFINITY
        : this.#scores[0]!
  }

  /** @param score greater than `threshold` */
  offer(row: number, score: number): void {
    const rows = this.#rows
    const scores = this.#scores
    let at: number
    if (this.#held < this.#size) {
      at = this.#held++
      while (at > 0) {
        const parent = (at - 1) >> 1
        if (scores[parent]! <= score) break
        scores[at] = scores[parent]!
        rows[at] = rows[parent]!
        at = parent
      }
    } else {
      at = 0
      for (;;) {
        let child = 2 * at + 1
        if (child >= this.#held) break
        if (child + 1 < this.#held && scores[child + 1]! < scores[child]!) child++
        if (scores[child]! >= score) break
        scores[at] = scores[child]!
        rows[at] = rows[child]!
        at = child
      }
    }
    scores[at] = score
    rows[at] = row
  }

  sorted<T>(make: (row: number, score: number) => T): T[] {
    const order = Array.from({ length: this.#held }, (_, i) => i)
    order.sort((a, b) => this.#scores[b]! - this.#scores[a]! || this.#rows[a]! - this.#rows[b]!)
    return order.map((i) => make(this.#rows[i]!, this.#scores[i]!))
  }
}
