// Qdrant's side of the conversation, recorded from a real server: the index must say what it said then, and understand
// what it was told.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { contractScenario } from './contractScenario.ts'
import { type Recording, replay } from './contractServer.ts'

const recording = JSON.parse(readFileSync(new URL('recorded.json', import.meta.url), 'utf8')) as Recording

test('the conversation with Qdrant is the one that was recorded', async () => {
  const server = await replay(recording)
  try {
    await contractScenario(server.url).catch((error: Error) => {
      server.finish()
      throw error
    })
    server.finish()
  } finally {
    await server.close()
  }
})

test('the recording is of 1.18 and holds every kind of request', () => {
  assert.match(recording.version, /^1\.18\./)
  const kinds = new Set(
    recording.exchanges.map(
      ({ method, path }) => `${method} ${path.replace(/contract_(items|users)-./, ':c').replace(/\?.*/, '')}`
    )
  )
  assert.deepEqual([...kinds].sort(), [
    'DELETE /collections/:c',
    'GET /',
    'GET /aliases',
    'GET /collections',
    'GET /collections/:c',
    'POST /collections/:c/points',
    'POST /collections/:c/points/batch',
    'POST /collections/:c/points/count',
    'POST /collections/:c/points/delete',
    'POST /collections/:c/points/query/batch',
    'POST /collections/:c/points/scroll',
    'POST /collections/aliases',
    'PUT /collections/:c',
    'PUT /collections/:c/index',
    'PUT /collections/:c/points'
  ])
})

test('a request that is another by one number is refused, and so is one that is left out', async () => {
  const changed = JSON.parse(JSON.stringify(recording).replace('"version":3', '"version":4')) as Recording
  const server = await replay(changed)
  try {
    await assert.rejects(contractScenario(server.url), { code: 'CONFIG', message: /not recorded: PUT/ })
    assert.throws(() => server.finish(), /record:qdrant/)
  } finally {
    await server.close()
  }
})
