import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import test from 'node:test'
import { kafkaSocket } from '../../../src/log/kafka/kafkaClient.ts'

test('a connection that was lost can be let go of as often as one likes', async (t) => {
  const server = createServer((connection) => connection.destroy()).listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const socket = kafkaSocket({
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    ssl: undefined!,
    onConnect: () => {}
  })
  socket.on('error', () => {}).resume()
  await once(socket, 'close')
  const before = socket.listenerCount('connect')
  for (let attempt = 0; attempt < 20; attempt++) socket.unref()
  assert.equal(socket.listenerCount('connect'), before, 'Node warns of a leak beyond ten')
})
