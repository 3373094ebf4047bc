// Groups that do not collide, and offsets that Kafka's tools reset.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { systemClock } from '../../src/core/clock.ts'
import { KafkaLog } from '../../src/log/kafka/kafkaLog.ts'
import { mtmi } from '../support/mtmiProcess.ts'
import {
  brokers,
  groupPositions,
  hangMs,
  kafkaOptions,
  makeTopic,
  openLog,
  removeTopics,
  resetToEarliest,
  skip
} from './kafka.ts'

const numbered = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ key: Buffer.from(String(i)), value: Buffer.from(`${i}`), partition: 0 }))

/** Reads to the end as a member that keeps nothing itself. @returns how many records it got */
async function readInGroup(log: KafkaLog, topic: string): Promise<number> {
  let count = 0
  const options = { signal: new AbortController().signal, untilEnd: true, group: 'mtmi-ingest' }
  const resume = async (_: number, committed = 0n) => committed
  for await (const event of log.read(topic, { ...options, resume }))
    if (event.kind === 'records') count += event.records.length
  return count
}

test('runs do not share groups; a group that is reset reads its source again', { skip, timeout: hangMs }, async () => {
  const topic = await makeTopic(1)
  const [a, b] = [
    await KafkaLog.open(kafkaOptions(), systemClock, { run: 'a' }),
    await KafkaLog.open(kafkaOptions(), systemClock, { run: 'b' })
  ]
  try {
    await a.append(topic, numbered(10))
    assert.equal(await readInGroup(a, topic), 10)
    assert.equal(await readInGroup(b, topic), 10, 'another run reads everything')
    assert.equal(await readInGroup(a, topic), 0, 'the same run continues')

    const groupId = `mtmi.mtmi-ingest.a.${topic}`
    assert.deepEqual(await groupPositions(groupId, topic), [10n])
    await resetToEarliest(groupId, topic)
    assert.equal(await readInGroup(a, topic), 10)
  } finally {
    await a.close()
    await b.close()
    await removeTopics(topic)
  }
})

test('topics of ours whose partitions differ are refused with what to do', { skip, timeout: hangMs }, async () => {
  const [interactions, userSequences, items] = [await makeTopic(2), await makeTopic(3), await makeTopic(1)]
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-partitions-'))
  const log = await openLog()
  try {
    const settings = {
      log: 'kafka',
      dataDir: folder,
      kafka: { brokers },
      topics: { interactions, userSequences, items }
    }
    writeFileSync(path.join(folder, 'mtmi.json'), JSON.stringify(settings))
    const { status, stderr } = await mtmi(['--config', path.join(folder, 'mtmi.json'), 'sequence', '--once'], {
      cwd: folder
    })
    assert.equal(status, 78, stderr)
    assert.match(stderr, /2 partitions and .* has 3.*mtmi topics repartition/s)
  } finally {
    await log.close()
    await removeTopics(interactions, userSequences, items)
    rmSync(folder, { recursive: true })
  }
})
