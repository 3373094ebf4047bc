// The items of one index version in memory, and exact search among them.
//
// N items, D dimensions, Q interests of a query. An item is a row. A removed item leaves a gap; gaps are closed when
// they are a quarter of all rows. An item whose features change moves to a new row: a row keeps its features, and the
// lists of rows by feature only grow at the end.

import { hashKey } from '../../core/hashKey.ts'
import { own } from '../../core/own.ts'
import { TopRows } from '../../core/topRows.ts'
import { isAvailable } from '../../records/catalogueItem.ts'
import { scoreOf, toCosine } from '../interestScore.ts'
import type { FeatureFilter } from '../itemFilter.ts'
import { blockRows, groupSize, ItemTable, queryInterestsMax } from '../itemTable.ts'
import type { Votes } from '../memory.ts'
import { popularityScore } from '../popularity.ts'
import {
  type Candidate,
  type CandidateOptions,
  type Candidates,
  type Filter,
  fieldsMax,
  type ItemPayload,
  type PopularItem,
  type SearchOptions
} from '../vectorIndex.ts'
import { type Entry, ItemProfiles, profileFilter } from './itemProfiles.ts'
import { MemoryPostings } from './memoryPostings.ts'
import type { StoredList } from './pointCodec.ts'

/**
 * Below this share of all rows a feature's own rows are scored one by one: a call for one row costs about eight times
 * its share of a whole block.
 */
const listShareMax = 1 / 8
/** Rows that a search by words reads: some 50 ms, for which other searches wait. */
const likeRowsMax = 300_000
/** Of the rows that get votes, those with the most are scored: some 2 µs each. */
const votedRowsMax = 500
const noList: StoredList = { changedAt: 0, read: () => undefined }
const noThresholds = new Float32Array(groupSize).fill(Number.NEGATIVE_INFINITY)
/** Gaps are closed when they are more than this many and a quarter of all rows. */
const gapsMin = blockRows

export class ExactItems {
  readonly dimensions: number
  readonly #table: ItemTable
  readonly #rows = new Map<string, number>()
  readonly #entries: (Entry | undefined)[] = [] // undefined: a gap
  /** Beside the payload, for searches that read all of them. */
  #popularity = new Float64Array(blockRows)
  readonly #memory = new MemoryPostings()
  readonly #profiles = new ItemProfiles()
  #step = 0

  constructor(dimensions: number) {
    this.dimensions = dimensions
    this.#table = new ItemTable(dimensions)
  }

  get size(): number {
    return this.#rows.size
  }

  /** The newest step written. */
  get step(): number {
    return this.#step
  }

  get(id: string): { payload: ItemPayload; vector: Float32Array } | undefined {
    const row = this.#rows.get(id)
    return row === undefined ? undefined : { payload: this.#entries[row]!.payload, vector: this.#table.read(row) }
  }

  /**
   * @param list its list in the memory; read only if it changed since it was read
   * @returns whether it was written: not if the item is here with a newer step
   */
  upsert(id: string, step: number, vector: Float32Array, payload: ItemPayload, list: StoredList = noList): boolean {
    const before = this.#rows.get(id)
    const entry = before === undefined ? undefined : this.#entries[before]!
    if (entry !== undefined && entry.step > step) return false
    const profile = this.#profiles.of(payload.features)
    const stays = before !== undefined && entry!.profile === profile
    const row = stays ? before : this.#entries.length
    this.#table.write(row, vector) // first: it may refuse
    if (!stays) {
      if (before !== undefined) {
        this.#memory.move(before, row)
        this.#leave(before)
      }
      this.#rows.set(id, row)
      if (profile !== undefined) profile.uses++
      this.#profiles.add(profile, row)
    }
    if (entry?.listChangedAt !== list.changedAt) this.#memory.set(row, list.read())
    this.#entries[row] = {
      ...{ id, step, profile, listChangedAt: list.changedAt },
      payload: profile === undefined ? payload : { ...payload, features: profile.features }
    }
    if (row >= this.#popularity.length) {
      const longer = new Float64Array(2 * this.#popularity.length)
      longer.set(this.#popularity)
      this.#popularity = longer
    }
    this.#popularity[row] = payload.popularity ?? 0
    this.#step = Math.max(this.#step, step)
    this.#closeGaps()
    return true
  }

  /** @returns the step it had; undefined if it was not here */
  remove(id: string): number | undefined {
    const row = this.#rows.get(id)
    if (row === undefined) return undefined
    const { step } = this.#entries[row]!
    this.#leave(row)
    this.#rows.delete(id)
    this.#closeGaps()
    return step
  }

  /** The `limit` nearest items to each of the vectors, best first. @param vectors [Q, D], of length 1 */
  search(vectors: Float32Array, limit: number, filter: Filter, options: SearchOptions = {}): Candidate[][] {
    return this.#nearest(vectors, limit, filter, this.#admission(filter)).map((top) =>
      top.sorted((row, score) => ({
        itemId: this.#entries[row]!.id,
        score: toCosine(score),
        ...(options.vectors === true ? { vector: this.#table.read(row) } : {})
      }))
    )
  }

  /**
   * The `limit` nearest items to each of the vectors, and those that votes lift among the `limit` best.
   *
   * @param vectors [K, D], of length 1; K may be 0
   */
  candidates(
    vectors: Float32Array,
    votes: Votes,
    limit: number,
    filter: Filter,
    { scoring, vectors: withVectors = false }: CandidateOptions
  ): Candidates {
    const [D, K] = [this.dimensions, vectors.length / this.dimensions]
    const admits = this.#admission(filter)
    const nearest = this.#nearest(vectors, limit, filter, admits)
    const chosen = new Set(nearest.flatMap((top) => top.sorted((row) => row)))
    const voted = this.#memory.count(votes, this.#entries.length)
    const cosines = new Float32Array(K)
    const best = new TopRows(Math.min(limit, this.#rows.size))
    const offer = (row: number) => {
      this.#cosines(row, cosines, 0, K)
      const score = scoreOf(cosines, 0, K, scoring) + this.#memory.sum(row)
      if (score > best.threshold) best.offer(row, score)
    }
    for (const row of voted.length > 0 ? chosen : []) offer(row) // no other has a cosine above the last of each list
    const others = scoreOf(
      Float32Array.from(nearest, ({ threshold }) => threshold),
      0,
      K,
      scoring
    )
    const promising = new TopRows(Math.min(votedRowsMax, this.#rows.size))
    for (const row of voted) {
      const sum = this.#memory.sum(row)
      if (others + sum > best.threshold && sum > promising.threshold && !chosen.has(row) && admits(row))
        promising.offer(row, sum)
    }
    for (const row of promising.sorted((row) => row)) if (others + this.#memory.sum(row) > best.threshold) offer(row)
    for (const row of best.sorted((row) => row)) chosen.add(row)
    const rows = [...chosen]
    const found = {
      itemIds: rows.map((row) => this.#entries[row]!.id),
      interestCount: K,
      cosines: new Float32Array(rows.length * K), // [C, K]
      memory: Float32Array.from(rows, (row) => this.#memory.sum(row)) // [C]
    }
    for (const [c, row] of rows.entries()) this.#cosines(row, found.cosines, c * K, K)
    const all = new Float32Array(withVectors ? rows.length * D : 0) // [C, D]
    for (const [c, row] of withVectors ? rows.entries() : []) all.set(this.#table.read(row), c * D)
    return withVectors ? { ...found, vectors: all } : found
  }

  /** The `limit` most popular items, in the context if one is given, best first. */
  popular(limit: number, filter: Filter, context?: string): PopularItem[] {
    const top = new TopRows(Math.min(limit, this.#rows.size))
    const admits = this.#admission(filter)
    const rows = this.#candidateRows(filter)
    const length = rows?.length ?? this.#entries.length
    for (let i = 0; i < length; i++) {
      const row = rows === undefined ? i : rows[i]!
      const level = this.#level(row, context)
      if (level > top.threshold && admits(row)) top.offer(row, level)
    }
    return this.#byPopularity(top, context)
  }

  /**
   * The `limit` most popular items whose id or title contains `text`, ignoring case, among the newest `likeRowsMax`
   * rows.
   */
  like(text: string, limit: number, filter: Filter): PopularItem[] {
    const top = new TopRows(Math.min(limit, this.#rows.size))
    const admits = this.#admission(filter)
    const wanted = text.toLowerCase()
    for (let row = Math.max(0, this.#entries.length - likeRowsMax); row < this.#entries.length; row++) {
      const entry = this.#entries[row]
      const level = this.#popularity[row]!
      if (entry === undefined || level <= top.threshold) continue
      const { id, payload } = entry
      if (!id.toLowerCase().includes(wanted) && payload.title?.toLowerCase().includes(wanted) !== true) continue
      if (admits(row)) top.offer(row, level)
    }
    return this.#byPopularity(top)
  }

  /** In alphabetical order; see `VectorIndex.fields`. */
  fields(): string[] {
    return this.#profiles.fields().sort().slice(0, fieldsMax)
  }

  /** Whether an item meets the conditions. */
  holdsAny(features: FeatureFilter): boolean {
    const filter = { features }
    const admits = this.#admission(filter)
    const rows = this.#candidateRows(filter)
    return rows === undefined ? this.#entries.some((_, row) => admits(row)) : rows.some(admits)
  }

  /** −∞: the item has no popularity in the context. */
  #level(row: number, context: string | undefined): number {
    if (context === undefined) return this.#popularity[row]!
    return own(this.#entries[row]?.payload.popularityIn ?? {}, context) ?? Number.NEGATIVE_INFINITY
  }

  #byPopularity(top: TopRows, context?: string): PopularItem[] {
    let greatest = 0
    for (let row = 0; row < this.#entries.length; row++) greatest = Math.max(greatest, this.#level(row, context))
    return top.sorted((row, level) => {
      const { id, payload } = this.#entries[row]!
      return { itemId: id, score: popularityScore(level, greatest), payload }
    })
  }

  /** [Q]. The query of the table is that of `vectors` afterwards. */
  #nearest(vectors: Float32Array, limit: number, filter: Filter, admits: (row: number) => boolean): readonly TopRows[] {
    const count = vectors.length / this.dimensions
    if (count > queryInterestsMax) throw new RangeError(`${count} interests in one query; at most ${queryInterestsMax}`)
    const size = Math.min(limit, this.#rows.size)
    const tops = Array.from({ length: count }, () => new TopRows(size))
    if (size === 0 || count === 0) return tops
    const rarest = this.#candidateRows(filter)
    this.#table.setQuery(vectors, count)
    const thresholds = new Float32Array(Math.ceil(count / groupSize) * groupSize)
      .fill(Number.POSITIVE_INFINITY)
      .fill(Number.NEGATIVE_INFINITY, 0, count)
    const rows = this.#entries.length
    if (rarest !== undefined && rarest.length < rows * listShareMax)
      for (const row of rarest) this.#scan(row, row + 1, tops, thresholds, admits)
    else
      for (let from = 0; from < rows; from += blockRows)
        this.#scan(from, Math.min(from + blockRows, rows), tops, thresholds, admits)
    return tops
  }

  /** Of a row with the query of the table. @param into [K] of it from `at` */
  #cosines(row: number, into: Float32Array, at: number, K: number): void {
    for (let first = 0; first < K; first += groupSize) {
      this.#table.scan(row, row + 1, first / groupSize, noThresholds)
      const lanes = Math.min(groupSize, K - first)
      for (let lane = 0; lane < lanes; lane++) into[at + first + lane] = toCosine(this.#table.foundScores[lane]!)
    }
  }

  #scan(
    from: number,
    to: number,
    tops: readonly TopRows[],
    thresholds: Float32Array,
    admits: (row: number) => boolean
  ): void {
    for (let first = 0; first < tops.length; first += groupSize) {
      const limits = thresholds.subarray(first, first + groupSize)
      const lanes = Math.min(groupSize, tops.length - first)
      const found = this.#table.scan(from, to, first / groupSize, limits)
      const { foundRows, foundScores } = this.#table
      for (let i = 0; i < found; i++) {
        // The thresholds rise within a block: most of what was found is too low by now, and the cheap check is first.
        const row = foundRows[i]!
        let isAdmitted = false
        for (let lane = 0; lane < lanes; lane++) {
          const score = foundScores[i * groupSize + lane]!
          const top = tops[first + lane]!
          if (!(score > top.threshold)) continue
          if (!isAdmitted && !admits(row)) break
          isAdmitted = true
          top.offer(row, score)
        }
      }
      if (found > 0) for (let lane = 0; lane < lanes; lane++) limits[lane] = tops[first + lane]!.threshold
    }
  }

  /** Whether a row is an item that the filter admits. The user's own items are in `excludeHashes`. */
  #admission({
    excludeItems = [],
    excludeHashes,
    onlyItems,
    features,
    availableAtMs
  }: Filter): (row: number) => boolean {
    const rowsOf = (ids: readonly string[]) => new Set(ids.map((id) => this.#rows.get(id) ?? -1))
    const excluded = rowsOf(excludeItems)
    const only = onlyItems && rowsOf(onlyItems)
    const meetsFilter = profileFilter(features)
    const hasHashes = excludeHashes !== undefined && excludeHashes.size > 0
    return (row) => {
      const entry = this.#entries[row]
      if (entry === undefined || excluded.has(row) || !isAvailable(entry.payload, availableAtMs)) return false
      if (only?.has(row) === false || !meetsFilter(entry.profile)) return false
      return !hasHashes || !excludeHashes.has(hashKey(entry.id))
    }
  }

  /** Rows among which all that the filter admits are, gaps included, each once; undefined: among all of them. */
  #candidateRows({ onlyItems, features }: Filter): readonly number[] | undefined {
    if (onlyItems === undefined) return this.#profiles.rarest(features)
    return [...new Set(onlyItems.flatMap((id) => this.#rows.get(id) ?? []))].sort((a, b) => a - b)
  }

  #leave(row: number): void {
    const { profile } = this.#entries[row]!
    if (profile !== undefined) profile.uses--
    this.#memory.remove(row)
    this.#entries[row] = undefined
    this.#popularity[row] = 0
  }

  #closeGaps(): void {
    const gaps = this.#entries.length - this.#rows.size
    if (gaps <= gapsMin || gaps * 4 <= this.#entries.length) return
    this.#profiles.clearRows()
    let to = 0
    for (let from = 0; from < this.#entries.length; from++) {
      const entry = this.#entries[from]
      if (entry === undefined) continue
      if (from !== to) {
        this.#table.move(from, to)
        this.#memory.move(from, to)
        this.#entries[to] = entry
        this.#popularity[to] = this.#popularity[from]!
        this.#rows.set(entry.id, to)
      }
      this.#profiles.add(entry.profile, to)
      to++
    }
    this.#entries.length = to
    this.#profiles.dropUnused()
  }
}
