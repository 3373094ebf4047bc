// Every metric there is. Names are `mtmi_<stage or part>_<thing>_<unit>[_total]`, units are base units.
//
// A label takes its values from a closed list, so the number of series has a bound that can be read off this page; a
// user or an item is never one. The rest of the program sees `metrics.<name>.inc | set | observe | at`, with names and
// label values checked by the compiler.

import { type Outcome, outcomesOf, type Reader, readers } from '../core/account.ts'

/** Values that are not known beforehand: the first `max` that come keep their names, all later ones are `other`. */
interface OpenLabel {
  readonly max: number
}
type LabelLists = Readonly<Record<string, readonly string[] | OpenLabel>>
export type Kind = 'counter' | 'gauge' | 'histogram' | 'age'

export interface Definition<K extends Kind = Kind, L extends LabelLists = LabelLists> {
  readonly kind: K
  readonly name: string
  readonly help: string
  readonly labels: L
  readonly buckets?: readonly number[]
}

const counter = <const L extends LabelLists = Record<never, never>>(name: string, help: string, labels: L = {} as L) =>
  ({ kind: 'counter', name, help, labels }) satisfies Definition as Definition<'counter', L>
const gauge = <const L extends LabelLists = Record<never, never>>(name: string, help: string, labels: L = {} as L) =>
  ({ kind: 'gauge', name, help, labels }) satisfies Definition as Definition<'gauge', L>
/** Set to a moment, read as the seconds since then: it grows when its source has stopped. Absent until first set. */
const age = <const L extends LabelLists = Record<never, never>>(name: string, help: string, labels: L = {} as L) =>
  ({ kind: 'age', name, help, labels }) satisfies Definition as Definition<'age', L>
const histogram = <const L extends LabelLists = Record<never, never>>(
  name: string,
  help: string,
  buckets: readonly number[],
  labels: L = {} as L
) => ({ kind: 'histogram', name, help, labels, buckets }) satisfies Definition as Definition<'histogram', L>

/** From a search in memory (0.5 ms) to what a caller has long given up on. */
const requestSeconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
/** From click to served vector: milliseconds when idle, the time of a sweep or a restart when not. */
const freshnessSeconds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800]
/** A step of 256 examples takes 50–90 ms natively, ten times that on WASM. */
const stepSeconds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10]
/** Events arrive seconds late in the ordinary case, hours or days after an outage upstream. */
const eventAgeSeconds = [0.1, 0.5, 1, 5, 15, 60, 300, 1800, 3600, 21_600, 86_400, 604_800]
const batchExamples = [1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192]

const stage = ['ingest', 'sequence', 'train', 'publish', 'serve'] as const
const reader = Object.keys(readers) as readonly Reader[]
/** Of every reader: which of them a reader has, `core/account.ts` says. */
const outcome = [...new Set(reader.flatMap((one) => outcomesOf(one)))] as readonly {
  [R in Reader]: Outcome<R>
}[Reader][]
const role = ['item', 'user'] as const
/** What a process does in the background: its stage, its threads, and periodic work. docs/alerts.md describes each. */
const taskNames = [
  ...(['ingest', 'sequence', 'model', 'sessions', 'search'] as const),
  ...(['progress', 'index', 'maintenance', 'vectors', 'report', 'attribution'] as const)
] as const
export type TaskName = (typeof taskNames)[number]
/** K is at most 16. */
const tower = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12', '13', '14', '15'] as const

/** What the drift watch looks at of the interactions. */
const driftFeature = ['event_type', 'item_popularity', 'category', 'new_user', 'event_gap'] as const

/** The four arms of an experiment, `default`, `none` and `forced`. */
const variant = { max: 7 }
/** Where a list came from. */
export const listSources = ['vectors', 'popular', 'similar'] as const
/** What put an item into a list: `interest1` comes first in it. `later`: beyond the items that a list id names. */
export const itemOrigins = [
  ...(['interest1', 'interest2', 'interest3', 'interest4', 'interest5+'] as const),
  ...(['memory', 'popular', 'similar', 'later'] as const)
] as const
/** Positions in a list, counted together from the 11th on. */
export const listPositions = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11-20', '21-50', '51+'] as const

/** What an HTTP request can have matched. */
export const httpRoutes = [
  '/v1/users/:id/recommendations',
  '/v1/items/:id/similar',
  '/v1/events',
  '/v1/recommendations',
  '/v1/recommendations/batch',
  '/v1/popular',
  '/v1/status',
  '/v1/versions',
  '/v1/attribution',
  '/v1/dead-letters',
  '/v1/users',
  '/v1/users/:id',
  '/v1/items',
  '/v1/items/:id',
  '/',
  '/console/:file',
  '/livez',
  '/readyz',
  '/metrics',
  '/openapi.json',
  'unmatched'
] as const

/**
 * Kinds of HTTP requests, each with slots of its own; `other` has no limit: health, metrics, descriptions, the
 * console's page.
 */
export const httpRequestKinds = ['read', 'events', 'admin', 'other'] as const

export const metricDefinitions = {
  lag: gauge(
    'mtmi_stage_lag_seconds',
    'How far a stage is behind the newest record of its input, in the time of the log',
    { stage }
  ),
  progress: age('mtmi_stage_progress_age_seconds', 'Since a stage last made progress or had nothing to do', { stage }),

  recordsRead: counter(
    'mtmi_stage_read_records_total',
    'Records that each reader has read, whether or not they have an outcome yet',
    { reader }
  ),
  records: counter('mtmi_stage_records_total', 'Records by reader and outcome', { reader, outcome }),
  waitingRecords: gauge('mtmi_stage_waiting_records', 'Records that were read and have no outcome yet', { reader }),
  unaccountedRecords: gauge(
    'mtmi_stage_unaccounted_records',
    'Records that were read, do not wait and have no outcome: anything but 0 is a bug',
    { reader }
  ),

  brokersAway: gauge('mtmi_stage_brokers_away_seconds', 'Since brokers have not answered; 0 while they do'),
  skippedRecords: counter(
    'mtmi_stage_skipped_records_total',
    'Offsets that retention removed before they were read, by topic',
    { topic: { max: 32 } }
  ),
  partitionLag: gauge(
    'mtmi_stage_partition_lag_records',
    'Offsets below the high watermark that no process of the stage has read, by topic/partition, of every partition of its topics',
    { partition: { max: 64 } }
  ),
  partitionBlocked: gauge(
    'mtmi_stage_partition_blocked_seconds',
    'Since an open transaction has kept readers from the records behind it; 0 where none does',
    { partition: { max: 64 } }
  ),

  taskFailures: counter('mtmi_task_failures_total', 'Failures of background tasks of a process; each is retried', {
    task: taskNames
  }),
  taskRestarts: counter('mtmi_task_restarts_total', 'Background tasks of a process that ended and were started again', {
    task: taskNames
  }),

  ingestBytes: counter('mtmi_ingest_read_bytes_total', 'Keys and values of the records read from source topics'),

  ignoredEvents: counter(
    'mtmi_sequence_ignored_events_total',
    'Events of a type without a weight (events.types), by type',
    { type: { max: 16 } }
  ),
  deadLetters: counter(
    'mtmi_stage_dead_letter_records_total',
    'Records that a stage could not use and dead-lettered, by the topic they were read from',
    { stage, topic: ['source', 'interactions', 'items', 'user-sequences', 'model-updates'] }
  ),
  rejected: counter('mtmi_sequence_rejected_events_total', 'Records dead-lettered by the sequencer, by reason', {
    reason: ['decode', 'missing', 'invalid', 'future', 'mapping', 'other']
  }),
  eventAge: histogram(
    'mtmi_sequence_event_age_seconds',
    'From when an event happened to when it was sequenced',
    eventAgeSeconds
  ),
  users: gauge('mtmi_sequence_users', 'Users with a window'),
  erasedUsers: counter('mtmi_sequence_erased_users_total', 'Users erased on request'),
  expiredUsers: counter('mtmi_sequence_expired_users_total', 'Users expired after being idle'),
  commitSeconds: histogram('mtmi_sequence_commit_seconds', 'Making state and offset durable', requestSeconds),

  step: gauge('mtmi_train_step', 'Number of the last step'),
  stepSeconds: histogram('mtmi_train_step_seconds', 'One training step, without the evaluation before it', stepSeconds),
  evaluateSeconds: histogram('mtmi_train_evaluate_seconds', 'Ranking one batch before training on it', stepSeconds),
  batchExamples: histogram('mtmi_train_batch_examples', 'Examples in a step, replayed ones included', batchExamples),
  replayedExamples: counter('mtmi_train_replayed_examples_total', 'Earlier examples trained again beside new ones'),
  loss: gauge('mtmi_train_loss', 'Mean loss of the last step'),
  gradientNorm: gauge('mtmi_train_gradient_norm', 'L2 norm of the gradient of the last step, before clipping'),
  diverged: counter('mtmi_train_diverged_steps_total', 'Steps dropped because a loss or gradient was not finite'),
  rollbacks: counter('mtmi_train_rollbacks_total', 'Times that training went back to its last checkpoint'),
  hitRate: gauge(
    'mtmi_train_progressive_hit_rate_ratio',
    'Share of recent targets ranked in the first k before training on them',
    { ranker: ['model', 'popularity', 'cooccurrence'], k: ['20', '50'] }
  ),
  ndcg: gauge('mtmi_train_progressive_ndcg_ratio', 'NDCG of recent targets in the first k before training on them', {
    ranker: ['model', 'popularity', 'cooccurrence'],
    k: ['20', '50']
  }),
  hitRateError: gauge(
    'mtmi_train_progressive_hit_rate_error_ratio',
    'Standard error of the hit rate@20 of the whole stream, because a sample is ranked'
  ),
  intraUserCosine: gauge(
    'mtmi_train_intra_user_cosine',
    'Mean cosine between two interests of one user: near 1 the towers have collapsed'
  ),
  towerWins: gauge('mtmi_train_tower_wins_ratio', 'Share of recent targets to which this tower was the nearest', {
    tower
  }),
  rows: gauge('mtmi_train_rows', 'Rows of the tables', { table: ['item', 'feature'] }),
  checkpointAge: age('mtmi_train_checkpoint_age_seconds', 'Since the last checkpoint was durable'),
  checkpointStallSeconds: histogram(
    'mtmi_train_checkpoint_stall_seconds',
    'Training paused for a checkpoint: copying, not writing it',
    requestSeconds
  ),
  checkpointBytes: gauge('mtmi_train_checkpoint_bytes', 'Size of the last checkpoint'),
  forgottenUsers: counter('mtmi_train_forgotten_users_total', 'Users erased from what is kept for replay'),
  rewrittenCheckpoints: counter(
    'mtmi_train_rewritten_checkpoints_total',
    'Older checkpoints rewritten without erased users'
  ),

  published: counter('mtmi_publish_points_total', 'Points handled by the publisher, by outcome', {
    role,
    outcome: ['written', 'unchanged', 'unknown', 'stale', 'refused', 'removed', 'dropped', 'lists']
  }),
  publishFailures: counter('mtmi_publish_failures_total', 'Batches that the index did not accept; they are retried'),
  publishSeconds: histogram('mtmi_publish_batch_seconds', 'Encoding and writing one batch', requestSeconds, { role }),
  freshness: histogram(
    'mtmi_publish_freshness_seconds',
    "From the log taking a click to the user's new vectors being served",
    freshnessSeconds
  ),
  freshnessParts: histogram(
    'mtmi_publish_freshness_part_seconds',
    'Parts of that way: until the publisher has read of the click, until it takes the user up, and for the batch to be encoded and to be written',
    freshnessSeconds,
    { part: ['read', 'wait', 'encode', 'write'] }
  ),
  waiting: gauge('mtmi_publish_waiting_points', 'Points that wait to be published', { role }),
  publishedAge: age('mtmi_publish_vectors_age_seconds', 'Since vectors were last written', { role }),
  publishedStep: gauge('mtmi_publish_step', 'Step of the weights that vectors were last written by'),
  effectiveInterests: histogram(
    'mtmi_publish_effective_interests',
    'Effective number of interests of a published user, e^entropy of the shares of the history that each explains: 1 to K',
    [1.1, 1.25, 1.5, 2, 2.5, 3, 4, 6, 8, 12, 16]
  ),
  itemErrorMax: gauge(
    'mtmi_publish_item_score_error_cosine',
    'Greatest error of a score because its item vector was left as it was written: at most publish.epsilon, of items that have been looked at since the weights moved'
  ),
  promotions: counter(
    'mtmi_publish_promotions_total',
    'Attempts to switch to another index version, by how they ended',
    { outcome: ['done', 'held'] }
  ),
  gates: counter(
    'mtmi_publish_gated_steps_total',
    'New tower weights that were tried before they were published, by the verdict',
    { outcome: ['accepted', 'refused'] }
  ),
  gateHeld: gauge(
    'mtmi_publish_held_steps',
    '1 while new weights are held back because they were refused, 0 otherwise'
  ),
  gateSeconds: histogram('mtmi_publish_gate_seconds', 'Work of one trial of new weights', stepSeconds),
  gateHitRate: gauge(
    'mtmi_publish_gate_hit_rate_ratio',
    'Share of the newest targets that the live weights, and the ones tried last, find in the first 20',
    { weights: ['live', 'candidate'] }
  ),
  gateSlide: gauge(
    'mtmi_publish_gate_slide_ratio',
    'Share of their targets that weights accepted one after the other have lost since none was better'
  ),
  gateOverlap: gauge(
    'mtmi_publish_gate_overlap_ratio',
    "Share of canary users' lists that the live weights and the ones tried last both have"
  ),
  indexPoints: gauge('mtmi_index_points', 'Points in the live index version', { role }),
  indexRequests: counter(
    'mtmi_index_requests_total',
    'Requests sent to Qdrant: done, failed but sent again, refused for good, given up',
    { kind: ['read', 'write'], outcome: ['done', 'retried', 'refused', 'failed'] }
  ),
  indexRequestSeconds: histogram(
    'mtmi_index_request_seconds',
    'From sending a request to Qdrant to its answer, each attempt separately',
    requestSeconds,
    { kind: ['read', 'write'] }
  ),

  driftPsi: gauge(
    'mtmi_drift_psi',
    'Population stability index of the newest window of interactions against the four windows before it; absent until there are five',
    { feature: driftFeature }
  ),
  driftPsiThreshold: gauge(
    'mtmi_drift_threshold_psi',
    'From here on mtmi_drift_psi raises an alarm: .05 (.1 for item_popularity), or twice the largest index among the four windows of the reference',
    { feature: driftFeature }
  ),
  driftDetections: counter('mtmi_drift_detections_total', 'Changes noticed, by what changed and by which test', {
    signal: [...driftFeature, 'loss', 'hit_rate'],
    detector: ['psi', 'adwin']
  }),
  driftDetectionAge: age('mtmi_drift_detection_age_seconds', 'Since a change was last noticed', {
    signal: [...driftFeature, 'loss', 'hit_rate'],
    detector: ['psi', 'adwin']
  }),
  driftNew: gauge(
    'mtmi_drift_new_ratio',
    'Share of recent interactions by users, or on items, that had not been seen before',
    { role }
  ),
  driftWinsEntropy: gauge(
    'mtmi_drift_tower_wins_entropy_ratio',
    'Evenness of which tower is the nearest to recent targets: 1 all alike, 0 one takes all'
  ),
  driftOverfitGap: gauge(
    'mtmi_drift_overfit_gap_loss',
    'Loss on new examples minus loss on replayed ones: grows with overfitting'
  ),
  driftItemMovement: gauge(
    'mtmi_drift_item_movement_distance',
    'Mean distance that item vectors moved between two versions of the weights'
  ),
  driftCentroidCosine: gauge(
    'mtmi_drift_item_centroid_cosine',
    'Cosine between the mean item vectors of two versions of the weights'
  ),
  driftRowNorm: gauge('mtmi_drift_item_row_norm', 'Length of item rows: 5 of 100 are shorter than p5, and so on', {
    at: ['p5', 'p50', 'p95']
  }),
  publishServedOverlap: gauge(
    'mtmi_publish_served_overlap_ratio',
    'Share of the 20 items served to a user that the weights as they are now would serve too, mean over a few users in turn'
  ),
  driftServingSkew: gauge(
    'mtmi_drift_serving_skew_distance',
    'Mean distance, on a sample, of vectors in the index from those by the weights as they are now',
    { role }
  ),

  http: histogram('mtmi_serve_request_seconds', 'HTTP requests, by route pattern and class of status', requestSeconds, {
    route: httpRoutes,
    status: ['2xx', '4xx', '5xx']
  }),
  httpActive: gauge(
    'mtmi_serve_active_requests',
    'HTTP requests being answered, by the role that their route requires',
    { kind: httpRequestKinds }
  ),
  shed: counter('mtmi_serve_shed_requests_total', 'HTTP requests answered 503 at once, because too many are in work', {
    kind: httpRequestKinds
  }),
  denied: counter(
    'mtmi_serve_denied_requests_total',
    'HTTP requests refused: no good token, too many with it, a host name or an origin that is not allowed',
    { reason: ['unauthenticated', 'forbidden', 'rate', 'host', 'origin'] }
  ),
  served: counter('mtmi_serve_lists_total', 'Lists answered, without their later pages, by where they came from', {
    ...{ source: listSources, variant }
  }),
  clickedLists: counter(
    'mtmi_serve_clicked_lists_total',
    'Lists of this process with a click on one of their first k items',
    { source: listSources, variant, k: ['1', '10', 'all'] }
  ),
  versionLists: counter('mtmi_serve_version_lists_total', 'Lists answered, and those clicked, by index version', {
    ...{ version: { max: 8 }, outcome: ['answered', 'clicked'] }
  }),
  positionItems: counter('mtmi_serve_position_items_total', 'Items of lists, and those clicked, by position', {
    ...{ position: listPositions, outcome: ['answered', 'clicked'] }
  }),
  originItems: counter('mtmi_serve_origin_items_total', 'Items of lists, and those clicked, by what put them there', {
    ...{ origin: itemOrigins, outcome: ['answered', 'clicked'] }
  })
} as const

export type Definitions = typeof metricDefinitions
export type MetricName = keyof Definitions
export type LabelsOf<N extends MetricName> = {
  readonly [L in keyof Definitions[N]['labels']]: Values<Definitions[N]['labels'][L]>
}
type Values<T> = T extends readonly (infer V)[] ? V : string
/**
 * One thing measured, as a plain object that survives structured cloning: a worker thread gathers these and posts them.
 * A counter grows by `value`, a gauge is set to it, an age is set to that moment in milliseconds; a histogram takes
 * each of `values`, or `value`.
 */
export type MetricsEntry = {
  readonly [N in MetricName]: { readonly metric: N } & (keyof Definitions[N]['labels'] extends never
    ? { readonly labels?: never }
    : { readonly labels: LabelsOf<N> }) &
    (Definitions[N]['kind'] extends 'histogram'
      ? { readonly value: number } | { readonly values: readonly number[] | Float64Array | Float32Array }
      : { readonly value: number })
}[MetricName]
export type MetricsReport = readonly MetricsEntry[]
