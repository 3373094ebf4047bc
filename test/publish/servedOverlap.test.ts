import assert from 'node:assert/strict'
import test from 'node:test'
import type { Encoder } from '../../src/model/encoder.ts'
import { servedOverlap } from '../../src/publish/servedOverlap.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'

const items = 40
const at = (radians: number) => [Math.cos(radians), Math.sin(radians)]
/** Item i stands i fortieths round the circle; a hundredth of a step keeps two neighbours from being equally near. */
const place = (i: number) => (2 * Math.PI * i) / items
const user = place(0.01)

/** One interest; items as they were published, turned by `turn`. */
function encoderOf(turn: number): Encoder {
  return {
    modelVersion: 's',
    step: 2,
    dimensions: 2,
    interestCount: 1,
    itemVectors: (wanted) => ({
      vectors: Float32Array.from(wanted.flatMap(({ itemId }) => at(place(Number(itemId)) + turn))),
      known: new Uint8Array(wanted.length).fill(1)
    }),
    interests: () => ({ interests: new Float32Array(0), known: new Uint8Array(0), strengths: new Float32Array(0) })
  }
}

async function published(recent: readonly string[] = []) {
  const index = new MemoryVectorIndex()
  await index.createVersion('s', { dimensions: 2, interestCount: 1 })
  const payload = { features: {}, count: 1, updatedAtMs: 0 }
  await index.upsert('s', 1, [
    ...Array.from({ length: items }, (_, i) => ({
      role: 'item' as const,
      id: `${i}`,
      vector: Float32Array.from(at(place(i))),
      payload
    })),
    {
      role: 'user' as const,
      id: 'ann',
      vectors: Float32Array.from(at(user)),
      payload: { recent, historyLength: recent.length, newestMs: 5, updatedAtMs: 0 }
    }
  ])
  await index.promote('s', { items, users: 1 })
  return index
}

const overlap = async (index: MemoryVectorIndex, turnOfUser: number, turnOfItems = 0) =>
  servedOverlap(
    { encoder: encoderOf(turnOfItems), index, catalogue: new Map() },
    'ann',
    Float32Array.from(at(user + turnOfUser))
  )

test('the same weights serve the same list', async () => {
  assert.equal(await overlap(await published(), 0), 1)
  assert.equal(await overlap(await published(['0', '1', '39']), 0), 1) // what is excluded when serving is excluded here as well
})

test('a user whose vector would have turned by a quarter keeps half of the list, by a half none of it', async () => {
  const index = await published()
  // Served are −9 … 10. Turned by ten places 1 … 20 are nearest: 1 … 10 are in both. By twenty: 11 … 30.
  assert.equal(await overlap(index, Math.PI / 2), 0.5)
  assert.equal(await overlap(index, Math.PI), 0)
})

test('so it is when the items turned; together with the user nothing is lost', async () => {
  const index = await published()
  assert.equal(await overlap(index, 0, Math.PI / 2), 0.5)
  assert.equal(await overlap(index, Math.PI / 2, Math.PI / 2), 1)
})

test('a user who is not in the index has nothing to lose', async () => {
  const index = await published()
  await index.remove('s', 'user', ['ann'])
  assert.equal(await overlap(index, 0), undefined)
})
