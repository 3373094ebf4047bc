// Sessions that are not stored, encoded on the thread that owns the model: those that arrive together in one batch.

import type { Encoder, EncoderStep } from '../model/encoder.ts'
import type { EncodedSession } from './sessionEncoder.ts'

/** Users encoded in one call: as many as the towers take in one batch. */
const batchMax = 256

interface Waiting {
  readonly history: readonly EncoderStep[]
  resolve(session: EncodedSession | undefined): void
  reject(error: unknown): void
}

export class SessionEncoding {
  readonly #encoder: Encoder
  readonly #isReady: () => boolean
  #waiting: Waiting[] = []
  #due = false

  constructor(encoder: Encoder, isReady: () => boolean) {
    this.#encoder = encoder
    this.#isReady = isReady
  }

  /** As SessionEncoder says. The model's own weights, as they are when it comes to the session's turn. */
  encode(history: readonly EncoderStep[]): Promise<EncodedSession | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ history, resolve, reject })
      if (this.#due) return
      this.#due = true
      setImmediate(() => this.#encodeAll())
    })
  }

  #encodeAll(): void {
    this.#due = false
    const all = this.#waiting.splice(0)
    for (let from = 0; from < all.length; from += batchMax) {
      const batch = all.slice(from, from + batchMax)
      try {
        if (!this.#isReady()) {
          for (const { resolve } of batch) resolve(undefined)
          continue
        }
        const { modelVersion, dimensions, interestCount: count } = this.#encoder
        const { interests, known } = this.#encoder.interests(batch.map(({ history }) => history)) // [B, K, D]
        const size = count * dimensions
        for (const [b, { resolve }] of batch.entries())
          resolve(
            known[b] === 0 ? undefined : { modelVersion, count, vectors: interests.slice(b * size, (b + 1) * size) }
          )
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
  }
}
