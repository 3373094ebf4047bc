import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'node:test'
import { ManualClock, systemClock } from '../../../src/core/clock.ts'
import { type RegistryOptions, resolveConfig } from '../../../src/core/config/config.ts'
import { ConfigError, MtmiError, UnavailableError } from '../../../src/core/errors.ts'
import { Rng } from '../../../src/core/rng.ts'
import { createCodecs } from '../../../src/records/avro/avroCodecs.ts'
import { avroReader } from '../../../src/records/avro/avroReader.ts'
import { checkReads } from '../../../src/records/avro/avroSchema.ts'
import { HttpRegistry, type HttpRegistryParts } from '../../../src/records/registry/httpRegistry.ts'
import { loadSchemas, UnknownSchemaIdError } from '../../../src/records/registry/schemaRegistry.ts'
import { foreignType } from '../../support/foreignAvro.ts'
import { RegistryServer } from '../../support/registryServer.ts'

const record = (name: string, ...fields: object[]) => ({ type: 'record', name, fields })
const one = record('R', { name: 'a', type: 'string' })
const two = record('R', { name: 'a', type: 'string' }, { name: 'b', type: 'int', default: 0 })
const needsMore = record('R', { name: 'a', type: 'string' }, { name: 'b', type: 'int' })

function client(
  url: string,
  options: Partial<RegistryOptions> = {},
  parts: Partial<HttpRegistryParts> = {}
): HttpRegistry {
  const { registry } = resolveConfig({ registry: { ...options, url } }, {})
  return new HttpRegistry(registry, {
    clock: systemClock,
    rng: new Rng(1),
    retryFirstMs: 1,
    retryMaxMs: 20_000,
    ...parts
  })
}

async function withServer(body: (server: RegistryServer) => Promise<void>): Promise<void> {
  const server = await new RegistryServer().start()
  try {
    await body(server)
  } finally {
    await server.stop()
  }
}

test('registers, looks up, and reads back by id; asks once', async () => {
  await withServer(async (server) => {
    const registry = client(server.url)
    const id = await registry.idFor('s-value', JSON.stringify(one, null, 2))
    assert.deepEqual(server.requests, ['POST /subjects/s-value', 'POST /subjects/s-value/versions'])
    assert.equal(await registry.idFor('s-value', JSON.stringify(one)), id)
    assert.equal(registry.cached(id), JSON.stringify(one))
    assert.equal(server.requests.length, 2)

    const other = client(server.url)
    assert.equal(other.cached(id), undefined)
    const [a, b] = await Promise.all([other.schemaOf(id), other.schemaOf(id)])
    assert.deepEqual(JSON.parse(a), one)
    assert.equal(a, b)
    assert.equal(server.requests.filter((request) => request === `GET /schemas/ids/${id}`).length, 1)
    // A lookup suffices where it is registered already: the right to write is not needed.
    server.readOnly = true
    assert.equal(await other.idFor('s-value', JSON.stringify(one)), id)
    await assert.rejects(other.idFor('s-value', JSON.stringify(two)), /does not let us register .*denied/)
  })
})

test('an incompatible or invalid schema is a ConfigError that names the subject', async () => {
  await withServer(async (server) => {
    server.add('s-value', one)
    await assert.rejects(client(server.url).idFor('s-value', JSON.stringify(needsMore)), (error) => {
      assert(error instanceof ConfigError)
      assert.match(
        error.message,
        /schema of s-value cannot read records of its earlier schemas: .*give new fields a default/
      )
      return true
    })
    await assert.rejects(
      client(server.url).idFor('t-value', '{"type": "nothing"}'),
      /refuses to register the schema of t-value \(422/
    )
    const locked = client(server.url, { register: false })
    await assert.rejects(
      locked.idFor('u-value', JSON.stringify(one)),
      /registry\.register is false: run `mtmi schemas register`/
    )
    assert.equal(await locked.idFor('s-value', JSON.stringify(one)), 1)
  })
})

test('compatibility is asked for, read and set by subject', async () => {
  await withServer(async (server) => {
    const registry = client(server.url)
    assert.deepEqual(await registry.compatibility('s-value', JSON.stringify(one)), { compatible: true, messages: [] })
    assert.equal(await registry.compatibilityLevel('s-value'), 'BACKWARD')
    await registry.setCompatibilityLevel('s-value', 'BACKWARD_TRANSITIVE')
    assert.equal(await registry.compatibilityLevel('s-value'), 'BACKWARD_TRANSITIVE')
    server.add('s-value', one)
    server.add('s-value', two)
    const report = await registry.compatibility('s-value', JSON.stringify(needsMore))
    // Version 2 has a default for b, so only version 1 cannot be read.
    assert.equal(report.compatible, false)
    assert.equal(report.messages.length, 1)
    assert.equal(await registry.lookUp('s-value', JSON.stringify(needsMore)), undefined)
    assert.deepEqual(await registry.lookUp('s-value', JSON.stringify(two)), { id: 2, version: 2 })
    assert.equal(await registry.lookUp('never-value', JSON.stringify(two)), undefined)
  })
})

test('an unknown id is for the record to answer for, and is not asked for again and again', async () => {
  await withServer(async (server) => {
    const clock = new ManualClock(0)
    const registry = client(server.url, {}, { clock })
    const records = [
      { value: Uint8Array.of(0, 0, 0, 0, 9, 1) },
      { value: Uint8Array.of(0, 255, 255, 255, 255, 1) },
      { value: null }
    ]
    await loadSchemas(registry, records)
    await loadSchemas(registry, records)
    await assert.rejects(registry.schemaOf(9), UnknownSchemaIdError)
    await assert.rejects(registry.schemaOf(-1), UnknownSchemaIdError)
    assert.deepEqual(server.requests, ['GET /schemas/ids/9'])
    clock.advance(10_000)
    for (let i = 0; i < 9; i++) server.add(`s${i}`, record(`R${i}`))
    assert.match(await registry.schemaOf(9), /R8/)
    const id = server.add('p-value', 'message P {}', [], 'PROTOBUF')
    await assert.rejects(registry.schemaOf(id), /schema id 10 is "?PROTOBUF"?: only AVRO and JSON are read/)
    assert.match(String(registry.whyUnknown(id)), /PROTOBUF/)
    const json = server.add('j-value', '{"type": "object"}', [], 'JSON')
    await registry.schemaOf(json)
    assert.deepEqual([registry.isJson(json), registry.isJson(9)], [true, false])
  })
})

test('a schema comes with those that it refers to, each after its own references', async () => {
  await withServer(async (server) => {
    // A reference of a reference, by its short name; one without a namespace; one mentioned twice.
    server.add('country', { type: 'enum', name: 'Country', namespace: 'geo', symbols: ['AT', 'PT'] })
    const countryRef = { name: 'geo.Country', subject: 'country', version: 1 }
    server.add('address', { ...record('Address', { name: 'country', type: 'Country' }), namespace: 'geo' }, [
      countryRef
    ])
    server.add('level', { type: 'enum', name: 'Level', symbols: ['LOW', 'HIGH'] })
    const references = [
      { name: 'geo.Address', subject: 'address', version: 1 },
      countryRef,
      { name: 'Level', subject: 'level', version: 1 }
    ]
    const user = record(
      'User',
      { name: 'home', type: 'geo.Address' },
      { name: 'other', type: ['null', { type: 'array', items: 'geo.Address' }] },
      { name: 'level', type: 'Level' },
      { name: 'born', type: { type: 'map', values: 'geo.Country' } }
    )
    const id = server.add('user', user, references)
    const text = await client(server.url).schemaOf(id)
    const { references: definitions } = JSON.parse(text) as { references: readonly { name: string }[] }
    assert.deepEqual(
      definitions.map(({ name }) => name),
      ['Country', 'Address', 'Level']
    )
    // As the writer has it: one schema in which each type is defined where it is first mentioned.
    const country = { type: 'enum', name: 'Country', namespace: 'geo', symbols: ['AT', 'PT'] }
    const home = { type: 'record', name: 'Address', namespace: 'geo', fields: [{ name: 'country', type: country }] }
    const level = { type: 'enum', name: 'Level', symbols: ['LOW', 'HIGH'] }
    const [, other, , born] = user.fields as object[]
    const inlined = { ...user, fields: [{ name: 'home', type: home }, other, { name: 'level', type: level }, born] }
    const value = { home: { country: 'AT' }, other: [{ country: 'PT' }], level: 'HIGH', born: { x: 'AT' } }
    const bytes = foreignType(JSON.stringify(inlined)).toBuffer(value)
    assert.deepEqual(JSON.parse(JSON.stringify(avroReader(JSON.parse(text))(bytes, 0))), value)
    assert.doesNotThrow(() => checkReads(JSON.stringify(inlined), text))

    const broken = server.add('broken', record('B', { name: 'l', type: 'Level' }), [
      { name: 'Level', subject: 'level', version: 1 }
    ])
    server.forget('level')
    await assert.rejects(
      client(server.url).schemaOf(broken),
      /refers to Level, version 1 of level, which the registry does not have/
    )
  })
})

test('a reference may be named after a file: what it defines is found by its own name', async () => {
  await withServer(async (server) => {
    server.add('shared', { ...record('A', { name: 'v', type: 'double' }), namespace: 'ns.a' })
    const references = [{ name: 'shared-A.avsc', subject: 'shared', version: 1 }]
    const id = server.add('e', { ...record('E', { name: 'c', type: 'ns.a.A' }), namespace: 'ns.e' }, references)
    const read = avroReader(JSON.parse(await client(server.url).schemaOf(id)))
    const bytes = Buffer.alloc(8)
    bytes.writeDoubleLE(1.5)
    assert.deepEqual(JSON.parse(JSON.stringify(read(bytes, 0))), { c: { v: 1.5 } })
  })
})

test('a registry that is away is waited for, and what it then says is taken', async () => {
  await withServer(async (server) => {
    const id = server.add('s-value', one)
    await server.stop()
    const problems: string[] = []
    let tried = () => {}
    const twice = new Promise<void>((resolve) => {
      tried = resolve
    })
    const registry = client(
      server.url,
      {},
      {
        onProblem: (problem) => {
          problems.push(problem)
          if (problems.length === 2) tried()
        }
      }
    )
    const asking = registry.schemaOf(id)
    await twice
    server.fail(2, 503)
    await server.start()
    assert.deepEqual(JSON.parse(await asking), one)
    assert(problems.some((problem) => /ECONNREFUSED.*trying again/.test(problem)))
    assert(problems.some((problem) => /status 503/.test(problem)))
  })
})

test('a registry that stays away is UNAVAILABLE in the end; closing ends the waiting', async () => {
  const server = await new RegistryServer().start()
  await server.stop()
  await assert.rejects(client(server.url, {}, { retryMaxMs: 5 }).schemaOf(1), (error) => {
    assert(error instanceof UnavailableError)
    assert.match(
      error.message,
      /does not answer GET \/schemas\/ids\/1: ECONNREFUSED \(\d+ attempts in \d+ s\)\. Check registry\.url/
    )
    return true
  })
  const waiting: HttpRegistry = client(
    server.url,
    {},
    { retryMaxMs: 600_000, retryFirstMs: 60_000, onProblem: () => queueMicrotask(() => waiting.close()) }
  )
  await assert.rejects(waiting.schemaOf(1), UnavailableError)
})

test('the second address is tried when the first does not answer', async () => {
  const gone = await new RegistryServer().start()
  await gone.stop()
  await withServer(async (server) => {
    const id = server.add('s-value', one)
    const registry = client(`${gone.url}, ${server.url}/`)
    assert.deepEqual(JSON.parse(await registry.schemaOf(id)), one)
  })
})

test('a silent registry runs into the timeout', async () => {
  const silent = createServer(() => {})
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
  try {
    await assert.rejects(client(url, {}, { retryMaxMs: 1, timeoutMs: 20 }).schemaOf(1), /no answer within 20 ms/)
  } finally {
    silent.closeAllConnections()
    silent.close()
  }
})

test('credentials travel in the header, and never in a message', async () => {
  await withServer(async (server) => {
    const id = server.add('s-value', one)
    server.authorization = `Basic ${Buffer.from('reader:hunter2:x').toString('base64')}`
    assert.deepEqual(
      JSON.parse(await client(server.url, { username: 'reader', password: 'hunter2:x' }).schemaOf(id)),
      one
    )
    const wrong = client(server.url, { username: 'reader', password: 'swordfish' })
    await assert.rejects(wrong.schemaOf(id), (error) => {
      assert(error instanceof ConfigError)
      assert.match(error.message, /does not let us read schema 1 \(401: Unauthorized\): check registry\.username/)
      assert.doesNotMatch(error.message, /swordfish/)
      return true
    })
    server.authorization = 'Bearer tok'
    assert.deepEqual(JSON.parse(await client(server.url, { token: 'tok' }).schemaOf(id)), one)
  })
})

test('an address that is no registry is a ConfigError, not a pile of dead letters', async () => {
  const other = createServer((_, response) => response.writeHead(404).end('<html>not here</html>'))
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`
  try {
    await assert.rejects(
      client(url).schemaOf(1),
      (error) => error instanceof MtmiError && error.code === 'CONFIG' && /check registry\.url/.test(error.message)
    )
  } finally {
    other.closeAllConnections()
    other.close()
  }
})

test('our own codecs work over it, and read what another process wrote', async () => {
  await withServer(async (server) => {
    const writer = await createCodecs(client(server.url))
    const bytes = writer.interaction.encode({ eventId: 'e', userId: 'u', itemId: 'i', type: 'click', eventTimeMs: 1 })
    const registry = client(server.url, { register: false })
    const reader = await createCodecs(registry)
    await loadSchemas(registry, [{ value: bytes }])
    assert.deepEqual(reader.interaction.decode(bytes), {
      eventId: 'e',
      userId: 'u',
      itemId: 'i',
      type: 'click',
      eventTimeMs: 1
    })
  })
})
