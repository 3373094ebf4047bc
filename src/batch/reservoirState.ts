// A reservoir's state without one user: for checkpoints, which are arrays and no reservoir.

import { CorruptError } from '../base/errors.ts'
import type { UserId } from '../event/interaction.ts'
import { type NamedArray, type NamedArrays, namedArray, packTexts, unpackTexts } from './namedArrays.ts'

/**
 * @param arrays as `Reservoir.state` gives them; left as they are
 * @returns the state without the user's examples, and how many these were
 * @throws CorruptError if an array is missing or does not fit
 */
export function withoutUser(arrays: NamedArrays, userId: UserId): { readonly arrays: NamedArrays; readonly removed: number } {
  const [recent, sample, offered] = namedArray(arrays, 'meta', Float64Array, 3)
  const examples = recent! + sample!
  const lengths = namedArray(arrays, 'lengths', Int32Array, examples)
  const users = unpackTexts(namedArray(arrays, 'users', Uint8Array), namedArray(arrays, 'userLengths', Int32Array, examples))
  const kept = Array.from({ length: examples }, (_, i) => i).filter((i) => users[i] !== userId)
  const removed = examples - kept.length
  if (removed === 0) return { arrays, removed }
  const starts = new Int32Array(examples + 1)
  for (let i = 0; i < examples; i++) starts[i + 1] = starts[i]! + lengths[i]!
  const steps = starts[examples]!
  const result = new Map<string, NamedArray>(arrays)
  /** @param of numbers of the array for each example, from and to */
  const keep = (name: string, of: (i: number) => readonly [number, number]) => {
    const array = arrays.get(name)!
    const length = kept.reduce((sum, i) => sum + of(i)[1] - of(i)[0], 0)
    const shorter = new (array.constructor as new (length: number) => NamedArray)(length)
    let at = 0
    for (const i of kept) {
      const [from, to] = of(i)
      shorter.set(array.subarray(from, to), at)
      at += to - from
    }
    result.set(name, shorter)
  }
  for (const name of ['rows', 'generations', 'timesMs', 'types']) {
    if (arrays.get(name)?.length !== steps) throw new CorruptError(`state: ${name} is not one of ${steps} steps`)
    keep(name, (i) => [starts[i]!, starts[i + 1]!])
  }
  for (const name of ['lengths', 'weights', 'partitions']) keep(name, (i) => [i, i + 1])
  keep('offsets', (i) => [8 * i, 8 * i + 8])
  const texts = packTexts(kept.map((i) => users[i]!))
  result.set('users', texts.bytes)
  result.set('userLengths', texts.lengths)
  const recentLeft = kept.filter((i) => i < recent!).length
  result.set('meta', Float64Array.of(recentLeft, kept.length - recentLeft, offered!))
  return { arrays: result, removed }
}
