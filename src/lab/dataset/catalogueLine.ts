// A line of a RecBole .item file → an item of the catalogue.

import { BadEventError } from '../../core/errors.ts'
import { shorten } from '../../core/shorten.ts'
import type { CatalogueItem } from '../../records/catalogueItem.ts'
import type { AtomicColumn } from './headerLine.ts'
import { checkId } from './lineParser.ts'

const titleNames = ['title', 'movie_title', 'item_title', 'item_name', 'name', 'product_title', 'book_title']

/**
 * `token` columns become features with one value, `token_seq` ones with several, separated by blanks as RecBole has them; the first column that is
 * called a title becomes the title. Numbers (`float`) are left out: a feature has an embedding row per value, which a price does not repeat.
 *
 * The file has no times: `updatedAtMs` is 0, older than any event.
 */
export function catalogueLine(columns: readonly AtomicColumn[]): (line: string) => CatalogueItem {
  const id = columns.findIndex(({ name }) => name === 'item_id')
  const title = columns.findIndex(({ name }) => titleNames.includes(name.toLowerCase()))
  return (line) => {
    const fields = line.split('\t')
    if (fields.length !== columns.length) {
      throw new BadEventError(
        `expected ${columns.length} fields (${columns.map(({ name }) => name).join(', ')}), found ${fields.length}: ${shorten(line)}`
      )
    }
    const itemId = checkId('item', fields[id], line)
    const features: Record<string, readonly string[]> = {}
    columns.forEach(({ name, type }, i) => {
      if (i === id || i === title || type === 'float' || type === 'float_seq') return
      const values = type === 'token' ? [fields[i]!.trim()] : fields[i]!.split(' ')
      const present = [...new Set(values.filter((value) => value !== ''))]
      if (present.length > 0) features[name] = present
    })
    const text = title < 0 ? '' : fields[title]!.trim()
    return { itemId, ...(text === '' ? {} : { title: text }), features, updatedAtMs: 0 }
  }
}
