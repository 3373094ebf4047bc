// Index versions in Qdrant: two collections each, one of them live by two aliases.
//
// Every question names collections, never aliases: which index version is live is read once a request, from the alias of the
// items alone, so that no answer mixes two. The aliases are for other programs.

import { setTimeout as pause } from 'node:timers/promises'
import type { Schemas } from '@qdrant/js-client-rest'
import type { Clock } from '../../core/clock.ts'
import { ConfigError, UnavailableError } from '../../core/errors.ts'
import { handledLater } from '../../core/promises.ts'
import { checkShape, incompleteVersion, type PointCounts, type Role, roles, type VersionShape } from '../vectorIndex.ts'
import { interestName, type QdrantNames } from './qdrantNames.ts'
import type { QdrantOptions } from './qdrantOptions.ts'
import { contextField, contextIndex, contextOf, isRemoved, payloadIndexes } from './qdrantPoints.ts'
import { NotInQdrantError, type QdrantRequests } from './qdrantRequests.ts'

/** Indexes of popularity within a context in one collection. */
const contextIndexesMax = 256
/** How old the knowledge of which contexts there are may be. */
const contextsMaxAgeMs = 10_000
const greenPollMs = 100
/** Points that are looked for by their own vectors before an index version goes live. */
const canaries = 5
/** A point's own vector finds it, or one that is as near: the cosine is 1 but for rounding. */
const canaryScoreMin = 0.99

export class QdrantVersions {
  readonly #requests: QdrantRequests
  readonly #names: QdrantNames
  readonly #options: Required<QdrantOptions>
  readonly #clock: Clock
  /** Whose collections these are. */
  readonly #run: string
  readonly #shapes = new Map<string, VersionShape>()
  readonly #contexts = new Map<string, { readonly contexts: Set<string>; readonly readAtMs: number }>()
  #live: { readonly indexVersion: string | undefined; readonly readAtMs: number } | undefined
  #reading: Promise<string | undefined> | undefined
  /** Switches made from here. */
  #switches = 0

  constructor(parts: {
    requests: QdrantRequests
    names: QdrantNames
    options: Required<QdrantOptions>
    clock: Clock
    run: string
  }) {
    this.#requests = parts.requests
    this.#names = parts.names
    this.#options = parts.options
    this.#clock = parts.clock
    this.#run = parts.run
  }

  /**
   * Makes what is missing of the two collections and their payload indexes: a crash in between leaves an index version that the
   * next call completes.
   */
  async create(indexVersion: string, shape: VersionShape): Promise<void> {
    checkShape(indexVersion, shape)
    await this.#requests.version()
    for (const role of roles) {
      const name = this.#names.collection(role, indexVersion)
      if (!(await this.#checkExisting(role, indexVersion, shape))) {
        const made = await this.#requests.write(`make collection ${name}`, (client) =>
          client
            .createCollection(name, this.#definition(role, indexVersion, shape))
            .catch((error: Error & { status?: number }) => {
              if (error.status === 409) return false // somebody was as fast, or the answer to an earlier attempt was lost
              throw error
            })
        )
        if (!made) await this.#checkExisting(role, indexVersion, shape)
      }
      for (const [field_name, field_schema] of Object.entries(payloadIndexes[role])) {
        await this.#requests.write(`index ${field_name} of ${name}`, (client) =>
          client.createPayloadIndex(name, { field_name, field_schema, wait: true })
        )
      }
    }
    this.#shapes.set(indexVersion, shape)
  }

  /** @throws ConfigError if there is no such index version */
  async shape(indexVersion: string): Promise<VersionShape> {
    const known = this.#shapes.get(indexVersion)
    if (known !== undefined) return known
    const [items, users] = [await this.#info('item', indexVersion), await this.#info('user', indexVersion)]
    const shape = { dimensions: sizeOf(items), interestCount: namedVectors(users) }
    if (items === undefined || users === undefined) throw noSuchVersion(indexVersion)
    this.#shapes.set(indexVersion, shape)
    return shape
  }

  /**
   * Contexts by whose popularity items can be ordered, as of `contextsMaxAgeMs` ago at most. @throws NotInQdrantError
   * if there is no such index version
   */
  async contexts(indexVersion: string): Promise<ReadonlySet<string>> {
    return (await this.#readContexts(indexVersion)).contexts
  }

  /**
   * From here on items can be ordered by these contexts. Beyond `contextIndexesMax` in a collection no more are made:
   * what changes all the time is no context.
   */
  async indexContexts(indexVersion: string, contexts: Iterable<string>): Promise<void> {
    for (const context of contexts) {
      const { contexts: known } = await this.#readContexts(indexVersion)
      if (known.has(context) || known.size >= contextIndexesMax) continue
      const name = this.#names.collection('item', indexVersion)
      const index = { field_name: contextField(context), field_schema: contextIndex, wait: true }
      await this.#requests.write(`index ${index.field_name} of ${name}`, (client) =>
        client.createPayloadIndex(name, index)
      )
      known.add(context)
    }
  }

  async #readContexts(indexVersion: string): Promise<{ readonly contexts: Set<string>; readonly readAtMs: number }> {
    const known = this.#contexts.get(indexVersion)
    const readAtMs = this.#clock.nowMs()
    if (known !== undefined && readAtMs - known.readAtMs < contextsMaxAgeMs) return known
    const name = this.#names.collection('item', indexVersion)
    const { payload_schema } = await this.#requests.read(`describe ${name}`, (client) => client.getCollection(name))
    const read = { contexts: new Set(Object.keys(payload_schema).flatMap((field) => contextOf(field) ?? [])), readAtMs }
    this.#contexts.set(indexVersion, read)
    return read
  }

  /** Somebody else may have dropped it, and made it again. */
  forget(indexVersion: string): void {
    this.#shapes.delete(indexVersion)
    this.#contexts.delete(indexVersion)
    this.#live = undefined
  }

  /** Oldest first. */
  async list(): Promise<string[]> {
    const { collections } = await this.#requests.read('list collections', (client) => client.getCollections())
    const found = new Set(
      roles
        .flatMap((role) => collections.map(({ name }) => this.#names.indexVersionOf(role, name)))
        .filter((indexVersion) => indexVersion !== undefined)
    )
    const dated = await Promise.all(
      [...found].map(async (indexVersion) => ({ indexVersion, madeAtMs: await this.#madeAtMs(indexVersion) }))
    )
    return dated
      .sort((a, b) => a.madeAtMs - b.madeAtMs || (a.indexVersion < b.indexVersion ? -1 : 1))
      .map(({ indexVersion }) => indexVersion)
  }

  /** The live index version, as of `liveMaxAgeMs` ago at most; undefined: none. @param fresh ask now */
  async live(fresh = false): Promise<string | undefined> {
    const known = this.#live
    if (!fresh && known !== undefined && this.#clock.nowMs() - known.readAtMs < this.#options.liveMaxAgeMs)
      return known.indexVersion
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

  async count(indexVersion: string, role: Role): Promise<number> {
    const name = this.#names.collection(role, indexVersion)
    const [all, removed] = await Promise.all([
      this.#requests.read(`count ${name}`, (client) => client.count(name, { exact: true })),
      this.#requests.read(`count what was removed from ${name}`, (client) =>
        client.count(name, { exact: true, filter: isRemoved })
      )
    ])
    return Math.max(0, all.count - removed.count)
  }

  /**
   * Both aliases in one call, after the index version was found indexed, full enough, and searchable.
   * @throws UnavailableError if it is not; then nothing was switched, and later it may be
   */
  async promote(indexVersion: string, expected: PointCounts): Promise<void> {
    const aliases = await this.#aliases()
    const wanted = roles.map((role) => [this.#names.alias(role), this.#names.collection(role, indexVersion)] as const)
    const isLive = wanted.every(([alias, collection]) => aliases.get(alias) === collection)
    if (
      (await this.#info('item', indexVersion)) === undefined ||
      (await this.#info('user', indexVersion)) === undefined
    ) {
      throw incompleteVersion(indexVersion, { items: 0, users: 0 }, expected)
    }
    const held = { items: await this.count(indexVersion, 'item'), users: await this.count(indexVersion, 'user') }
    if (held.items < expected.items || held.users < expected.users)
      throw incompleteVersion(indexVersion, held, expected)
    if (!isLive) {
      for (const role of roles) await this.#untilGreen(indexVersion, role)
      await this.#searchCanaries(indexVersion, held)
      await this.#requests.write(`switch to index version ${indexVersion}`, (client) =>
        client.updateCollectionAliases({
          actions: wanted.map(([alias_name, collection_name]) => ({ create_alias: { alias_name, collection_name } }))
        })
      )
    }
    this.#switches++
    this.#live = { indexVersion, readAtMs: this.#clock.nowMs() }
  }

  /** @throws ConfigError for the live one */
  async drop(indexVersion: string): Promise<void> {
    if ((await this.live(true)) === indexVersion)
      throw new ConfigError([`index version ${indexVersion} is live: promote another one before dropping it`])
    for (const role of roles) {
      const name = this.#names.collection(role, indexVersion)
      await this.#requests.write(`drop ${name}`, (client) => client.deleteCollection(name))
    }
    this.forget(indexVersion)
  }

  async clear(): Promise<string[]> {
    const dropped: string[] = []
    for (const indexVersion of await this.list()) {
      for (const role of roles) {
        const info = await this.#info(role, indexVersion)
        if (info?.config.metadata?.run !== this.#run) continue
        const name = this.#names.collection(role, indexVersion)
        await this.#requests.write(`drop ${name}`, (client) => client.deleteCollection(name))
        dropped.push(name)
      }
    }
    this.#shapes.clear()
    this.#contexts.clear()
    this.#live = undefined
    return dropped
  }

  async #readLive(): Promise<string | undefined> {
    const readAtMs = this.#clock.nowMs() // before the answer: it is at least as new as this
    const switches = this.#switches
    const collection = (await this.#aliases()).get(this.#names.alias('item'))
    const indexVersion = collection === undefined ? undefined : this.#names.indexVersionOf('item', collection)
    // A switch from here that ended meanwhile is newer than this answer may be.
    if (this.#switches !== switches) return this.#live?.indexVersion
    this.#live = { indexVersion, readAtMs }
    return indexVersion
  }

  async #aliases(): Promise<Map<string, string>> {
    const { aliases } = await this.#requests.read('list aliases', (client) => client.getAliases())
    return new Map(aliases.map(({ alias_name, collection_name }) => [alias_name, collection_name]))
  }

  /** undefined: there is no such collection. */
  async #info(role: Role, indexVersion: string): Promise<Schemas['CollectionInfo'] | undefined> {
    const name = this.#names.collection(role, indexVersion)
    try {
      return await this.#requests.read(`describe ${name}`, (client) => client.getCollection(name))
    } catch (error) {
      if (error instanceof NotInQdrantError) return undefined
      throw error
    }
  }

  /** Whether the collection is there. @throws ConfigError if it is another run's, or has another shape */
  async #checkExisting(role: Role, indexVersion: string, shape: VersionShape): Promise<boolean> {
    const info = await this.#info(role, indexVersion)
    if (info === undefined) return false
    const name = this.#names.collection(role, indexVersion)
    const { run } = info.config.metadata ?? {}
    if (run !== this.#run) {
      throw new ConfigError([
        `collection ${name} at ${this.#options.url} belongs to ${typeof run === 'string' ? `run ${run}` : 'another program'}, not to run ${this.#run}: choose another qdrant.prefix`
      ])
    }
    const [is, wanted] =
      role === 'item' ? [sizeOf(info), shape.dimensions] : [`${namedVectors(info)} × ${sizeOf(info)}`, shapeText(shape)]
    if (is !== wanted)
      throw new ConfigError([
        `index version ${indexVersion} exists with another shape: ${name} has vectors of ${is}, not ${wanted}`
      ])
    return true
  }

  #definition(
    role: Role,
    indexVersion: string,
    { dimensions, interestCount }: VersionShape
  ): Schemas['CreateCollection'] {
    const { shards, replicas, writeConsistency, onDisk, quantization } = this.#options
    const vector: Schemas['VectorParams'] = {
      size: dimensions,
      distance: 'Cosine',
      ...(onDisk ? { on_disk: true } : {})
    }
    const named = Array.from({ length: interestCount }, (_, k) => [interestName(k), vector] as const)
    return {
      vectors: role === 'item' ? vector : Object.fromEntries(named),
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
        run: this.#run,
        indexVersion,
        role,
        madeAtMs: this.#clock.nowMs()
      }
    }
  }

  async #madeAtMs(indexVersion: string): Promise<number> {
    const info = (await this.#info('item', indexVersion)) ?? (await this.#info('user', indexVersion))
    const madeAtMs = info?.config.metadata?.madeAtMs
    return typeof madeAtMs === 'number' ? madeAtMs : 0
  }

  async #untilGreen(indexVersion: string, role: Role): Promise<void> {
    const name = this.#names.collection(role, indexVersion)
    const untilMs = this.#clock.nowMs() + this.#options.greenWaitMs
    for (;;) {
      const status = (await this.#info(role, indexVersion))?.status
      if (status === 'green') return
      // After a restart, indexing waits for a first change.
      if (status === 'grey') {
        await this.#requests.write(`go on indexing ${name}`, (client) =>
          client.updateCollection(name, { optimizers_config: {} })
        )
      }
      if (this.#clock.nowMs() >= untilMs) {
        throw new UnavailableError(
          `promote ${indexVersion}: ${name} is ${status ?? 'gone'}, not green, after ${this.#options.greenWaitMs} ms; nothing was switched`
        )
      }
      await pause(greenPollMs)
    }
  }

  /** Some items are found by their own vectors, and some users find items. @throws UnavailableError */
  async #searchCanaries(indexVersion: string, held: PointCounts): Promise<void> {
    const [items, users] = roles.map((role) => this.#names.collection(role, indexVersion)) as [string, string]
    const sample = async (name: string, withVector: boolean) =>
      (
        await this.#requests.read(`read ${name}`, (client) =>
          client.scroll(name, { limit: canaries, with_vector: withVector, filter: { must_not: [isRemoved] } })
        )
      ).points
    const failed = (what: string) => new UnavailableError(`promote ${indexVersion}: ${what}; nothing was switched`)
    if (held.items === 0) return
    const points = await sample(items, true)
    const found = await this.#requests.read(`search ${items}`, (client) =>
      client.queryBatch(items, { searches: points.map(({ vector }) => ({ query: vector as number[], limit: 1 })) })
    )
    found.forEach(({ points: [best] }, i) => {
      if (best === undefined || best.score < canaryScoreMin)
        throw failed(
          `item ${String(points[i]!.payload?.id)} is not found by its own vector (best score ${best?.score ?? 'none'})`
        )
    })
    if (held.users === 0) return
    const { interestCount } = await this.shape(indexVersion)
    const lookups = (await sample(users, false)).map(({ id, payload }) => ({ id, userId: String(payload?.id) }))
    const lists = await this.#requests.read(`search ${items} for users`, (client) =>
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

export function noSuchVersion(indexVersion: string): ConfigError {
  return new ConfigError([
    `there is no index version ${indexVersion} in Qdrant: it was never made, or has been dropped`
  ])
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
