// Whether what comes in is still what it was: the distributions of recent interactions against those of a reference window.

import { DecayedCounts, type DecayedCountsState } from './decayedCounts.ts'
import type { Detection } from './detection.ts'
import { HeavyHitters, type HeavyHittersState } from './heavyHitters.ts'
import { ksCritical, ksDistanceOfCounts } from './kolmogorovSmirnov.ts'
import { equalParts, joinBins, populationStability } from './populationStability.ts'
import { ReferenceWindow, type ReferenceWindowState } from './referenceWindow.ts'

export const inputFeatures = ['event_type', 'item_popularity', 'category', 'history_length', 'event_gap'] as const
export type InputFeature = (typeof inputFeatures)[number]
export const numberFeatures = ['history_length', 'event_gap'] as const
export type NumberFeature = (typeof numberFeatures)[number]

/** What is looked at of one interaction; the ids are hashed or counted, and never leave this folder. */
export interface InputEvent {
  readonly type: string
  readonly itemId: string
  /** None where the catalogue has none. */
  readonly categories: readonly string[]
  /** Steps that the user had before. 0: the user is new. */
  readonly historyLength: number
  /** Since the user's event before; undefined for the first. */
  readonly gapMs: number | undefined
  /** Milliseconds since the Unix epoch. */
  readonly eventTimeMs: number
}

export interface InputDriftOptions {
  readonly reference: 'rolled' | 'pinned'
  readonly warmupEvents: number
  readonly referenceEvents: number
  readonly windowEvents: number
  /** From here on PSI is a detection. */
  readonly psiMin: number
}

export interface InputDriftReport {
  /** Interactions compared with, 0 … referenceEvents. */
  readonly referenceEvents: number
  /** Only features that both windows hold enough of. */
  readonly psi: Partial<Record<InputFeature, number>>
  readonly ks: Partial<Record<NumberFeature, { readonly distance: number; readonly critical: number }>>
  /** Share of the interactions in the window that were their user's first; undefined before the first block. */
  readonly newUserShare: number | undefined
}

export interface InputDriftState {
  readonly format: 1
  readonly options: string
  readonly events: number
  readonly inBlock: number
  readonly windows: Readonly<Record<string, ReferenceWindowState>>
  readonly names: Readonly<Record<string, HeavyHittersState>>
  readonly popularity: DecayedCountsState
  readonly alarmed: readonly string[]
}

/** Half-life of popularity in references: of shorter ones too little is known of most items. */
const popularityMemory = 2
/** Of a window: a comparison at each of its ends. */
const blocksInWindow = 10
/** Bins of equal share that ordered features are joined to: deciles, as is customary for PSI. */
const parts = 10
/** D must be significant at this level … */
const ksAlpha = 0.001
/** … and large enough to matter: with thousands of values every trifle is significant. */
const ksMin = 0.2
/** An alarm is over when the number has fallen to this share of what raised it: otherwise one that hovers there would be counted again and again. */
const calm = 0.5
/** Fewer values than this in a window say nothing of ten parts. */
const valuesMin = 200

/** Number of bins. The last bin of the two with names is for all names that are not among the most frequent. */
const bins = { event_type: 32, item_popularity: 32, category: 64, history_length: 96, event_gap: 128 } as const
const newUserBins = 2

export class InputDrift {
  readonly #options: InputDriftOptions
  readonly #blockEvents: number
  readonly #windows: Readonly<Record<InputFeature | 'new_user', ReferenceWindow>>
  readonly #names = { event_type: new HeavyHitters(bins.event_type - 1), category: new HeavyHitters(bins.category - 1) }
  readonly #popularity: DecayedCounts
  #events = 0
  #inBlock = 0
  #alarmed = new Set<string>()
  #report: InputDriftReport = { referenceEvents: 0, psi: {}, ks: {}, newUserShare: undefined }

  constructor(options: InputDriftOptions) {
    this.#options = options
    const { reference, referenceEvents, windowEvents } = options
    this.#blockEvents = Math.max(1, Math.round(windowEvents / blocksInWindow))
    const referenceBlocks = Math.max(1, Math.round(referenceEvents / this.#blockEvents))
    const make = (count: number) => new ReferenceWindow({ bins: count, windowBlocks: blocksInWindow, referenceBlocks, reference })
    this.#windows = {
      event_type: make(bins.event_type),
      item_popularity: make(bins.item_popularity),
      category: make(bins.category),
      history_length: make(bins.history_length),
      event_gap: make(bins.event_gap),
      new_user: make(newUserBins)
    }
    // Popularity is that of before the window: were what is compared counted at once, an item that has just become popular would look as if it had always been.
    this.#popularity = new DecayedCounts(popularityMemory * referenceEvents, windowEvents)
  }

  /** Interactions seen, those of the warm-up included. */
  get events(): number {
    return this.#events
  }

  get report(): InputDriftReport {
    return this.#report
  }

  /** @returns what was noticed; something only at the end of a block */
  observe(event: InputEvent): readonly Detection[] {
    const popularity = this.#popularity.add(event.itemId)
    if (++this.#events <= this.#options.warmupEvents) return none
    const windows = this.#windows
    windows.event_type.add(this.#nameBin('event_type', event.type))
    windows.item_popularity.add(popularityBin(popularity))
    for (let i = 0; i < event.categories.length; i++) windows.category.add(this.#nameBin('category', event.categories[i]!))
    windows.history_length.add(historyBin(event.historyLength))
    if (event.gapMs !== undefined) windows.event_gap.add(gapBin(event.gapMs))
    windows.new_user.add(event.historyLength === 0 ? 1 : 0)
    if (++this.#inBlock < this.#blockEvents) return none
    this.#inBlock = 0
    for (const window of Object.values(windows)) window.closeBlock()
    return this.#compare(event.eventTimeMs)
  }

  /** What comes now is the new normal: comparisons begin again when a reference and a window of it are full. */
  pin(): void {
    for (const window of Object.values(this.#windows)) window.pin()
    this.#alarmed.clear()
    this.#report = { referenceEvents: 0, psi: {}, ks: {}, newUserShare: this.#report.newUserShare }
  }

  /** While the reference fills, the most frequent names win a bin; afterwards bins keep their names, or the two windows could not be compared. */
  #nameBin(feature: 'event_type' | 'category', name: string): number {
    const names = this.#names[feature]
    const other = bins[feature] - 1
    if (this.#windows[feature].full) return names.slotOf(name) ?? other
    const { slot, evicted } = names.add(name)
    if (evicted) this.#windows[feature].merge(slot, other)
    return slot
  }

  #compare(eventTimeMs: number): readonly Detection[] {
    const windows = this.#windows
    const recent = windows.new_user.window()
    const psi: Partial<Record<InputFeature, number>> = {}
    const ks: Partial<Record<NumberFeature, { distance: number; critical: number }>> = {}
    const found: Detection[] = []
    for (const feature of windows.new_user.full ? inputFeatures : []) {
      const reference = windows[feature].reference()
      const window = windows[feature].window()
      const n = total(reference)
      const m = total(window)
      if (n < valuesMin || m < valuesMin) continue
      const named = feature === 'event_type' || feature === 'category'
      const partOf = named ? undefined : equalParts(reference, parts)
      const value =
        partOf === undefined
          ? populationStability(reference, window)
          : populationStability(joinBins(reference, partOf), joinBins(window, partOf))
      psi[feature] = value
      if (this.#raises(`${feature} psi`, value, this.#options.psiMin)) found.push({ signal: feature, detector: 'psi', value, eventTimeMs })
      if (feature !== 'history_length' && feature !== 'event_gap') continue
      const distance = ksDistanceOfCounts(reference, window)
      const critical = ksCritical(ksAlpha, n, m)
      ks[feature] = { distance, critical }
      if (this.#raises(`${feature} ks`, distance, Math.max(critical, ksMin)))
        found.push({ signal: feature, detector: 'ks', value: distance, eventTimeMs })
    }
    const inWindow = total(recent)
    const referenceEvents = total(windows.new_user.reference())
    this.#report = { referenceEvents, psi, ks, newUserShare: inWindow === 0 ? undefined : recent[1]! / inWindow }
    return found
  }

  /** Whether an alarm begins. */
  #raises(name: string, value: number, threshold: number): boolean {
    if (value >= threshold) {
      if (this.#alarmed.has(name)) return false
      this.#alarmed.add(name)
      return true
    }
    if (value < calm * threshold) this.#alarmed.delete(name)
    return false
  }

  state(): InputDriftState {
    return {
      format: 1,
      options: JSON.stringify(this.#options),
      events: this.#events,
      inBlock: this.#inBlock,
      windows: Object.fromEntries(Object.entries(this.#windows).map(([name, window]) => [name, window.state()])),
      names: { event_type: this.#names.event_type.state(), category: this.#names.category.state() },
      popularity: this.#popularity.state(),
      alarmed: [...this.#alarmed]
    }
  }

  /** @returns false, and stays new, for a state of another format or of other options: windows of other sizes cannot be gone on with */
  restore(state: InputDriftState): boolean {
    if (state.format !== 1 || state.options !== JSON.stringify(this.#options)) return false
    for (const [name, window] of Object.entries(this.#windows)) {
      const saved = state.windows[name]
      if (saved === undefined || !window.restore(saved)) return false
    }
    this.#names.event_type.restore(state.names.event_type!)
    this.#names.category.restore(state.names.category!)
    this.#popularity.restore(state.popularity)
    this.#events = state.events
    this.#inBlock = state.inBlock
    this.#alarmed = new Set(state.alarmed)
    return true
  }
}

const none: readonly Detection[] = []

/** Two bins for each doubling of the share, from one click in 20,000 up. */
function popularityBin(share: number): number {
  return Math.min(bins.item_popularity - 1, Math.floor(2 * Math.log2(1 + 20_000 * share)))
}

/** One bin each up to 63 steps, then four for each doubling. */
function historyBin(steps: number): number {
  return steps < 64 ? steps : Math.min(bins.history_length - 1, 64 + Math.floor(4 * Math.log2(steps / 64)))
}

/** Four bins for each doubling, from a fifth of a second to 180 years. */
function gapBin(gapMs: number): number {
  return Math.min(bins.event_gap - 1, Math.floor(4 * Math.log2(1 + Math.max(0, gapMs) / 1000)))
}

function total(counts: Float64Array): number {
  let sum = 0
  for (let i = 0; i < counts.length; i++) sum += counts[i]!
  return sum
}
