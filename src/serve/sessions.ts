// Interests of sessions that are not stored, encoded on the thread that owns the model, so that a training step does
// not delay other answers. Sessions that arrive together are one batch.
//
// B sessions, K interests, D dimensions.

import type { MemoryWeight } from '../index/memory.ts'
import type { Encoder, EncoderStep } from '../model/encoder.ts'

export interface EncodedSession {
  /** The model version that made the vectors. */
  readonly modelVersion: string
  /** [K, D], each of length 1; empty: the model knows no step of the history, the memory may. */
  readonly vectors: Float32Array
  /** K, or 0. */
  readonly count: number
  /** Share of the history that each interest explains. [K], or empty */
  readonly strengths: readonly number[]
  /** How the history votes in the memory; absent: it does not. */
  readonly voting?: MemoryWeight
}

export interface SessionEncoder {
  /**
   * @param history oldest first
   * @returns undefined where the model knows no step of the history and the memory is off, or there is no model yet
   * @throws UnavailableError if it cannot be encoded now
   */
  encode(history: readonly EncoderStep[]): Promise<EncodedSession | undefined>
}

/** Sessions in one call of the model: as many as the towers take in one batch. */
const batchMax = 256

interface Waiting {
  readonly history: readonly EncoderStep[]
  resolve(session: EncodedSession | undefined): void
  reject(error: unknown): void
}

export class BatchingSessionEncoder implements SessionEncoder {
  readonly #encoder: Encoder & { readonly memory: MemoryWeight }
  readonly #isReady: () => boolean
  #waiting: Waiting[] = []

  constructor(encoder: Encoder & { readonly memory: MemoryWeight }, isReady: () => boolean) {
    this.#encoder = encoder
    this.#isReady = isReady
  }

  /** By the weights of the model at the time of the batch. */
  encode(history: readonly EncoderStep[]): Promise<EncodedSession | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ history, resolve, reject })
      if (this.#waiting.length === 1) setImmediate(() => this.#encodeAll())
    })
  }

  #encodeAll(): void {
    const all = this.#waiting
    this.#waiting = []
    for (let from = 0; from < all.length; from += batchMax) {
      const batch = all.slice(from, from + batchMax)
      try {
        this.#encodeBatch(batch)
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
  }

  #encodeBatch(batch: readonly Waiting[]): void {
    if (!this.#isReady()) {
      for (const { resolve } of batch) resolve(undefined)
      return
    }
    const { modelVersion, dimensions, interestCount: count, memory: voting } = this.#encoder
    const { interests, known, strengths } = this.#encoder.interests(batch.map(({ history }) => history)) // [B, K, D]
    const size = count * dimensions
    const unknown =
      voting.weight > 0 ? { modelVersion, count: 0, vectors: new Float32Array(0), strengths: [], voting } : undefined
    for (const [b, { resolve }] of batch.entries()) {
      const vectors = interests.slice(b * size, (b + 1) * size)
      const shares = Array.from(strengths.subarray(b * count, (b + 1) * count))
      resolve(known[b] === 0 ? unknown : { modelVersion, count, vectors, strengths: shares, voting })
    }
  }
}
