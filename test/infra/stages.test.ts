// Each stage in a process of its own: health, readiness and metrics on its ops port.

import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { type AccountNumbers, accountText, unaccounted } from '../../src/core/account.ts'
import { MtmiProcess, withDataDir } from './pipelineProcess.ts'
import { freePort } from './prometheusServer.ts'

const stages = ['sequence', 'train', 'publish', 'serve'] as const
const patienceMs = 180_000

test('sequence, train, publish and serve each tell how they are, by offsets that move', async () => {
  await withDataDir(async (dataDir) => {
    await new MtmiProcess(dataDir, ['simulate', '--events', '600']).end()
    const processes: MtmiProcess[] = []
    try {
      const urls = new Map<string, string>()
      for (const stage of stages) {
        const port = await freePort()
        urls.set(stage, `http://127.0.0.1:${port}`)
        const extra: Record<string, string> = stage === 'serve' ? { MTMI_SERVE_PORT: String(await freePort()) } : {}
        processes.push(new MtmiProcess(dataDir, [stage], { MTMI_OPS_PORT: String(port), ...extra }))
      }
      const ask = (stage: string, path: string) => fetch(urls.get(stage)! + path).catch(() => undefined)
      const deadline = performance.now() + patienceMs
      const until = async (what: string, condition: () => Promise<boolean>) => {
        while (!(await condition())) {
          for (const { alive, output } of processes) assert(alive, output)
          assert(
            performance.now() < deadline,
            `waited in vain until ${what}: ${processes.map(({ output }) => output).join('\n')}`
          )
          await pause(200)
        }
      }
      const sample = async (stage: string, pattern: RegExp) =>
        Number(pattern.exec((await (await ask(stage, '/metrics'))?.text()) ?? '')?.[1])
      for (const stage of stages)
        await until(`${stage} is ready`, async () => (await ask(stage, '/readyz'))?.ok === true)
      for (const stage of stages) assert.deepEqual(await (await ask(stage, '/livez'))!.json(), { live: true })
      // 600 genuine events: the simulation adds copies of some, which are not placed again.
      await until(
        'everything is sequenced',
        async () =>
          (await sample('sequence', /^mtmi_stage_records_total\{reader="sequence",outcome="placed"\} (\d+)$/m)) >= 500
      )
      await until(
        'something is learned',
        async () =>
          (await sample('train', /^mtmi_stage_records_total\{reader="train",outcome="trained"\} (\d+)$/m)) > 100
      )
      await until(
        'something is published',
        async () => (await sample('publish', /^mtmi_publish_points_total\{role="user",outcome="written"\} (\d+)$/m)) > 0
      )
      await until(
        'something is served',
        async () => (await sample('serve', /^mtmi_index_points\{role="user"\} (\d+)$/m)) > 0
      )
      for (const stage of ['sequence', 'train', 'publish'])
        await until(
          `${stage} has caught up`,
          async () =>
            (await sample(stage, new RegExp(`^mtmi_stage_lag_seconds\\{stage="${stage}"\\} (.+)$`, 'm'))) === 0
        )
      const readers = {
        ...{ sequence: ['sequence', 'catalogue'], train: ['train', 'catalogue'] },
        ...{ publish: ['publish', 'popularity', 'model', 'catalogue'], serve: ['catalogue', 'model'] }
      }
      for (const stage of stages) {
        const { accounts } = (await (await ask(stage, '/readyz'))!.json()) as { accounts: AccountNumbers[] }
        assert.deepEqual(
          accounts.map(({ reader }) => reader),
          readers[stage]
        )
        for (const account of accounts) assert.equal(unaccounted(account), 0, `${stage}: ${accountText(account)}`)
        assert(accounts.at(-1)!.read > 0, `${stage} has read nothing`)
      }
      const missing = await ask('train', '/v1/events')
      assert.equal(missing?.status, 404)
      assert.match(missing.headers.get('content-type')!, /problem\+json/)
    } finally {
      for (const process of processes) await process.stop()
    }
  })
})
