// Reads user-sequences: windows go to the store, changes to the publisher, targets to the gate.

import type { Offsets } from '../core/offsets.ts'
import { own } from '../core/own.ts'
import type { LogRecord } from '../log/eventLog.ts'
import { sequenceOf, userOf } from '../log/userRecords.ts'
import { tracesOfAll } from '../monitor/tracing.ts'
import { cutExamples } from '../records/cutExamples.ts'
import type { UserSequence } from '../records/userSequence.ts'
import type { ModelGate } from './modelGate.ts'
import type { PublishedUsers } from './publishedUsers.ts'
import type { Publisher } from './publisher.ts'
import type { PublishStageOptions } from './publishStageOptions.ts'
import { UserTraces } from './userTraces.ts'
import type { VectorWatch } from './vectorWatch.ts'

/** How often what was read is committed: a crash repeats later changes. */
const commitIntervalMs = 1000
/** Windows put between two commits while many are read: enough that writing them in the order of their keys pays. */
const windowsPerCommit = 16_384
/** Between two looks for room. */
const restMs = 10

interface Readers {
  readonly users: PublishedUsers
  readonly publisher: Publisher
  readonly gate: ModelGate
  readonly vectors: VectorWatch
  /** Where more records are unread at the start, their windows are read before the first is written. */
  readonly waitingUsersMax: number
}

export class UserReader {
  readonly #options: PublishStageOptions
  readonly #readers: Readers
  readonly traces = new UserTraces()
  /** Ends of the topic when this process began. */
  #ends: Offsets | undefined
  #isRestoring = false
  #committedMs = 0
  /** When the log took the newest record that was read, milliseconds; 0 before the first. */
  takenAtMs = 0

  constructor(options: PublishStageOptions, readers: Readers) {
    this.#options = options
    this.#readers = readers
  }

  /** Resumes with the windows of the last process. */
  async open(): Promise<void> {
    const { config, log, users: disk } = this.#options
    const { users, gate, waitingUsersMax } = this.#readers
    const topic = config.topics.userSequences
    const ends = await log.ends(topic)
    await users.open(disk, await log.describe(topic), ends)
    this.#ends = ends
    this.#isRestoring = users.behind(ends) > BigInt(waitingUsersMax)
    // The newest step of a user of an earlier process is as good a target as one that is read.
    for (const [userId, window] of users.newest(gate.targetsMax)) {
      const fresh = window.steps.length === 0 ? [] : [{ position: window.steps.length - 1, offset: 0n }]
      this.#note({ ...window, userId, fresh, partition: 0 })
    }
  }

  /** Next offset to read, by partition. */
  get next(): Offsets {
    return this.#readers.users.next
  }

  /** @param reset an offset that tools have set: changes from there on are published again, none is skipped */
  resume(partition: number, reset?: bigint): bigint {
    return this.#readers.users.resume(partition, reset)
  }

  /** Whether all was read that the topic had when this process began, and a sweep finds it. */
  get isCaughtUp(): boolean {
    return !this.#isRestoring && this.#hasRead
  }

  get #hasRead(): boolean {
    return this.#ends !== undefined && this.#readers.users.behind(this.#ends) === 0n
  }

  /** @throws BadEventError if the record cannot be used; nothing has changed then */
  take(record: LogRecord): void {
    const { config, codecs, clock } = this.#options
    const { publisher, gate, vectors } = this.#readers
    const { partition, offset } = record
    const source = { partition, offset }
    if (record.value === null) {
      const userId = userOf(record)
      publisher.forget(userId, source)
      for (const part of [gate, vectors]) part.forget(userId)
    } else {
      const sequence = sequenceOf(codecs, record)
      publisher.noteSequence({ ...sequence, source }, this.#isRestoring)
      const traces = tracesOfAll(config, [record])
      if (traces !== undefined) this.traces.note(sequence.userId, traces, clock.nowMs())
      this.#note(sequence)
    }
    this.skip(record)
  }

  /** The record was used, or has become a dead letter. */
  skip(record: LogRecord): void {
    this.#readers.users.noteRead(record)
    this.takenAtMs = record.timestampMs
  }

  #note(sequence: Pick<UserSequence, 'userId' | 'steps' | 'newestMs' | 'fresh' | 'partition'>): void {
    const { gate, vectors } = this.#readers
    const { types } = this.#options.config.events
    vectors.noteSequence(sequence)
    for (const { userId, history, target } of cutExamples(sequence, (type) => own(types, type)))
      gate.note({ userId, history, target: target.itemId })
  }

  /** Waits where more changes have no room in memory. */
  room(signal: AbortSignal): Promise<void> | undefined {
    const { publisher, users } = this.#readers
    const isFull = () => publisher.isFull || users.dirty >= windowsPerCommit
    const wait = async () => {
      while (isFull() && !signal.aborted) await this.#options.clock.sleep(restMs, signal)
    }
    return isFull() ? wait() : undefined
  }

  async commit(): Promise<void> {
    const { users, publisher } = this.#readers
    this.#committedMs = this.#options.clock.nowMs()
    await users.commit(() => publisher.unanswered())
  }

  async commitIfDue(): Promise<void> {
    const hasRestored = this.#isRestoring && this.#hasRead
    const isDue = this.#options.clock.nowMs() - this.#committedMs >= commitIntervalMs
    if (hasRestored || isDue || this.#readers.users.dirty >= windowsPerCommit) await this.commit()
    if (hasRestored) this.#isRestoring = false
  }

  close(): Promise<void> {
    return this.#readers.users.close()
  }
}
