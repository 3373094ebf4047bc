import assert from 'node:assert/strict'
import test from 'node:test'
import { outdatedPlanted } from './planted.ts'
import { prepare, simulateRun } from './simulation.ts'

test('a seed gives the same run twice, whatever ran in between', async () => {
  const setting = await prepare()
  const runs = []
  for (const seed of [11, 12, 11, 12]) runs.push(await simulateRun(seed, setting))
  for (const { violations } of runs) assert.deepEqual(violations, [])
  assert.deepEqual(runs[2]!.lines, runs[0]!.lines)
  assert.deepEqual(runs[3]!.lines, runs[1]!.lines)
  assert.notDeepEqual(runs[0]!.lines, runs[1]!.lines)
})

test('the text that each planted bug changes is in the product, exactly once', () => {
  assert.deepEqual(outdatedPlanted(), [])
})
