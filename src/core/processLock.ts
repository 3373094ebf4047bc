// A lock file that names its holder, so that one left by a dead process is recognised at once. Why not a library:
// decision 0049.
//
// Node has no flock(2). The file has process id and start time (ids are reused: in a container the first process is
// always 1) and host. A holder on another host cannot be looked up; it is taken to be dead when it has not touched its
// file for `silentMaxMs`, so a network volume whose machine died is usable again after that.

import {
  constants,
  copyFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setInterval } from 'node:timers'
import type { Clock } from './clock.ts'

/** Who holds a lock. */
export interface LockHolder {
  readonly pid: number
  /** When the process started, in the kernel's ticks since boot; null where that cannot be read. */
  readonly started: string | null
  readonly host: string
  /** What it is doing, `mtmi start`. */
  readonly what: string
  /** Unix milliseconds. */
  readonly sinceMs: number
}

export interface ProcessLock {
  /** Idempotent. */
  release(): void
}

const touchIntervalMs = 5000
/** Six touches missed: a machine that paused for a moment keeps its lock. */
export const silentMaxMs = 30_000
/** Each lost attempt means that another process took or removed the file. */
const attemptsMax = 10

/** @returns the lock, or its present holder. A file left by a dead process is taken over. */
export function takeProcessLock(file: string, what: string, clock: Clock): ProcessLock | LockHolder {
  mkdirSync(path.dirname(file), { recursive: true })
  const mine: LockHolder = {
    pid: process.pid,
    started: startTime(process.pid),
    host: os.hostname(),
    what,
    sinceMs: clock.nowMs()
  }
  const own = `${file}.${process.pid}.tmp`
  writeFileSync(own, `${JSON.stringify(mine)}\n`)
  try {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      // A link appears whole, with its content, or not at all.
      if (link(own, file)) return held(file, mine, clock)
      const holder = liveHolder(file, clock)
      if (holder !== undefined) return holder
      removeStale(file, clock)
    }
  } finally {
    rmSync(own, { force: true })
  }
  throw new Error(`lock ${file} changed hands ${attemptsMax} times while it was being taken`)
}

export function isLock(result: ProcessLock | LockHolder): result is ProcessLock {
  return 'release' in result
}

/** Holders of the locks in `folder`, as far as they are alive. @param isWanted by name of the lock, without `.lock` */
export function lockHolders(
  folder: string,
  clock: Clock,
  isWanted: (name: string) => boolean = () => true
): LockHolder[] {
  return listed(folder)
    .filter((name) => name.endsWith('.lock') && isWanted(name.slice(0, -'.lock'.length)))
    .map((name) => liveHolder(path.join(folder, name), clock))
    .filter((holder) => holder !== undefined)
}

/** `mtmi start (process 123, since 2024-05-01T12:00:00.000Z)` */
export function describeHolder({ pid, host, what, sinceMs }: LockHolder): string {
  const where = host === os.hostname() ? '' : ` on ${host}`
  return `${what} (process ${pid}${where}, since ${new Date(sinceMs).toISOString()})`
}

function held(file: string, mine: LockHolder, clock: Clock): ProcessLock {
  const touching = setInterval(() => touch(file, clock), touchIntervalMs)
  touching.unref()
  const release = () => {
    clearInterval(touching)
    process.off('exit', release)
    const holder = readHolder(file)
    if (holder !== undefined && isSame(holder, mine)) rmSync(file, { force: true })
  }
  process.on('exit', release)
  return { release }
}

function touch(file: string, clock: Clock): void {
  try {
    const seconds = clock.nowMs() / 1000
    utimesSync(file, seconds, seconds)
  } catch {
    // The folder was removed, or the disk does not answer: writing the state will report it.
  }
}

function link(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'ENOSYS') return copy(from, to)
    throw error
  }
}

/** For file systems without links. A reader that sees it half written takes it for stale; a link is exact. */
function copy(from: string, to: string): boolean {
  try {
    copyFileSync(from, to, constants.COPYFILE_EXCL)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Renames the file before removing it: of two processes that found it stale one gets it, and checks what it got. */
function removeStale(file: string, clock: Clock): void {
  const aside = `${file}.${process.pid}.stale`
  try {
    renameSync(file, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if (liveHolder(aside, clock) !== undefined) link(aside, file)
  rmSync(aside, { force: true })
}

function liveHolder(file: string, clock: Clock): LockHolder | undefined {
  const holder = readHolder(file)
  if (holder === undefined) return undefined
  if (holder.host !== os.hostname()) return clock.nowMs() - touchedMs(file) < silentMaxMs ? holder : undefined
  if (!isAlive(holder.pid)) return undefined
  const started = startTime(holder.pid)
  return holder.started === null || started === null || holder.started === started ? holder : undefined
}

/** undefined: removed, or not a lock file. */
function readHolder(file: string): LockHolder | undefined {
  try {
    const holder = JSON.parse(readFileSync(file, 'utf8')) as Partial<LockHolder> | null
    return typeof holder?.pid === 'number' && typeof holder.host === 'string' ? (holder as LockHolder) : undefined
  } catch {
    return undefined // removed meanwhile, or cut short: no holder
  }
}

function touchedMs(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0
}

function listed(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

function isSame(a: LockHolder, b: LockHolder): boolean {
  return a.pid === b.pid && a.host === b.host && a.started === b.started && a.sinceMs === b.sinceMs
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' // of another user
  }
}

/** Field 22 of /proc/<pid>/stat; the name before it may hold spaces and brackets. */
function startTime(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null
  } catch {
    return null // no /proc on this system, or the process has ended
  }
}
