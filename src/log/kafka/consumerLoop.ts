// A kafkajs consumer of one topic that is started again when it crashes, for as long as the retry budget lasts.

import type { Consumer, ConsumerConfig, EachBatchPayload, Kafka } from 'kafkajs'
import { own } from '../../core/own.ts'
import { handledLater } from '../../core/promises.ts'
import { kafkaError, RetryBudget, type RetryLimits } from './kafkaClient.ts'

interface ConsumerLoopOptions {
  readonly kafka: Kafka
  readonly topic: string
  readonly consumer: ConsumerConfig
  readonly limits: RetryLimits
  /** Called after each join, before anything is fetched: `assigned` has changed. */
  readonly onJoin: (memberId: string) => void
  /** Called once, when the consumer is not started again. */
  readonly onFailure: (error: unknown) => void
  readonly eachBatch: (payload: EachBatchPayload) => Promise<void>
}

/** Within one start of the consumer; further starts follow from here. */
const retry = { initialRetryTime: 50, maxRetryTime: 1000, retries: 4, restartOnFailure: async () => false }
/** How soon partitions that were added to a topic are found. */
const metadataMaxAge = 30_000
/** kafkajs cannot stop a consumer that is joining; its connection is closed after this. */
const joinGraceMs = 1000

export class ConsumerLoop {
  readonly consumer: Consumer
  readonly #options: ConsumerLoopOptions
  readonly #budget: RetryBudget
  readonly #stop = new AbortController()
  #assigned: readonly number[] = []
  #isJoining = false
  #onJoined: (() => void) | undefined
  #starting: Promise<void>

  constructor(options: ConsumerLoopOptions) {
    this.#options = options
    this.#budget = new RetryBudget(options.limits)
    this.consumer = options.kafka.consumer({
      ...options.consumer,
      allowAutoTopicCreation: false,
      metadataMaxAge,
      retry
    })
    const { events } = this.consumer
    this.consumer.on(events.GROUP_JOIN, ({ payload }) => {
      this.#budget.progress()
      this.#joinEnded()
      if (this.#stop.signal.aborted) return
      this.#assigned = [...(own(payload.memberAssignment, options.topic) ?? [])].sort((a, b) => a - b)
      options.onJoin(payload.memberId)
    })
    this.consumer.on(events.REBALANCING, () => {
      this.#isJoining = true
    })
    this.consumer.on(events.FETCH, () => this.#budget.progress())
    this.consumer.on(events.CRASH, ({ payload }) => {
      this.#joinEnded()
      this.#assigned = []
      if (!this.#stop.signal.aborted) this.#starting = handledLater(this.#start(payload.error))
    })
    this.#starting = handledLater(this.#start())
  }

  /** Partitions of this consumer, ascending; empty before it has joined, and while it is started again. */
  get assigned(): readonly number[] {
    return this.#assigned
  }

  /** Leaves the group. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#starting
    this.#budget.progress()
    if (this.#isJoining) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#onJoined = resolve
        timer = setTimeout(resolve, joinGraceMs)
      })
      clearTimeout(timer)
    }
    await this.consumer.disconnect().catch(() => {}) // the sockets are closed either way
  }

  #joinEnded(): void {
    this.#isJoining = false
    this.#onJoined?.()
  }

  /** @param failure what the consumer crashed with */
  async #start(failure?: unknown): Promise<void> {
    const { topic, eachBatch, onFailure } = this.#options
    const { signal } = this.#stop
    try {
      if (failure !== undefined) await this.#budget.backOff(failure, `reading ${topic}`, signal)
      if (signal.aborted) return
      try {
        await this.consumer.connect()
        await this.consumer.subscribe({ topic, fromBeginning: true })
      } catch (cause) {
        return await this.#start(cause)
      }
      this.#isJoining = true
      // Resolves after the first attempt to join: what fails from then on is a crash.
      void this.consumer.run({ eachBatch, autoCommit: false }).catch((cause: unknown) => {
        this.#isJoining = false
        onFailure(kafkaError(cause, `reading ${topic}`))
      })
    } catch (cause) {
      if (!signal.aborted) onFailure(cause)
    }
  }
}
