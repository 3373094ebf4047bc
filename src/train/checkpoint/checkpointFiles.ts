// Checkpoints as files: one file each, complete under its name or absent. The format: checkpointFile.ts.

import { randomUUID } from 'node:crypto'
import { mkdirSync, statSync } from 'node:fs'
import { open, readdir, rename, rm, unlink } from 'node:fs/promises'
import path from 'node:path'
import { ConfigError, CorruptError, MtmiError, UnavailableError } from '../../core/errors.ts'
import { Turns } from '../../core/promises.ts'
import type { Checkpoint, CheckpointPart, CheckpointStore, SaveOptions } from '../../model/replica/checkpoint.ts'
import { type CheckpointHead, partsOfFile, readHead, verifyFile, writeFile } from './checkpointFile.ts'

interface CheckpointFilesOptions {
  /** Created if it is missing. One process writes into it at a time. */
  readonly directory: string
  /** Intact checkpoints kept; ≥ 1. */
  readonly keep: number
  /** Intact versions kept; ≥ 0, default 0. */
  readonly versionKeep?: number
}

type FileHead = Omit<CheckpointHead, 'header'>

/**
 * CheckpointStore on a directory: `checkpoint-<step>.mtmi`. A save writes under another name, syncs, renames and syncs
 * the directory: killed at any moment it leaves the earlier files unchanged. A version has an empty file
 * `checkpoint-<step>.version` beside it. A damaged file is never deleted or overwritten: a save of the same step first
 * renames it to `….damaged-<n>`.
 *
 * An incremental file names its base by an id, which a file keeps when a user is erased from it. If a file is damaged
 * or missing, so are those that build on it, and the one before is used.
 */
export class CheckpointFiles implements CheckpointStore {
  readonly #directory: string
  readonly #keep: number
  readonly #versionKeep: number
  /** Heads, without headers, of files that this object wrote or verified. */
  readonly #intact = new Map<string, FileHead>()
  /** Saves are made one after the other. */
  readonly #turns = new Turns()

  /** @throws UnavailableError if the directory cannot be created */
  constructor(options: CheckpointFilesOptions) {
    checkKeep(options.keep)
    this.#directory = options.directory
    this.#keep = options.keep
    this.#versionKeep = options.versionKeep ?? 0
    try {
      mkdirSync(options.directory, { recursive: true })
    } catch (cause) {
      throw new UnavailableError(`checkpoints: directory ${options.directory} cannot be created: ${reasonOf(cause)}`, {
        cause
      })
    }
  }

  /** @throws UnavailableError if it cannot be written (disk full, no permission); the earlier ones are unchanged */
  save(step: number, checkpoint: Checkpoint, options: SaveOptions = {}): Promise<{ bytes: number; oldest: number }> {
    return this.#turns.run(() => this.#save(step, checkpoint, options))
  }

  rewrite(
    names: readonly string[],
    change: (part: CheckpointPart) => CheckpointPart,
    look = false
  ): Promise<{ rewritten: number; damaged: string[] }> {
    return this.#turns.run(async () => {
      const damaged: string[] = []
      let rewritten = 0
      for (const step of await this.steps()) {
        const file = this.#file(step)
        try {
          const head = await this.#check(step)
          if (!some(partsOfFile(file, head, names), (part) => change(part) !== part)) continue
          rewritten++
          if (look) continue
          const parts = map(partsOfFile(file, head), (part) => (names.includes(part.name) ? change(part) : part))
          await this.#put(step, { ...head, header: (await readHead(file)).header }, parts)
        } catch (error) {
          if (!(error instanceof CorruptError)) throw error
          damaged.push(error.message)
        }
      }
      return { rewritten, damaged }
    })
  }

  async latest(): Promise<{ step: number; checkpoint: Checkpoint; skipped: readonly string[] } | undefined> {
    const skipped: string[] = []
    for (const step of (await this.steps()).reverse()) {
      try {
        return { step, checkpoint: await this.load(step), skipped }
      } catch (error) {
        if (!(error instanceof CorruptError)) throw error
        skipped.push(error.message)
      }
    }
    if (skipped.length === 0) return undefined
    throw new CorruptError(
      `checkpoints: none of the ${skipped.length} in ${this.#directory} is intact; restore one from a backup, or move them away to start from scratch:\n  - ${skipped.join('\n  - ')}`
    )
  }

  /** @throws CorruptError if it, or what it builds on, is damaged @throws ConfigError if there is none of that step */
  async load(step: number): Promise<Checkpoint> {
    const chain = await this.#chain(step)
    const parts = function* (): Iterator<CheckpointPart> {
      for (const { file, head } of chain) yield* partsOfFile(file, head)
    }
    return { header: (await readHead(this.#file(step))).header, parts: { [Symbol.iterator]: parts } }
  }

  /** Of all files named like a checkpoint, damaged ones included; ascending. */
  async steps(): Promise<number[]> {
    const names = await this.#names()
    return names
      .map((name) => /^checkpoint-(\d{12,})\.mtmi$/.exec(name)?.[1])
      .filter((digits) => digits !== undefined)
      .map(Number)
      .sort((a, b) => a - b)
  }

  async versions(): Promise<number[]> {
    const names = new Set(await this.#names())
    return (await this.steps()).filter((step) => names.has(path.basename(this.#versionFile(step))))
  }

  /**
   * Header and size, without the parts and unverified: for lists of checkpoints. @throws CorruptError, UnavailableError
   * as `load`
   */
  async describe(step: number): Promise<{ header: Checkpoint['header']; bytes: number; since: number | undefined }> {
    const file = this.#file(step)
    try {
      const { header, bytes, base } = await readHead(file)
      return { header, bytes, since: base?.step }
    } catch (cause) {
      throw cause instanceof MtmiError
        ? cause
        : new UnavailableError(`checkpoint ${file} cannot be opened: ${reasonOf(cause)}`, { cause })
    }
  }

  /** The whole one first, then the incremental ones, to the step. */
  async #chain(step: number): Promise<{ file: string; head: FileHead }[]> {
    const chain: { file: string; head: FileHead }[] = []
    for (let at = step; ; ) {
      const file = this.#file(at)
      const head = await this.#check(at).catch((error: unknown) => {
        if (at === step) throw error
        const { message } = error as Error
        if (error instanceof CorruptError || error instanceof ConfigError)
          throw new CorruptError(`checkpoint ${this.#file(step)} builds on another that cannot be used: ${message}`)
        throw error
      })
      const above = chain[0]
      if (above !== undefined && above.head.base?.id !== head.id)
        throw new CorruptError(
          `checkpoint ${above.file}: it builds on another checkpoint of step ${at} than the one that is there`
        )
      chain.unshift({ file, head })
      if (head.base === undefined) return chain
      if (!(head.base.step < at))
        throw new CorruptError(`checkpoint ${file}: it builds on step ${head.base.step}, which is not before it`)
      at = head.base.step
    }
  }

  /** @throws CorruptError if the file itself is damaged @throws ConfigError if there is none */
  async #check(step: number): Promise<FileHead> {
    const file = this.#file(step)
    const known = this.#intact.get(file)
    try {
      // Another process may have rewritten or deleted it, which its size and time show. Synchronously: there are many
      // files, and a training step between two turns of the event loop.
      if (known !== undefined) {
        const { size, mtimeMs } = statSync(file)
        if (size === known.bytes && mtimeMs === known.changedMs) return known
      }
      const { header: _, ...head } = await verifyFile(file, step)
      this.#intact.set(file, head)
      return head
    } catch (error) {
      this.#intact.delete(file)
      if (codeOf(error) === 'ENOENT') {
        const steps = await this.steps()
        throw new ConfigError([
          `there is no checkpoint of step ${step} in ${this.#directory}; there are: ${steps.join(', ') || 'none'}`
        ])
      }
      throw error instanceof MtmiError
        ? error
        : new UnavailableError(`checkpoint ${file} cannot be read: ${reasonOf(error)}`, { cause: error })
    }
  }

  async #save(
    step: number,
    checkpoint: Checkpoint,
    { version = false, pruneLater = false, since }: SaveOptions
  ): Promise<{ bytes: number; oldest: number }> {
    checkSave(step, { version, since })
    const base = since === undefined ? undefined : { step: since, id: (await this.#check(since)).id }
    const bytes = await this.#put(
      step,
      { id: randomUUID(), base, header: checkpoint.header },
      checkpoint.parts,
      version
    )
    return { bytes, oldest: pruneLater ? 0 : await this.#prune(step) }
  }

  /** @param asVersion undefined: as it is @returns how many bytes were written */
  async #put(
    step: number,
    head: Pick<CheckpointHead, 'id' | 'base' | 'header'>,
    parts: Iterable<CheckpointPart>,
    asVersion?: boolean
  ): Promise<number> {
    const file = this.#file(step)
    const temporary = `${file}.tmp`
    try {
      const start = await writeFile(temporary, { step, ...head }, parts)
      await this.#moveDamaged(step)
      await rename(temporary, file)
      if (asVersion === true) await (await open(this.#versionFile(step), 'w')).close()
      else if (asVersion === false) await rm(this.#versionFile(step), { force: true })
      await syncDirectory(this.#directory)
      const { size, mtimeMs } = statSync(file)
      const { id, base } = head
      this.#intact.set(file, { step, id, base, start, bytes: size, changedMs: mtimeMs })
      return size
    } catch (cause) {
      await rm(temporary, { force: true }).catch(() => undefined) // the fault that is thrown below says more
      if (cause instanceof MtmiError || cause instanceof TypeError || cause instanceof RangeError) throw cause
      throw new UnavailableError(`checkpoint ${file} cannot be written: ${reasonOf(cause)}`, { cause })
    }
  }

  async #moveDamaged(step: number): Promise<void> {
    const file = this.#file(step)
    const names = new Set(await this.#names())
    // Verified again, whatever is known of it: it is about to be replaced.
    this.#intact.delete(file)
    if (!names.has(path.basename(file)) || (await this.#undamaged(step)) !== undefined) return
    let n = 1
    while (names.has(`${path.basename(file)}.damaged-${n}`)) n++
    await rename(file, `${file}.damaged-${n}`)
  }

  /**
   * Deletes all intact ones except those to keep, and what killed saves left. Only verified files are counted and
   * deleted, so a file of an earlier process is read once first. Steps above the one just saved remain from a run that
   * went back: `latest` must be this one.
   *
   * @returns the oldest that is not kept as a version alone
   */
  async #prune(saved: number): Promise<number> {
    try {
      const versions = new Set(await this.versions())
      let kept = 0
      let keptVersions = 0
      let oldest = saved
      for (const step of (await this.steps()).reverse()) {
        const head = await this.#undamaged(step)
        if (head === undefined) continue
        const isWhole = head.base === undefined
        const isVersion = versions.has(step) && step <= saved && ++keptVersions <= this.#versionKeep
        if (versions.has(step) && !isVersion) await unlink(this.#versionFile(step))
        const isRecent = step <= saved && kept < this.#keep
        if (isRecent) oldest = step
        if (isRecent && isWhole) kept++
        if (isRecent || isVersion) continue
        await unlink(this.#file(step))
        this.#intact.delete(this.#file(step))
      }
      for (const name of await this.#names())
        if (name.endsWith('.mtmi.tmp')) await unlink(path.join(this.#directory, name))
      return oldest
    } catch (cause) {
      throw new UnavailableError(
        `checkpoints in ${this.#directory}: older ones cannot be deleted: ${reasonOf(cause)}`,
        { cause }
      )
    }
  }

  /** undefined: it is damaged. */
  async #undamaged(step: number): Promise<FileHead | undefined> {
    try {
      return await this.#check(step)
    } catch (error) {
      if (error instanceof CorruptError) return undefined
      throw error
    }
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.#directory)
    } catch (cause) {
      throw new UnavailableError(`checkpoints: directory ${this.#directory} cannot be read: ${reasonOf(cause)}`, {
        cause
      })
    }
  }

  #file(step: number): string {
    return path.join(this.#directory, `checkpoint-${String(step).padStart(12, '0')}.mtmi`)
  }

  #versionFile(step: number): string {
    return path.join(this.#directory, `checkpoint-${String(step).padStart(12, '0')}.version`)
  }
}

/** @throws RangeError for a number of checkpoints that no store can keep */
export function checkKeep(keep: number): void {
  if (!(Number.isInteger(keep) && keep >= 1)) throw new RangeError(`keep must be a whole number above 0, not ${keep}`)
}

/** @throws RangeError for a step that is none, and for changes since a later step, or kept as a version */
export function checkSave(step: number, { version, since }: { version: boolean; since: number | undefined }): void {
  if (!(Number.isSafeInteger(step) && step >= 0))
    throw new RangeError(`a checkpoint's step must be a whole number, not ${step}`)
  if (since !== undefined && (version || !(since < step)))
    throw new RangeError(
      `the checkpoint of step ${step} cannot be one of changes since step ${since}${version ? ' and a version' : ''}`
    )
}

function some<T>(values: Iterable<T>, is: (value: T) => boolean): boolean {
  for (const value of values) if (is(value)) return true
  return false
}

function* map<T>(values: Iterable<T>, of: (value: T) => T): Iterable<T> {
  for (const value of values) yield of(value)
}

/** A rename is durable once its directory is. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
