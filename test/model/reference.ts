// MTMI written a second time: plain loops in double precision, from the equations, sharing no code with src/model. What
// the tests compare with.

export interface ReferenceInput {
  readonly shape: { interestCount: number; dimensions: number; historyMax: number }
  readonly weights: Readonly<Record<string, ArrayLike<number>>>
  readonly historyRows: ArrayLike<number> // [U, D]
  readonly history: readonly (readonly { row: number; ageGroup: number }[])[] // B lists, oldest first, real steps only
  readonly candidateRows: ArrayLike<number> // [C, D]
  readonly positive: readonly number[] // [B]
  readonly logQ: readonly number[] // [C]
  readonly weight: readonly number[] // [B]
  readonly options: {
    loss: 'softmax' | 'triplet'
    temperature: number
    margin: number
    idwForm: 'power' | 'gaussian'
    idwAlpha: number
    idwSoftness: number
    repelBeta: number
    repelMargin: number
  }
  /** Constants instead of the inverse distance weights: what a stop-gradient means. [B][K] */
  readonly frozen?: number[][]
}

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)
const unit = (a: readonly number[]) => {
  const length = Math.sqrt(dot(a, a))
  return a.map((x) => x / length)
}
const apart = (a: readonly number[], b: readonly number[]) =>
  Math.sqrt(a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0))
const slice = (a: ArrayLike<number>, row: number, width: number) =>
  Array.from({ length: width }, (_, i) => a[row * width + i]!)

export function referenceInterests(input: ReferenceInput): number[][][] {
  const { interestCount: K, dimensions: D, historyMax: R } = input.shape
  const w = (name: string) => input.weights[name]!
  return input.history.map((steps) =>
    Array.from({ length: K }, (_, k) => {
      const scores = steps.map(({ row, ageGroup }, l) => {
        const e = slice(input.historyRows, row, D)
        let score = w('attention.position')[(R - steps.length + l) * K + k]! + w('attention.age')[ageGroup * K + k]!
        for (let a = 0; a < D; a++) {
          let hidden = w('attention.bias')[k * D + a]!
          for (let d = 0; d < D; d++) hidden += e[d]! * w('attention.weight')[d * K * D + k * D + a]!
          score += Math.tanh(hidden) * w('attention.query')[k * D + a]!
        }
        return score
      })
      const total = scores.reduce((sum, s) => sum + Math.exp(s), 0)
      const pooled = new Array<number>(D).fill(0)
      for (const [l, step] of steps.entries()) {
        const e = slice(input.historyRows, step.row, D)
        for (let d = 0; d < D; d++) pooled[d]! += (Math.exp(scores[l]!) / total) * e[d]!
      }
      return unit(
        Array.from({ length: D }, (_, j) =>
          pooled.reduce((sum, p, i) => sum + p * w('user.weight')[(k * D + i) * D + j]!, w('user.bias')[k * D + j]!)
        )
      )
    })
  )
}

export function referenceItem(input: ReferenceInput, row: number): number[] {
  const D = input.shape.dimensions
  const e = slice(input.candidateRows, row, D)
  const w = input.weights['item.weight']!
  return unit(
    Array.from({ length: D }, (_, j) =>
      e.reduce((sum, x, i) => sum + x * w[i * D + j]!, input.weights['item.bias']![j]!)
    )
  )
}

export function referenceDistances(input: ReferenceInput): number[][] {
  return referenceInterests(input).map((u, b) =>
    u.map((interest) => apart(interest, referenceItem(input, input.positive[b]!)))
  )
}

export function referenceIdw(
  distances: readonly number[],
  {
    idwForm,
    idwAlpha: alpha,
    idwSoftness,
    temperature
  }: Pick<ReferenceInput['options'], 'idwForm' | 'idwAlpha' | 'idwSoftness' | 'temperature'>
): number[] {
  if (idwForm === 'gaussian') {
    const bells = distances.map((d) => Math.exp(-(d ** 2) / (2 * idwSoftness * temperature)))
    return bells.map((x) => x / bells.reduce((a, b) => a + b, 0))
  }
  if (alpha === Number.POSITIVE_INFINITY) {
    const least = Math.min(...distances)
    return distances.map((d) => (d === least ? 1 : 0))
  }
  const powers = distances.map((d) => (d + 1e-3) ** -alpha)
  const total = powers.reduce((a, b) => a + b, 0)
  return powers.map((p) => p / total)
}

export function referenceLoss(input: ReferenceInput): number {
  const { loss, temperature, margin, repelBeta, repelMargin } = input.options
  const candidates = input.logQ.map((_, c) => referenceItem(input, c))
  let total = 0
  for (const [b, u] of referenceInterests(input).entries()) {
    const K = u.length
    const positive = input.positive[b]!
    const distances = u.map((interest) => apart(interest, candidates[positive]!))
    const idw = input.frozen?.[b] ?? referenceIdw(distances, input.options)
    let example = 0
    for (const [k, interest] of u.entries()) {
      if (loss === 'softmax') {
        const scores = u.map((other) => candidates.map((v, c) => dot(other, v) / temperature - input.logQ[c]!))
        const total = scores.flat().reduce((sum, s) => sum + Math.exp(s), 0)
        example +=
          idw[k]! * (Math.log(total) - (dot(interest, candidates[positive]!) / temperature - input.logQ[positive]!))
      } else {
        const negatives = candidates.filter((_, c) => c !== positive)
        const mean = negatives.reduce(
          (sum, v) => sum + Math.max(0, distances[k]! - Math.min(...u.map((other) => apart(other, v))) + margin),
          0
        )
        example += (idw[k]! * mean) / negatives.length
      }
    }
    let repel = 0
    for (let k = 0; k < K; k++) for (let l = k + 1; l < K; l++) repel += Math.min(apart(u[k]!, u[l]!), repelMargin)
    if (K > 1) example += repelBeta * (-2 / (K * (K - 1))) * repel
    total += input.weight[b]! * example
  }
  return total
}
