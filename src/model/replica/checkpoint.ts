// A checkpoint is one JSON-able header and a row of parts, each a few named arrays; `io` writes it atomically with a
// checksum.

import type { NamedArrays } from '../../core/namedArrays.ts'

export interface CheckpointPart {
  /** Whose state it is: `weights`, `items`, `reservoir`, … Several parts may have one name. */
  readonly name: string
  readonly arrays: NamedArrays
}

export interface Checkpoint {
  /** Small state: step, rng states, offsets as decimal strings, options, format version. JSON-able. */
  readonly header: Readonly<Record<string, unknown>>
  /**
   * Large state, a bounded piece at a time, in the order in which it is restored: of two parts that tell of the same
   * row the later one is right. Those of a checkpoint that is taken while learning goes on can be walked through once,
   * and must be walked to the end.
   */
  readonly parts: Iterable<CheckpointPart>
}

export interface SaveOptions {
  /** Kept to be gone back to, beyond the newest ones. Such a checkpoint is a whole one. */
  readonly version?: boolean
  /**
   * Older ones are deleted with the next save, not with this one: one of them is about to be restored. Default: false.
   */
  readonly pruneLater?: boolean
  /** Step of the checkpoint to which this one tells only the changes; undefined: it is whole. */
  readonly since?: number
}

/** Where checkpoints are kept. A failed or interrupted `save` leaves the earlier ones untouched. */
export interface CheckpointStore {
  /**
   * Atomic: afterwards `latest` is this one. Kept are the newest `keep` whole ones, those after the oldest of them that
   * tell of changes, and the newest versions; all others are gone.
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
   * Whole: one that tells of changes comes after all that it builds on. Its parts may be walked through again and
   * again, while it is kept.
   */
  load(step: number): Promise<Checkpoint>
  /**
   * Writes those anew, each atomically, of which `change` makes something else; all others stay.
   *
   * @param names of the parts that are shown to `change`
   * @param change returns the very part to leave it as it is
   * @param look true: nothing is written, it is only counted
   * @returns how many there were, and which are damaged and could not be looked at
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

/** As parts of one name, made when they are fetched. */
export function* named(name: string, all: Iterable<NamedArrays>): Iterable<CheckpointPart> {
  for (const arrays of all) yield { name, arrays }
}
