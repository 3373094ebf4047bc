// `mtmi dlq ls | show | replay`: dead-letter records, why they could not be used, and their replay.

import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import type { Offsets } from '../../src/core/offsets.ts'
import type { RunDirectory } from '../../src/core/runDirectory.ts'
import { confirmed, note, plainLine, print } from '../../src/core/terminal.ts'
import { type DeadLetterEntry, DeadLetterReplay } from '../../src/ingest/deadLetterReplay.ts'
import { deadLetterTopic } from '../../src/log/deadLetter.ts'
import type { EventLog } from '../../src/log/eventLog.ts'
import {
  app,
  checkReplayable,
  exists,
  jsonOf,
  knownTopics,
  type Listed,
  replayState,
  summarize
} from '../deadLetterReport.ts'
import { openStageIo } from '../parts.ts'
import { runToChange, runToRead } from '../runs.ts'
import { hexDump, shownBytes, textOf } from './shownBytes.ts'

const dumpBytes = 512

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

/** The topic that was read may be given instead. */
function letterTopic(name: string): string {
  return name.endsWith('.dlq') || name.endsWith('.late') ? name : deadLetterTopic(name, app)
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
