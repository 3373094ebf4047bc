// Checkpoints in memory: the twin of CheckpointFiles for tests and for runs that leave nothing behind.

import { ConfigError } from '../../src/core/errors.ts'
import type { NamedArray } from '../../src/core/namedArrays.ts'
import { handledLater } from '../../src/core/promises.ts'
import type { Checkpoint, CheckpointPart, CheckpointStore, SaveOptions } from '../../src/model/replica/checkpoint.ts'
import { jsonOf } from '../../src/train/checkpoint/checkpointFile.ts'
import { checkKeep, checkSave } from '../../src/train/checkpoint/checkpointFiles.ts'

interface Kept {
  readonly header: Checkpoint['header']
  readonly parts: readonly CheckpointPart[]
  readonly since: number | undefined
}

export class CheckpointMemory implements CheckpointStore {
  readonly #keep: number
  readonly #versionKeep: number
  readonly #versions = new Set<number>()
  readonly #checkpoints = new Map<number, Kept>()
  #saving: Promise<unknown> = Promise.resolve()

  /** @param keep whole checkpoints kept; ≥ 1 @param versionKeep versions kept beyond them */
  constructor(keep: number, versionKeep = 0) {
    checkKeep(keep)
    this.#keep = keep
    this.#versionKeep = versionKeep
  }

  save(step: number, checkpoint: Checkpoint, options: SaveOptions = {}): Promise<{ bytes: number; oldest: number }> {
    const saved = handledLater(this.#saving.then(() => this.#save(step, checkpoint, options)))
    this.#saving = saved.catch(() => undefined) // the caller of this turn gets the error
    return saved
  }

  async #save(
    step: number,
    checkpoint: Checkpoint,
    { version = false, pruneLater = false, since }: SaveOptions
  ): Promise<{ bytes: number; oldest: number }> {
    checkSave(step, { version, since })
    if (since !== undefined && !this.#checkpoints.has(since))
      throw new RangeError(`the checkpoint of step ${step} cannot be one of changes since step ${since}: there is none`)
    // Through JSON, as a file would.
    const header = JSON.parse(jsonOf(checkpoint.header)) as Record<string, unknown>
    const parts: CheckpointPart[] = []
    let bytes = 0
    for (const part of checkpoint.parts) {
      parts.push(copy(part))
      for (const array of part.arrays.values()) bytes += array.byteLength
    }
    this.#checkpoints.set(step, { header, parts, since })
    if (version) this.#versions.add(step)
    else this.#versions.delete(step)
    return { bytes, oldest: pruneLater ? 0 : this.#prune(step) }
  }

  async versions(): Promise<number[]> {
    return [...this.#versions].sort((a, b) => a - b)
  }

  async latest(): Promise<{ step: number; checkpoint: Checkpoint; skipped: readonly string[] } | undefined> {
    const step = (await this.steps()).at(-1)
    return step === undefined ? undefined : { step, checkpoint: await this.load(step), skipped: [] }
  }

  async load(step: number): Promise<Checkpoint> {
    const chain: Kept[] = []
    for (let at: number | undefined = step; at !== undefined; at = chain[0]!.since) {
      const kept = this.#checkpoints.get(at)
      if (kept === undefined)
        throw new ConfigError([
          `there is no checkpoint of step ${at} in memory; there are: ${this.#steps().join(', ') || 'none'}`
        ])
      chain.unshift(kept)
    }
    return { header: chain.at(-1)!.header, parts: chain.flatMap(({ parts }) => parts.map(copy)) }
  }

  async rewrite(
    names: readonly string[],
    change: (part: CheckpointPart) => CheckpointPart,
    look = false
  ): Promise<{ rewritten: number; damaged: string[] }> {
    await this.#saving
    let rewritten = 0
    for (const [step, kept] of this.#checkpoints) {
      const parts = kept.parts.map((part) => (names.includes(part.name) ? change(part) : part))
      if (parts.every((part, i) => part === kept.parts[i])) continue
      rewritten++
      if (!look) this.#checkpoints.set(step, { ...kept, parts })
    }
    return { rewritten, damaged: [] }
  }

  async steps(): Promise<number[]> {
    return this.#steps()
  }

  /** @returns the oldest that is not kept as a version alone */
  #prune(saved: number): number {
    let kept = 0
    let keptVersions = 0
    let oldest = saved
    for (const step of this.#steps().reverse()) {
      const isVersion = this.#versions.has(step) && step <= saved && ++keptVersions <= this.#versionKeep
      if (!isVersion) this.#versions.delete(step)
      const isRecent = step <= saved && kept < this.#keep
      if (isRecent) oldest = step
      if (isRecent && this.#checkpoints.get(step)!.since === undefined) kept++
      if (!isRecent && !isVersion) this.#checkpoints.delete(step)
    }
    return oldest
  }

  #steps(): number[] {
    return [...this.#checkpoints.keys()].sort((a, b) => a - b)
  }
}

function copy({ name, arrays }: CheckpointPart): CheckpointPart {
  return { name, arrays: new Map([...arrays].map(([key, array]): [string, NamedArray] => [key, array.slice()])) }
}
