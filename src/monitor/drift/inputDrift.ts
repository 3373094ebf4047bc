// Whether the interactions still are what they were: the newest window against the four windows before it, feature by
// feature.
//
// One interaction of each session is looked at, drawn from those of a block: interactions of one session are alike, and
// a thousand of one user are no more evidence than one. The number is the population stability index. An alarm begins
// where it reaches its threshold, the larger of
//
//     psiMin                                    a difference that matters (twice psiMin for item_popularity)
//     2 · max_j PSI(reference_j, the others)    twice the largest difference of a reference window from the other three
//
// The second term is the noise of this stream, measured as the first is: sessions that make events depend on each
// other, few values in a window, the hours of a day, and the age of a young stream, in which histories grow and items
// become known. How often it is wrong, and what it sees: docs/drift.md, decision 0045.

import { hashKey } from '../../core/hashKey.ts'
import { own } from '../../core/own.ts'
import { DecayedCounts, type DecayedCountsState } from './decayedCounts.ts'
import type { Detection } from './detection.ts'
import { HeavyHitters, type HeavyHittersState } from './heavyHitters.ts'
import { equalParts, joinBins, populationStability } from './populationStability.ts'
import { ReferenceWindow, type ReferenceWindowState } from './referenceWindow.ts'

export const inputFeatures = ['event_type', 'item_popularity', 'category', 'new_user', 'event_gap'] as const
export type InputFeature = (typeof inputFeatures)[number]

/** What is looked at of one interaction; ids are hashed or counted, and stay in this folder. */
export interface InputEvent {
  readonly userId: string
  readonly type: string
  readonly itemId: string
  /** Empty where the catalogue has none. */
  readonly categories: readonly string[]
  /** Steps that the user had before. 0: the user is new. */
  readonly historyLength: number
  /** Since the user's event before; undefined for the first. */
  readonly gapMs: number | undefined
  /** Milliseconds since the Unix epoch. */
  readonly eventTimeMs: number
}

interface InputDriftOptions {
  /** A window holds at least so many sessions (default 1,000) … */
  readonly windowSessions?: number
  /** … and spans at least this much event time. */
  readonly windowMs: number
  /** The least threshold, doubled for `item_popularity`. Default .05: see docs/drift.md. */
  readonly psiMin?: number
}

interface InputDriftReport {
  /** Only features that window and reference hold enough of. */
  readonly features: Partial<Record<InputFeature, { readonly psi: number; readonly threshold: number }>>
  /** Share of the sessions in the window whose interaction was its user's first; undefined before the first block. */
  readonly newUserShare: number | undefined
}

export interface InputDriftState {
  readonly format: 2
  readonly options: string
  readonly events: number
  readonly stride: number
  readonly windows: Readonly<Record<string, ReferenceWindowState>>
  readonly names: Readonly<Record<string, HeavyHittersState>>
  readonly popularity: DecayedCountsState
  readonly alarmed: readonly string[]
}

/** The interaction that stands for a session within a block. */
interface Sample {
  /** Interactions of the session in the block so far. */
  count: number
  event: InputEvent
}

/** Blocks in a window: a comparison at the end of each. */
const windowBlocks = 10
/** Windows in the reference. */
const referenceWindows = 4
/** Bins of equal share that ordered features are joined to: deciles, as is customary for PSI. */
const parts = 10
/** Times the noise that an alarm must reach. */
const noiseFactor = 2
/** An alarm is over when the number has fallen to this share of the threshold: one that hovers there is one alarm. */
const calm = 0.5
/** Fewer values than this in a window say nothing of ten bins. */
const valuesMin = 200
/** A session ends where its user does nothing for so long, by custom of web analytics. */
const sessionGapMs = 30 * 60_000
/** Times the sessions that a block needs, kept at a time. */
const runningFactor = 8
/** Half-life of popularity, in windows: of shorter ones too little is known of most items. */
const popularityWindows = 8

/** Number of bins. The last bin of the two with names is for all names that are not among the most frequent. */
const bins = { event_type: 32, item_popularity: 32, category: 64, new_user: 2, event_gap: 128 } as const
const none: readonly Detection[] = []

export class InputDrift {
  readonly #options: Required<InputDriftOptions>
  readonly #windows: Readonly<Record<InputFeature, ReferenceWindow>>
  readonly #names = { event_type: new HeavyHitters(bins.event_type - 1), category: new HeavyHitters(bins.category - 1) }
  readonly #popularity: DecayedCounts
  #events = 0
  /** One interaction in so many is looked at. */
  #stride = 1
  /**
   * Of the open block: its interactions, newest event time and that of its begin (−1: none yet), sessions that ended in
   * it, and running ones by user.
   */
  #seen = 0
  #newestMs = 0
  #startMs = -1
  #ended = 0
  #running = new Map<string, Sample>()
  #alarmed = new Set<string>()
  #report: InputDriftReport = { features: {}, newUserShare: undefined }

  constructor(options: InputDriftOptions) {
    this.#options = { windowSessions: 1000, psiMin: 0.05, ...options }
    const { windowSessions } = this.#options
    const make = (feature: InputFeature) => new ReferenceWindow({ bins: bins[feature], windowBlocks, referenceWindows })
    this.#windows = {
      event_type: make('event_type'),
      item_popularity: make('item_popularity'),
      category: make('category'),
      new_user: make('new_user'),
      event_gap: make('event_gap')
    }
    // Popularity is that of before the window: counted at once, an item that has just become popular would look as if
    // it had always been.
    this.#popularity = new DecayedCounts(popularityWindows * windowSessions, windowSessions)
  }

  get report(): InputDriftReport {
    return this.#report
  }

  /** @returns what was noticed; something only at the end of a block */
  observe(event: InputEvent): readonly Detection[] {
    this.#events++
    if (event.eventTimeMs > this.#newestMs) this.#newestMs = event.eventTimeMs
    if (this.#startMs < 0) this.#startMs = this.#newestMs
    const elapsedMs = this.#newestMs - this.#startMs
    const blockMs = this.#options.windowMs / windowBlocks
    // A block that is overdue takes all there is: traffic has fallen since its stride was chosen.
    if (elapsedMs > 2 * blockMs) this.#stride = 1
    if (++this.#seen % this.#stride !== 0) return none
    this.#sample(event)
    const sessions = Math.max(1, Math.round(this.#options.windowSessions / windowBlocks))
    if (this.#running.size > runningFactor * sessions) this.#thin()
    const taken = this.#ended + this.#running.size
    if (taken < sessions || elapsedMs < blockMs) return none
    // As many sessions as are needed by the time a block takes: at a thousand interactions a second there are far more.
    this.#stride = Math.max(1, Math.floor((this.#stride * taken * blockMs) / (sessions * Math.max(1, elapsedMs))))
    this.#closeBlock()
    return this.#compare(event.eventTimeMs)
  }

  /**
   * Bounds memory where traffic rises within a block: every other running session is dropped, and as many interactions
   * are from now on.
   */
  #thin(): void {
    let at = 0
    for (const userId of this.#running.keys()) if (at++ % 2 === 1) this.#running.delete(userId)
    this.#stride *= 2
  }

  /** Each interaction of a session is as likely as another to stand for it. */
  #sample(event: InputEvent): void {
    const running = this.#running.get(event.userId)
    if (running === undefined || (event.gapMs ?? Number.POSITIVE_INFINITY) > sessionGapMs) {
      if (running !== undefined) {
        this.#count(running)
        this.#ended++
      }
      this.#running.set(event.userId, { count: 1, event })
    } else if (hashKey(String(this.#events)) % ++running.count === 0) running.event = event
  }

  #count({ event }: Sample): void {
    const windows = this.#windows
    windows.event_type.add(this.#nameBin('event_type', event.type))
    // Shared out between two bins: what is known of an item's popularity varies, and at the edge of a bin a popular
    // item would come and go with all its events.
    const place = Math.min(bins.item_popularity - 1.001, popularityPlace(this.#popularity.add(event.itemId)))
    windows.item_popularity.add(Math.floor(place), 1 - (place % 1))
    windows.item_popularity.add(Math.ceil(place), place % 1)
    for (const category of event.categories) windows.category.add(this.#nameBin('category', category))
    windows.new_user.add(event.historyLength === 0 ? 1 : 0)
    if (event.gapMs !== undefined) windows.event_gap.add(gapBin(event.gapMs))
  }

  #closeBlock(): void {
    for (const sample of this.#running.values()) this.#count(sample)
    for (const window of Object.values(this.#windows)) window.closeBlock()
    this.#seen = 0
    this.#ended = 0
    this.#running = new Map()
    this.#startMs = this.#newestMs
  }

  /** Until there is a comparison the most frequent names win a bin; then bins keep their names. */
  #nameBin(feature: 'event_type' | 'category', name: string): number {
    const names = this.#names[feature]
    const other = bins[feature] - 1
    if (this.#windows[feature].full) return names.slotOf(name) ?? other
    const { slot, evicted } = names.add(name)
    if (evicted) this.#windows[feature].merge(slot, other)
    return slot
  }

  #compare(eventTimeMs: number): readonly Detection[] {
    const features: Partial<Record<InputFeature, { psi: number; threshold: number }>> = {}
    const found: Detection[] = []
    const users = this.#windows.new_user.window()
    for (const feature of this.#windows.new_user.full ? inputFeatures : []) {
      const compared = compare(feature, this.#windows[feature], this.#options.psiMin)
      if (compared === undefined) continue
      features[feature] = compared
      if (this.#raises(feature, compared))
        found.push({ signal: feature, detector: 'psi', value: compared.psi, eventTimeMs })
    }
    this.#report = { features, newUserShare: users[1]! / (users[0]! + users[1]!) }
    return found
  }

  /** Whether an alarm begins. */
  #raises(feature: InputFeature, { psi, threshold }: { psi: number; threshold: number }): boolean {
    if (psi < calm * threshold) this.#alarmed.delete(feature)
    if (psi < threshold || this.#alarmed.has(feature)) return false
    this.#alarmed.add(feature)
    return true
  }

  state(): InputDriftState {
    return {
      format: 2,
      options: JSON.stringify(this.#options),
      events: this.#events,
      stride: this.#stride,
      windows: Object.fromEntries(Object.entries(this.#windows).map(([name, window]) => [name, window.state()])),
      names: { event_type: this.#names.event_type.state(), category: this.#names.category.state() },
      popularity: this.#popularity.state(),
      alarmed: [...this.#alarmed]
    }
  }

  /**
   * @returns false, and stays new, for a state of another format or of other options: windows of other sizes cannot be
   * continued
   */
  restore(state: InputDriftState): boolean {
    if (state.format !== 2 || state.options !== JSON.stringify(this.#options)) return false
    for (const [name, window] of Object.entries(this.#windows)) {
      const saved = own(state.windows, name)
      if (saved === undefined || !window.restore(saved)) return false
    }
    this.#names.event_type.restore(state.names.event_type!)
    this.#names.category.restore(state.names.category!)
    this.#popularity.restore(state.popularity)
    this.#events = state.events
    this.#stride = state.stride
    this.#alarmed = new Set(state.alarmed)
    return true
  }
}

/** @returns undefined where there are too few values in the newest window, or in one of the reference's */
function compare(
  feature: InputFeature,
  counts: ReferenceWindow,
  psiMin: number
): { psi: number; threshold: number } | undefined {
  const windows = [counts.window(), ...counts.referenceWindows()]
  if (windows.some((window) => total(window) < valuesMin)) return undefined
  const all = added(windows.slice(1))
  const ordered = feature === 'item_popularity' || feature === 'event_gap'
  const partOf = ordered ? equalParts(all, parts) : undefined
  const [window, ...reference] = partOf === undefined ? windows : windows.map((fine) => joinBins(fine, partOf))
  const psi = (one: Float64Array, others: readonly Float64Array[]) => {
    const other = added(others)
    // Fewer new users are no alarm: their share falls for as long as a stream is young.
    if (feature === 'new_user' && one[1]! / total(one) < other[1]! / total(other)) return 0
    return populationStability(other, one)
  }
  const noise = Math.max(
    ...reference.map((one) =>
      psi(
        one,
        reference.filter((other) => other !== one)
      )
    )
  )
  // Popularity is an estimate itself, and its error is common to all values of a window: no one of the reference's
  // windows need show it.
  const floor = feature === 'item_popularity' ? 2 * psiMin : psiMin
  return { psi: psi(window!, reference), threshold: Math.max(floor, noiseFactor * noise) }
}

/** Two bins for each doubling of the share, from one session in 20,000 up. */
function popularityPlace(share: number): number {
  return 2 * Math.log2(1 + 20_000 * share)
}

/** Four bins for each doubling, from a fifth of a second to 180 years. */
function gapBin(gapMs: number): number {
  return Math.min(bins.event_gap - 1, Math.floor(4 * Math.log2(1 + Math.max(0, gapMs) / 1000)))
}

/** Sums by bin. */
function added(counts: readonly Float64Array[]): Float64Array {
  const sums = new Float64Array(counts[0]!.length)
  for (const one of counts) for (let i = 0; i < sums.length; i++) sums[i]! += one[i]!
  return sums
}

function total(counts: Float64Array): number {
  let sum = 0
  for (let i = 0; i < counts.length; i++) sum += counts[i]!
  return sum
}
