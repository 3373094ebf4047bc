import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BadEventError, CorruptError } from '../../src/core/errors.ts'
import { hashKey } from '../../src/core/hashKey.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { Sequencer, type SequencerOptions } from '../../src/sequence/sequencer.ts'
import { MemoryDisk, MemorySequenceStore } from '../support/memorySequenceStore.ts'
import { readSeen } from '../support/seenItems.ts'

const options: SequencerOptions = { historyMax: 4, historyAgeMaxMs: 1000, graceMs: 10, idleMaxMs: 2000, recentMax: 100 }

function start(disk = new MemoryDisk(), limits = options) {
  const store = new MemorySequenceStore(disk)
  return {
    store,
    disk,
    sequencer: new Sequencer({ store, partition: 5, options: limits, eventTypes: { click: 1, seen: 0 } })
  }
}

function click(userId: string, itemId: string, eventTimeMs: number, more: Partial<Interaction> = {}): Interaction {
  return { eventId: `${userId} ${itemId}`, userId, itemId, type: 'click', eventTimeMs, ...more }
}

test('a user with new steps is emitted once per take, with the window and the positions of what is new in it', () => {
  const { sequencer } = start()
  assert.equal(sequencer.accept(click('u', 'a', 100), 7n, 1000), 'placed')
  assert.equal(sequencer.accept(click('v', 'x', 100), 8n, 1001), 'placed')
  assert.equal(sequencer.accept(click('u', 'b', 105), 9n, 1002), 'placed')
  assert.equal(sequencer.accept(click('u', 'c', 103), 12n, 1003), 'placed')
  const { sequences, expired } = sequencer.take()
  assert.deepEqual(expired, [])
  assert.deepEqual(
    sequences.map((sequence) => sequence.userId),
    ['u', 'v']
  )
  const [u] = sequences
  assert.deepEqual(
    u?.steps.map((step) => step.itemId),
    ['a', 'c', 'b']
  )
  assert.deepEqual(u?.fresh, [
    { position: 0, offset: 7n },
    { position: 1, offset: 12n },
    { position: 2, offset: 9n }
  ])
  assert.equal(u?.partition, 5)
  assert.equal(u?.committed, 0n)
  assert.equal(u?.watermarkMs, 105)
  assert.equal(u?.acceptedAtMs, 1003)
  assert.deepEqual(sequencer.take(), { sequences: [], expired: [], erased: [] })
})

test('an interaction without a source has its own record as the source', () => {
  const { sequencer } = start()
  sequencer.accept(click('u', 'a', 100), 7n, 0)
  sequencer.accept(click('u', 'b', 101, { source: { topic: 'web', partition: 2, offset: 70n } }), 8n, 0)
  assert.deepEqual(
    sequencer.take().sequences[0]?.steps.map((step) => step.source),
    [
      { partition: 5, offset: 7n },
      { partition: 2, offset: 70n }
    ]
  )
})

test('a type that is not configured is ignored, and does not move the watermark; one of weight 0 is kept', () => {
  const { sequencer } = start()
  assert.equal(sequencer.accept(click('u', 'a', 100), 0n, 0), 'placed')
  assert.equal(sequencer.accept(click('u', 'b', 9999, { type: 'toString' }), 1n, 0), 'ignored')
  assert.equal(sequencer.watermarkMs, 100)
  assert.equal(sequencer.accept(click('u', 'c', 101, { type: 'seen' }), 2n, 0), 'placed')
  assert.deepEqual(sequencer.report(), {
    account: {
      reader: 'sequence',
      read: 3,
      outcomes: { placed: 2, feedback: 0, erasure: 0, duplicate: 0, late: 0, ignored: 1, rejected: 0 },
      waiting: 0
    },
    ignoredTypes: { named: [['toString', 1]], other: 0 },
    ...{ forgotten: 0, expired: 0 }
  })
})

test('what a user does not want is kept beside the steps, is no step, and is emitted at once', () => {
  const { sequencer } = start(new MemoryDisk(), { ...options, idleMaxMs: 1e9 })
  assert.equal(sequencer.accept(click('u', 'a', 100), 0n, 0), 'placed')
  sequencer.take()
  const hide = click('u', 'b', 5000, { type: 'hide', value: 2 })
  assert.equal(sequencer.accept(hide, 1n, 7), 'feedback')
  assert.equal(sequencer.accept(click('v', 'b', 5000, { type: 'dislike', value: -1 }), 2n, 7), 'feedback')
  assert.equal(sequencer.accept(hide, 3n, 7), 'duplicate')
  const [u, v] = sequencer.take().sequences
  assert.deepEqual([u!.steps.map(({ itemId }) => itemId), u!.fresh, u!.acceptedAtMs], [['a'], [], 7])
  assert.deepEqual(u!.feedback, [
    { itemId: 'b', type: 'hide', eventTimeMs: 5000, untilMs: 5000 + 2 * 86_400_000, offset: 1n }
  ])
  assert.deepEqual([v!.steps, v!.feedback], [[], [{ itemId: 'b', type: 'dislike', eventTimeMs: 5000, offset: 2n }]])
  assert.equal(sequencer.accept(click('v', 'b', 6000, { type: 'unhide' }), 4n, 8), 'feedback')
  assert.equal(sequencer.accept(click('v', 'c', 6000), 5n, 9), 'placed')
  const [later] = sequencer.take().sequences
  assert.deepEqual([later!.fresh.length, later!.feedback![0]!.type, later!.acceptedAtMs], [1, 'unhide', 9])
})

test('a step that leaves a full window stays known as seen', () => {
  const { sequencer } = start(new MemoryDisk(), { ...options, historyMax: 2, historyAgeMaxMs: 1e9, idleMaxMs: 1e9 })
  for (const [i, item] of ['a', 'b', 'c', 'd'].entries()) sequencer.accept(click('u', item, 60_000 * i), BigInt(i), 0)
  const last = sequencer.take().sequences.at(-1)!
  assert.deepEqual(
    readSeen(last.seen!).map(({ hash, type, atMs }) => [hash, type, atMs]),
    [
      [hashKey('a'), 'click', 0],
      [hashKey('b'), 'click', 60_000]
    ]
  )
})

test('fresh positions follow what is inserted before them and what falls off', () => {
  const { sequencer } = start(new MemoryDisk(), { ...options, historyMax: 10 })
  for (let i = 1; i <= 9; i++) sequencer.accept(click('u', `${i}`, 98 + 2 * i), BigInt(i), 0)
  sequencer.take()
  sequencer.accept(click('u', 'd', 120), 10n, 0) // 1 … 9 d
  sequencer.accept(click('u', 'e', 119), 11n, 0) // 2 … 9 e d
  sequencer.accept(click('u', 'f', 118), 12n, 0) // 3 … 9 f e d
  const [sequence] = sequencer.take().sequences
  assert.deepEqual(
    sequence?.steps.map((step) => step.itemId),
    ['3', '4', '5', '6', '7', '8', '9', 'f', 'e', 'd']
  )
  assert.deepEqual(sequence?.fresh, [
    { position: 7, offset: 12n },
    { position: 8, offset: 11n },
    { position: 9, offset: 10n }
  ])
})

test('of a burst no fresh step is lost, and none loses more than a fifth of its history: it goes out in several records', () => {
  const { sequencer } = start(new MemoryDisk(), { ...options, historyMax: 10 })
  for (let i = 0; i < 18; i++) sequencer.accept(click('u', `${i}`, 100 + i), BigInt(i), i)
  const { sequences } = sequencer.take()
  assert.deepEqual(
    sequences.map((sequence) =>
      sequence.fresh.map((fresh) => `${fresh.offset}=${sequence.steps[fresh.position]?.itemId}`)
    ),
    [
      ['0=0', '1=1', '2=2', '3=3', '4=4', '5=5', '6=6', '7=7', '8=8', '9=9'],
      // Step 10 pushes out 0, which is fresh. Then 2 of 10 steps may be missing: 13 would make it 3.
      ['10=10', '11=11', '12=12'],
      ['13=13', '14=14', '15=15'],
      ['16=16', '17=17']
    ]
  )
  assert.deepEqual(
    sequences.map((sequence) => sequence.acceptedAtMs),
    [9, 12, 15, 17]
  )
  // A full history of step 10 would be 1 … 9; in its record 3 … 9 are left of it.
  assert.equal(sequences[1]?.fresh[0]?.position, 7)
})

test('a user is gone when the partition has moved on by more than idleMaxMs, swept or not, and an event that old is late', async () => {
  const { sequencer } = start()
  sequencer.accept(click('u', 'a', 100), 0n, 0)
  sequencer.accept(click('v', 'b', 2100), 1n, 0)
  assert.equal(sequencer.accept(click('u', 'c', 100), 2n, 0), 'placed') // exactly idleMaxMs old: still there
  sequencer.accept(click('v', 'd', 2101), 3n, 0)
  assert.equal(sequencer.accept(click('u', 'e', 100), 4n, 0), 'late')
  assert.equal(sequencer.accept(click('u', 'f', 101), 5n, 0), 'placed')
  const windows = sequencer.take().sequences.filter((sequence) => sequence.userId === 'u')
  // What u had before is emitted, for its steps are examples; then u is there anew.
  assert.deepEqual(
    windows.map((sequence) => sequence.steps.map((step) => step.itemId)),
    [['a', 'c'], ['f']]
  )
})

test('expired users are named once the sweep finds them, unless they have come back', async () => {
  const { sequencer, store } = start()
  for (const user of ['u', 'v', 'w']) sequencer.accept(click(user, 'a', 100), BigInt(user.charCodeAt(0)), 0)
  sequencer.take()
  await sequencer.commit(200n)
  sequencer.accept(click('w', 'b', 5000), 200n, 0)
  sequencer.accept(click('v', 'b', 5000), 201n, 0)
  const { sequences, expired } = sequencer.take()
  assert.deepEqual(expired, ['u'])
  assert.deepEqual(
    sequences.map((sequence) => sequence.steps.length),
    [1, 1]
  )
  await sequencer.commit(202n)
  assert.equal(store.userCount(), 2)
  assert.equal(sequencer.report().expired, 1)
  assert.deepEqual(sequencer.take().expired, [])
})

test('after a crash before the commit, the same records make the same record again', async () => {
  const { sequencer, disk } = start()
  sequencer.accept(click('u', 'a', 100), 0n, 0)
  sequencer.take()
  await sequencer.commit(1n)
  const batch = (to: Sequencer) => {
    to.accept(click('u', 'b', 105), 1n, 9)
    to.accept(click('u', 'b', 105), 2n, 9)
    to.accept(click('u', 'c', 103), 3n, 9)
    return to.take()
  }
  const first = batch(sequencer)
  assert.deepEqual(first.sequences[0]?.committed, 1n)
  assert.deepEqual(batch(start(disk).sequencer), first)
})

test('committing what was not taken, or less than was accepted, is our bug; reading below the state is another log', async () => {
  const { sequencer, disk } = start()
  sequencer.accept(click('u', 'a', 100), 3n, 0)
  await assert.rejects(sequencer.commit(4n), /were not taken/)
  sequencer.take()
  await assert.rejects(sequencer.commit(3n), /counted twice/)
  await sequencer.commit(6n)
  assert.throws(() => sequencer.accept(click('u', 'b', 101), 5n, 0), CorruptError)
  sequencer.accept(click('u', 'b', 101), 8n, 0)
  assert.throws(() => sequencer.accept(click('u', 'c', 101), 8n, 0), /after offset 8/)
  assert.throws(() => start(disk).sequencer.accept(click('u', 'c', 101), 0n, 0), /mtmi reset/)
})

test('an event time that is none is a bad event, and leaves no trace', () => {
  const { sequencer } = start()
  for (const [i, time] of [Number.NaN, -1, 1.5, Number.POSITIVE_INFINITY, 2 ** 53].entries()) {
    assert.throws(() => sequencer.accept(click('u', 'a', time), BigInt(i), 0), BadEventError)
  }
  assert.equal(sequencer.watermarkMs, 0)
  assert.deepEqual(sequencer.take().sequences, [])
  assert.equal(sequencer.accept(click('u', 'a', 1), 5n, 0), 'placed')
})

test('counts go on where the last commit left them, in another process as well', async () => {
  const disk = new MemoryDisk()
  const first = start(disk)
  first.sequencer.accept(click('u', 'a', 100), 0n, 0)
  first.sequencer.reject(1n)
  first.sequencer.take()
  await first.sequencer.commit(2n)
  first.sequencer.reject(2n) // not committed: read again
  const second = start(disk)
  second.sequencer.reject(2n)
  second.sequencer.accept(click('u', 'a', 100), 3n, 0)
  const { read, outcomes } = second.sequencer.report().account
  assert.deepEqual([read, outcomes.placed, outcomes.duplicate, outcomes.rejected], [4, 1, 1, 2])
})

test('an erased user is forgotten with what was not taken yet, and begins anew', async () => {
  const { sequencer, disk } = start()
  sequencer.accept(click('u', 'a', 100), 0n, 0)
  sequencer.accept(click('v', 'x', 100), 1n, 0)
  sequencer.take()
  await sequencer.commit(2n)
  sequencer.accept(click('u', 'b', 101), 2n, 0)
  sequencer.erase('u', 3n)
  sequencer.erase('nobody', 4n)
  sequencer.accept(click('u', 'a', 100), 5n, 0) // the very event again: nothing remembers it
  const { sequences, expired, erased } = sequencer.take()
  assert.deepEqual([expired, erased], [[], ['u', 'nobody']])
  assert.deepEqual(
    sequences.map(({ userId, steps, fresh }) => [
      userId,
      steps.map(({ itemId }) => itemId),
      fresh.map(({ offset }) => offset)
    ]),
    [['u', ['a'], [5n]]]
  )
  await sequencer.commit(6n)
  assert.deepEqual(sequencer.take().erased, [])
  sequencer.erase('u', 6n)
  await assert.rejects(sequencer.commit(7n), /not taken/)
  sequencer.take()
  await sequencer.commit(7n)
  const again = start(disk)
  assert.deepEqual([again.store.get('u'), again.store.get('v') === undefined], [undefined, false])
  assert.throws(() => again.sequencer.erase('v', 3n), CorruptError)
})
