// Watches vectors, on a sample: how far they move between versions of the weights, and how far those in the index are
// from what the weights say now.

import type { Clock } from '../core/clock.ts'
import { hashKey } from '../core/hashKey.ts'
import type { InterestScore } from '../index/interestScore.ts'
import type { VectorIndex } from '../index/vectorIndex.ts'
import type { Encoder } from '../model/encoder.ts'
import type { AppliedUpdate } from '../model/replica/modelInEffect.ts'
import { quantileOf, sortedNorms, vectorMovement } from '../monitor/drift/vectorMovement.ts'
import type { MetricsEntry, MetricsReport } from '../monitor/metrics.ts'
import type { UserId } from '../records/interaction.ts'
import type { UserSequence } from '../records/userSequence.ts'
import { type CatalogueLookup, encoderItem } from './publisherReport.ts'
import { servedOverlap } from './servedOverlap.ts'

/** Encoded in some milliseconds; a mean over them is known to within a sixteenth of its spread. */
const sampledItems = 256
const sampledUsers = 32
const keptNorms = 512
/** Of the sampled users, those whose lists are compared at one look: each costs two searches. All have their turn. */
const comparedUsers = 4
/** Between two looks. */
const intervalMs = 10_000

type WatchedUser = Pick<UserSequence, 'userId' | 'steps' | 'newestMs'>

interface Watched {
  readonly encoder: Encoder
  readonly index: VectorIndex
  readonly clock: Clock
  readonly catalogue: CatalogueLookup
  readonly scoring?: InterestScore | undefined
  readonly measure?: ((report: MetricsReport) => void) | undefined
}

export class VectorWatch {
  readonly #watched: Watched
  /**
   * By hash of the id: the first to come keeps the place until it is gone, so that the same items are compared again
   * and again.
   */
  readonly #items = new Map<number, string>()
  /** By hash of the id: users who clicked last. */
  readonly #users = new Map<number, WatchedUser>()
  /** Lengths of the rows that changed last, a ring. */
  readonly #norms = new Float64Array(keptNorms)
  #normCount = 0
  #before:
    | { readonly modelVersion: string; readonly step: number; readonly vectors: ReadonlyMap<string, Float32Array> }
    | undefined
  #lastLookMs = 0
  /** Looks so far: whose turn it is. */
  #looks = 0

  constructor(watched: Watched) {
    this.#watched = watched
  }

  noteRow(row: Float32Array): void {
    this.#norms[this.#normCount++ % keptNorms] = sortedNorms(row, row.length)[0] ?? 0
  }

  noteModel({ changedItems, expired }: Pick<AppliedUpdate, 'changedItems' | 'expired'>): void {
    for (const itemId of expired) {
      const place = hashKey(itemId) % sampledItems
      if (this.#items.get(place) === itemId) this.#items.delete(place)
    }
    for (const itemId of changedItems) {
      const place = hashKey(itemId) % sampledItems
      if (!this.#items.has(place)) this.#items.set(place, itemId)
    }
  }

  noteSequence(sequence: WatchedUser): void {
    this.#users.set(hashKey(sequence.userId) % sampledUsers, sequence)
  }

  forget(userId: UserId): void {
    const place = hashKey(userId) % sampledUsers
    if (this.#users.get(place)?.userId === userId) this.#users.delete(place)
  }

  /**
   * Looks if it is time. To be called when nothing waits to be published: what has not been written yet is late, not
   * skewed. @returns whether it looked
   */
  async lookIfDue(): Promise<boolean> {
    const { clock, measure, encoder } = this.#watched
    if (measure === undefined || encoder.dimensions === 0 || clock.nowMs() - this.#lastLookMs < intervalMs) return false
    this.#lastLookMs = clock.nowMs()
    const entries = [...this.#rowNorms(), ...(await this.#lookAtItems()), ...(await this.#lookAtUsers())]
    if (entries.length > 0) measure(entries)
    return true
  }

  #rowNorms(): MetricsEntry[] {
    if (this.#normCount === 0) return []
    const norms = this.#norms.slice(0, Math.min(this.#normCount, keptNorms)).sort()
    const quantiles = { p5: 0.05, p50: 0.5, p95: 0.95 } as const
    return (['p5', 'p50', 'p95'] as const).map((at) => ({
      metric: 'driftRowNorm',
      labels: { at },
      value: quantileOf(norms, quantiles[at])
    }))
  }

  async #lookAtItems(): Promise<MetricsEntry[]> {
    const { encoder, index, catalogue } = this.#watched
    const ids = [...this.#items.values()]
    const { modelVersion, step, dimensions } = encoder
    const encoded = encoder.itemVectors(ids.map((itemId) => encoderItem(itemId, catalogue)))
    const now = new Map<string, Float32Array>()
    ids.forEach((itemId, i) => {
      if (encoded.known[i] === 1) now.set(itemId, encoded.vectors.slice(i * dimensions, (i + 1) * dimensions))
    })
    const entries: MetricsEntry[] = []
    const before = this.#before
    if (before === undefined || before.modelVersion !== modelVersion || before.step !== step) {
      if (before?.modelVersion === modelVersion) entries.push(...movement(before.vectors, now, dimensions))
      this.#before = { modelVersion, step, vectors: now }
    }
    if ((await index.live())?.indexVersion !== modelVersion) return entries
    const served = new Map<string, Float32Array>()
    for (const itemId of now.keys()) {
      const found = await index.item(itemId)
      if (found !== undefined) served.set(itemId, found.vector)
    }
    const skew = between(served, now, dimensions)
    if (skew !== undefined)
      entries.push({ metric: 'driftServingSkew', labels: { role: 'item' }, value: skew.meanDistance })
    return entries
  }

  async #lookAtUsers(): Promise<MetricsEntry[]> {
    const { encoder, index } = this.#watched
    const sequences = [...this.#users.values()]
    const { modelVersion, dimensions, interestCount } = encoder
    const { interests, known } = encoder.interests(sequences.map(({ steps }) => steps))
    if (sequences.length === 0 || (await index.live())?.indexVersion !== modelVersion) return []
    const length = interestCount * dimensions
    const now = new Map<string, Float32Array>()
    const served = new Map<string, Float32Array>()
    for (const [b, { userId, newestMs }] of sequences.entries()) {
      const found = known[b] === 1 ? await index.user(userId) : undefined
      // Another history in the index is one that has not been written yet.
      if (found === undefined || found.payload.newestMs !== newestMs) continue
      now.set(userId, interests.subarray(b * length, (b + 1) * length))
      served.set(userId, found.vectors)
    }
    const skew = between(served, now, dimensions)
    if (skew === undefined) return []
    return [
      { metric: 'driftServingSkew', labels: { role: 'user' }, value: skew.meanDistance },
      ...(await this.#compareLists(now))
    ]
  }

  /** @param now interests by the weights as they are now [K, D], of users who are in the index with the same history */
  async #compareLists(now: ReadonlyMap<UserId, Float32Array>): Promise<MetricsEntry[]> {
    const users = [...now]
    const from = (this.#looks++ * comparedUsers) % users.length
    const turn = Array.from(
      { length: Math.min(comparedUsers, users.length) },
      (_, i) => users[(from + i) % users.length]!
    )
    const overlaps: number[] = []
    for (const [userId, interests] of turn) {
      const overlap = await servedOverlap(this.#watched, userId, interests)
      if (overlap !== undefined) overlaps.push(overlap)
    }
    if (overlaps.length === 0) return []
    return [
      { metric: 'publishServedOverlap', value: overlaps.reduce((sum, overlap) => sum + overlap, 0) / overlaps.length }
    ]
  }
}

function movement(
  before: ReadonlyMap<string, Float32Array>,
  after: ReadonlyMap<string, Float32Array>,
  dimensions: number
): MetricsEntry[] {
  const moved = between(before, after, dimensions)
  if (moved === undefined) return []
  return [
    { metric: 'driftItemMovement', value: moved.meanDistance },
    { metric: 'driftCentroidCosine', value: moved.centroidCosine }
  ]
}

/** Of the ids that both have. */
function between(
  before: ReadonlyMap<string, Float32Array>,
  after: ReadonlyMap<string, Float32Array>,
  dimensions: number
) {
  const from: number[] = []
  const to: number[] = []
  for (const [id, vectors] of before) {
    const other = after.get(id)
    if (other === undefined || other.length !== vectors.length) continue
    from.push(...vectors)
    to.push(...other)
  }
  return vectorMovement(Float32Array.from(from), Float32Array.from(to), dimensions)
}
