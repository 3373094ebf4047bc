// A Qdrant of our own that is killed while an index version is rebuilt, and started again on what it left. QDRANT_BIN names the
// program.

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { itemPoint, userPoint } from '../conformance/vectorIndexPoints.ts'
import { openQdrant, qdrantOptions } from './qdrant.ts'

const program = process.env.QDRANT_BIN ?? ''
const skip = program === '' ? 'SKIPPED: QDRANT_BIN does not name a Qdrant 1.18 program' : false

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

class OwnQdrant {
  readonly #folder = mkdtempSync(path.join(tmpdir(), 'mtmi-qdrant-'))
  readonly #ports: readonly [number, number]
  #process: ChildProcess | undefined

  private constructor(ports: readonly [number, number]) {
    this.#ports = ports
  }

  static async make(): Promise<OwnQdrant> {
    return new OwnQdrant([await freePort(), await freePort()])
  }

  get url(): string {
    return `http://127.0.0.1:${this.#ports[0]}`
  }

  async start(): Promise<void> {
    this.#process = spawn(program, {
      cwd: this.#folder,
      stdio: 'ignore',
      env: {
        ...process.env,
        QDRANT__SERVICE__HOST: '127.0.0.1',
        QDRANT__SERVICE__HTTP_PORT: String(this.#ports[0]),
        QDRANT__SERVICE__GRPC_PORT: String(this.#ports[1]),
        QDRANT__STORAGE__STORAGE_PATH: path.join(this.#folder, 'storage'),
        QDRANT__STORAGE__SNAPSHOTS_PATH: path.join(this.#folder, 'snapshots'),
        QDRANT__TELEMETRY_DISABLED: 'true'
      }
    })
    while (!(await fetch(`${this.url}/readyz`).then(({ ok }) => ok, () => false))) await pause(50) // biome-ignore format: one thought
  }

  async kill(): Promise<void> {
    const ended = once(this.#process!, 'exit')
    this.#process!.kill('SIGKILL')
    await ended
  }

  async dispose(): Promise<void> {
    await this.kill()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

test('killed three times while an index version is rebuilt: what was acknowledged is there, and readers see one index version or the other', {
  skip
}, async () => {
  const server = await OwnQdrant.make()
  await server.start()
  const options = {
    ...qdrantOptions({ retryMs: 60_000, searchRetryMs: 60_000, batchBytesMax: 10_000 }),
    url: server.url
  }
  const index = openQdrant(options)
  const count = 300
  const pointsOf = (indexVersion: string, step: number) => [
    ...Array.from({ length: count }, (_, i) =>
      itemPoint(`item ${i}`, [Math.cos(i), Math.sin(i)], { title: `${indexVersion} ${step}` })
    ),
    userPoint('ann', [[1, 0]], [`${indexVersion} ${step}`])
  ]
  const shape = { dimensions: 2, interestCount: 1 }
  const titlesOf = async (indexVersion: string) => {
    const found = await index.items(
      indexVersion,
      Array.from({ length: count }, (_, i) => `item ${i}`)
    )
    assert.equal(found.size, count)
    return [...new Set([...found.values()].map(({ payload }) => payload.title))]
  }
  try {
    await index.createVersion('a', shape)
    await index.upsert('a', 1, pointsOf('a', 1))
    await index.promote('a', { items: count, users: 1 })
    const rebuilding = (async () => {
      await index.createVersion('b', shape)
      for (let step = 1; step <= 5; step++) {
        await index.upsert('b', step, pointsOf('b', step))
        assert.deepEqual(await titlesOf('b'), [`b ${step}`])
      }
      await index.remove('b', 'item', ['item 7'])
      assert.equal(await index.upsert('b', 4, [itemPoint('item 7', [1, 0])]), 0)
      for (;;) {
        try {
          return await index.promote('b', { items: count - 1, users: 1 })
        } catch (error) {
          if ((error as { code?: string }).code !== 'UNAVAILABLE') throw error // still indexing, after a restart
        }
      }
    })()
    rebuilding.catch(() => {}) // awaited below
    for (let kills = 0; kills < 3; kills++) {
      await pause(150)
      await server.kill()
      await server.start()
      const { indexVersion, user } = await index.search({ by: { userId: 'ann' } }, 3)
      assert.deepEqual(user?.recent, [indexVersion === 'a' ? 'a 1' : 'b 5'])
    }
    await rebuilding
    await server.kill()
    await server.start()
    const live = await index.live()
    assert.deepEqual([live?.indexVersion, live?.step, live?.items, live?.users], ['b', 5, count - 1, 1])
    assert.equal(await index.item('item 7'), undefined)
    assert.deepEqual(await titlesOf('a'), ['a 1'])
  } finally {
    await index.close()
    await server.dispose()
  }
})
