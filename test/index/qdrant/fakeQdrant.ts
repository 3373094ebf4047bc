// The part of Qdrant's REST interface that the index uses for the memory, in memory and exact. It is no proof of what a
// server does: the suite runs on one where QDRANT_URL names it (test/services/qdrantIndex.test.ts).

import type { IncomingMessage } from 'node:http'
import { LoopbackServer } from '../../support/loopbackServer.ts'

// biome-ignore lint/suspicious/noExplicitAny: bodies of requests
type Json = Record<string, any>
interface Point {
  readonly id: string
  vector: Json
  payload: Json
}
interface Sparse {
  readonly indices: number[]
  readonly values: number[]
}
interface Collection {
  readonly config: Json
  readonly points: Map<string, Point>
  /** Payload field → its index. */
  readonly indexed: Json
}

export async function fakeQdrant(): Promise<{ readonly url: string; close(): Promise<void> }> {
  const collections = new Map<string, Collection>()
  const aliases = new Map<string, string>()
  const server = new LoopbackServer((request, response) => {
    void bodyOf(request).then((body) => {
      const path = new URL(request.url!, 'http://fake').pathname
      let [status, answer]: [number, unknown] = [200, undefined]
      try {
        answer = { status: 'ok', result: answerTo(`${request.method} ${path}`, body) }
      } catch (error) {
        const { message } = error as Error
        status = message.startsWith('Not found') ? 404 : 400
        answer = { status: { error: message } }
      }
      if (path === '/') answer = { title: 'fake', version: '1.18.3' }
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
    })
  })

  function answerTo(what: string, body: Json): unknown {
    if (what === 'GET /') return undefined
    if (what === 'GET /collections') return { collections: [...collections.keys()].map((name) => ({ name })) }
    if (what === 'GET /aliases')
      return { aliases: [...aliases].map(([alias_name, collection_name]) => ({ alias_name, collection_name })) }
    if (what === 'POST /collections/aliases') {
      for (const { create_alias } of body.actions) aliases.set(create_alias.alias_name, create_alias.collection_name)
      return true
    }
    const [, method, name, rest = ''] = /^(\w+) \/collections\/([^/]+)(\/.*)?$/.exec(what)!
    if (rest === '' && method === 'PUT') {
      collections.set(name!, { config: body, points: new Map(), indexed: {} })
      return true
    }
    const held = collections.get(name!)
    if (held === undefined) throw new Error(`Not found: collection ${name}`)
    switch (`${method} ${rest}`) {
      case 'GET ': {
        const { vectors, sparse_vectors, metadata } = held.config
        return {
          status: 'green',
          config: { params: { vectors, sparse_vectors }, metadata },
          payload_schema: held.indexed
        }
      }
      case 'PUT /index':
        held.indexed[body.field_name] = body.field_schema
        return {}
      case 'PUT /points':
        return upsert(held, body)
      case 'POST /points/batch':
        for (const operation of body.operations) operate(held, operation)
        return []
      case 'POST /points':
        return body.ids
          .flatMap((id: string) => held.points.get(id) ?? [])
          .map((point: Point) => shown(point, body.with_vector))
      case 'POST /points/count':
        return { count: matching(held, body.filter).length }
      case 'POST /points/scroll':
        return {
          points: matching(held, body.filter)
            .filter(({ id }) => body.offset === undefined || id >= body.offset)
            .sort((a, b) => (a.id < b.id ? -1 : 1))
            .slice(0, body.limit)
            .map((point) => shown(point, body.with_vector))
        }
      case 'POST /points/delete':
        for (const { id } of matching(held, body.filter)) held.points.delete(id)
        return {}
      case 'POST /points/query/batch':
        return body.searches.map((search: Json) => ({ points: query(held, search) }))
    }
    throw new Error(`not in the fake: ${what}`)
  }

  function upsert(held: Collection, { points, update_filter }: Json): Json {
    for (const { id, vector, payload } of points as Point[]) {
      const before = held.points.get(id)
      if (before !== undefined && update_filter !== undefined && !meets(before, update_filter)) continue
      held.points.set(id, { id, vector: Array.isArray(vector) ? { '': vector } : vector, payload })
    }
    return {}
  }

  function operate(held: Collection, { upsert: points, update_vectors, delete_vectors, set_payload }: Json): void {
    if (points !== undefined) upsert(held, points)
    for (const { id, vector } of update_vectors?.points ?? []) {
      const point = held.points.get(id)
      if (point === undefined) throw new Error(`Not found: No point with id ${id}`)
      if (Object.values<Json>(vector).every((one) => one.indices?.length === 0))
        throw new Error('Validation error in JSON body: must specify vectors to update for point')
      if (meets(point, update_vectors.update_filter)) Object.assign(point.vector, vector)
    }
    if (delete_vectors !== undefined)
      for (const point of matching(held, delete_vectors.filter))
        for (const name of delete_vectors.vector) delete point.vector[name]
    if (set_payload !== undefined)
      for (const point of matching(held, set_payload.filter)) Object.assign(point.payload, set_payload.payload)
  }

  function query(held: Collection, { query, using = '', lookup_from, filter, limit, with_vector }: Json): Json[] {
    if (query.order_by !== undefined)
      return matching(held, filter)
        .sort((a, b) => b.payload[query.order_by.key] - a.payload[query.order_by.key])
        .slice(0, limit)
        .map((point) => ({ ...shown(point, false), score: 0 }))
    let vector = query
    let own: string | undefined
    if (typeof query === 'string') {
      const from = lookup_from === undefined ? held : collections.get(lookup_from.collection)
      vector = from?.points.get(query)?.vector[lookup_from?.vector ?? '']
      if (vector === undefined) throw new Error(`Not found: no vector ${lookup_from?.vector} of point ${query}`)
      own = lookup_from === undefined ? query : undefined
    }
    return matching(held, filter)
      .flatMap((point) => {
        const other = point.vector[using]
        const score = other === undefined || point.id === own ? undefined : similarity(vector, other)
        return score === undefined ? [] : [{ ...shown(point, with_vector), score }]
      })
      .sort((a, b) => b.score - a.score)
      .slice(0, limit)
  }

  await server.start()
  return { url: server.url, close: () => server.stop() }
}

/** undefined: sparse vectors without a common index. */
function similarity(a: number[] | Sparse, b: number[] | Sparse): number | undefined {
  if (!Array.isArray(a) && a.indices === undefined) throw new Error('a query is a vector, not named vectors')
  if (Array.isArray(a)) return a.reduce((sum, value, d) => sum + value * (b as number[])[d]!, 0)
  const { indices, values } = b as Sparse
  const common = a.indices.flatMap((index, i) => {
    const at = indices.indexOf(index)
    return at < 0 || a.values[i] === 0 ? [] : [a.values[i]! * values[at]!]
  })
  return common.length === 0 ? undefined : common.reduce((sum, value) => sum + value, 0)
}

function matching({ points }: Collection, filter: Json | undefined): Point[] {
  return [...points.values()].filter((point) => meets(point, filter))
}

function meets(point: Point, { must = [], must_not = [] }: Json = {}): boolean {
  const holds = ({ has_id, key, match, range, ...nested }: Json): boolean => {
    if ('must' in nested || 'must_not' in nested) return meets(point, nested)
    if (has_id !== undefined) return has_id.includes(point.id)
    const value = point.payload[key]
    if (value === undefined) return false
    if (match !== undefined) return (match.any ?? [match.value]).some((one: Json) => [value].flat().includes(one))
    return !(
      value < (range.gte ?? -Infinity) ||
      value > (range.lte ?? Infinity) ||
      value <= (range.gt ?? -Infinity) ||
      value >= (range.lt ?? Infinity)
    )
  }
  return must.every(holds) && !must_not.some(holds)
}

function shown({ id, vector, payload }: Point, with_vector: boolean | string[] | undefined): Json {
  const named = Array.isArray(with_vector)
    ? Object.fromEntries(with_vector.filter((name) => name in vector).map((name) => [name, vector[name]]))
    : vector
  const only = Object.keys(named)
  if (with_vector === undefined || with_vector === false) return { id, payload }
  return { id, payload, vector: only.length === 1 && only[0] === '' ? named[''] : named }
}

async function bodyOf(request: IncomingMessage): Promise<Json> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return parts.length === 0 ? {} : (JSON.parse(Buffer.concat(parts).toString()) as Json)
}
