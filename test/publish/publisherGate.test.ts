// 400 items around the circle. A user's first interest is the newest item of the history, so items near to it in angle
// are what is found.
import assert from 'node:assert/strict'
import test from 'node:test'
import { configSchema } from '../../src/core/config/config.ts'
import { Rng } from '../../src/core/rng.ts'
import { type GateSlide, noSlide, slideAfter } from '../../src/publish/gateStatistics.ts'
import {
  type GateFigures,
  type GateTarget,
  GateTrial,
  type GateVerdict,
  gateOptions,
  objections,
  PublisherTargets
} from '../../src/publish/publisherGate.ts'
import type { PublishedMemory } from '../../src/publish/publisherReport.ts'
import { PlainEncoder } from './publisherEncoder.ts'

const options = gateOptions(configSchema.parse({}).publish.gate)
const N = 400
const items = Array.from({ length: N }, (_, i) => ({ itemId: `i${i}`, features: [] }))

/** @param angle of an item by its number */
function encoder(angle: (i: number) => number = (i) => (2 * Math.PI * i) / N): PlainEncoder {
  const made = new PlainEncoder()
  for (let i = 0; i < N; i++) made.angles.set(`i${i}`, angle(i))
  return made
}

/** Two items at a right angle, then the neighbour of the newer one: rank 0 or 1 of `encoder()`. */
const targets: GateTarget[] = Array.from({ length: 300 }, (_, u) => ({
  userId: `u${u}`,
  history: [`i${(u + N / 4) % N}`, `i${u}`].map((itemId, at) => ({ itemId, eventTimeMs: at })),
  target: `i${(u + 1) % N}`
}))

function judge(
  live: PlainEncoder,
  candidate: PlainEncoder,
  requested = false,
  slide: GateSlide = noSlide,
  memory?: PublishedMemory
): GateVerdict {
  const trial = new GateTrial({ live, candidate, items, targets, options, requested, slide, memory })
  for (;;) {
    const verdict = trial.advance()
    if (verdict !== undefined) return verdict
  }
}

const checks = (verdict: GateVerdict) => verdict.reasons.map(({ check }) => check)

/**
 * Items 3, 6, … go to the other side of the circle: each costs the user before it the target, and the user whose newest
 * item it is theirs.
 */
const displaced = (moved: number) =>
  encoder((i) => (2 * Math.PI * i) / N + (i % 3 === 0 && i >= 3 && i <= 3 * moved ? Math.PI : 0))

test('the same weights pass, and so do some that only turn everything', () => {
  const verdict = judge(encoder(), encoder())
  assert.deepEqual(
    [verdict.outcome, verdict.figures.targets, verdict.figures.hits],
    ['accepted', 300, { live: 300, candidate: 300 }]
  )
  assert.deepEqual(
    [verdict.figures.lost, verdict.figures.gained, verdict.figures.overlap, verdict.figures.chance],
    [0, 0, 1, 1]
  )
  const turned = encoder()
  turned.turn = 1
  assert.equal(judge(encoder(), turned).outcome, 'accepted')
})

test('a loss is refused when it is larger than the margin and not by chance', () => {
  // 2 of 300 are below 1%.
  assert.equal(judge(encoder(), displaced(1)).outcome, 'accepted')
  // 10 of 300 are 3.3%, but chance loses 10 of 10 once in 1,024 times.
  const ten = judge(encoder(), displaced(5))
  assert.deepEqual(
    [ten.outcome, ten.figures.lost - ten.figures.gained, Math.round(1 / ten.figures.chance)],
    ['accepted', 10, 1024]
  )
  // 2^−26 = 1.5e-8 < 1e-6.
  const many = judge(encoder(), displaced(13))
  assert.deepEqual([many.outcome, checks(many)], ['refused', ['hits']])
})

test('what is compared is what is served: a target that the memory finds is lost by neither', () => {
  /** Each item is taken after the one before it. */
  const memoryOf = (weight: number): PublishedMemory => ({
    memory: { weight, decay: 0.8 },
    neighboursOf: (itemId) => ({
      neighbours: [`i${(Number(itemId.slice(1)) + N - 1) % N}`],
      weights: Float32Array.of(0.5)
    })
  })
  const with4 = judge(encoder(), displaced(13), false, noSlide, memoryOf(4))
  assert.deepEqual([with4.outcome, with4.figures.hits], ['accepted', { live: 300, candidate: 300 }])
  assert.deepEqual(judge(encoder(), displaced(13), false, noSlide, memoryOf(0)), judge(encoder(), displaced(13)))
})

test('weights that are broken, collapsed or shuffled are refused', () => {
  const broken = encoder()
  broken.broken = Number.NaN
  assert.ok(checks(judge(encoder(), broken)).includes('vectors'))
  const long = encoder()
  long.broken = 3
  assert.ok(checks(judge(encoder(), long)).includes('vectors'))
  const collapsed = checks(
    judge(
      encoder(),
      encoder((i) => 0.001 * i)
    )
  )
  assert.ok(collapsed.includes('collapse'))
  const order = Array.from({ length: N }, (_, i) => i)
  const rng = new Rng(1)
  for (let i = N - 1; i > 0; i--) {
    const j = rng.integer(i + 1)
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  const shuffled = judge(
    encoder(),
    encoder((i) => (2 * Math.PI * order[i]!) / N)
  )
  assert.deepEqual([shuffled.outcome, checks(shuffled)], ['refused', ['hits', 'lists']])
  // Asked for by somebody: worse is what it may be, broken is not.
  assert.equal(
    judge(
      encoder(),
      encoder((i) => (2 * Math.PI * order[i]!) / N),
      true
    ).outcome,
    'accepted'
  )
  assert.equal(judge(encoder(), broken, true).outcome, 'refused')
  // The other way round everything changes for the better.
  assert.equal(
    judge(
      encoder((i) => (2 * Math.PI * order[i]!) / N),
      encoder()
    ).outcome,
    'accepted'
  )
})

test('what only one of the two knows does not decide', () => {
  const fewer = encoder()
  for (let i = 0; i < 100; i++) fewer.angles.delete(`i${i}`)
  const verdict = judge(fewer, encoder())
  assert.equal(verdict.figures.items, 300)
  // Targets 100 … 299 have their own item and one of the history; 0 … 98 lost the target, 99 only the newest of its
  // history, which then is i199.
  assert.equal(verdict.figures.targets, 201)
})

test('collapse that is live already does not hold back what is no worse; few canaries do not refuse alone', () => {
  const figures: GateFigures = {
    ...{ items: 100, targets: 100, hits: { live: 20, candidate: 20 }, lost: 0, gained: 0, chance: 1 },
    ...{ cosine: { live: 0.97, candidate: 0.96 }, broken: { live: 2, candidate: 2 }, canaries: 0, overlap: Number.NaN }
  }
  assert.deepEqual(objections(figures, options, false), [])
  assert.deepEqual(
    objections({ ...figures, cosine: { live: 0.5, candidate: 0.96 } }, options, false).map(({ check }) => check),
    ['collapse']
  )
})

test('the ring keeps the newest targets, leaves out what cannot be recommended, and forgets a user', () => {
  const ring = new PublisherTargets(3)
  const add = (userId: string, target: string) =>
    ring.add({ userId, history: [{ itemId: 'x', eventTimeMs: 0 }], target })
  const order = () => ring.newestFirst().map(({ target }) => target)
  add('u', 'x')
  assert.deepEqual(order(), [])
  for (const [user, target] of [
    ['u', 'a'],
    ['v', 'b'],
    ['u', 'c'],
    ['v', 'd']
  ] as const)
    add(user, target)
  assert.deepEqual(order(), ['d', 'c', 'b'])
  ring.forget('v')
  assert.deepEqual(order(), ['c'])
  add('w', 'e')
  add('w', 'f')
  add('w', 'g')
  assert.deepEqual(order(), ['g', 'f', 'e'])
})

test('losses that pass one by one are refused when they add up; weights that are no worse than the live ones pass whatever came before', () => {
  // Each step loses 10 of 300 and gains none: by chance once in 1,024 times, two of them once in 2^20 = 1,048,576.
  const first = judge(displaced(0), displaced(5))
  assert.equal(first.outcome, 'accepted')
  const slide = slideAfter(noSlide, first.figures)
  assert.deepEqual(slide, { share: 10 / 300, lost: 10, gained: 0 })
  assert.equal(judge(displaced(5), displaced(10)).outcome, 'accepted')
  const second = judge(displaced(5), displaced(10), false, slide)
  assert.deepEqual([second.outcome, checks(second)], ['refused', ['slide']])
  assert.match(second.reasons[0]!.text, /have lost 6\.7% of their targets since the best: 20 lost and 0 gained/)
  // What somebody asked for, and what loses nothing more.
  assert.equal(judge(displaced(5), displaced(10), true, slide).outcome, 'accepted')
  const deep: GateSlide = { share: 0.5, lost: 150, gained: 0 }
  assert.equal(judge(displaced(5), displaced(5), false, deep).outcome, 'accepted')
  // Back to where it was: the sum begins anew, and does not become credit for later losses.
  const back = judge(displaced(5), displaced(0), false, slide)
  assert.equal(back.outcome, 'accepted')
  assert.deepEqual(slideAfter(slide, back.figures), noSlide)
  assert.deepEqual(slideAfter(noSlide, back.figures), noSlide)
})
