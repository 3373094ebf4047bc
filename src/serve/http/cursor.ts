// Cursors of lists: what earlier pages showed, so that no item comes twice however the list changes in between.
//
// Bytes, in base64url: checksum u32, fingerprint of the request u32, and 32 bits of a hash of each id that was shown.
// A page that is asked for with a cursor is the best of what was not shown yet. It holds in every process and over
// restarts. Of a million other items each is taken for one of 1,000 that were shown with a probability of 1 in 4,300.

import { hashKey } from '../../core/hashKey.ts'
import { ProblemError } from './problem.ts'

/** Items of all pages of a list together: a cursor has 5.4 KB at most, which fits into an address. */
const pagedMax = 1000

export interface Page {
  /** `hashKey` of the ids on earlier pages. */
  readonly shown: ReadonlySet<number>
  /** @param ids on this page @returns undefined: this is the last page */
  next(ids: readonly string[], limit: number): string | undefined
}

/**
 * @param request what makes the list, without its length: pages of another request do not fit
 * @throws ProblemError 400 for a cursor that is damaged or belongs to another request
 */
export function pageOf(cursor: string | undefined, request: unknown, limit: number): Page {
  const fingerprint = hashKey(JSON.stringify(request))
  const shown = cursor === undefined ? new Set<number>() : read(cursor, fingerprint)
  if (shown.size + limit > pagedMax)
    throw new ProblemError(
      400,
      `limit ${limit} after ${shown.size} items on earlier pages: a list has at most ${pagedMax} items in all its pages; ${
        shown.size < pagedMax ? `ask for at most ${pagedMax - shown.size}` : 'narrow it by a filter'
      }`
    )
  return {
    shown,
    next(ids, limit) {
      const all = [...shown, ...ids.map(hashKey)]
      if (ids.length < limit || all.length >= pagedMax) return undefined
      const bytes = Buffer.alloc(8 + 4 * all.length)
      bytes.writeUInt32LE(fingerprint, 4)
      for (const [i, hash] of all.entries()) bytes.writeUInt32LE(hash, 8 + 4 * i)
      bytes.writeUInt32LE(checksum(bytes), 0)
      return bytes.toString('base64url')
    }
  }
}

function read(cursor: string, fingerprint: number): Set<number> {
  const bytes = Buffer.from(cursor, 'base64url')
  if (bytes.length < 12 || bytes.length % 4 !== 0 || bytes.readUInt32LE(0) !== checksum(bytes))
    throw new ProblemError(
      400,
      'cursor is damaged, or not one of this service: send `next` of the page before as it came, or leave it out to begin again'
    )
  if (bytes.readUInt32LE(4) !== fingerprint)
    throw new ProblemError(
      400,
      'cursor belongs to another request: send the same parameters as for the page before (limit and explain may change), or leave it out to begin again'
    )
  const shown = new Set<number>()
  for (let at = 8; at < bytes.length; at += 4) shown.add(bytes.readUInt32LE(at))
  return shown
}

function checksum(bytes: Buffer): number {
  return hashKey(bytes.toString('latin1', 4))
}
