// The public API of the package: `import { … } from 'mtmi-stream'`. What is not here may change in any version.
//
// In the order of the flow. Each name has its documentation where it is defined; the types carry it along.

// Configuration, errors, time and randomness. `loadConfig` reads mtmi.yaml and the environment; `resolveConfig` reads
// nothing by itself.

export { type Clock, ManualClock, systemClock } from '../src/core/clock.ts'
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
} from '../src/core/config/config.ts'
export { loadConfig } from '../src/core/config/configFile.ts'
export {
  BadEventError,
  ConfigError,
  CorruptError,
  DivergedError,
  type ErrorCode,
  exitCodes,
  MtmiError,
  UnavailableError
} from '../src/core/errors.ts'
export type { OffsetRanges, Offsets } from '../src/core/offsets.ts'
export { Rng } from '../src/core/rng.ts'

// What happened: interactions and items, where they come from, and the log they travel in.

export { type ColumnMapping, parseColumnMapping } from '../src/lab/dataset/columnMapping.ts'
export { type Dataset, type DatasetOptions, openDataset } from '../src/lab/dataset/dataset.ts'
export { type FormatName, formatNames } from '../src/lab/dataset/formatName.ts'
export { type Simulation, simulate } from '../src/lab/simulation/simulation.ts'
export type { SimulationOptions } from '../src/lab/simulation/simulationOptions.ts'
export type { EventLog, LogEvent, LogRecord, NewRecord, ReadOptions } from '../src/log/eventLog.ts'
export { LocalLog, type LocalLogOptions } from '../src/log/local/localLog.ts'
export { interactionProblem, itemProblem } from '../src/records/admission.ts'
export { type Codecs, createCodecs } from '../src/records/avro/avroCodecs.ts'
export type { CatalogueItem } from '../src/records/catalogueItem.ts'
export type { Interaction, ItemId, UserId } from '../src/records/interaction.ts'
export { LocalRegistry } from '../src/records/registry/localRegistry.ts'
export type { SchemaRegistry } from '../src/records/registry/schemaRegistry.ts'

// Rolling histories per user, and the examples cut from them.

export { cutExamples } from '../src/records/cutExamples.ts'
export type { Example } from '../src/records/example.ts'
export type { SequenceStep, UserSequence } from '../src/records/userSequence.ts'
export { LmdbSequenceStore } from '../src/sequence/lmdbSequenceStore.ts'
export { Sequencer } from '../src/sequence/sequencer.ts'
export type { SequenceStore } from '../src/sequence/sequenceStore.ts'

// Learning. `loadBackend` comes first, once a process and on one thread only.

export { type BackendName, type BackendReport, loadBackend } from '../src/model/backend.ts'
export type { Encoder } from '../src/model/encoder.ts'
export type { Checkpoint, CheckpointStore } from '../src/model/replica/checkpoint.ts'
export { ModelReplica } from '../src/model/replica/modelReplica.ts'
export type { ModelUpdate } from '../src/records/modelUpdate.ts'
export type { MiniBatch } from '../src/train/batch/miniBatch.ts'
export { CheckpointFiles } from '../src/train/checkpoint/checkpointFiles.ts'
export { IncrementalTrainer } from '../src/train/incrementalTrainer.ts'
export type { EvaluationReport, StepReport } from '../src/train/trainer.ts'

// Vectors into an index, and recommendations out of it.

export { EmbeddedIndex, type EmbeddedIndexOptions } from '../src/index/embedded/embeddedIndex.ts'
export type {
  Candidate,
  Filter,
  InterestQuery,
  PopularItem,
  SearchResult,
  VectorIndex,
  VectorPoint
} from '../src/index/vectorIndex.ts'
export { createMetrics, type Metrics } from '../src/monitor/metricsRegistry.ts'
export { Publisher } from '../src/publish/publisher.ts'
export type { Recommendations, RecommendedItem, SimilarItems } from '../src/serve/answers.ts'
export { createHttpService, type HttpService, type HttpServiceParts } from '../src/serve/http/httpService.ts'
export type { Readiness } from '../src/serve/http/probeRoutes.ts'
export { defaultRecommenderOptions, type RecommenderOptions } from '../src/serve/listRequest.ts'
export { Recommender } from '../src/serve/recommender.ts'

// How good it is.

export { version } from '../src/core/version.ts'
export { ProgressiveEvaluator, type ProgressiveReport } from '../src/train/progressive/progressive.ts'
