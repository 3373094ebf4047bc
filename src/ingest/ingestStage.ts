// Topics of others → interactions and items: decode, map, validate, re-key by user; what fails goes to the topic's dead
// letters, bytes unchanged.
//
// At least once. The records of a batch are durable in our topics before its offsets are saved, so a crash in between
// appends it again (its dead letters excepted: DeadLetters writes each once).
// Downstream such repeats are dropped: the event id of a repeated record is the same, its producer's or else its own
// topic/partition/offset.

import { Account, type AccountNumbers, outcomesOf, sumAccounts } from '../core/account.ts'
import { runTogether } from '../core/backgroundTasks.ts'
import { BadEventError, MtmiError, TooLargeError, UnavailableError } from '../core/errors.ts'
import { BadShare, badWindow } from '../log/badShare.ts'
import type { DeadLetters } from '../log/deadLetters.ts'
import type { LogRecord, NewRecord } from '../log/eventLog.ts'
import { stageDeadLetters } from '../log/followTopic.ts'
import type { StageIo } from '../log/stageIo.ts'
import { newTopic } from '../log/topicIdentity.ts'
import { AccountMeter } from '../monitor/accountMetrics.ts'
import type { MetricsReport } from '../monitor/metrics.ts'
import type { StageLogger } from '../monitor/stageLogger.ts'
import { goOnTracing, type TracedStep, tracesOfAll } from '../monitor/tracing.ts'
import type { SourceMapper } from './sourceMapper.ts'

const app = 'mtmi'
const text = new TextEncoder()
/** Records mapped between two turns of the event loop, and appended together: some milliseconds of work. */
const sliceRecords = 512

/** Where each partition is read on from. Losing it, or an older one, only repeats work. */
export interface IngestOffsets {
  load(topic: string, partition: number): IngestOffset | undefined
  save(topic: string, partition: number, offset: IngestOffset): void
}

export interface IngestOffset {
  readonly next: bigint
  /** Of the topic, as `EventLog.describe` has it. */
  readonly topicId: string
}

interface IngestStageOptions extends Pick<StageIo, 'config' | 'clock' | 'log' | 'codecs'> {
  readonly sources: readonly SourceMapper[]
  readonly offsets: IngestOffsets
  /** Whether a topic that was created again is read from its beginning, instead of ending the stage. */
  readonly acceptNewTopic?: boolean
  readonly logger?: StageLogger
  readonly measure?: (report: MetricsReport) => void
}

interface MappedRecord extends NewRecord {
  /** What it was made of. */
  readonly from: LogRecord
}

interface Owned {
  next: bigint
  /** What is saved; undefined: it is to be saved in any case. */
  saved: bigint | undefined
  savedAtMs: number
}

export class IngestStage {
  readonly #options: IngestStageOptions
  /** By topic; of this process. */
  readonly #accounts = new Map<string, Account<'ingest'>>()
  /** Records that were fetched and are still to be mapped, by topic. */
  readonly #waiting = new Map<string, number>()
  readonly #meter = new AccountMeter(new Account('ingest').numbers())
  readonly #consumed = new Map<string, Map<number, bigint>>()
  /** When the log took the newest record that was processed, milliseconds; 0 before the first. */
  takenAtMs = 0

  constructor(options: IngestStageOptions) {
    this.#options = options
    for (const { source } of options.sources) {
      this.#accounts.set(source.topic, new Account('ingest'))
      this.#consumed.set(source.topic, new Map())
    }
  }

  /**
   * Until abort, or with `untilEnd` to the ends that the topics had when it began; then everything read is mapped,
   * durable and remembered.
   *
   * @throws MtmiError BAD_EVENT if more than `events.badShareMax` of a topic's last 1,000 records were refused;
   *   UnavailableError
   */
  async run(signal: AbortSignal, options: { readonly untilEnd?: boolean } = {}): Promise<void> {
    const { sources, clock } = this.#options
    const mayEnd = options.untilEnd === true
    // The others finish what they have; one failure ends the stage, as its topics are one stream.
    const loops = sources.map((mapper) => [
      `reading ${mapper.source.topic}`,
      (either: AbortSignal) => this.#follow(mapper, either, mayEnd)
    ])
    await runTogether({ signal, clock, mayEnd }, Object.fromEntries(loops))
  }

  /** What became of the records of each topic. */
  accounts(): ReadonlyMap<string, AccountNumbers<'ingest'>> {
    return new Map([...this.#accounts].map(([topic, account]) => [topic, account.numbers(this.#waiting.get(topic))]))
  }

  /** Next offset to read, by topic and partition; what lies before it is in our topics or among the dead letters. */
  consumed(): ReadonlyMap<string, ReadonlyMap<number, bigint>> {
    return this.#consumed
  }

  async #follow(mapper: SourceMapper, signal: AbortSignal, untilEnd: boolean): Promise<void> {
    const { log, config, clock, offsets, acceptNewTopic = false } = this.#options
    const { topic } = mapper.source
    if (signal.aborted) return
    const { id: topicId } = await log.describe(topic)
    mapper.topicId = topicId
    const consumed = this.#consumed.get(topic)!
    const owned = new Map<number, Owned>()
    const badShare = new BadShare(config.events.badShareMax)
    const { measure, logger } = this.#options
    const letters = stageDeadLetters(this.#options, { stage: 'ingest', topic, resumes: true, measure, logger })
    const save = (partition: number, at: Owned) => {
      if (at.next === at.saved) return
      offsets.save(topic, partition, { next: at.next, topicId })
      at.saved = at.next
      at.savedAtMs = clock.nowMs()
    }
    const giveUp = (partition: number) => {
      const at = owned.get(partition)
      if (at !== undefined) save(partition, at)
      owned.delete(partition)
      consumed.delete(partition)
    }
    const events = log.read(topic, {
      // What this process remembers, or the group, whichever is further: both are behind what is durable.
      resume: async (partition, committed = 0n, reset = undefined) => {
        const loaded = offsets.load(topic, partition)
        const isOther = loaded !== undefined && loaded.topicId !== topicId
        if (isOther && !acceptNewTopic) throw newTopic(topic)
        const remembered = loaded === undefined || isOther ? 0n : loaded.next
        const next = reset ?? (remembered > committed ? remembered : committed)
        const saved = isOther || reset !== undefined ? undefined : next
        owned.set(partition, { next, saved, savedAtMs: clock.nowMs() })
        consumed.set(partition, next)
        this.#options.logger?.info(
          { topic, partition, from: next },
          `partition ${partition} of ${topic} is assigned, from offset ${next}`
        )
        return next
      },
      signal,
      untilEnd,
      group: `${app}-ingest`
    })
    try {
      for await (const event of events) {
        if (event.kind === 'assigned') letters.reassigned()
        if (event.kind === 'revoked') for (const partition of event.partitions) giveUp(partition)
        if (event.kind === 'records') {
          const at = owned.get(event.partition)
          this.#noteRead(topic, event.records)
          if (at === undefined) throw new Error(`records of ${topic}, partition ${event.partition}, which is not owned`)
          try {
            await mapper.prepare(event.records)
          } catch (error) {
            // Stopped while the registry is unavailable: these records are read after the next start.
            if (signal.aborted && error instanceof UnavailableError) break
            throw error
          }
          for (let i = 0; i < event.records.length; i += sliceRecords) {
            const slice = event.records.slice(i, i + sliceRecords)
            await this.#take(mapper, slice, badShare, letters)
            at.next = slice.at(-1)!.offset + 1n
            consumed.set(event.partition, at.next)
            this.takenAtMs = slice.at(-1)!.timestampMs
          }
        }
        const nowMs = clock.nowMs()
        for (const [partition, at] of owned)
          if (nowMs - at.savedAtMs >= config.sequence.commitIntervalMs) save(partition, at)
      }
    } finally {
      for (const partition of [...owned.keys()]) giveUp(partition)
    }
  }

  async #take(
    mapper: SourceMapper,
    records: readonly LogRecord[],
    badShare: BadShare,
    letters: DeadLetters
  ): Promise<void> {
    const { codecs, config, clock, logger } = this.#options
    const { topic } = mapper.source
    const mapped: MappedRecord[] = []
    const steps: TracedStep[] = []
    const startMs = clock.nowMs()
    const counts = { mapped: 0, filtered: 0, partly: 0, refused: 0 }
    for (const record of records) {
      try {
        const { interactions, items, refused } = mapper.map(record)
        if (interactions.length > 0) {
          const step = goOnTracing(config, 'mtmi ingest', {
            kind: 'consumer',
            traces: tracesOfAll(config, [record]),
            startMs
          })
          steps.push(step)
          for (const interaction of interactions)
            mapped.push({
              key: text.encode(interaction.userId),
              value: codecs.interaction.encode(interaction),
              from: record,
              ...step.carried
            })
          if (step.fields.traceId !== undefined) logger?.info({ ...placeOf(topic, record), ...step.fields }, 'mapped')
        }
        for (const { itemId, item } of items)
          mapped.push({
            key: text.encode(itemId),
            value: item === null ? null : codecs.item.encode(item),
            from: record
          })
        if (refused !== undefined) letters.add(record, refused)
        counts[refused !== undefined ? 'partly' : interactions.length + items.length > 0 ? 'mapped' : 'filtered']++
        badShare.note(false)
      } catch (error) {
        if (!(error instanceof BadEventError)) throw error
        letters.add(record, error)
        counts.refused++
        badShare.note(true)
      }
      if (badShare.exceeded) {
        // Before anything of this slice is appended or remembered: it is read again when the mapping is corrected.
        throw new MtmiError(
          'BAD_EVENT',
          `${badShare.bad} of the last ${badWindow} records of ${topic} were refused (events.badShareMax ${config.events.badShareMax}): ` +
            `see \`mtmi mapping try --topic ${topic}\`, correct the mapping, then \`mtmi dlq replay --topic ${topic}\`; nothing was lost`
        )
      }
    }
    const target = mapper.source.kind === 'items' ? config.topics.items : config.topics.interactions
    // A record may hold many: an append stays of the size of a slice.
    for (let i = 0; i < mapped.length; i += sliceRecords) {
      const tooLarge = await this.#append(target, mapped.slice(i, i + sliceRecords))
      for (const [record, error] of tooLarge) {
        letters.add(record, error)
        counts.mapped--
        counts.refused++
      }
    }
    await letters.flush()
    for (const step of steps) step.end()
    const account = this.#accounts.get(topic)!
    this.#waiting.set(topic, this.#waiting.get(topic)! - records.length)
    for (const outcome of outcomesOf('ingest')) account.add(outcome, counts[outcome])
    this.#measureAccounts()
  }

  /** @returns the records of which an event is larger than the topic takes */
  async #append(topic: string, mapped: readonly MappedRecord[]): Promise<Map<LogRecord, TooLargeError>> {
    const { log } = this.#options
    const append = (some: readonly MappedRecord[]) =>
      log.append(
        topic,
        some.map(({ from: _, ...record }) => record)
      )
    const tooLarge = new Map<LogRecord, TooLargeError>()
    try {
      await append(mapped)
    } catch (error) {
      if (!(error instanceof TooLargeError)) throw error
      for (const each of mapped) {
        try {
          await append([each])
        } catch (error) {
          if (!(error instanceof TooLargeError)) throw error
          tooLarge.set(each.from, error)
        }
      }
    }
    return tooLarge
  }

  #measureAccounts(): void {
    this.#options.measure?.(this.#meter.entries(sumAccounts('ingest', this.accounts().values())))
  }

  #noteRead(topic: string, records: readonly LogRecord[]): void {
    this.#accounts.get(topic)!.read(records.length)
    this.#waiting.set(topic, (this.#waiting.get(topic) ?? 0) + records.length)
    this.#measureAccounts()
    let bytes = 0
    for (const { key, value } of records) bytes += key.length + (value?.length ?? 0)
    this.#options.measure?.([{ metric: 'ingestBytes', value: bytes }])
  }
}

const placeOf = (topic: string, { partition, offset }: LogRecord) => ({
  topic,
  partition,
  from: offset,
  to: offset + 1n
})
