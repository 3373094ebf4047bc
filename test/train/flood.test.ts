// What a flood does to everybody else: hit rates of the others in a clean stream, in a poisoned one, and in a poisoned
// one without the guard.
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { configSchema } from '../../src/core/config/config.ts'
import { Rng } from '../../src/core/rng.ts'
import { loadBackend } from '../../src/model/backend.ts'
import type { Example } from '../../src/records/example.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'

before(() => loadBackend())

const rings = 6
const ringLength = 12
const normal = 32
const poisoned = 160

let offset = 0
const step = (itemId: string, i: number) => ({ itemId, type: 'click', eventTimeMs: 1e12 + 1000 * i })
const exampleOf = (userId: string, ids: readonly string[]): Example => ({
  userId,
  history: ids.slice(0, -1).map(step),
  target: step(ids.at(-1)!, ids.length),
  source: { partition: 0, offset: BigInt(offset++) },
  weight: 1
})

/** Walks round a ring: after item i comes i + 1. */
const walk = (rng: Rng): Example => {
  const ring = rng.integer(rings)
  const start = rng.integer(ringLength)
  const length = 2 + rng.integer(3)
  return exampleOf(
    `u${rng.integer(500)}`,
    Array.from({ length }, (_, i) => `r${ring}-${(start + i) % ringLength}`)
  )
}

/**
 * A click of one user after another, or of many users on one item: after an item of a ring comes what never follows it.
 */
const junk = {
  user: (rng: Rng): Example =>
    exampleOf('bot', [
      `r${rng.integer(rings)}-${rng.integer(ringLength)}`,
      `r${rng.integer(rings)}-${rng.integer(ringLength)}`
    ]),
  item: (rng: Rng): Example =>
    exampleOf(`s${rng.integer(100_000)}`, [`r${rng.integer(rings)}-${rng.integer(ringLength)}`, 'spam'])
}

/**
 * Hit rate@1 of the others over the second half of 90 batches, and how many of the flood's examples were refused in
 * all.
 */
function run(flood: 'none' | keyof typeof junk, train: Record<string, unknown>): { hitRate: number; refused: number } {
  const config = configSchema.parse({
    model: { dimensions: 16, interestCount: 2 },
    train: { negatives: 16, reservoirMax: 1000, ...train }
  })
  const trainer = new IncrementalTrainer({
    model: config.model,
    train: { ...config.train, guardExamples: 1000 },
    historyMax: 8,
    seed: 1
  })
  const rng = new Rng(5)
  const junkRng = new Rng(6)
  let hits = 0
  let ranked = 0
  let refused = 0
  for (let batch = 0; batch < 90; batch++) {
    const good = Array.from({ length: normal }, () => walk(rng))
    const bad = flood === 'none' ? [] : Array.from({ length: poisoned }, () => junk[flood](junkRng))
    const { evaluation, report } = trainer.step([...good, ...bad], new Map())
    refused += report.refused ?? 0
    if (batch < 45) continue
    for (let b = 0; b < normal; b++) if (evaluation.ranks[b] === 0) hits++
    ranked += normal
  }
  return { hitRate: hits / ranked, refused }
}

for (const flood of ['user', 'item'] as const) {
  test(`a flood by one ${flood}, five times as large as the stream, costs the others little`, () => {
    const clean = run('none', {})
    const guarded = run(flood, {})
    const open = run(flood, { userShareMax: 1, itemShareMax: 1 })
    const figures = `clean ${clean.hitRate.toFixed(3)}, guarded ${guarded.hitRate.toFixed(3)}, open ${open.hitRate.toFixed(3)}`
    assert.equal(clean.refused, 0)
    assert.equal(open.refused, 0)
    // 90 · 160 = 14,400 were offered; at most a tenth of about 3,000 trained on may be theirs, and what fits in before the
    // others have filled the window.
    assert.ok(guarded.refused > 12_000, `${guarded.refused} refused`)
    assert.ok(guarded.hitRate > clean.hitRate - 0.1, figures)
    assert.ok(guarded.hitRate > open.hitRate, figures)
    process.stderr.write(`# ${flood}: ${figures}\n`)
  })
}
