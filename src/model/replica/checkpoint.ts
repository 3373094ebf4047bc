// A checkpoint is one JSON-able header and a row of parts, each a few named arrays; `io` writes it atomically with a
// checksum.

import type { NamedArrays } from '../../core/namedArrays.ts'

export interface CheckpointPart {
  /** `weights`, `items`, `reservoir`, … Several parts may have the same name. */
  readonly name: string
  readonly arrays: NamedArrays
}

export interface Checkpoint {
  /** Small state: step, rng states, offsets as decimal strings, options, format version. JSON-able. */
  readonly header: Readonly<Record<string, unknown>>
  /**
   * Large state in bounded pieces, in the order in which it is restored: of two parts with the same row the later one
   * counts. The parts of a checkpoint taken while training continues can be read once, and must be read to the end.
   */
  readonly parts: Iterable<CheckpointPart>
}

export interface SaveOptions {
  /** Kept for rollbacks, beyond the newest ones. Such a checkpoint is whole. */
  readonly version?: boolean
  /**
   * Older ones are deleted with the next save, not this one: one of them is about to be restored. Default: false.
   */
  readonly pruneLater?: boolean
  /** Step of the checkpoint that this one holds the changes since; undefined: it is whole. */
  readonly since?: number
}

/** Where checkpoints are kept. A failed or interrupted `save` leaves the earlier ones untouched. */
export interface CheckpointStore {
  /**
   * Atomic: afterwards `latest` is this one. Kept are the newest `keep` whole ones, the incremental ones since the
   * oldest of them, and the newest versions; all others are deleted.
   * @returns how large it is, and the oldest step that is kept otherwise than as a version
   */
  save(
    step: number,
    checkpoint: Checkpoint,
    options?: SaveOptions
  ): Promise<{ readonly bytes: number; readonly oldest: number }>
  /**
   * The newest intact one; a damaged newer one is reported in `skipped`, never deleted. @throws CorruptError if there
   * are some and none is intact.
   */
  latest(): Promise<{ step: number; checkpoint: Checkpoint; skipped: readonly string[] } | undefined>
  /**
   * Complete: an incremental one follows all that it builds on. Its parts may be read repeatedly while it is kept.
   */
  load(step: number): Promise<Checkpoint>
  /**
   * Rewrites, each atomically, those that `change` changes; all others stay.
   *
   * @param names of the parts passed to `change`
   * @param change returns the same object to leave a part unchanged
   * @param look true: nothing is written, only counted
   * @returns how many there were, and which are damaged and could not be read
   */
  rewrite(
    names: readonly string[],
    change: (part: CheckpointPart) => CheckpointPart,
    look?: boolean
  ): Promise<{ readonly rewritten: number; readonly damaged: readonly string[] }>
  /** Ascending. */
  steps(): Promise<number[]>
  /** Of them, those that are kept as versions; ascending. */
  versions(): Promise<number[]>
}

/** The arrays of the parts of that name, of one that has no array twice. */
export function arraysOf(checkpoint: Checkpoint, name: string): NamedArrays {
  const arrays = new Map()
  for (const part of checkpoint.parts)
    if (part.name === name) for (const [key, array] of part.arrays) arrays.set(key, array)
  return arrays
}

/** As parts of one name, created when they are read. */
export function* named(name: string, all: Iterable<NamedArrays>): Iterable<CheckpointPart> {
  for (const arrays of all) yield { name, arrays }
}
