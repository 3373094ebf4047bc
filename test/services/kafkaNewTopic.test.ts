// Topics that are deleted and created again on a real broker, with fewer, as many and more records: every stage that has
// stored offsets stops, and continues with --accept-new-topic. And offsets of stages, reset by Kafka's tools.

import assert from 'node:assert/strict'
import path from 'node:path'
import test from 'node:test'
import { CorruptError } from '../../src/core/errors.ts'
import { partitionOf } from '../../src/log/partitioner.ts'
import { lastLine, mtmi } from '../support/mtmiProcess.ts'
import { groupPositions, hangMs, kafka, openLog, removeTopics, resetToEarliest, skip } from './kafka.ts'
import { Run } from './kafkaRun.ts'

/** Users whose events and history are in one partition, which is the one that their id decides. */
async function isOrdered(run: Run, partitions: number): Promise<void> {
  const log = await openLog()
  const options = { resume: async () => 0n, signal: new AbortController().signal, untilEnd: true }
  for (const topic of [run.config.topics.interactions, run.config.topics.userSequences])
    for await (const event of log.read(topic, options)) {
      if (event.kind !== 'records') continue
      for (const { key, partition } of event.records) assert.equal(partition, partitionOf(key, partitions))
    }
  await log.close()
}

test('topics that were grown from two to four partitions are refused; repartition keeps every history', {
  skip,
  timeout: hangMs
}, async () => {
  const run = new Run()
  run.users = 200
  await run.begin()
  const { interactions, userSequences } = run.topics
  try {
    await run.click(600)
    await run.ingest()
    await run.sequence()
    const admin = kafka.admin()
    await admin.connect()
    const topicPartitions = [interactions, userSequences].map((topic) => ({ topic, count: 4 }))
    await admin.createPartitions({ topicPartitions })
    await admin.disconnect()
    await run.click(400)
    await run.ingest()
    await assert.rejects(run.sequence(), /histories were stored with 2.*mtmi topics repartition/s)
    const refused = await mtmi(
      ['--config', path.join(run.folder, 'mtmi.json'), 'topics', 'repartition', '--partitions', '3'],
      { cwd: run.folder }
    )
    assert.equal(refused.status, 78)
    assert.match(refused.stderr, /train has \d+ records of .* to read/)

    const report = lastLine(
      await run.mtmi('topics', 'repartition', '--partitions', '3', '--skip-unread', '--json')
    ) as unknown as { users: number; events: number; topics: { interactions: string; userSequences: string } }
    assert.equal(report.users, run.users)
    assert(report.events >= 400)
    const { topics } = run.config
    run.config = { ...run.config, topics: { ...topics, ...report.topics, partitions: 3 } }
    await assert.rejects(run.sequence(), /--accept-new-topic/)
    await run.sequence(true)
    await run.click(200)
    await run.ingest()
    await run.sequence()
    assert.equal((await run.sequences()).steps, 1200, 'every event is in one history, once')
    await isOrdered(run, 3)
    await removeTopics(interactions, userSequences)
  } finally {
    await run.remove()
  }
})

const refusesTopic = (topic: string) => (error: unknown) =>
  error instanceof CorruptError && error.message.includes(`topic ${topic} was created again`)

test('ingest and sequence notice topics that were created again with fewer, as many and more records', {
  skip,
  timeout: hangMs
}, async () => {
  const run = new Run()
  await run.begin()
  const { interactions, userSequences } = run.topics
  try {
    await run.click(20)
    await run.ingest()
    await run.sequence()
    let total = 20
    for (const count of [12, 12, 30]) {
      const before = await run.ends(interactions)
      await run.remake(run.source)
      await run.click(count)
      await assert.rejects(run.ingest(), refusesTopic(run.source))
      await run.ingest(true)
      assert.equal((await run.ends(interactions)) - before, BigInt(count), 'all of the new topic is read')
      await run.sequence()
      total += count
      assert.deepEqual(await run.sequences(), { fresh: total, steps: total }, 'no event is taken for a known one')
    }
    for (const count of [10, 60]) {
      await run.remake(interactions)
      await run.click(count)
      await run.ingest()
      await assert.rejects(run.sequence(), refusesTopic(interactions))
      await run.sequence(true)
      total += count
      assert.deepEqual(await run.sequences(), { fresh: total, steps: total })
    }
    await run.remake(userSequences)
    await assert.rejects(run.sequence(), refusesTopic(userSequences))
    await run.sequence(true)
    assert.deepEqual(
      await run.sequences(),
      { fresh: 0, steps: total },
      'histories are kept, and no example comes twice'
    )
  } finally {
    await run.remove()
  }
})

test('train and publish notice topics that were created again; offsets of all stages are shown and reset', {
  skip,
  timeout: hangMs
}, async () => {
  const run = new Run()
  await run.begin()
  const { userSequences, modelUpdates } = run.topics
  try {
    await run.click(40)
    await run.ingest()
    await run.sequence()
    await run.mtmi('train', '--once')
    await run.mtmi('publish', '--once')

    await run.remake(userSequences)
    await run.remake(modelUpdates)
    await run.click(20)
    await run.ingest()
    await run.sequence(true)
    await run.accepts('train', userSequences)
    await run.accepts('publish', userSequences)

    const groupOf = (stage: string, topic: string) => `${run.name}.mtmi-${stage}.a.${topic}`
    for (const [stage, topic] of [
      ['ingest', run.source],
      ['sequence', run.topics.interactions],
      ['train', userSequences],
      ['publish', userSequences]
    ] as const)
      assert(
        (await groupPositions(groupOf(stage, topic), topic)).some((next) => next > 0n),
        `${stage} is shown`
      )

    const examples = (text: string) => Number(/(\d+) examples read/.exec(text)?.[1])
    const before = examples(await run.mtmi('train', '--once'))
    await resetToEarliest(groupOf('train', userSequences), userSequences)
    const again = examples(await run.mtmi('train', '--once'))
    assert.equal(again - before, 20, 'the examples of the topic are trained on once more')
    await resetToEarliest(groupOf('sequence', run.topics.interactions), run.topics.interactions)
    const sequenced = await run.sequences()
    await run.sequence()
    assert.deepEqual(await run.sequences(), sequenced, 'events that are known change nothing')
  } finally {
    await run.remove()
  }
})
