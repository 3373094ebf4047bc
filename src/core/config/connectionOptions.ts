// What can be configured of what lies outside: the log and its topics, brokers, the vector database, the schema
// registry.

import { z } from 'zod'
import { count, dayMs, durationMs, minuteMs, section } from './settingTypes.ts'

export const topicsSchema = section({
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
})

export const kafkaSchema = section({
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
    tokenFile: z
      .string()
      .default('')
      .describe('For oauthbearer: read again for each connection, so that whoever renews it is heard')
  }),
  compression: z
    .enum(['none', 'gzip', 'snappy', 'lz4', 'zstd'])
    .default('lz4')
    .describe('Of what we write. Everything can be read'),
  requestBytesMax: count(10_000, 1_000_000_000)
    .default(900_000)
    .describe("Of one batch; below the topics' max.message.bytes, which is 1 MiB unless told otherwise"),
  sessionTimeoutMs: durationMs(30 * minuteMs)
    .default(30_000)
    .describe('A member of a group that is silent this long loses its partitions'),
  retryMs: durationMs(60 * minuteMs)
    .default(15 * minuteMs)
    .describe('How long a running stage waits for brokers that do not answer, counted from the last answer'),
  onGap: z
    .enum(['continue', 'stop'])
    .default('continue')
    .describe('Where retention has removed records that a stage has not read: count them and continue, or stop it'),
  replicationFactor: count(0, 32)
    .default(0)
    .describe('Of topics that `mtmi topics apply` makes; 0 leaves it to the brokers')
})

export const qdrantSchema = section({
  url: z
    .string()
    .refine(isHttpUrl, 'expected an http:// or https:// address without a user in it')
    .default('http://127.0.0.1:6333')
    .describe(
      'Of the server, or of any node of the cluster. An authority that Node does not know: NODE_EXTRA_CA_CERTS=FILE'
    ),
  apiKey: z.string().default('').describe('A secret: rather by MTMI_QDRANT_API_KEY_FILE'),
  prefix: z
    .string()
    .regex(/^[A-Za-z0-9_]{0,64}$/)
    .default('')
    .describe(
      'Before the names of collections and aliases, so that several runs can share a server: `shop_` gives shop_items_live'
    ),
  searchTimeoutMs: count(1, 10 * minuteMs)
    .default(2000)
    .describe('Of one question'),
  concurrency: count(1, 64).default(4).describe('Writes on their way at a time; more make a small server time out'),
  shards: count(0, 256).default(0).describe('Of each collection; 0 leaves it to the server'),
  replicas: count(1, 16).default(1).describe('Copies of each shard'),
  writeConsistency: count(1, 16).default(1).describe('Replicas that must have applied a write'),
  onDisk: z.boolean().default(false).describe('Vectors and payloads on disk instead of in memory'),
  quantization: z
    .enum(['none', 'int8'])
    .default('none')
    .describe('int8: a quarter of the memory for searching; candidates are scored again with the exact vectors'),
  searchEffort: count(0, 10_000)
    .default(0)
    .describe('hnsw_ef: candidates that a search keeps; 0 leaves it to the server')
})

export const registrySchema = section({
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
  retryMaxMs: durationMs(60 * minuteMs)
    .default(2 * minuteMs)
    .describe(
      'How long a registry that does not answer is waited for before the stage ends with status 1: longer than a rolling restart takes'
    )
})
function isHttpUrl(text: string): boolean {
  if (!URL.canParse(text.trim())) return false
  const { protocol, username, password } = new URL(text.trim())
  return (protocol === 'http:' || protocol === 'https:') && username === '' && password === ''
}
