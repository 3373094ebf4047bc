// How far one distribution over bins is from another: the population stability index.

/**
 * Added to every bin before shares are taken (Jeffreys' prior): an empty bin would otherwise make the index infinite.
 */
const smoothing = 0.5

/**
 * PSI = Σ_i (p_i − q_i) · ln(p_i / q_i), the symmetric Kullback–Leibler divergence of the shares of two windows, 0 … ∞.
 *
 * Siddiqi, Credit Risk Scorecards (Wiley 2006), ch. 6: by custom below .1 nothing has happened, and from .25 on it is
 * another population. Of two windows of n and m independent values of one distribution it is (bins − 1)(1/n + 1/m) on
 * average (Yurdakul 2018, Statistical properties of the population stability index).
 *
 * @param reference counts by bin, ≥ 0
 * @param current counts by bin, of the same length
 * @returns 0 where one of the windows is empty: then there is nothing to compare
 */
export function populationStability(reference: ArrayLike<number>, current: ArrayLike<number>): number {
  const bins = reference.length
  if (current.length !== bins)
    throw new RangeError(`PSI of ${bins} bins against ${current.length}: both windows need the same bins`)
  const n = sum(reference)
  const m = sum(current)
  if (n === 0 || m === 0) return 0
  // A bin that is empty in both says nothing: smoothing must not count it.
  let used = 0
  for (let i = 0; i < bins; i++) if (reference[i]! + current[i]! > 0) used++
  let psi = 0
  for (let i = 0; i < bins; i++) {
    if (reference[i]! + current[i]! === 0) continue
    const q = (reference[i]! + smoothing) / (n + smoothing * used)
    const p = (current[i]! + smoothing) / (m + smoothing * used)
    psi += (p - q) * Math.log(p / q)
  }
  return psi
}

/**
 * Joins neighbouring bins so that each holds about an equal share of the reference: PSI over fine bins is mostly noise.
 *
 * @param reference counts by ordered bin
 * @param parts wanted; fewer come out where single bins hold more than a part
 * @returns the part of each bin, ascending from 0
 */
export function equalParts(reference: ArrayLike<number>, parts: number): Uint8Array {
  const total = sum(reference)
  const partOf = new Uint8Array(reference.length)
  let part = 0
  let filled = 0
  let inPart = 0
  for (let i = 0; i < reference.length; i++) {
    // A part ends where its share is reached, but never empty.
    if (inPart > 0 && part < parts - 1 && filled >= ((part + 1) * total) / parts) {
      part++
      inPart = 0
    }
    partOf[i] = part
    filled += reference[i]!
    inPart += reference[i]!
  }
  return partOf
}

/** Counts by part. */
export function joinBins(counts: ArrayLike<number>, partOf: Uint8Array): Float64Array {
  const joined = new Float64Array(partOf.length === 0 ? 0 : partOf[partOf.length - 1]! + 1)
  for (let i = 0; i < partOf.length; i++) joined[partOf[i]!]! += counts[i]!
  return joined
}

function sum(values: ArrayLike<number>): number {
  let total = 0
  for (let i = 0; i < values.length; i++) total += values[i]!
  return total
}
