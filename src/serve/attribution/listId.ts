// `listId`: what an answered list was, in the list's own name, so that any process can attribute a click on it.
//
// `mtmi1.` and, in base64url: checksum u32, counter u32, user u32, hour, first position, model version, variant, source,
// and for each of the first 50 items 20 bits of a hash of its id and 4 bits of its origin. Numbers without a size are
// varints. A list of 10 items has an id of about 95 characters. Not signed: docs/decisions/0060.

import { ByteReader, ByteWriter, checksum } from '../../core/bytes.ts'
import { hashKey } from '../../core/hashKey.ts'
import { itemOrigins, listSources } from '../../monitor/metrics.ts'
import type { ItemId, UserId } from '../../records/interaction.ts'

export type ListSource = (typeof listSources)[number]

export type Origin = (typeof itemOrigins)[number]

export interface ListContent {
  /** `indexVersion@step` of the vectors. */
  readonly version: string
  readonly variant: string
  readonly source: ListSource
  /** Absent: the list is for nobody in particular. */
  readonly userId?: UserId | undefined
  /** Items on earlier pages. */
  readonly first: number
  readonly items: readonly { readonly itemId: ItemId; readonly interest?: number | null | undefined }[]
}

/** What a list id says. */
export interface DecodedListId extends Omit<ListContent, 'userId' | 'items'> {
  /** Of the counts that have this list; 0: of none. */
  readonly counter: number
  /** `hashKey` of the user; 0: the list is for nobody in particular. */
  readonly user: number
  readonly atMs: number
  /** 0-based position in the list and origin of an item; undefined: the list did not have it. */
  find(itemId: ItemId): { readonly position: number; readonly origin: Origin } | undefined
}

/** What every list id begins with: events without one are recognised by their bytes. */
export const listIdPrefix = 'mtmi1.'
/** Items that an id names: clicks further down are rare, and count as `later`. */
const namedItems = 50
/** The time is in whole hours: the same list has the same id for an hour, and so the same `ETag`. */
const hourMs = 3_600_000
const hashBits = 20

const writer = new ByteWriter()

/** @param counter of the counts that have this list */
export function encodeListId(list: ListContent, counter: number, nowMs: number): string {
  const { version, variant, source, userId, first, items } = list
  writer.start()
  writer.uint32(counter)
  writer.uint32(userId === undefined ? 0 : hashKey(userId))
  writer.varint(Math.floor(nowMs / hourMs))
  writer.varint(first)
  for (const text of [version, variant]) {
    writer.varint(Buffer.byteLength(text))
    writer.utf8(text)
  }
  writer.byte(listSources.indexOf(source))
  const ofItems = originsOf(list)
  for (const [i, { itemId }] of items.slice(0, namedItems).entries()) {
    const item = ((hashKey(itemId) >>> (32 - hashBits)) << 4) | itemOrigins.indexOf(ofItems[i]!)
    writer.byte(item >>> 16)
    writer.byte((item >>> 8) & 0xff)
    writer.byte(item & 0xff)
  }
  const content = writer.copy()
  const bytes = Buffer.alloc(4 + content.length)
  bytes.set(content, 4)
  bytes.writeUInt32LE(checksum(bytes, 4), 0)
  return listIdPrefix + bytes.toString('base64url')
}

/** undefined: it is no list id, or was changed on the way. */
export function decodeListId(text: string): DecodedListId | undefined {
  if (!text.startsWith(listIdPrefix)) return undefined
  const bytes = Buffer.from(text.slice(listIdPrefix.length), 'base64url')
  if (bytes.length < 4 || bytes.readUInt32LE(0) !== checksum(bytes, 4)) return undefined
  try {
    const reader = new ByteReader(bytes, 4)
    const [counter, user] = [reader.raw(4).readUInt32LE(), reader.raw(4).readUInt32LE()]
    const atMs = reader.varint() * hourMs
    const first = reader.varint()
    const [version, variant] = [String(reader.raw(reader.varint())), String(reader.raw(reader.varint()))]
    const source = listSources[reader.raw(1)[0]!]
    const named = bytes.subarray(reader.at)
    if (source === undefined || named.length % 3 !== 0) return undefined
    const find: DecodedListId['find'] = (itemId) => {
      const wanted = hashKey(itemId) >>> (32 - hashBits)
      for (let at = 0; at < named.length; at += 3) {
        const item = named.readUIntBE(at, 3)
        if (item >>> 4 === wanted) return { position: first + at / 3, origin: itemOrigins[item & 15] ?? 'later' }
      }
      return named.length < 3 * namedItems ? undefined : { position: first + namedItems, origin: 'later' }
    }
    return { counter, user, atMs, first, version, variant, source, find }
  } catch {
    return undefined // shorter than it says
  }
}

/** Of each item of a list. */
export function originsOf({ source, items }: Pick<ListContent, 'source' | 'items'>): Origin[] {
  if (source !== 'vectors') return items.map(() => source)
  const order: number[] = []
  return items.map(({ interest }) => {
    if (interest === null || interest === undefined) return 'memory'
    if (!order.includes(interest)) order.push(interest)
    return itemOrigins[Math.min(order.indexOf(interest), 4)]!
  })
}
