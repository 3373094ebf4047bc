// An example out of the reservoir: already rows, and an Example like any other to whoever asks for its ids.

import type { Example } from '../../records/example.ts'
import type { UserId } from '../../records/interaction.ts'
import type { SequenceStep } from '../../records/userSequence.ts'
import type { ItemTable } from './itemTable.ts'

interface StoredExampleFields {
  readonly items: ItemTable
  readonly userId: UserId
  /** [n + 1] rows of the history, oldest first, then of the target: all of admitted items. */
  readonly rows: Int32Array
  /** [n + 1] event times, milliseconds. */
  readonly timesMs: Float64Array
  /** [n + 1] */
  readonly types: readonly string[]
  readonly weight: number
  readonly source: Example['source']
}

/** Valid until an item loses its row: use it before the next `observe` or `expire`. */
export class StoredExample implements Example {
  readonly userId: UserId
  readonly rows: Int32Array
  readonly timesMs: Float64Array
  readonly weight: number
  readonly source: Example['source']
  readonly #items: ItemTable
  readonly #types: readonly string[]

  constructor(fields: StoredExampleFields) {
    this.userId = fields.userId
    this.rows = fields.rows
    this.timesMs = fields.timesMs
    this.weight = fields.weight
    this.source = fields.source
    this.#items = fields.items
    this.#types = fields.types
  }

  get history(): readonly SequenceStep[] {
    return Array.from({ length: this.rows.length - 1 }, (_, i) => this.#step(i))
  }

  get target(): SequenceStep {
    return this.#step(this.rows.length - 1)
  }

  #step(i: number): SequenceStep {
    return { itemId: this.#items.idOf(this.rows[i]!), type: this.#types[i]!, eventTimeMs: this.timesMs[i]! }
  }
}
