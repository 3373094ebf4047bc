import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withoutSecrets } from '../../src/core/secrets.ts'

test('values under secret names are stars, at any depth; names of secret files and everything else stay', () => {
  const config = {
    kafka: {
      brokers: ['a:9092', 'b:9092'],
      sasl: { username: 'me', password: 'hunter2' },
      ssl: { keyFile: '/etc/key' }
    },
    qdrant: { url: 'http://me:hunter2@host:6333', apiKey: 'hunter2', apiKeyFile: '/run/secrets/qdrant', timeoutMs: 5 },
    credentials: { user: 'hunter2', list: ['hunter2'] },
    token: ''
  }
  assert.deepEqual(withoutSecrets(config), {
    kafka: { brokers: ['a:9092', 'b:9092'], sasl: { username: 'me', password: '***' }, ssl: { keyFile: '/etc/key' } },
    qdrant: { url: 'http://me:***@host:6333', apiKey: '***', apiKeyFile: '/run/secrets/qdrant', timeoutMs: 5 },
    credentials: { user: '***', list: ['***'] },
    token: ''
  })
})
