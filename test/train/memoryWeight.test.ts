// The weight of the memory follows what finds more, and a wrong one cannot hurt for long.
import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../src/core/rng.ts'
import { MemoryWeight, memoryWeights } from '../../src/train/memory/memoryWeight.ts'

/** Ranks of a target that is found in the first 20 with each weight's probability; what one finds a better one does. */
function ranksOf(rng: Rng, found: readonly number[]): number[] {
  const chance = rng.uniform()
  return found.map((probability) => (chance < probability ? 3 : 100))
}

function note(weight: MemoryWeight, rng: Rng, targets: number, found: readonly number[]): number[] {
  const chosen = new Set<number>()
  for (let i = 0; i < targets; i++) {
    weight.note(ranksOf(rng, found))
    if (i % 100 === 99) weight.choose()
    chosen.add(weight.weight)
  }
  return [...chosen]
}

test('it begins without the memory, and takes the weight that finds more', () => {
  const weight = new MemoryWeight()
  assert.equal(weight.weight, 0)
  note(weight, new Rng(1), 150, [0.3, 0.31, 0.33, 0.36, 0.32])
  assert.equal(weight.weight, 0, 'too few targets')
  note(weight, new Rng(2), 3000, [0.3, 0.31, 0.33, 0.36, 0.32])
  assert.equal(weight.weight, 20)
})

test('where the memory finds less it is not used, and one in use is dropped', () => {
  const weight = new MemoryWeight()
  assert.deepEqual(note(weight, new Rng(3), 5000, [0.3, 0.29, 0.28, 0.25, 0.2]), [0])
  note(weight, new Rng(4), 10_000, [0.3, 0.31, 0.33, 0.36, 0.32])
  assert.equal(weight.weight, 20)
  note(weight, new Rng(5), 8000, [0.3, 0.29, 0.28, 0.25, 0.2])
  assert.equal(weight.weight, 0)
})

test('a sampled target counts for what it stands for: the beginning of a stream, ranked in full, does not outweigh it', () => {
  const weight = new MemoryWeight()
  note(weight, new Rng(8), 2000, [0.2, 0.21, 0.25, 0.22, 0.2])
  assert.equal(weight.weight, 10)
  const rng = new Rng(9)
  for (let i = 0; i < 600; i++) weight.note(ranksOf(rng, [0.4, 0.35, 0.3, 0.3, 0.2]), 30)
  weight.choose()
  assert.equal(weight.weight, 0)
})

test('chance alone does not bring it in', () => {
  let used = 0
  for (let seed = 0; seed < 40; seed++) {
    const rng = new Rng(100 + seed)
    const weight = new MemoryWeight()
    for (let i = 0; i < 2000; i++) weight.note(memoryWeights.map(() => (rng.uniform() < 0.3 ? 3 : 100)))
    weight.choose()
    if (weight.weight > 0) used++
  }
  // The best of four, two standard errors ahead: about one in twelve by chance.
  assert(used <= 8, `${used} of 40`)
})

test('continued from its state it chooses the same', () => {
  const first = new MemoryWeight()
  note(first, new Rng(6), 1500, [0.3, 0.31, 0.33, 0.36, 0.32])
  const second = new MemoryWeight()
  second.restore(JSON.parse(JSON.stringify(first.state())))
  for (const weight of [first, second]) note(weight, new Rng(7), 1000, [0.3, 0.31, 0.35, 0.33, 0.32])
  assert.deepEqual(second.state(), first.state())
  assert.equal(second.weight, first.weight)
})
