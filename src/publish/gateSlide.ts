// Losses too small to refuse, one after the other: what accepted weights have lost together since none was better.

import { signTest } from './signTest.ts'

/** Summed over the accepted weights of the slide. */
export interface GateSlide {
  /** Share of the targets lost, gains subtracted; ≥ 0. */
  readonly share: number
  /** Targets lost, and gained, from one to the next. */
  readonly lost: number
  readonly gained: number
}

export const noSlide: GateSlide = { share: 0, lost: 0, gained: 0 }

/**
 * A cumulative sum (E. S. Page, Biometrika 41, 1954): differences of each weights to the ones before are added up, and
 * begin anew at 0 whenever as much was gained as was lost. Each is measured on the newest targets of its time, so a
 * stream that becomes harder to predict does not count.
 */
export function slideAfter(
  slide: GateSlide,
  { targets, lost, gained }: { targets: number; lost: number; gained: number }
): GateSlide {
  const share = slide.share + (lost - gained) / Math.max(1, targets)
  return share <= 0 ? noSlide : { share, lost: slide.lost + lost, gained: slide.gained + gained }
}

/** How often chance alone makes a slide of this size. */
export function slideChance({ lost, gained }: GateSlide): number {
  return signTest(lost, gained)
}
