// Killed between two writes of a rollback, trainer and publisher together, on indexes that keep their data elsewhere:
// files, and a Qdrant (QDRANT_URL).

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test, { before } from 'node:test'
import { EmbeddedIndex } from '../../src/index/embedded/embeddedIndex.ts'
import type { VectorIndex } from '../../src/index/vectorIndex.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { killRollbacks } from '../train/modelLives.ts'
import { clearQdrant, openQdrant, qdrantGiven, qdrantOptions } from './qdrant.ts'

/** Every so many writes: a life takes seconds where each write is one to a disk or a server. */
const every = 4

before(async () => {
  await loadBackend()
})

test('files: killed before any fourth write of a rollback, and begun again', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'mtmi-kills-'))
  const opened: VectorIndex[] = []
  try {
    const writes = await killRollbacks(
      async (kill) => {
        const index = await EmbeddedIndex.open(path.join(folder, String(kill)), { searchThread: false })
        opened.push(index)
        return index
      },
      (kill) => kill % every === 1
    )
    assert.ok(writes > 6, `only ${writes} writes`)
  } finally {
    for (const index of opened) await index.close()
    rmSync(folder, { recursive: true, force: true })
  }
})

if (qdrantGiven('Qdrant: killed rollbacks')) {
  test('Qdrant: killed before any fourth write of a rollback, and begun again', async () => {
    const all = qdrantOptions()
    const opened: VectorIndex[] = []
    try {
      const writes = await killRollbacks(
        async (kill) => {
          const index = openQdrant({ ...all, prefix: `${all.prefix}${kill}_` })
          opened.push(index)
          return index
        },
        (kill) => kill % every === 2
      )
      assert.ok(writes > 6, `only ${writes} writes`)
    } finally {
      for (const index of opened) await index.close()
      await clearQdrant(all)
    }
  })
}
