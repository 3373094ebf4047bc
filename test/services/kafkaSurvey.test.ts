// What a look at the brokers tells of topics and rights: with a broker that lets its user do what was granted, and no
// more.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import kafkajs from 'kafkajs'
import { Broker, provideJava, secureUser } from '../../infra/kafka/broker.mjs'
import { resolveConfig } from '../../src/core/config/config.ts'
import { UnavailableError } from '../../src/core/errors.ts'
import { KafkaSurvey } from '../../src/log/kafka/kafkaSurvey.ts'
import { lastLine, mtmi } from '../support/mtmiProcess.ts'
import { hangMs, skip } from './kafka.ts'

const { AclOperationTypes: operations, AclResourceTypes: resources, ResourcePatternTypes: patterns } = kafkajs

interface Report {
  readonly ok: boolean
  readonly findings: readonly {
    readonly what: string
    readonly verdict: string
    readonly detail: string
    readonly advice?: string
  }[]
}

test('topics and rights are told as they are, and nothing is changed by asking', {
  skip,
  timeout: hangMs
}, async () => {
  assert.equal(provideJava(), undefined)
  const broker = await Broker.start(undefined, { secure: true, authorize: true })
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-survey-'))
  const { username, password } = secureUser
  const kafka = {
    brokers: [broker.secureAddress],
    tls: { enabled: true, caFile: broker.caFile },
    sasl: { mechanism: 'plain', username, password }
  }
  const admin = new kafkajs.Kafka({ brokers: [broker.address], logLevel: kafkajs.logLevel.NOTHING }).admin()
  const grant = (resourceType: number, resourceName: string, ...granted: number[]) =>
    admin.createAcls({
      acl: granted.map((operation) => ({
        resourceType,
        resourceName,
        operation,
        resourcePatternType: patterns.PREFIXED,
        principal: `User:${username}`,
        host: '*',
        permissionType: kafkajs.AclPermissionTypes.ALLOW
      }))
    })
  try {
    await admin.connect()
    await admin.createTopics({
      topics: ['read', 'write', 'none'].map((topic) => ({ topic, numPartitions: 2 })),
      waitForLeaders: true
    })
    await grant(resources.TOPIC, 'read', operations.READ)
    await grant(resources.TOPIC, 'write', operations.WRITE)
    await grant(resources.TOPIC, 'gone', operations.READ)
    await grant(resources.GROUP, 'mtmi.mtmi-', operations.READ)
    await grant(resources.TRANSACTIONAL_ID, 'mtmi.write', operations.WRITE)

    const survey = await KafkaSurvey.open(resolveConfig({}, {}, { kafka }).kafka, 20_000)
    try {
      assert.deepEqual(await survey.brokers(), [{ nodeId: 1, address: broker.secureAddress, problem: undefined }])
      assert.deepEqual(await survey.topic('read'), { state: 'there', partitions: 2 })
      assert.deepEqual(await survey.topic('none'), { state: 'hidden' })
      assert.deepEqual(await survey.topic('gone'), { state: 'missing' })
      const rights = async (topic: string) => [await survey.mayRead(topic), await survey.mayWrite(topic)]
      assert.deepEqual(await rights('read'), [true, false])
      assert.deepEqual(await rights('write'), [false, true])
      const joins = ['mtmi-sequence', 'others'].map((group) => survey.mayJoin(group, 'live', 'read'))
      assert.deepEqual(await Promise.all(joins), [true, false])
      assert.equal(await survey.mayFence('write', 'sequence-0'), true)
      assert.equal(await survey.mayFence('read', 'sequence-0'), false)
    } finally {
      await survey.close()
    }
    for (const topic of ['read', 'write', 'none'])
      assert.deepEqual(
        new Set((await admin.fetchTopicOffsets(topic)).map(({ offset }) => offset)),
        new Set(['0']),
        `nothing was written to ${topic}`
      )
    assert.deepEqual((await admin.listGroups()).groups, [])

    // The command, by somebody who may do nothing of what is needed, and by somebody who may do all of it.
    const settings = path.join(folder, 'mtmi.json')
    writeFileSync(settings, JSON.stringify({ log: 'kafka', topics: { partitions: 2 }, kafka }))
    const doctor = async () => {
      const { status, stdout } = await mtmi(['--config', settings, 'doctor', '--json'], { cwd: folder })
      return { status, report: lastLine(stdout) as unknown as Report }
    }
    const before = await doctor()
    assert.equal(before.status, 78, JSON.stringify(before.report))
    const failed = before.report.findings.filter(({ verdict }) => verdict === 'failed')
    assert(failed.length > 0 && failed.every(({ advice }) => (advice ?? '') !== ''), 'each failure says what to do')

    const all = resolveConfig({}, {}, { log: 'kafka', topics: { partitions: 2 } })
    const { applyTopics, wantedTopics } = await import('../../src/log/kafka/kafkaTopics.ts')
    await applyTopics({ ...all.kafka, brokers: [broker.address] }, wantedTopics(all))
    await grant(resources.TOPIC, 'i', operations.READ, operations.WRITE, operations.DESCRIBE_CONFIGS) // interactions and theirs, items
    await grant(resources.TOPIC, 'user-sequences', operations.READ, operations.WRITE, operations.DESCRIBE_CONFIGS)
    await grant(resources.TOPIC, 'model-updates', operations.READ, operations.WRITE, operations.DESCRIBE_CONFIGS)
    await grant(resources.TRANSACTIONAL_ID, 'mtmi.', operations.WRITE)
    const after = await doctor()
    assert.deepEqual(
      after.report.findings.filter(({ verdict }) => verdict === 'failed'),
      []
    )
    assert.equal(after.status, 0)
    for (const stage of ['sequence', 'train', 'publish', 'serve'])
      assert(
        after.report.findings.some(({ what, verdict }) => what === `rights of ${stage}` && verdict === 'ok'),
        stage
      )
  } finally {
    await admin.disconnect()
    await broker.stop()
    broker.remove()
    rmSync(folder, { recursive: true })
  }
})

test('brokers that do not answer are given up in time', async () => {
  // Port 9 of this machine: nobody listens there.
  const { kafka } = resolveConfig({}, {}, { kafka: { brokers: ['127.0.0.1:9'] } })
  await assert.rejects(
    KafkaSurvey.open(kafka, 5000),
    (error) => error instanceof UnavailableError && /127\.0\.0\.1:9/.test(error.message)
  )
})
