// Parts and hooks of the publish stage.

import type { VectorIndex } from '../index/vectorIndex.ts'
import type { CatalogueReader } from '../log/catalogueReader.ts'
import type { StageIo } from '../log/stageIo.ts'
import type { ModelReplica } from '../model/replica/modelReplica.ts'
import type { MetricsReport } from '../monitor/metrics.ts'
import type { StageLogger } from '../monitor/stageLogger.ts'
import type { LiveModelStore } from './keptModel.ts'
import type { GateRecord, GateStore } from './modelGate.ts'
import type { PopularityStore } from './popularityWatch.ts'
import type { UserDisk } from './publishedUsers.ts'
import type { GateOptions } from './publisherGate.ts'
import type { HeldPromotion, ItemReport, PublisherLimits, UserReport } from './publisherReport.ts'

export interface PublishStageOptions extends StageIo {
  /** With a gate: new tower weights take effect when the gate accepts them. */
  readonly replica: ModelReplica
  /** Shared with the other stages of the thread. Default: one of its own. */
  readonly catalogue?: CatalogueReader
  readonly index: VectorIndex
  /** Where the users' windows are kept. Losing them repeats work: all users are read and written again. */
  readonly users: UserDisk
  /** Default: popularity is counted again from the log. */
  readonly popularity?: PopularityStore
  readonly gates?: GateStore
  /** The model in effect. Without it a restart begins with the newest one of the log. */
  readonly liveModel?: LiveModelStore
  readonly onVerdict?: (record: GateRecord) => void
  /** For tests. */
  readonly limits?: Partial<PublisherLimits>
  /** For tests. */
  readonly gate?: Partial<GateOptions>
  /** An index version does not go live; undefined: it does. */
  readonly onHeldPromotion?: (held: HeldPromotion | undefined) => void
  readonly measure?: (report: MetricsReport) => void
  readonly onPublished?: (report: { items?: ItemReport; users?: UserReport }) => void
  /** Once when an outage begins, and once when it ends. */
  readonly onProblem?: (text: string) => void
  readonly logger?: StageLogger
}
