// `mtmi dlq ls | show | replay`: dead-letter records, why they could not be used, and their replay.

import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { OffsetSet } from '../../src/core/offsetSet.ts'
import type { Offsets } from '../../src/core/offsets.ts'
import type { RunDirectory } from '../../src/core/runDirectory.ts'
import { type StateKind, z } from '../../src/core/stateFile.ts'
import { confirmed, note, plainLine, print } from '../../src/core/terminal.ts'
import { type DeadLetterEntry, DeadLetterReplay, type ReplayState } from '../../src/ingest/deadLetterReplay.ts'
import { deadLetterTopic } from '../../src/log/deadLetter.ts'
import type { EventLog } from '../../src/log/eventLog.ts'
import { openStageIo } from '../parts.ts'
import { runToChange, runToRead } from '../runs.ts'
import { hexDump, shownBytes, textOf } from './shownBytes.ts'

const app = 'mtmi'
const replayState: StateKind<ReplayState> = {
  file: 'dlq-replayed.json',
  version: 1,
  schema: z.looseObject({
    replayed: z.record(z.string(), z.record(z.string(), z.array(z.tuple([z.string(), z.string()]))))
  }),
  removed: '`mtmi dlq replay` appends records again that it has replayed before'
}
/** Reasons listed one by one; the rest are counted together. */
const reasonsMax = 50
const dumpBytes = 512

interface Reason {
  readonly stage: string
  readonly reason: string
  deadLetters: number
}

interface Listed {
  readonly topic: string
  readonly deadLetters: number
  /** Several stages may have dead-lettered one record. */
  readonly records: number
  readonly replayed: number
  readonly reasons: readonly Reason[]
}

export async function list(config: Config, options: { topic?: string; json?: boolean }): Promise<void> {
  const listed: Listed[] = []
  await withReplay(config, runToRead(config), async (replay, log) => {
    const topics = options.topic === undefined ? knownTopics(config) : [letterTopic(options.topic)]
    for (const topic of topics) {
      const found = (await exists(log, topic)) ? await summarize(replay, topic) : undefined
      if (found !== undefined) listed.push(found)
    }
  })
  if (options.json === true) return print(`${JSON.stringify({ topics: listed })}\n`)
  if (listed.length === 0) return print('no dead-letter records\n')
  for (const { topic, deadLetters, records, replayed, reasons } of listed) {
    const of = records === deadLetters ? '' : ` of ${records} records`
    print(`${topic}: ${deadLetters} dead letters${of}${replayed === 0 ? '' : `, ${replayed} of them replayed`}\n`)
    for (const { stage, reason, deadLetters: count } of reasons)
      print(`  ${String(count).padStart(7)}  ${plainLine(`${stage} ${reason}`.trim())}\n`)
  }
}

/** @returns undefined for a topic without dead letters */
async function summarize(replay: DeadLetterReplay, topic: string): Promise<Listed | undefined> {
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

export async function show(
  config: Config,
  options: { topic: string; partition?: number; offset?: number; limit: number; json?: boolean }
): Promise<void> {
  const topic = letterTopic(options.topic)
  const { partition, offset, limit } = options
  const shown: DeadLetterEntry[] = []
  await withReplay(config, runToRead(config), async (replay, log) => {
    if (!(await exists(log, topic)))
      throw new ConfigError([`${topic} holds no dead letters: \`mtmi dlq ls\` lists the topics that do`])
    for await (const letter of replay.letters(topic)) {
      if (partition !== undefined && letter.at.partition !== partition) continue
      if (offset !== undefined && letter.at.offset < BigInt(offset)) continue
      shown.push(letter)
      if (shown.length >= limit) break
    }
  })
  if (options.json === true) print(`${JSON.stringify({ topic, deadLetters: shown.map(jsonOf) })}\n`)
  else if (shown.length === 0) print('no such dead letters\n')
  else print(`${shown.map((letter) => letterText(topic, letter)).join('\n\n')}\n`)
}

export async function replay(
  config: Config,
  options: { topic: string; reason?: string; dryRun: boolean; yes: boolean; json?: boolean }
): Promise<void> {
  const topic = letterTopic(options.topic)
  const reason = options.reason?.toLowerCase()
  const matches = ({ exception, message }: DeadLetterEntry) =>
    reason === undefined || `${exception}: ${message}`.toLowerCase().includes(reason)
  const run = runToChange(config)
  const lock = run.lock('mtmi dlq replay', ['replay'])
  try {
    await withReplay(config, run, async (replay, log) => {
      const limits: Offsets = (await exists(log, topic)) ? await log.ends(topic) : new Map()
      let [before, truncated] = [0, 0]
      for await (const letter of replay.letters(topic, limits)) {
        if (!matches(letter)) continue
        if (letter.replayed) before++
        if (letter.truncated !== undefined) truncated++
      }
      let due = 0
      const targets = new Set<string>()
      for await (const letter of replay.due(topic, matches, limits)) {
        checkReplayable(config, topic, letter)
        targets.add(letter.topic)
        due++
      }
      const condition = options.reason === undefined ? '' : ` whose reason contains ${JSON.stringify(options.reason)}`
      const what = `${due} dead letters of ${topic}${condition}`
      if (truncated > 0)
        note(
          `${truncated} are truncated, and are not replayed: read the whole records in their topic (\`mtmi dlq show\`)`
        )
      if (before > 0) note(`${before} were replayed before, and are not replayed again`)
      const isConfirmed =
        due > 0 &&
        !options.dryRun &&
        (options.yes || (await replayIsConfirmed(`Append ${what} to ${[...targets].join(', ')} again?`)))
      const replayed = isConfirmed ? await replay.replay(topic, matches, limits) : 0
      if (options.json === true) print(`${JSON.stringify({ topic, due, replayed, before, dryRun: options.dryRun })}\n`)
      else print(options.dryRun ? `would replay ${what}\n` : `replayed ${replayed} of ${what}\n`)
    })
  } finally {
    lock.release()
  }
}

/** @throws ConfigError */
function checkReplayable({ topics }: Config, dlq: string, letter: DeadLetterEntry): void {
  if ([topics.userSequences, topics.modelUpdates].includes(letter.topic))
    throw new ConfigError([
      `records of ${letter.topic} are not replayed: an older record would replace a newer one of the same key. Inspect them with \`mtmi dlq show\``
    ])
  if (![deadLetterTopic(letter.topic, app), lateTopicOf(letter.topic)].includes(dlq))
    throw new ConfigError([`${dlq} holds a record of ${letter.topic} from another program: it is not replayed`])
}

async function replayIsConfirmed(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) throw new ConfigError([`${question} Add --yes where no terminal can confirm it`])
  return confirmed(question)
}

async function withReplay(
  config: Config,
  run: RunDirectory,
  body: (replay: DeadLetterReplay, log: EventLog) => Promise<void>
): Promise<void> {
  const { log } = await openStageIo(config, run)
  try {
    const ours = new Set([config.topics.interactions, config.topics.items])
    const { signal } = new AbortController()
    await body(await DeadLetterReplay.open({ log, store: run.state(replayState), ours, signal }), log)
  } finally {
    await log.close()
  }
}

function knownTopics({ topics, sources }: Config): string[] {
  const { interactions, items, userSequences, modelUpdates } = topics
  const read = [interactions, items, userSequences, modelUpdates, ...sources.map(({ topic }) => topic)]
  return read.flatMap((topic) => [deadLetterTopic(topic, app), lateTopicOf(topic)])
}

function lateTopicOf(topic: string): string {
  return `${topic}.${app}.late`
}

/** The topic that was read may be given instead. */
function letterTopic(name: string): string {
  return name.endsWith('.dlq') || name.endsWith('.late') ? name : deadLetterTopic(name, app)
}

async function exists(log: Pick<EventLog, 'ends'>, topic: string): Promise<boolean> {
  try {
    return [...(await log.ends(topic)).values()].some((end) => end > 0n)
  } catch (error) {
    // Brokers that do not create topics report that there is none.
    if (error instanceof ConfigError) return false
    throw error
  }
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

function jsonOf({
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

function letterText(dlq: string, letter: DeadLetterEntry): string {
  const { at, original, exception, message, truncated } = letter
  const headers = Object.entries(original.headers ?? {}).map(
    ([name, bytes]) => `  header    ${plainLine(`${name}: ${shownBytes(bytes, 200)}`)}`
  )
  const { value } = original
  const text = value === null ? undefined : textOf(value)
  return [
    `${dlq}, partition ${at.partition}, offset ${at.offset}${letter.replayed ? ' (replayed)' : ''}`,
    `  from      ${letter.topic}, partition ${letter.partition}, offset ${letter.offset}, written by ${plainLine(letter.stage || 'another program')} ${new Date(letter.record.timestampMs).toISOString()}`,
    `  reason    ${plainLine(`${exception}: ${message}`)}`,
    `  key       ${plainLine(shownBytes(original.key, 200))}`,
    ...headers,
    ...(truncated === undefined
      ? []
      : [
          `  truncated the topic did not take ${truncated.bytes} bytes: ${value?.length ?? 0} are kept (SHA-256 of all: ${truncated.sha256})`
        ]),
    ...(value === null
      ? ['  value     null']
      : [
          ...(text === undefined
            ? [`  value     ${value.length} bytes`]
            : [`  value     ${plainLine(text.length > 400 ? `${text.slice(0, 400)}…` : text)}`]),
          ...hexDump(value, dumpBytes).map((line) => `            ${line}`)
        ])
  ].join('\n')
}
