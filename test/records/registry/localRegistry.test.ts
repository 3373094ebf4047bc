import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { ConfigError, CorruptError } from '../../../src/core/errors.ts'
import { LocalRegistry } from '../../../src/records/registry/localRegistry.ts'
import { UnknownSchemaIdError } from '../../../src/records/registry/schemaRegistry.ts'

const schema = (...fields: object[]) => JSON.stringify({ type: 'record', name: 'R', fields })
const one = schema({ name: 'a', type: 'string' })
const two = schema({ name: 'a', type: 'string' }, { name: 'b', type: 'int', default: 0 })

async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-registry-'))
  try {
    await body(directory)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

test('ids count in the order of registration and stay', async () => {
  await inDirectory(async (directory) => {
    const registry = new LocalRegistry(directory)
    assert.equal(await registry.idFor('s-value', one), 1)
    assert.equal(await registry.idFor('s-value', two), 2)
    assert.equal(await registry.idFor('s-value', one), 1)
    // The same schema has its id under every subject; what it was spaced like does not matter.
    assert.equal(await registry.idFor('t-value', JSON.stringify(JSON.parse(two), null, 2)), 2)
    const again = new LocalRegistry(directory)
    assert.equal(await again.schemaOf(1), one)
    assert.equal(again.cached(2), two)
    assert.equal(again.cached(99), undefined)
    await assert.rejects(again.schemaOf(99), UnknownSchemaIdError)
    await assert.rejects(again.schemaOf(-1), UnknownSchemaIdError)
  })
})

test('two on one directory see each other’s schemas and never give an id twice', async () => {
  await inDirectory(async (directory) => {
    const a = new LocalRegistry(directory)
    const b = new LocalRegistry(directory)
    assert.equal(await a.idFor('a-value', one), 1)
    assert.equal(await b.idFor('b-value', two), 2)
    assert.equal(a.cached(2), two)
    assert.deepEqual(readdirSync(directory).sort(), ['1.json', '2.json'])
  })
})

test('refuses a schema that cannot read its subject’s earlier records', async () => {
  await inDirectory(async (directory) => {
    const registry = new LocalRegistry(directory)
    await registry.idFor('s-value', one)
    const needsMore = schema({ name: 'a', type: 'string' }, { name: 'b', type: 'int' })
    await assert.rejects(registry.idFor('s-value', needsMore), ConfigError)
    await assert.rejects(registry.idFor('s-value', '{"type": "nothing"}'), ConfigError)
    assert.equal(await registry.idFor('other-value', needsMore), 2)
  })
})

test('a damaged or missing file is a CorruptError: no id is given anew', async () => {
  await inDirectory(async (directory) => {
    await new LocalRegistry(directory).idFor('s-value', one)
    await new LocalRegistry(directory).idFor('s-value', two)
    writeFileSync(path.join(directory, '2.json'), '{"id": 2')
    assert.throws(() => new LocalRegistry(directory), CorruptError)
    rmSync(path.join(directory, '1.json'))
    assert.throws(() => new LocalRegistry(directory), CorruptError)
  })
})
