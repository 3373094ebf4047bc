// The plainest encoder: an item's vector is what the test says, a user's interests are the vectors of the newest known
// items.

import type { EncodedUsers, Encoder, EncoderItem, EncoderStep } from '../../src/model/encoder.ts'

export class PlainEncoder implements Encoder {
  readonly dimensions = 2
  readonly interestCount = 2
  modelVersion = 'a'
  step = 1
  /** Turns every vector by this angle, as a change of the tower weights does. */
  turn = 0
  /** Item → angle of its vector. */
  readonly angles = new Map<string, number>()
  /** Users' histories as they were encoded, batch by batch. */
  readonly batches: EncoderStep[][][] = []
  /** Instead of unit vectors. */
  broken: number | undefined

  itemVectors(items: readonly EncoderItem[]): { vectors: Float32Array; known: Uint8Array } {
    const angles = items.map(({ itemId, features }) => this.angles.get(itemId) ?? this.angles.get(features[0] ?? ''))
    return { vectors: this.#circle(angles), known: Uint8Array.from(angles, (angle) => (angle === undefined ? 0 : 1)) }
  }

  interests(histories: readonly (readonly EncoderStep[])[]): EncodedUsers {
    this.batches.push(histories.map((history) => [...history]))
    const angles = histories.flatMap((history) => {
      const known = history.map(({ itemId }) => this.angles.get(itemId)).filter((angle) => angle !== undefined)
      return [known.at(-1), known.at(-2) ?? known.at(-1)]
    })
    const known = Uint8Array.from(histories, (_, b) => (angles[2 * b] === undefined ? 0 : 1))
    const strengths = Float32Array.from(histories.flatMap(() => [0.75, 0.25]))
    return { interests: this.#circle(angles), known, strengths }
  }

  #circle(angles: readonly (number | undefined)[]): Float32Array {
    return Float32Array.from(
      angles.flatMap((angle = 0) => [Math.cos(angle + this.turn), Math.sin(angle + this.turn)])
    ).map((x) => this.broken ?? x)
  }
}
