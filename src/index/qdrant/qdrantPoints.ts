// What a point looks like in Qdrant, and what a filter does. Part of the contract with other programs:
// infra/qdrant/CONTRACT.md.
//
// D dimensions, K interests a user.

import type { Schemas } from '@qdrant/js-client-rest'
import { setOwn } from '../../core/own.ts'
import { type Availability, availabilityOf } from '../../records/catalogueItem.ts'
import type { ItemId } from '../../records/interaction.ts'
import { conditionsOf, orderedValue } from '../itemFilter.ts'
import { votesMax, votesOf } from '../memory.ts'
import {
  type Filter,
  type ItemPayload,
  type PopularItem,
  popularityPart,
  type Role,
  type UserPayload,
  type VectorPoint,
  type VersionShape
} from '../vectorIndex.ts'
import { interestName, memoryIndex, memoryName, pointId } from './qdrantNames.ts'

type QdrantPoint = Schemas['PointStruct']
type QdrantFilter = Schemas['Filter']
export type QdrantPayload = Record<string, unknown>

/** Payload indexes, created before the first write: HNSW gets links for a filter only if the index exists. */
export const payloadIndexes: Readonly<Record<Role, Readonly<Record<string, Schemas['PayloadSchemaParams']>>>> = {
  item: {
    version: { type: 'integer', lookup: false, range: true, enable_hnsw: false },
    removedAtMs: { type: 'integer', lookup: false, range: true, enable_hnsw: false },
    count: { type: 'float', enable_hnsw: false },
    popularity: { type: 'float', enable_hnsw: false },
    tags: { type: 'keyword' },
    fields: { type: 'keyword', enable_hnsw: false }
  },
  user: {
    version: { type: 'integer', lookup: false, range: true, enable_hnsw: false },
    removedAtMs: { type: 'integer', lookup: false, range: true, enable_hnsw: false }
  }
}

/** Of items with an availability; indexed once there is one. */
export const availabilityFields = ['availableFromMs', 'availableUntilMs'] as const

/** Fields of an item's payload that an answer needs. */
export const describedFields = ['id', 'title', 'features', 'count', 'popularity', 'popularityIn', 'updatedAtMs']

const inContext = 'popularityIn.'

/** Of a popularity within a context, and of the numbers of a field. */
export const numberIndex: Schemas['PayloadSchemaParams'] = { type: 'float', enable_hnsw: false }

/** Payload field of the popularity within a context: `popularityIn."country=de"`. */
export function contextField(context: string): string {
  return `${inContext}"${context}"`
}

/** Payload field of a feature's numbers and dates: `ordered."price"`; `%`, `"` and `\\` in its name are escaped. */
function orderedField(field: string): string {
  return `ordered."${escapedField(field)}"`
}

function escapedField(field: string): string {
  return field.replace(/[%"\\]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}

/** Field, escaped → its values that are numbers or dates; undefined: no field has one. */
function orderedValues(features: Readonly<Record<string, readonly string[]>>): Record<string, number[]> | undefined {
  const ordered: Record<string, number[]> = {}
  for (const [field, values] of Object.entries(features)) {
    const numbers = values.map(orderedValue).filter((value) => value !== undefined)
    if (numbers.length > 0) setOwn(ordered, escapedField(field), numbers)
  }
  return Object.keys(ordered).length === 0 ? undefined : ordered
}

/** Payload fields that hold numbers of a point and are to be indexed. */
export function numberFieldsOf(point: VectorPoint): string[] {
  if (point.role === 'user') return []
  const { popularityIn = {}, features = {} } = point.payload
  const ordered = Object.entries(features).filter(([, values]) =>
    values.some((value) => orderedValue(value) !== undefined)
  )
  return [
    ...Object.keys(popularityIn).map(contextField),
    ...ordered.map(([field]) => orderedField(field)),
    ...(Object.keys(availabilityOf(point.payload)).length > 0 ? availabilityFields : [])
  ]
}

/** A number of a vector as JSON: sign, 0., nine decimals, comma. */
const numberBytes = 14
/** An index of a sparse vector: ten digits, comma. */
const indexBytes = 11
/** Names, braces and numbers of a point, without its texts. */
const frameBytes = 400
/** Of the popularity within a context beside its name, in characters. */
const contextBytes = 8
/** Of a character in JSON at most: \u0000. */
const characterBytes = 6

/**
 * A feature as one keyword, `genre=drama`; `=` and `%` within the field's name are escaped, so that no two features
 * become the same.
 */
export function tagOf(field: string, value: string): string {
  return `${field.replace(/[%=]/g, (character) => (character === '%' ? '%25' : '%3D'))}=${value}`
}

/** @param step goes into the payload as `version` */
export function toQdrant(point: VectorPoint, step: number, { dimensions, interestCount }: VersionShape): QdrantPoint {
  const id = pointId(point.id)
  if (point.role === 'item') {
    const { title, features, count, popularity = 0, popularityIn, updatedAtMs } = point.payload
    // An order by popularity leaves out points without the field.
    const payload: QdrantPayload = {
      ...{ id: point.id, version: step, updatedAtMs, count, popularity },
      ...availabilityOf(point.payload)
    }
    if (popularityIn !== undefined) payload.popularityIn = popularityIn
    if (title !== undefined) payload.title = title
    if (features !== undefined) {
      payload.features = features
      payload.tags = Object.entries(features).flatMap(([field, values]) => values.map((value) => tagOf(field, value)))
      payload.fields = Object.entries(features).flatMap(([field, values]) => (values.length > 0 ? [field] : []))
      const ordered = orderedValues(features)
      if (ordered !== undefined) payload.ordered = ordered
    }
    const vector = toNumbers(point.vector)
    if (point.memory === undefined || point.memory.neighbours.length === 0) return { id, vector, payload }
    return {
      id,
      vector: { '': vector, [memoryName]: toSparse(point.memory.neighbours, point.memory.weights) },
      payload
    }
  }
  const { recent, historyLength, newestMs, updatedAtMs, memory, ...more } = point.payload
  const vector: Record<string, number[] | Schemas['SparseVector']> = {}
  const isCold = point.vectors.length === 0
  for (let k = 0; k < interestCount && !isCold; k++) {
    setOwn(vector, interestName(k), toNumbers(point.vectors.subarray(k * dimensions, (k + 1) * dimensions)))
  }
  if (memory !== undefined) {
    // Votes of weight 0 are stored as well: a query by a vector that is not there fails.
    const { items, weights } = votesOf(recent, memory.weight > 0 ? memory : { weight: 1, decay: 0 })
    setOwn(vector, memoryName, toSparse(items, memory.weight > 0 ? weights : weights.fill(0)))
  }
  const payload: QdrantPayload = { id: point.id, version: step, updatedAtMs, newestMs, historyLength, recent, ...more }
  if (memory !== undefined) payload.memory = memory
  if (isCold) payload.interests = 0
  return { id, vector, payload }
}

/** Items that share an index are one, with the sum of their weights: Qdrant takes no index twice. */
export function toSparse(items: readonly ItemId[], weights: Float32Array): Schemas['SparseVector'] {
  const sums = new Map<number, number>()
  for (const [i, item] of items.entries()) {
    const index = memoryIndex(item)
    sums.set(index, (sums.get(index) ?? 0) + weights[i]!)
  }
  return { indices: [...sums.keys()], values: [...sums.values()].map(rounded) }
}

/**
 * Remains of a removed point, so that an older write does not bring it back: its step, and neither vector nor text. A
 * search by vector and an order by `popularity` never find it.
 */
export function tombstone(uuid: string, version: number, removedAtMs: number): QdrantPoint {
  return { id: uuid, vector: {}, payload: { version, removedAtMs } }
}

/**
 * With nine decimals. As doubles, float32 numbers take some 19 digits; a cosine of two unit vectors is off by at most
 * 5e-10 · √D this way, less than by float32 itself, and the request is two fifths shorter.
 */
function toNumbers(vector: Float32Array): number[] {
  const numbers = new Array<number>(vector.length)
  for (let d = 0; d < vector.length; d++) numbers[d] = rounded(vector[d]!)
  return numbers
}

function rounded(value: number): number {
  return Math.round(value * 1e9) / 1e9
}

/** For `update_filter`: the stored point is replaced by a write of `step`. */
export function notNewerThan(step: number): { must: Schemas['Condition'][] } {
  return { must: [{ key: 'version', range: { lte: step } }] }
}

export const isRemoved: QdrantFilter = { must: [{ key: 'removedAtMs', range: { gte: 0 } }] }

/** undefined: everything. `also` are point ids to leave out. `excludeHashes` is for the caller. */
export function toQdrantFilter(
  { excludeItems = [], onlyItems, features, availableAtMs }: Filter,
  also: readonly string[] = []
): QdrantFilter | undefined {
  const must: Schemas['Condition'][] = []
  const mustNot: Schemas['Condition'][] = []
  for (const [field, { any, not = [], range, exists }] of conditionsOf(features)) {
    if (any !== undefined) must.push(tagged(field, any))
    if (not.length > 0) mustNot.push(tagged(field, not))
    if (range !== undefined) must.push({ key: orderedField(field), range })
    if (exists !== undefined) (exists ? must : mustNot).push({ key: 'fields', match: { value: field } })
  }
  if (onlyItems !== undefined) must.push({ has_id: [...new Set(onlyItems.map(pointId))] })
  if (availableAtMs !== undefined)
    mustNot.push(
      { key: 'availableFromMs', range: { gt: availableAtMs } },
      { key: 'availableUntilMs', range: { lte: availableAtMs } }
    )
  const excluded = [...new Set([...excludeItems.map(pointId), ...also])]
  if (excluded.length > 0) mustNot.push({ has_id: excluded })
  if (must.length === 0 && mustNot.length === 0) return undefined
  // Qdrant 1.19 ignores a `must_not` that is equal to a `must` on an indexed field, where nothing can match.
  const required = new Set(must.map((condition) => JSON.stringify(condition)))
  if (mustNot.some((condition) => required.has(JSON.stringify(condition)))) return { must: [{ has_id: [] }] }
  return { ...(must.length === 0 ? {} : { must }), ...(mustNot.length === 0 ? {} : { must_not: mustNot }) }
}

/** The point has one of the values. */
function tagged(field: string, values: readonly string[]): Schemas['Condition'] {
  const tags = values.map((value) => tagOf(field, value))
  return { key: 'tags', match: tags.length === 1 ? { value: tags[0]! } : { any: tags } }
}

/** Parts of at most `bytesMax` of JSON and `pointsMax` points, whichever is less; a point larger than that is alone. */
export function inBatches(points: readonly VectorPoint[], bytesMax: number, pointsMax: number): VectorPoint[][] {
  const batches: VectorPoint[][] = []
  let bytes = Number.POSITIVE_INFINITY
  for (const point of points) {
    const size = jsonBytesMax(point)
    if (bytes + size > bytesMax || batches.at(-1)!.length >= pointsMax) {
      batches.push([])
      bytes = 0
    }
    batches.at(-1)!.push(point)
    bytes += size
  }
  return batches
}

/** More than the point takes as JSON, without writing it. */
function jsonBytesMax(point: VectorPoint): number {
  let characters = point.id.length
  let numbers: number
  if (point.role === 'item') {
    const listed = point.memory?.neighbours.length ?? 0
    numbers = point.vector.length + listed * (1 + indexBytes / numberBytes)
    characters += point.payload.title?.length ?? 0
    for (const context of Object.keys(point.payload.popularityIn ?? {})) characters += context.length + contextBytes
    for (const [field, values] of Object.entries(point.payload.features ?? {})) {
      characters += 3 * field.length + 6
      for (const value of values) characters += 3 * field.length + 3 * value.length + 8
    }
  } else {
    numbers = point.vectors.length + votesMax * (1 + indexBytes / numberBytes)
    const { recent, seen = '', unwanted = [] } = point.payload
    for (const item of recent) characters += item.length + 1
    for (const { itemId } of unwanted) characters += itemId.length + 8
    characters += seen.length
  }
  return frameBytes + numbers * numberBytes + characters * characterBytes
}

export function toItemPayload(payload: QdrantPayload): ItemPayload {
  const { title, features, count, popularity, popularityIn, updatedAtMs } = payload as Partial<ItemPayload>
  return {
    ...(title === undefined ? {} : { title }),
    ...(features === undefined ? {} : { features }),
    count: count ?? 0,
    ...popularityPart(popularity, popularityIn),
    ...availabilityOf(payload as Availability),
    updatedAtMs: updatedAtMs ?? 0
  }
}

export function toUserPayload(payload: QdrantPayload): UserPayload {
  const { recent, historyLength, newestMs, updatedAtMs, strengths, memory, seen, unwanted } =
    payload as Partial<UserPayload>
  return {
    ...(strengths === undefined ? {} : { strengths }),
    ...(seen === undefined ? {} : { seen }),
    ...(unwanted === undefined ? {} : { unwanted }),
    ...(memory === undefined ? {} : { memory }),
    recent: recent ?? [],
    historyLength: historyLength ?? 0,
    newestMs: newestMs ?? 0,
    updatedAtMs: updatedAtMs ?? 0
  }
}

export function toPopularItem(hit: { payload?: QdrantPayload | null | undefined }, score: number): PopularItem {
  const payload = hit.payload ?? {}
  return { itemId: String(payload.id), score, payload: toItemPayload(payload) }
}

/** [D] */
export function toVector(vector: unknown): Float32Array {
  return Float32Array.from(unnamedOf(vector))
}

/** An item's vector as it was read: a point with a list has named vectors, of which it is the one without a name. [D] */
export function unnamedOf(vector: unknown): number[] {
  return Array.isArray(vector) ? (vector as number[]) : (vector as { '': number[] })['']
}
