import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { EmbeddedIndex } from '../../../src/index/embedded/embeddedIndex.ts'
import { vectorIndexSuite } from '../../conformance/vectorIndexSuite.ts'

for (const searchThread of [false, true]) {
  vectorIndexSuite(`embedded, ${searchThread ? 'with a search thread' : 'searched by the caller'}`, async () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-index-'))
    const index = await EmbeddedIndex.open(directory, { searchThread })
    return {
      index,
      dispose: async () => {
        await index.close()
        rmSync(directory, { recursive: true })
      }
    }
  })
}
