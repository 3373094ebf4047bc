// Dead-letter records as commands and the console show them: by topic and reason, one by one, and their replay.

import type { Config } from '../src/core/config/config.ts'
import { BadEventError, ConfigError } from '../src/core/errors.ts'
import { OffsetSet } from '../src/core/offsetSet.ts'
import type { Offsets } from '../src/core/offsets.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import { type StateKind, z } from '../src/core/stateFile.ts'
import { type DeadLetterEntry, DeadLetterReplay, type ReplayState } from '../src/ingest/deadLetterReplay.ts'
import { openSource } from '../src/ingest/sourceMapper.ts'
import { deadLetterTopic } from '../src/log/deadLetter.ts'
import type { EventLog, LogRecord } from '../src/log/eventLog.ts'
import type { StageIo } from '../src/log/stageIo.ts'
import { loadSchemas } from '../src/records/registry/schemaRegistry.ts'
import type { DeadLetterParts, ShownDeadLetter } from '../src/serve/http/deadLetterRoutes.ts'
import { textOf } from './cli/shownBytes.ts'

export const app = 'mtmi'
export const replayState: StateKind<ReplayState> = {
  file: 'dlq-replayed.json',
  version: 1,
  schema: z.looseObject({
    replayed: z.record(z.string(), z.record(z.string(), z.array(z.tuple([z.string(), z.string()]))))
  }),
  removed: '`mtmi dlq replay` appends records again that it has replayed before'
}
/** Reasons listed one by one; the rest are counted together. */
const reasonsMax = 50
interface Reason {
  readonly stage: string
  readonly reason: string
  deadLetters: number
}

export interface Listed {
  readonly topic: string
  readonly deadLetters: number
  /** Several stages may have dead-lettered one record. */
  readonly records: number
  readonly replayed: number
  readonly reasons: readonly Reason[]
}

/** @returns undefined for a topic without dead letters */
export async function summarize(replay: DeadLetterReplay, topic: string): Promise<Listed | undefined> {
  const reasons = new Map<string, Reason>()
  const records = new Map<string, OffsetSet>()
  let deadLetters = 0
  let replayed = 0
  for await (const letter of replay.letters(topic)) {
    deadLetters++
    if (letter.replayed) replayed++
    const partition = `${letter.topic}/${letter.partition}`
    const offsets = records.get(partition) ?? new OffsetSet()
    records.set(partition, offsets)
    offsets.add(letter.offset)
    const { stage } = letter
    const reason = reasonOf(letter)
    const same = reasons.get(`${stage} ${reason}`) ?? { stage, reason, deadLetters: 0 }
    same.deadLetters++
    reasons.set(`${stage} ${reason}`, same)
  }
  if (deadLetters === 0) return undefined
  const sorted = [...reasons.values()].sort((a, b) => b.deadLetters - a.deadLetters)
  const rest = sorted.splice(reasonsMax)
  const others = rest.reduce((sum, { deadLetters }) => sum + deadLetters, 0)
  if (others > 0) sorted.push({ stage: '', reason: `${rest.length} other reasons`, deadLetters: others })
  const size = [...records.values()].reduce((sum, offsets) => sum + offsets.size, 0)
  return { topic, deadLetters, records: size, replayed, reasons: sorted }
}

/** The message without what differs from record to record. */
export function reasonOf({ exception, message }: { exception: string; message: string }): string {
  const kind = message
    .replace(/"(?:[^"\\]|\\.)*"?|'[^']*'/g, '"…"')
    .replace(/\b0x[0-9a-f]+\b|\b[0-9a-f]{16,}\b/gi, '…')
    // A number is a value unless it is part of a name, an index or a unit.
    .replace(/(?<![\w.[-])-?\d(?:[\d.:T-]*[\dZ])?(?![\w\]])/g, '…')
  return `${exception}: ${kind.length > 160 ? `${kind.slice(0, 160)}…` : kind}`
}

export function knownTopics({ topics, sources }: Config): string[] {
  const { interactions, items, userSequences, modelUpdates } = topics
  const read = [interactions, items, userSequences, modelUpdates, ...sources.map(({ topic }) => topic)]
  return read.flatMap((topic) => [deadLetterTopic(topic, app), lateTopicOf(topic)])
}

export function lateTopicOf(topic: string): string {
  return `${topic}.${app}.late`
}

export async function exists(log: Pick<EventLog, 'ends'>, topic: string): Promise<boolean> {
  try {
    return [...(await log.ends(topic)).values()].some((end) => end > 0n)
  } catch (error) {
    // Brokers that do not create topics report that there is none.
    if (error instanceof ConfigError) return false
    throw error
  }
}

/** @throws ConfigError */
export function checkReplayable({ topics }: Config, dlq: string, letter: DeadLetterEntry): void {
  if ([topics.userSequences, topics.modelUpdates].includes(letter.topic))
    throw new ConfigError([
      `records of ${letter.topic} are not replayed: an older record would replace a newer one of the same key. Inspect them with \`mtmi dlq show\``
    ])
  if (![deadLetterTopic(letter.topic, app), lateTopicOf(letter.topic)].includes(dlq))
    throw new ConfigError([`${dlq} holds a record of ${letter.topic} from another program: it is not replayed`])
}

export function jsonOf({
  at,
  stage,
  topic,
  partition,
  offset,
  exception,
  message,
  stacktrace,
  original,
  truncated,
  replayed
}: DeadLetterEntry) {
  const headers = Object.entries(original.headers ?? {}).map(([name, bytes]) => [
    name,
    textOf(bytes) ?? `0x${Buffer.from(bytes).toString('hex')}`
  ])
  return {
    partition: at.partition,
    offset: String(at.offset),
    stage,
    source: { topic, partition, offset: String(offset) },
    ...{ exception, message, stacktrace, replayed },
    ...(truncated === undefined ? {} : { truncated }),
    key: bytesJson(original.key),
    value: original.value === null ? null : bytesJson(original.value),
    headers: Object.fromEntries(headers)
  }
}

function bytesJson(bytes: Uint8Array): object {
  const text = textOf(bytes)
  return { bytes: bytes.length, hex: Buffer.from(bytes).toString('hex'), ...(text === undefined ? {} : { text }) }
}

/** Bytes of a key or a value that the console shows, and characters of its text. */
const shownMax = 2048

/** For the service: of the log and the run that it has open. */
export function deadLetterParts(io: StageIo, run: RunDirectory, signal: AbortSignal): DeadLetterParts {
  const { log, config } = io
  const ours = new Set([config.topics.interactions, config.topics.items])
  const opened = () => DeadLetterReplay.open({ log, store: run.state(replayState), ours, signal })
  const known = (topic: string) => {
    if (!knownTopics(config).includes(topic))
      throw new BadEventError(`${topic} is no dead-letter topic of this configuration`)
  }
  const matching = (reason: string | undefined) => (letter: DeadLetterEntry) =>
    reason === undefined || reasonOf(letter) === reason
  return {
    async list() {
      const replay = await opened()
      const listed: Listed[] = []
      for (const topic of knownTopics(config)) {
        const found = (await exists(log, topic)) ? await summarize(replay, topic) : undefined
        if (found !== undefined) listed.push(found)
      }
      return listed
    },

    async newest(topic, reason) {
      known(topic)
      if (!(await exists(log, topic))) return undefined
      let newest: DeadLetterEntry | undefined
      for await (const letter of (await opened()).letters(topic)) if (matching(reason)(letter)) newest = letter
      return newest === undefined ? undefined : shownLetter(newest, await outcomeNow(io, newest))
    },

    async replay(topic, reason) {
      known(topic)
      const lock = run.lock('mtmi serve (replay of dead letters)', ['replay'])
      try {
        const replay = await opened()
        const limits: Offsets = (await exists(log, topic)) ? await log.ends(topic) : new Map()
        for await (const letter of replay.due(topic, matching(reason), limits)) checkReplayable(config, topic, letter)
        return await replay.replay(topic, matching(reason), limits)
      } catch (error) {
        if (error instanceof ConfigError) throw new BadEventError(error.message, { cause: error })
        throw error
      } finally {
        lock.release()
      }
    }
  }
}

function shownLetter(letter: DeadLetterEntry, now: string): ShownDeadLetter {
  const { partition, offset, stage, source, exception, message, replayed } = jsonOf(letter)
  const bytes = (value: Uint8Array | null) => {
    if (value === null) return null
    const text = textOf(value)?.slice(0, shownMax)
    const hex = Buffer.from(value.subarray(0, shownMax)).toString('hex')
    return { bytes: value.length, hex, ...(text === undefined ? {} : { text }) }
  }
  const { key, value } = letter.original
  const where = { partition, offset, stage, source, writtenMs: letter.record.timestampMs }
  return { ...where, exception, message, replayed, key: bytes(key), value: bytes(value), now }
}

/** What the record would become with the present configuration. */
async function outcomeNow(io: StageIo, letter: DeadLetterEntry): Promise<string> {
  const { config, log, registry, codecs } = io
  const { original, partition, offset, topic } = letter
  const { key, value, headers = {} } = original
  const record: LogRecord = { key, value, headers, partition, offset, timestampMs: letter.record.timestampMs }
  const json = (mapped: unknown) =>
    JSON.stringify(mapped, (_, inner: unknown) => (typeof inner === 'bigint' ? String(inner) : inner))
  try {
    const source = config.sources.find((one) => one.topic === topic)
    if (source === undefined) {
      if (topic !== config.topics.interactions || value === null) return 'not tried: the record is not of a source'
      await loadSchemas(registry, [record])
      return `readable: ${json(codecs.interaction.decode(value))}`
    }
    const mapper = openSource(source, io)
    mapper.topicId = (await log.describe(topic)).id
    await mapper.prepare([record])
    const { interactions, items, refused } = mapper.map(record)
    const mapped = [...interactions, ...items]
    if (refused !== undefined) return `refused in part: ${refused.message}`
    return mapped.length === 0 ? 'filtered' : `mapped: ${mapped.map(json).join(', ')}`
  } catch (error) {
    if (!(error instanceof BadEventError)) throw error
    return `refused: ${error.message}`
  }
}
