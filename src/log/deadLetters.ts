// Writes the dead-letter records of one stage for one topic: one for each record that the stage cannot use, also when a
// restart reads it again.
//
// Exactly one per stage and record as long as one process of the stage reads the partition; consumer groups and fences
// ensure that. The dead-letter topic is read before the first write, and not before.

import { BadEventError, TooLargeError } from '../core/errors.ts'
import { OffsetSet } from '../core/offsetSet.ts'
import { handledLater } from '../core/promises.ts'
import { deadLetterOf, deadLetterTopic, readDeadLetter, truncations } from './deadLetter.ts'
import type { EventLog, LogRecord, NewRecord } from './eventLog.ts'

/** More records than a stage reads between two commits. */
const newestMax = 100_000n

/** A record, and why it cannot be used. */
interface Unusable {
  readonly record: LogRecord
  readonly error: Error
}

interface DeadLettersOptions {
  readonly log: EventLog
  /** Where the records are read. */
  readonly topic: string
  /** The stage that reads them: `train`. */
  readonly stage: string
  /** Default: the topic's dead-letter topic. */
  readonly to?: string
  /**
   * Whether the stage resumes from what it committed: then only the newest dead-letter records can be of records that
   * it reads again.
   */
  readonly resumes?: boolean
  /** Called when dead-letter records are durable; at least one. */
  readonly onWritten?: (written: readonly Unusable[]) => void
}

export class DeadLetters {
  readonly #options: DeadLettersOptions
  readonly #to: string
  #waiting: Unusable[] = []
  /** Offsets that have a dead-letter record of this stage, by partition of the topic; undefined: not read yet. */
  #written: Map<number, OffsetSet> | undefined
  #topicId = ''
  #turn: Promise<void> = Promise.resolve()

  constructor(options: DeadLettersOptions) {
    this.#options = options
    this.#to = options.to ?? deadLetterTopic(options.topic, 'mtmi')
  }

  /**
   * Runs `use`. If it throws a BadEventError, the record becomes a dead letter with the next `flush`. @returns whether
   * the record could be used
   */
  attempt(record: LogRecord, use: (record: LogRecord) => void): boolean {
    try {
      use(record)
      return true
    } catch (error) {
      if (!(error instanceof BadEventError)) throw error
      this.add(record, error)
      return false
    }
  }

  /** Records that the next `flush` writes. */
  get waiting(): number {
    return this.#waiting.length
  }

  add(record: LogRecord, error: Error): void {
    this.#waiting.push({ record, error })
  }

  /**
   * Resolves when all records so far are durable; await it before their offsets are committed. @throws as
   * `EventLog.append` does
   */
  flush(): Promise<void> {
    const unusable = this.#waiting
    if (unusable.length === 0) return this.#turn
    this.#waiting = []
    // The caller that awaited an earlier write has its error.
    this.#turn = handledLater(this.#turn.catch(() => {}).then(() => this.#write(unusable)))
    return this.#turn
  }

  /** Partitions were reassigned: another process may have written dead-letter records of theirs. */
  reassigned(): void {
    this.#written = undefined
  }

  async #write(unusable: readonly Unusable[]): Promise<void> {
    const { log, topic, stage, onWritten } = this.#options
    this.#written ??= await this.#read()
    const written = this.#written
    const due = unusable.filter(({ record }) => written.get(record.partition)?.has(record.offset) !== true)
    if (due.length === 0) return
    const from = { topic, topicId: this.#topicId }
    const records = due.map(({ record, error }) => deadLetterOf(record, from, error, stage))
    try {
      await log.append(this.#to, records)
    } catch (error) {
      if (!(error instanceof TooLargeError)) throw error
      // Nothing, or some: a record twice is better than none.
      for (const record of records) await this.#appendFitting(record)
    }
    for (const { record } of due) note(written, record)
    onWritten?.(due)
  }

  /** As much of the record as the topic takes. @throws TooLargeError if it takes none of it */
  async #appendFitting(record: NewRecord): Promise<void> {
    let tooLarge: TooLargeError | undefined
    for (const each of [record, ...truncations(record)]) {
      try {
        return await this.#options.log.append(this.#to, [each])
      } catch (error) {
        if (!(error instanceof TooLargeError)) throw error
        tooLarge = error
      }
    }
    throw tooLarge
  }

  async #read(): Promise<Map<number, OffsetSet>> {
    const { log, topic, stage } = this.#options
    const topicId = (await log.describe(topic)).id
    this.#topicId = topicId
    const written = new Map<number, OffsetSet>()
    const { signal } = new AbortController()
    const ends = this.#options.resumes === true ? await log.ends(this.#to) : undefined
    const resume = async (partition: number) => {
      const end = ends?.get(partition) ?? 0n
      return end > newestMax ? end - newestMax : 0n
    }
    for await (const event of log.read(this.#to, { resume, signal, untilEnd: true })) {
      if (event.kind !== 'records') continue
      for (const record of event.records) {
        const deadLetter = readDeadLetter(record)
        if (deadLetter?.topic === topic && deadLetter.topicId === topicId && deadLetter.stage === stage)
          note(written, deadLetter)
      }
    }
    return written
  }
}

function note(
  written: Map<number, OffsetSet>,
  { partition, offset }: { readonly partition: number; readonly offset: bigint }
): void {
  const offsets = written.get(partition) ?? new OffsetSet()
  written.set(partition, offsets)
  offsets.add(offset)
}
