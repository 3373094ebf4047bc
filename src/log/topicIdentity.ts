// Stored offsets belong to a topic, not to its name: one that was deleted and created again holds other records.

import { CorruptError } from '../core/errors.ts'
import { own, setOwn } from '../core/own.ts'
import { type StateFile, type StateKind, z } from '../core/stateFile.ts'
import type { EventLog } from './eventLog.ts'

interface KnownTopic {
  readonly topic: string
  /** As `EventLog.describe` has it. */
  readonly id: string
}

/** The topics that a process's stored offsets are of, by what they are to it. */
type KnownTopics = Readonly<Record<string, KnownTopic>>

export const knownTopics: StateKind<KnownTopics> = {
  file: 'topics.json',
  version: 1,
  schema: z.record(z.string(), z.strictObject({ topic: z.string(), id: z.string() })),
  removed: 'a topic that was created again is noticed only where it ends before a stored offset'
}

/** @param why what shows it, if it is not the topic's id */
export function newTopic(topic: string, why = 'its id has changed'): CorruptError {
  return new CorruptError(
    `topic ${topic} was created again while offsets in the former one were stored: ${why}. Restore the topic. Or start ` +
      'the stage with --accept-new-topic: it then reads the new topic from its beginning, and keeps its histories and its model'
  )
}

/**
 * Compares topics with those that the stored offsets are of.
 *
 * @param topics by what they are to the process: `interactions`
 * @returns which are others, and `save`, to be called when the stored offsets are of the new ones
 * @throws CorruptError if one is another and `accepts` is false
 */
export async function compareTopics(
  log: Pick<EventLog, 'describe'>,
  store: Pick<StateFile<KnownTopics>, 'load' | 'save'>,
  topics: Readonly<Record<string, string>>,
  accepts: boolean
): Promise<{ readonly changed: ReadonlySet<string>; save(): void }> {
  const known = store.load() ?? {}
  const found: Record<string, KnownTopic> = {}
  const changed = new Set<string>()
  for (const [role, topic] of Object.entries(topics)) {
    const { id } = await log.describe(topic)
    const before = own(known, role)
    setOwn(found, role, { topic, id })
    if (before === undefined || (before.id === id && before.topic === topic)) continue
    if (!accepts) throw newTopic(topic, before.topic === topic ? undefined : `the offsets are of topic ${before.topic}`)
    changed.add(role)
  }
  return { changed, save: () => store.save({ ...known, ...found }) }
}
