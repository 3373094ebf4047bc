// The index as one process sees it: every call takes time and may fail. What it holds is shared, and outlives the
// processes.

import type { VectorIndex, VectorPoint } from '../../src/index/vectorIndex.ts'
import type { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import type { Faults } from './faults.ts'
import type { Life } from './world.ts'

const calls = [
  ...[
    'createVersion',
    'upsert',
    'updateMemory',
    'remove',
    'erase',
    'promote',
    'dropVersion',
    'versions',
    'live',
    'search',
    'candidates',
    'popular',
    'items',
    'user'
  ],
  'item'
]

export interface IndexChecks {
  /** A version is about to be opened: created, or filled on. */
  open?(indexVersion: string): void
  /** Points that are about to be written. */
  upsert?(points: readonly VectorPoint[]): void
  /** Whether a version may go live without an item or user that the live one has. */
  mayMiss?(indexVersion: string, role: 'items' | 'users', id: string): boolean
}

export function simIndex(
  held: MemoryVectorIndex,
  life: Life,
  faults: Faults,
  { open, upsert, mayMiss = () => false }: IndexChecks = {}
): VectorIndex {
  const called =
    (name: string) =>
    (...args: unknown[]) =>
      faults.call(life, 'index', name, () => {
        if (!['live', 'item', 'user', 'versions'].includes(name))
          life.world.trace(life.name, `index ${name} ${shown(args)}`)
        if (name === 'promote') checkPromotion(held, life, args[0] as string, mayMiss)
        if (name === 'createVersion') open?.(args[0] as string)
        if (name === 'upsert') upsert?.(args[2] as readonly VectorPoint[])
        if (name === 'remove' && args[1] === 'item')
          for (const id of args[2] as readonly string[]) removedFrom(held, args[0] as string).add(id)
        const method = (held as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>)[name]!
        return method.apply(held, args)
      })
  const index = Object.fromEntries(calls.map((name) => [name, called(name)]))
  return { ...index, close: async () => {} } as unknown as VectorIndex
}

/**
 * Items that were taken out of a version on purpose: the catalogue deleted them, or the model does not know them. They
 * are not missing there.
 */
const removed = new WeakMap<MemoryVectorIndex, Map<string, Set<string>>>()

function removedFrom(held: MemoryVectorIndex, indexVersion: string): Set<string> {
  const versions = removed.get(held) ?? new Map<string, Set<string>>()
  removed.set(held, versions)
  const ids = versions.get(indexVersion) ?? new Set<string>()
  versions.set(indexVersion, ids)
  return ids
}

/** Who is asked for must not be missing only because another version is answered from. */
function checkPromotion(
  held: MemoryVectorIndex,
  life: Life,
  indexVersion: string,
  mayMiss: Required<IndexChecks>['mayMiss']
): void {
  const live = held.liveVersion
  if (live === undefined || live === indexVersion) return
  const [before, after] = [held.contents(live), held.contents(indexVersion)]
  for (const role of ['items', 'users'] as const) {
    const missing = before[role].filter(
      (id) =>
        !after[role].includes(id) &&
        !(role === 'items' && removedFrom(held, indexVersion).has(id)) &&
        !mayMiss(indexVersion, role, id)
    )
    if (missing.length > 0)
      life.world.violated(`index version ${indexVersion} goes live without ${role} ${missing.join(', ')} of ${live}`)
  }
}

function shown(args: readonly unknown[]): string {
  const short = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(short)
    if (typeof value === 'object' && value !== null && 'id' in value) return value.id
    return value
  }
  return JSON.stringify(args.map(short)).slice(0, 200)
}
