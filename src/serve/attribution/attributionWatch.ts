// interactions → attribution: the clicks on lists of this process. Counts and offsets are saved together, so that a
// restart counts no click twice. After a kill, lists answered since the last save are not counted.

import { randomInt } from 'node:crypto'
import { CorruptError, UnavailableError } from '../../core/errors.ts'
import { offsetsFromJson, offsetsSchema, offsetsToJson } from '../../core/offsets.ts'
import { own } from '../../core/own.ts'
import { type StateFile, type StateKind, z } from '../../core/stateFile.ts'
import type { LogRecord } from '../../log/eventLog.ts'
import type { StageIo } from '../../log/stageIo.ts'
import { AccountMeter } from '../../monitor/accountMetrics.ts'
import type { MetricsReport } from '../../monitor/metrics.ts'
import { loadSchemas } from '../../records/registry/schemaRegistry.ts'
import { Attribution, type AttributionState, attributionState, noAttribution } from './attribution.ts'
import { listIdPrefix } from './listId.ts'

interface KeptAttribution {
  readonly state: AttributionState
  /** Of the topic of interactions: offsets in another one mean nothing. */
  readonly topicId: string
  readonly offsets: Readonly<Record<string, string>>
}

export const keptAttribution: StateKind<KeptAttribution> = {
  file: 'attribution.json',
  version: 1,
  schema: z.object({ state: attributionState, topicId: z.string(), offsets: offsetsSchema }),
  removed: 'counting of lists and clicks begins again, and clicks on lists from before are not counted'
}

const saveIntervalMs = 30_000
const reportIntervalMs = 1000
const marker = Buffer.from(listIdPrefix)

export class AttributionWatch {
  readonly attribution: Attribution
  readonly #io: StageIo
  readonly #file: StateFile<KeptAttribution>
  readonly #measure: (report: MetricsReport) => void
  readonly #meter: AccountMeter<'attribution'>
  /** Next offset to read, by partition; undefined: the log has not been looked at yet. */
  #next: Map<number, bigint> | undefined
  #topicId: string
  #savedAtMs: number
  #reportedAtMs = 0

  /** @throws CorruptError if the file is damaged */
  constructor(io: StageIo, file: StateFile<KeptAttribution>, measure: (report: MetricsReport) => void) {
    const { clock, config } = io
    const kept = file.load()
    this.#io = io
    this.#file = file
    this.#measure = measure
    this.#next = kept && new Map(offsetsFromJson(kept.offsets))
    this.#topicId = kept?.topicId ?? ''
    this.attribution = new Attribution({
      ...{ clock, measure },
      isCounted: (type) => (own(config.events.types, type) ?? 0) > 0,
      state: kept?.state ?? noAttribution(randomInt(1, 0xffffffff), clock.nowMs())
    })
    this.#meter = new AccountMeter(this.attribution.account())
    this.#savedAtMs = clock.nowMs()
  }

  /**
   * Reads until abort: from the stored offsets, or from the end of a log that was not read before.
   *
   * @param up called when the log answers
   * @throws UnavailableError where the topic was created again: the next run begins at its end
   */
  async run(signal: AbortSignal, up: () => void = () => undefined, untilEnd = false): Promise<void> {
    const { log, config } = this.#io
    const topic = config.topics.interactions
    const { id } = await log.describe(topic)
    if (id !== this.#topicId) this.#next = undefined
    this.#topicId = id
    this.#next ??= new Map(await log.ends(topic))
    const next = this.#next
    try {
      for await (const event of log.read(topic, { resume: async (at) => next.get(at) ?? 0n, signal, untilEnd })) {
        up()
        if (event.kind === 'records') await this.#take(event.records, next)
        this.#report()
      }
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
      this.#next = undefined
      throw new UnavailableError(`clicks are counted from the end of ${topic} on: ${error.message}`, { cause: error })
    }
  }

  async #take(records: readonly LogRecord[], next: Map<number, bigint>): Promise<void> {
    const { registry, codecs } = this.#io
    // Most events are not from a list: they are not decoded.
    const listed = records.filter(({ value }) => value !== null && hasListId(value))
    if (listed.length > 0) await loadSchemas(registry, listed)
    for (const { value } of listed) {
      let event: ReturnType<typeof codecs.interaction.decode> | undefined
      try {
        event = codecs.interaction.decode(value!)
      } catch {
        // `sequence` dead-letters the record.
      }
      if (event === undefined) this.attribution.skip(1)
      else this.attribution.take(event)
    }
    this.attribution.skip(records.length - listed.length)
    for (const { partition, offset } of records.slice(-1)) next.set(partition, offset + 1n)
  }

  #report(): void {
    const nowMs = this.#io.clock.nowMs()
    if (nowMs - this.#reportedAtMs < reportIntervalMs) return
    this.#reportedAtMs = nowMs
    this.attribution.report()
    this.#measure(this.#meter.entries(this.attribution.account()))
    if (nowMs - this.#savedAtMs >= saveIntervalMs) this.save()
  }

  save(): void {
    this.#savedAtMs = this.#io.clock.nowMs()
    if (this.#next === undefined) return
    const offsets = offsetsToJson(this.#next)
    this.#file.save({ state: this.attribution.state(), topicId: this.#topicId, offsets })
  }
}

function hasListId({ buffer, byteOffset, byteLength }: Uint8Array): boolean {
  return Buffer.from(buffer, byteOffset, byteLength).includes(marker)
}
