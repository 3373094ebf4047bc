// What happens to the pipeline from outside: clicks, a catalogue, erasures, and records that should not be there. All
// of it drawn from the seed.

import { erasureEvent } from '../../src/log/erasure.ts'
import type { NewRecord } from '../../src/log/eventLog.ts'
import type { SimBroker } from './simBroker.ts'
import { epochMs, type World } from './world.ts'

/** Topics of others. */
export const clicks = 'clicks'
export const goods = 'goods'

const text = new TextEncoder()
const json = (value: unknown) => text.encode(JSON.stringify(value))

/** Names that a plain object answers to, beside ordinary ones. */
const itemIds = ['i0', 'i1', 'i2', 'i3', 'i4', 'i5', 'i6', 'i7', 'constructor', '__proto__']
const userIds = ['u0', 'u1', 'u2', 'u3', 'u4', 'u5', 'u6', 'toString', 'ü7']
const colours = ['red', 'green', 'blue']

export interface Scenario {
  /** So long something comes, milliseconds. */
  readonly lengthMs: number
  /** Events that every history may hold. */
  readonly events: number
}

/** Appends everything to the log, at its time. @returns when it is over */
export function play(world: World, broker: SimBroker): Scenario {
  const lengthMs = world.between(20_000, 120_000)
  const events = 30 + world.rng.integer(90)
  const newestMs = new Map<string, number>()
  const at = (ms: number, what: string, act: () => void) =>
    world.schedule(world.outside, ms, () => {
      world.trace('outside', what)
      act()
    })
  for (let number = 0; number < events; number++) {
    const atMs = lengthMs * world.rng.uniform()
    const user = world.pick(userIds)
    const item = world.pick(itemIds)
    const type = world.chance(0.05) ? 'hover' : world.chance(0.2) ? 'purchase' : 'click'
    at(atMs, `${user} ${type} ${item}`, () => {
      const newest = newestMs.get(user) ?? epochMs - 86_400_000
      // Some come out of order, a few of them too late.
      const time = world.chance(0.15)
        ? newest - 1000 * world.rng.integer(90)
        : newest + 1000 * (1 + world.rng.integer(30))
      newestMs.set(user, Math.max(newest, time))
      const record = { key: text.encode(user), value: json({ id: `e${number}`, user, item, type, time }) }
      broker.append(clicks, world.chance(0.05) ? [record, record] : [record])
    })
  }
  for (const [i, item] of itemIds.entries()) {
    for (let change = 0; change < 1 + world.rng.integer(2); change++) {
      const atMs = i < 5 && change === 0 ? 0 : lengthMs * world.rng.uniform()
      const isGone = atMs > 0 && world.chance(0.25)
      at(atMs, `catalogue has ${isGone ? 'no more' : ''} ${item}`, () => {
        const value = isGone ? null : json({ item, title: `${item}.${change}`, colour: world.pick(colours) })
        broker.append(goods, [{ key: text.encode(item), value }])
      })
    }
  }
  if (world.chance(0.5))
    for (let i = 0; i < 1 + world.rng.integer(3); i++) {
      const user = world.pick(userIds)
      at(lengthMs * world.rng.uniform(), `${user} is to be erased`, () =>
        broker.append('interactions', [erasureEvent(user)])
      )
    }
  if (world.chance(0.5))
    for (let i = 0; i < 1 + world.rng.integer(5); i++) {
      const [topic, record] = world.pick(poison)
      at(lengthMs * world.rng.uniform(), `poison in ${topic}`, () => broker.append(topic, [record]))
    }
  if (world.chance(0.3))
    for (let i = 0; i < 1 + world.rng.integer(4); i++) {
      const topic = world.pick(compacted)
      // A key of its own: compaction keeps the newest record of a key, whatever it holds.
      const record = { key: text.encode(`poison-${i}`), value: world.pick(noRecords) }
      at(lengthMs * world.rng.uniform(), `poison in ${topic}`, () => broker.append(topic, [record]))
    }
  return { lengthMs, events }
}

/**
 * Last of all, so that the trainer sends its weights once more: vectors of users are made again when these move, not
 * when a row does. Two clicks: the first of a new history is no example.
 */
export function playLast(world: World, broker: SimBroker): void {
  const user = world.pick(userIds)
  world.trace('outside', `${user} clicks i0 twice, last of all`)
  const click = (id: string, time: number) => ({
    key: text.encode(user),
    value: json({ id, user, item: 'i0', type: 'click', time })
  })
  broker.append(clicks, [click('last but one', epochMs), click('last', epochMs + 1)])
}

/** Topics that keep the newest record of each key. */
const compacted = ['items', 'user-sequences', 'model-updates']
const noRecords = [text.encode('no Avro'), Uint8Array.of(0, 0, 0, 0, 99, 1, 2, 3), new Uint8Array(0)]

const key = text.encode('u1')
/** Neither ours nor anybody's. */
const poison: readonly (readonly [topic: string, record: NewRecord])[] = [
  [clicks, { key, value: text.encode('{"user":') }],
  [clicks, { key, value: json({ id: 'x', user: 'u1', type: 'click', time: epochMs }) }],
  [clicks, { key, value: json({ id: 'x', user: 'u1', item: 'i1', type: 'click', time: 'soon' }) }],
  [clicks, { key, value: null }],
  [goods, { key, value: text.encode('no JSON') }],
  ['interactions', { key, value: text.encode('no Avro') }],
  ['interactions', { key, value: Uint8Array.of(0, 0, 0, 0, 99, 1, 2, 3) }],
  ['interactions', { key: new Uint8Array(0), value: null }]
]
