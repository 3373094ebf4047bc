// Which records of a foreign topic are ours to use.

import type { SourceFilter } from '../../core/config/sources.ts'
import { parseFieldPath } from '../../core/fieldPath.ts'
import type { ForeignRecord } from './foreignRecord.ts'
import { readField } from './readField.ts'

/**
 * True for a record that passes all filters. Values are compared as text: `equals: 1` is met by 1 and by "1".
 * What is not a scalar equals nothing.
 */
export function compileFilters(filters: readonly SourceFilter[]): (foreign: ForeignRecord) => boolean {
  const tests = filters.map((filter) => {
    const path = parseFieldPath(filter.path)
    if (filter.exists !== undefined) {
      const { exists } = filter
      return (foreign: ForeignRecord) => (readField(path, foreign) !== undefined) === exists
    }
    const wanted = new Set((filter.in ?? [filter.equals]).map(String))
    return (foreign: ForeignRecord) => {
      const found = readField(path, foreign)
      return found !== undefined && typeof found !== 'object' && wanted.has(String(found))
    }
  })
  return (foreign) => {
    for (const test of tests) if (!test(foreign)) return false
    return true
  }
}
