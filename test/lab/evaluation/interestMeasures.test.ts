// What several interests are for, by hand.
import assert from 'node:assert/strict'
import test from 'node:test'
import { type ItemGroups, interestMeasures, itemGroups } from '../../../src/lab/evaluation/interestMeasures.ts'
import { labMemory } from '../../../src/lab/evaluation/memoryLists.ts'
import { steps, user } from './offlineSteps.ts'

const near = (actual: number, expected: number) =>
  assert(Math.abs(actual - expected) < 1e-9, `${actual} is not ${expected}`)
/** Items of group x are x1, x2, …; `ab` is in both. */
const groups: ItemGroups = new Map<string, readonly string[]>([
  ...['a', 'b', 'c'].flatMap((group) => [1, 2, 3, 4].map((n) => [`${group}${n}`, [group]] as const)),
  ['ab', ['a', 'b']]
])
const one = (history: string, targets: string) => ({
  userId: history,
  history: steps(history),
  targets: targets.split(' ')
})

test('mixed users have no group with half of their history; targets outside their main group are rare', () => {
  const cases = [
    one('a1 a2 b1', 'a3 b2 c1'), // mostly a: 2 of 3
    one('a1 b1 c1', 'a2 b2'), // mixed; a comes first of equals
    one('unknown', 'a1') // of no group: not counted
  ]
  const found = interestMeasures(cases, [['b2', 'x', 'a3'], ['b2'], ['a1']], groups)
  assert.equal(found.mixedUsers, 1)
  near(found.mixedRecall, 1 / 2)
  near(found.otherRecall, 2 / 3)
  // b2 and c1 of the first, b2 of the second; c1 is not found.
  assert.equal(found.rareTargets, 3)
  near(found.rareFound, 2 / 3)
  near(found.groupsFound, (2 / 3 + 1 / 2) / 2)
})

test('exactly half of the history in one group is not mixed; an item of two groups counts a half for each', () => {
  assert.equal(interestMeasures([one('a1 b1', 'a2')], [[]], groups).mixedUsers, 0)
  // a 1.5, b .5, c 1: exactly half; without the shared item a third each.
  assert.equal(interestMeasures([one('a1 ab c1', 'a2')], [[]], groups).mixedUsers, 0)
  assert.equal(interestMeasures([one('ab c1 c2 b1 a1', 'a2')], [[]], groups).mixedUsers, 1)
})

test('α-NDCG: a second hit of a group is worth half of the first', () => {
  const at = (rank: number) => 1 / Math.log2(rank + 2)
  const { alphaNdcg } = interestMeasures([one('a1', 'a2 a3 b1')], [['a2', 'a3', 'x', 'b1']], groups)
  // The best order is a2 b1 a3: 1, 1 and a half.
  near(alphaNdcg, (at(0) + 0.5 * at(1) + at(3)) / (at(0) + at(1) + 0.5 * at(2)))
  near(interestMeasures([one('a1', 'a2 a3 b1')], [['a2', 'b1', 'a3']], groups).alphaNdcg, 1)
  // A target of two groups is worth 2, afterwards a half and a half.
  near(interestMeasures([one('c1', 'ab a1')], [['ab', 'a1']], groups).alphaNdcg, 1)
})

test('groups are a field with 5 to 100 values that most items have, the one with the fewest', () => {
  const item = (n: number, features: Record<string, string[]>) => ({ itemId: `i${n}`, features, updatedAtMs: 0 })
  const catalogue = Array.from({ length: 40 }, (_, n) =>
    item(n, {
      kind: [`k${n % 6}`],
      year: [`${n % 12}`],
      flag: [`${n % 2}`],
      ...(n < 10 ? { rare: [`r${n % 5}`] } : {})
    })
  )
  assert.deepEqual(itemGroups(catalogue, new Map()).get('i7'), ['k1'])
})

test('without such a field items that are taken together are in one cluster', () => {
  const kinds = ['a', 'b', 'c', 'd']
  const train = kinds.flatMap((kind) =>
    Array.from({ length: 30 }, (_, n) =>
      user(`${kind}${n}`, [0, 1, 2, 3, 4].map((k) => `${kind}${(n + k * (1 + (n % 3))) % 12}`).join(' '))
    )
  )
  const clusters = itemGroups([], labMemory(train))
  assert.equal(clusters.size, 48)
  const kindsOf = new Map<string, Set<string>>()
  for (const [itemId, [cluster]] of clusters)
    kindsOf.set(cluster!, (kindsOf.get(cluster!) ?? new Set()).add(itemId[0]!))
  // No cluster has items of two kinds, which are never taken together.
  assert(
    [...kindsOf.values()].every(({ size }) => size === 1),
    JSON.stringify([...clusters])
  )
})
