// How a model travels: what the trainer changed, as records of the compacted `model-updates` topic. A reader applies nothing before the commit
// that closes it, so it never serves half a step.

import type { ItemId } from './interaction.ts'

/** Who asked for a lineage, and what for: the same model once more, an earlier one, or the trainer's after publishing was held. */
export const lineageReasons = ['rebuild', 'rollback', 'resume'] as const
export type LineageReason = (typeof lineageReasons)[number]

export type ModelUpdate =
  /** An item's row of the table, as the towers read it. [D]. Absent vector: the row was expired. */
  | { readonly kind: 'item-row'; readonly itemId: ItemId; readonly row: Float32Array | null; readonly count: number }
  /** A feature's row (`field=value`). [D] */
  | { readonly kind: 'feature-row'; readonly feature: string; readonly row: Float32Array }
  /** A dense weight by name, whole; only at gated steps. */
  | { readonly kind: 'weights'; readonly name: string; readonly shape: readonly number[]; readonly values: Float32Array }
  /**
   * Begins a lineage: what lies before it in the partition, and compaction has left there, belongs to another. All rows and weights follow, then a commit in
   * `space`. Never sent for the first lineage of a log.
   */
  | { readonly kind: 'lineage'; readonly space: string; readonly reason: LineageReason; readonly begunAtMs: number }
  /** Closes everything before it in the partition. */
  | {
      readonly kind: 'commit'
      readonly step: number
      /** Vectors of one space may be compared; another architecture, or a rollback, is another space. */
      readonly space: string
      /** The model's options as JSON: what a reader must build to use the weights. */
      readonly model: string
      /** Whether dense weights came with it. */
      readonly weightsChanged: boolean
      readonly committedAtMs: number
    }
