// The sequencer as a fold: batches, commits, crashes and sweeps leave no trace in the histories, and every fresh step
// passes the filter once.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { cutExamples } from '../../src/records/cutExamples.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { extrasOf, type UserSequence } from '../../src/records/userSequence.ts'
import { type ExpiredUser, restoreStore } from '../../src/sequence/restoreStore.ts'
import { Sequencer, type SequencerOptions } from '../../src/sequence/sequencer.ts'
import { RepeatFilter } from '../../src/train/repeatFilter.ts'
import { MemoryDisk, MemorySequenceStore } from '../support/memorySequenceStore.ts'
import { canonicalWindow, liveWindows } from '../support/windows.ts'

interface Logged {
  readonly interaction: Interaction
  readonly offset: bigint
}

/** What a process does next; the order of these is drawn at random. */
type Action =
  | { readonly kind: 'accept'; readonly count: number }
  | { readonly kind: 'emit' }
  | { readonly kind: 'commit' }
  /** After emitting, but only the first `share` of what was taken reached the topic; nothing of it is committed. */
  | { readonly kind: 'crash'; readonly share: number }

const partition = 3

// Few users, ids and times, so that repeats, ties, late events and expiry are all common.
const log: fc.Arbitrary<Logged[]> = fc
  .array(
    fc.record({
      user: fc.nat(3),
      event: fc.nat(60),
      gap: fc.oneof({ arbitrary: fc.nat(3), weight: 20 }, { arbitrary: fc.nat(150), weight: 1 }),
      back: fc.oneof({ arbitrary: fc.nat(12), weight: 5 }, { arbitrary: fc.nat(200), weight: 1 }),
      skip: fc.nat(2),
      type: fc.constantFrom('click', 'click', 'click', 'click', 'seen', 'other', 'dislike', 'hide', 'unhide'),
      again: fc.oneof({ arbitrary: fc.constant(0), weight: 3 }, { arbitrary: fc.nat(10), weight: 1 })
    }),
    { maxLength: 80 }
  )
  .map((parts) => {
    let nowMs = 1000
    let offset = 0n
    const logged: Logged[] = []
    parts.forEach(({ user, gap, back, skip, type, again }, i) => {
      nowMs += gap
      offset += BigInt(skip) + 1n
      const earlier = logged[i - again]
      if (again > 0 && earlier !== undefined) {
        logged.push({ interaction: earlier.interaction, offset })
        return
      }
      const interaction = {
        eventId: `event ${i}`,
        userId: `user ${user}`,
        itemId: `item ${i % 17}`,
        type,
        eventTimeMs: Math.max(0, nowMs - back),
        ...(type === 'hide' && i % 2 === 0 ? { value: 1 } : {})
      }
      logged.push({
        interaction:
          i % 2 === 0
            ? interaction
            : { ...interaction, source: { topic: 't', partition: i % 3, offset: BigInt(1000 - i) } },
        offset
      })
    })
    return logged
  })

const actions: fc.Arbitrary<Action[]> = fc.array(
  fc.oneof(
    {
      arbitrary: fc.record({ kind: fc.constant('accept' as const), count: fc.integer({ min: 1, max: 15 }) }),
      weight: 4
    },
    { arbitrary: fc.constant({ kind: 'emit' as const }), weight: 3 },
    { arbitrary: fc.constant({ kind: 'commit' as const }), weight: 2 },
    {
      arbitrary: fc.record({ kind: fc.constant('crash' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
      weight: 1
    }
  ),
  { maxLength: 60 }
)

const options: fc.Arbitrary<SequencerOptions> = fc
  .record({
    historyMax: fc.integer({ min: 1, max: 8 }),
    historyAgeMaxMs: fc.integer({ min: 0, max: 80 }),
    graceMs: fc.integer({ min: 0, max: 20 }),
    beyondMs: fc.nat(60),
    recentMax: fc.constantFrom(2, 100)
  })
  .map(({ beyondMs, ...rest }) => ({ ...rest, idleMaxMs: rest.historyAgeMaxMs + beyondMs }))

type Record = UserSequence | ExpiredUser

/**
 * Runs the log through processes that live and die as the actions say; to `finish`, what is left is accepted, emitted
 * and committed.
 */
async function run(
  logged: readonly Logged[],
  script: readonly Action[],
  limits: SequencerOptions,
  disk = new MemoryDisk(),
  topic: Record[] = [],
  finish = true
) {
  const begin = () =>
    new Sequencer({
      store: new MemorySequenceStore(disk),
      partition,
      options: limits,
      eventTypes: { click: 1, seen: 0 }
    })
  const from = (next: bigint) => {
    const at = logged.findIndex((each) => each.offset >= next)
    return at < 0 ? logged.length : at
  }
  let sequencer = begin()
  let at = from(disk.next)
  const accept = (count: number) => {
    for (const end = Math.min(logged.length, at + count); at < end; at++)
      sequencer.accept(logged[at]!.interaction, logged[at]!.offset, at)
  }
  const emit = (share = 1) => {
    const { sequences, expired } = sequencer.take()
    const records: Record[] = [...sequences, ...expired.map((userId) => ({ userId, expired: true as const }))]
    topic.push(...records.slice(0, Math.round(records.length * share)))
  }
  for (const action of script) {
    if (action.kind === 'accept') accept(action.count)
    else if (action.kind === 'emit') emit()
    else if (action.kind === 'commit') {
      emit()
      await sequencer.commit(at === 0 ? 0n : logged[at - 1]!.offset + 1n)
    } else {
      emit(action.share)
      sequencer = begin()
      at = from(disk.next)
    }
  }
  if (!finish) return { disk, topic }
  accept(logged.length)
  emit()
  await sequencer.commit((logged.at(-1)?.offset ?? -1n) + 1n)
  return { disk, topic }
}

function histories(disk: MemoryDisk, limits: SequencerOptions): string[] {
  return [...liveWindows(new MemorySequenceStore(disk), limits.idleMaxMs)].map(([userId, window]) =>
    Buffer.from(canonicalWindow(userId, window)).toString()
  )
}

/** offset → item, for each fresh step that passes; every one must pass once. */
function passed(topic: readonly Record[], reload = false): Map<bigint, string> {
  const found = new Map<bigint, string>()
  let filter = new RepeatFilter()
  for (const record of topic) {
    if ('expired' in record) continue
    const admitted = filter.admit(record)
    for (const { position, offset } of admitted.fresh) {
      assert.ok(!found.has(offset), `offset ${offset} passed twice`)
      found.set(offset, admitted.steps[position]!.itemId)
    }
    if (reload) filter = RepeatFilter.from(JSON.parse(JSON.stringify(filter.state())))
  }
  return found
}

test('batches, commits, crashes and sweeps make no difference to the histories', async () => {
  await fc.assert(
    fc.asyncProperty(log, actions, options, async (logged, script, limits) => {
      const undisturbed = await run(logged, [], limits)
      const disturbed = await run(logged, script, limits)
      assert.deepEqual(histories(disturbed.disk, limits), histories(undisturbed.disk, limits))
      assert.equal(disturbed.disk.watermarkMs, undisturbed.disk.watermarkMs)
      assert.equal(disturbed.disk.next, undisturbed.disk.next)
    }),
    { numRuns: 1500 }
  )
})

test('whatever the crashes, every fresh step passes the filter exactly once, and it is the step of an undisturbed run', async () => {
  await fc.assert(
    fc.asyncProperty(log, actions, options, fc.boolean(), async (logged, script, limits, reload) => {
      const undisturbed = await run(logged, [], limits)
      const expected = new Map<bigint, string>()
      for (const record of undisturbed.topic) {
        if ('expired' in record) continue
        for (const { position, offset } of record.fresh) expected.set(offset, record.steps[position]!.itemId)
      }
      for (const [offset, itemId] of expected) {
        assert.equal(logged.find((each) => each.offset === offset)?.interaction.itemId, itemId)
      }
      const disturbed = await run(logged, script, limits)
      assert.deepEqual(new Map([...passed(disturbed.topic, reload)].sort()), new Map([...expected].sort()))
    }),
    { numRuns: 1500 }
  )
})

test('which steps are examples is decided when they are placed: batches and crashes make no difference', async () => {
  const examples = (topic: readonly Record[]) => {
    const filter = new RepeatFilter()
    const sequences = topic
      .filter((record): record is UserSequence => !('expired' in record))
      .map((record) => filter.admit(record))
    return sequences.flatMap((sequence) => cutExamples(sequence, () => 1).map(({ source }) => source.offset)).sort()
  }
  await fc.assert(
    fc.asyncProperty(log, actions, options, async (logged, script, limits) => {
      const oneByOne: Action[] = logged.flatMap(() => [{ kind: 'accept', count: 1 }, { kind: 'emit' }])
      const expected = examples((await run(logged, oneByOne, limits)).topic)
      assert.deepEqual(examples((await run(logged, script, limits)).topic), expected)
      assert.deepEqual(examples((await run(logged, [], limits)).topic), expected)
    }),
    { numRuns: 1500 }
  )
})

test('the latest record of each user is what the store holds', async () => {
  await fc.assert(
    fc.asyncProperty(log, actions, options, async (logged, script, limits) => {
      const { disk, topic } = await run(logged, script, limits)
      const latest = new Map<string, Record>()
      for (const record of topic) latest.set(record.userId, record)
      for (const [userId, window] of liveWindows(new MemorySequenceStore(disk), limits.idleMaxMs)) {
        const record = latest.get(userId)
        assert.ok(record !== undefined && !('expired' in record))
        const { steps, recent, newestMs } = record
        assert.deepEqual({ steps, recent, newestMs, ...extrasOf(record) }, window)
      }
    })
  )
})

test('a store restored from the topic, compacted or not, goes on to the same histories, and nothing passes twice or is lost', async () => {
  await fc.assert(
    fc.asyncProperty(
      log,
      actions,
      options,
      fc.boolean(),
      fc.integer({ min: 1, max: 40 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      async (logged, script, wide, compacted, cut, share) => {
        // The provisos: event time does not leap by more than idleMaxMs within what is read again, and a user's ids
        // within the grace are all remembered.
        const limits = { ...wide, idleMaxMs: 1_000_000, recentMax: 100 }
        const undisturbed = await run(logged, [], limits)
        const disk = new MemoryDisk()
        const topic: Record[] = []
        // A machine that dies somewhere, with part of what it had just taken in the topic, and its disk lost.
        await run(
          logged,
          [...script, { kind: 'accept', count: cut }, { kind: 'crash', share }],
          limits,
          disk,
          topic,
          false
        )
        const records = compacted ? [...new Map(topic.map((record) => [record.userId, record])).values()] : topic
        const restored = new MemoryDisk()
        const { next } = await restoreStore(new MemorySequenceStore(restored), partition, records)
        assert.ok(next <= disk.next)
        await run(logged, script, limits, restored, topic)
        assert.deepEqual(histories(restored, limits), histories(undisturbed.disk, limits))
        assert.deepEqual(new Map([...passed(topic)].sort()), new Map([...passed(undisturbed.topic)].sort()))
      }
    ),
    { numRuns: 1000 }
  )
})

test('a partition that goes from owner to owner, each with a disk that was left behind, keeps the same histories, and nothing passes twice or is lost', async () => {
  const turns = fc.array(
    fc.record({
      owner: fc.nat(2),
      script: actions,
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      gracefully: fc.boolean()
    }),
    {
      minLength: 1,
      maxLength: 6
    }
  )
  await fc.assert(
    fc.asyncProperty(log, turns, options, fc.boolean(), async (logged, sequence, wide, compacted) => {
      const limits = { ...wide, idleMaxMs: 1_000_000, recentMax: 100 } // the same provisos
      const undisturbed = await run(logged, [], limits)
      const topic: Record[] = []
      const owners = Array.from({ length: 3 }, () => ({ disk: new MemoryDisk(), held: 0 }))
      const takeOver = async (owner: number) => {
        const { disk, held } = owners[owner]!
        const store = new MemorySequenceStore(disk)
        const missing = topic.slice(store.committed() === 0n ? 0 : held)
        const records = compacted ? [...new Map(missing.map((record) => [record.userId, record])).values()] : missing
        await restoreStore(store, partition, records)
        owners[owner]!.held = topic.length
        return disk
      }
      for (const { owner, script, share, gracefully } of sequence) {
        const end: Action = gracefully ? { kind: 'commit' } : { kind: 'crash', share }
        await run(logged, [...script, end], limits, await takeOver(owner), topic, false)
      }
      const last = await takeOver(0)
      await run(logged, [], limits, last, topic)
      assert.deepEqual(histories(last, limits), histories(undisturbed.disk, limits))
      assert.deepEqual(new Map([...passed(topic)].sort()), new Map([...passed(undisturbed.topic)].sort()))
    }),
    { numRuns: 1000 }
  )
})

test('restore takes only its own partition, forgets the expired, and can be done again after it was cut short', async () => {
  const sequence = (userId: string, of: number, itemId: string, committed: bigint): UserSequence => ({
    userId,
    steps: [{ itemId, type: 'click', eventTimeMs: 5 }],
    recent: [{ idHash: -1n, eventTimeMs: 5 }],
    newestMs: 5,
    fresh: [],
    partition: of,
    committed,
    watermarkMs: Number(committed),
    acceptedAtMs: 0
  })
  const disk = new MemoryDisk()
  const store = new MemorySequenceStore(disk)
  store.put('left over', sequence('', partition, 'x', 0n))
  await store.commit(0n, 0)
  const records = [
    sequence('u', partition, 'old', 4n),
    sequence('v', partition, 'b', 9n),
    sequence('w', partition, 'c', 2n),
    sequence('other', 1, 'd', 99n),
    { userId: 'w', expired: true } as const,
    sequence('u', partition, 'new', 7n)
  ]
  assert.deepEqual(await restoreStore(store, partition, records), {
    users: 2,
    next: 9n,
    changes: 5,
    outdated: new Set()
  })
  assert.equal(store.get('u')?.steps[0]?.itemId, 'new')
  assert.equal(store.get('u')?.recent[0]?.idHash, -1n)
  assert.equal(store.watermarkMs(), 9)
})

test('the filter forgets what is below the floor: its memory is what was emitted since the last commit', () => {
  const filter = new RepeatFilter()
  const record = (committed: bigint, offsets: bigint[]) =>
    ({
      userId: 'u',
      steps: [],
      recent: [],
      newestMs: 0,
      fresh: offsets.map((offset, position) => ({ position, offset })),
      partition,
      committed,
      watermarkMs: 0,
      acceptedAtMs: 0
    }) satisfies UserSequence
  const first = record(0n, [0n, 2n, 5n])
  assert.equal(filter.admit(first), first)
  assert.equal(filter.size, 3)
  assert.deepEqual(filter.admit(record(4n, [5n, 6n])).fresh, [{ position: 1, offset: 6n }])
  assert.equal(filter.size, 2)
  assert.deepEqual(filter.state(), { '3': { floor: '4', seen: ['5', '6'] } })
  assert.deepEqual(filter.admit(record(7n, [])).fresh, [])
  assert.equal(filter.size, 0)
  assert.deepEqual(filter.admit({ ...record(0n, [1n]), partition: 4 }).fresh, [{ position: 0, offset: 1n }])
})

test('an example is a fresh step with at least one step before it and a type of positive weight', () => {
  const step = (itemId: string, type: string) => ({ itemId, type, eventTimeMs: 1 })
  const sequence: UserSequence = {
    userId: 'u',
    steps: [step('a', 'click'), step('b', 'purchase'), step('c', 'seen'), step('d', 'gone'), step('e', 'click')],
    recent: [],
    newestMs: 1,
    fresh: [0, 1, 2, 3, 4].map((position) => ({ position, offset: BigInt(10 + position) })),
    partition,
    committed: 0n,
    watermarkMs: 1,
    acceptedAtMs: 0
  }
  const weights = new Map([
    ['click', 1],
    ['purchase', 3],
    ['seen', 0]
  ])
  assert.deepEqual(
    cutExamples(sequence, (type) => weights.get(type)).map(({ history, target, source, weight, userId }) => [
      userId,
      history.map((each) => each.itemId).join(''),
      target.itemId,
      source,
      weight
    ]),
    [
      ['u', 'a', 'b', { partition, offset: 11n }, 3],
      ['u', 'abcd', 'e', { partition, offset: 14n }, 1]
    ]
  )
})
