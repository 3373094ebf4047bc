// Where a run keeps its files, and who uses it now.

import path from 'node:path'
import { systemClock } from './clock.ts'
import { UnavailableError } from './errors.ts'
import { makeFolder } from './files.ts'
import { describeHolder, isLock, lockHolders, type ProcessLock, takeProcessLock } from './processLock.ts'
import { openStateFile, type StateFile, type StateKind, z } from './stateFile.ts'

/** The stages that write state: one process each at a time. */
export type WriterRole = 'ingest' | 'sequence' | 'train' | 'publish' | 'serve' | 'replay' | 'control'

export const writerRoles: readonly WriterRole[] = ['sequence', 'train', 'publish']

const aloneName = 'alone'

/** Processes of one role on one machine's folder: far more than it has cores. */
const placesMax = 256

/** What a run was begun from: one of `simulation`, `data` and `configFile`. Written once, when it begins. */
export interface RunOrigin {
  readonly simulation?: Readonly<Record<string, unknown>>
  /** Absolute path of a data set; beside it how it is read. */
  readonly data?: string
  readonly format?: unknown
  readonly columns?: unknown
  readonly items?: unknown
  readonly itemColumns?: unknown
  readonly filters?: unknown
  readonly seed?: number
  /** Of separate stages: the absolute path of their configuration; null: there is none. */
  readonly configFile?: string | null
}

const runOrigin: StateKind<RunOrigin> = {
  file: 'source.json',
  version: 1,
  schema: z.record(z.string(), z.unknown()),
  removed: 'the next start takes its data to be those of the run, whatever they are'
}

/** Where one run keeps everything: `<dataDir>/<run>`. Runs on different data never share state. */
export class RunDirectory {
  readonly root: string
  readonly name: string

  constructor(dataDir: string, name: string) {
    this.name = name
    this.root = path.resolve(dataDir, name)
  }

  /** What it was begun from; undefined: no start has completed. */
  origin(): RunOrigin | undefined {
    return this.state(runOrigin).load()
  }

  /**
   * Records what the run was created from. A run keeps its first origin, except that the first configuration file takes
   * over a run that was created without one: it is written after some records were tried.
   */
  make(origin: RunOrigin): this {
    makeFolder(this.root)
    const before = this.origin()
    if (before === undefined || (before.configFile === null && typeof origin.configFile === 'string'))
      this.state(runOrigin).save(origin)
    return this
  }

  /**
   * Makes this process the only one with these roles in the run, until it releases them or ends. Without a role it only
   * says that it is here: any number of processes may, but `reset` waits for them.
   *
   * @param what `mtmi start`, for those who are refused
   * @throws UnavailableError if another process has one of the roles
   */
  lock(what: string, roles: readonly WriterRole[]): ProcessLock {
    makeFolder(this.path('locks'))
    const taken: ProcessLock[] = []
    const release = () => {
      for (const lock of taken.splice(0)) lock.release()
    }
    for (const name of roles.length === 0 ? [`process-${process.pid}`] : roles) {
      const result = takeProcessLock(this.path('locks', `${name}.lock`), what, systemClock)
      if (isLock(result)) {
        taken.push(result)
        this.#refuseWhileAlone(what, release)
      } else {
        release()
        throw new UnavailableError(
          `${what} cannot use ${this.root}: ${describeHolder(result)} is using it. End that first, or choose another --data-dir`
        )
      }
    }
    return { release }
  }

  /**
   * For a role that several processes share: takes the first place in the run that is free.
   * What the process keeps there (`path('sequence-2')`) is its own; the next process that takes the place finds it again.
   */
  lockPlace(what: string, role: WriterRole): ProcessLock & { readonly place: string } {
    makeFolder(this.path('locks'))
    for (let number = 0; number < placesMax; number++) {
      const place = `${role}-${number}`
      const result = takeProcessLock(this.path('locks', `${place}.lock`), what, systemClock)
      if (!isLock(result)) continue
      this.#refuseWhileAlone(what, () => result.release())
      return { place, release: () => result.release() }
    }
    throw new UnavailableError(
      `${what} cannot use ${this.root}: ${placesMax} processes do so already. Choose another --data-dir`
    )
  }

  /**
   * For replacing files: no other process begins to use the run meanwhile, and `users` lists those that use it already.
   * Each side first takes its lock and then looks for the other's, so at least one of them sees the other.
   */
  lockAlone(what: string): ProcessLock {
    makeFolder(this.path('locks'))
    const result = takeProcessLock(this.path('locks', `${aloneName}.lock`), what, systemClock)
    if (isLock(result)) return result
    throw new UnavailableError(
      `${what} cannot use ${this.root}: ${describeHolder(result)} is changing its files. Try again in a moment`
    )
  }

  #refuseWhileAlone(what: string, release: () => void): void {
    const [alone] = lockHolders(this.path('locks'), systemClock, (name) => name === aloneName)
    if (alone === undefined || alone.pid === process.pid) return
    release()
    throw new UnavailableError(
      `${what} cannot use ${this.root}: ${describeHolder(alone)} is changing its files. Try again in a moment`
    )
  }

  /** Who works in this role, in words; one of them, where they share it. */
  holder(role: WriterRole): string | undefined {
    const [holder] = lockHolders(
      this.path('locks'),
      systemClock,
      (name) => name === role || name.replace(/-\d+$/, '') === role
    )
    return holder === undefined ? undefined : describeHolder(holder)
  }

  /** Every process that uses the run now, in words. */
  users(): string[] {
    const byProcess = new Map(
      lockHolders(this.path('locks'), systemClock).map((holder) => [`${holder.host} ${holder.pid}`, holder])
    )
    return [...byProcess.values()].map(describeHolder)
  }

  path(...parts: string[]): string {
    return path.join(this.root, ...parts)
  }

  /** @param file of this kind, where there may be several: `published-publish-1.json` */
  state<T>(kind: StateKind<T>, file = kind.file): StateFile<T> {
    return openStateFile(this.path(file), kind)
  }
}
