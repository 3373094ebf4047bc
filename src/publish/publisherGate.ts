// A trial of candidate tower weights: live and candidate rank the same newest targets, and a candidate that is worse,
// collapsed or broken is rejected.
//
// N items that both know, K interests of a user, D dimensions. The work is in pieces of some milliseconds, so that
// clicks are published in between.

import type { Config } from '../core/config/config.ts'
import { MemoryPostings } from '../index/embedded/memoryPostings.ts'
import { ExactRanks, type RowVotes } from '../index/exactRanks.ts'
import { areUnits } from '../index/indexChecks.ts'
import type { InterestScore } from '../index/interestScore.ts'
import { noVotes, votesOf } from '../index/memory.ts'
import type { Encoder, EncoderItem, EncoderStep } from '../model/encoder.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import { type GateSlide, noSlide, signTest, slideAfter } from './gateStatistics.ts'
import type { PublishedMemory } from './publisherReport.ts'

/** Bounds of a trial. */
const gateLimits = {
  /**
   * A loss counts that chance makes less often than this. There are 8,640 trials a day at train.weightsIntervalMs of
   * 10 s: one false refusal in four months. Of 200 targets that only one of the two finds, 134 must be lost.
   */
  chanceMax: 1e-6,
  /** Mean cosine of a user's interests above which they have collapsed: healthy models have .4 to .5, collapsed .95. */
  cosineMax: 0.9,
  /** Users whose lists by both weights are compared. */
  canaries: 64,
  /** Lists that keep less of their first 20 and find no more are refused: the features, not the tastes, changed. */
  overlapMin: 0.1,
  /** Share of the time that trials may take: with a large catalogue weights are published later. */
  timeShareMax: 0.1
}

export type GateOptions = Config['publish']['gate'] & typeof gateLimits

/** The settings with the limits of a trial. */
export const gateOptions = (settings: Config['publish']['gate'] & Partial<GateOptions>): GateOptions => ({
  ...gateLimits,
  ...settings
})

/** Length of the lists: a target in one is a hit. */
export const gateListLength = 20
/** Items, and targets, of one piece of work: 1–5 ms each with some thousand items. */
const itemsPerPiece = 512
const targetsPerPiece = 32

export interface GateFigures {
  /** N. */
  readonly items: number
  /** Targets that both can rank. */
  readonly targets: number
  /** Targets found in the first 20. */
  readonly hits: Both
  /** Found by the live weights alone, and by the candidate's alone. */
  readonly lost: number
  readonly gained: number
  /** See `signTest`. */
  readonly chance: number
  /** Mean cosine between two interests of a user; NaN for a single interest, or without users. */
  readonly cosine: Both
  /** Vectors that are not finite or not of length 1. */
  readonly broken: Both
  readonly canaries: number
  /** Mean share of a canary user's list that both models have; NaN without canaries. */
  readonly overlap: number
}

interface Both {
  readonly live: number
  readonly candidate: number
}

export interface GateVerdict {
  readonly outcome: 'accepted' | 'refused'
  /** Empty when accepted. */
  readonly reasons: readonly GateReason[]
  readonly figures: GateFigures
}

const gateChecks = ['vectors', 'collapse', 'hits', 'slide', 'lists'] as const
interface GateReason {
  readonly check: (typeof gateChecks)[number]
  readonly text: string
}

interface GateParts {
  readonly live: Encoder
  readonly candidate: Encoder
  /** Read piece by piece. */
  readonly items: Iterable<EncoderItem>
  /** Newest first. */
  readonly targets: readonly GateTarget[]
  readonly options: GateOptions
  readonly scoring?: InterestScore | undefined
  /** Counts for both: lists are served with it. */
  readonly memory?: PublishedMemory | undefined
  /** An operator requested these weights: only broken vectors are a reason to reject them. */
  readonly requested?: boolean
  /** Of the weights accepted before. */
  readonly slide?: GateSlide
}

/** One trial of one candidate. Neither model may change while it lasts. */
export class GateTrial {
  readonly #parts: GateParts
  readonly #items: Iterator<EncoderItem>
  #itemsLeft = true
  #target = 0
  readonly #rows = new Map<ItemId, number>()
  readonly #postings = new MemoryPostings()
  readonly #live: Side
  readonly #candidate: Side
  readonly #canaries = new Set<UserId>()
  #targets = 0
  #lost = 0
  #gained = 0
  #overlap = 0

  constructor(parts: GateParts) {
    this.#parts = parts
    this.#items = parts.items[Symbol.iterator]()
    this.#live = new Side(parts.live, parts.scoring)
    this.#candidate = new Side(parts.candidate, parts.scoring)
  }

  /** One piece of the work. @returns the verdict, once there is one */
  advance(): GateVerdict | undefined {
    if (this.#itemsLeft) this.#takeItems()
    else if (this.#target < this.#parts.targets.length) this.#tryTargets()
    if (this.#itemsLeft || this.#target < this.#parts.targets.length) return undefined
    const figures = this.#figures()
    const reasons = objections(figures, this.#parts.options, this.#parts.requested === true, this.#parts.slide)
    return { outcome: reasons.length === 0 ? 'accepted' : 'refused', reasons, figures }
  }

  #takeItems(): void {
    const items: EncoderItem[] = []
    while (items.length < itemsPerPiece) {
      const next = this.#items.next()
      if (next.done === true) {
        this.#itemsLeft = false
        break
      }
      items.push(next.value)
    }
    if (items.length === 0) return
    const live = this.#live.encoder.itemVectors(items)
    const candidate = this.#candidate.encoder.itemVectors(items)
    for (const [i, { itemId }] of items.entries()) {
      // An item that only one of them knows would decide between them.
      if (live.known[i] === 0 || candidate.known[i] === 0) continue
      const row = this.#live.ranks.items
      this.#rows.set(itemId, row)
      if (this.#votesAtAll) this.#postings.set(row, this.#parts.memory?.neighboursOf(itemId))
      this.#live.add(live.vectors, i)
      this.#candidate.add(candidate.vectors, i)
    }
  }

  #tryTargets(): void {
    const targets = this.#parts.targets.slice(this.#target, this.#target + targetsPerPiece)
    this.#target += targets.length
    const histories = targets.map(({ history }) => history)
    const live = this.#live.encoder.interests(histories)
    const candidate = this.#candidate.encoder.interests(histories)
    for (const [b, { userId, history, target }] of targets.entries()) {
      if (live.known[b] === 0 || candidate.known[b] === 0) continue
      const ofLive = this.#live.look(live.interests, b)
      const ofCandidate = this.#candidate.look(candidate.interests, b)
      const excluded = new Set<number>()
      for (const { itemId } of history) {
        const row = this.#rows.get(itemId)
        if (row !== undefined) excluded.add(row)
      }
      const votes = this.#votesOf(history)
      if (
        !this.#canaries.has(userId) &&
        this.#canaries.size < this.#parts.options.canaries &&
        this.#rows.size > excluded.size
      ) {
        this.#canaries.add(userId)
        this.#overlap += shareOfBoth(
          this.#live.ranks.list(ofLive, gateListLength, excluded, votes),
          this.#candidate.ranks.list(ofCandidate, gateListLength, excluded, votes)
        )
      }
      const row = this.#rows.get(target)
      if (row === undefined) continue
      this.#targets++
      const liveHit = this.#live.hits(ofLive, row, excluded, votes)
      const candidateHit = this.#candidate.hits(ofCandidate, row, excluded, votes)
      if (liveHit && !candidateHit) this.#lost++
      if (candidateHit && !liveHit) this.#gained++
    }
  }

  get #votesAtAll(): boolean {
    return (this.#parts.memory?.memory.weight ?? 0) > 0
  }

  /** @param history oldest first */
  #votesOf(history: readonly EncoderStep[]): RowVotes {
    const recent = [...new Set(history.map(({ itemId }) => itemId).reverse())]
    const { memory } = this.#parts.memory ?? {}
    const votes = memory === undefined ? noVotes : votesOf(recent, memory)
    const rows = this.#postings.count(votes, this.#live.ranks.items)
    return { rows, sum: (row) => this.#postings.sum(row) }
  }

  #figures(): GateFigures {
    const both = (figure: (side: Side) => number): Both => ({
      live: figure(this.#live),
      candidate: figure(this.#candidate)
    })
    return {
      items: this.#rows.size,
      targets: this.#targets,
      hits: both((side) => side.hitCount),
      lost: this.#lost,
      gained: this.#gained,
      chance: signTest(this.#lost, this.#gained),
      cosine: both((side) => side.cosine),
      broken: both((side) => side.broken),
      canaries: this.#canaries.size,
      overlap: this.#canaries.size === 0 ? Number.NaN : this.#overlap / this.#canaries.size
    }
  }
}

/** Reasons to reject the candidate, worst first. */
export function objections(
  figures: GateFigures,
  options: GateOptions,
  requested: boolean,
  before: GateSlide = noSlide
): GateReason[] {
  const { broken, cosine, targets, lost, gained, chance, canaries, overlap, hits } = figures
  const reasons: GateReason[] = []
  // Broken vectors are never written; as many as now are no reason.
  if (broken.candidate > broken.live)
    reasons.push({
      check: 'vectors',
      text: `${broken.candidate} vectors are not finite or not of length 1; of the live weights ${broken.live} are`
    })
  if (requested) return reasons
  if (cosine.candidate > options.cosineMax && !(cosine.live >= cosine.candidate))
    reasons.push({
      check: 'collapse',
      text: `two interests of a user have a cosine of ${cosine.candidate.toFixed(2)} on average, above ${options.cosineMax}; by the live weights ${cosine.live.toFixed(2)}`
    })
  const loss = (lost - gained) / Math.max(1, targets)
  if (loss > options.hitLossMax && chance < options.chanceMax)
    reasons.push({
      check: 'hits',
      text: `of ${targets} targets ${hits.candidate} are found in the first ${gateListLength}, by the live weights ${hits.live}: ${lost} lost and ${gained} gained, by chance once in ${(1 / chance).toPrecision(2)} times`
    })
  else {
    const slide = slideAfter(before, figures)
    const slideChance = signTest(slide.lost, slide.gained)
    // Weights that are no worse than the live ones pass, however much was lost before.
    if (lost > gained && slide.share > options.hitLossMax && slideChance < options.chanceMax)
      reasons.push({
        check: 'slide',
        text: `one after the other, weights have lost ${(100 * slide.share).toFixed(1)}% of their targets since the best: ${slide.lost} lost and ${slide.gained} gained, by chance once in ${(1 / slideChance).toPrecision(2)} times`
      })
  }
  // Lists that change because they improve are the purpose of training.
  if (canaries > 0 && overlap < options.overlapMin && gained <= lost)
    reasons.push({
      check: 'lists',
      text: `lists of ${canaries} canary users keep ${(100 * overlap).toFixed(0)}% of their items, less than ${(100 * options.overlapMin).toFixed(0)}%, and find no more`
    })
  return reasons
}

/** One of the two models, and its figures. */
class Side {
  readonly encoder: Encoder
  readonly ranks: ExactRanks
  hitCount = 0
  broken = 0
  #cosines = 0
  #users = 0

  constructor(encoder: Encoder, scoring: InterestScore | undefined) {
    this.encoder = encoder
    this.ranks = new ExactRanks(encoder.dimensions, scoring)
  }

  get cosine(): number {
    return this.#users === 0 || this.encoder.interestCount < 2 ? Number.NaN : this.#cosines / this.#users
  }

  /** @param vectors [N, D] */
  add(vectors: Float32Array, i: number): void {
    const D = this.encoder.dimensions
    const vector = vectors.subarray(i * D, (i + 1) * D)
    if (!areUnits(vector)) this.broken++
    this.ranks.add(vector)
  }

  /** @param interests [B, K, D] @returns those of user b, [K, D] */
  look(interests: Float32Array, b: number): Float32Array {
    const { dimensions: D, interestCount: K } = this.encoder
    const own = interests.subarray(b * K * D, (b + 1) * K * D)
    let sum = 0
    for (let k = 0; k < K; k++) {
      if (!areUnits(own.subarray(k * D, (k + 1) * D))) this.broken++
      for (let l = 0; l < k; l++) for (let d = 0; d < D; d++) sum += own[k * D + d]! * own[l * D + d]!
    }
    this.#users++
    this.#cosines += sum / Math.max(1, (K * (K - 1)) / 2)
    return own
  }

  hits(interests: Float32Array, target: number, excluded: ReadonlySet<number>, votes: RowVotes): boolean {
    const hit = this.ranks.rank(interests, target, excluded, votes) < gateListLength
    if (hit) this.hitCount++
    return hit
  }
}

function shareOfBoth(a: readonly number[], b: readonly number[]): number {
  const other = new Set(b)
  return a.filter((row) => other.has(row)).length / Math.max(1, Math.max(a.length, b.length))
}

export interface GateTarget {
  readonly userId: UserId
  /** The steps before the target, oldest first. */
  readonly history: readonly EncoderStep[]
  readonly target: ItemId
}

/** The newest targets: a ring, about 2 KB a target at 50 steps. */
export class PublisherTargets {
  readonly #max: number
  readonly #ring: GateTarget[] = []
  #next = 0

  /** @param max targets kept, ≥ 0 */
  constructor(max: number) {
    this.#max = max
  }

  /** A target that the history holds cannot be recommended, and is left out. */
  add(target: GateTarget): void {
    if (this.#max === 0 || target.history.some(({ itemId }) => itemId === target.target)) return
    this.#ring[this.#next] = target
    this.#next = (this.#next + 1) % this.#max
  }

  forget(userId: UserId): void {
    if (!this.#ring.some((target) => target.userId === userId)) return
    const kept = this.newestFirst().filter((target) => target.userId !== userId)
    this.#ring.splice(0, this.#ring.length, ...kept.reverse())
    this.#next = this.#ring.length % Math.max(1, this.#max)
  }

  newestFirst(): GateTarget[] {
    return [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)].reverse()
  }
}
