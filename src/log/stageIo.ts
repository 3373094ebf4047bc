// What every stage gets to read and write its topics: configuration, clock, log, schema registry and codecs.

import type { StageClock } from '../core/clock.ts'
import type { Config } from '../core/config/config.ts'
import type { Codecs } from '../records/avro/avroCodecs.ts'
import type { SchemaRegistry } from '../records/registry/schemaRegistry.ts'
import type { EventLog } from './eventLog.ts'
import type { LogHealth } from './logHealth.ts'

export interface StageIo {
  readonly config: Config
  readonly clock: StageClock
  readonly log: EventLog
  readonly registry: SchemaRegistry
  readonly codecs: Codecs
  /** Of a log that can be away. */
  readonly health?: LogHealth
  /** Applies retention and compaction, a bounded part of the work per call. A Kafka broker does so itself. */
  maintain(): Promise<void>
}
