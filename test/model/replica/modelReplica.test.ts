// A replica fed with a trainer's updates makes the vectors that the trainer ranks with, and nothing changes before a
// commit.
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import * as tf from '@tensorflow/tfjs-core'
import { configSchema } from '../../../src/core/config/config.ts'
import { modelSchema } from '../../../src/core/config/modelOptions.ts'
import { BadEventError } from '../../../src/core/errors.ts'
import { Rng } from '../../../src/core/rng.ts'
import { comparedModels } from '../../../src/lab/models/comparisonModels.ts'
import { loadBackend } from '../../../src/model/backend.ts'
import { liveModelFromCheckpoint, liveModelToCheckpoint } from '../../../src/model/replica/liveModel.ts'
import { ModelReplica } from '../../../src/model/replica/modelReplica.ts'
import { type CatalogueItem, featureKeys, featureLookup } from '../../../src/records/catalogueItem.ts'
import type { Example } from '../../../src/records/example.ts'
import type { ModelUpdate } from '../../../src/records/modelUpdate.ts'
import { IncrementalTrainer } from '../../../src/train/incrementalTrainer.ts'
import { unknownRank } from '../../../src/train/trainer.ts'

before(() => loadBackend())

const modelNames = Object.keys(comparedModels)

const catalogue: CatalogueItem[] = Array.from({ length: 30 }, (_, i) => ({
  itemId: `i${i}`,
  features: i % 3 === 0 ? {} : { kind: [`${i % 4}`], colour: [`${i % 5}`] },
  updatedAtMs: 0
}))
const encoderItems = catalogue.map((item) => ({ itemId: item.itemId, features: featureKeys(item) }))

function makeTrainer(model: Record<string, unknown> = {}): IncrementalTrainer {
  const { train } = configSchema.parse({ train: { negatives: 16 } })
  const options = modelSchema.parse({ dimensions: 8, interestCount: 3, ...model })
  const trainer = new IncrementalTrainer({ model: options, train, historyMax: 6, seed: 1 })
  trainer.useCatalogue(featureLookup(catalogue))
  return trainer
}

function someExamples(seed: number): Example[] {
  const rng = new Rng(seed)
  const step = (i: number) => ({ itemId: `i${rng.integer(30)}`, type: 'click', eventTimeMs: 1e12 + i * 60_000 })
  return Array.from({ length: 24 }, (_, b) => {
    const history = Array.from({ length: 1 + rng.integer(9) }, (_, i) => step(i))
    return { userId: `u${b}`, history, target: step(10), source: { partition: 0, offset: BigInt(b) }, weight: 1 }
  })
}

function follow(replica: ModelReplica, updates: readonly ModelUpdate[]) {
  return updates.map((update) => replica.apply(update)).find((applied) => applied !== undefined)
}

const variants = [...modelNames.map((name) => ({ name })), { readout: 'hard' }, { featuresHalveAt: 2 }]
for (const model of variants) {
  const { temperature } = modelSchema.parse(model)
  test(`${JSON.stringify(model)}: interests and item vectors rank targets as the trainer ranks them`, () => {
    const trainer = makeTrainer(model)
    const replica = new ModelReplica()
    const examples = someExamples(99)
    for (let i = 0; i < 6; i++) {
      trainer.step(someExamples(i), new Map())
      follow(replica, trainer.takeUpdates(true, i))
      // What it remembers of rows, features and weights must not outlive them.
      if (i === 2) replica.useCatalogue(featureLookup(catalogue))
      replica.interests(examples.map(({ history }) => history))
    }
    const { ranks, candidates } = trainer.evaluateExamples(examples)
    assert.equal(candidates, replica.itemCount)
    const { vectors } = replica.itemVectors(encoderItems)
    const { interests, known, strengths } = replica.interests(examples.map(({ history }) => history))
    assert.ok(known.every((k) => k === 1))
    const K = replica.interestCount
    const cosine = (b: number, k: number, n: number) =>
      Array.from({ length: 8 }, (_, d) => interests[(b * K + k) * 8 + d]! * vectors[n * 8 + d]!).reduce((x, y) => x + y)
    for (const [b, { history }] of examples.entries()) {
      // By the definition: the mean over the steps of the share of each interest in e^(cosine/τ).
      const steps = history.slice(-6).map(({ itemId }) => Number(itemId.slice(1)))
      for (let k = 0; k < K; k++) {
        const shares = steps.map((n) => {
          const terms = Array.from({ length: K }, (_, j) => Math.exp(cosine(b, j, n) / temperature))
          return terms[k]! / terms.reduce((x, y) => x + y)
        })
        const expected = shares.reduce((x, y) => x + y) / steps.length
        assert.ok(Math.abs(strengths[b * K + k]! - expected) < 1e-4, `${strengths[b * K + k]} is not ${expected}`)
      }
    }
    for (const [b, { history, target }] of examples.entries()) {
      if (ranks[b] === unknownRank) continue
      // By the mixture, as is the default.
      const score = (n: number) =>
        Array.from({ length: K }, (_, k) => cosine(b, k, n)).reduce(
          (sum, cosine) => sum + Math.exp((cosine - 1) / temperature),
          0
        )
      // The model reads, and leaves out, the newest 6 steps.
      const left = new Set(history.slice(-6).map((step) => step.itemId)).add(target.itemId)
      const own = score(Number(target.itemId.slice(1)))
      const others = catalogue
        .map((item, n) => ({ item, score: score(n) }))
        .filter(({ item }) => !left.has(item.itemId) && trainer.items.rowOf(item.itemId) !== 0)
      // Scores within 1e-6 are ties (see ranking.ts), which count against the model, give or take their own rounding.
      const atLeast = (cosine: number) =>
        others.filter(({ score }) => score >= own * Math.exp(cosine / temperature)).length
      const [least, most] = [atLeast(0), atLeast(-1.5e-6)]
      assert.ok(least <= ranks[b]! && ranks[b]! <= most, `example ${b}: rank ${ranks[b]}, by the replica ${least}`)
    }
  })
}

test('nothing changes before the commit; then everything at once', () => {
  const trainer = makeTrainer()
  trainer.step(someExamples(1), new Map())
  const replica = new ModelReplica()
  assert.equal(replica.ready, false)
  assert.throws(() => replica.itemVectors(encoderItems), /no commit/)
  const first = trainer.takeUpdates(true, 1)
  const applied = follow(replica, first)
  assert.ok(applied !== undefined && replica.ready)
  assert.deepEqual(
    {
      step: applied.step,
      modelVersion: applied.modelVersion,
      weightsChanged: applied.weightsChanged,
      expired: applied.expired
    },
    { step: 1, modelVersion: 'mtmi-3x8', weightsChanged: true, expired: [] }
  )
  assert.equal(applied.changedItems.length, trainer.items.size)
  assert.equal(
    applied.counts.get(applied.changedItems[0]!),
    trainer.items.count(trainer.items.rowOf(applied.changedItems[0]!))
  )
  const vectorsBefore = replica.itemVectors(encoderItems)
  for (let i = 2; i < 5; i++) trainer.step(someExamples(i), new Map())
  const second = trainer.takeUpdates(true, 2)
  for (const update of second.slice(0, -1)) assert.equal(replica.apply(update), undefined)
  assert.deepEqual(replica.itemVectors(encoderItems), vectorsBefore)
  assert.equal(replica.step, 1)
  replica.apply(second.at(-1)!)
  assert.equal(replica.step, 4)
  assert.notDeepEqual(replica.itemVectors(encoderItems).vectors, vectorsBefore.vectors)
})

test('other options of the same architecture take effect with their first commit, though only rows come with it', () => {
  const make = (featuresHalveAt: number) => makeTrainer({ featuresHalveAt })
  const [trainer, again] = [make(1), make(1000)]
  for (let i = 0; i < 3; i++) trainer.step(someExamples(i), new Map())
  const replica = new ModelReplica()
  replica.useCatalogue(featureLookup(catalogue))
  follow(replica, trainer.takeUpdates(true, 1))
  const before = replica.itemVectors(encoderItems).vectors
  again.restore(trainer.checkpoint())
  again.takeUpdates(false, 2)
  const applied = follow(replica, again.takeUpdates(false, 3))
  assert.equal(applied?.weightsChanged, true)
  const fresh = new ModelReplica()
  fresh.useCatalogue(featureLookup(catalogue))
  again.resendAll()
  follow(fresh, again.takeUpdates(true, 4))
  const after = replica.itemVectors(encoderItems).vectors
  assert.deepEqual(after, fresh.itemVectors(encoderItems).vectors)
  assert.notDeepEqual(after, before)
})

test('after a rollback every row is sent again', () => {
  const trainer = makeTrainer()
  for (let i = 0; i < 3; i++) trainer.step(someExamples(i), new Map())
  trainer.takeUpdates(true, 1)
  assert.equal(trainer.takeUpdates(false, 2).length, 1)
  trainer.resendAll()
  const kinds = trainer.takeUpdates(false, 3).map(({ kind }) => kind)
  assert.equal(kinds.filter((kind) => kind === 'item-row').length, trainer.items.size)
  assert.equal(kinds.filter((kind) => kind === 'feature-row').length, trainer.features.size)
})

test('rows alone: weights stay; an expired item has no row; an item of the catalogue without a row is known by its features', () => {
  const trainer = makeTrainer()
  for (let i = 0; i < 5; i++) trainer.step(someExamples(i), new Map())
  const replica = new ModelReplica()
  follow(replica, trainer.takeUpdates(true, 1))
  trainer.items.expire(Number.POSITIVE_INFINITY)
  const applied = follow(replica, trainer.takeUpdates(false, 2))
  assert.equal(applied?.weightsChanged, false)
  assert.equal(applied?.expired.length, 30)
  assert.equal(replica.itemCount, 0)
  const { known, vectors } = replica.itemVectors([
    ...encoderItems.slice(0, 2),
    { itemId: 'never seen', features: ['kind=1', 'unheard=of'] }
  ])
  assert.deepEqual([...known], [0, 1, 1])
  const length = Math.hypot(...vectors.subarray(16, 24))
  assert.ok(Math.abs(length - 1) < 1e-5, `length ${length}`)
  assert.deepEqual([...replica.interests([[{ itemId: 'i0', eventTimeMs: 0 }], []]).known], [0, 0])
})

test('another model version replaces everything; rows before its weights wait', () => {
  const replica = new ModelReplica()
  const old = makeTrainer()
  for (let i = 0; i < 3; i++) old.step(someExamples(i), new Map())
  follow(replica, old.takeUpdates(true, 1))
  const next = makeTrainer({ dimensions: 4 })
  next.step(someExamples(9).slice(0, 3), new Map())
  assert.equal(follow(replica, next.takeUpdates(false, 2)), undefined)
  assert.equal(replica.modelVersion, 'mtmi-3x8')
  const applied = follow(replica, next.takeUpdates(true, 3))
  assert.equal(applied?.modelVersion, 'mtmi-3x4')
  assert.equal(applied?.changedItems.length, next.items.size)
  assert.equal(replica.itemCount, next.items.size)
  assert.equal(replica.itemVectors(encoderItems).vectors.length, 30 * 4)
})

test('what does not fit is refused, and the replica is as before', () => {
  const trainer = makeTrainer()
  trainer.step(someExamples(1), new Map())
  const replica = new ModelReplica()
  const updates = trainer.takeUpdates(true, 1)
  follow(replica, updates)
  const row = updates.map((update) => (update.kind === 'item-row' ? update.row : null)).find((found) => found !== null)!
  const vectors = replica.itemVectors(encoderItems).vectors
  const commit = trainer.takeUpdates(false, 2).at(-1) as Extract<ModelUpdate, { kind: 'commit' }>
  const unfit: ModelUpdate[] = [
    { kind: 'item-row', itemId: 'i1', row: new Float32Array(row.length + 1), count: 1 },
    { kind: 'feature-row', feature: 'genre=new', row: new Float32Array(row.length - 1) },
    {
      kind: 'weights',
      name: Object.keys(replica.liveModel(false).weights)[0]!,
      shape: [1],
      values: new Float32Array(1)
    },
    { kind: 'weights', name: 'constructor', shape: [1], values: new Float32Array(1) }
  ]
  for (const [i, update] of unfit.entries()) replica.apply(update, BigInt(i + 1))
  // The rest of the commit counts.
  replica.apply({ kind: 'item-row', itemId: 'fits', row, count: 1 }, 5n)
  assert.deepEqual(replica.apply(commit, 6n)?.changedItems, ['fits'])
  assert.deepEqual(
    replica.takeUnfit().map(({ update, next }) => [update, next]),
    unfit.map((update, i) => [update, BigInt(i + 1)])
  )
  assert.deepEqual(replica.takeUnfit(), [])
  for (const model of ['{', '{"dimensions":8}', JSON.stringify({ ...JSON.parse(commit.model), name: 'constructor' })])
    assert.throws(() => replica.apply({ ...commit, model }), BadEventError)
  assert.deepEqual(replica.itemVectors(encoderItems).vectors, vectors)
})

test('the number of tensors does not grow with calls or commits', () => {
  const trainer = makeTrainer()
  const replica = new ModelReplica()
  const round = (i: number) => {
    trainer.step(someExamples(i), new Map())
    follow(replica, trainer.takeUpdates(true, i))
    replica.itemVectors(encoderItems)
    replica.interests(someExamples(i).map(({ history }) => history))
  }
  round(1)
  const { numTensors } = tf.memory()
  for (let i = 2; i < 5; i++) round(i)
  assert.equal(tf.memory().numTensors, numTensors)
  replica.dispose()
  assert.ok(tf.memory().numTensors < numTensors)
})

test('gated: weights and the rows beside them wait until they are accepted; what is proposed is what an ungated replica has', () => {
  const trainer = makeTrainer()
  const plain = new ModelReplica()
  const gated = new ModelReplica({ gated: true })
  for (const replica of [plain, gated]) replica.useCatalogue(featureLookup(catalogue))
  const both = (updates: readonly ModelUpdate[]) => [follow(plain, updates), follow(gated, updates)] as const
  const histories = someExamples(99).map(({ history }) => history)
  const vectorsOf = (encoder: Pick<ModelReplica, 'itemVectors' | 'interests'>) => [
    encoder.itemVectors(encoderItems),
    encoder.interests(histories)
  ]
  const learn = (seed: number) => trainer.step(someExamples(seed), new Map())
  learn(1)
  const [, first] = both(trainer.takeUpdates(true, 1))
  assert.equal(first?.weightsChanged, true) // nothing to compare it with
  learn(2)
  both(trainer.takeUpdates(false, 2))
  assert.deepEqual(vectorsOf(gated), vectorsOf(plain)) // rows alone are not held
  const live = vectorsOf(gated)
  learn(3)
  assert.equal(both(trainer.takeUpdates(true, 3))[1], undefined)
  assert.equal(gated.undecided, true)
  const candidate = gated.propose()
  assert.ok(candidate !== undefined)
  assert.deepEqual(vectorsOf(candidate.encoder), vectorsOf(plain))
  const proposed = vectorsOf(plain)
  // While it is judged more comes: neither of the two moves.
  learn(4)
  both(trainer.takeUpdates(false, 4))
  assert.deepEqual([vectorsOf(gated), vectorsOf(gated.propose()!.encoder)], [live, proposed])
  gated.refuse()
  assert.deepEqual([gated.propose(), gated.undecided], [undefined, false]) // rows alone are not worth another trial
  assert.deepEqual(vectorsOf(gated), live)
  learn(5)
  both(trainer.takeUpdates(true, 5))
  const second = gated.propose()
  assert.deepEqual(vectorsOf(second!.encoder), vectorsOf(plain))
  learn(6)
  both(trainer.takeUpdates(false, 6))
  const applied = gated.accept()
  assert.deepEqual(
    applied.map(({ step, weightsChanged }) => [step, weightsChanged]),
    [
      [5, true],
      [6, false]
    ]
  )
  assert.deepEqual(vectorsOf(gated), vectorsOf(plain))
  assert.equal(gated.undecided, false)
})

test('gated: another model version is proposed whole, without rows that compaction left of the one before; the old model can still be asked', () => {
  const trainer = makeTrainer()
  const gated = new ModelReplica({ gated: true })
  gated.useCatalogue(featureLookup(catalogue))
  trainer.step(someExamples(1), new Map())
  follow(gated, trainer.takeUpdates(true, 1))
  const before = gated.itemVectors(encoderItems)
  const stray: ModelUpdate = { kind: 'item-row', itemId: 'stray', row: new Float32Array(8).fill(1), count: 1 }
  trainer.resendAll()
  const again = trainer
    .takeUpdates(true, 2)
    .map((update) => (update.kind === 'commit' ? { ...update, modelVersion: 'other' } : update))
  assert.equal(
    follow(gated, [
      stray,
      { kind: 'model-version', modelVersion: 'other', reason: 'rollback', begunAtMs: 2 },
      ...again
    ]),
    undefined
  )
  const candidate = gated.propose()
  assert.deepEqual([candidate?.modelVersion, candidate?.reason], ['other', 'rollback'])
  assert.equal(candidate?.encoder.itemVectors([{ itemId: 'stray', features: [] }]).known[0], 0)
  assert.deepEqual(
    gated.accept().map(({ reason }) => reason),
    ['rollback']
  )
  assert.deepEqual([gated.modelVersion, gated.previous?.modelVersion], ['other', trainer.modelVersion])
  assert.deepEqual(gated.itemVectors(encoderItems), before)
  assert.deepEqual(gated.previous?.itemVectors(encoderItems), before)
  gated.forgetPrevious()
  assert.equal(gated.previous, undefined)
})

/** Records with their offsets, as a log keeps them. */
class Updates {
  readonly records: { readonly update: ModelUpdate; readonly next: bigint }[] = []
  add(updates: readonly ModelUpdate[]): void {
    for (const update of updates) this.records.push({ update, next: BigInt(this.records.length + 1) })
  }
  to(replica: ModelReplica, records = this.records): void {
    for (const { update, next } of records) replica.apply(update, next)
  }
  /** The newest of each name, as compaction leaves them. */
  compacted(): Updates['records'] {
    const nameOf = (update: ModelUpdate) =>
      JSON.stringify([
        update.kind,
        'itemId' in update ? update.itemId : 'feature' in update ? update.feature : 'name' in update ? update.name : ''
      ])
    return this.records.filter(
      ({ update }, i) => !this.records.slice(i + 1).some((later) => nameOf(later.update) === nameOf(update))
    )
  }
}

for (const left of ['whole', 'compacted'] as const) {
  test(`gone on with after a restart, of a log that is ${left}: what was accepted is in effect, what came after it is proposed`, () => {
    const trainer = makeTrainer()
    const log = new Updates()
    const before = new ModelReplica({ gated: true })
    before.useCatalogue(featureLookup(catalogue))
    const learn = (seed: number, weights: boolean) => {
      trainer.step(someExamples(seed), new Map())
      const from = log.records.length
      log.add(trainer.takeUpdates(weights, seed))
      log.to(before, log.records.slice(from))
    }
    learn(1, true)
    learn(2, true)
    before.propose()
    before.accept()
    const vectorsOf = (encoder: Pick<ModelReplica, 'itemVectors' | 'interests'>) => [
      encoder.itemVectors(encoderItems),
      encoder.interests(someExamples(99).map(({ history }) => history))
    ]
    const restarted = (whole: boolean) => {
      const replica = new ModelReplica({ gated: true })
      replica.useCatalogue(featureLookup(catalogue))
      const applied = replica.resume(liveModelFromCheckpoint(liveModelToCheckpoint(before.liveModel(whole))))
      assert.equal(applied !== undefined, whole)
      if (applied !== undefined) {
        assert.deepEqual(new Set(applied.changedItems), admitted)
        assert.deepEqual(applied.counts, counts)
        assert.deepEqual(vectorsOf(replica), vectorsOf(before))
      }
      const { records } = log
      log.to(replica, left === 'whole' ? records : log.compacted())
      return replica
    }
    const admitted = new Set([...trainer.items.admitted()].map((row) => trainer.items.idOf(row)))
    const counts = new Map([...admitted].map((itemId) => [itemId, trainer.items.count(trainer.items.rowOf(itemId))]))
    // Nothing newer: rows of the log under the towers that were accepted.
    assert.deepEqual(vectorsOf(restarted(false)), vectorsOf(before))
    assert.equal(restarted(false).undecided, false)
    assert.equal(restarted(false).step, 2)

    // Weights that nobody has judged, and rows beside them.
    learn(3, true)
    learn(4, false)
    for (const whole of [true, false]) {
      const replica = restarted(whole)
      assert.equal(replica.undecided, true)
      const proposed = replica.propose()
      assert.deepEqual(vectorsOf(proposed!.encoder), vectorsOf(before.propose()!.encoder))
      if (whole) assert.deepEqual([replica.step, vectorsOf(replica)], [2, vectorsOf(before)])
      else assert.ok(replica.step < 4, `step ${replica.step}`)
      assert.notDeepEqual(vectorsOf(replica), vectorsOf(proposed!.encoder))
      replica.accept()
      assert.equal(replica.undecided, false)
      assert.deepEqual(vectorsOf(replica), vectorsOf(before.propose()!.encoder))
    }
  })
}

test('a model version that is filled when the publisher is restarted: the one before comes back whole, and the new one is proposed again', () => {
  const trainer = makeTrainer()
  const log = new Updates()
  const before = new ModelReplica({ gated: true })
  trainer.step(someExamples(1), new Map())
  log.add(trainer.takeUpdates(true, 1))
  log.to(before)
  const served = before.itemVectors(encoderItems)
  const kept = before.liveModel(true)
  trainer.step(someExamples(2), new Map())
  trainer.resendAll()
  const again = trainer
    .takeUpdates(true, 2)
    .map((update) => (update.kind === 'commit' ? { ...update, modelVersion: 'other' } : update))
  log.add([{ kind: 'model-version', modelVersion: 'other', reason: 'rebuild', begunAtMs: 2 }, ...again])
  for (const records of [log.records, log.compacted()]) {
    const replica = new ModelReplica({ gated: true })
    replica.resume(kept)
    log.to(replica, records)
    assert.deepEqual([replica.modelVersion, replica.beginsVersion], [trainer.modelVersion, true])
    assert.deepEqual(replica.itemVectors(encoderItems), served)
    assert.deepEqual([replica.propose()?.modelVersion, replica.propose()?.reason], ['other', 'rebuild'])
    replica.accept()
    assert.deepEqual([replica.modelVersion, replica.previous?.modelVersion], ['other', trainer.modelVersion])
    assert.deepEqual(replica.previous?.itemVectors(encoderItems), served)
  }
  // Without its rows the log has nothing of it any more: the new model version's model is better than none.
  const replica = new ModelReplica({ gated: true })
  replica.resume(before.liveModel(false))
  log.to(replica, log.compacted())
  assert.equal(replica.modelVersion, 'other')
})
