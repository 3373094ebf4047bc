// Readers search without a pause while the publisher switches index versions a hundred times, twenty of them back to less: no
// error, and no answer of two index versions.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { systemClock } from '../../../src/core/clock.ts'
import { EmbeddedIndex } from '../../../src/index/embedded/embeddedIndex.ts'
import { Publisher } from '../../../src/publish/publisher.ts'
import type { CatalogueItem } from '../../../src/records/catalogueItem.ts'
import { PlainEncoder } from '../../publish/publisherEncoder.ts'
import { memoryUsers } from '../../support/memoryUserStore.ts'

const items = Array.from({ length: 40 }, (_, i) => `i${i}`)
const users = Array.from({ length: 10 }, (_, u) => `u${u}`)

test('a hundred switches, every fifth a rollback that knows half of the items', async () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'mtmi-switches-'))
  const written = await EmbeddedIndex.open(directory, { searchThread: false })
  const read = await EmbeddedIndex.open(directory)
  const encoder = new PlainEncoder()
  const catalogue = new Map<string, CatalogueItem>()
  const options = { userWaitMs: 0, sweepIntervalMs: 60_000 }
  const publisher = new Publisher({
    encoder,
    index: written,
    users: memoryUsers(),
    options,
    clock: systemClock,
    catalogue
  })
  let switched = 0
  let answers = 0
  const switchTo = async (n: number) => {
    const isRollback = n % 5 === 0
    encoder.modelVersion = `s${n}`
    encoder.step = n
    // Half of the items have no row in the earlier model.
    encoder.angles.clear()
    for (const [i, itemId] of items.entries()) if (!isRollback || i % 2 === 0) encoder.angles.set(itemId, i)
    for (const itemId of items)
      catalogue.set(itemId, { itemId, title: encoder.modelVersion, features: {}, updatedAtMs: 0 })
    publisher.noteModel({
      ...{ changedItems: [...encoder.angles.keys()], expired: [], weightsChanged: true, counts: new Map() },
      ...(isRollback ? { reason: 'rollback' } : { reason: 'rebuild' })
    })
    for (let turn = 0; (await written.live())?.indexVersion !== encoder.modelVersion; turn++) {
      assert.ok(turn < 20, `index version ${encoder.modelVersion} does not go live`)
      await publisher.publishItems()
      await publisher.publishUsers(undefined, { flush: true })
    }
    switched = n
  }
  for (const userId of users)
    publisher.noteSequence({ userId, steps: [{ itemId: 'i0', eventTimeMs: 0 }], acceptedAtMs: 0 })
  await switchTo(1)
  let done = false
  const reader = async (first: number) => {
    for (let i = first; !done; i++) {
      const least = switched
      const { indexVersion, step, lists } = await read.search({ by: { userId: users[i % users.length]! } }, 10)
      assert.ok(Number(indexVersion.slice(1)) >= least, `${indexVersion} after s${least} had gone live`)
      assert.equal(indexVersion, `s${step}`)
      assert.ok(
        lists?.every((list) => list.length === 10),
        `nothing for a user of ${indexVersion}`
      )
      const described = await read.items(indexVersion, lists?.flatMap((list) => list.map(({ itemId }) => itemId)) ?? [])
      for (const { payload } of described.values()) assert.equal(payload.title, indexVersion)
      answers++
    }
  }
  try {
    const reading = Promise.all([0, 1, 2, 3].map(reader))
    reading.catch(() => {})
    for (let n = 2; n <= 101; n++) await Promise.race([switchTo(n), reading])
    done = true
    await reading
    assert.ok(answers > 1000, `only ${answers} answers`)
    assert.deepEqual([switched, (await written.versions()).length], [101, 2])
  } finally {
    done = true
    await read.close()
    await written.close()
    rmSync(directory, { recursive: true })
  }
})
