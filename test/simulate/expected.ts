// What a run must have come to: computed from the log that it left, in one undisturbed pass over each topic, a record
// at a time.

import { BadEventError } from '../../src/core/errors.ts'
import { Popularity } from '../../src/index/popularity.ts'
import { erasedUser } from '../../src/log/erasure.ts'
import { admit, futureProblem } from '../../src/records/admission.ts'
import type { CatalogueItem } from '../../src/records/catalogueItem.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import type { UserWindow } from '../../src/records/userSequence.ts'
import { Sequencer } from '../../src/sequence/sequencer.ts'
import type { SequenceCounts } from '../../src/sequence/sequenceStore.ts'
import { MemorySequenceStore } from '../support/memorySequenceStore.ts'
import type { Parts } from './stages.ts'

export interface Expected {
  /** By user; those who were erased and did not come back are not there. */
  readonly windows: ReadonlyMap<string, UserWindow>
  /** Of interactions, by partition. */
  readonly counts: readonly SequenceCounts[]
  /** Examples by name: `partition/offset` of their interaction. */
  readonly examples: ReadonlySet<string>
  /** Of them, those of users who were erased later: whether they were learned depends on which came first. */
  readonly maybe: ReadonlySet<string>
  /** `topic/partition/offset` of what no stage can use. */
  readonly bad: ReadonlySet<string>
  /** Erasures, by partition of interactions. */
  readonly erased: readonly number[]
}

export async function expectedOf({ broker, codecs, config }: Parts): Promise<Expected> {
  const windows = new Map<string, UserWindow>()
  const counts: SequenceCounts[] = []
  const examples = new Set<string>()
  const maybe = new Set<string>()
  const bad = new Set<string>()
  const topic = config.topics.interactions
  const erasures: number[] = []
  for (const [partition, records] of broker.topic(topic).entries()) {
    const store = new MemorySequenceStore()
    const sequencer = new Sequencer({ store, partition, options: config.sequence, eventTypes: config.events.types })
    let erasedHere = 0
    const ofUser = new Map<string, string[]>()
    for (const record of records) {
      const erased = erasedUser(record)
      if (erased !== undefined) {
        erasedHere++
        sequencer.erase(erased, record.offset)
        for (const name of ofUser.get(erased) ?? []) maybe.add(name)
      } else {
        try {
          if (record.value === null) throw new BadEventError('nothing')
          const interaction = codecs.interaction.decode(record.value)
          admit(futureProblem(interaction, record.timestampMs, config.events.futureMaxMs))
          sequencer.accept(interaction, record.offset, record.timestampMs)
        } catch (error) {
          if (!(error instanceof BadEventError)) throw error
          sequencer.reject(record.offset)
          bad.add(`${topic}/${partition}/${record.offset}`)
        }
      }
      for (const { userId, fresh } of sequencer.take().sequences) {
        for (const { position, offset } of fresh) {
          if (position === 0) continue
          examples.add(`${partition}/${offset}`)
          ofUser.set(userId, [...(ofUser.get(userId) ?? []), `${partition}/${offset}`])
        }
      }
    }
    await sequencer.commit(BigInt(records.length))
    for (const [userId, window] of store.users()) windows.set(userId, window)
    counts.push(sequencer.report())
    erasures.push(erasedHere)
  }
  return { windows, counts, examples, maybe, bad, erased: erasures }
}

/** The first of each event, by user in the log's order: a repeat is no other event. */
export function eventsByUser({ broker, codecs, config }: Parts): Map<string, string[]> {
  const seen = new Set<string>()
  const events = new Map<string, string[]>()
  for (const { value } of broker.records(config.topics.interactions)) {
    if (value === null) continue
    let interaction: Interaction
    try {
      interaction = codecs.interaction.decode(value)
    } catch {
      continue // poison
    }
    const { eventId, userId, itemId, type, eventTimeMs } = interaction
    if (seen.has(eventId)) continue
    seen.add(eventId)
    events.set(userId, [...(events.get(userId) ?? []), `${eventId} ${type} ${itemId} ${eventTimeMs}`])
  }
  return events
}

/** As one process that is never restarted counts. */
export function popularityOf({ broker, codecs, config }: Parts): Popularity {
  const popularity = new Popularity(config.popularity, config.events.types)
  for (const { value, timestampMs } of broker.records(config.topics.interactions)) {
    if (value === null) continue
    try {
      const interaction = codecs.interaction.decode(value)
      admit(futureProblem(interaction, timestampMs, config.events.futureMaxMs))
      popularity.note(interaction)
    } catch (error) {
      if (!(error instanceof BadEventError)) throw error
    }
  }
  return popularity
}

/** What the catalogue says in the end; null: the item was deleted. */
export function catalogueOf({ broker, codecs, config }: Parts): Map<string, CatalogueItem | null> {
  const items = new Map<string, CatalogueItem | null>()
  for (const { key, value } of broker.records(config.topics.items)) {
    try {
      items.set(new TextDecoder().decode(key), value === null ? null : codecs.item.decode(value))
    } catch {} // poison
  }
  return items
}
