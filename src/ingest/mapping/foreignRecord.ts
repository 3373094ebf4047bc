// A record of somebody else's topic, decoded by its format and not yet understood.

import type { LogRecord } from '../../log/eventLog.ts'

export interface ForeignRecord {
  readonly topic: string
  readonly record: LogRecord
  /**
   * What the bytes say: objects with own properties, lists, text, booleans, numbers; whole numbers that a number would not hold exactly are
   * bigints or their digits as text. undefined: the record has no value.
   */
  readonly value: unknown
}
