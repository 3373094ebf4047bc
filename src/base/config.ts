// The one schema of what can be configured: types, defaults, bounds and reasons come from here.
// Durations are in milliseconds, sizes in bytes or counts, as the names say.

import { z } from 'zod'
import { ConfigError } from './errors.ts'
import { modelProblems, modelSchema } from './modelOptions.ts'
import { sourceProblems, sourceSchema } from './sources.ts'

const minuteMs = 60_000
const dayMs = 24 * 60 * minuteMs

const count = (min: number, max: number) => z.int().min(min).max(max)
const durationMs = (max: number) => z.int().min(0).max(max)
const real = (min: number, max: number) => z.number().min(min).max(max)
/** 16 characters of base64 are 96 bits: not to be guessed. The characters are those of RFC 6750. */
const tokens = () =>
  z
    .string()
    .refine(
      (text) => text.split(/[\s,]+/).every((token) => token === '' || /^[A-Za-z0-9._~+/-]{16,1024}=*$/.test(token)),
      'each token must have 16 to 1024 of the characters A-Z a-z 0-9 . _ ~ + / -, such as `openssl rand -base64 24` gives'
    )
    .default('')
const section = <T extends z.ZodRawShape>(shape: T) => z.strictObject(shape).prefault({} as never)

export const configSchema = z.strictObject({
  dataDir: z.string().min(1).default('data').describe('Where the embedded log, state, index and checkpoints live'),
  seed: count(0, 0xffffffff).default(1).describe('Seed of everything drawn at random: the same input and seed give the same run'),
  log: z.enum(['local', 'kafka']).default('local').describe('Where events and updates travel'),
  index: z.enum(['embedded', 'qdrant']).default('embedded').describe('Where vectors are published and searched'),

  topics: section({
    interactions: z.string().min(1).default('interactions'),
    items: z.string().min(1).default('items'),
    userSequences: z.string().min(1).default('user-sequences'),
    modelUpdates: z.string().min(1).default('model-updates'),
    partitions: count(1, 1024)
      .default(1)
      .describe('Of interactions and user-sequences. One keeps the whole stream in one order; more scale out'),
    retentionMs: durationMs(3650 * dayMs)
      .default(30 * dayMs)
      .describe('How long interactions are kept in the local log'),
    minCompactionLagMs: durationMs(365 * dayMs)
      .default(7 * dayMs)
      .describe('Longest lag of a trainer before records that it has not read may be compacted away')
  }),

  kafka: section({
    brokers: z
      .preprocess(
        (value) => (typeof value === 'string' ? value.split(',').map((broker) => broker.trim()) : value),
        z.array(z.string().min(1)).min(1)
      )
      .default(['127.0.0.1:9092'])
      .describe('host:port of some brokers, the others are found; as a variable separated by commas'),
    clientId: z
      .string()
      .regex(/^[a-zA-Z0-9._-]{1,64}$/)
      .default('mtmi')
      .describe("Seen in the brokers' metrics and quotas; consumer groups and transactional ids begin with it"),
    tls: section({
      enabled: z.boolean().default(false),
      caFile: z.string().default('').describe('PEM; empty: the authorities that Node knows'),
      certFile: z.string().default('').describe('PEM, for mutual TLS'),
      keyFile: z.string().default(''),
      keyPassword: z.string().default('').describe('A secret: rather by MTMI_KAFKA_TLS_KEY_PASSWORD_FILE')
    }),
    sasl: section({
      mechanism: z.enum(['none', 'plain', 'scram-sha-256', 'scram-sha-512', 'oauthbearer']).default('none'),
      username: z.string().default(''),
      password: z.string().default('').describe('A secret: rather by MTMI_KAFKA_SASL_PASSWORD_FILE'),
      token: z.string().default('').describe('For oauthbearer: a token that lives as long as the process'),
      tokenFile: z.string().default('').describe('For oauthbearer: read again for each connection, so that whoever renews it is heard')
    }),
    compression: z.enum(['none', 'gzip', 'snappy', 'lz4', 'zstd']).default('lz4').describe('Of what we write. Everything can be read'),
    requestBytesMax: count(10_000, 1_000_000_000)
      .default(900_000)
      .describe("Of one batch; below the topics' max.message.bytes, which is 1 MiB unless told otherwise"),
    readAheadBytesMax: count(10_000, 1_000_000_000)
      .default(8 * 1024 * 1024)
      .describe('Read but not yet worked off, for each reader; beyond, nothing more is fetched'),
    sessionTimeoutMs: durationMs(30 * minuteMs)
      .default(30_000)
      .describe('A member of a group that is silent this long loses its partitions'),
    heartbeatMs: durationMs(minuteMs).default(500).describe('How soon a member hears of a rebalance'),
    retryMs: durationMs(60 * minuteMs)
      .default(120_000)
      .describe('How long brokers that do not answer are tried again before the stage gives up: longer than they take to restart'),
    replicationFactor: count(0, 32).default(0).describe('Of topics that `mtmi topics apply` makes; 0 leaves it to the brokers')
  }),

  qdrant: section({
    url: z
      .string()
      .refine(isHttpUrl, 'expected an http:// or https:// address without a user in it')
      .default('http://127.0.0.1:6333')
      .describe('Of the server, or of any node of the cluster. An authority that Node does not know: NODE_EXTRA_CA_CERTS=FILE'),
    apiKey: z.string().default('').describe('A secret: rather by MTMI_QDRANT_API_KEY_FILE'),
    prefix: z
      .string()
      .regex(/^[A-Za-z0-9_]{0,64}$/)
      .default('')
      .describe('Before the names of collections and aliases, so that several runs can share a server: `shop_` gives shop_items_live'),
    timeoutMs: count(1, 10 * minuteMs)
      .default(30_000)
      .describe('Of one write'),
    retryMs: durationMs(60 * minuteMs)
      .default(20_000)
      .describe(
        'How long a write is sent again before the publisher hears of it; the publisher then goes on trying, for as long as it takes'
      ),
    searchTimeoutMs: count(1, 10 * minuteMs)
      .default(2000)
      .describe('Of one question'),
    searchRetryMs: durationMs(60 * minuteMs)
      .default(1500)
      .describe('How long a question is asked again: somebody waits for the answer'),
    concurrency: count(1, 64).default(4).describe('Writes on their way at a time; more make a small server time out'),
    connectionsMax: count(1, 1024).default(64),
    batchBytesMax: count(10_000, 30_000_000).default(4_000_000).describe('Of one write. Servers take 32 MB; beyond 5 MB they stall others'),
    liveMaxAgeMs: durationMs(minuteMs)
      .default(250)
      .describe('How old the knowledge of which space is live may be: a switch made by another process is seen so late. 0 asks each time'),
    greenWaitMs: durationMs(60 * minuteMs)
      .default(2000)
      .describe('How long a switch waits for the new space to be indexed, before it is put off until the next write'),
    tombstoneMs: durationMs(365 * dayMs)
      .default(dayMs)
      .describe('How long a removed point is remembered, so that a write that is late does not bring it back'),
    shards: count(0, 256).default(0).describe('Of each collection; 0 leaves it to the server'),
    replicas: count(1, 16).default(1).describe('Copies of each shard'),
    writeConsistency: count(1, 16).default(1).describe('Replicas that must have applied a write'),
    onDisk: z.boolean().default(false).describe('Vectors and payloads on disk instead of in memory'),
    quantization: z
      .enum(['none', 'int8'])
      .default('none')
      .describe('int8: a quarter of the memory for searching; candidates are scored again with the exact vectors'),
    oversampling: real(1, 16).default(2).describe('With quantization: candidates for each neighbour that is asked for'),
    searchEffort: count(0, 10_000).default(0).describe('hnsw_ef: candidates that a search keeps; 0 leaves it to the server'),
    exact: z.boolean().default(false).describe('Compare with every vector instead of using the graph')
  }),

  sources: z
    .array(sourceSchema)
    .max(64)
    .default([])
    .describe(
      'Topics of others that `mtmi ingest` maps into interactions and items. The README shows how; `mtmi mapping try` what comes of it'
    ),

  registry: section({
    url: z
      .string()
      .refine(
        (text) => text === '' || text.split(',').every(isHttpUrl),
        'expected http:// or https:// addresses, separated by commas, without a user in them'
      )
      .default('')
      .describe(
        'Of a Confluent schema registry; several, separated by commas, are tried in turn. Empty: schemas are kept in the data folder'
      ),
    username: z.string().default('').describe('Basic authentication'),
    password: z.string().default('').describe('Basic authentication; better given by file: MTMI_REGISTRY_PASSWORD_FILE'),
    token: z.string().default('').describe('Bearer authentication; better given by file: MTMI_REGISTRY_TOKEN_FILE'),
    register: z
      .boolean()
      .default(true)
      .describe('Whether a stage may register our schemas. Without it: `mtmi schemas register`, by somebody who may'),
    timeoutMs: count(1, minuteMs).default(5000).describe('Of one request'),
    retryMaxMs: durationMs(60 * minuteMs)
      .default(2 * minuteMs)
      .describe(
        'How long a registry that does not answer is waited for before the stage ends with status 1: longer than a rolling restart takes'
      )
  }),

  events: section({
    types: z
      .record(z.string(), real(0, 1000))
      .default({ click: 1, view: 1, rating: 1, like: 1, addtocart: 2, purchase: 3, transaction: 3, checkin: 1, review: 1 })
      .describe(
        'Event types that count, with their weight in the loss; 0 keeps a type in histories without learning from it. Others are ignored and counted'
      ),
    futureMaxMs: durationMs(365 * dayMs)
      .default(10 * minuteMs)
      .describe('An event time further ahead than this of when the log took it is refused: clocks err by minutes, not more'),
    badShareMax: real(0, 1)
      .default(0.5)
      .describe('Above this share of bad events in a window of 1,000 the stage stops: then it is our schema that is wrong')
  }),

  sequence: section({
    historyMax: count(1, 1000).default(50).describe('Steps kept per user'),
    historyAgeMaxMs: durationMs(3650 * dayMs)
      .default(365 * dayMs)
      .describe("Steps older than this against the user's newest are dropped"),
    graceMs: durationMs(30 * dayMs)
      .default(60 * minuteMs)
      .describe("How far behind the user's own newest event another may arrive and still be put in its place"),
    idleMaxMs: durationMs(3650 * dayMs)
      .default(730 * dayMs)
      .describe('A user this long without an event, by event time, is forgotten; at least historyAgeMaxMs'),
    recentMax: count(16, 100_000).default(1000).describe('Event ids remembered per user within the grace'),
    emitEventsMax: count(1, 100_000)
      .default(4096)
      .describe(
        'Events taken together before their users are emitted, where so many wait: each time costs a write to the disk, on Kafka a transaction of some 20 ms'
      ),
    commitIntervalMs: durationMs(minuteMs)
      .default(1000)
      .describe('How often state and offsets are made durable: a crash repeats at most this much')
  }),

  model: modelSchema.prefault({}),

  train: section({
    batchSize: count(1, 8192).default(256),
    batchWaitMaxMs: durationMs(minuteMs).default(1000).describe('A batch that is not full is learned after this'),
    negatives: count(0, 16384)
      .default(1024)
      .describe('Sampled by popularity, shared by the batch. With 1,700 items 256 do as well; a larger catalogue needs more'),
    denseLearningRate: real(0, 1)
      .default(0.005)
      .describe('Adam, for the towers. A stream is seen once: .002 learns as well but later, .01 is worse'),
    rowLearningRate: real(0, 10)
      .default(0.05)
      .describe('Row-wise Adagrad, for item and feature rows. Between .025 and .1 it hardly matters: vectors are scaled to length 1'),
    gradientNormMax: real(0, 1e6).default(5).describe('Gradients are scaled down to this norm; 0 switches it off'),
    replayRatio: real(0, 8)
      .default(1)
      .describe(
        'Older examples learned beside each new one. On MovieLens 100k hit rate@20 is .299 with 1 and .292 without, at two thirds of the time'
      ),
    reservoirMax: count(0, 10_000_000).default(50_000).describe('Examples kept for replay'),
    rowMemory: real(0, 1e9)
      .default(0)
      .describe(
        'Steps of a row after which half of a past gradient is forgotten, so that its rate does not fall for ever as its clicks become more. 0: none is, as in Adagrad'
      ),
    newRows: z
      .enum(['chance', 'history'])
      .default('chance')
      .describe(
        'Where the row of a new item begins: anywhere, or towards the learned rows of what its first user clicked before it. `history` helps where the catalogue says nothing of items'
      ),
    driftResponse: section({
      rowRate: real(1, 100).default(1).describe('Times rowLearningRate, when hit rate or loss is found to have got worse; then down to 1'),
      denseRate: real(1, 100).default(1).describe('Times denseLearningRate, likewise'),
      replayNewest: count(0, 10_000_000)
        .default(0)
        .describe('While it lasts nothing older is replayed than so many examples before the change was noticed; 0: all that is kept'),
      examples: count(1, 10_000_000).default(5000).describe('How long it lasts, and how long at least until the next')
    }),
    distillation: section({
      weight: real(0, 1000)
        .default(0)
        .describe(
          'λ: how strongly the interests of replayed histories are held to those that a slow copy of the towers makes of them. 0: not at all'
        ),
      halfLife: count(1, 10_000_000).default(500).describe('Of the slow copy, in steps')
    }),
    admissionMin: count(1, 1000).default(1).describe('Interactions before an item gets a row of its own'),
    itemsMax: count(16, 100_000_000).default(10_000_000).describe('Rows of the item table; the least recently seen make room'),
    itemIdleMaxMs: durationMs(3650 * dayMs)
      .default(365 * dayMs)
      .describe('An item this long unseen, by event time, loses its row'),
    evaluateItemsMax: count(0, 10_000_000)
      .default(20_000)
      .describe('Up to this many items every example is ranked; beyond, a hash-chosen share'),
    checkpointIntervalMs: durationMs(dayMs)
      .default(5000)
      .describe('What came since the last one is learned again after a crash. Most of them tell only what has changed'),
    checkpointKeep: count(1, 1000).default(3).describe('Whole ones kept, with those that tell of changes since the oldest of them'),
    versionIntervalMs: durationMs(365 * dayMs)
      .default(60 * minuteMs)
      .describe('A checkpoint this long after the last version is one: `mtmi rollback` can go back to it'),
    versionKeep: count(0, 1000).default(5).describe('Versions kept beside the newest checkpoints, each as large as one'),
    auditFile: z
      .string()
      .min(1)
      .nullable()
      .default(null)
      .describe(
        'Where each batch learned is written down with the source offsets of its examples; nowhere unless given: the file only grows'
      ),
    guardExamples: count(16, 10_000_000)
      .default(10_000)
      .describe('Examples learned lately, of which no user and no item may have more than its share'),
    userShareMax: real(0, 1)
      .default(0.05)
      .describe('Of these, one user at most, or eight times the mean; more of his are ranked, not learned. 1 switches it off'),
    itemShareMax: real(0, 1)
      .default(0.1)
      .describe(
        'Of these, one target item at most, or eight times the mean: a best-seller has some hundredths, a flood most. 1 switches it off'
      ),
    divergedMax: count(1, 1000).default(3).describe('Not-finite steps in a row before going back to the last checkpoint'),
    updateIntervalMs: durationMs(60 * minuteMs)
      .default(2000)
      .describe('How often changed rows are sent to the publisher: an item that is new to the model is unknown to others for so long'),
    weightsIntervalMs: durationMs(24 * 60 * minuteMs)
      .default(10_000)
      .describe('How often tower weights are')
  }),

  evaluate: section({
    interactionsMin: count(1, 1000)
      .default(5)
      .describe('Of `mtmi evaluate --data`: items with fewer interactions are left out, then users with fewer. 5 is what papers use'),
    historyMax: count(1, 1000)
      .default(20)
      .describe('Newest steps of a history that the model reads. 20 is usual for the data sets of the papers'),
    batchSize: count(1, 8192).default(1024).describe('Positions a step. ComiRec gains a fifth of recall from 1,024 instead of 128'),
    negatives: count(0, 16384)
      .default(2048)
      .describe('Drawn by popularity, shared by the batch: as good as a softmax over all items at a third of its cost'),
    denseLearningRate: real(0, 1).default(0.002).describe('Adam, for the towers. Many epochs bear less than one pass of a stream'),
    rowLearningRate: real(0, 10).default(0.05).describe('Row-wise Adagrad, for item and feature rows'),
    dropout: real(0, 0.9)
      .default(0.2)
      .describe('As model.dropout, which is for one pass; over many epochs histories are learned by heart without it'),
    temperature: real(0.01, 10)
      .default(0.12)
      .describe(
        'As model.temperature, which is for one pass: many epochs bear a sharper softmax. Recall@50 on Gowalla’s tail, .15 / .12: MTMI .314 / .323, one vector .311 / .318'
      ),
    epochsMax: count(1, 10_000).default(40),
    patience: count(1, 1000)
      .default(3)
      .describe('Epochs without a better Recall@50 on the validation users after which it stops; the best weights are kept'),
    periods: count(2, 10_000)
      .default(10)
      .describe('Of --protocol stream, where the files of the data set are not periods themselves: parts of as many interactions each'),
    periodTargetsMax: count(0, 100_000_000)
      .default(5000)
      .describe(
        'Targets of a period that are asked, drawn by seed; 0: all. With 5,000 a recall of .35 is known within .007 (one standard error)'
      ),
    periodFrom: count(1, 10_000)
      .default(1)
      .describe('Periods before this one are learned, but not asked; --policy retrain does not learn them one by one either'),
    periodEpochs: count(1, 1000).default(10).describe('At most, over a period, or all of them, that are learned anew'),
    periodPatience: count(1, 1000)
      .default(1)
      .describe(
        'Of these, without a better Recall@20 on held-out users of the newest period, after which it stops; the best weights are kept'
      ),
    updateEpochs: count(1, 1000)
      .default(3)
      .describe('Over a period that an existing model is updated with. On DIGINETICA two fall short of learning all anew, three do not'),
    updateReplay: real(0, 8).default(1).describe('Older interactions beside each new one with --policy replay and distill'),
    updateDistillation: real(0, 1000).default(5).describe('train.distillation.weight with --policy distill'),
    times: z.boolean().default(true).describe('Whether the towers see how old a step is, where the data set has times'),
    features: z.boolean().default(true).describe('Whether the towers read side features of items, where the data set has any')
  }),

  publish: section({
    epsilon: real(0, 2)
      .default(0.02)
      .describe('An item vector that moved less than this (L2, unit vectors) is not written again: bounds the error of its score'),
    userWaitMs: durationMs(minuteMs).default(50).describe('Changes of one user within this are written once'),
    sweepIntervalMs: durationMs(dayMs).default(60_000).describe('No user vector is older than this after the tower weights moved'),
    batchSize: count(1, 10_000).default(500),
    spacesKept: count(1, 100)
      .default(2)
      .describe('Spaces of the index, the live one and the newest before it: each takes as much room as the live one'),
    gate: section({
      targets: count(0, 100_000)
        .default(2000)
        .describe('Newest targets on which new tower weights are compared with the live ones before they are published; 0 looks at none'),
      hitLossMax: real(0, 1)
        .default(0.01)
        .describe('Weights that find fewer of them in the first 20 than this share are refused, if it is not by chance'),
      chanceMax: real(0, 0.5)
        .default(1e-6)
        .describe(
          'A loss counts that chance makes less often than this. There are 8,640 gates a day at train.weightsIntervalMs of 10 s: one false refusal in four months. Of 200 targets that only one of the two finds, 134 must be lost'
        ),
      cosineMax: real(-1, 1)
        .default(0.9)
        .describe(
          "Mean cosine between a user's interests above which they have collapsed: healthy models have .4 to .5, collapsed ones .95"
        ),
      canaries: count(0, 10_000).default(64).describe('Users whose lists by both weights are compared'),
      overlapMin: real(0, 1)
        .default(0.1)
        .describe(
          'Lists that keep less of their first 20 than this, and find no more, are refused: the features, not the tastes, have changed'
        ),
      timeShareMax: real(0.001, 1)
        .default(0.1)
        .describe('Of the time that gates may take: with a large catalogue they come less often, and weights are published later')
    })
  }),

  popularity: section({
    halfLifeMs: count(1000, 3650 * dayMs)
      .default(dayMs)
      .describe(
        'An interaction counts half after this: what is popular follows a change within about one. A day evens out day and night; shorter follows news, longer suits few interactions'
      ),
    itemsMax: count(100, 10_000_000)
      .default(100_000)
      .describe('Items whose popularity is counted, the most popular ones: some 100 bytes each'),
    contexts: z
      .preprocess(
        (value) => (typeof value === 'string' ? value.split(',').map((field) => field.trim()) : value),
        z.array(z.string().min(1).max(100)).max(8)
      )
      .default([])
      .describe(
        'Fields of the interactions’ context, such as country and device, within which popularity is counted too; as a variable separated by commas. Few values each: not a session or a user'
      ),
    contextsMax: count(1, 1000).default(32).describe('Values of these fields that are counted, the most frequent ones'),
    contextItemsMax: count(10, 100_000).default(1000).describe('Items counted within one of them'),
    contextMin: real(1, 1e9)
      .default(100)
      .describe('Faded interactions from which on a context is published: fewer are chance, and might tell of a single user'),
    intervalMs: count(1, 60 * minuteMs)
      .default(5000)
      .describe('How often items whose popularity moved by more than a tenth are handed on to be written')
  }),

  recommend: section({
    quotaShare: real(0, 1)
      .default(0.4)
      .describe(
        'Share of a list that is divided evenly among the interests before the rest goes to the best scores: of 10 or 20 places four interests get 1 or 2 each, so that none is starved. 0: the scores alone'
      ),
    diversity: real(0, 1)
      .default(0)
      .describe(
        'How much an item must differ from those already in the list (MMR): 0 not at all, 1 nothing else counts. The interests are diverse by training'
      ),
    diversityBy: z
      .string()
      .max(256)
      .default('')
      .describe('A field of catalogue features, such as genre, in which items are to differ. Empty: their vectors'),
    candidatesPerPlace: count(1, 20)
      .default(3)
      .describe('With diversity, items looked at for each place of a list: enough that leaving a near-duplicate out finds another'),
    repeats: z.boolean().default(false).describe("Whether items of the user's history may be recommended again"),
    becauseMax: count(1, 50).default(3).describe('Items of the history that explain one result: more is not read'),
    becauseScoreMin: real(-1, 1)
      .default(0.3)
      .describe(
        'Least cosine between a result and what explains it: in 64 dimensions two unrelated unit vectors stay below .3 99% of the time'
      ),
    becauseHistoryMax: count(1, 1000)
      .default(50)
      .describe('Newest items of the history that are looked at for an explanation: a usual window')
  }),

  serve: section({
    host: z.string().min(1).default('127.0.0.1'),
    port: count(0, 65535).default(8080).describe('0 takes a free one'),
    limitMax: count(1, 10_000).default(200).describe('Largest `limit` of a request'),
    bodyMaxBytes: count(1024, 64 * 1024 * 1024).default(1024 * 1024),
    activeMax: count(1, 100_000)
      .default(1000)
      .describe('Requests answered at a time; one more gets 503: beyond it a queue would only make everybody wait'),
    readToken: tokens().describe(
      'Whoever sends one of these may ask for recommendations and similar items. Several, separated by commas, while one is changed for another. Rather by MTMI_SERVE_READ_TOKEN_FILE'
    ),
    eventsToken: tokens().describe('Whoever sends one of these may post events'),
    adminToken: tokens().describe(
      'Whoever sends one of these may do everything: look at users and items, as the console does, and erase a user. With any token set, nothing but health, metrics and descriptions is told without one'
    ),
    open: z
      .boolean()
      .default(false)
      .describe('Whether a host that others reach may be listened on without tokens: only where something in front asks who they are'),
    sessions: z
      .boolean()
      .default(true)
      .describe(
        'Whether `POST /v1/recommendations` answers sessions that are not stored. `mtmi serve` then follows the model on a thread of its own, which costs its memory: item rows, towers and the engine'
      ),
    console: z
      .boolean()
      .default(true)
      .describe('The page at / and the routes by which it looks at users and items: with adminToken where there are tokens'),
    staleMaxMs: durationMs(dayMs).default(120_000).describe('Work that waits longer than this without progress makes /readyz fail')
  }),

  ops: section({
    host: z
      .string()
      .min(1)
      .default('127.0.0.1')
      .describe(
        'Where a stage shows /livez, /readyz and /metrics; in a container 0.0.0.0. Not for the public: keep it behind a network policy'
      ),
    port: count(0, 65535).default(0).describe('0: nothing listens. `serve` and `start` show the same on serve.port too')
  }),

  drift: section({
    reference: z
      .enum(['rolled', 'pinned'])
      .default('rolled')
      .describe(
        'What recent interactions are compared with: `rolled`, those just before them, which sees what changes suddenly and gets used to it; `pinned`, the first ones after the warm-up, for ever'
      ),
    warmupEvents: count(0, 1_000_000_000)
      .default(10_000)
      .describe('Interactions that are left out at first, while popularity is not known yet and every user is new'),
    referenceEvents: count(100, 100_000_000).default(10_000).describe('Interactions in the reference'),
    windowEvents: count(100, 10_000_000)
      .default(2500)
      .describe(
        'Recent interactions that are compared: fewer see a change sooner, and see more that are none. Chance alone makes the index .005'
      ),
    psiMin: real(0.01, 10)
      .default(0.15)
      .describe(
        'A population stability index from here on counts as a detection. By custom .1 is a shift and .25 another population; on simulations popularity stays below .05 without a drift, and reaches .18 … .36 at one'
      ),
    confidence: real(1e-12, 0.5)
      .default(1e-4)
      .describe('δ of ADWIN on hit rate and loss. Clicks of one session hang together, so it is far stricter than the paper’s .002'),
    stateIntervalMs: durationMs(dayMs).default(30_000).describe('How often the state of the watch on interactions is written down')
  }),

  trace: section({
    enabled: z
      .boolean()
      .default(false)
      .describe(
        'Carry the `traceparent` of an event to the vectors that come of it, tell of each on the way in the log, and make spans through the OpenTelemetry API: they go nowhere unless an SDK is loaded before the program'
      )
  }),

  logFormat: z
    .enum(['auto', 'text', 'json'])
    .default('auto')
    .describe('On standard error. `auto`: JSON lines for a stage that goes on until it is told to end, words for everything else'),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info')
})

export type Config = z.infer<typeof configSchema>
export type SequenceOptions = Config['sequence']
export type EventOptions = Config['events']
export type ModelOptions = Config['model']
export type TrainOptions = Config['train']
export type EvaluateOptions = Config['evaluate']
export type PublishOptions = Config['publish']
export type GateOptions = PublishOptions['gate']
export type ServeOptions = Config['serve']
export type PopularityOptions = Config['popularity']
export type RecommendOptions = Config['recommend']
export type RegistryOptions = Config['registry']
export type DriftOptions = Config['drift']
export type KafkaOptions = Config['kafka']
export type QdrantOptions = Config['qdrant']

const prefix = 'MTMI_'
/** Variables that are the program's, but not the configuration's. */
const reserved = new Set(['MTMI_CONFIG', 'MTMI_DATA', 'MTMI_CACHE', 'MTMI_NATIVE', 'MTMI_BACKEND'])

/**
 * The configuration in force: defaults, under the file's values, under `MTMI_…` variables (`MTMI_TRAIN_BATCH_SIZE=512`), under `overrides`.
 * `MTMI_X_FILE` reads the value of X from a file, for secrets.
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
  let merged = merge({}, (file ?? {}) as Record<string, unknown>)
  const paths = variablePaths(configSchema)
  for (const [name, text] of Object.entries(environment)) {
    if (!name.startsWith(prefix) || text === undefined || reserved.has(name)) continue
    const fromFile = name.endsWith('_FILE') && !paths.has(name)
    const path = paths.get(fromFile ? name.slice(0, -'_FILE'.length) : name)
    if (path === undefined) {
      problems.push(`variable ${name}: there is no such setting${suggest(name, [...paths.keys()])}`)
      continue
    }
    merged = merge(merged, nest(path, parseScalar(fromFile ? readSecret(text).trimEnd() : text)))
  }
  merged = merge(merged, overrides as Record<string, unknown>)
  const parsed = configSchema.safeParse(merged)
  const topics = isMapping(merged.topics) ? merged.topics : {}
  const names = { interactions: 'interactions', items: 'items', userSequences: 'user-sequences', modelUpdates: 'model-updates', ...topics }
  problems.push(...sourceProblems(merged.sources, [names.interactions, names.items, names.userSequences, names.modelUpdates].map(String)))
  if (isMapping(merged.registry) && merged.registry.token && merged.registry.username) {
    problems.push('registry.username and registry.token are both given: it is either basic or bearer authentication')
  }
  if (!parsed.success) problems.push(...parsed.error.issues.flatMap((issue) => describe(issue, merged)))
  else if (parsed.data.sequence.idleMaxMs < parsed.data.sequence.historyAgeMaxMs) {
    problems.push(
      `sequence.idleMaxMs (${parsed.data.sequence.idleMaxMs}) must be at least sequence.historyAgeMaxMs (${parsed.data.sequence.historyAgeMaxMs}): a user must not be forgotten while steps still count`
    )
  }
  if (parsed.success) problems.push(...modelProblems(parsed.data.model), ...trainProblems(parsed.data.train))
  if (problems.length > 0 || !parsed.success) throw new ConfigError(problems)
  return parsed.data
}

/** `config` with some settings changed. @throws ConfigError as resolveConfig does */
export function withSettings(config: Config, settings: Readonly<Record<string, unknown>>): Config {
  return resolveConfig(config, {}, settings)
}

/** The configuration from this process's environment. The only reader of `process.env` in `src`. */
export function configFromEnvironment(
  file: unknown,
  overrides: Readonly<Record<string, unknown>> = {},
  readSecret?: (path: string) => string
): Config {
  return resolveConfig(file, process.env, overrides, readSecret)
}

/** A variable that is not part of the schema: where data sets or the configuration file are, or which backend to force. */
export function environmentVariable(
  name: 'MTMI_CONFIG' | 'MTMI_DATA' | 'MTMI_BACKEND' | 'MTMI_CACHE' | 'TF_NUM_INTRAOP_THREADS'
): string | undefined {
  return process.env[name] || undefined
}

/** Whether the value of a setting with this name must never be printed. Names of files that hold secrets may be. */
export function isSecretName(name: string): boolean {
  return /password|passphrase|secret|token|apiKey|api_key|credential|privateKey/i.test(name) && !/File$|_FILE$/.test(name)
}

export interface SettingDescription {
  /** `train.batchSize` */
  readonly path: string
  readonly variable: string
  readonly value: unknown
  readonly reason: string | undefined
}

/** What no single bound can say. */
function trainProblems({ distillation, replayRatio, reservoirMax }: TrainOptions): string[] {
  if (distillation.weight === 0 || (replayRatio > 0 && reservoirMax > 0)) return []
  return [
    `train.distillation.weight (${distillation.weight}) must be 0 with train.replayRatio ${replayRatio} and train.reservoirMax ${reservoirMax}: what is distilled are the interests of replayed examples`
  ]
}

/** Every setting with its value in `config`, in the order of the schema. */
export function describeConfig(config: Config): SettingDescription[] {
  return [...variablePaths(configSchema)].map(([variable, path]) => {
    let schema: z.ZodType = configSchema
    let value: unknown = config
    for (const key of path) {
      schema = (unwrap(schema) as z.ZodObject).shape[key] as z.ZodType
      value = (value as Record<string, unknown>)[key]
    }
    return { path: path.join('.'), variable, value: isSecret(path.at(-1)) && value !== '' ? '***' : value, reason: schema.description }
  })
}

/** The same with *** for every secret that is set: what may be printed. */
export function withoutSecrets<T>(value: T): T {
  if (Array.isArray(value)) return value.map(withoutSecrets) as T
  if (!isMapping(value)) return value
  const shown = Object.entries(value).map(([key, inner]) => [key, isSecret(key) && inner !== '' ? '***' : withoutSecrets(inner)])
  return Object.fromEntries(shown) as T
}

function isSecret(key: string | undefined): boolean {
  return key !== undefined && /password|secret|token|apiKey/i.test(key)
}

function isHttpUrl(text: string): boolean {
  if (!URL.canParse(text.trim())) return false
  const { protocol, username, password } = new URL(text.trim())
  return (protocol === 'http:' || protocol === 'https:') && username === '' && password === ''
}

/** `train.batchSize` ↔ `MTMI_TRAIN_BATCH_SIZE`, for every leaf of the schema. */
export function variablePaths(schema: z.ZodType, path: readonly string[] = []): Map<string, readonly string[]> {
  const inner = unwrap(schema)
  if (!(inner instanceof z.ZodObject)) return new Map([[variableName(path), path]])
  return new Map(Object.entries(inner.shape).flatMap(([key, value]) => [...variablePaths(value as z.ZodType, [...path, key])]))
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
    else return inner
  }
}

function describe(issue: z.core.$ZodIssue, input: unknown): string[] {
  const at = issue.path.map(String)
  if (issue.code === 'unrecognized_keys') {
    const siblings = shapeAt(at)
    return issue.keys.map((key) => `${[...at, key].join('.')}: there is no such setting${suggest(key, siblings)}`)
  }
  // Where one text stands for a list of one, the issue is about element 0 of it.
  const value = at.reduce<unknown>(
    (inner, key) => (typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>)[key] : inner),
    input
  )
  const variable = at.map((_, i) => variableName(at.slice(0, at.length - i))).find((name) => variablePaths(configSchema).has(name))
  const given = isSecret(at.at(-1)) ? '***' : JSON.stringify(withoutSecrets(value))
  return [`${at.join('.') || 'configuration'}: ${issue.message} (given: ${given}${variable === undefined ? '' : `; variable ${variable}`})`]
}

function shapeAt(path: readonly string[]): string[] {
  let schema: z.ZodType = configSchema
  for (const key of path) {
    const inner = unwrap(schema)
    if (inner instanceof z.ZodArray) schema = inner.element as z.ZodType
    else if (inner instanceof z.ZodObject && inner.shape[key] !== undefined) schema = inner.shape[key] as z.ZodType
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
    for (let j = 1; j <= b.length; j++) next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    row = next
  }
  return row[b.length]!
}

function merge(base: Record<string, unknown>, over: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const merged = { ...base }
  for (const [key, value] of Object.entries(over)) {
    if (value === undefined) continue
    const before = merged[key]
    merged[key] = isMapping(value) && isMapping(before) ? merge(before, value) : value
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
      return text
    }
  }
  return text
}
