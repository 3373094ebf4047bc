// Members of a group that come and go while records keep coming: nothing is lost, nothing counts twice, no partition
// has two owners.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { openStageIo } from '../../pipelines/parts.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { ConfigError, MtmiError } from '../../src/core/errors.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import type { EventLog } from '../../src/log/eventLog.ts'
import { brokers, hangMs, kafka, makeTopic, openLog, removeTopics, skip } from './kafka.ts'

const partitions = 8
const bytes = (value: string) => new TextEncoder().encode(value)

/**
 * What all members write to, as a database would be: per partition the values that count, and the next offset, in one
 * step.
 */
class State {
  readonly next = new Map<number, bigint>()
  readonly counted: string[] = []
  readonly owner = new Map<number, Member>()

  get done(): number {
    return this.counted.length
  }
}

class Member {
  readonly #stop = new AbortController()
  readonly #pending = new Map<number, { values: string[]; next: bigint }>()
  readonly #state: State
  readonly log: EventLog
  readonly ended: Promise<void>
  assignments = 0

  constructor(log: EventLog, topic: string, state: State) {
    this.log = log
    this.#state = state
    this.ended = this.#run(topic)
  }

  get owned(): number {
    return [...this.#state.owner.values()].filter((owner) => owner === this).length
  }

  async leave(): Promise<void> {
    this.#stop.abort()
    await this.ended
    await this.log.close()
  }

  async #run(topic: string): Promise<void> {
    const { owner, next } = this.#state
    const resume = async (partition: number) => {
      assert.equal(owner.get(partition), undefined, `partition ${partition} has an owner already`)
      owner.set(partition, this)
      return next.get(partition) ?? 0n
    }
    for await (const event of this.log.read(topic, { resume, signal: this.#stop.signal, group: `group-of-${topic}` })) {
      if (event.kind === 'assigned') this.assignments++
      if (event.kind === 'records') {
        assert.equal(owner.get(event.partition), this, 'records of a partition that is not owned')
        const pending = this.#pending.get(event.partition) ?? { values: [], next: 0n }
        for (const { value, offset } of event.records) {
          assert(offset >= pending.next, 'an offset that was given before')
          pending.values.push(new TextDecoder().decode(value!))
          pending.next = offset + 1n
        }
        this.#pending.set(event.partition, pending)
        if (pending.values.length > 500) this.#commit(event.partition)
      }
      if (event.kind === 'idle') for (const partition of this.#pending.keys()) this.#commit(partition)
      if (event.kind === 'revoked') {
        for (const partition of event.partitions) {
          this.#commit(partition)
          if (owner.get(partition) === this) owner.delete(partition)
        }
      }
    }
  }

  /**
   * Values and offset together, or neither: what is not committed when a partition goes is read again by its next
   * owner.
   */
  #commit(partition: number): void {
    const pending = this.#pending.get(partition)
    if (pending === undefined) return
    this.#state.counted.push(...pending.values)
    this.#state.next.set(partition, pending.next)
    this.#pending.delete(partition)
  }
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const started = performance.now()
  while (!condition()) {
    if (performance.now() - started > 60_000) assert.fail(`not within a minute: ${what}`)
    await pause(20)
  }
}

test('1 → 3 → 2 → 4 → 1 members under load lose and double nothing', { skip, timeout: hangMs }, async () => {
  const topic = await makeTopic(partitions)
  const feeder = await openLog()
  const state = new State()
  const members: Member[] = []
  const join = async () => {
    members.push(new Member(await openLog(), topic, state))
  }
  let sent = 0
  let feeding = true
  const feed = (async () => {
    while (feeding) {
      const block = Array.from({ length: 400 }, () => ({
        key: bytes(`user-${sent % 97}`),
        value: bytes(String(sent++))
      }))
      await feeder.append(topic, block)
      await pause(10)
    }
  })()
  /** Shared out evenly, and every one of them gets on. */
  const settled = async (count: number) => {
    await until(`${count} members share the partitions`, () => {
      const shares = members.map(({ owned }) => owned)
      return shares.reduce((a, b) => a + b, 0) === partitions && Math.max(...shares) - Math.min(...shares) <= 1
    })
    const before = state.done
    await until('records flow', () => state.done > before + 2000)
  }
  try {
    await join()
    await settled(1)
    await Promise.all([join(), join()])
    await settled(3)
    await members.splice(1, 1)[0]!.leave()
    await settled(2)
    await Promise.all([join(), join()])
    await settled(4)
    for (const member of members.splice(0, 3)) await member.leave()
    await settled(1)
    feeding = false
    await feed
    await until('everything is worked off', () => state.done >= sent)
    const counts = new Map<string, number>()
    for (const value of state.counted) counts.set(value, (counts.get(value) ?? 0) + 1)
    assert.deepEqual(
      [...counts].filter(([, count]) => count !== 1),
      []
    )
    assert.equal(counts.size, sent)
  } finally {
    feeding = false
    await feed
    await Promise.all(members.map((member) => member.leave()))
    await feeder.close()
    await removeTopics(topic)
  }
})

test('more members than partitions: those without any wait, say that they are idle, and take over', {
  skip,
  timeout: hangMs
}, async () => {
  const topic = await makeTopic(1)
  const state = new State()
  const members: Member[] = []
  try {
    for (let i = 0; i < 2; i++) members.push(new Member(await openLog(), topic, state))
    await until(
      'one has the partition, both have joined',
      () => members.every(({ assignments }) => assignments > 0) && state.owner.size === 1
    )
    const owner = members.find(({ owned }) => owned === 1)!
    const other = members.find((member) => member !== owner)!
    await other.log.append(topic, [{ key: bytes('k'), value: bytes('1') }])
    await until('the owner reads', () => state.done === 1)
    members.splice(members.indexOf(owner), 1)
    await owner.leave()
    await other.log.append(topic, [{ key: bytes('k'), value: bytes('2') }])
    await until('the other has taken over', () => state.done === 2)
    assert.deepEqual(state.counted, ['1', '2'])
  } finally {
    await Promise.all(members.map((member) => member.leave()))
    await removeTopics(topic)
  }
})

test('a long stretch of work between two events costs nobody its membership', { skip, timeout: hangMs }, async () => {
  const topic = await makeTopic(2)
  const log = await openLog({ sessionTimeoutMs: 5000 })
  const stop = new AbortController()
  const kinds: string[] = []
  try {
    await log.append(topic, [{ key: bytes('k'), value: bytes('1') }])
    for await (const event of log.read(topic, {
      resume: async () => 0n,
      signal: stop.signal,
      group: `group-of-${topic}`
    })) {
      kinds.push(event.kind)
      if (event.kind === 'records') await pause(11_000) // more than two sessions
      if (event.kind === 'idle' && kinds.includes('records')) stop.abort()
    }
    assert.deepEqual(
      kinds.filter((kind) => kind === 'assigned' || kind === 'revoked'),
      ['assigned', 'revoked'],
      'it was given up on abort only'
    )
  } finally {
    await log.close()
    await removeTopics(topic)
  }
})

test('whoever gets a partition back claims it back; the one between is refused from then on', {
  skip,
  timeout: hangMs
}, async () => {
  const topic = await makeTopic(1)
  const [a, b] = [await openLog(), await openLog()]
  try {
    await a.append(topic, [], 'p0')
    await a.append(topic, [{ key: bytes('k'), value: bytes('a1') }], 'p0')
    await b.append(topic, [], 'p0')
    await b.append(topic, [{ key: bytes('k'), value: bytes('b1') }], 'p0')
    await a.append(topic, [], 'p0')
    await a.append(topic, [{ key: bytes('k'), value: bytes('a2') }], 'p0')
    await assert.rejects(
      b.append(topic, [{ key: bytes('k'), value: bytes('b2') }], 'p0'),
      (error) => error instanceof MtmiError && !error.canRetry
    )
    const values: string[] = []
    for await (const event of a.read(topic, {
      resume: async () => 0n,
      signal: new AbortController().signal,
      untilEnd: true
    })) {
      if (event.kind === 'records') for (const { value } of event.records) values.push(new TextDecoder().decode(value!))
    }
    assert.deepEqual(values, ['a1', 'b1', 'a2'])
    // Every transaction leaves a marker behind, so offsets are 0, 2, 4; the end is told without the last marker.
    assert.equal((await a.ends(topic)).get(0), 5n)
  } finally {
    await a.close()
    await b.close()
    await removeTopics(topic)
  }
})

test('a member is refused where another program is in its group, which is refused where the member came first', {
  skip,
  timeout: hangMs
}, async () => {
  const [topic, other] = [await makeTopic(2), await makeTopic(2)]
  const group = `group-of-${topic}`
  const stranger = kafka.consumer({ groupId: `mtmi.${group}.live.${topic}`, retry: { retries: 0 } })
  const log = await openLog()
  const stop = new AbortController()
  const read = async (onJoin = () => {}) => {
    for await (const { kind } of log.read(topic, { resume: async () => 0n, signal: stop.signal, group }))
      if (kind === 'assigned') onJoin()
  }
  try {
    await stranger.connect()
    await stranger.subscribe({ topic: other })
    const joined = new Promise((resolve) => stranger.on(stranger.events.GROUP_JOIN, resolve))
    await stranger.run({ eachMessage: async () => {} })
    await joined
    await assert.rejects(
      read(),
      (error) =>
        error instanceof ConfigError &&
        error.message.includes(
          `group mtmi.${group}.live.${topic} cannot read ${topic}: it has members of another program`
        )
    )
    await stranger.stop()

    let reading = Promise.resolve()
    await new Promise<void>((resolve, reject) => {
      reading = read(resolve)
      reading.catch(reject)
    })
    const crashed = new Promise<Error>((resolve) => {
      stranger.on(stranger.events.CRASH, ({ payload }) => resolve(payload.error))
    })
    const [error] = await Promise.all([crashed, stranger.run({ eachMessage: async () => {} }).catch(() => {})])
    assert.equal((error as Error & { type?: string }).type, 'INCONSISTENT_GROUP_PROTOCOL')
    stop.abort()
    await reading
  } finally {
    stop.abort()
    await stranger.disconnect()
    await log.close()
    await removeTopics(topic, other)
  }
})

test('members are named after their run and their place in it', { skip, timeout: hangMs }, async () => {
  const topic = await makeTopic(1)
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-client-id-'))
  const config = resolveConfig({ log: 'kafka', dataDir: folder, kafka: { brokers } }, {})
  const io = await openStageIo(config, new RunDirectory(folder, 'shop'), 'sequence-0')
  const stop = new AbortController()
  const admin = kafka.admin()
  await admin.connect()
  try {
    const options = { resume: async () => 0n, signal: stop.signal, group: 'mtmi-sequence' }
    for await (const { kind } of io.log.read(topic, options)) {
      if (kind !== 'assigned') continue
      const { groups } = await admin.describeGroups([`mtmi.mtmi-sequence.shop.${topic}`])
      assert.deepEqual(
        groups[0]!.members.map(({ clientId }) => clientId),
        ['mtmi-shop-sequence-0']
      )
      stop.abort()
    }
  } finally {
    await admin.disconnect()
    await io.log.close()
    await removeTopics(topic)
    rmSync(folder, { recursive: true })
  }
})
