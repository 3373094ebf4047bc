// The outcome of every record of model-updates that a replica read.

import { Account, type AccountNumbers } from '../../core/account.ts'
import type { ModelUpdate } from '../../records/modelUpdate.ts'

export class ModelAccount {
  readonly #account = new Account('model')
  /** Since the last commit. */
  #open = 0
  /** 1 while the record that was read last becomes a dead letter. */
  #refusing = 0
  #isCommit = false

  numbers(): AccountNumbers<'model'> {
    return this.#account.numbers(this.#open + this.#refusing)
  }

  /** Before anything is done with a record: `empty`, `applied` or `refused` follows. */
  read(): void {
    this.#account.read()
    this.#refusing = 1
    this.#isCommit = false
  }

  /** Before the replica is given the record, which may throw. */
  decoded({ kind }: ModelUpdate): void {
    if (kind === 'model-version') this.#abandon()
    this.#isCommit = kind === 'commit'
  }

  empty(): void {
    this.#refusing = 0
    this.#account.add('empty')
  }

  /** @param unfit records that came with this commit and do not fit its model */
  applied(unfit: number): void {
    this.#refusing = 0
    this.#open++
    if (!this.#isCommit) return
    // Those of a commit that was refused itself were abandoned with it.
    const refused = Math.min(unfit, this.#open - 1)
    this.#account.add('committed', this.#open - refused)
    this.#account.add('refused', refused)
    this.#open = 0
  }

  /** What came since the last commit is dropped with a commit that is refused. */
  refused(): void {
    this.#refusing = 0
    this.#account.add('refused')
    if (this.#isCommit) this.#abandon()
  }

  #abandon(): void {
    this.#account.add('abandoned', this.#open)
    this.#open = 0
  }
}
