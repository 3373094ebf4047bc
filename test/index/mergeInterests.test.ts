import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { mergeInterests as mergeCandidates } from '../../src/index/mergeInterests.ts'
import type { Candidate, Candidates } from '../../src/index/vectorIndex.ts'

const candidate = (itemId: string, score: number, vector?: Float32Array): Candidate => ({
  ...{ itemId, score },
  ...(vector === undefined ? {} : { vector })
})
const list = (scores: Readonly<Record<string, number>>, vectors: Readonly<Record<string, Float32Array>> = {}) =>
  Object.entries(scores).map(([itemId, score]) => candidate(itemId, score, vectors[itemId]))
/** An item that is not on a list has no cosine there; of several on one list the greatest counts. */
function candidatesOf(lists: readonly (readonly Candidate[])[]): Candidates {
  const itemIds = [...new Set(lists.flat().map(({ itemId }) => itemId))]
  const vectorOf = new Map(lists.flat().map(({ itemId, vector }) => [itemId, vector]))
  const own = (list: readonly Candidate[], id: string) => list.filter(({ itemId }) => itemId === id)
  return {
    ...{ itemIds, interestCount: lists.length, memory: new Float32Array(itemIds.length) },
    cosines: itemIds.flatMap((id) => lists.map((list) => Math.max(...own(list, id).map(({ score }) => score)))),
    vectors: Float32Array.from(itemIds.flatMap((id) => [...(vectorOf.get(id) ?? [0, 0])]))
  }
}
const mergeInterests = (
  lists: readonly (readonly Candidate[])[],
  ...rest: Parameters<typeof mergeCandidates> extends [Candidates, ...infer Rest] ? Rest : never
) => mergeCandidates(candidatesOf(lists), ...rest)
const brief = (merged: readonly { itemId: string; interest: number | null }[]) =>
  merged.map(({ itemId, interest }) => `${itemId}${interest}`).join(' ')

test('an item goes to the interest that scores it best, the first of equals', () => {
  const lists = [list({ a: 0.9, b: 0.5, c: 0.4 }), list({ b: 0.7, a: 0.8, c: 0.4 })]
  assert.equal(brief(mergeInterests(lists, 10)), 'a0 b1 c0')
})

test('equal scores are ordered by id, whatever order they come in', () => {
  assert.equal(brief(mergeInterests([list({ c: 0.5, a: 0.5 }), list({ b: 0.5 })], 3)), 'a0 b1 c0')
})

test('without a quota the best scores win; with one no interest is starved', () => {
  // Interest 0 runs high: its worst is above the best of interest 1.
  const lists = [list({ a: 0.9, b: 0.88, c: 0.86, d: 0.84, e: 0.82 }), list({ v: 0.3, w: 0.2 })]
  assert.equal(brief(mergeInterests(lists, 5, new Set(), { quotaShare: 0 })), 'a0 b0 c0 d0 e0')
  // ⌊5 · 0.4 / 2⌋ = 1 place each; the other 3 by score. The order stays that of the scores.
  assert.equal(brief(mergeInterests(lists, 5, new Set(), { quotaShare: 0.4 })), 'a0 b0 c0 d0 v1')
  // ⌊5 · 1 / 2⌋ = 2 each, the fifth by score.
  assert.equal(brief(mergeInterests(lists, 5, new Set(), { quotaShare: 1 })), 'a0 b0 c0 v1 w1')
  // Fewer places than interests: the scores alone.
  assert.equal(brief(mergeInterests(lists, 1, new Set(), { quotaShare: 1 })), 'a0')
})

test('places are divided by strength: an interest without evidence is guaranteed none', () => {
  const lists = [list({ a: 0.9, b: 0.88, c: 0.86, d: 0.84 }), list({ v: 0.3, w: 0.2 }), list({ y: 0.4, z: 0.1 })]
  const by = (strengths: readonly number[], limit = 4) =>
    brief(mergeInterests(lists, limit, new Set(), { quotaShare: 1, strengths }))
  assert.equal(by([0.5, 0.5, 0]), 'a0 b0 v1 w1')
  // Of 4 places 2.4, .36 and 1.24: whole ones 2, 0 and 1, the fourth to the greatest remainder.
  assert.equal(by([0.6, 0.09, 0.31]), 'a0 b0 c0 y2')
  // 2.2, 1 and .8
  assert.equal(by([0.55, 0.25, 0.2]), 'a0 b0 y2 v1')
  assert.equal(by([1, 0, 0]), 'a0 b0 c0 d0')
  // Not of these interests: evenly.
  assert.equal(by([1], 3), 'a0 y2 v1')
})

test('an interest with too few candidates leaves its places to the others', () => {
  const lists = [list({ a: 0.9, b: 0.8, c: 0.7 }), list({ h: 0.6 }), []]
  assert.equal(brief(mergeInterests(lists, 3, new Set(['h']), { quotaShare: 1 })), 'a0 b0 c0')
})

test('with diversity a near-duplicate gives way to something else', () => {
  const vectors: Record<string, Float32Array> = {
    a: Float32Array.of(1, 0),
    copy: Float32Array.of(1, 0),
    other: Float32Array.of(0, 1)
  }
  const lists = [list({ a: 0.9, copy: 0.89, other: 0.5 }, vectors)]
  assert.equal(brief(mergeInterests(lists, 2, new Set(), { quotaShare: 0 })), 'a0 copy0')
  // After a: copy is worth 0.5 · 0.89 − 0.5 · 1 = −0.055, other 0.5 · 0.5 − 0 = 0.25.
  assert.equal(brief(mergeInterests(lists, 2, new Set(), { quotaShare: 0, diversity: 0.5 })), 'a0 other0')
  // The same where `a` was chosen in its interest's quota, before the rest were looked at.
  const apart = [list({ a: 0.9 }, vectors), list({ copy: 0.89, other: 0.5 }, vectors)]
  assert.equal(brief(mergeInterests(apart, 2, new Set(), { quotaShare: 1, diversity: 0.5 })), 'a0 other1')
})

test('diversity by values, such as genres: the share of the list that has a value in common counts against an item', () => {
  const genres: Record<string, string[]> = { a: ['war'], b: ['war', 'drama'], c: ['war'], d: ['drama'], e: [] }
  const lists = [list({ a: 0.9, b: 0.8, c: 0.7, d: 0.6, e: 0.15 })]
  const by = (diversity: number, valuesOf: (itemId: string) => readonly string[], limit = 3) =>
    brief(mergeInterests(lists, limit, new Set(), { quotaShare: 0, diversity, valuesOf }))
  const genresOf = (itemId: string) => genres[itemId]!
  assert.equal(by(0, genresOf), 'a0 b0 c0')
  // After a (war), at ½: b ½ · .8 − ½ · 1 = −.1, c −.15, d .3, e .075: d. Then of {a, d}: b shares with both, ½ · .8 −
  // ½ · 1 = −.1; c with a: .35 − .25 = .1; e .075.
  assert.equal(by(0.5, genresOf), 'a0 c0 d0')
  // At .6: b .32 − .6, c .28 − .3 = −.02, e .06.
  assert.equal(by(0.6, genresOf), 'a0 d0 e0')
  // Values that nobody has: nothing is alike.
  assert.equal(
    by(0.5, () => []),
    'a0 b0 c0'
  )
  assert.equal(by(1, genresOf, 5), 'a0 b0 c0 d0 e0')
})

test('scores that are not finite are left out', () => {
  assert.equal(brief(mergeInterests([list({ a: Number.NaN, b: 0.1, c: Number.POSITIVE_INFINITY })], 5)), 'b0')
})

test('nothing in, nothing out', () => {
  assert.deepEqual(mergeInterests([], 10), [])
  assert.deepEqual(mergeInterests([[], []], 10), [])
  assert.deepEqual(mergeInterests([list({ a: 1 })], 0), [])
})

const vectorOf = (itemId: string) =>
  itemId < 'k' ? Float32Array.of(Math.cos(itemId.charCodeAt(0)), Math.sin(itemId.charCodeAt(0))) : undefined

// Few distinct scores and ids, so that ties and repeats are the rule.
const lists = fc.array(
  fc.array(
    fc
      .record({ itemId: fc.constantFrom(...'abcdefghijkl'), score: fc.constantFrom(-1, -0.5, 0, 0.25, 0.5, 0.75, 1) })
      .map(({ itemId, score }) => candidate(itemId, score, vectorOf(itemId))),
    { maxLength: 14 }
  ),
  { maxLength: 5 }
)
const unit = fc.constantFrom(0, 0.1, 0.4, 0.5, 1)
test('for any lists: no history, no repeats, in order, as long as it can be, each under its best interest', () => {
  fc.assert(
    fc.property(
      lists,
      fc.nat(15),
      fc.subarray([...'abcdefghijkl']),
      unit,
      unit,
      (lists, limit, history, quotaShare, diversity) => {
        const exclude = new Set(history)
        const merged = mergeInterests(lists, limit, exclude, { quotaShare, diversity })
        const possible = new Set(
          lists
            .flat()
            .map(({ itemId }) => itemId)
            .filter((itemId) => !exclude.has(itemId))
        )
        assert.equal(merged.length, Math.min(limit, possible.size))
        assert.equal(new Set(merged.map(({ itemId }) => itemId)).size, merged.length)
        for (const [i, { itemId, score, interest }] of merged.entries()) {
          assert(possible.has(itemId))
          const scores = lists.map((list) =>
            Math.max(...list.filter((neighbour) => neighbour.itemId === itemId).map((neighbour) => neighbour.score))
          )
          assert.equal(score, Math.max(...scores))
          assert.equal(interest, scores.indexOf(score))
          const before = merged[i - 1]
          assert(before === undefined || before.score > score || (before.score === score && before.itemId < itemId))
        }
      }
    ),
    { numRuns: 500 }
  )
})

test('for any lists: the order within a list does not matter', () => {
  fc.assert(
    fc.property(lists, fc.nat(15), unit, unit, (lists, limit, quotaShare, diversity) => {
      const options = { quotaShare, diversity }
      const reversed = lists.map((list) => [...list].reverse())
      assert.deepEqual(
        mergeInterests(reversed, limit, new Set(), options),
        mergeInterests(lists, limit, new Set(), options)
      )
    })
  )
})

test('for any lists: every interest gets its quota, as far as it has candidates', () => {
  fc.assert(
    fc.property(lists, fc.nat(15), unit, unit, (lists, limit, quotaShare, diversity) => {
      const all = mergeInterests(lists, 1000, new Set(), { quotaShare: 0 })
      const merged = mergeInterests(lists, limit, new Set(), { quotaShare, diversity })
      const quota = Math.floor((limit * quotaShare) / Math.max(1, lists.length))
      for (const [k] of lists.entries()) {
        const own = (of: readonly { interest: number | null }[]) => of.filter(({ interest }) => interest === k).length
        assert(own(merged) >= Math.min(quota, own(all)))
      }
    })
  )
})

test('by a mixture an item that two interests like comes before one that a single interest likes more, and what is alone is as far down as all lists allow', () => {
  const scoring = { form: 'mixture', temperature: 0.2 } as const
  const lists = [list({ both: 0.7, one: 0.75, same: 0.1 }), list({ both: 0.7, same: 0.1 })]
  assert.equal(brief(mergeInterests(lists, 3, new Set(), { quotaShare: 0 })), 'one0 both0 same0')
  const merged = mergeInterests(lists, 3, new Set(), { quotaShare: 0, scoring })
  assert.equal(brief(merged), 'both0 one0 same0')
  const expected = [0.7, 0.75 + 0.2 * Math.log(1 / 2), 0.1]
  for (const [i, { score }] of merged.entries())
    assert.ok(Math.abs(score - expected[i]!) < 1e-12, `${score}, expected ${expected[i]}`)
  assert.deepEqual(
    mergeInterests([lists[0]!], 3, new Set(), { scoring }),
    mergeInterests([lists[0]!], 3),
    'one interest: its cosines'
  )
})

test('the memory is added to the score of the cosines, decides nothing about the interest, and may be all there is', () => {
  const [east, north] = [list({ a: 0.9, b: 0.5 }), list({ b: 0.6, a: 0.1 })]
  const withMemory = { ...candidatesOf([east, north]), memory: Float32Array.of(0, 0.5) }
  const merged = mergeCandidates(withMemory, 2, new Set(), { quotaShare: 0 })
  assert.equal(brief(merged), 'b1 a0')
  assert.ok(Math.abs(merged[0]!.score - 1.1) < 1e-12)
  const alone = { itemIds: ['a', 'b'], interestCount: 0, cosines: [], memory: Float32Array.of(0.25, 0.5) }
  assert.deepEqual(mergeCandidates(alone, 2), [
    { itemId: 'b', score: 0.5, interest: null },
    { itemId: 'a', score: 0.25, interest: null }
  ])
})
