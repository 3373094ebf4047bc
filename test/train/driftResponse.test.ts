import assert from 'node:assert/strict'
import test from 'node:test'
import { DriftResponse } from '../../src/train/driftResponse.ts'

const options = { rowRate: 3, denseRate: 2, replayNewest: 100, examples: 1000 }

test('rates rise at once and fall to what they were; replay goes back to what came just before', () => {
  const response = new DriftResponse(options)
  assert.deepEqual([response.rowRate, response.denseRate, response.replayed], [1, 1, undefined])
  assert.equal(response.begin(), true)
  assert.deepEqual([response.rowRate, response.denseRate, response.replayed], [3, 2, 100])
  response.learned(500)
  assert.deepEqual([response.rowRate, response.denseRate, response.replayed], [2, 1.5, 600])
  response.learned(500)
  assert.deepEqual([response.rowRate, response.denseRate, response.replayed], [1, 1, undefined])
})

test('a second alarm during a response, or in as many examples after it, changes nothing', () => {
  const response = new DriftResponse(options)
  response.begin()
  response.learned(900)
  assert.equal(response.begin(), false)
  assert.ok(Math.abs(response.rowRate - 1.2) < 1e-9)
  response.learned(1099)
  assert.equal(response.begin(), false)
  response.learned(1)
  assert.equal(response.begin(), true)
})

test('with nothing to change there is no response', () => {
  const response = new DriftResponse({ ...options, rowRate: 1, denseRate: 1, replayNewest: 0 })
  assert.equal(response.begin(), false)
})

test('goes on from its state, as JSON, as if it had never stopped', () => {
  const response = new DriftResponse(options)
  const copyOf = (from: DriftResponse) => {
    const copy = new DriftResponse(options)
    copy.restore(JSON.parse(JSON.stringify(from.state())) as ReturnType<DriftResponse['state']>)
    return copy
  }
  assert.equal(copyOf(response).begin(), true)
  response.begin()
  response.learned(300)
  const copy = copyOf(response)
  assert.deepEqual([copy.rowRate, copy.replayed, copy.begin()], [response.rowRate, response.replayed, false])
})
