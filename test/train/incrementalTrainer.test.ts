import '../../src/lab/models/comparisonModels.ts'
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import * as tf from '@tensorflow/tfjs-core'
import { configSchema } from '../../src/core/config/config.ts'
import { modelSchema } from '../../src/core/config/modelOptions.ts'
import { ConfigError, CorruptError, DivergedError } from '../../src/core/errors.ts'
import { Rng } from '../../src/core/rng.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { arraysOf, type Checkpoint, type CheckpointPart } from '../../src/model/replica/checkpoint.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { type CatalogueItem, featureKeys, featureLookup } from '../../src/records/catalogueItem.ts'
import type { Example } from '../../src/records/example.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import { unknownRank } from '../../src/train/trainer.ts'
import { allArrays } from '../support/copies.ts'

before(() => loadBackend())

const ranges = new Map([[0, { from: 0n, to: 32n }]])

function makeTrainer(
  model: Record<string, unknown> = {},
  train: Record<string, unknown> = {},
  seed = 1,
  historyMax = 8
): IncrementalTrainer {
  const config = configSchema.parse({ train: { negatives: 32, reservoirMax: 200, ...train } })
  const options = modelSchema.parse({ dimensions: 16, interestCount: 2, ...model })
  return new IncrementalTrainer({ model: options, train: config.train, historyMax, seed })
}

/**
 * Users walk round one of four rings of ten items: after item i of a ring comes i + 1; or, in any order, any item of
 * the same ring.
 */
function* rings(seed: number, size = 32, anyOrder = false): Generator<Example[]> {
  const rng = new Rng(seed)
  for (let offset = 0; ; ) {
    const batch: Example[] = []
    for (let b = 0; b < size; b++) {
      const ring = rng.integer(4)
      const start = rng.integer(10)
      const step = (i: number) => ({
        itemId: `r${ring}-${anyOrder ? rng.integer(10) : (start + i) % 10}`,
        type: 'click',
        eventTimeMs: 1e12 + offset * 1000 + i * 1000
      })
      const length = 1 + rng.integer(4)
      const history = Array.from({ length }, (_, i) => step(i))
      batch.push({
        userId: `u${rng.integer(50)}`,
        history,
        target: step(length),
        source: { partition: 0, offset: BigInt(offset++) },
        weight: 1
      })
    }
    yield batch
  }
}

const catalogue: CatalogueItem[] = Array.from({ length: 40 }, (_, i) => ({
  itemId: `r${Math.floor(i / 10)}-${i % 10}`,
  features: { ring: [`${Math.floor(i / 10)}`] },
  updatedAtMs: 0
}))

const sameCheckpoint = (a: Checkpoint, b: Checkpoint) => {
  assert.deepEqual(a.header, b.header)
  const [ofA, ofB] = [allArrays(a), allArrays(b)]
  assert.deepEqual([...ofA.keys()], [...ofB.keys()])
  for (const [name, array] of ofA) assert.deepEqual(array, ofB.get(name), name)
}

for (const loss of ['softmax', 'triplet'] as const) {
  test(`${loss}: learns what comes next on rings of items, ranked before learned`, () => {
    const trainer = makeTrainer({ loss })
    const source = rings(3)
    let early = 0
    let lateHits = 0
    for (let step = 0; step < 120; step++) {
      const { evaluation, report } = trainer.step(source.next().value as Example[], ranges)
      assert.ok(Number.isFinite(report.loss))
      const hits = evaluation.ranks.filter((rank) => rank < 3).length
      if (step === 0)
        assert.ok(
          evaluation.ranks.every((rank) => rank === unknownRank),
          'nothing is known of any item before the first step'
        )
      if (step < 5) early += hits
      if (step >= 100) lateHits += hits
    }
    // By chance 3 of some 37 candidates are hit: .08.
    assert.ok(lateHits / (20 * 32) > 0.6, `hit rate@3 ${lateHits / 640}; early ${early / 160}`)
  })
}

test('a checkpoint is exact: continuing from it is bit-equal to never having stopped', () => {
  const make = () => {
    const trainer = makeTrainer({ dropout: 0.2 })
    trainer.useCatalogue(featureLookup(catalogue))
    return trainer
  }
  const straight = make()
  const source = rings(5)
  const batches = Array.from({ length: 16 }, () => source.next().value as Example[])
  for (const batch of batches.slice(0, 8)) straight.step(batch, ranges)
  const resumed = make()
  resumed.restore(straight.checkpoint())
  sameCheckpoint(resumed.checkpoint(), straight.checkpoint())
  for (const batch of batches.slice(8)) {
    const a = straight.step(batch, ranges)
    const b = resumed.step(batch, ranges)
    assert.deepEqual(b, a)
  }
  sameCheckpoint(resumed.checkpoint(), straight.checkpoint())
})

test('a checkpoint that is written while it learns on is of the moment when it was begun; those of changes make it whole again', () => {
  const trainer = makeTrainer({ dropout: 0.2 }, { itemsMax: 30, admissionMin: 2 })
  trainer.useCatalogue(featureLookup(catalogue))
  const source = rings(5)
  const learn = (steps: number) => {
    for (let i = 0; i < steps; i++) trainer.step(source.next().value as Example[], ranges)
  }
  learn(3)
  /** Its parts one after the other, with a step after each. */
  const slowly = ({ header, parts }: Checkpoint): Checkpoint => {
    const list: CheckpointPart[] = []
    for (const part of parts) {
      list.push(part)
      learn(1)
    }
    return { header, parts: list }
  }
  const whole = slowly(trainer.beginCheckpoint('whole'))
  const first = slowly(trainer.beginCheckpoint('changed'))
  learn(2)
  const then = trainer.trainedSteps
  const second = slowly(trainer.beginCheckpoint('changed'))
  assert.ok(trainer.trainedSteps > then + 5)
  const restored = makeTrainer({ dropout: 0.2 }, { itemsMax: 30, admissionMin: 2 })
  restored.useCatalogue(featureLookup(catalogue))
  restored.restore({ header: second.header, parts: [whole, first, second].flatMap(({ parts }) => [...parts]) })
  assert.equal(restored.trainedSteps, then)
  // The very same from the beginning to that step.
  const straight = makeTrainer({ dropout: 0.2 }, { itemsMax: 30, admissionMin: 2 })
  straight.useCatalogue(featureLookup(catalogue))
  const again = rings(5)
  for (let i = 0; i < then; i++) straight.step(again.next().value as Example[], ranges)
  sameCheckpoint(restored.checkpoint(), straight.checkpoint())
  assert.throws(() => {
    trainer.beginCheckpoint('whole')
    trainer.beginCheckpoint('whole')
  }, /has not come to its end/)
})

test('a checkpoint of another shape, format or with missing parts is refused', () => {
  const checkpoint = makeTrainer().checkpoint()
  assert.throws(() => makeTrainer({ dimensions: 8 }).restore(checkpoint), ConfigError)
  assert.throws(
    () => makeTrainer({ interestCount: 3 }).restore(checkpoint),
    /interestCount is 3, but the checkpoint has 2/
  )
  assert.throws(
    () => makeTrainer().restore({ ...checkpoint, header: { ...checkpoint.header, formatVersion: 99 } }),
    CorruptError
  )
  assert.throws(() => makeTrainer().restore({ ...checkpoint, header: {} }), CorruptError)
  const architecture = { ...(checkpoint.header.architecture as Record<string, unknown>), name: 'mind' }
  assert.throws(() => makeTrainer().restore({ ...checkpoint, header: { ...checkpoint.header, architecture } }), {
    name: 'ConfigError',
    message: /name is mtmi, but the checkpoint has mind/
  })
  const without = (part: string, array: string): Checkpoint => ({
    ...checkpoint,
    parts: [...checkpoint.parts].map(({ name, arrays }) => ({
      name,
      arrays: new Map([...arrays].filter(([key]) => name !== part || key !== array))
    }))
  })
  assert.throws(() => makeTrainer().restore(without('items', 'meta')), CorruptError)
  assert.throws(() => makeTrainer().restore(without('weights', 'user.weight')), /user\.weight/)
})

test('a loss that is not finite changes no weight, and the same stream does the same again', () => {
  const broken = () => {
    const trainer = makeTrainer()
    const source = rings(9)
    for (let i = 0; i < 4; i++) trainer.step(source.next().value as Example[], ranges)
    const row = trainer.items.rowOf('r1-1')
    trainer.items.values(row)[0] = Number.NaN
    const before = allArrays(trainer.checkpoint())
    const { step } = trainer.checkpoint().header
    assert.throws(() => trainer.step(source.next().value as Example[], ranges), DivergedError)
    const after = trainer.checkpoint()
    const arrays = allArrays(after)
    for (const [name, array] of before) {
      if (!/^(weights|adam|features|items\/.*\/(values|accumulators)|reservoir\/.*\/(rows|offsets))/.test(name))
        continue
      // The failed step's targets have been admitted: new rows follow the old ones.
      assert.deepEqual(arrays.get(name)!.slice(0, array.length), array, name)
    }
    assert.equal(after.header.step, step)
    return after
  }
  sameCheckpoint(broken(), broken())
})

test('the number of tensors is the same after every step', () => {
  const trainer = makeTrainer({ dropout: 0.1 })
  const source = rings(2)
  trainer.step(source.next().value as Example[], ranges)
  const tensors = tf.memory().numTensors
  for (let i = 0; i < 5; i++) trainer.step(source.next().value as Example[], ranges)
  assert.equal(tf.memory().numTensors, tensors)
})

test('a batch with nothing to learn is no step: no examples, histories unknown, targets not admitted', () => {
  const trainer = makeTrainer({}, { admissionMin: 3 })
  assert.equal(trainer.step([], new Map()).report.examples, 0)
  const target = { itemId: 'a', type: 'click', eventTimeMs: 1 }
  const example: Example = {
    userId: 'u',
    history: [{ ...target, itemId: 'b' }],
    target,
    source: { partition: 0, offset: 0n },
    weight: 1
  }
  for (let i = 0; i < 3; i++) {
    const { evaluation, report } = trainer.step([example], ranges)
    assert.deepEqual(
      [...evaluation.ranks],
      i === 0 || evaluation.candidates === 0 ? [-1].map(() => evaluation.ranks[0]!) : [unknownRank]
    )
    assert.equal(report.examples, 0)
  }
  assert.equal(trainer.items.size, 1)
  assert.equal(trainer.trainedSteps, 0)
})

test('a sample: the first targets are ranked all, then some batches; the probability is told, and a replay chooses alike', () => {
  const run = (rankedShare: number | 'auto', batches: number) => {
    const { train } = configSchema.parse({ train: { negatives: 32, reservoirMax: 200 } })
    const model = modelSchema.parse({ dimensions: 16, interestCount: 2 })
    const trainer = new IncrementalTrainer({ model, train, historyMax: 8, seed: 1, rankedShare })
    const source = rings(4, 64)
    return Array.from({ length: batches }, () => {
      const { evaluation } = trainer.step(source.next().value as Example[], ranges)
      const ranked = evaluation.ranks.filter((rank) => rank !== -1).length
      assert.equal(Number.isNaN(evaluation.intraUserCosine), ranked === 0 || evaluation.candidates === 0)
      return { ranked, inclusion: evaluation.inclusion }
    })
  }
  assert.ok(run(1, 4).every(({ ranked, inclusion }) => ranked === 64 && inclusion === 1))
  assert.ok(run(0, 4).every(({ ranked }, i) => i === 0 || ranked === 0))
  const half = run(0.5, 40)
  const share = half.slice(1).reduce((sum, { ranked }) => sum + ranked, 0) / (39 * 64)
  assert.ok(Math.abs(share - 0.5) < 0.05, `${share} of them`)
  const some = run('auto', 300)
  assert.deepEqual(run('auto', 300), some)
  const after = some.findIndex(({ inclusion }) => inclusion < 1)
  assert.ok(after > 30 && after < 34, `${after} batches of 64 hold the first 2,000`)
  const sampled = some.slice(after)
  const expected = sampled.reduce((sum, { inclusion }) => sum + inclusion * 64, 0)
  const ranked = sampled.reduce((sum, one) => sum + one.ranked, 0)
  assert.ok(ranked > 0.5 * expected && ranked < 2 * expected, `${ranked} ranked, ${expected} expected`)
})

test('a new item with features lies near its kind before its first click', () => {
  const trainer = makeTrainer()
  trainer.useCatalogue(featureLookup(catalogue))
  const source = rings(6, 32, true)
  for (let i = 0; i < 80; i++) trainer.step(source.next().value as Example[], ranges)
  const replica = new ModelReplica()
  replica.useCatalogue(featureLookup(catalogue))
  for (const update of trainer.takeUpdates(true, 0)) replica.apply(update)
  const all = [...catalogue, { itemId: 'new', features: { ring: ['2'] }, updatedAtMs: 0 }]
  const { vectors, known } = replica.itemVectors(
    all.map((item) => ({ itemId: item.itemId, features: featureKeys(item) }))
  )
  replica.dispose()
  assert.equal(known[40], 1)
  const cosine = (i: number) =>
    Array.from({ length: 16 }, (_, d) => vectors[i * 16 + d]! * vectors[40 * 16 + d]!).reduce((a, b) => a + b)
  const toRing = [0, 1, 2, 3].map(
    (ring) => Array.from({ length: 10 }, (_, i) => cosine(ring * 10 + i)).reduce((a, b) => a + b) / 10
  )
  assert.ok(
    [0, 1, 3].every((ring) => toRing[2]! > toRing[ring]! + 0.2),
    `mean cosine with each ring's items: ${toRing}`
  )
})

test('slowDown halves what a step moves, and survives a checkpoint', () => {
  const moved = (prepare: (trainer: IncrementalTrainer) => IncrementalTrainer) => {
    const trainer = prepare(makeTrainer({ dropout: 0 }, { replayRatio: 0 }))
    const before = arraysOf(trainer.checkpoint(), 'weights').get('item.weight') as Float32Array
    trainer.step(rings(8).next().value as Example[], ranges)
    const after = arraysOf(trainer.checkpoint(), 'weights').get('item.weight') as Float32Array
    return Math.sqrt(after.reduce((sum, x, i) => sum + (x - before[i]!) ** 2, 0))
  }
  const whole = moved((trainer) => trainer)
  const half = moved((trainer) => {
    trainer.slowDown(0.5)
    const next = makeTrainer({ dropout: 0 }, { replayRatio: 0 })
    next.restore(trainer.checkpoint())
    return next
  })
  assert.ok(whole > 0)
  assert.ok(Math.abs(half / whole - 0.5) < 0.01, `${half} of ${whole}`)
})

test('one vector has no second to be alike: no cosine, and all wins', () => {
  const trainer = makeTrainer({ name: 'one-vector' })
  const source = rings(3)
  trainer.step(source.next().value as Example[], ranges)
  const { intraUserCosine, wins } = trainer.step(source.next().value as Example[], ranges).evaluation
  assert.ok(Number.isNaN(intraUserCosine))
  assert.deepEqual([...wins], [1])
})
