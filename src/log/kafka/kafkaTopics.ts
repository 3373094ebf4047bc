// The topics that we need on Kafka: what they should be like, what the brokers have, and how to make the one of the
// other.

import kafkajs, { type Admin } from 'kafkajs'
import type { Config, KafkaOptions } from '../../core/config/config.ts'
import { own, setOwn } from '../../core/own.ts'
import { deadLetterTopic } from '../deadLetter.ts'
import { withAdmin } from './kafkaClient.ts'

interface WantedTopic {
  readonly topic: string
  readonly partitions: number
  /** Kafka's own names and spelling. */
  readonly settings: Readonly<Record<string, string>>
}

interface TopicDifference {
  /** `partitions`, or the name of a setting. */
  readonly what: string
  readonly wanted: string
  /** undefined: the brokers do not say. */
  readonly found: string | undefined
  /** Why it is not changed by `applyTopics`; undefined: it is. */
  readonly refused?: string
}

export interface TopicPlan extends WantedTopic {
  /**
   * `make`: it is not there. `change`: differences can be applied. `keep`: nothing to do, or nothing that we would
   * dare.
   */
  readonly action: 'make' | 'change' | 'keep'
  readonly differences: readonly TopicDifference[]
}

/** A replaced row of the model is of no use to anybody: only a reader under way must meet no gap. */
const modelUpdatesLagMs = 60_000
/**
 * An item is deleted until the catalogue has it again, so its tombstone is kept: some 100 bytes. Not the greatest
 * number there is: brokers add it to the time.
 */
const tombstonesKeptMs = 100 * 365 * 24 * 60 * 60 * 1000
const app = 'mtmi'

/** @returns ours, then those for dead letters */
export function wantedTopics({ topics, sources }: Pick<Config, 'topics' | 'sources'>): WantedTopic[] {
  const { partitions } = topics
  // When the log took a record is what lateness, freshness and clocks that go wrong are judged against: the broker's
  // word, not a producer's.
  const stamped = { 'message.timestamp.type': 'LogAppendTime' }
  const kept = { ...stamped, 'cleanup.policy': 'delete', 'retention.ms': String(topics.retentionMs) }
  const compacted = (lagMs: number) => ({
    ...stamped,
    'cleanup.policy': 'compact',
    'min.compaction.lag.ms': String(lagMs)
  })
  const wanted: WantedTopic[] = [
    { topic: topics.interactions, partitions, settings: kept },
    {
      topic: topics.items,
      partitions: 1,
      settings: { ...compacted(topics.minCompactionLagMs), 'delete.retention.ms': String(tombstonesKeptMs) }
    },
    // Each record is an example that a trainer may still have to learn.
    { topic: topics.userSequences, partitions, settings: compacted(topics.minCompactionLagMs) },
    { topic: topics.modelUpdates, partitions: 1, settings: compacted(modelUpdatesLagMs) }
  ]
  const deadLetters = [...wanted, ...sources].map(({ topic }) => deadLetterTopic(topic, app))
  return [
    ...wanted,
    ...[`${topics.interactions}.${app}.late`, ...deadLetters].map((topic) => ({ topic, partitions: 1, settings: kept }))
  ]
}

/** What there is against what is wanted; nothing is changed. */
export function planTopics(options: KafkaOptions, wanted: readonly WantedTopic[]): Promise<TopicPlan[]> {
  return withAdmin(options, 'looking up topics', (admin) => plan(admin, wanted))
}

/** Makes what is missing and changes what may be changed. @returns the plan that was applied */
export function applyTopics(options: KafkaOptions, wanted: readonly WantedTopic[]): Promise<TopicPlan[]> {
  return withAdmin(options, 'making topics', async (admin) => {
    const plans = await plan(admin, wanted)
    const missing = plans.filter(({ action }) => action === 'make')
    if (missing.length > 0) {
      await admin.createTopics({
        waitForLeaders: false,
        topics: missing.map(({ topic, partitions, settings }) => ({
          topic,
          numPartitions: partitions,
          replicationFactor: options.replicationFactor === 0 ? -1 : options.replicationFactor,
          configEntries: entriesOf(settings)
        }))
      })
    }
    const changed = plans.filter(({ action }) => action === 'change')
    if (changed.length > 0) {
      // The request replaces everything that was set on the topic: what somebody else has set goes along.
      const found = await describe(
        admin,
        changed.map(({ topic }) => topic)
      )
      await admin.alterConfigs({
        validateOnly: false,
        resources: changed.map(({ topic, settings }) => ({
          type: kafkajs.ConfigResourceTypes.TOPIC,
          name: topic,
          configEntries: entriesOf({ ...found.get(topic)?.set, ...settings })
        }))
      })
    }
    return plans
  })
}

const entriesOf = (settings: Readonly<Record<string, string>>) =>
  Object.entries(settings).map(([name, value]) => ({ name, value }))

/** @param found by setting; undefined: there is no such topic */
export function compareTopic(
  wanted: WantedTopic,
  found: { readonly partitions: number; readonly settings: Readonly<Record<string, string>> } | undefined
): TopicPlan {
  if (found === undefined) return { ...wanted, action: 'make', differences: [] }
  const differences: TopicDifference[] = []
  if (found.partitions !== wanted.partitions) {
    const refused = 'users would move to other partitions than their histories: `mtmi topics repartition` moves both'
    differences.push({
      what: 'partitions',
      wanted: String(wanted.partitions),
      found: String(found.partitions),
      refused
    })
  }
  for (const [what, value] of Object.entries(wanted.settings)) {
    if (own(found.settings, what) !== value) differences.push({ what, wanted: value, found: own(found.settings, what) })
  }
  return {
    ...wanted,
    action: differences.some(({ refused }) => refused === undefined) ? 'change' : 'keep',
    differences
  }
}

async function plan(admin: Admin, wanted: readonly WantedTopic[]): Promise<TopicPlan[]> {
  const there = new Set(await admin.listTopics())
  const names = wanted.map(({ topic }) => topic).filter((topic) => there.has(topic))
  const settings = await describe(admin, names)
  const { topics } = names.length === 0 ? { topics: [] } : await admin.fetchTopicMetadata({ topics: names })
  const partitions = new Map(topics.map(({ name, partitions }) => [name, partitions.length]))
  return wanted.map((one) =>
    compareTopic(
      one,
      there.has(one.topic)
        ? { partitions: partitions.get(one.topic) ?? 0, settings: settings.get(one.topic)?.all ?? {} }
        : undefined
    )
  )
}

/** All settings in force, and those that were set on the topic itself. */
async function describe(
  admin: Admin,
  names: readonly string[]
): Promise<Map<string, { all: Record<string, string>; set: Record<string, string> }>> {
  if (names.length === 0) return new Map()
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: names.map((name) => ({ type: kafkajs.ConfigResourceTypes.TOPIC, name }))
  })
  return new Map(
    resources.map(({ resourceName, configEntries }) => {
      const all: Record<string, string> = {}
      const set: Record<string, string> = {}
      for (const { configName, configValue, configSource } of configEntries) {
        setOwn(all, configName, configValue)
        if (configSource === kafkajs.ConfigSource.TOPIC_CONFIG) setOwn(set, configName, configValue)
      }
      return [resourceName, { all, set }]
    })
  )
}
