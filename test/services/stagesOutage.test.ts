// The stages as real processes, on a broker that dies: for half a minute, with `npm run test:services -- --full` for ten
// minutes. Every probe is red from the first seconds, lists are still served, no process ends, and all continue.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Broker, provideJava } from '../../infra/kafka/broker.mjs'
import { freePort } from '../infra/prometheusServer.ts'
import { MtmiProcess, mtmi } from '../support/mtmiProcess.ts'
import { skip as noBroker } from './kafka.ts'

const skip = noBroker === false ? (provideJava() ?? false) : noBroker
const outageMs = process.env.SERVICES_FULL === '1' ? 600_000 : 30_000
/** Where many things run at once, what takes seconds takes minutes. */
const patienceMs = 600_000
const stages = ['sequence', 'train', 'publish', 'serve'] as const

test(`the stages wait ${outageMs / 1000} s for their only broker: probes are red, lists are served, nothing ends`, {
  skip,
  timeout: 2_400_000
}, async (t) => {
  const cwd = mkdtempSync(path.join(os.tmpdir(), 'mtmi-outage-'))
  const broker = await Broker.start()
  const env = {
    MTMI_LOG: 'kafka',
    MTMI_RUN: 'shop',
    MTMI_KAFKA_BROKERS: broker.address,
    MTMI_KAFKA_REPLICATION_FACTOR: '1',
    MTMI_TOPICS_PARTITIONS: '2'
  }
  const running: MtmiProcess[] = []
  const urls = new Map<string, string>()
  /** Rejects with what a process said that has ended. */
  const gone: Promise<never>[] = []
  let isStopping = false
  try {
    for (const command of [
      ['topics', 'apply'],
      ['simulate', '--events', '800']
    ]) {
      const { status, stderr } = await mtmi(command, { cwd, env })
      assert.equal(status, 0, stderr)
    }
    const servePort = await freePort()
    for (const stage of stages) {
      const port = await freePort()
      urls.set(stage, `http://127.0.0.1:${port}`)
      const own = { ...env, MTMI_OPS_PORT: String(port), MTMI_SERVE_PORT: String(servePort) }
      const one = new MtmiProcess([stage], { cwd, env: own })
      running.push(one)
      const ended = one.ended.then(({ status, stderr }) => {
        if (!isStopping) throw new Error(`${stage} ended with ${status}: ${stderr.slice(-2000)}`)
        return new Promise<never>(() => {})
      })
      ended.catch(() => {}) // it is raced below
      gone.push(ended)
    }
    const probe = async (stage: string) => {
      const answer = await fetch(`${urls.get(stage)}/readyz`).catch(() => undefined)
      return { status: answer?.status, text: (await answer?.text()) ?? '' }
    }
    const until = async (what: string, condition: () => Promise<boolean>) => {
      for (const beganMs = performance.now(); !(await condition()); await Promise.race([pause(250), ...gone]))
        assert(performance.now() - beganMs < patienceMs, `not within ${patienceMs / 1000} s: ${what}`)
    }
    const recommended = async () => {
      const body = JSON.stringify({ history: [{ itemId: 'i1' }] })
      const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body }
      return (await fetch(`http://127.0.0.1:${servePort}/v1/recommendations`, init)).status
    }
    const allReady = async () => (await Promise.all(stages.map(probe))).every(({ status }) => status === 200)
    await until('all stages are ready', allReady)
    await broker.stop('SIGKILL')
    const diedMs = performance.now()
    for (const stage of ['sequence', 'train', 'publish'] as const) {
      await until(`${stage} is not ready`, async () => (await probe(stage)).status === 503)
      const seconds = (performance.now() - diedMs) / 1000
      t.diagnostic(`${stage}: /readyz is 503 after ${seconds.toFixed(1)} s at most: ${(await probe(stage)).text}`)
    }
    const away = /^mtmi_stage_brokers_away_seconds (\S+)$/m
    for (const stage of ['sequence', 'train', 'publish'] as const)
      await until(`${stage} exports the outage`, async () => {
        const text = await (await fetch(`${urls.get(stage)}/metrics`)).text()
        return Number(away.exec(text)?.[1] ?? 0) > 0
      })
    while (performance.now() - diedMs < outageMs) {
      await Promise.race([pause(1000), ...gone])
      const [list, { status }] = [await recommended(), await probe('serve')]
      assert(list === 200 || status === 503, `a list is answered with ${list}, the probe with ${status}`)
    }
    assert.equal(await recommended(), 200, 'lists come from the index')
    for (const stage of ['sequence', 'train', 'publish'] as const) assert.equal((await probe(stage)).status, 503, stage)
    await broker.run()
    const backMs = performance.now()
    await until('all stages are ready again', allReady)
    t.diagnostic(`all ready ${Math.round((performance.now() - backMs) / 1000)} s after the broker came back`)
    // An item that the model knows: a user of others has no vectors yet.
    const popular = await fetch(`http://127.0.0.1:${servePort}/v1/users/nobody/recommendations?limit=1`)
    const { items } = (await popular.json()) as { items: { itemId: string }[] }
    const event = JSON.stringify({ userId: 'after-the-outage', itemId: items[0]!.itemId, type: 'click' })
    await until('an event is taken', async () => {
      const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: event }
      return (await fetch(`http://127.0.0.1:${servePort}/v1/events`, init)).status === 202
    })
    await until('its user is published', async () => {
      const answer = await fetch(`http://127.0.0.1:${servePort}/v1/users/after-the-outage`)
      await answer.text()
      return answer.status === 200
    })
  } finally {
    isStopping = true
    await Promise.all(running.map((one) => one.stop('SIGTERM')))
    await broker.stop('SIGKILL')
    broker.remove()
    rmSync(cwd, { recursive: true, force: true })
  }
})
