// What goes into a checkpoint, all at once.

import type { NamedArrays } from '../../src/core/namedArrays.ts'
import type { Checkpoint } from '../../src/model/replica/checkpoint.ts'
import type { Extent } from '../../src/train/batch/changedRows.ts'

interface Copied {
  copy(extent: Extent): IterableIterator<NamedArrays>
  beginRestore(): void
  restorePart(arrays: NamedArrays): void
  endRestore(): void
}

export function partsOf(one: Copied, extent: Extent = 'whole'): NamedArrays[] {
  return [...one.copy(extent)]
}

export function restoreFrom(one: Copied, parts: Iterable<NamedArrays>): void {
  one.beginRestore()
  for (const part of parts) one.restorePart(part)
  one.endRestore()
}

/** Every array by part, number of the part among those of its name, and name. */
export function allArrays(
  checkpoint: Checkpoint
): Map<string, NamedArrays extends ReadonlyMap<string, infer A> ? A : never> {
  const seen = new Map<string, number>()
  return new Map(
    [...checkpoint.parts].flatMap(({ name, arrays }) => {
      const number = seen.get(name) ?? 0
      seen.set(name, number + 1)
      return Array.from(arrays, ([key, array]) => [`${name}/${number}/${key}`, array] as const)
    })
  )
}
