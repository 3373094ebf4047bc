// `mtmi erase --user ID`: the event that says so, and everything on this machine that the stages which would hear of it
// do not reach, because they do not run.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Config } from '../../src/core/config/config.ts'
import { UnavailableError } from '../../src/core/errors.ts'
import type { RunDirectory, WriterRole } from '../../src/core/runDirectory.ts'
import { note, print } from '../../src/core/terminal.ts'
import { EmbeddedIndex } from '../../src/index/embedded/embeddedIndex.ts'
import { checkId } from '../../src/index/vectorIndex.ts'
import { runReport } from '../../src/lab/evaluation/textReport.ts'
import { deadLetterTopic } from '../../src/log/deadLetter.ts'
import { erasureEvent } from '../../src/log/erasure.ts'
import type { UserId } from '../../src/records/interaction.ts'
import { LmdbSequenceStore } from '../../src/sequence/lmdbSequenceStore.ts'
import { lateTopic } from '../../src/sequence/sequenceStage.ts'
import { CheckpointFiles } from '../../src/train/checkpoint/checkpointFiles.ts'
import { checkpointsNaming, forgetInCheckpoints } from '../../src/train/forgetUser.ts'
import { openIndexToRead, openStageIo } from '../parts.ts'
import { runToChange } from '../runs.ts'

/**
 * How long stages that run may take to come to the event: a trainer finishes its batch and writes its checkpoints anew.
 */
const waitMaxMs = 60_000
const pollMs = 250

/** One place where the user was, or may be. */
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
      offline: () => fromSequences(run, userId),
      isGone: () => isOutOfSequences(run, userId)
    },
    {
      role: 'publish',
      place: `index (${config.index === 'qdrant' ? 'Qdrant' : 'index/'}), all index versions`,
      offline: () => fromIndex(config, run, userId),
      isGone: () => isOutOfIndex(config, run, userId),
      ...(config.index === 'qdrant'
        ? { done: 'nobody publishes: the server was told itself, for every index version' }
        : {})
    },
    {
      role: 'train',
      place: 'examples kept for replay (checkpoints/)',
      offline: () => fromCheckpoints(config, run, userId),
      isGone: () => isOutOfCheckpoints(config, run, userId)
    }
  ]
  try {
    // Before the event: afterwards a stage that runs may have erased what was there.
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
  /** @returns whether something was there */
  readonly offline: () => Promise<boolean>
  readonly isGone: () => Promise<boolean>
  /** What `offline` did. */
  readonly done?: string
}

/**
 * By this process where no other has the role; otherwise waits until that one has done it. @param wasThere before the
 * event was appended
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
        `${place}: ${worker} has not come to the event within ${waitMaxMs / 1000} s; it will erase when it does. Ask again to see: nothing is done twice`
      )
    await pause(pollMs)
  }
  if (!wasThere) return { place, outcome: 'nothing there', detail: `looked at before the request; ${worker} runs` }
  const detail = `by ${worker}. LMDB's free pages keep bytes until they are used again: where that matters, erase once more while nothing runs`
  return { place, outcome: 'erased', detail: role === 'train' ? `by ${worker}` : detail }
}

/** Every folder of histories: `sequences`, and those of members of a group. */
function sequenceFolders(run: RunDirectory): { folder: string; partition: number }[] {
  const folders = readdirSync(run.root, { withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && /^sequences$|^sequence-\d+$/.test(entry.name)
  )
  return folders.flatMap(({ name }) =>
    readdirSync(run.path(name)).flatMap((file) => {
      const partition = /^sequences-(\d+)\.lmdb$/.exec(file)?.[1]
      return partition === undefined ? [] : [{ folder: run.path(name), partition: Number(partition) }]
    })
  )
}

async function fromSequences(run: RunDirectory, userId: UserId): Promise<boolean> {
  let found = false
  for (const { folder, partition } of sequenceFolders(run)) {
    const store = await LmdbSequenceStore.open(folder, partition)
    try {
      if (store.get(userId) !== undefined) {
        found = true
        store.delete(userId)
        await store.commit(store.committed(), store.watermarkMs())
      }
    } finally {
      await store.close()
    }
    await LmdbSequenceStore.rewrite(folder, partition)
  }
  return found
}

async function isOutOfSequences(run: RunDirectory, userId: UserId): Promise<boolean> {
  for (const { folder, partition } of sequenceFolders(run)) {
    const store = await LmdbSequenceStore.open(folder, partition, { readOnly: true })
    try {
      if (store.get(userId) !== undefined) return false
    } finally {
      await store.close()
    }
  }
  return true
}

/** A server's is asked in any case. */
function hasIndex(config: Config, run: RunDirectory): boolean {
  return config.index === 'qdrant' || existsSync(run.path('index'))
}

async function fromIndex(config: Config, run: RunDirectory, userId: UserId): Promise<boolean> {
  if (!hasIndex(config, run)) return false
  const index = await openIndexToRead(config, run)
  let found: boolean
  try {
    found = (await index.user(userId)) !== undefined
    await index.erase([userId])
  } finally {
    await index.close()
  }
  // A process that serves has the files open, and would go on with the old ones.
  if (config.index === 'embedded' && run.users().every((user) => user.startsWith('mtmi erase ')))
    await EmbeddedIndex.rewrite(run.path('index'))
  return found
}

async function isOutOfIndex(config: Config, run: RunDirectory, userId: UserId): Promise<boolean> {
  if (!hasIndex(config, run)) return true
  const index = await openIndexToRead(config, run)
  try {
    return (await index.user(userId)) === undefined
  } finally {
    await index.close()
  }
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
    return { place, outcome: 'nothing there', detail: 'it shows the list of nobody, or of another user' }
  const { sample: _, ...rest } = report
  file.save(rest)
  const { writeRunPage } = await import('../../src/lab/evaluation/runPage.ts') // draws, and so is loaded only where it is needed
  writeRunPage(run, rest)
  return { place, outcome: 'erased', detail: 'the list that it and report.html showed is taken out' }
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
      detail: `compaction, soon after ${day(nowMs + topics.minCompactionLagMs)} UTC (topics.minCompactionLagMs): the tombstone is written when the sequencer comes to the event`
    },
    ...sources.map(
      ({ topic }): ErasedPlace => ({
        place: `topics ${topic} and ${deadLetterTopic(topic, 'mtmi')}`,
        outcome: 'left to you',
        detail:
          'the first belongs to whoever writes it, the second has the retention of its broker: what is read from them again comes back'
      })
    )
  ]
}

/**
 * Files of other kinds that hold the id as a word: lines of a data set that could not be used, damaged checkpoints.
 * Nobody but you can tell what else is in them.
 */
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
          detail: 'it names the user, or something of the same name: look, and remove it'
        })
    }
  }
  look(run.root, (name) => name.endsWith('.jsonl'))
  look(run.path('checkpoints'), (name) => name.includes('.damaged-'))
  return found
}

/** As UTF-8 or, as checkpoints have it, UTF-16; not as a part of a longer word. */
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
