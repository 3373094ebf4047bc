// Index versions in Qdrant: two collections each, one of them live by two aliases.
//
// Requests name collections, not aliases: which version is live is read once a request, from the alias of the items
// alone, so that no answer mixes two. The aliases are for other programs.

import { setTimeout as pause } from 'node:timers/promises'
import type { Schemas } from '@qdrant/js-client-rest'
import type { Clock } from '../../core/clock.ts'
import { ConfigError, UnavailableError } from '../../core/errors.ts'
import { handledLater } from '../../core/promises.ts'
import { checkShape, incompleteVersion } from '../indexChecks.ts'
import { type PointCounts, type Role, roles, type VersionShape } from '../vectorIndex.ts'
import { interestName, memoryName, type QdrantNames } from './qdrantNames.ts'
import type { QdrantOptions } from './qdrantOptions.ts'
import { availabilityFields, isRemoved, numberIndex, payloadIndexes, unnamedOf } from './qdrantPoints.ts'
import { NotInQdrantError, type QdrantRequests } from './qdrantRequests.ts'

/** Indexes of numbers in one collection: of popularity within contexts, and of features. */
const numberIndexesMax = 256
/** Age of what is known of the indexed fields. */
const indexedMaxAgeMs = 10_000
const greenPollMs = 100
/** Points that are searched by their own vectors before a version goes live. */
const canaries = 5
/** A point's own vector finds it, or one that is as near: the cosine is 1 but for rounding. */
const canaryScoreMin = 0.99

interface Parts {
  readonly requests: QdrantRequests
  readonly names: QdrantNames
  readonly options: Required<QdrantOptions>
  readonly clock: Clock
  /** Owner of the collections. */
  readonly run: string
}

export class QdrantVersions {
  readonly #parts: Parts
  readonly #shapes = new Map<string, VersionShape>()
  readonly #indexed = new Map<string, { readonly fields: Set<string>; readonly readAtMs: number }>()
  #live: { readonly version: string | undefined; readonly readAtMs: number } | undefined
  #reading: Promise<string | undefined> | undefined
  /** Switches made by this process. */
  #switches = 0

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Creates what is missing of the two collections and their payload indexes; after a crash the next call continues. */
  async create(version: string, shape: VersionShape): Promise<void> {
    checkShape(version, shape)
    await this.#parts.requests.version()
    for (const role of roles) {
      const name = this.#parts.names.collection(role, version)
      if (!(await this.#checkExisting(role, version, shape))) {
        const made = await this.#parts.requests.write(`make collection ${name}`, (client) =>
          client
            .createCollection(name, this.#definition(role, version, shape))
            .catch((error: Error & { status?: number }) => {
              if (error.status === 409) return false // created by another process, or by an attempt without an answer
              throw error
            })
        )
        if (!made) await this.#checkExisting(role, version, shape)
      }
      for (const [field_name, field_schema] of Object.entries(payloadIndexes[role])) {
        await this.#parts.requests.write(`index ${field_name} of ${name}`, (client) =>
          client.createPayloadIndex(name, { field_name, field_schema, wait: true })
        )
      }
    }
    this.#shapes.set(version, shape)
  }

  /** @throws ConfigError if there is no such index version */
  async shape(version: string): Promise<VersionShape> {
    const known = this.#shapes.get(version)
    if (known !== undefined) return known
    const [items, users] = [await this.#info('item', version), await this.#info('user', version)]
    const shape = { dimensions: sizeOf(items), interestCount: namedVectors(users) }
    if (items === undefined || users === undefined) throw noSuchVersion(version)
    this.#shapes.set(version, shape)
    return shape
  }

  /** Payload fields of items with an index, as of `indexedMaxAgeMs` ago at most. @throws NotInQdrantError */
  async indexed(version: string): Promise<ReadonlySet<string>> {
    return (await this.#readIndexed(version)).fields
  }

  /** Indexes these fields of numbers, `numberIndexesMax` in a collection at most: items can be ordered by them. */
  async indexNumbers(version: string, fields: Iterable<string>): Promise<void> {
    for (const field_name of fields) {
      const { fields: known } = await this.#readIndexed(version)
      const isNeeded = availabilityFields.some((field) => field === field_name)
      if (known.has(field_name) || (known.size >= numberIndexesMax && !isNeeded)) continue
      const name = this.#parts.names.collection('item', version)
      const index = { field_name, field_schema: numberIndex, wait: true }
      await this.#parts.requests.write(`index ${index.field_name} of ${name}`, (client) =>
        client.createPayloadIndex(name, index)
      )
      known.add(field_name)
    }
  }

  async #readIndexed(version: string): Promise<{ readonly fields: Set<string>; readonly readAtMs: number }> {
    const known = this.#indexed.get(version)
    const readAtMs = this.#parts.clock.nowMs()
    if (known !== undefined && readAtMs - known.readAtMs < indexedMaxAgeMs) return known
    const name = this.#parts.names.collection('item', version)
    const { payload_schema } = await this.#parts.requests.read(`describe ${name}`, (client) =>
      client.getCollection(name)
    )
    const read = { fields: new Set(Object.keys(payload_schema)), readAtMs }
    this.#indexed.set(version, read)
    return read
  }

  /** Another process may have dropped it, and created it again. */
  forget(version: string): void {
    this.#shapes.delete(version)
    this.#indexed.delete(version)
    this.#live = undefined
  }

  /** Oldest first. */
  async list(): Promise<string[]> {
    const { collections } = await this.#parts.requests.read('list collections', (client) => client.getCollections())
    const found = new Set(
      roles
        .flatMap((role) => collections.map(({ name }) => this.#parts.names.indexVersionOf(role, name)))
        .filter((version) => version !== undefined)
    )
    const dated = await Promise.all(
      [...found].map(async (version) => ({ version, madeAtMs: await this.#madeAtMs(version) }))
    )
    return dated
      .sort((a, b) => a.madeAtMs - b.madeAtMs || (a.version < b.version ? -1 : 1))
      .map(({ version }) => version)
  }

  /** The live index version, as of `liveMaxAgeMs` ago at most; undefined: none. @param fresh query the server */
  async live(fresh = false): Promise<string | undefined> {
    const known = this.#live
    if (!fresh && known !== undefined && this.#parts.clock.nowMs() - known.readAtMs < this.#parts.options.liveMaxAgeMs)
      return known.version
    if (fresh || this.#reading === undefined) {
      const reading = handledLater(
        this.#readLive().finally(() => {
          if (this.#reading === reading) this.#reading = undefined
        })
      )
      this.#reading = reading
    }
    return this.#reading
  }

  async count(version: string, role: Role): Promise<number> {
    const name = this.#parts.names.collection(role, version)
    const [all, removed] = await Promise.all([
      this.#parts.requests.read(`count ${name}`, (client) => client.count(name, { exact: true })),
      this.#parts.requests.read(`count what was removed from ${name}`, (client) =>
        client.count(name, { exact: true, filter: isRemoved })
      )
    ])
    return Math.max(0, all.count - removed.count)
  }

  /**
   * Both aliases in one call, after the index version was found indexed, full enough, and searchable.
   * @throws UnavailableError if it is not; then nothing was switched, and later it may be
   */
  async promote(version: string, expected: PointCounts): Promise<void> {
    const aliases = await this.#aliases()
    const wanted = roles.map(
      (role) => [this.#parts.names.alias(role), this.#parts.names.collection(role, version)] as const
    )
    const isLive = wanted.every(([alias, collection]) => aliases.get(alias) === collection)
    if ((await this.#info('item', version)) === undefined || (await this.#info('user', version)) === undefined) {
      throw incompleteVersion(version, { items: 0, users: 0 }, expected)
    }
    const held = { items: await this.count(version, 'item'), users: await this.count(version, 'user') }
    if (held.items < expected.items || held.users < expected.users) throw incompleteVersion(version, held, expected)
    if (!isLive) {
      for (const role of roles) await this.#untilGreen(version, role)
      await this.#searchCanaries(version, held)
      await this.#parts.requests.write(`switch to index version ${version}`, (client) =>
        client.updateCollectionAliases({
          actions: wanted.map(([alias_name, collection_name]) => ({ create_alias: { alias_name, collection_name } }))
        })
      )
    }
    this.#switches++
    this.#live = { version, readAtMs: this.#parts.clock.nowMs() }
  }

  /** @throws ConfigError for the live one */
  async drop(version: string): Promise<void> {
    if ((await this.live(true)) === version)
      throw new ConfigError([`index version ${version} is live: promote another one before dropping it`])
    for (const role of roles) {
      const name = this.#parts.names.collection(role, version)
      await this.#parts.requests.write(`drop ${name}`, (client) => client.deleteCollection(name))
    }
    this.forget(version)
  }

  async clear(): Promise<string[]> {
    const dropped: string[] = []
    for (const version of await this.list()) {
      for (const role of roles) {
        const info = await this.#info(role, version)
        if (info?.config.metadata?.run !== this.#parts.run) continue
        const name = this.#parts.names.collection(role, version)
        await this.#parts.requests.write(`drop ${name}`, (client) => client.deleteCollection(name))
        dropped.push(name)
      }
    }
    this.#shapes.clear()
    this.#indexed.clear()
    this.#live = undefined
    return dropped
  }

  async #readLive(): Promise<string | undefined> {
    const readAtMs = this.#parts.clock.nowMs() // before the answer, which is at least as new
    const switches = this.#switches
    const collection = (await this.#aliases()).get(this.#parts.names.alias('item'))
    const version = collection === undefined ? undefined : this.#parts.names.indexVersionOf('item', collection)
    // A switch by this process that ended meanwhile is newer than this answer.
    if (this.#switches !== switches) return this.#live?.version
    this.#live = { version, readAtMs }
    return version
  }

  async #aliases(): Promise<Map<string, string>> {
    const { aliases } = await this.#parts.requests.read('list aliases', (client) => client.getAliases())
    return new Map(aliases.map(({ alias_name, collection_name }) => [alias_name, collection_name]))
  }

  /** undefined: there is no such collection. */
  async #info(role: Role, version: string): Promise<Schemas['CollectionInfo'] | undefined> {
    const name = this.#parts.names.collection(role, version)
    try {
      return await this.#parts.requests.read(`describe ${name}`, (client) => client.getCollection(name))
    } catch (error) {
      if (error instanceof NotInQdrantError) return undefined
      throw error
    }
  }

  /** Whether the collection exists. @throws ConfigError if it belongs to another run or has another shape */
  async #checkExisting(role: Role, version: string, shape: VersionShape): Promise<boolean> {
    const info = await this.#info(role, version)
    if (info === undefined) return false
    const name = this.#parts.names.collection(role, version)
    const { run } = info.config.metadata ?? {}
    if (run !== this.#parts.run) {
      throw new ConfigError([
        `collection ${name} at ${this.#parts.options.url} belongs to ${typeof run === 'string' ? `run ${run}` : 'another program'}, not to run ${this.#parts.run}: choose another qdrant.prefix`
      ])
    }
    if (info.config.params.sparse_vectors?.[memoryName] === undefined)
      throw new ConfigError([
        `index version ${version} exists with another shape: ${name} has no sparse vector \`${memoryName}\`. Drop its collections (\`mtmi reset\`); the publisher makes them again from the log`
      ])
    const [is, wanted] =
      role === 'item' ? [sizeOf(info), shape.dimensions] : [`${namedVectors(info)} × ${sizeOf(info)}`, shapeText(shape)]
    if (is !== wanted)
      throw new ConfigError([
        `index version ${version} exists with another shape: ${name} has vectors of ${is}, not ${wanted}`
      ])
    return true
  }

  #definition(role: Role, version: string, { dimensions, interestCount }: VersionShape): Schemas['CreateCollection'] {
    const { shards, replicas, writeConsistency, onDisk, quantization } = this.#parts.options
    const vector: Schemas['VectorParams'] = {
      size: dimensions,
      distance: 'Cosine',
      ...(onDisk ? { on_disk: true } : {})
    }
    const named = Array.from({ length: interestCount }, (_, k) => [interestName(k), vector] as const)
    return {
      vectors: role === 'item' ? vector : Object.fromEntries(named),
      sparse_vectors: { [memoryName]: {} },
      ...(shards === 0 ? {} : { shard_number: shards }),
      replication_factor: replicas,
      write_consistency_factor: writeConsistency,
      on_disk_payload: onDisk,
      // Users are looked up by id and never searched: without a graph they are written several times as fast.
      ...(role === 'user' ? { hnsw_config: { m: 0 } } : {}),
      ...(role === 'item' && quantization === 'int8'
        ? { quantization_config: { scalar: { type: 'int8', quantile: 0.99, always_ram: true } } }
        : {}),
      metadata: {
        product: 'mtmi-stream',
        contract: 1,
        run: this.#parts.run,
        indexVersion: version,
        role,
        madeAtMs: this.#parts.clock.nowMs()
      }
    }
  }

  async #madeAtMs(version: string): Promise<number> {
    const info = (await this.#info('item', version)) ?? (await this.#info('user', version))
    const madeAtMs = info?.config.metadata?.madeAtMs
    return typeof madeAtMs === 'number' ? madeAtMs : 0
  }

  async #untilGreen(version: string, role: Role): Promise<void> {
    const name = this.#parts.names.collection(role, version)
    const untilMs = this.#parts.clock.nowMs() + this.#parts.options.greenWaitMs
    for (;;) {
      const status = (await this.#info(role, version))?.status
      if (status === 'green') return
      // After a restart, indexing waits for a first change.
      if (status === 'grey') {
        await this.#parts.requests.write(`go on indexing ${name}`, (client) =>
          client.updateCollection(name, { optimizers_config: {} })
        )
      }
      if (this.#parts.clock.nowMs() >= untilMs) {
        throw new UnavailableError(
          `promote ${version}: ${name} is ${status ?? 'gone'}, not green, after ${this.#parts.options.greenWaitMs} ms; nothing was switched`
        )
      }
      await pause(greenPollMs)
    }
  }

  /** Some items are found by their own vectors, and some users find items. @throws UnavailableError if not */
  async #searchCanaries(version: string, held: PointCounts): Promise<void> {
    const [items, users] = roles.map((role) => this.#parts.names.collection(role, version)) as [string, string]
    const sample = async (name: string, withVector: boolean) =>
      (
        await this.#parts.requests.read(`read ${name}`, (client) =>
          client.scroll(name, { limit: canaries, with_vector: withVector, filter: { must_not: [isRemoved] } })
        )
      ).points
    const failed = (what: string) => new UnavailableError(`promote ${version}: ${what}; nothing was switched`)
    if (held.items === 0) return
    const points = await sample(items, true)
    const found = await this.#parts.requests.read(`search ${items}`, (client) =>
      client.queryBatch(items, { searches: points.map(({ vector }) => ({ query: unnamedOf(vector), limit: 1 })) })
    )
    found.forEach(({ points: [best] }, i) => {
      if (best === undefined || best.score < canaryScoreMin)
        throw failed(
          `item ${String(points[i]!.payload?.id)} is not found by its own vector (best score ${best?.score ?? 'none'})`
        )
    })
    if (held.users === 0) return
    const { interestCount } = await this.shape(version)
    const lookups = (await sample(users, false)).map(({ id, payload }) => ({ id, userId: String(payload?.id) }))
    const lists = await this.#parts.requests.read(`search ${items} for users`, (client) =>
      client.queryBatch(items, {
        searches: lookups.flatMap(({ id }) =>
          Array.from({ length: interestCount }, (_, k) => ({
            query: id,
            lookup_from: { collection: users, vector: interestName(k) },
            limit: 1
          }))
        )
      })
    )
    lists.forEach(({ points: [best] }, i) => {
      if (best === undefined) throw failed(`user ${lookups[Math.floor(i / interestCount)]!.userId} finds no item`)
    })
  }
}

export function noSuchVersion(version: string): ConfigError {
  return new ConfigError([`there is no index version ${version} in Qdrant: it was never made, or has been dropped`])
}

function sizeOf(info: Schemas['CollectionInfo'] | undefined): number {
  const vectors = info?.config.params.vectors
  if (typeof vectors?.size === 'number') return vectors.size
  const [first] = Object.values(vectors ?? {}) as ({ size?: number } | undefined)[]
  return first?.size ?? 0
}

function namedVectors(info: Schemas['CollectionInfo'] | undefined): number {
  return Object.keys(info?.config.params.vectors ?? {}).filter((name) => /^i\d+$/.test(name)).length
}

function shapeText({ dimensions, interestCount }: VersionShape): string {
  return `${interestCount} × ${dimensions}`
}
