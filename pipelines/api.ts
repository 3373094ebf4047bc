// The public API of the package: `import { … } from 'mtmi-stream'`. What is not here may change in any version.
//
// In the order of the flow. Each name has its documentation where it is defined; the types carry it along.

// Configuration, errors, time and randomness. `loadConfig` reads mtmi.yaml and the environment; `resolveConfig` reads nothing by itself.

export { type Clock, ManualClock, systemClock } from '../src/base/clock.ts'
export {
  type Config,
  configSchema,
  type EventOptions,
  type ModelOptions,
  type PublishOptions,
  resolveConfig,
  type SequenceOptions,
  type ServeOptions,
  type TrainOptions
} from '../src/base/config.ts'
export {
  BadEventError,
  ConfigError,
  CorruptError,
  DivergedError,
  type ErrorCode,
  exitCodes,
  MtmiError,
  UnavailableError
} from '../src/base/errors.ts'
export type { OffsetRanges, Offsets } from '../src/base/offsets.ts'
export { Rng } from '../src/base/rng.ts'
export { loadConfig } from '../src/io/configFile.ts'

// What happened: interactions and items, where they come from, and the log they travel in.

export type { CatalogueItem } from '../src/event/catalogueItem.ts'
export type { EventLog, LogEvent, LogRecord, NewRecord, ReadOptions } from '../src/event/eventLog.ts'
export { type ColumnMapping, parseColumnMapping } from '../src/event/format/columnMapping.ts'
export { type FormatName, formatNames } from '../src/event/format/formatName.ts'
export type { Interaction, ItemId, UserId } from '../src/event/interaction.ts'
export { type Simulation, simulate } from '../src/event/simulation.ts'
export type { SimulationOptions } from '../src/event/simulationOptions.ts'
export { validateInteraction } from '../src/event/validateInteraction.ts'
export { type Codecs, createCodecs } from '../src/io/avro/avroCodecs.ts'
export { type Dataset, type DatasetOptions, openDataset } from '../src/io/dataset/dataset.ts'
export { LocalLog, type LocalLogOptions } from '../src/io/localLog/localLog.ts'
export { LocalRegistry } from '../src/io/registry/localRegistry.ts'
export type { SchemaRegistry } from '../src/io/registry/schemaRegistry.ts'

// Rolling histories per user, and the examples cut from them.

export { LmdbSequenceStore } from '../src/io/state/lmdbSequenceStore.ts'
export { cutExamples } from '../src/sequence/cutExamples.ts'
export type { Example } from '../src/sequence/example.ts'
export { Sequencer } from '../src/sequence/sequencer.ts'
export type { SequenceStore } from '../src/sequence/sequenceStore.ts'
export type { SequenceStep, UserSequence } from '../src/sequence/userSequence.ts'

// Learning. `loadBackend` comes first, once a process and on one thread only.

export type { MiniBatch } from '../src/batch/miniBatch.ts'
export { CheckpointFiles } from '../src/io/state/checkpointFiles.ts'
export { type BackendName, type BackendReport, loadBackend } from '../src/model/backend.ts'
export type { Encoder } from '../src/model/encoder.ts'
export type { Checkpoint, CheckpointStore } from '../src/train/checkpoint.ts'
export { IncrementalTrainer } from '../src/train/incrementalTrainer.ts'
export { ModelReplica } from '../src/train/modelReplica.ts'
export type { ModelUpdate } from '../src/train/modelUpdate.ts'
export type { EvaluationReport, StepReport, Trainer } from '../src/train/trainer.ts'

// Vectors into an index, and recommendations out of it.

export { EmbeddedIndex, type EmbeddedIndexOptions } from '../src/io/embeddedIndex/embeddedIndex.ts'
export { createHttpService, type HttpService, type HttpServiceParts } from '../src/io/http/httpService.ts'
export type { Readiness } from '../src/io/http/readiness.ts'
export { createMetrics, type Metrics } from '../src/io/metrics.ts'
export {
  defaultRecommenderOptions,
  type Recommendations,
  type RecommendedItem,
  Recommender,
  type RecommenderOptions,
  type SimilarItems
} from '../src/recommend/recommender.ts'
export { Publisher } from '../src/retrieval/publisher.ts'
export type { Candidate, Filter, InterestQuery, PopularItem, SearchResult, VectorIndex, VectorPoint } from '../src/retrieval/vectorIndex.ts'

// How good it is.

export { ProgressiveEvaluator, type ProgressiveReport } from '../src/evaluate/progressive.ts'
export { version } from './version.ts'
