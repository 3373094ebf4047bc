// Names of index versions, users and items in Qdrant. Part of the contract with other programs: infra/qdrant/CONTRACT.md.

import { createHash } from 'node:crypto'
import { ConfigError } from '../../core/errors.ts'
import type { Role } from '../vectorIndex.ts'

/** Namespace of the point ids: must never change. */
const namespace = Buffer.from('5b1fa8ad0c5a4d0e9a2b6d1f3c7e8a90', 'hex')

/** Longest name that Qdrant takes for a collection. */
const nameMax = 255

/** UUID version 5 (RFC 9562) of an id's UTF-8, the only text that Qdrant accepts as an id. */
export function pointId(id: string): string {
  const hash = createHash('sha1').update(namespace).update(id, 'utf8').digest()
  hash[6] = (hash[6]! & 0x0f) | 0x50
  hash[8] = (hash[8]! & 0x3f) | 0x80
  const hex = hash.toString('hex', 0, 16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** Of the k-th interest's vector of a user. */
export function interestName(k: number): string {
  return `i${k}`
}

/** The sparse vector of an item (its list in the memory) and of a user (the votes). */
export const memoryName = 'memory'

/**
 * Of an item in such a vector: the first 32 bits of its point's id. Of a million items some 116 pairs share an index
 * (n² / 2³³); then a vote for the one counts for the other as well, with its share of the list.
 */
export function memoryIndex(itemId: string): number {
  return Number.parseInt(pointId(itemId).slice(0, 8), 16)
}

/** Names with a prefix of their own let several products share a server. */
export class QdrantNames {
  readonly #prefix: string

  constructor(prefix: string) {
    this.#prefix = prefix
  }

  /** What readers query: `items_live`. */
  alias(role: Role): string {
    return `${this.#prefix}${role}s_live`
  }

  /**
   * `items-<index version>`. Never an alias's name: those have an underscore there. @throws ConfigError if the index version's name is
   * too long
   */
  collection(role: Role, version: string): string {
    const name =
      this.#beginning(role) + version.replace(/[^A-Za-z0-9._-]/gu, (char) => `~${Buffer.from(char).toString('hex')}~`)
    if (name.length > nameMax)
      throw new ConfigError([
        `index version ${version}: ${name} is longer than the ${nameMax} characters of a collection's name`
      ])
    return name
  }

  /** The index version that a collection belongs to; undefined for one of somebody else. */
  indexVersionOf(role: Role, collection: string): string | undefined {
    const beginning = this.#beginning(role)
    if (!collection.startsWith(beginning) || collection.length === beginning.length) return undefined
    return collection
      .slice(beginning.length)
      .replace(/~([0-9a-f]+)~/g, (_, hex: string) => Buffer.from(hex, 'hex').toString('utf8'))
  }

  #beginning(role: Role): string {
    return `${this.#prefix}${role}s-`
  }
}
