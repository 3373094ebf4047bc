// Every user model written a second time: plain loops in double precision, from the equations, sharing no code with
// src/model. One user at a time.

export interface UserInput {
  readonly interestCount: number // K
  readonly dimensions: number // D
  readonly historyMax: number // R
  readonly iterations: number
  readonly heads: number
  readonly weights: Readonly<Record<string, ArrayLike<number>>>
  /** [U, D] */
  readonly rows: ArrayLike<number>
  /** Real steps only, oldest first. */
  readonly steps: readonly { row: number; ageGroup: number; seconds: number }[]
  /** [K][L]: instead of the routing, as a constant. */
  readonly frozen?: readonly (readonly number[])[] | undefined
}

export interface UserOutput {
  readonly interests: number[][] // [K][D]
  readonly routing?: number[][] // [K][L]
}

type Vector = number[]

const range = (n: number) => Array.from({ length: n }, (_, i) => i)
const dot = (a: Vector, b: Vector) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)
const add = (a: Vector, b: Vector) => a.map((x, i) => x + b[i]!)
const scaled = (a: Vector, by: number) => a.map((x) => x * by)
const slice = (values: ArrayLike<number>, from: number, length: number): Vector =>
  range(length).map((i) => values[from + i]!)
const softmax = (x: Vector) => {
  const most = Math.max(...x)
  const total = x.reduce((sum, y) => sum + Math.exp(y - most), 0)
  return x.map((y) => Math.exp(y - most) / total)
}
const unit = (a: Vector) => {
  const length = Math.sqrt(dot(a, a))
  return length === 0 ? a : scaled(a, 1 / length)
}
/** x W, W [D, D] at `from` of the values. */
const times = (x: Vector, values: ArrayLike<number>, from: number, columns: number) =>
  range(columns).map((j) => x.reduce((sum, y, i) => sum + y * values[from + i * columns + j]!, 0))
const weighted = (shares: Vector, vectors: Vector[], D: number) =>
  vectors.reduce((sum, vector, l) => add(sum, scaled(vector, shares[l]!)), new Array<number>(D).fill(0))

const rowOf = ({ rows, dimensions: D }: UserInput, row: number) => slice(rows, row * D, D)

export function referenceMind(input: UserInput): UserOutput {
  const { interestCount: K, dimensions: D, historyMax: R, weights, steps } = input
  const votes = steps.map(({ row }) => times(rowOf(input, row), weights['routing.map']!, 0, D))
  const first = range(K).map((k) => steps.map((_, l) => weights['routing.logits']![(R - steps.length + l) * K + k]!))
  return capsules(
    input,
    range(K).map(() => votes),
    first
  )
}

export function referenceComirecDr(input: UserInput): UserOutput {
  const { interestCount: K, dimensions: D, historyMax: R, weights, steps } = input
  const maps = weights['routing.maps']!
  const votes = range(K).map((k) =>
    steps.map(({ row }, l) => {
      const e = rowOf(input, row)
      const at = (R - steps.length + l) * D * K * D
      return range(D).map((j) => e.reduce((sum, x, i) => sum + x * maps[at + i * K * D + k * D + j]!, 0))
    })
  )
  return capsules(
    input,
    votes,
    range(K).map(() => steps.map(() => 0))
  )
}

function capsules(
  { interestCount: K, dimensions: D, iterations, steps, frozen }: UserInput,
  votes: Vector[][],
  first: number[][]
): UserOutput {
  const logits = first.map((list) => [...list])
  const shares = () => {
    const byStep = steps.map((_, l) => softmax(range(K).map((k) => logits[k]![l]!)))
    return range(K).map((k) => steps.map((_, l) => byStep[l]![k]!))
  }
  let routing = shares()
  for (let i = 1; i < iterations; i++) {
    for (const k of range(K)) {
      const z = weighted(routing[k]!, votes[k]!, D)
      const squared = dot(z, z) + 1e-9
      const u = scaled(z, Math.sqrt(squared) / (1 + squared))
      for (const l of steps.keys()) logits[k]![l]! += dot(u, votes[k]![l]!)
    }
    routing = shares()
  }
  const used = frozen ?? routing
  return { interests: range(K).map((k) => unit(weighted([...used[k]!], votes[k]!, D))), routing }
}

export function referenceComirecSa(input: UserInput): UserOutput {
  const { interestCount: K, dimensions: D, historyMax: R, weights, steps } = input
  const A = 4 * D
  const vectors = steps.map(({ row }) => rowOf(input, row))
  const hidden = vectors.map((e, l) =>
    times(
      add(e, slice(weights['attention.position']!, (R - steps.length + l) * D, D)),
      weights['attention.inner']!,
      0,
      A
    ).map(Math.tanh)
  )
  const routing = range(K).map((k) =>
    softmax(hidden.map((h) => h.reduce((sum, x, a) => sum + x * weights['attention.outer']![a * K + k]!, 0)))
  )
  return { interests: routing.map((shares) => unit(weighted(shares, vectors, D))) }
}

/** The towers of MTMI, before anything is scaled: [K][D]. */
function mtmiTowers(input: UserInput, K: number): Vector[] {
  const { dimensions: D, historyMax: R, weights, steps } = input
  const w = (name: string) => weights[name]!
  const towers = range(K).map((k) => {
    const vectors = steps.map(({ row }) => slice(input.rows, row * D, D))
    const shares = softmax(
      vectors.map((e, l) => {
        const { ageGroup, seconds } = steps[l]!
        let score = w('attention.position')[(R - steps.length + l) * K + k]! + w('attention.age')[ageGroup * K + k]!
        if ('attention.hour' in weights) score += w('attention.hour')[(Math.round(seconds / 3600) % 24) * K + k]!
        if ('attention.day' in weights) score += w('attention.day')[(Math.round(seconds / 86_400) % 7) * K + k]!
        for (const a of range(D)) {
          const hidden = e.reduce(
            (sum, x, d) => sum + x * w('attention.weight')[d * K * D + k * D + a]!,
            w('attention.bias')[k * D + a]!
          )
          score += Math.tanh(hidden) * w('attention.query')[k * D + a]!
        }
        return score
      })
    )
    return weighted(shares, vectors, D)
  })
  return towers.map((pooled, k) => {
    const own = add(times(pooled, w('user.weight'), k * D * D, D), slice(w('user.bias'), k * D, D))
    if (!('user.exchange' in weights)) return own
    const others = towers.filter((_, j) => j !== k)
    return add(own, times(scaled(others.reduce(add), 1 / others.length), w('user.exchange'), k * D * D, D))
  })
}

export function referenceMtmi(input: UserInput): UserOutput {
  return { interests: mtmiTowers(input, input.interestCount).map(unit) }
}

export function referenceOneVector(input: UserInput): UserOutput {
  return { interests: [unit(mtmiTowers(input, input.heads).reduce(add))] }
}
