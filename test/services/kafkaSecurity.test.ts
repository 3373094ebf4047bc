// TLS and every SASL mechanism against a broker that asks for them.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import kafkajs from 'kafkajs'
import { Broker, provideJava, secureUser } from '../../infra/kafka/broker.mjs'
import { systemClock } from '../../src/core/clock.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { ConfigError, MtmiError } from '../../src/core/errors.ts'
import { KafkaLog } from '../../src/log/kafka/kafkaLog.ts'
import { hangMs, skip as noBroker } from './kafka.ts'

const missing = noBroker === false ? provideJava() : noBroker
const skip = missing === undefined ? false : missing

/** Without a signature: the broker of the test asks for none. */
function token(): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const seconds = Math.floor(systemClock.nowMs() / 1000)
  return `${part({ alg: 'none' })}.${part({ sub: 'alice', iat: seconds, exp: seconds + 600 })}.`
}

test('TLS with PLAIN, SCRAM and OAUTHBEARER; secrets come from files', { skip, timeout: hangMs }, async (t) => {
  const broker = await Broker.start(undefined, { secure: true })
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-security-'))
  const file = (name: string, content: string) => {
    writeFileSync(path.join(folder, name), content)
    return path.join(folder, name)
  }
  const password = file('password', `${secureUser.password}\n`)
  const secret = (from: string) => (from === password ? secureUser.password : assert.fail(`read ${from}`))
  const optionsOf = (sasl: object, tls: object = { enabled: true, caFile: broker.caFile }) => {
    const environment = { MTMI_KAFKA_SASL_PASSWORD_FILE: password }
    return resolveConfig(
      {},
      environment,
      { kafka: { brokers: [broker.secureAddress], retryMs: 3000, tls, sasl } },
      secret
    ).kafka
  }
  try {
    const admin = new kafkajs.Kafka({ brokers: [broker.address], logLevel: kafkajs.logLevel.NOTHING }).admin()
    await admin.connect()
    await admin.createTopics({ topics: [{ topic: 'secret', numPartitions: 1 }], waitForLeaders: false })
    await admin.disconnect()
    const { username } = secureUser
    const mechanisms = [
      { mechanism: 'plain', username },
      { mechanism: 'scram-sha-256', username },
      { mechanism: 'scram-sha-512', username },
      { mechanism: 'oauthbearer', tokenFile: file('token', token()) }
    ]
    for (const [written, sasl] of mechanisms.entries()) {
      await t.test(sasl.mechanism, async () => {
        const log = await KafkaLog.open(optionsOf(sasl), systemClock)
        try {
          await log.append('secret', [{ key: Buffer.from('k'), value: Buffer.from(sasl.mechanism) }])
          assert.deepEqual([...(await log.ends('secret'))], [[0, BigInt(written + 1)]])
        } finally {
          await log.close()
        }
      })
    }
    await t.test('a wrong password is a problem of the configuration, said at once', async () => {
      const options = optionsOf({ mechanism: 'plain', username: 'mallory' })
      await assert.rejects(
        KafkaLog.open(options, systemClock),
        (error) => error instanceof ConfigError && /kafka\.sasl/.test(error.message)
      )
    })
    await t.test('a broker that nobody vouches for is not talked to', async () => {
      const options = optionsOf({ mechanism: 'plain', username }, { enabled: true })
      await assert.rejects(
        KafkaLog.open(options, systemClock),
        (error) => error instanceof MtmiError && /certificate|self.signed/i.test(error.message)
      )
    })
  } finally {
    await broker.stop()
    broker.remove()
    rmSync(folder, { recursive: true })
  }
})

test('settings that do not go together are all named', { skip: false }, async () => {
  const open = (kafka: object) => KafkaLog.open(resolveConfig({}, {}, { kafka }).kafka, systemClock)
  await assert.rejects(open({ sasl: { mechanism: 'plain' } }), /needs username and password/)
  await assert.rejects(open({ sasl: { mechanism: 'oauthbearer' } }), /needs a token/)
  await assert.rejects(
    open({ tls: { enabled: true, caFile: '/none/ca.pem', certFile: '/none/cert.pem' } }),
    (error) => {
      assert(error instanceof ConfigError)
      assert.equal(error.problems.length, 3)
      return true
    }
  )
})
