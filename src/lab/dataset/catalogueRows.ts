// A catalogue file → items, in file order.

import { BadEventError } from '../../core/errors.ts'
import type { CatalogueItem } from '../../records/catalogueItem.ts'
import type { CatalogueFile } from './datasetFiles.ts'
import { RecordAssembler } from './fields.ts'
import { readLines } from './lineReader.ts'

/** @param setAside gets every record that is no item, with its line number and the reason */
export async function* readItems(
  { path, layout, encoding }: CatalogueFile,
  setAside: (line: number, reason: string, raw: string) => void
): AsyncGenerator<CatalogueItem, void, undefined> {
  let items: CatalogueItem[] = []
  let headers = layout.headerLines
  const take = (line: number, record: string) => {
    if (headers > 0) headers--
    else {
      try {
        const item = layout.parse(record)
        if (item !== undefined) items.push(item)
      } catch (error) {
        if (!(error instanceof BadEventError)) throw error
        setAside(line, error.message, record)
      }
    }
  }
  const records = new RecordAssembler(layout.quotedDelimiter, take, layout.isWhole)
  for await (const block of readLines(path, { encoding })) {
    for (const [i, line] of block.lines.entries()) records.add(block.first + i, line)
    yield* items
    items = []
  }
  records.end()
  yield* items
}
