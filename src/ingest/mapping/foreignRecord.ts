// A record of another program's topic, decoded by its format and not yet understood.

import type { LogRecord } from '../../log/eventLog.ts'

export interface ForeignRecord {
  readonly topic: string
  /** As `EventLog.describe` has it; empty or absent where that is not known. */
  readonly topicId?: string
  readonly record: LogRecord
  /**
   * What the bytes say: objects with own properties, lists, text, booleans, numbers; whole numbers that a number would
   * not hold exactly are bigints or their digits as text. undefined: the record has no value.
   */
  readonly value: unknown
  /**
   * What the key says, in the same form; absent or undefined: the record has no key. @throws BadEventError if it cannot
   * be read
   */
  readonly key?: () => unknown
  /** Of a record with several elements, the one that is meant: its index in each list, by `EachStep.list`. */
  readonly element?: ReadonlyMap<string, number>
}
