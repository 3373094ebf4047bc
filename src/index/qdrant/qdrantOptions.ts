// The settings of `qdrant`, with limits that no user needs to choose.

import type { Config } from '../../core/config/config.ts'

const limits = {
  /** Of one write. */
  timeoutMs: 30_000,
  /** How long a write is sent again before the publisher gets the error; it then keeps trying. */
  retryMs: 20_000,
  /** How long a query is sent again: a client waits for the answer. */
  searchRetryMs: 1500,
  connectionsMax: 64,
  /** Of one write. Servers take 32 MB; beyond 5 MB a write delays others. */
  batchBytesMax: 4_000_000,
  /** Age of what is known of the live index version: a switch by another process is seen so late. 0: always queried. */
  liveMaxAgeMs: 250,
  /** How long a switch waits until the new collections are indexed; it is tried again with the next write. */
  greenWaitMs: 2000,
  /** How long a removed point is remembered, so that a late write does not bring it back. */
  tombstoneMs: 86_400_000,
  /** With quantization: candidates for each requested neighbour. */
  oversampling: 2,
  /** Compares with every vector instead of using the graph. */
  exact: false
}

/** The settings; a limit is given by tests alone. */
export type QdrantOptions = Config['qdrant'] & Partial<typeof limits>

export const withLimits = (options: QdrantOptions): Required<QdrantOptions> => ({ ...limits, ...options })
