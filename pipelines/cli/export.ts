// `mtmi export`: the lists of all users of the index as a file, a line of JSON each. Lists go to `<file>.part` in the
// order in which the index has its users, and an interrupted export continues after the last whole line of it.

import { createReadStream, existsSync } from 'node:fs'
import { type FileHandle, open, rename } from 'node:fs/promises'
import { systemClock } from '../../src/core/clock.ts'
import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { mapConcurrently } from '../../src/core/promises.ts'
import { note, print } from '../../src/core/terminal.ts'
import type { VectorIndex } from '../../src/index/vectorIndex.ts'
import { number } from '../../src/lab/evaluation/figures.ts'
import { startStatusLine } from '../../src/lab/evaluation/statusLine.ts'
import type { UserId } from '../../src/records/interaction.ts'
import type { Recommender } from '../../src/serve/recommender.ts'
import { withRecommender } from '../indexReader.ts'

/** Users of a page of the index, and lists that are held before they are written. */
const pageUsers = 256
/** Lists that are made at a time: a list from Qdrant takes its time on the way. */
const concurrency = 8

interface Written {
  /** Lists of this process. */
  lists: number
  /** Of these, lists of popular items, for users without vectors. */
  popular: number
  /** Lists of an earlier process that was interrupted. */
  before: number
  /** Index versions with their steps that the lists of this process came from. */
  readonly versions: Set<string>
}

/** @throws ConfigError if the file exists, or cannot be written @throws UnavailableError if nothing is published */
export async function exportLists(
  config: Config,
  { out, limit, json }: { out: string; limit: number; json: boolean }
): Promise<void> {
  if (existsSync(out)) throw new ConfigError([`--out ${out} exists already: remove it, or name another file`])
  const part = `${out}.part`
  const written = await withRecommender(config, limit, async (recommender, index) => {
    const file = await openPart(part, out)
    try {
      const { lists: before, userId, end } = await wholeLines(part)
      await file.truncate(end)
      if (before > 0) note(`${part} has ${number(before)} lists: continues after them`)
      const all: Written = { lists: 0, popular: 0, before, versions: new Set() }
      await writeLists({ recommender, index, limit, after: userId, file, all })
      await file.sync()
      return all
    } finally {
      await file.close()
    }
  })
  await rename(part, out)
  const { lists, popular, before, versions } = written
  const earlier = before === 0 ? '' : `; ${number(before)} more were there before`
  note(
    `wrote ${number(lists)} lists to ${out}, ${number(popular)} of them of popular items, for users without vectors${earlier}`
  )
  if (json) print(`${JSON.stringify({ out, lists, popular, before, versions: [...versions] })}\n`)
}

async function openPart(part: string, out: string): Promise<FileHandle> {
  try {
    return await open(part, 'a')
  } catch (error) {
    throw new ConfigError([`--out ${out} cannot be written: ${(error as Error).message}`])
  }
}

async function writeLists(work: {
  readonly recommender: Recommender
  readonly index: VectorIndex
  readonly limit: number
  readonly after: UserId | undefined
  readonly file: FileHandle
  readonly all: Written
}): Promise<void> {
  const { recommender, index, limit, file, all } = work
  const status = startStatusLine(systemClock)
  const beganMs = systemClock.nowMs()
  try {
    for (let { after } = work; ; ) {
      const users = await index.usersAfter(after, pageUsers)
      const lines = await mapConcurrently(users, concurrency, async (userId) => {
        const list = await recommender.recommend({ userId, limit })
        if (list.coldStart !== undefined) all.popular++
        all.versions.add(list.version)
        return JSON.stringify(list)
      })
      if (lines.length > 0) await file.appendFile(`${lines.join('\n')}\n`)
      all.lists += lines.length
      after = users.at(-1)
      const seconds = (systemClock.nowMs() - beganMs) / 1000
      status.show(`${number(all.lists)} lists written, ${number(all.lists / Math.max(seconds, 0.001))} a second`)
      if (users.length < pageUsers) return
    }
  } finally {
    status.clear()
  }
}

/** The whole lines of a file, the user of the last one, and the byte after it: a kill may have cut a line off. */
async function wholeLines(file: string): Promise<{ lists: number; userId?: UserId; end: number }> {
  let [lists, begin, end, offset] = [0, 0, 0, 0]
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) {
      lists++
      ;[begin, end] = [end, offset + at + 1]
    }
    offset += chunk.length
  }
  if (lists === 0) return { lists, end }
  const last: Buffer[] = []
  for await (const chunk of createReadStream(file, { start: begin, end: end - 2 })) last.push(chunk as Buffer)
  try {
    const { userId } = JSON.parse(Buffer.concat(last).toString()) as { userId?: unknown }
    if (typeof userId === 'string') return { lists, userId, end }
  } catch {
    // said below
  }
  throw new ConfigError([`${file} is not what an export left: remove it, or name another file with --out`])
}
