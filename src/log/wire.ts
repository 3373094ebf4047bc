// What every stage is given to read and write its topics.

import type { StageClock } from '../core/clock.ts'
import type { Config } from '../core/config/config.ts'
import type { Codecs } from '../records/avro/avroCodecs.ts'
import type { SchemaRegistry } from '../records/registry/schemaRegistry.ts'
import type { EventLog } from './eventLog.ts'

/** What every stage needs: the log, and the codecs to read and write it. */
export interface Wire {
  readonly config: Config
  readonly clock: StageClock
  readonly log: EventLog
  readonly registry: SchemaRegistry
  readonly codecs: Codecs
  /** Removes what retention and compaction allow, a bounded part of it. A broker does so by itself. */
  maintain(): Promise<void>
}
