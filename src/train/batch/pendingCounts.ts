// How often items that have no row yet were seen, in bounded memory.

import { type NamedArrays, namedArray, packTexts, unpackTexts } from '../../core/namedArrays.ts'

/** Ids of one generation: two full ones of short ids are about 50 MB. */
const generationMax = 262_144

/**
 * Counts in two generations: when the young one is full it becomes the old one, and the old one is dropped. An id is
 * therefore remembered for at least the next 262,144 new ids after it was last counted; one seen more rarely starts
 * again from 1.
 */
export class PendingCounts {
  readonly #max: number
  #young = new Map<string, number>()
  #old = new Map<string, number>()

  constructor(max = generationMax) {
    this.#max = max
  }

  /** Counts the id once more. @returns its count, this time included */
  add(id: string): number {
    const count = (this.#young.get(id) ?? this.#old.get(id) ?? 0) + 1
    if (this.#young.size >= this.#max && !this.#young.has(id)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(id, count)
    return count
  }

  delete(id: string): void {
    this.#young.delete(id)
    this.#old.delete(id)
  }

  /** The state as it is now, packed when the result is called. */
  copy(): () => NamedArrays {
    const [young, old] = [this.#young, this.#old].map((counts) => ({
      ids: [...counts.keys()],
      counts: Int32Array.from(counts.values())
    }))
    return () => new Map([...packed('young', young!), ...packed('old', old!)])
  }

  /** @throws CorruptError if an array is missing or does not fit */
  restore(arrays: NamedArrays): void {
    this.#young = unpacked('young', arrays)
    this.#old = unpacked('old', arrays)
  }
}

function packed(
  name: string,
  { ids, counts }: { ids: readonly string[]; counts: Int32Array }
): [string, Uint8Array | Int32Array][] {
  const { bytes, lengths } = packTexts(ids)
  return [
    [name, bytes],
    [`${name}Lengths`, lengths],
    [`${name}Counts`, counts]
  ]
}

function unpacked(name: string, arrays: NamedArrays): Map<string, number> {
  const ids = unpackTexts(namedArray(arrays, name, Uint8Array), namedArray(arrays, `${name}Lengths`, Int32Array))
  const counts = namedArray(arrays, `${name}Counts`, Int32Array, ids.length)
  return new Map(ids.map((id, i) => [id, counts[i]!]))
}
