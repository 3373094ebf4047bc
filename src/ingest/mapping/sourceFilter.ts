// Which records of a foreign topic are ours to use.

import type { SourceFilter } from '../../core/config/sources.ts'
import { parseFieldPath } from '../../core/fieldPath.ts'
import type { ForeignRecord } from './foreignRecord.ts'
import { visitField } from './readField.ts'

type RecordTest = (foreign: ForeignRecord) => boolean

/**
 * One test a filter. Values are compared as text: `equals: 1` is met by 1 and by "1". What is not a scalar equals
 * nothing. A path through a list is met by any of its elements, or by the one that is meant.
 */
export function compileTests(filters: readonly SourceFilter[]): readonly RecordTest[] {
  return filters.map((filter) => {
    const path = parseFieldPath(filter.path)
    const { exists } = filter
    if (exists !== undefined) return (foreign) => visitField(path, foreign, () => true) === exists
    const wanted = new Set((filter.in ?? [filter.equals]).map(String))
    return (foreign) => visitField(path, foreign, (found) => typeof found !== 'object' && wanted.has(String(found)))
  })
}

/** True for a record that passes all filters. */
export function compileFilters(filters: readonly SourceFilter[]): RecordTest {
  const tests = compileTests(filters)
  return (foreign) => {
    for (const test of tests) if (!test(foreign)) return false
    return true
  }
}
