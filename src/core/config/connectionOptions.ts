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
    .describe('Number of partitions of interactions and user-sequences. One partition keeps the whole stream in order'),
  retentionMs: durationMs(3650 * dayMs)
    .default(30 * dayMs)
    .describe('Retention time of interactions in the local log'),
  minCompactionLagMs: durationMs(365 * dayMs)
    .default(7 * dayMs)
    .describe(
      'Minimum age at which a record of a compacted topic can be removed. A trainer must not lag further behind'
    )
})

export const kafkaSchema = section({
  brokers: z
    .preprocess(
      (value) => (typeof value === 'string' ? value.split(',').map((broker) => broker.trim()) : value),
      z.array(z.string().min(1)).min(1)
    )
    .default(['127.0.0.1:9092'])
    .describe('Bootstrap brokers as host:port. The variable takes a list separated by commas'),
  clientId: z
    .string()
    .regex(/^[a-zA-Z0-9._-]{1,64}$/)
    .default('mtmi')
    .describe("Client ID in the brokers' metrics and quotas; prefix of consumer groups and transactional IDs"),
  tls: section({
    enabled: z.boolean().default(false),
    caFile: z.string().default('').describe('CA certificates in PEM format. Empty: the CA certificates of Node.js'),
    certFile: z.string().default('').describe('Client certificate in PEM format, for mutual TLS'),
    keyFile: z.string().default(''),
    keyPassword: z.string().default('').describe('Secret; prefer the file variable MTMI_KAFKA_TLS_KEY_PASSWORD_FILE')
  }),
  sasl: section({
    mechanism: z.enum(['none', 'plain', 'scram-sha-256', 'scram-sha-512', 'oauthbearer']).default('none'),
    username: z.string().default(''),
    password: z.string().default('').describe('Secret; prefer the file variable MTMI_KAFKA_SASL_PASSWORD_FILE'),
    tokenFile: z
      .string()
      .default('')
      .describe(
        'File with the token for oauthbearer. It is read again for each connection, so the token can be renewed'
      )
  }),
  compression: z
    .enum(['none', 'gzip', 'snappy', 'lz4', 'zstd'])
    .default('lz4')
    .describe('Compression of written records. All codecs can be read'),
  requestBytesMax: count(10_000, 1_000_000_000)
    .default(900_000)
    .describe("Maximum size of a batch. Must be below max.message.bytes of the topics (Kafka's default: 1 MiB)"),
  sessionTimeoutMs: durationMs(30 * minuteMs)
    .default(30_000)
    .describe('Session timeout of group members. A member without a heartbeat for this time loses its partitions'),
  retryMs: durationMs(60 * minuteMs)
    .default(15 * minuteMs)
    .describe('How long a running stage waits for brokers that do not respond, from their last response'),
  onGap: z
    .enum(['continue', 'stop'])
    .default('continue')
    .describe(
      'What a stage does when retention removed records that it has not read: count them and continue, or stop'
    ),
  replicationFactor: count(0, 32)
    .default(0)
    .describe('Replication factor of topics that `mtmi topics apply` creates; 0: the brokers’ default')
})

export const qdrantSchema = section({
  url: z
    .string()
    .refine(isHttpUrl, 'expected an http:// or https:// address without a user in it')
    .default('http://127.0.0.1:6333')
    .describe('URL of the server, or of any node of the cluster. For a private CA set NODE_EXTRA_CA_CERTS=FILE'),
  apiKey: z.string().default('').describe('Secret; prefer the file variable MTMI_QDRANT_API_KEY_FILE'),
  prefix: z
    .string()
    .regex(/^[A-Za-z0-9_]{0,64}$/)
    .default('')
    .describe(
      'Prefix of collection and alias names, so that several runs can share a server: `shop_` gives shop_items_live'
    ),
  searchTimeoutMs: count(1, 10 * minuteMs)
    .default(2000)
    .describe('Timeout of a search request'),
  concurrency: count(1, 64)
    .default(4)
    .describe('Maximum number of concurrent write requests. A small server times out with more'),
  shards: count(0, 256).default(0).describe('Number of shards of each collection; 0: the server’s default'),
  replicas: count(1, 16).default(1).describe('Replication factor of each shard'),
  writeConsistency: count(1, 16).default(1).describe('Number of replicas that must acknowledge a write'),
  onDisk: z.boolean().default(false).describe('Keep vectors and payloads on disk instead of in memory'),
  quantization: z
    .enum(['none', 'int8'])
    .default('none')
    .describe('int8: scalar quantization, a quarter of the memory. Candidates are rescored with the original vectors'),
  searchEffort: count(0, 10_000)
    .default(0)
    .describe('hnsw_ef: size of the candidate list of a search; 0: the server’s default')
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
      'URL of a Confluent schema registry. Several, separated by commas, are tried in order. Empty: schemas are stored in the data folder'
    ),
  username: z.string().default('').describe('User name for basic authentication'),
  password: z.string().default('').describe('Secret; prefer the file variable MTMI_REGISTRY_PASSWORD_FILE'),
  token: z.string().default('').describe('Bearer token, a secret; prefer the file variable MTMI_REGISTRY_TOKEN_FILE'),
  register: z
    .boolean()
    .default(true)
    .describe(
      'Whether stages register their schemas. false: run `mtmi schemas register` with an account that has the right'
    )
})

function isHttpUrl(text: string): boolean {
  if (!URL.canParse(text.trim())) return false
  const { protocol, username, password } = new URL(text.trim())
  return (protocol === 'http:' || protocol === 'https:') && username === '' && password === ''
}
