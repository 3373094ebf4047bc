// The examples of infra/qdrant/CONTRACT.md, run as they stand there against a real server, must agree with what this
// product answers.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test, { after, before } from 'node:test'
import { Rng } from '../../src/core/rng.ts'
import { mergeInterests } from '../../src/index/mergeInterests.ts'
import type { ItemPoint, UserPoint } from '../../src/index/vectorIndex.ts'
import { itemPoint, randomUnit, userPoint } from '../conformance/vectorIndexPoints.ts'
import { clearQdrant, openQdrant, qdrantGiven, qdrantOptions, qdrantUrl } from './qdrant.ts'

const root = new URL('../..', import.meta.url).pathname
const blocks = [
  ...readFileSync(path.join(root, 'infra/qdrant/CONTRACT.md'), 'utf8').matchAll(
    /```(ts|python|bash)( fused| memory)?\n(.*?)```/gs
  )
].map(([, language, kind = '', code]) => ({ language: language!, kind: kind.trim(), code: code! }))
const hasPython = spawnSync('python3', ['-c', 'import qdrant_client']).status === 0

if (qdrantGiven('Qdrant: examples of the contract')) {
  const options = qdrantOptions()
  const index = openQdrant(options)
  // Within the repository, so that imports resolve, and where git and linters do not look.
  mkdirSync(path.join(root, '.cache'), { recursive: true })
  const folder = mkdtempSync(path.join(root, '.cache/examples-'))

  before(async () => {
    const rng = new Rng(3)
    const vector = () => [...randomUnit(rng, 8)]
    await index.createVersion('a', { dimensions: 8, interestCount: 4 })
    await index.upsert('a', 1, [
      ...Array.from({ length: 200 }, (_, i) =>
        withList(
          itemPoint(`item ${i}`, vector(), { count: i, features: { genre: [i % 3 === 0 ? 'drama' : 'war'] } }),
          i % 4 === 0 ? { [`item ${3 + (i % 2)}`]: 0.01 * (1 + (i % 7)), 'item 50': 0.02 } : {}
        )
      ),
      voting(userPoint('u 1', [vector(), vector(), vector(), vector()], ['item 3', 'item 4', 'item 6', 'item 50']))
    ])
    await index.promote('a', { items: 200, users: 1 })
  })

  after(async () => {
    rmSync(folder, { recursive: true })
    await index.close()
    await clearQdrant(options)
  })

  const run = (language: string, code: string, category?: string): { id: string; score: number }[] => {
    const file = path.join(folder, `example.${{ ts: 'mts', python: 'py', bash: 'sh' }[language]}`)
    writeFileSync(file, code.replaceAll(/\b(items|users)_live/g, `${options.prefix}$1_live`))
    const [command, ...args] = {
      ts: [process.execPath, '--import', 'tsx', file],
      python: ['python3', file],
      bash: ['bash', file]
    }[language]!
    const environment = {
      ...process.env,
      QDRANT_URL: qdrantUrl,
      USER_ID: 'u 1',
      ...(category === undefined ? {} : { CATEGORY: category })
    }
    const { stdout, stderr, status } = spawnSync(command!, args, { env: environment, encoding: 'utf8', cwd: root })
    assert.equal(status, 0, stderr)
    return JSON.parse(stdout.trim().split('\n').at(-1)!) as { id: string; score: number }[]
  }

  test('there are nine examples', () => {
    assert.deepEqual(blocks.map(({ language, kind }) => `${language} ${kind}`.trim()).sort(), [
      ...['bash', 'bash fused', 'bash memory', 'python', 'python fused', 'python memory'],
      ...['ts', 'ts fused', 'ts memory']
    ])
  })

  for (const { language, kind, code } of blocks) {
    if (kind === 'memory') continue
    const fused = kind === 'fused'
    const skip = language === 'python' && !hasPython ? 'python3 has no qdrant_client' : false
    test(`${language}${fused ? ', fused' : ''}: as the index answers`, { skip }, async () => {
      for (const category of fused ? [undefined] : [undefined, 'genre=drama']) {
        const filter = category === undefined ? {} : { features: { genre: 'drama' } }
        const { lists } = await index.search({ by: { userId: 'u 1' } }, 10, filter)
        const best = new Map<string, number>()
        for (const { itemId, score } of lists!.flat()) best.set(itemId, Math.max(score, best.get(itemId) ?? -1))
        const expected = [...best].sort(([, a], [, b]) => b - a).slice(0, 10)
        const found = run(language, code, category)
        if (fused) {
          assert.equal(found.length, 60)
          // Each interest's nearest unseen item has a place near the front: rank 1 to 5 of its list, of four lists.
          const ids = found.slice(0, 40).map(({ id }) => id)
          for (const list of lists!) assert(ids.includes(list[0]!.itemId))
        } else {
          assert.deepEqual(
            found.map(({ id }) => id),
            expected.map(([id]) => id)
          )
          for (const [i, { score }] of found.entries()) assert(Math.abs(score - expected[i]![1]) < 1e-5)
        }
      }
    })
  }

  // All 200 items are within each prefetch: no default takes part, and the scores are exact.
  for (const { language, code } of blocks.filter(({ kind }) => kind === 'memory')) {
    const skip = language === 'python' && !hasPython ? 'python3 has no qdrant_client' : false
    test(`${language}, with the memory: the scores of the index`, { skip }, async () => {
      const scoring = { form: 'mixture', temperature: 0.12 } as const
      const found = await index.candidates({ by: { userId: 'u 1' } }, 200, { excludeRecent: false }, { scoring })
      const expected = mergeInterests(found.candidates!, 60, new Set(), { quotaShare: 0, scoring })
      const answer = run(language, code)
      assert.equal(answer.length, 60)
      const scoreOf = new Map(answer.map(({ id, score }) => [id, score]))
      // An item that gets no votes is not in the sparse prefetch: its memory is the default, 0, as here.
      for (const { itemId, score } of expected.slice(0, 55))
        assert(Math.abs(scoreOf.get(itemId)! - (score + 0.12 * Math.log(4))) < 1e-4, itemId)
    })
  }
}

function withList(point: ItemPoint, list: Readonly<Record<string, number>>): ItemPoint {
  return { ...point, memory: { neighbours: Object.keys(list), weights: Float32Array.from(Object.values(list)) } }
}

function voting(point: UserPoint): UserPoint {
  return { ...point, payload: { ...point.payload, memory: { weight: 2.4, decay: 0.8 } } }
}
