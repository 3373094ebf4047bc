import assert from 'node:assert/strict'
import test from 'node:test'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { compareTopic, wantedTopics } from '../../../src/log/kafka/kafkaTopics.ts'

test('histories and interactions have as many partitions; what carries state is compacted, not before a trainer may have read it', () => {
  const topics = new Map(
    wantedTopics(resolveConfig({}, {}, { topics: { partitions: 6 } })).map((wanted) => [wanted.topic, wanted])
  )
  assert.equal(topics.get('interactions')?.partitions, 6)
  assert.equal(topics.get('user-sequences')?.partitions, 6)
  assert.equal(topics.get('model-updates')?.partitions, 1)
  for (const name of ['items', 'user-sequences', 'model-updates'])
    assert.equal(topics.get(name)?.settings['cleanup.policy'], 'compact')
  // 7 days: 7 · 24 · 3600 · 1000
  assert.equal(topics.get('user-sequences')?.settings['min.compaction.lag.ms'], '604800000')
  // A deleted item stays deleted; an erased user leaves nothing behind.
  const deletions = (name: string) => Number(topics.get(name)?.settings['delete.retention.ms'])
  assert(deletions('items') > 50 * 365 * 86_400_000 && Number.isSafeInteger(deletions('items') + Date.now()))
  assert(Number.isNaN(deletions('user-sequences')))
  assert.equal(topics.get('interactions')?.settings['cleanup.policy'], 'delete')
  assert(topics.has('interactions.mtmi.dlq') && topics.has('interactions.mtmi.late'))
})

test('what is missing is made, what differs is changed, and a number of partitions is only pointed out', () => {
  const wanted = { topic: 't', partitions: 4, settings: { 'cleanup.policy': 'compact' } }
  assert.equal(compareTopic(wanted, undefined).action, 'make')
  assert.equal(
    compareTopic(wanted, { partitions: 4, settings: { 'cleanup.policy': 'compact', other: '1' } }).action,
    'keep'
  )
  const changed = compareTopic(wanted, { partitions: 4, settings: { 'cleanup.policy': 'delete' } })
  assert.equal(changed.action, 'change')
  assert.deepEqual(changed.differences, [{ what: 'cleanup.policy', wanted: 'compact', found: 'delete' }])
  const fewer = compareTopic(wanted, { partitions: 2, settings: { 'cleanup.policy': 'compact' } })
  assert.equal(fewer.action, 'keep')
  assert.match(fewer.differences[0]?.refused ?? '', /other partitions than their histories/)
})
