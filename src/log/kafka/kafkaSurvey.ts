// A look at the brokers that changes nothing: which answer, which topics there are, and what our credentials may do
// with them.
//
// Rights are asked for by requests that brokers refuse for another reason once they have found us allowed: a fetch from
// beyond the end, a batch without records, a heartbeat of a member that is none, a transaction of a producer that is
// none. Nothing is read, written or joined.

import { setTimeout as pause } from 'node:timers/promises'
import type { KafkaOptions } from '../../core/config/config.ts'
import { groupIdOf } from './groupMember.ts'
import { kafkaClient, kafkaError, protocolErrorOf, within } from './kafkaClient.ts'
import { type Cluster, findCoordinator, leaderOf, openCluster } from './kafkajsInternals.ts'

interface SurveyedBroker {
  readonly nodeId: number
  /** As the cluster advertises it. */
  readonly address: string
  /** undefined: it answers. */
  readonly problem: string | undefined
}

/** `hidden`: not there, or not for us to see; brokers that let nobody know do not tell which. */
type SurveyedTopic = { readonly state: 'there'; readonly partitions: number } | { readonly state: 'missing' | 'hidden' }

/** undefined: what was asked about does not exist, so nobody knows. */
export type Right = boolean | undefined

/** Requests that a broker does not answer are given up after this. */
const requestTimeoutMs = 5000
/** Of a coordinator or leader that is just being chosen. */
const passing = /NOT_AVAILABLE|LOAD_IN_PROGRESS|NOT_COORDINATOR|NOT_LEADER|CONCURRENT_TRANSACTIONS/
const attemptsMax = 20
const attemptMs = 250
const refused = /AUTHORIZATION_FAILED/
/** Beyond the end of every partition: a fetch from there brings no records. */
const beyondEveryEnd = String(2n ** 62n)
const nobody = { producerId: String(2n ** 62n), producerEpoch: 0 }

export class KafkaSurvey {
  readonly #cluster: Cluster
  readonly #options: KafkaOptions

  /**
   * @throws ConfigError for settings or credentials that cannot be used; UnavailableError if no broker answers within
   *   `withinMs`
   */
  static async open(options: KafkaOptions, withinMs: number): Promise<KafkaSurvey> {
    const cluster = openCluster(
      kafkaClient(options, { connectTimeoutMs: Math.min(withinMs, requestTimeoutMs), requestTimeoutMs, retries: 0 })
    )
    const what = `connecting to ${options.brokers.join(', ')}`
    try {
      await within(withinMs, what, cluster.connect())
    } catch (error) {
      await cluster.disconnect().catch(() => {}) // the error that is thrown below says more
      throw kafkaError(error, what)
    }
    return new KafkaSurvey(cluster, options)
  }

  private constructor(cluster: Cluster, options: KafkaOptions) {
    this.#cluster = cluster
    this.#options = options
  }

  /**
   * All brokers of the cluster, each asked at the address that it advertises: what a client that was let in has to
   * reach as well.
   */
  async brokers(): Promise<SurveyedBroker[]> {
    const { brokers } = await this.#metadata([])
    return Promise.all(
      brokers.map(async ({ nodeId, host, port }) => {
        const problem = await this.#cluster.findBroker({ nodeId: String(nodeId) }).then(
          () => undefined,
          (error: Error) => error.message
        )
        return { nodeId, address: `${host}:${port}`, problem }
      })
    )
  }

  async topic(topic: string): Promise<SurveyedTopic> {
    try {
      const { topicMetadata } = await this.#metadata([topic])
      return {
        state: 'there',
        partitions: topicMetadata.find((one) => one.topic === topic)?.partitionMetadata.length ?? 0
      }
    } catch (error) {
      const type = protocolErrorOf(error) ?? ''
      if (refused.test(type)) return { state: 'hidden' }
      if (type === 'UNKNOWN_TOPIC_OR_PARTITION') return { state: 'missing' }
      throw kafkaError(error, `looking up topic ${topic}`)
    }
  }

  mayRead(topic: string): Promise<Right> {
    return this.#may(`reading ${topic}`, async () => {
      const leader = await leaderOf(this.#cluster, topic, 0)
      const partitions = [{ partition: 0, fetchOffset: beyondEveryEnd, maxBytes: 1 }]
      await leader.fetch({
        replicaId: -1,
        isolationLevel: 1,
        maxWaitTime: 0,
        minBytes: 0,
        maxBytes: 1,
        topics: [{ topic, partitions }]
      } as never)
    })
  }

  mayWrite(topic: string): Promise<Right> {
    return this.#may(`writing to ${topic}`, async () => {
      const leader = await leaderOf(this.#cluster, topic, 0)
      const topicData = [{ topic, partitions: [{ partition: 0, firstSequence: 0, messages: [] }] }]
      await leader.produce({ acks: -1, ...nobody, topicData } as never)
    })
  }

  mayJoin(group: string, run: string, topic: string): Promise<Right> {
    const groupId = groupIdOf(this.#options.clientId, group, run, topic)
    return this.#may(`joining the group ${groupId}`, async () => {
      const coordinator = await findCoordinator(this.#cluster, groupId, 'group')
      await coordinator.heartbeat({ groupId, groupGenerationId: 0, memberId: 'nobody' })
    })
  }

  /** Whether one may write to the topic under a fence, as the log's `append` has it. */
  mayFence(topic: string, fence: string): Promise<Right> {
    const transactionalId = `${this.#options.clientId}.${topic}.${fence}`
    return this.#may(`using the transactional id ${transactionalId}`, async () => {
      const coordinator = await findCoordinator(this.#cluster, transactionalId, 'transaction')
      await coordinator.addPartitionsToTxn({ transactionalId, ...nobody, topics: [{ topic, partitions: [0] }] })
    })
  }

  async close(): Promise<void> {
    await this.#cluster.disconnect().catch(() => {}) // it has read all it wants; the sockets are closed either way
  }

  async #may(what: string, attempt: () => Promise<unknown>): Promise<Right> {
    for (let left = attemptsMax; ; left--) {
      try {
        await attempt()
        return true
      } catch (error) {
        const type = protocolErrorOf(error)
        if (type === undefined || (passing.test(type) && left <= 1)) throw kafkaError(error, what)
        if (refused.test(type)) return false
        if (!passing.test(type)) return type === 'UNKNOWN_TOPIC_OR_PARTITION' ? undefined : true
        await pause(attemptMs)
        await this.#cluster.refreshMetadata().catch(() => {}) // the next attempt shows whether it helped
      }
    }
  }

  async #metadata(topics: readonly string[]): Promise<Metadata> {
    return (this.#cluster as unknown as { metadata(of: { topics: readonly string[] }): Promise<Metadata> }).metadata({
      topics
    })
  }
}

interface Metadata {
  readonly brokers: readonly { readonly nodeId: number; readonly host: string; readonly port: number }[]
  readonly topicMetadata: readonly { readonly topic: string; readonly partitionMetadata: readonly unknown[] }[]
}
