// Checkpoints in memory: the twin of CheckpointFiles for tests and for runs that leave nothing behind.

import { ConfigError } from '../../base/errors.ts'
import type { NamedArray } from '../../batch/namedArrays.ts'
import type { Checkpoint, CheckpointStore } from '../../train/checkpoint.ts'
import { jsonOf } from './checkpointJson.ts'

export class CheckpointMemory implements CheckpointStore {
  readonly #keep: number
  readonly #versionKeep: number
  readonly #versions = new Set<number>()
  readonly #checkpoints = new Map<number, Checkpoint>()

  /** @param keep checkpoints kept; ≥ 1 @param versionKeep versions kept beyond them */
  constructor(keep: number, versionKeep = 0) {
    if (!(Number.isInteger(keep) && keep >= 1)) throw new RangeError(`keep must be a whole number above 0, not ${keep}`)
    this.#keep = keep
    this.#versionKeep = versionKeep
  }

  async save(step: number, checkpoint: Checkpoint, as?: 'version'): Promise<void> {
    if (!(Number.isSafeInteger(step) && step >= 0)) throw new RangeError(`a checkpoint's step must be a whole number, not ${step}`)
    this.#checkpoints.set(step, copy(checkpoint))
    if (as === 'version') this.#versions.add(step)
    else this.#versions.delete(step)
    // Without awaiting: saves that overlap are made one after the other.
    const steps = this.#steps()
    const earlier = steps.filter((other) => other <= step)
    const versions = earlier.filter((other) => this.#versions.has(other))
    versions.splice(0, Math.max(0, versions.length - this.#versionKeep))
    const kept = new Set([...earlier.slice(-this.#keep), ...versions])
    for (const other of steps) {
      if (!versions.includes(other)) this.#versions.delete(other)
      if (!kept.has(other)) this.#checkpoints.delete(other)
    }
  }

  async versions(): Promise<number[]> {
    return [...this.#versions].sort((a, b) => a - b)
  }

  async latest(): Promise<{ step: number; checkpoint: Checkpoint; skipped: readonly string[] } | undefined> {
    const step = (await this.steps()).at(-1)
    return step === undefined ? undefined : { step, checkpoint: await this.load(step), skipped: [] }
  }

  async load(step: number): Promise<Checkpoint> {
    const checkpoint = this.#checkpoints.get(step)
    if (checkpoint !== undefined) return copy(checkpoint)
    throw new ConfigError([`there is no checkpoint of step ${step} in memory; there are: ${(await this.steps()).join(', ') || 'none'}`])
  }

  async replace(step: number, checkpoint: Checkpoint): Promise<void> {
    await this.load(step)
    this.#checkpoints.set(step, copy(checkpoint))
  }

  async steps(): Promise<number[]> {
    return this.#steps()
  }

  #steps(): number[] {
    return [...this.#checkpoints.keys()].sort((a, b) => a - b)
  }
}

/** Through JSON, as a file would. */
function copy(checkpoint: Checkpoint): Checkpoint {
  return {
    header: JSON.parse(jsonOf(checkpoint.header)) as Record<string, unknown>,
    arrays: new Map([...checkpoint.arrays].map(([name, array]): [string, NamedArray] => [name, array.slice()]))
  }
}
