// The index as one process sees it: every call takes time and may fail. What it holds is shared, and outlives the processes.

import type { VectorIndex } from '../../src/index/vectorIndex.ts'
import type { Faults } from './faults.ts'
import type { Life } from './world.ts'

const calls = [
  ...['createSpace', 'upsert', 'remove', 'erase', 'promote', 'dropSpace', 'spaces', 'live', 'search', 'popular', 'items', 'user'],
  'item'
]

export function simIndex(held: VectorIndex, life: Life, faults: Faults): VectorIndex {
  const called =
    (name: string) =>
    (...args: unknown[]) =>
      faults.call(life, 'index', name, () => {
        if (!['live', 'item', 'user', 'spaces'].includes(name)) life.world.trace(life.name, `index ${name} ${shown(args)}`)
        const method = (held as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>)[name]!
        return method.apply(held, args)
      })
  const index = Object.fromEntries(calls.map((name) => [name, called(name)]))
  return { ...index, close: async () => {} } as unknown as VectorIndex
}

function shown(args: readonly unknown[]): string {
  const short = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(short)
    if (typeof value === 'object' && value !== null && 'id' in value) return value.id
    return value
  }
  return JSON.stringify(args.map(short)).slice(0, 200)
}
