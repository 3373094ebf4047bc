// Spaces in Qdrant: two collections each, one of them live by two aliases.
//
// Every question names collections, never aliases: which space is live is read once a request, from the alias of the
// items alone, so that no answer mixes two. The aliases are for other programs.

import { setTimeout as pause } from 'node:timers/promises'
import type { Schemas } from '@qdrant/js-client-rest'
import type { Clock } from '../../core/clock.ts'
import type { QdrantOptions } from '../../core/config/config.ts'
import { ConfigError, UnavailableError } from '../../core/errors.ts'
import { handledLater } from '../../core/promises.ts'
import { checkShape, incompleteSpace, type SpaceShape } from '../vectorIndex.ts'
import { interestName, type QdrantNames, type Role, roles } from './qdrantNames.ts'
import { contextField, contextIndex, contextOf, isRemoved, payloadIndexes } from './qdrantPoints.ts'
import { NotInQdrantError, type QdrantRequests } from './qdrantRequests.ts'

/** Indexes of popularity within a context in one collection. */
const contextIndexesMax = 256
/** How old the knowledge of which contexts there are may be. */
const contextsMaxAgeMs = 10_000
const greenPollMs = 100
/** Points that are looked for by their own vectors before a space goes live. */
const canaries = 5
/** A point's own vector finds it, or one that is as near: the cosine is 1 but for rounding. */
const canaryScoreMin = 0.99

export class QdrantSpaces {
  readonly #requests: QdrantRequests
  readonly #names: QdrantNames
  readonly #options: QdrantOptions
  readonly #clock: Clock
  /** Whose collections these are. */
  readonly #run: string
  readonly #shapes = new Map<string, SpaceShape>()
  readonly #contexts = new Map<string, { readonly contexts: Set<string>; readonly readAtMs: number }>()
  #live: { readonly space: string | undefined; readonly readAtMs: number } | undefined
  #reading: Promise<string | undefined> | undefined
  /** Switches made from here. */
  #switches = 0

  constructor(parts: {
    requests: QdrantRequests
    names: QdrantNames
    options: QdrantOptions
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
   * Makes what is missing of the two collections and their payload indexes: a crash in between leaves a space that the
   * next call completes.
   */
  async create(space: string, shape: SpaceShape): Promise<void> {
    checkShape(space, shape)
    await this.#requests.version()
    for (const role of roles) {
      const name = this.#names.collection(role, space)
      if (!(await this.#checkExisting(role, space, shape))) {
        const made = await this.#requests.write(`make collection ${name}`, (client) =>
          client
            .createCollection(name, this.#definition(role, space, shape))
            .catch((error: Error & { status?: number }) => {
              if (error.status === 409) return false // somebody was as fast, or the answer to an earlier attempt was lost
              throw error
            })
        )
        if (!made) await this.#checkExisting(role, space, shape)
      }
      for (const [field_name, field_schema] of Object.entries(payloadIndexes[role])) {
        await this.#requests.write(`index ${field_name} of ${name}`, (client) =>
          client.createPayloadIndex(name, { field_name, field_schema, wait: true })
        )
      }
    }
    this.#shapes.set(space, shape)
  }

  /** @throws ConfigError if there is no such space */
  async shape(space: string): Promise<SpaceShape> {
    const known = this.#shapes.get(space)
    if (known !== undefined) return known
    const [items, users] = [await this.#info('item', space), await this.#info('user', space)]
    const shape = { dimensions: sizeOf(items), interestCount: namedVectors(users) }
    if (items === undefined || users === undefined) throw noSuchSpace(space)
    this.#shapes.set(space, shape)
    return shape
  }

  /**
   * Contexts by whose popularity items can be ordered, as of `contextsMaxAgeMs` ago at most. @throws NotInQdrantError
   * if there is no such space
   */
  async contexts(space: string): Promise<ReadonlySet<string>> {
    return (await this.#readContexts(space)).contexts
  }

  /**
   * From here on items can be ordered by these contexts. Beyond `contextIndexesMax` in a collection no more are made:
   * what changes all the time is no context.
   */
  async indexContexts(space: string, contexts: Iterable<string>): Promise<void> {
    for (const context of contexts) {
      const { contexts: known } = await this.#readContexts(space)
      if (known.has(context) || known.size >= contextIndexesMax) continue
      const name = this.#names.collection('item', space)
      const index = { field_name: contextField(context), field_schema: contextIndex, wait: true }
      await this.#requests.write(`index ${index.field_name} of ${name}`, (client) =>
        client.createPayloadIndex(name, index)
      )
      known.add(context)
    }
  }

  async #readContexts(space: string): Promise<{ readonly contexts: Set<string>; readonly readAtMs: number }> {
    const known = this.#contexts.get(space)
    const readAtMs = this.#clock.nowMs()
    if (known !== undefined && readAtMs - known.readAtMs < contextsMaxAgeMs) return known
    const name = this.#names.collection('item', space)
    const { payload_schema } = await this.#requests.read(`describe ${name}`, (client) => client.getCollection(name))
    const read = { contexts: new Set(Object.keys(payload_schema).flatMap((field) => contextOf(field) ?? [])), readAtMs }
    this.#contexts.set(space, read)
    return read
  }

  /** Somebody else may have dropped it, and made it again. */
  forget(space: string): void {
    this.#shapes.delete(space)
    this.#contexts.delete(space)
    this.#live = undefined
  }

  /** Oldest first. */
  async list(): Promise<string[]> {
    const { collections } = await this.#requests.read('list collections', (client) => client.getCollections())
    const found = new Set(
      roles
        .flatMap((role) => collections.map(({ name }) => this.#names.spaceOf(role, name)))
        .filter((space) => space !== undefined)
    )
    const dated = await Promise.all([...found].map(async (space) => ({ space, madeAtMs: await this.#madeAtMs(space) })))
    return dated.sort((a, b) => a.madeAtMs - b.madeAtMs || (a.space < b.space ? -1 : 1)).map(({ space }) => space)
  }

  /** The live space, as of `liveMaxAgeMs` ago at most; undefined: none. @param fresh ask now */
  async live(fresh = false): Promise<string | undefined> {
    const known = this.#live
    if (!fresh && known !== undefined && this.#clock.nowMs() - known.readAtMs < this.#options.liveMaxAgeMs)
      return known.space
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

  async count(space: string, role: Role): Promise<number> {
    const name = this.#names.collection(role, space)
    const [all, removed] = await Promise.all([
      this.#requests.read(`count ${name}`, (client) => client.count(name, { exact: true })),
      this.#requests.read(`count what was removed from ${name}`, (client) =>
        client.count(name, { exact: true, filter: isRemoved })
      )
    ])
    return Math.max(0, all.count - removed.count)
  }

  /**
   * Both aliases in one call, after the space was found indexed, full enough, and searchable.
   * @throws UnavailableError if it is not; then nothing was switched, and later it may be
   */
  async promote(space: string, expected: { items: number; users: number }): Promise<void> {
    const aliases = await this.#aliases()
    const wanted = roles.map((role) => [this.#names.alias(role), this.#names.collection(role, space)] as const)
    const isLive = wanted.every(([alias, collection]) => aliases.get(alias) === collection)
    if ((await this.#info('item', space)) === undefined || (await this.#info('user', space)) === undefined) {
      throw incompleteSpace(space, { items: 0, users: 0 }, expected)
    }
    const held = { items: await this.count(space, 'item'), users: await this.count(space, 'user') }
    if (held.items < expected.items || held.users < expected.users) throw incompleteSpace(space, held, expected)
    if (!isLive) {
      for (const role of roles) await this.#untilGreen(space, role)
      await this.#searchCanaries(space, held)
      await this.#requests.write(`switch to space ${space}`, (client) =>
        client.updateCollectionAliases({
          actions: wanted.map(([alias_name, collection_name]) => ({ create_alias: { alias_name, collection_name } }))
        })
      )
    }
    this.#switches++
    this.#live = { space, readAtMs: this.#clock.nowMs() }
  }

  /** @throws ConfigError for the live one */
  async drop(space: string): Promise<void> {
    if ((await this.live(true)) === space)
      throw new ConfigError([`space ${space} is live: promote another one before dropping it`])
    for (const role of roles) {
      const name = this.#names.collection(role, space)
      await this.#requests.write(`drop ${name}`, (client) => client.deleteCollection(name))
    }
    this.forget(space)
  }

  async clear(): Promise<string[]> {
    const dropped: string[] = []
    for (const space of await this.list()) {
      for (const role of roles) {
        const info = await this.#info(role, space)
        if (info?.config.metadata?.run !== this.#run) continue
        const name = this.#names.collection(role, space)
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
    const space = collection === undefined ? undefined : this.#names.spaceOf('item', collection)
    // A switch from here that ended meanwhile is newer than this answer may be.
    if (this.#switches !== switches) return this.#live?.space
    this.#live = { space, readAtMs }
    return space
  }

  async #aliases(): Promise<Map<string, string>> {
    const { aliases } = await this.#requests.read('list aliases', (client) => client.getAliases())
    return new Map(aliases.map(({ alias_name, collection_name }) => [alias_name, collection_name]))
  }

  /** undefined: there is no such collection. */
  async #info(role: Role, space: string): Promise<Schemas['CollectionInfo'] | undefined> {
    const name = this.#names.collection(role, space)
    try {
      return await this.#requests.read(`describe ${name}`, (client) => client.getCollection(name))
    } catch (error) {
      if (error instanceof NotInQdrantError) return undefined
      throw error
    }
  }

  /** Whether the collection is there. @throws ConfigError if it is another run's, or has another shape */
  async #checkExisting(role: Role, space: string, shape: SpaceShape): Promise<boolean> {
    const info = await this.#info(role, space)
    if (info === undefined) return false
    const name = this.#names.collection(role, space)
    const { run } = info.config.metadata ?? {}
    if (run !== this.#run) {
      throw new ConfigError([
        `collection ${name} at ${this.#options.url} belongs to ${typeof run === 'string' ? `run ${run}` : 'another program'}, not to run ${this.#run}: choose another qdrant.prefix`
      ])
    }
    const [is, wanted] =
      role === 'item' ? [sizeOf(info), shape.dimensions] : [`${namedVectors(info)} × ${sizeOf(info)}`, shapeText(shape)]
    if (is !== wanted)
      throw new ConfigError([`space ${space} exists with another shape: ${name} has vectors of ${is}, not ${wanted}`])
    return true
  }

  #definition(role: Role, space: string, { dimensions, interestCount }: SpaceShape): Schemas['CreateCollection'] {
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
      metadata: { product: 'mtmi-stream', contract: 1, run: this.#run, space, role, madeAtMs: this.#clock.nowMs() }
    }
  }

  async #madeAtMs(space: string): Promise<number> {
    const info = (await this.#info('item', space)) ?? (await this.#info('user', space))
    const madeAtMs = info?.config.metadata?.madeAtMs
    return typeof madeAtMs === 'number' ? madeAtMs : 0
  }

  async #untilGreen(space: string, role: Role): Promise<void> {
    const name = this.#names.collection(role, space)
    const untilMs = this.#clock.nowMs() + this.#options.greenWaitMs
    for (;;) {
      const status = (await this.#info(role, space))?.status
      if (status === 'green') return
      // After a restart, indexing waits for a first change.
      if (status === 'grey') {
        await this.#requests.write(`go on indexing ${name}`, (client) =>
          client.updateCollection(name, { optimizers_config: {} })
        )
      }
      if (this.#clock.nowMs() >= untilMs) {
        throw new UnavailableError(
          `promote ${space}: ${name} is ${status ?? 'gone'}, not green, after ${this.#options.greenWaitMs} ms; nothing was switched`
        )
      }
      await pause(greenPollMs)
    }
  }

  /** Some items are found by their own vectors, and some users find items. @throws UnavailableError */
  async #searchCanaries(space: string, held: { items: number; users: number }): Promise<void> {
    const [items, users] = roles.map((role) => this.#names.collection(role, space)) as [string, string]
    const sample = async (name: string, withVector: boolean) =>
      (
        await this.#requests.read(`read ${name}`, (client) =>
          client.scroll(name, { limit: canaries, with_vector: withVector, filter: { must_not: [isRemoved] } })
        )
      ).points
    const failed = (what: string) => new UnavailableError(`promote ${space}: ${what}; nothing was switched`)
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
    const { interestCount } = await this.shape(space)
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

export function noSuchSpace(space: string): ConfigError {
  return new ConfigError([`there is no space ${space} in Qdrant: it was never made, or has been dropped`])
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

function shapeText({ dimensions, interestCount }: SpaceShape): string {
  return `${interestCount} × ${dimensions}`
}
