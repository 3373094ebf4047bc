// What every index checks before it writes, searches or switches.

import { ConfigError, DivergedError, MtmiError, UnavailableError } from '../core/errors.ts'
import { idProblem } from '../records/admission.ts'
import type { ItemId } from '../records/interaction.ts'
import { type Neighbours, neighboursProblem } from './memory.ts'
import type { ItemMemory, PointCounts, Role, VectorPoint, VersionShape } from './vectorIndex.ts'

/**
 * How far a vector's length may be from 1. Float32 rounding over 512 dimensions stays below 1e-5; a vector that was
 * never normalised is far outside.
 */
const lengthTolerance = 1e-3

/** Whether every vector has length 1; false for one that is not finite, and if there is none. @param vectors [count, D] */
export function areUnits(vectors: Float32Array, dimensions = vectors.length): boolean {
  for (let from = 0; from < vectors.length; from += dimensions) {
    if (!(Math.abs(lengthOf(vectors, from, dimensions) - 1) <= lengthTolerance)) return false
  }
  return vectors.length > 0
}

function lengthOf(vectors: Float32Array, from: number, dimensions: number): number {
  let squares = 0
  for (let d = from; d < from + dimensions; d++) squares += vectors[d]! * vectors[d]!
  return Math.sqrt(squares)
}

/**
 * What every index checks before it writes any of the points.
 *
 * @throws ConfigError for a wrong shape, a bad id, step or count; DivergedError for a vector that is not finite or not
 *   of length 1
 */
export function checkPoints(version: string, shape: VersionShape, step: number, points: readonly VectorPoint[]): void {
  checkStep(version, step)
  for (const point of points) {
    const owner = `${point.role} ${point.id}`
    checkId(point.role, point.id)
    if (point.role === 'user') {
      if (point.vectors.length > 0) checkVectors(owner, point.vectors, shape.interestCount, shape.dimensions)
      continue
    }
    checkVectors(owner, point.vector, 1, shape.dimensions)
    if (point.memory !== undefined) checkNeighbours(point.id, point.memory)
    const { count, popularity = 0, popularityIn = {} } = point.payload
    for (const [name, value] of [
      ['count', count],
      ...[popularity, ...Object.values(popularityIn)].map((level) => ['popularity', level] as const)
    ] as const) {
      if (!(Number.isFinite(value) && value >= 0))
        throw new ConfigError([`${owner}: its ${name} must be a number ≥ 0, not ${value}`])
    }
  }
}

/** As `checkPoints`, of lists alone. @throws ConfigError */
export function checkLists(version: string, step: number, lists: readonly ItemMemory[]): void {
  checkStep(version, step)
  for (const { id, memory } of lists) {
    checkId('item', id)
    checkNeighbours(id, memory)
  }
}

function checkStep(version: string, step: number): void {
  if (!Number.isSafeInteger(step) || step < 0)
    throw new ConfigError([`write to index version ${version}: the step must be an integer ≥ 0, not ${step}`])
}

function checkNeighbours(id: ItemId, memory: Neighbours): void {
  const problem = neighboursProblem(memory)
  if (problem !== undefined) throw new ConfigError([`item ${id}: its list in the memory: ${problem}`])
}

/** Whether it is an id as `records/admission.ts` has it. */
export function isId(id: string): boolean {
  return idProblem('id', id) === undefined
}

/** @throws ConfigError unless `isId`: ids from the log have been checked before */
export function checkId(role: Role, id: string): void {
  const problem = idProblem(`${role} id`, id)
  if (problem !== undefined) throw new ConfigError([problem])
}

/** @param vectors [count, dimensions] @throws ConfigError, DivergedError */
function checkVectors(owner: string, vectors: Float32Array, count: number, dimensions: number): void {
  if (vectors.length !== count * dimensions) {
    throw new ConfigError([
      `${owner}: ${vectors.length} numbers, but ${count} × ${dimensions} are needed: the index version has another shape than the model`
    ])
  }
  for (let k = 0; k < count; k++) {
    const vector = vectors.subarray(k * dimensions, (k + 1) * dimensions)
    if (areUnits(vector)) continue
    const at = vector.findIndex((value) => !Number.isFinite(value))
    throw new DivergedError(
      at >= 0
        ? `${owner}: vector ${k} holds ${vector[at]} at dimension ${at}; nothing was written`
        : `${owner}: vector ${k} has length ${lengthOf(vector, 0, dimensions)}, not 1; nothing was written`
    )
  }
}

/** Vectors that a search is given. @param countMin 0: there may be none @throws ConfigError, DivergedError */
export function checkQuery(
  vectors: Float32Array,
  count: number,
  dimensions: number,
  countMax: number,
  countMin = 1
): void {
  if (!Number.isInteger(count) || count < countMin || count > countMax)
    throw new ConfigError([
      `search by vectors: their count must be an integer of ${countMin} … ${countMax}, not ${count}`
    ])
  checkVectors('search by vectors', vectors, count, dimensions)
}

/** @throws ConfigError */
export function checkShape(version: string, shape: VersionShape): void {
  const limits = { dimensions: 4096, interestCount: 64 }
  const problems = (['dimensions', 'interestCount'] as const)
    .filter((field) => !(Number.isInteger(shape[field]) && shape[field] >= 1 && shape[field] <= limits[field]))
    .map(
      (field) => `index version ${version}: ${field} must be an integer of 1 … ${limits[field]}, not ${shape[field]}`
    )
  if (version.length === 0) problems.unshift('an index version needs a name')
  if (problems.length > 0) throw new ConfigError(problems)
}

/** @throws ConfigError */
export function checkLimit(limit: number): void {
  if (!Number.isInteger(limit) || limit < 1) throw new ConfigError([`limit must be an integer ≥ 1, not ${limit}`])
}

export function nothingLive(): UnavailableError {
  return new UnavailableError('no index version is live: nothing has been published yet')
}

/** The refusal of a `promote`. A later attempt succeeds once the points have arrived. */
export function incompleteVersion(version: string, held: PointCounts, expected: PointCounts): MtmiError {
  return new MtmiError(
    'UNAVAILABLE',
    `promote ${version}: it holds ${held.items} items and ${held.users} users, fewer than the ${expected.items} and ${expected.users} expected; nothing was switched`
  )
}
