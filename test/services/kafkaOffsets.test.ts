// `mtmi offsets show` and `reset`, and groups that do not collide.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { systemClock } from '../../src/core/clock.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { KafkaLog } from '../../src/log/kafka/kafkaLog.ts'
import { lastLine, mtmi } from '../support/mtmiProcess.ts'
import { brokers, hangMs, kafkaOptions, makeTopic, openLog, removeTopics, skip } from './kafka.ts'

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

test('runs do not share groups; offsets of a source are shown and reset', { skip, timeout: hangMs }, async () => {
  const [topic, interactions] = [await makeTopic(1), await makeTopic(1)]
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-offsets-'))
  const [a, b] = [
    await KafkaLog.open(kafkaOptions(), systemClock, { run: 'a' }),
    await KafkaLog.open(kafkaOptions(), systemClock, { run: 'b' })
  ]
  try {
    await a.append(topic, numbered(10))
    assert.equal(await readInGroup(a, topic), 10)
    assert.equal(await readInGroup(b, topic), 10, 'another run reads everything')
    assert.equal(await readInGroup(a, topic), 0, 'the same run continues')

    const source = { topic, format: 'json', user: 'u', item: 'i', type: '=click', time: 'log:time' }
    const settings = {
      log: 'kafka',
      dataDir: folder,
      run: 'a',
      kafka: { brokers },
      topics: { interactions },
      sources: [source]
    }
    writeFileSync(path.join(folder, 'mtmi.json'), JSON.stringify(settings))
    const run = async (...words: string[]) => {
      const done = await mtmi(['--config', path.join(folder, 'mtmi.json'), 'offsets', ...words, '--json'], {
        cwd: folder
      })
      return { ...done, report: done.status === 0 ? lastLine(done.stdout) : undefined }
    }
    new RunDirectory(folder, 'a').make({ configFile: null })
    const shown = await run('show')
    assert.equal(shown.status, 0, shown.stderr)
    const [ingest, sequence] = shown.report!.stages as {
      groupId: string
      partitions: { next?: string; end: string }[]
    }[]
    assert.equal(ingest?.groupId, `mtmi.mtmi-ingest.a.${topic}`)
    assert.deepEqual(ingest.partitions, [{ partition: 0, start: '0', next: '10', end: '10' }])
    assert.equal(sequence?.partitions[0]?.next, undefined)

    // Nothing is reset under a process that reads.
    const stop = new AbortController()
    let isOwned = () => {}
    const owned = new Promise<void>((resolve) => {
      isOwned = resolve
    })
    const reading = (async () => {
      const options = { resume: async () => 10n, signal: stop.signal, group: 'mtmi-ingest' }
      for await (const event of a.read(topic, options)) if (event.kind === 'assigned') isOwned()
    })()
    await owned
    const refused = await run('reset', '--stage', 'ingest', '--topic', topic, '--to', 'earliest')
    assert.equal(refused.status, 78)
    assert.match(refused.stderr, /1 active members: stop/)
    stop.abort()
    await reading

    const reset = await run('reset', '--stage', 'ingest', '--topic', topic, '--to', 'earliest')
    assert.equal(reset.status, 0, reset.stderr)
    assert.deepEqual(reset.report!.partitions, [{ partition: 0, next: '0' }])
    assert.equal(await readInGroup(a, topic), 10)
    assert.equal((await run('reset', '--stage', 'ingest', '--topic', 'other', '--to', 'earliest')).status, 78)
    assert.equal((await run('reset', '--stage', 'ingest', '--topic', topic, '--to', 'yesterday')).status, 78)
  } finally {
    await a.close()
    await b.close()
    await removeTopics(topic, interactions)
    rmSync(folder, { recursive: true })
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
