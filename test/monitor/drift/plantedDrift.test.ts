// The watch where it stands, on streams in which nothing changes and on such with a planted change: docs/drift.md in a
// short form.

import assert from 'node:assert/strict'
import test from 'node:test'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { Rng } from '../../../src/core/rng.ts'
import { ModelDrift } from '../../../src/monitor/drift/modelDrift.ts'
import {
  type DriftStream,
  independentStream,
  type Plant,
  planted,
  simulatedStream
} from '../../support/driftStreams.ts'
import { watchStream } from '../../support/watchStream.ts'

const config = resolveConfig(undefined, {})

const stationary: Record<string, () => DriftStream> = {
  'simulation, seed 1': () => simulatedStream(1),
  'simulation, seed 2': () => simulatedStream(2),
  'independent events': () => independentStream(1, 60_000)
}
for (const [name, stream] of Object.entries(stationary)) {
  test(`${name}: where nothing changes, 60,000 events raise no alarm, though the stream is young`, async () => {
    const { alarms, nearest, compared } = await watchStream(stream(), config)
    assert.deepEqual(alarms, [])
    assert(compared > 60, `${compared} comparisons`)
    // All five features were compared, and none came near: a threshold that is too low shows here before it raises
    // alarms.
    assert.equal(nearest.size, 5)
    for (const [feature, ratio] of nearest) assert(ratio < 0.95, `${feature} came to ${ratio} of its threshold`)
  })
}

/**
 * The smallest size that is noticed in ten of ten streams, the feature that sees it, and within how many events it did
 * so in the slowest.
 */
const drifts: readonly (readonly [plant: Plant, size: number, signal: string, within: number])[] = [
  ['type', 0.2, 'event_type', 2768],
  ['new_type', 0.05, 'event_type', 1488],
  ['category', 0.2, 'category', 3600],
  ['hit', 0.4, 'item_popularity', 2000],
  ['new_items', 0.2, 'item_popularity', 3072],
  ['new_users', 0.05, 'new_user', 3584],
  ['repeats', 0.2, 'event_gap', 3584]
]
for (const [plant, size, signal, within] of drifts) {
  test(`${plant} ${size}: ${signal} raises an alarm within ${within} events, and none came before`, async () => {
    const at = 30_000
    // As in the measurements; no more of it is read than is needed.
    const stream = simulatedStream(11, { events: 39_000 })
    const interactions = first(at + within, planted(stream, plant, size, at, new Rng(11)))
    const { alarms } = await watchStream({ ...stream, interactions }, config)
    assert.deepEqual(
      alarms.filter((alarm) => alarm.at <= at),
      []
    )
    assert(
      alarms.some((alarm) => alarm.signal === signal),
      JSON.stringify(alarms)
    )
  })
}

function* first<T>(count: number, values: Iterable<T>): Generator<T> {
  let taken = 0
  for (const value of values) {
    if (taken++ === count) return
    yield value
  }
}

/**
 * Hits and losses of a settled model, 256 a batch: of one session all or none are likely to be hits. @param rate hits,
 * of which a share is missed later
 */
function watchQuality(
  seed: number,
  examples: number,
  drop: number
): { readonly signal: string; readonly at: number }[] {
  const rng = new Rng(seed)
  const drift = new ModelDrift()
  const alarms: { signal: string; at: number }[] = []
  for (let at = 0; at < examples; at += 256) {
    const lost = at >= examples / 2 ? drop : 0
    let easy = 0
    const batch = Array.from({ length: 256 }, (_, i) => {
      if (i % 3 === 0) easy = rng.uniform() < 0.5 ? 0.69 : 0.31
      const hit = rng.uniform() < easy && rng.uniform() >= lost
      return { rank: hit ? 3 : 500, loss: (hit ? 4 : 6) + 1.5 * rng.normal() }
    })
    const found = drift.observe({
      ranks: Int32Array.from(batch, ({ rank }) => rank),
      unknownRank: 2 ** 31 - 1,
      wins: new Float32Array(0),
      freshLosses: Float32Array.from(batch, ({ loss }) => loss),
      replayedLoss: undefined,
      eventTimeMs: at
    })
    for (const { signal } of found) alarms.push({ signal, at })
  }
  return alarms
}

test('hit rate and loss: 100,000 examples of a model that stays as good raise no alarm; ten seeds', () => {
  for (let seed = 1; seed <= 10; seed++) assert.deepEqual(watchQuality(seed, 100_000, 0), [], `seed ${seed}`)
})

test('hit rate: a tenth of the hits lost is noticed within 6,000 examples, a fifth within 2,000; ten seeds each, no alarm before', () => {
  for (const [drop, within] of [
    [0.1, 6000],
    [0.2, 2000]
  ] as const) {
    for (let seed = 1; seed <= 10; seed++) {
      const alarms = watchQuality(seed, 40_000, drop)
      const first = alarms.find(({ signal }) => signal === 'hit_rate')
      assert(
        alarms.every(({ at }) => at >= 20_000),
        `${drop}, seed ${seed}: ${JSON.stringify(alarms)}`
      )
      assert(first !== undefined && first.at < 20_000 + within, `${drop}, seed ${seed}: ${JSON.stringify(alarms)}`)
    }
  }
})
