// In which order the rows of a data set come, and how a data set is described.

import { ConfigError } from '../../core/errors.ts'
import { type DatasetFiles, plainName } from './datasetFiles.ts'

/**
 * - `time`: rows have event times, and come sorted by them, equal ones in file order
 * - `order`: the file is in time order; times are synthetic
 * - `interleaved`: only each user's own order is known; users are merged by seed, times are synthetic
 */
export type Ordering = 'time' | 'order' | 'interleaved'

export function orderingOf({ format, files }: DatasetFiles, path: string): Ordering {
  const timed = files.filter(({ layout }) => layout.timed).length
  if (timed > 0 && timed < files.length) {
    throw new ConfigError([
      `${path}: ${files
        .filter(({ layout }) => !layout.timed)
        .map(({ name }) => name)
        .join(', ')} has no time column, other files have one; give them one by one`
    ])
  }
  if (timed > 0) return 'time'
  if (format === 'sessions' || format === 'clicks') return 'order'
  if (format === 'pairs' || format === 'flagged-pairs' || format === 'user-items') return 'interleaved'
  return files.some((file) => file.usersRecur) ? 'order' : 'interleaved'
}

export function describe(found: DatasetFiles, ordering: Ordering, seed: number): string {
  const { files } = found
  const names =
    files.length <= 3
      ? files.map(({ name }) => name).join(', ')
      : `${files.length} files, ${files[0]!.name} … ${files.at(-1)!.name}`
  const order = {
    time: 'in the order of their times',
    order: 'an order but no times: synthetic times, one second apart',
    interleaved: `each user's own order only: users interleaved by seed ${seed}, synthetic times`
  }[ordering]
  const shown = [...new Set(files.map(({ layout }) => layout.shown))].join(' | ')
  const items = found.catalogues.map(
    ({ path, layout, encoding }) =>
      `; items from ${plainName(path)}${encoding === 'utf-8' ? '' : ' (read as Latin-1)'}: ${layout.shown}`
  )
  const aside = found.leftAside.length > 0 ? `; not read: ${found.leftAside.join(', ')}` : ''
  return `${found.format} (${found.because}): ${names}: ${shown}; ${order}${items.join('')}${aside}`
}
