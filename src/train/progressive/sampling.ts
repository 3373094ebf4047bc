// Which examples are ranked before they are trained on: all of them, or a sample whose probability is known.
//
// A batch is chosen with one probability, and in it a number of its examples, both by hash: a replay of the stream
// chooses the same. Whole batches, because ranking costs as much for a few examples as for many until the items'
// scores prevail.

/**
 * Share of a training step that ranking may cost, where the share is automatic. Counting for the simple methods costs as
 * much again: together a tenth.
 */
const stepShare = 0.05
/** Always ranked at the beginning of a stream, so that a short one has a figure as well. */
const rankedFirst = 2000
/** At least so many of a chosen batch: making N item vectors then costs about as much as scoring them. */
const chosenMin = 32

/** In multiplications and additions; calls and memory accesses are counted as so many of them, as measured. */
export interface RankingCost {
  /** Of ranking at all: the items' vectors. */
  readonly fixed: number
  /** Of each example. */
  readonly perExample: number
  /** Of a training step. */
  readonly step: number
}

export interface Sample {
  /** Indices of examples, ascending. */
  readonly chosen: readonly number[]
  /** Probability of each example of the batch to be chosen, 0 … 1. */
  readonly inclusion: number
}

/**
 * @param share of the examples, 0 … 1, or `auto`: as many as cost about a tenth of the training steps
 * @param number of the batch in the stream @param ranked examples ranked so far
 */
export function sampleExamples(
  size: number,
  share: number | 'auto',
  cost: () => RankingCost,
  { seed, number, ranked }: { readonly seed: number; readonly number: number; readonly ranked: number }
): Sample {
  const all = Array.from({ length: size }, (_, b) => b)
  if (share === 1 || (share === 'auto' && ranked < rankedFirst)) return { chosen: all, inclusion: 1 }
  if (share === 0) return { chosen: [], inclusion: 0 }
  if (share !== 'auto') return { chosen: all.filter((b) => uniform(b, hash(number, seed)) < share), inclusion: share }
  const { fixed, perExample, step } = cost()
  const count = Math.min(size, Math.max(chosenMin, Math.floor((step - fixed) / perExample)))
  const probability = Math.min(1, (stepShare * step) / (fixed + count * perExample))
  const inclusion = (probability * count) / size
  if (uniform(number, seed) >= probability) return { chosen: [], inclusion }
  const chosen = all
    .map((b) => ({ b, order: hash(b, number) }))
    .sort((x, y) => x.order - y.order || x.b - y.b)
    .slice(0, count)
    .map(({ b }) => b)
  return { chosen: chosen.sort((x, y) => x - y), inclusion }
}

/** 0 … 1 */
const uniform = (a: number, b: number): number => hash(a, b) / 2 ** 32

/** 32 well-mixed bits of two numbers (murmur3's finaliser). */
function hash(a: number, b: number): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
