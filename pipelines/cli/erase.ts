// `mtmi erase --user ID`: appends the erasure to the log, and erases on this machine where no stage runs that would do
// it.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Config } from '../../src/core/config/config.ts'
import { UnavailableError } from '../../src/core/errors.ts'
import type { RunDirectory, WriterRole } from '../../src/core/runDirectory.ts'
import { note, print } from '../../src/core/terminal.ts'
import { EmbeddedIndex } from '../../src/index/embedded/embeddedIndex.ts'
import { checkId } from '../../src/index/indexChecks.ts'
import { runReport } from '../../src/lab/evaluation/textReport.ts'
import { deadLetterTopic } from '../../src/log/deadLetter.ts'
import { erasureEvent } from '../../src/log/erasure.ts'
import { usersFolder } from '../../src/publish/publishedUsers.ts'
import type { UserId } from '../../src/records/interaction.ts'
import { LmdbWindowStore, openWindows, rewriteWindows, type WindowFile } from '../../src/records/lmdbWindowStore.ts'
import { lateTopic } from '../../src/sequence/sequenceStage.ts'
import { CheckpointFiles } from '../../src/train/checkpoint/checkpointFiles.ts'
import { checkpointsNaming, forgetInCheckpoints } from '../../src/train/forgetUser.ts'
import { hasIndex, openStageIo, readIndex } from '../parts.ts'
import { runToChange } from '../runs.ts'

/** How long running stages may take to reach the erasure: a trainer finishes its batch and rewrites its checkpoints. */
const waitMaxMs = 60_000
const pollMs = 250

/** A place where data of the user was, or may be. */
export interface ErasedPlace {
  readonly place: string
  readonly outcome: 'erased' | 'nothing there' | 'until' | 'left to you'
  readonly detail: string
}

export async function erase(config: Config, options: { user: string; json?: boolean }): Promise<void> {
  const userId: UserId = options.user
  checkId('user', userId)
  const run = runToChange(config)
  const io = await openStageIo(config, run)
  const places: ErasedPlace[] = []
  const erasable: Place[] = [
    {
      role: 'sequence',
      place: 'histories (sequences/)',
      offline: () => fromWindows(run, histories, userId),
      isGone: () => isOutOfWindows(run, histories, userId)
    },
    {
      role: 'publish',
      place: `histories to encode (${usersFolder}/)`,
      offline: () => fromWindows(run, published, userId),
      isGone: () => isOutOfWindows(run, published, userId)
    },
    {
      role: 'publish',
      place: `index (${config.index === 'qdrant' ? 'Qdrant' : 'index/'}), all index versions`,
      offline: () => fromIndex(config, run, userId),
      isGone: () => isOutOfIndex(config, run, userId),
      ...(config.index === 'qdrant' ? { done: 'no publisher runs: deleted on the server, in every index version' } : {})
    },
    {
      role: 'train',
      place: 'examples kept for replay (checkpoints/)',
      offline: () => fromCheckpoints(config, run, userId),
      isGone: () => isOutOfCheckpoints(config, run, userId)
    }
  ]
  try {
    // Before the erasure: afterwards a running stage may have erased it already.
    const wasThere: boolean[] = []
    for (const { isGone } of erasable) wasThere.push(!(await isGone()))
    await io.log.append(config.topics.interactions, [erasureEvent(userId)])
    for (const [i, each] of erasable.entries()) places.push(await eraseFrom(run, each, wasThere[i]!))
    places.push(await fromReport(run, userId), ...filesThatName(run, userId))
  } finally {
    await io.log.close()
  }
  const found = places.some(({ outcome }) => outcome !== 'nothing there')
  places.push(...topicPlaces(config, io.clock.nowMs()))
  if (options.json === true) print(`${JSON.stringify({ run: run.name, userId, found, places })}\n`)
  else for (const { place, outcome, detail } of places) print(`${outcome.padEnd(13)}  ${place}: ${detail}\n`)
  if (!found)
    note(
      `mtmi: nothing of user ${JSON.stringify(userId)} was found in run ${run.name}: is the id right? The request to erase it is in the log all the same`
    )
}

interface Place {
  readonly role: WriterRole
  readonly place: string
  /** @returns whether there was data of the user */
  readonly offline: () => Promise<boolean>
  readonly isGone: () => Promise<boolean>
  /** What `offline` did. */
  readonly done?: string
}

/**
 * Erases in this process where no other has the role; otherwise waits until that process has done it.
 * @param wasThere before the erasure was appended
 */
async function eraseFrom(
  run: RunDirectory,
  { role, place, offline, isGone, done = 'no stage runs: its files were rewritten' }: Place,
  wasThere: boolean
): Promise<ErasedPlace> {
  const lock = run.lockAlone('mtmi erase')
  let worker: string | undefined
  try {
    worker = run.holder(role)
    if (worker === undefined) {
      const found = await offline()
      return { place, outcome: found ? 'erased' : 'nothing there', detail: done }
    }
  } finally {
    lock.release()
  }
  const deadlineMs = performance.now() + waitMaxMs
  while (!(await isGone())) {
    if (performance.now() > deadlineMs)
      throw new UnavailableError(
        `${place}: ${worker} has not reached the erasure within ${waitMaxMs / 1000} s; it erases when it does. Run the command again to check: nothing is done twice`
      )
    await pause(pollMs)
  }
  if (!wasThere) return { place, outcome: 'nothing there', detail: `checked before the request; ${worker} runs` }
  const detail = `by ${worker}. LMDB's free pages keep bytes until they are reused: where that matters, erase again while nothing runs`
  return { place, outcome: 'erased', detail: role === 'train' ? `by ${worker}` : detail }
}

/** Stores of windows: of one process, and those of members of a consumer group. */
interface WindowStores {
  readonly folders: RegExp
  /** Of their files. */
  readonly name: string
}

const histories: WindowStores = { folders: /^sequences$|^sequence-\d+$/, name: 'sequences' }
const published: WindowStores = { folders: new RegExp(`^${usersFolder}(-|$)`), name: 'users' }

function windowFiles(run: RunDirectory, { folders, name }: WindowStores): WindowFile[] {
  const found = readdirSync(run.root, { withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && folders.test(entry.name)
  )
  return found.flatMap((folder) => {
    const directory = run.path(folder.name)
    return readdirSync(directory).flatMap((file) => {
      const partition = new RegExp(`^${name}-(\\d+)\\.lmdb$`).exec(file)?.[1]
      return partition === undefined ? [] : [{ directory, name, partition: Number(partition) }]
    })
  })
}

async function fromWindows(run: RunDirectory, stores: WindowStores, userId: UserId): Promise<boolean> {
  let found = false
  for (const file of windowFiles(run, stores)) {
    const store = await openWindows(file, () => new LmdbWindowStore(file))
    try {
      if (store.has(userId)) {
        found = true
        store.delete(userId)
        await store.save(store.committed(), store.state())
      }
    } finally {
      await store.close()
    }
    await rewriteWindows(file)
  }
  return found
}

async function isOutOfWindows(run: RunDirectory, stores: WindowStores, userId: UserId): Promise<boolean> {
  for (const file of windowFiles(run, stores).map((one) => ({ ...one, readOnly: true }))) {
    const store = await openWindows(file, () => new LmdbWindowStore(file))
    try {
      if (store.has(userId)) return false
    } finally {
      await store.close()
    }
  }
  return true
}

async function fromIndex(config: Config, run: RunDirectory, userId: UserId): Promise<boolean> {
  if (!hasIndex(config, run)) return false
  const found = await readIndex(config, run, async (index) => {
    const user = await index.user(userId)
    await index.erase([userId])
    return user !== undefined
  })
  // A process that serves has the files open, and would keep reading the old ones.
  if (config.index === 'embedded' && run.users().every((user) => user.startsWith('mtmi erase ')))
    await EmbeddedIndex.rewrite(run.path('index'))
  return found
}

async function isOutOfIndex(config: Config, run: RunDirectory, userId: UserId): Promise<boolean> {
  if (!hasIndex(config, run)) return true
  return readIndex(config, run, async (index) => (await index.user(userId)) === undefined)
}

function checkpointsOf(config: Config, run: RunDirectory): CheckpointFiles {
  return new CheckpointFiles({ directory: run.path('checkpoints'), keep: config.train.checkpointKeep })
}

async function fromCheckpoints(config: Config, run: RunDirectory, userId: UserId): Promise<boolean> {
  if (!existsSync(run.path('checkpoints'))) return false
  return (await forgetInCheckpoints(checkpointsOf(config, run), [userId])).rewritten > 0
}

async function isOutOfCheckpoints(config: Config, run: RunDirectory, userId: UserId): Promise<boolean> {
  if (!existsSync(run.path('checkpoints'))) return true
  return (await checkpointsNaming(checkpointsOf(config, run), userId)) === 0
}

/** The report of a start shows the list of one user. */
async function fromReport(run: RunDirectory, userId: UserId): Promise<ErasedPlace> {
  const place = runReport.file
  const file = run.state(runReport)
  const report = file.load()
  if (report?.sample?.userId !== userId)
    return { place, outcome: 'nothing there', detail: 'it shows no list, or that of another user' }
  const { sample: _, ...rest } = report
  file.save(rest)
  const { writeRunPage } = await import('../../src/lab/evaluation/reportFiles.ts') // loads the plots, which nothing else here needs
  writeRunPage(run, rest)
  return { place, outcome: 'erased', detail: 'the list is removed from it and from report.html' }
}

function topicPlaces(config: Config, nowMs: number): ErasedPlace[] {
  const { topics, sources } = config
  const day = (ms: number) => new Date(ms).toISOString().slice(0, 16).replace('T', ' ')
  const kafka = config.log === 'kafka'
  const retention = `retention, by ${day(nowMs + topics.retentionMs)} UTC (topics.retentionMs${kafka ? ', where the topic has what `mtmi topics apply` gives it' : ''})`
  const names = [topics.interactions, deadLetterTopic(topics.interactions, 'mtmi'), lateTopic(topics.interactions)]
  return [
    { place: `topics ${names.join(', ')}`, outcome: 'until', detail: retention },
    {
      place: `topic ${topics.userSequences}`,
      outcome: 'until',
      detail: `compaction, soon after ${day(nowMs + topics.minCompactionLagMs)} UTC (topics.minCompactionLagMs): the sequencer writes the tombstone when it reads the erasure`
    },
    ...sources.map(
      ({ topic }): ErasedPlace => ({
        place: `topics ${topic} and ${deadLetterTopic(topic, 'mtmi')}`,
        outcome: 'left to you',
        detail:
          "the first is its producer's, the second has the retention of its broker: records read from them again come back"
      })
    )
  ]
}

/** Other files that contain the id as a word: unreadable lines of a data set, damaged checkpoints. */
function filesThatName(run: RunDirectory, userId: UserId): ErasedPlace[] {
  const found: ErasedPlace[] = []
  const look = (folder: string, wanted: (name: string) => boolean) => {
    if (!existsSync(folder)) return
    for (const name of readdirSync(folder)) {
      const file = path.join(folder, name)
      if (wanted(name) && holds(readFileSync(file), userId))
        found.push({
          place: file,
          outcome: 'left to you',
          detail: 'it contains the id, of the user or of something else: check it, and remove it'
        })
    }
  }
  look(run.root, (name) => name.endsWith('.jsonl'))
  look(run.path('checkpoints'), (name) => name.includes('.damaged-'))
  return found
}

/** As UTF-8 or UTF-16 (checkpoints); not within a longer word. */
function holds(bytes: Buffer, id: string): boolean {
  const part = /[\p{L}\p{N}_-]/u
  for (const encoding of ['utf8', 'utf16le'] as const) {
    const word = Buffer.from(id, encoding)
    const width = encoding === 'utf8' ? 1 : 2
    for (let at = bytes.indexOf(word); at >= 0; at = bytes.indexOf(word, at + 1)) {
      const before = bytes.toString(encoding, Math.max(0, at - width), at)
      const after = bytes.toString(encoding, at + word.length, at + word.length + width)
      if (encoding === 'utf16le' || (!part.test(before) && !part.test(after))) return true
    }
  }
  return false
}
