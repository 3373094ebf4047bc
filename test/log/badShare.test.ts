import assert from 'node:assert/strict'
import test from 'node:test'
import { BadShare, badWindow } from '../../src/log/badShare.ts'

test('only a full window is judged, and only the newest records', () => {
  const share = new BadShare(0.5)
  for (let i = 0; i < badWindow - 1; i++) share.note(true)
  assert.equal(share.exceeded, false)
  share.note(true)
  assert.equal(share.exceeded, true)
  // 500 good ones push 500 bad ones out: half is not more than half.
  for (let i = 0; i < badWindow / 2; i++) share.note(false)
  assert.equal(share.bad, 500)
  assert.equal(share.exceeded, false)
  share.note(true)
  assert.equal(share.bad, 500) // a bad one went, a bad one came
})

test('a share of 1 stops nothing', () => {
  const share = new BadShare(1)
  for (let i = 0; i < 2 * badWindow; i++) share.note(true)
  assert.equal(share.exceeded, false)
})
