import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { Rng } from '../../../src/core/rng.ts'
import { encoderLists } from '../../../src/lab/evaluation/encoderLists.ts'
import { offlineMetrics } from '../../../src/lab/evaluation/offlineMetrics.ts'
import { OfflineTrainer, type TrainingUser } from '../../../src/lab/evaluation/offlineTrainer.ts'
import { loadBackend } from '../../../src/model/backend.ts'
import { ModelReplica } from '../../../src/model/replica/modelReplica.ts'

before(async () => {
  await loadBackend()
})

/** Each user takes eight different items of one of 4 groups of 20. */
function grouped(users: number, rng: Rng): TrainingUser[] {
  return Array.from({ length: users }, (_, u) => {
    const items = Array.from({ length: 20 }, (_, i) => i)
    rng.shuffle(items)
    const steps = items
      .slice(0, 8)
      .map((item, i) => ({ itemId: `g${u % 4}-${item}`, type: 'click', eventTimeMs: i * 1000 }))
    return { userId: `u${u}`, steps }
  })
}

function trainer(users: readonly TrainingUser[]): OfflineTrainer {
  const { model, train } = resolveConfig(
    undefined,
    {},
    { model: { dimensions: 16, interestCount: 2 }, train: { batchSize: 64, negatives: 64 } }
  )
  const made = new OfflineTrainer(users, [], { model, train, historyMax: 8, seed: 1 })
  made.give()
  return made
}

test('learns which items go together', () => {
  const users = grouped(120, new Rng(5))
  const learner = trainer(users)
  assert.equal(learner.positions, 120 * 7)
  learner.observe()
  const losses = Array.from({ length: 6 }, () => [...learner.epoch()].at(-1)!.loss)
  assert(losses.at(-1)! < losses[0]!, String(losses))
  assert.equal(learner.epochs, 6)
  assert.equal(learner.candidates().length, 80)
  const cases = grouped(20, new Rng(6)).map(({ userId, steps }) => ({
    userId,
    history: steps.slice(0, 5),
    targets: steps.slice(5).map((s) => s.itemId)
  }))
  const { lists, wins, intraUserCosine } = encoderLists(
    learner.publish(new ModelReplica()),
    learner.candidates(),
    cases
  )
  // Twenty of eighty: chance finds a quarter; without the history's five, a list of the right group holds all fifteen
  // others.
  assert(offlineMetrics(cases, lists, true)['recall@20'] > 0.9)
  assert(Math.abs(wins.reduce((a, b) => a + b) - 1) < 1e-9)
  assert(intraUserCosine! < 1)
})

test('goes on from a checkpoint as if it had never stopped', () => {
  const users = grouped(40, new Rng(7))
  const whole = trainer(users)
  whole.observe()
  for (const _ of whole.epoch());
  const kept = whole.checkpoint()
  for (const _ of whole.epoch());
  const resumed = trainer(users)
  resumed.restore(kept)
  assert.equal(resumed.epochs, 1)
  for (const _ of resumed.epoch());
  const items = whole.candidates()
  assert.deepEqual(resumed.candidates(), whole.candidates())
  const expected = whole.publish(new ModelReplica()).itemVectors(items).vectors
  const found = resumed.publish(new ModelReplica()).itemVectors(items).vectors
  // Bit-equal with one thread; sums that several threads share may differ in the last bits.
  for (const [i, value] of expected.entries()) assert(Math.abs(value - found[i]!) < 1e-4)
})

test('an epoch meets every position once, in an order of its own', () => {
  const users = grouped(10, new Rng(8))
  const learner = trainer(users)
  learner.observe()
  const steps = [...learner.epoch()]
  // Windows are learned whole: of batches of 64 nine users' seven positions, then the last user's.
  assert.deepEqual(
    steps.map(({ done }) => done),
    [63, 70]
  )
  assert.equal(steps[0]!.total, 70)
})

test('a user with more steps than a batch has positions is learned in several batches', () => {
  const steps = Array.from({ length: 200 }, (_, i) => ({ itemId: `i${i % 50}`, type: 'click', eventTimeMs: i }))
  const learner = trainer([{ userId: 'busy', steps }])
  learner.observe()
  // Windows of 8 targets, as many as a history has steps; the last has 7: eight of the 25 a batch.
  const done = [...learner.epoch()].map((step) => step.done)
  assert.equal(done.length, 4)
  assert.equal(done.at(-1), 199)
  assert(done.every((to, i) => to - (done[i - 1] ?? 0) <= 64))
})

test('older positions are replayed beside fresh ones', () => {
  const users = grouped(10, new Rng(9))
  const learner = trainer(users) // 70 positions
  learner.observe()
  learner.give((_, user) => user < 4) // 28 fresh ones, 70 older
  learner.observe()
  assert.equal(learner.positions, 28)
  // Batches of 64 are half old with a ratio of 1: 28 fresh ones in one batch.
  assert.deepEqual(
    [...learner.epoch(1)].map(({ done, total }) => [done, total]),
    [[28, 28]]
  )
})

test('only what is to be learned is a target, and every target sees the steps before it', () => {
  const learner = trainer(grouped(4, new Rng(10)))
  learner.give(({ eventTimeMs }) => eventTimeMs === 3000 || eventTimeMs === 5000)
  assert.equal(learner.positions, 8)
  learner.observe()
  assert.equal([...learner.epoch()].at(-1)!.done, 8)
})

test('an item that nobody took is recommended by its features, if a test may ask for it', () => {
  const users = grouped(120, new Rng(5))
  const inGroup = (itemId: string) => ({ itemId, features: { group: [itemId.slice(0, 2)] }, updatedAtMs: 0 })
  const catalogue = [
    ...[...new Set(users.flatMap(({ steps }) => steps.map(({ itemId }) => itemId)))].map(inGroup),
    inGroup('g1-new'),
    { itemId: 'odd', features: { group: ['g9'] }, updatedAtMs: 0 },
    inGroup('g2-unasked')
  ]
  const { model, train } = resolveConfig(
    undefined,
    {},
    { model: { dimensions: 16, interestCount: 2 }, train: { batchSize: 64, negatives: 64 } }
  )
  const learner = new OfflineTrainer(users, catalogue, { model, train, historyMax: 8, seed: 1 })
  learner.give()
  learner.observe()
  for (let epoch = 0; epoch < 4; epoch++) for (const _ of learner.epoch());
  // 'odd' shares no feature with what was learned.
  const candidates = learner.candidates(new Set(['g0-1', 'g1-new', 'odd']))
  assert.deepEqual(
    candidates.slice(80).map(({ itemId }) => itemId),
    ['g1-new']
  )
  const cases = [0, 1].map((group) => ({ userId: `t${group}`, history: users[group]!.steps, targets: ['g1-new'] }))
  const { lists } = encoderLists(learner.publish(new ModelReplica()), candidates, cases)
  // Of the group's 21 items, all but one at the most stand before the others' sixty.
  const places = lists.map((list) => list.indexOf('g1-new'))
  assert(places[1]! >= 0 && places[1]! < 21, String(places))
  assert(places[0] === -1 || places[0]! > 20, String(places))
})
