// `mtmi erase` where others keep the data: members of a group on a real broker (KAFKA_BROKERS), vectors in a real
// Qdrant (QDRANT_URL).

import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { erase } from '../../pipelines/cli/erase.ts'
import { openStageIo } from '../../pipelines/parts.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { loadInteractions } from '../../src/ingest/load.ts'
import { erasureEvent, isErasure } from '../../src/log/erasure.ts'
import type { LogRecord } from '../../src/log/eventLog.ts'
import { openOwnedSequences, ownedDisk } from '../../src/sequence/ownedSequences.ts'
import { SequenceStage } from '../../src/sequence/sequenceStage.ts'
import { itemPoint, userPoint } from '../conformance/vectorIndexPoints.ts'
import { brokers, hangMs, makeTopic, openLog, removeTopics, skip } from './kafka.ts'
import { clearQdrant, openQdrant, qdrantGiven, qdrantOptions, qdrantUrl } from './qdrant.ts'

const erased = 'Zaphod-Beeblebrox'

function filesThatName(folder: string, id: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && readFileSync(path.join(entry.parentPath, entry.name)).includes(id))
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
}

async function recordsOf(topic: string): Promise<LogRecord[]> {
  const log = await openLog()
  const records: LogRecord[] = []
  const { signal } = new AbortController()
  for await (const event of log.read(topic, { resume: async () => 0n, signal, untilEnd: true }))
    if (event.kind === 'records') records.push(...event.records)
  await log.close()
  return records
}

test('Kafka: out of the histories of every member, by the command while none runs and by the event while they do; a tombstone follows', {
  skip,
  timeout: hangMs
}, async () => {
  const [interactions, userSequences] = [await makeTopic(2), await makeTopic(2, { 'cleanup.policy': 'compact' })]
  const dataDir = mkdtempSync(path.join(os.tmpdir(), 'mtmi-erase-'))
  const config = resolveConfig(
    {
      dataDir,
      log: 'kafka',
      topics: { interactions, userSequences, partitions: 2 },
      kafka: { brokers, sessionTimeoutMs: 6000 }
    },
    {}
  )
  const run = new RunDirectory(dataDir, 'live').make({ configFile: null })
  /** Two members on two partitions, until everything in the topic is committed. */
  const sequence = async (meanwhile: () => Promise<void> = async () => {}) => {
    const stop = new AbortController()
    const members = await Promise.all(
      [0, 1].map(async (place) => {
        const io = await openStageIo(config, run)
        const folder = run.path(`sequence-${place}`)
        const stage = new SequenceStage({
          ...io,
          openStore: (partition) => openOwnedSequences({ io, disk: ownedDisk(folder) }, partition)
        })
        stage.drain(true)
        return { io, stage, running: stage.run(stop.signal) }
      })
    )
    const settled = async () => {
      const ends = await members[0]!.io.log.ends(interactions)
      for (;;) {
        const consumed = new Map(members.flatMap(({ stage }) => [...stage.consumed()]))
        if (
          [...ends].every(([partition, end]) => (consumed.get(partition) ?? 0n) >= end) &&
          members.every(({ stage }) => stage.committed)
        )
          return
        await Promise.race([pause(50), ...members.map(({ running }) => running)])
      }
    }
    await settled()
    await meanwhile()
    await settled()
    stop.abort()
    for (const { io, running } of members) {
      await running
      await io.log.close()
    }
  }
  const click = async (userIds: readonly string[], name: string) => {
    const io = await openStageIo(config, run)
    const clicks = userIds.flatMap((userId) =>
      Array.from({ length: 5 }, (_, i) => ({
        userId,
        eventId: `${name}-${userId}-${i}`,
        itemId: `item-${i}`,
        type: 'click',
        eventTimeMs: Date.UTC(2026, 0, 1) + i * 1000
      }))
    )
    const { signal } = new AbortController()
    await loadInteractions(clicks, { ...io, topic: interactions, name, signal, hasRoom: async () => true })
    await io.log.close()
  }
  const kept = () => filesThatName(dataDir, erased).filter((file) => file.startsWith('live/sequence-'))
  const tombstones = async () =>
    (await recordsOf(userSequences)).filter(
      (record) => isErasure(record) && new TextDecoder().decode(record.key) === erased
    ).length
  try {
    await click([erased, ...Array.from({ length: 30 }, (_, i) => `user-${i}`)], 'first')
    await sequence()
    assert.ok(kept().length > 0, 'no member has the user: nothing would be proved')
    await erase(config, { user: erased, json: true })
    assert.deepEqual(kept(), [])
    // Members that come to the event write the tombstone, and bring nothing back.
    await sequence()
    assert.ok((await tombstones()) > 0)
    assert.equal(
      (await recordsOf(userSequences)).findLast(({ key }) => new TextDecoder().decode(key) === erased)?.value,
      null
    )
    assert.ok(filesThatName(dataDir, 'user-7').some((file) => file.startsWith('live/sequence-')))

    await click([erased], 'second')
    let before = 0
    await sequence(async () => {
      // A member that has a partition from the log alone, which tells of no erasure how far it was, applies the first
      // one again: that is a tombstone more.
      before = await tombstones()
      const log = await openLog()
      await log.append(interactions, [erasureEvent(erased)])
      await log.close()
    })
    assert.ok((await tombstones()) > before)
    assert.equal(
      (await recordsOf(userSequences)).findLast(({ key }) => new TextDecoder().decode(key) === erased)?.value,
      null
    )
    await erase(config, { user: erased, json: true }) // LMDB's free pages
    assert.deepEqual(kept(), [])
  } finally {
    await removeTopics(interactions, userSequences).catch(() => {})
    rmSync(dataDir, { recursive: true, force: true })
  }
})

if (qdrantGiven('Qdrant: erase')) {
  test('Qdrant: out of every index version, those kept to go back to included; not a byte of the id is left in any payload', async () => {
    const options = qdrantOptions()
    const dataDir = mkdtempSync(path.join(os.tmpdir(), 'mtmi-erase-'))
    const config = resolveConfig({ dataDir, index: 'qdrant', qdrant: { url: qdrantUrl, prefix: options.prefix } }, {})
    new RunDirectory(dataDir, 'test').make({ configFile: null }) // the name that openQdrant gives
    const index = openQdrant(options)
    const points = (userId: string) => userPoint(userId, [[1, 0]], ['x'])
    /** Every payload of every collection, as Qdrant itself tells it. */
    const payloads = async () => {
      const answers: string[] = []
      const { result } = (await (await fetch(`${qdrantUrl}/collections`)).json()) as {
        result: { collections: { name: string }[] }
      }
      for (const { name } of result.collections.filter((collection) => collection.name.startsWith(options.prefix))) {
        const body = JSON.stringify({ limit: 1000, with_payload: true, with_vector: true })
        const scrolled = await fetch(`${qdrantUrl}/collections/${name}/points/scroll`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body
        })
        answers.push(await scrolled.text())
      }
      return answers
    }
    const naming = async (id: string) => (await payloads()).filter((text) => text.includes(id)).length
    try {
      for (const [indexVersion, step] of [
        ['a', 1],
        ['b', 2]
      ] as const) {
        await index.createVersion(indexVersion, { dimensions: 2, interestCount: 1 })
        await index.upsert(indexVersion, step, [itemPoint('x', [1, 0]), points(erased), points('Arthur-Dent')])
        await index.promote(indexVersion, { items: 1, users: 2 })
      }
      assert.equal(await naming(erased), 2)
      await erase(config, { user: erased, json: true })
      assert.deepEqual([await naming(erased), await naming('Arthur-Dent')], [0, 2])
      await index.promote('a', { items: 1, users: 1 }) // back to the index version before
      assert.deepEqual(
        [await index.user(erased), (await index.user('Arthur-Dent'))?.payload.recent],
        [undefined, ['x']]
      )
    } finally {
      await index.close()
      await clearQdrant(options)
      rmSync(dataDir, { recursive: true, force: true })
    }
  })
}
