// Loads interactions from outside (a data set, a simulation) into the log, once each, no faster than the stages behind
// can process them.

import { setTimeout as pause } from 'node:timers/promises'
import { Account } from '../core/account.ts'
import type { EventLog, NewRecord } from '../log/eventLog.ts'
import { partitionOf } from '../log/partitioner.ts'
import type { Codecs } from '../records/avro/avroCodecs.ts'
import type { CatalogueItem } from '../records/catalogueItem.ts'
import type { Interaction } from '../records/interaction.ts'

/** Names the load and numbers the interaction in it: a restart continues from there. */
const loadHeader = 'mtmi.load'
const appendMax = 512

interface LoadOptions {
  readonly log: EventLog
  readonly codecs: Codecs
  readonly topic: string
  /** Two loads with one name are one load. */
  readonly name: string
  readonly signal: AbortSignal
  /** Called before each append: whether the stages behind have room for more. */
  readonly hasRoom: () => Promise<boolean>
  /** Counts every interaction. */
  readonly account?: Account<'source'>
}

const text = new TextEncoder()
const untext = new TextDecoder()

/**
 * Appends the interactions that an earlier, interrupted load of this name did not. The source must give the same
 * interactions in the same order.
 *
 * @returns how many are in the log now, earlier ones included
 */
export async function loadInteractions(
  source: AsyncIterable<Interaction> | Iterable<Interaction>,
  options: LoadOptions
): Promise<number> {
  const { log, codecs, topic, name, signal, hasRoom, account = new Account('source') } = options
  const loaded = await readLoaded(log, topic, name, signal)
  let index = 0
  let block: NewRecord[] = []
  const flush = async () => {
    while (!signal.aborted && !(await hasRoom())) await pause(5)
    if (signal.aborted || block.length === 0) return
    await log.append(topic, block)
    account.add('loaded', block.length)
    block = []
  }
  for await (const interaction of source) {
    if (signal.aborted) break
    account.read()
    const number = index++
    const key = text.encode(interaction.userId)
    if (number <= loaded[partitionOf(key, loaded.length)]!) {
      account.add('loadedBefore')
      continue
    }
    block.push({
      key,
      value: codecs.interaction.encode(interaction),
      headers: { [loadHeader]: text.encode(`${name}#${number}`) }
    })
    if (block.length >= appendMax) await flush()
  }
  await flush()
  return index
}

/**
 * The greatest number of the load in each partition, −1 where there is none. A partition has them in order: none below
 * its greatest is missing there, even if an append to several partitions succeeded in some of them only.
 */
async function readLoaded(log: EventLog, topic: string, name: string, signal: AbortSignal): Promise<number[]> {
  const loaded = new Array<number>((await log.ends(topic)).size).fill(-1)
  for await (const event of log.read(topic, { resume: async () => 0n, signal, untilEnd: true })) {
    if (event.kind !== 'records') continue
    for (const { headers } of event.records) {
      const header = headers[loadHeader]
      if (header === undefined) continue
      const [load, number] = splitLast(untext.decode(header), '#')
      // A header of another program, or a damaged one, does not count.
      if (load === name && /^\d{1,15}$/.test(number))
        loaded[event.partition] = Math.max(loaded[event.partition]!, Number(number))
    }
  }
  return loaded
}

function splitLast(value: string, separator: string): [string, string] {
  const at = value.lastIndexOf(separator)
  return [value.slice(0, at), value.slice(at + separator.length)]
}

/**
 * Appends the catalogue items that the log lacks or has with other values. An item that was deleted since stays deleted:
 * a restart loads the same source again, and must not bring it back.
 */
export async function loadItems(
  items: AsyncIterable<CatalogueItem> | Iterable<CatalogueItem>,
  options: Pick<LoadOptions, 'log' | 'codecs' | 'topic' | 'signal'>
): Promise<number> {
  const { log, codecs, topic, signal } = options
  const existing = new Map<string, Uint8Array | null>()
  for await (const event of log.read(topic, { resume: async () => 0n, signal, untilEnd: true })) {
    if (event.kind === 'records') for (const { key, value } of event.records) existing.set(untext.decode(key), value)
  }
  let block: NewRecord[] = []
  let count = 0
  for await (const item of items) {
    const value = codecs.item.encode(item)
    count++
    const earlier = existing.get(item.itemId)
    if (earlier === null || (earlier !== undefined && Buffer.compare(earlier, value) === 0)) continue
    block.push({ key: text.encode(item.itemId), value })
    if (block.length < appendMax) continue
    await log.append(topic, block)
    block = []
  }
  if (block.length > 0) await log.append(topic, block)
  return count
}
