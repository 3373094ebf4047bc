// `mtmi dlq ls | show | replay`: what was set aside, why, and back again.

import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { OffsetSet } from '../../src/core/offsetSet.ts'
import type { Offsets } from '../../src/core/offsets.ts'
import type { RunDirectory } from '../../src/core/runDirectory.ts'
import { type StateKind, z } from '../../src/core/stateFile.ts'
import { confirmed, note, plainLine, print } from '../../src/core/terminal.ts'
import { DeadLetterReplay, type Letter, type ReplayState, type ReplayStore } from '../../src/ingest/deadLetterReplay.ts'
import { deadLetterTopic } from '../../src/log/deadLetter.ts'
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

interface Listed {
  readonly topic: string
  readonly letters: number
  /** Several stages may have written a letter of one record. */
  readonly records: number
  readonly replayed: number
  readonly reasons: readonly { readonly stage: string; readonly reason: string; readonly letters: number }[]
}

export async function list(config: Config, options: { topic?: string; json?: boolean }): Promise<void> {
  const listed: Listed[] = []
  await withLetters(config, runToRead(config), async (letters, log) => {
    const topics = options.topic === undefined ? knownTopics(config) : [letterTopic(options.topic)]
    for (const topic of topics) {
      if (!(await isThere(log, topic))) continue
      const reasons = new Map<string, { stage: string; reason: string; letters: number }>()
      const records = new Map<string, OffsetSet>()
      let count = 0
      let replayed = 0
      for await (const letter of letters.letters(topic)) {
        count++
        if (letter.replayed) replayed++
        const offsets = records.get(`${letter.topic}/${letter.partition}`) ?? new OffsetSet()
        records.set(`${letter.topic}/${letter.partition}`, offsets)
        offsets.add(letter.offset)
        const { stage } = letter
        const reason = reasonOf(letter)
        const same = reasons.get(`${stage} ${reason}`)
        if (same === undefined) reasons.set(`${stage} ${reason}`, { stage, reason, letters: 1 })
        else same.letters++
      }
      if (count === 0) continue
      const sorted = [...reasons.values()].sort((a, b) => b.letters - a.letters)
      const rest = sorted.slice(reasonsMax)
      const others = rest.reduce((sum, { letters }) => sum + letters, 0)
      listed.push({
        topic,
        letters: count,
        records: [...records.values()].reduce((sum, offsets) => sum + offsets.size, 0),
        replayed,
        reasons: [
          ...sorted.slice(0, reasonsMax),
          ...(others === 0 ? [] : [{ stage: '', reason: `${rest.length} other reasons`, letters: others }])
        ]
      })
    }
  })
  if (options.json === true) print(`${JSON.stringify({ topics: listed })}\n`)
  else if (listed.length === 0) print('no dead letters\n')
  else
    for (const { topic, letters, records, replayed, reasons } of listed) {
      const of = records === letters ? '' : ` of ${records} records`
      print(`${topic}: ${letters} letters${of}${replayed === 0 ? '' : `, ${replayed} of them replayed`}\n`)
      for (const { stage, reason, letters: count } of reasons)
        print(`  ${String(count).padStart(7)}  ${plainLine(`${stage} ${reason}`.trim())}\n`)
    }
}

export async function show(
  config: Config,
  options: { topic: string; partition?: number; offset?: number; limit: number; json?: boolean }
): Promise<void> {
  const topic = letterTopic(options.topic)
  const shown: Letter[] = []
  await withLetters(config, runToRead(config), async (letters, log) => {
    if (!(await isThere(log, topic)))
      throw new ConfigError([`${topic} holds no dead letters: \`mtmi dlq ls\` lists the topics that do`])
    for await (const letter of letters.letters(topic)) {
      if (options.partition !== undefined && letter.at.partition !== options.partition) continue
      if (options.offset !== undefined && letter.at.offset < BigInt(options.offset)) continue
      shown.push(letter)
      if (shown.length >= options.limit) break
    }
  })
  if (options.json === true) print(`${JSON.stringify({ topic, letters: shown.map(jsonOf) })}\n`)
  else
    print(
      shown.length === 0 ? 'no such letters\n' : `${shown.map((letter) => letterText(topic, letter)).join('\n\n')}\n`
    )
}

export async function replay(
  config: Config,
  options: { topic: string; reason?: string; dryRun: boolean; yes: boolean; json?: boolean }
): Promise<void> {
  const topic = letterTopic(options.topic)
  const reason = options.reason?.toLowerCase()
  const wanted = (letter: Letter) =>
    reason === undefined || `${letter.exception}: ${letter.message}`.toLowerCase().includes(reason)
  const run = runToChange(config)
  const lock = run.lock('mtmi dlq replay', ['replay'])
  try {
    await withLetters(config, run, async (letters, log) => {
      const limits: Offsets = (await isThere(log, topic)) ? await log.ends(topic) : new Map()
      const targets = new Map<string, number>()
      let before = 0
      for await (const letter of letters.letters(topic, limits)) if (wanted(letter) && letter.replayed) before++
      for await (const letter of letters.due(topic, wanted, limits)) {
        if ([config.topics.userSequences, config.topics.modelUpdates].includes(letter.topic))
          throw new ConfigError([
            `records of ${letter.topic} are not replayed: an older record would take the place of a newer one of the same key. Look at them with \`mtmi dlq show\``
          ])
        if (![deadLetterTopic(letter.topic, app), lateTopicOf(letter.topic)].includes(topic))
          throw new ConfigError([
            `${topic} holds a letter from ${letter.topic}: it was put there by somebody else, and is left to them`
          ])
        else targets.set(letter.topic, (targets.get(letter.topic) ?? 0) + 1)
      }
      const due = [...targets.values()].reduce((sum, count) => sum + count, 0)
      const what = `${due} letters of ${topic}${options.reason === undefined ? '' : ` whose reason contains ${JSON.stringify(options.reason)}`}`
      if (before > 0) note(`${before} were replayed before and stay where they are`)
      let replayed = 0
      if (
        due > 0 &&
        !options.dryRun &&
        (options.yes || (await replayIsConfirmed(`Append ${what} to ${[...targets.keys()].join(', ')} again?`)))
      )
        replayed = await letters.replay(topic, wanted, limits)
      if (options.json === true) print(`${JSON.stringify({ topic, due, replayed, before, dryRun: options.dryRun })}\n`)
      else print(options.dryRun ? `would replay ${what}\n` : `replayed ${replayed} of ${what}\n`)
    })
  } finally {
    lock.release()
  }
}

async function replayIsConfirmed(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) throw new ConfigError([`${question} Say --yes where nobody can be asked`])
  return confirmed(question)
}

async function withLetters(
  config: Config,
  run: RunDirectory,
  body: (letters: DeadLetterReplay, log: Awaited<ReturnType<typeof openStageIo>>['log']) => Promise<void>
): Promise<void> {
  const { log } = await openStageIo(config, run)
  try {
    const { interactions, items } = config.topics
    const { signal } = new AbortController()
    await body(
      await DeadLetterReplay.open({ log, store: fileStore(run), ours: new Set([interactions, items]), signal }),
      log
    )
  } finally {
    await log.close()
  }
}

/** What has been replayed, in the run's folder. */
export function fileStore(run: RunDirectory): ReplayStore {
  return run.state(replayState)
}

function knownTopics(config: Config): string[] {
  const { interactions, items, userSequences, modelUpdates } = config.topics
  const read = [interactions, items, userSequences, modelUpdates, ...config.sources.map(({ topic }) => topic)]
  return read.flatMap((topic) => [deadLetterTopic(topic, app), lateTopicOf(topic)])
}

function lateTopicOf(topic: string): string {
  return `${topic}.${app}.late`
}

/** The topic that was read may be named instead. */
function letterTopic(name: string): string {
  return name.endsWith('.dlq') || name.endsWith('.late') ? name : deadLetterTopic(name, app)
}

async function isThere(log: { ends(topic: string): Promise<Offsets> }, topic: string): Promise<boolean> {
  try {
    return [...(await log.ends(topic)).values()].some((end) => end > 0n)
  } catch (error) {
    // A broker that makes no topics says that there is none.
    if (error instanceof ConfigError) return false
    throw error
  }
}

/** The message without what differs from record to record. */
export function reasonOf({ exception, message }: { exception: string; message: string }): string {
  const kind = message
    .replace(/"(?:[^"\\]|\\.)*"?|'[^']*'/g, '"…"')
    .replace(/\b0x[0-9a-f]+\b|\b[0-9a-f]{16,}\b/gi, '…')
    // A number by itself is a value; within a name, an index or a unit it is part of the reason.
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
  replayed
}: Letter): object {
  const headers = Object.entries(original.headers ?? {}).map(([name, bytes]) => [
    name,
    textOf(bytes) ?? `0x${Buffer.from(bytes).toString('hex')}`
  ])
  return {
    partition: at.partition,
    offset: String(at.offset),
    stage,
    source: { topic, partition, offset: String(offset) },
    exception,
    message,
    stacktrace,
    replayed,
    key: bytesJson(original.key),
    value: original.value === null ? null : bytesJson(original.value),
    headers: Object.fromEntries(headers)
  }
}

function bytesJson(bytes: Uint8Array): object {
  const text = textOf(bytes)
  return { bytes: bytes.length, hex: Buffer.from(bytes).toString('hex'), ...(text === undefined ? {} : { text }) }
}

function letterText(dlq: string, letter: Letter): string {
  const { at, original, exception, message } = letter
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
