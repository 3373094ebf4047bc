// `mtmi doctor` beyond this machine: what answers, what does not, and that it comes to an end either way. With real
// brokers: test/services/kafkaSurvey.test.ts.

import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { after, suite, test } from 'node:test'
import { failure, inTime } from '../../../pipelines/cli/doctor/finding.ts'
import { stageNeeds } from '../../../pipelines/cli/doctor/stageNeeds.ts'
import { configSchema } from '../../../src/core/config/config.ts'
import { ConfigError } from '../../../src/core/errors.ts'
import { lastLine, mtmi } from '../../support/mtmiProcess.ts'
import { RegistryServer } from '../../support/registryServer.ts'

const cwd = mkdtempSync(path.join(os.tmpdir(), 'mtmi-doctor-'))
after(() => rmSync(cwd, { recursive: true, force: true }))

interface Finding {
  readonly what: string
  readonly verdict: string
  readonly detail: string
  readonly advice?: string
}

async function doctor(env: Readonly<Record<string, string>>, args: readonly string[] = []) {
  const { status, stdout } = await mtmi(['doctor', '--json', ...args], {
    cwd,
    env: { MTMI_BACKEND: 'wasm', ...env }
  })
  const { findings } = lastLine(stdout) as unknown as { findings: readonly Finding[] }
  return { status, findings, of: (what: string) => findings.find((finding) => finding.what === what) }
}

suite('doctor', { concurrency: 2 }, () => {
  test('a registry that answers: what is registered, what is not, and whether somebody may', async () => {
    const server = await new RegistryServer().start()
    try {
      const may = await doctor({ MTMI_REGISTRY_URL: server.url })
      assert.equal(may.status, 0, JSON.stringify(may.findings))
      assert.equal(may.of(`schema registry ${server.url}`)?.verdict, 'ok')
      assert.match(may.of('schema interactions-value')!.detail, /not registered yet/)
      const mayNot = await doctor({ MTMI_REGISTRY_URL: server.url, MTMI_REGISTRY_REGISTER: 'false' })
      assert.equal(mayNot.status, 78)
      assert.match(mayNot.of('schema interactions-value')!.advice!, /mtmi schemas register/)
      const registered = await mtmi(['schemas', 'register'], { cwd, env: { MTMI_REGISTRY_URL: server.url } })
      assert.equal(registered.status, 0, registered.stderr)
      const now = await doctor({ MTMI_REGISTRY_URL: server.url, MTMI_REGISTRY_REGISTER: 'false' })
      assert.equal(now.status, 0)
      assert.match(now.of('schema interactions-value')!.detail, /^id \d+, version 1$/)
    } finally {
      await server.stop()
    }
  })

  test('Qdrant: what is live, and a key that is missing', async () => {
    // Loopback answers in Qdrant's form: a server is not at hand everywhere; with one,
    // test/services/qdrantIndex.test.ts.
    const server = createHttpServer((request, response) => {
      const send = (status: number, body: object) =>
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
      if (request.headers['api-key'] !== 'key') return send(401, { status: { error: 'Unauthorized' } })
      if (request.url === '/') return send(200, { title: 'qdrant - vector search engine', version: '1.18.3' })
      if (request.url === '/aliases') return send(200, { result: { aliases: [] }, status: 'ok', time: 0 })
      return send(404, { status: { error: 'Not found' }, time: 0 })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      const look = (key: string) => doctor({ MTMI_INDEX: 'qdrant', MTMI_QDRANT_URL: url, MTMI_QDRANT_API_KEY: key })
      const shut = await look('wrong')
      assert.equal(shut.status, 78)
      assert.match(shut.of(`Qdrant ${url}`)!.advice!, /MTMI_QDRANT_API_KEY_FILE/)
      const fresh = await look('key')
      assert.match(fresh.of(`Qdrant ${url}`)!.detail, /^version 1\.18\.3; nothing published yet$/)
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })

  test('what does not answer is named, with what to do; nothing is left behind', async () => {
    const { status, of } = await doctor({
      MTMI_REGISTRY_URL: 'http://127.0.0.1:9',
      MTMI_LOG: 'kafka',
      MTMI_KAFKA_BROKERS: '127.0.0.1:9',
      MTMI_INDEX: 'qdrant',
      MTMI_QDRANT_URL: 'http://127.0.0.1:9'
    })
    assert.equal(status, 1)
    for (const [what, advice] of [
      ['schema registry http://127.0.0.1:9', /registry\.url/],
      ['brokers', /kafka\.brokers/],
      ['Qdrant http://127.0.0.1:9', /qdrant\.url/]
    ] as const) {
      const finding = of(what)
      assert.equal(finding?.verdict, 'failed')
      assert.match(finding.detail, /127\.0\.0\.1:9/)
      assert.match(finding.advice!, advice)
    }
    assert.equal(of('topic interactions'), undefined, 'what lies behind the brokers is not looked at')
    assert.deepEqual(
      readdirSync(cwd).filter((name) => name === 'data'),
      []
    )
  })

  test('a broker that takes connections and says nothing does not hold it up for ever', async () => {
    const silent = createServer(() => {})
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = silent.address() as { port: number }
      const { status, of } = await doctor({ MTMI_LOG: 'kafka', MTMI_KAFKA_BROKERS: `127.0.0.1:${port}` })
      assert.equal(status, 1)
      assert.equal(of('brokers')?.verdict, 'failed')
    } finally {
      silent.close()
    }
  })
})

test('a part that does not come to an end in time has failed', async () => {
  const [finding] = await inTime('part', 5, 'mend it', () => new Promise(() => {}))
  assert.deepEqual(finding, {
    what: 'part',
    verdict: 'failed',
    detail: 'no answer within 0.005 s',
    advice: 'mend it',
    code: 'UNAVAILABLE'
  })
  assert.equal(failure('part', new ConfigError(['wrong']), 'mend it').code, 'CONFIG')
})

test('what each stage needs of the log', () => {
  const source = { topic: 'shop', format: 'json', user: 'u', item: 'i', type: '=click', time: 't' }
  const needs = stageNeeds(configSchema.parse({ sources: [source] }))
  const letters = (topics: string[]) => topics.map((topic) => `${topic}.mtmi.dlq`).join(' ')
  const published = ['user-sequences', 'items', 'model-updates', 'interactions']
  assert.deepEqual(
    needs.map(({ stage, reads, writes, groups }) => [
      stage,
      reads.join(' '),
      writes.join(' '),
      groups.map(({ group, topic }) => `${group} of ${topic}`).join(' ')
    ]),
    [
      ['ingest', 'shop shop.mtmi.dlq', 'interactions shop.mtmi.dlq', 'mtmi-ingest of shop'],
      [
        'sequence',
        `interactions items user-sequences ${letters(['interactions', 'items', 'user-sequences'])} interactions.mtmi.late`,
        `user-sequences ${letters(['interactions', 'items', 'user-sequences'])} interactions.mtmi.late`,
        'mtmi-sequence of interactions'
      ],
      [
        'train',
        `user-sequences items ${letters(['user-sequences', 'items'])}`,
        `model-updates ${letters(['user-sequences', 'items'])}`,
        ''
      ],
      ['publish', `${published.join(' ')} ${letters(published)}`, letters(published), ''],
      ['serve', '', 'interactions', '']
    ]
  )
  assert.equal(stageNeeds(configSchema.parse({})).length, 4)
})
