// The one schema of what can be configured: types, defaults, bounds and reasons come from here.
// Durations are in milliseconds, sizes in bytes or counts, as the names say.

import { z } from 'zod'
import { ConfigError } from '../errors.ts'
import { own, setOwn } from '../own.ts'
import { withoutSecrets } from '../secrets.ts'
import { kafkaSchema, qdrantSchema, registrySchema, topicsSchema } from './connectionOptions.ts'
import { filesSchema } from './files.ts'
import { eventsSchema, progressiveSchema, sequenceSchema, trainSchema } from './learningOptions.ts'
import { modelSchema } from './modelOptions.ts'
import {
  driftSchema,
  opsSchema,
  popularitySchema,
  publishSchema,
  recommendSchema,
  serveSchema,
  traceSchema
} from './servingOptions.ts'
import { count } from './settingTypes.ts'
import { sourceProblems, sourceSchema } from './sources.ts'

/** The options of a model that users choose. The others are the lab's (src/lab/labOptions.ts). */
const modelSettings = modelSchema
  .pick({ interestCount: true, dimensions: true, idwAlpha: true, repelBeta: true })
  .prefault({})
  .transform((given) => modelSchema.parse(given))

/** Parts of the configuration that are no settings: no user needs another value. Tests vary them. */
export const limits = {
  sequence: {
    /**
     * Waiting events that are processed before their users are emitted. Each emission costs a write to disk; on Kafka, a
     * transaction of about 20 ms.
     */
    emitEventsMax: 4096,
    /** Interval at which state and offsets are committed. A crash repeats at most this interval. */
    commitIntervalMs: 1000
  },
  train: {
    /** How long a batch waits to be full. */
    batchWaitMaxMs: 1000,
    /** Interval at which tower weights are sent to the publisher. */
    weightsIntervalMs: 10_000
  },
  publish: {
    /** Changes of one user within this time are written once. */
    userWaitMs: 50
  }
}

export const configSchema = z.strictObject({
  dataDir: z.string().min(1).default('data').describe('Folder of the embedded log, state, index and checkpoints'),
  run: z
    .string()
    .regex(/^\w[\w.-]{0,99}$/, 'a run is named with letters, digits, _ . and -, such as shop')
    .nullable()
    .default(null)
    .describe('Name of the run: the folder in `dataDir` with its state. Default: see docs/operations.md, "Runs"'),
  seed: count(0, 0xffffffff)
    .default(1)
    .describe('Seed of the random numbers. The same input and seed give the same run'),
  log: z.enum(['local', 'kafka']).default('local').describe('Event log: embedded or Kafka'),
  index: z.enum(['embedded', 'qdrant']).default('embedded').describe('Vector index: embedded or Qdrant'),

  topics: topicsSchema,
  kafka: kafkaSchema,
  qdrant: qdrantSchema,

  sources: z
    .array(sourceSchema)
    .max(64)
    .default([])
    .describe(
      'External topics that `mtmi up` and `mtmi ingest` map to interactions and items; see docs/mapping.md. `mtmi mapping try` shows the result'
    ),

  files: filesSchema,

  registry: registrySchema,
  events: eventsSchema,
  sequence: sequenceSchema.transform((given) => ({ ...given, ...limits.sequence })),
  model: modelSettings,
  train: trainSchema.transform((given) => ({ ...given, ...limits.train })),
  progressive: progressiveSchema,
  publish: publishSchema.transform((given) => ({ ...given, ...limits.publish })),
  popularity: popularitySchema,
  recommend: recommendSchema,
  serve: serveSchema,
  ops: opsSchema,
  drift: driftSchema,
  trace: traceSchema,

  logFormat: z
    .enum(['auto', 'text', 'json'])
    .default('auto')
    .describe(
      'Format of the log on standard error. auto: JSON lines for a stage that runs until it is stopped, text otherwise'
    ),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info')
})

export type Config = z.infer<typeof configSchema>
export type SequenceOptions = Config['sequence']
export type EventOptions = Config['events']
export type ModelOptions = Config['model']
export type TrainOptions = Config['train']
export type PublishOptions = Config['publish']
export type ServeOptions = Config['serve']
export type RecommendOptions = Config['recommend']
export type RegistryOptions = Config['registry']
export type DriftOptions = Config['drift']
export type KafkaOptions = Config['kafka']

const prefix = 'MTMI_'
/** Variables that are the program's, but not the configuration's. */
const reserved = new Set(['MTMI_CONFIG', 'MTMI_DATA', 'MTMI_CACHE', 'MTMI_NATIVE', 'MTMI_BACKEND'])

/**
 * The configuration in force: defaults, under the file's values, under `MTMI_…` variables
 * (`MTMI_TRAIN_BATCH_SIZE=512`), under `overrides`. `MTMI_X_FILE` reads the value of X from a file, for secrets.
 *
 * @param file parsed YAML, or undefined
 * @param overrides from the command line, as nested objects
 * @throws ConfigError with all problems at once
 */
export function resolveConfig(
  file: unknown,
  environment: Readonly<Record<string, string | undefined>>,
  overrides: Readonly<Record<string, unknown>> = {},
  readSecret: (path: string) => string = () => ''
): Config {
  const problems: string[] = []
  if (file !== undefined && file !== null && (typeof file !== 'object' || Array.isArray(file))) {
    throw new ConfigError([
      `the configuration file must be a mapping of keys to values, not ${Array.isArray(file) ? 'a list' : typeof file}`
    ])
  }
  let merged = mergeSettings({}, (file ?? {}) as Record<string, unknown>)
  const paths = variablePaths(configSchema)
  for (const [name, text] of Object.entries(environment)) {
    if (!name.startsWith(prefix) || text === undefined || reserved.has(name)) continue
    const fromFile = name.endsWith('_FILE') && !paths.has(name)
    const path = paths.get(fromFile ? name.slice(0, -'_FILE'.length) : name)
    if (path === undefined) {
      problems.push(`variable ${name}: there is no such setting${suggest(name, [...paths.keys()])}`)
      continue
    }
    merged = mergeSettings(merged, nest(path, parseScalar(fromFile ? readSecret(text).trimEnd() : text)))
  }
  merged = mergeSettings(merged, overrides as Record<string, unknown>)
  problems.push(...reservedNames(merged))
  const parsed = configSchema.safeParse(merged)
  const topics = isMapping(merged.topics) ? merged.topics : {}
  const names = {
    interactions: 'interactions',
    items: 'items',
    userSequences: 'user-sequences',
    modelUpdates: 'model-updates',
    ...topics
  }
  problems.push(
    ...sourceProblems(
      merged.sources,
      [names.interactions, names.items, names.userSequences, names.modelUpdates].map(String)
    )
  )
  if (isMapping(merged.registry) && merged.registry.token && merged.registry.username) {
    problems.push('registry.username and registry.token are both given: it is either basic or bearer authentication')
  }
  if (!parsed.success)
    problems.push(...parsed.error.issues.flatMap((issue) => describeIssue(configSchema, issue, merged)))
  else if (parsed.data.sequence.idleMaxMs < parsed.data.sequence.historyAgeMaxMs) {
    problems.push(
      `sequence.idleMaxMs (${parsed.data.sequence.idleMaxMs}) must be at least sequence.historyAgeMaxMs (${parsed.data.sequence.historyAgeMaxMs}): a user must not be forgotten while steps still count`
    )
  }
  if (problems.length > 0 || !parsed.success) throw new ConfigError(problems)
  return parsed.data
}

/** The configuration from this process's environment. The only reader of `process.env` in `src`. */
export function configFromEnvironment(
  file: unknown,
  overrides: Readonly<Record<string, unknown>> = {},
  readSecret?: (path: string) => string
): Config {
  return resolveConfig(file, process.env, overrides, readSecret)
}

/**
 * A variable that is not part of the schema: where data sets or the configuration file are, or which backend to force.
 */
export function environmentVariable(
  name: 'MTMI_CONFIG' | 'MTMI_DATA' | 'MTMI_BACKEND' | 'MTMI_CACHE' | 'TF_NUM_INTRAOP_THREADS'
): string | undefined {
  return process.env[name] || undefined
}

/** How a shell refers to the value of a variable, or of the file that it names; undefined: neither is set. */
export function shellReference(variable: string): string | undefined {
  const file = own(process.env, `${variable}_FILE`)
  if (file !== undefined) return `$(cat '${file.replaceAll("'", "'\\''")}')`
  return own(process.env, variable) === undefined ? undefined : `$${variable}`
}

interface SettingDescription {
  /** `train.batchSize` */
  readonly path: string
  readonly variable: string
  readonly value: unknown
  readonly reason: string | undefined
}

/** Every setting with its value in `config`, in the order of the schema. */
export const describeConfig = (config: Config): SettingDescription[] => describeSchema(configSchema, config)

/** Every leaf of a schema with its value in `values`, in the order of the schema. */
export function describeSchema(of: z.ZodType, values: unknown): SettingDescription[] {
  return [...variablePaths(of)].map(([variable, path]) => {
    let schema: z.ZodType = of
    let value = values
    for (const key of path) {
      schema = own((unwrap(schema) as z.ZodObject).shape, key) as z.ZodType
      value = own(value as Record<string, unknown>, key)
    }
    return {
      path: path.join('.'),
      variable,
      value: withoutSecrets(value, path.at(-1)),
      reason: schema.description
    }
  })
}

/** `train.batchSize` ↔ `MTMI_TRAIN_BATCH_SIZE`, for every leaf of the schema. */
export function variablePaths(schema: z.ZodType, path: readonly string[] = []): Map<string, readonly string[]> {
  const inner = unwrap(schema)
  if (!(inner instanceof z.ZodObject)) return new Map([[variableName(path), path]])
  return new Map(
    Object.entries(inner.shape).flatMap(([key, value]) => [...variablePaths(value as z.ZodType, [...path, key])])
  )
}

function variableName(path: readonly string[]): string {
  return prefix + path.map((part) => part.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()).join('_')
}

function unwrap(schema: z.ZodType): z.ZodType {
  let inner = schema
  for (;;) {
    if (inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault || inner instanceof z.ZodOptional)
      inner = inner.unwrap() as z.ZodType
    // z.preprocess
    else if (inner instanceof z.ZodPipe && inner.in instanceof z.ZodTransform) inner = inner.out as z.ZodType
    else if (inner instanceof z.ZodPipe && inner.out instanceof z.ZodTransform) inner = inner.in as z.ZodType
    else return inner
  }
}

/** @param input what was parsed by `of` */
export function describeIssue(of: z.ZodType, issue: z.core.$ZodIssue, input: unknown): string[] {
  const at = issue.path.map(String)
  if (issue.code === 'unrecognized_keys') {
    const siblings = shapeAt(of, at)
    return issue.keys.map((key) => `${[...at, key].join('.')}: there is no such setting${suggest(key, siblings)}`)
  }
  // Where one text stands for a list of one, the issue is about element 0 of it.
  const value = at.reduce<unknown>(
    (inner, key) => (typeof inner === 'object' && inner !== null ? own(inner as Record<string, unknown>, key) : inner),
    input
  )
  const variable = at
    .map((_, i) => variableName(at.slice(0, at.length - i)))
    .find((name) => variablePaths(configSchema).has(name))
  const shown = withoutSecrets(value, at.at(-1))
  const given = shown === '***' ? shown : JSON.stringify(shown)
  return [
    `${at.join('.') || 'configuration'}: ${issue.message} (given: ${given}${variable === undefined ? '' : `; variable ${variable}`})`
  ]
}

function shapeAt(of: z.ZodType, path: readonly string[]): string[] {
  let schema = of
  for (const key of path) {
    const inner = unwrap(schema)
    if (inner instanceof z.ZodArray) schema = inner.element as z.ZodType
    else if (inner instanceof z.ZodObject && own(inner.shape, key) !== undefined)
      schema = own(inner.shape, key) as z.ZodType
    else return []
  }
  const inner = unwrap(schema)
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : []
}

function suggest(wrong: string, known: readonly string[]): string {
  const near = known
    .map((name) => ({ name, distance: editDistance(wrong.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0]
  return near !== undefined && near.distance <= Math.max(2, wrong.length / 4) ? `; did you mean ${near.name}?` : ''
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    row = next
  }
  return row[b.length]!
}

/** zod drops this key without a word. */
function reservedNames(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) => {
    const at = path === '' ? key : `${path}.${key}`
    return key === '__proto__'
      ? [`${at}: \`__proto__\` is reserved and cannot be a name in the configuration: use another name`]
      : reservedNames(inner, at)
  })
}

/** Settings of `over` over those of `base`. A list replaces a list; undefined changes nothing. */
export function mergeSettings(
  base: Readonly<Record<string, unknown>>,
  over: Readonly<Record<string, unknown>>
): Record<string, unknown> {
  const merged = { ...base }
  for (const [key, value] of Object.entries(over)) {
    if (value === undefined) continue
    const before = own(merged, key)
    setOwn(merged, key, isMapping(value) && isMapping(before) ? mergeSettings(before, value) : value)
  }
  return merged
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function nest(path: readonly string[], value: unknown): Record<string, unknown> {
  return path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as Record<string, unknown>
}

/** Numbers, booleans and JSON mappings are meant as such; everything else is text. */
function parseScalar(text: string): unknown {
  if (/^(true|false|-?\d+(\.\d+)?([eE][+-]?\d+)?|[{[].*)$/s.test(text)) {
    try {
      return JSON.parse(text)
    } catch {
      return text // text that only looks like JSON: the schema judges it
    }
  }
  return text
}
