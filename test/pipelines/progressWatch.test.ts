import assert from 'node:assert/strict'
import test from 'node:test'
import { ProgressWatch, type StageProgress } from '../../pipelines/progressWatch.ts'

const progress = (behind: number, consumed: number, takenAtMs: number): StageProgress => ({
  consumed: new Map([[0, BigInt(consumed)]]),
  ends: new Map([[0, BigInt(consumed + behind)]]),
  takenAtMs
})

test('a stage that has work and does not move is stalled, once it has not moved for long enough', () => {
  const watch = new ProgressWatch()
  watch.note('train', progress(10, 5, 900), 1000)
  watch.note('train', progress(20, 5, 900), 3000)
  assert.equal(watch.stalled(3000, 2000), undefined) // exactly as long
  assert.match(watch.stalled(3001, 2000) ?? '', /^train has 20 records waiting and has not moved for 2 s$/)
  watch.note('train', progress(19, 6, 950), 3002)
  assert.equal(watch.stalled(5000, 2000), undefined)
})

test('a stage without work is not stalled, however long nothing happens', () => {
  const watch = new ProgressWatch()
  watch.note('sequence', progress(0, 5, 900), 1000)
  watch.note('sequence', progress(0, 5, 900), 100_000)
  assert.equal(watch.stalled(100_001, 2000), undefined)
})

test('lag is the age of the newest record worked off, and none where nothing waits', () => {
  const watch = new ProgressWatch()
  watch.note('sequence', progress(3, 7, 4000), 10_000)
  watch.note('publish', progress(0, 7, 4000), 10_000)
  const lags = Object.fromEntries([...watch.lags(10_500)].map(({ stage, lagSeconds }) => [stage, lagSeconds]))
  assert.deepEqual(lags, { sequence: 6.5, publish: 0 }) // 10,500 − 4,000 ms
})
