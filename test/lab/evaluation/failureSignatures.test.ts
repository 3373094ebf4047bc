import assert from 'node:assert/strict'
import test from 'node:test'
import { failureSignatures, type RunSymptoms } from '../../../src/lab/evaluation/failureSignatures.ts'

const healthy: RunSymptoms = {
  interestCount: 2,
  intraUserCosine: 0.5,
  wins: [0.6, 0.4],
  diverged: 0,
  stoppedEarly: true,
  curve: [
    { loss: 8, trainRecall: 0.3, validationRecall: 0.2 },
    { loss: 7, trainRecall: 0.4, validationRecall: 0.3 },
    { loss: 6, trainRecall: 0.5, validationRecall: 0.29 }
  ],
  popularRecall: 0.1,
  bestEpoch: 2
}

const signatures = (change: Partial<RunSymptoms>) =>
  failureSignatures({ ...healthy, ...change }).map(({ signature }) => signature)

test('a healthy run has none', () => assert.deepEqual(signatures({}), []))

test('towers that say the same, or of which one does it all', () => {
  assert.deepEqual(signatures({ intraUserCosine: 0.97 }), ['collapsed-towers'])
  // H = −(.97 ln .97 + .03 ln .03) = .135; / ln 2 = .19
  assert.deepEqual(signatures({ wins: [0.97, 0.03] }), ['lone-tower'])
  assert.deepEqual(signatures({ interestCount: 1, intraUserCosine: null, wins: [1] }), [])
})

test('over-fitting: training users found 2.5 times as well', () => {
  const learnedByHeart = healthy.curve.map((point) => ({ ...point, trainRecall: 0.8 }))
  assert.deepEqual(signatures({ curve: learnedByHeart }), ['over-fitting']) // .8 / .3 = 2.7
})

test('divergence, no better than popularity, and an end while it was still rising', () => {
  assert.deepEqual(signatures({ diverged: 1 }), ['divergence'])
  assert.deepEqual(signatures({ popularRecall: 0.3 }), ['not-learning'])
  const rising = healthy.curve.map((point, i) => ({ ...point, validationRecall: 0.2 + i * 0.05 }))
  assert.deepEqual(signatures({ curve: rising, stoppedEarly: false, bestEpoch: 3 }), ['slow-convergence'])
  assert.deepEqual(signatures({ curve: rising, stoppedEarly: true, bestEpoch: 3 }), [])
})

test('without validation users nothing is said of them', () => {
  const blind = healthy.curve.map((point) => ({ ...point, validationRecall: null }))
  assert.deepEqual(signatures({ curve: blind, stoppedEarly: false, popularRecall: null, bestEpoch: 3 }), [])
})
