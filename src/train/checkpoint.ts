// A checkpoint is named arrays and one JSON-able header; `io` writes it atomically with a checksum.

export interface Checkpoint {
  /** Small state: step, rng states, offsets as decimal strings, options, format version. JSON-able. */
  readonly header: Readonly<Record<string, unknown>>
  /** Large state by name: weights, optimizer state, rows, dictionary, reservoir. Owned by the receiver. */
  readonly arrays: ReadonlyMap<string, Float32Array | Float64Array | Int32Array | Uint8Array>
}

/** Where checkpoints are kept. A failed or interrupted `save` leaves the earlier ones untouched. */
export interface CheckpointStore {
  /**
   * Atomic: afterwards `latest` is this one, and all but the newest `keep` and the newest versions are gone.
   * @param as `version`: kept to be gone back to, beyond the newest `keep`
   */
  save(step: number, checkpoint: Checkpoint, as?: 'version'): Promise<void>
  /** The newest intact one; a damaged newer one is reported in `skipped`, never deleted. @throws CorruptError if there are some and none is intact. */
  latest(): Promise<{ step: number; checkpoint: Checkpoint; skipped: readonly string[] } | undefined>
  load(step: number): Promise<Checkpoint>
  /** Puts another in the place of one that is kept, atomically; all others stay. @throws ConfigError if there is none of that step */
  replace(step: number, checkpoint: Checkpoint): Promise<void>
  /** Ascending. */
  steps(): Promise<number[]>
  /** Of them, those that are kept as versions; ascending. */
  versions(): Promise<number[]>
}
