// Puts interactions from outside (a data set, a simulation) into the log, once each, no faster than what follows can
// take them.

import { setTimeout as pause } from 'node:timers/promises'
import { Account } from '../core/account.ts'
import type { EventLog, NewRecord } from '../log/eventLog.ts'
import { partitionOf } from '../log/partitioner.ts'
import type { Codecs } from '../records/avro/avroCodecs.ts'
import type { CatalogueItem } from '../records/catalogueItem.ts'
import type { Interaction } from '../records/interaction.ts'

/** Names the feed and numbers the interaction in it: how a restart knows where to go on. */
const feedHeader = 'mtmi.feed'
const appendMax = 512

export interface FeedOptions {
  readonly log: EventLog
  readonly codecs: Codecs
  readonly topic: string
  /** Two feeds with one name are one feed. */
  readonly name: string
  readonly signal: AbortSignal
  /** Asked before each append: whether those behind have room for more. */
  readonly hasRoom: () => Promise<boolean>
  /** Counts every interaction. */
  readonly account?: Account<'source'>
}

const text = new TextEncoder()
const untext = new TextDecoder()

/**
 * Appends the interactions that an earlier, interrupted feed of this name did not. The source must give the same
 * interactions in the same order.
 *
 * @returns how many the feed has put into the log, earlier ones included
 */
export async function feedInteractions(
  source: AsyncIterable<Interaction> | Iterable<Interaction>,
  options: FeedOptions
): Promise<number> {
  const { log, codecs, topic, name, signal, hasRoom, account = new Account('source') } = options
  const fed = await readFed(log, topic, name, signal)
  let index = 0
  let block: NewRecord[] = []
  const flush = async () => {
    while (!signal.aborted && !(await hasRoom())) await pause(5)
    if (signal.aborted || block.length === 0) return
    await log.append(topic, block)
    account.add('fed', block.length)
    block = []
  }
  for await (const interaction of source) {
    if (signal.aborted) break
    account.read()
    const number = index++
    const key = text.encode(interaction.userId)
    if (number <= fed[partitionOf(key, fed.length)]!) {
      account.add('fedBefore')
      continue
    }
    block.push({
      key,
      value: codecs.interaction.encode(interaction),
      headers: { [feedHeader]: text.encode(`${name}#${number}`) }
    })
    if (block.length >= appendMax) await flush()
  }
  await flush()
  return index
}

/**
 * The greatest number of the feed in each partition, −1 where there is none. A partition has them in order: none below
 * its greatest is missing there, even if an append of several partitions was taken by some of them only.
 */
async function readFed(log: EventLog, topic: string, name: string, signal: AbortSignal): Promise<number[]> {
  const fed = new Array<number>((await log.ends(topic)).size).fill(-1)
  for await (const event of log.read(topic, { resume: async () => 0n, signal, untilEnd: true })) {
    if (event.kind !== 'records') continue
    for (const { headers } of event.records) {
      const header = headers[feedHeader]
      if (header === undefined) continue
      const [feed, number] = splitLast(untext.decode(header), '#')
      // A header of another program, or a damaged one, says nothing of what was fed.
      if (feed === name && /^\d{1,15}$/.test(number))
        fed[event.partition] = Math.max(fed[event.partition]!, Number(number))
    }
  }
  return fed
}

function splitLast(value: string, separator: string): [string, string] {
  const at = value.lastIndexOf(separator)
  return [value.slice(0, at), value.slice(at + separator.length)]
}

/**
 * Appends catalogue items, unless the log already has some: then only what it lacks or has otherwise. One that was
 * deleted since it was fed stays deleted: a restart feeds the same source once more, and must not bring it back.
 */
export async function feedItems(
  items: AsyncIterable<CatalogueItem> | Iterable<CatalogueItem>,
  options: Pick<FeedOptions, 'log' | 'codecs' | 'topic' | 'signal'>
): Promise<number> {
  const { log, codecs, topic, signal } = options
  const there = new Map<string, Uint8Array | null>()
  for await (const event of log.read(topic, { resume: async () => 0n, signal, untilEnd: true })) {
    if (event.kind === 'records') for (const { key, value } of event.records) there.set(untext.decode(key), value)
  }
  let block: NewRecord[] = []
  let count = 0
  for await (const item of items) {
    const value = codecs.item.encode(item)
    count++
    const earlier = there.get(item.itemId)
    if (earlier === null || (earlier !== undefined && Buffer.compare(earlier, value) === 0)) continue
    block.push({ key: text.encode(item.itemId), value })
    if (block.length < appendMax) continue
    await log.append(topic, block)
    block = []
  }
  if (block.length > 0) await log.append(topic, block)
  return count
}
