// A Confluent schema registry over HTTP (also Karapace, Redpanda, Apicurio's compatible API): ids ↔ schemas,
// registration, compatibility.
//
// Plain fetch instead of @kafkajs/confluent-schema-registry, which decodes records itself, with its own longs and
// without bounds, treats a registry that does not answer as a bad record, and brings an HTTP client, ajv and protobufjs.

import { setTimeout as pause } from 'node:timers/promises'
import type { Clock } from '../../core/clock.ts'
import type { RegistryOptions } from '../../core/config/config.ts'
import { ConfigError, UnavailableError } from '../../core/errors.ts'
import { handledLater } from '../../core/promises.ts'
import type { Rng } from '../../core/rng.ts'
import { type SchemaRegistry, UnknownSchemaIdError } from './schemaRegistry.ts'

export interface HttpRegistryParts {
  readonly clock: Clock
  /** Spreads the retries of many processes. */
  readonly rng: Rng
  /** Called for each failed attempt that is followed by another. */
  readonly onProblem?: (message: string) => void
  /** Before the first retry; each further one waits twice as long, up to 10 s. */
  readonly retryFirstMs?: number
  /** How long a registry that does not answer is waited for. Default: two minutes, longer than a rolling restart takes. */
  readonly retryMaxMs?: number
  /** Of one request. Default 5 s. */
  readonly timeoutMs?: number
}

interface RegisteredSchema {
  readonly id: number
  readonly version: number
}

interface CompatibilityReport {
  readonly compatible: boolean
  readonly messages: readonly string[]
}

const contentType = 'application/vnd.schemaregistry.v1+json'
const retryFirstMs = 200
const retryLongestMs = 10_000
const retryMaxMs = 120_000
/** Schemas kept, and unknown ids: a topic has a handful of writers' schemas. */
const cacheMax = 10_000
/** An id that was not found is looked up again after this: the registry's own replicas may have been behind. */
const unknownMs = 10_000
/** References of references. */
const depthMax = 16

/** The registry's own error codes. */
const subjectNotFound = 40401
const versionNotFound = 40402
const schemaNotFound = 40403
const noSubjectCompatibility = 40408

interface Response {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

interface Reference {
  readonly name: string
  readonly subject: string
  readonly version: number
}

export class HttpRegistry implements SchemaRegistry {
  readonly #options: RegistryOptions
  readonly #parts: HttpRegistryParts
  readonly #urls: readonly string[]
  readonly #timeoutMs: number
  readonly #authorization: string | undefined
  readonly #schemas = new Map<number, { readonly text: string; readonly isJson: boolean }>()
  readonly #unknown = new Map<number, { readonly error: UnknownSchemaIdError; readonly sinceMs: number }>()
  readonly #ids = new Map<string, number>()
  readonly #loading = new Map<number, Promise<string>>()
  readonly #closed = new AbortController()
  /** Which address answered last. */
  #at = 0

  constructor(options: RegistryOptions, parts: HttpRegistryParts) {
    this.#options = options
    this.#parts = parts
    this.#timeoutMs = parts.timeoutMs ?? 5000
    this.#urls = options.url.split(',').map((url) => url.trim().replace(/\/+$/, ''))
    const { username, password, token } = options
    const basic = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
    this.#authorization = token !== '' ? `Bearer ${token}` : username !== '' ? basic : undefined
  }

  async idFor(subject: string, schemaJson: string): Promise<number> {
    const schema = JSON.stringify(JSON.parse(schemaJson))
    const key = `${subject}\n${schema}`
    const known = this.#ids.get(key)
    if (known !== undefined) return known
    // Looked up first: a reader without the right to write continues where the schema is registered.
    const id = (await this.lookUp(subject, schema))?.id ?? (await this.#registerIfAllowed(subject, schema))
    this.#ids.set(key, id)
    put(this.#schemas, id, { text: schema, isJson: false })
    return id
  }

  async schemaOf(id: number): Promise<string> {
    const cached = this.cached(id)
    if (cached !== undefined) return cached
    const unknown = this.#unknown.get(id)
    if (unknown !== undefined && this.#parts.clock.nowMs() - unknown.sinceMs < unknownMs) throw unknown.error
    let loading = this.#loading.get(id)
    if (loading === undefined) {
      loading = handledLater(this.#load(id).finally(() => this.#loading.delete(id)))
      this.#loading.set(id, loading)
    }
    return loading
  }

  cached(id: number): string | undefined {
    return this.#schemas.get(id)?.text
  }

  whyUnknown(id: number): UnknownSchemaIdError | undefined {
    return this.#unknown.get(id)?.error
  }

  isJson(id: number): boolean {
    return this.#schemas.get(id)?.isJson === true
  }

  close(): void {
    this.#closed.abort()
  }

  /** undefined: the subject does not have this schema. */
  async lookUp(subject: string, schema: string): Promise<RegisteredSchema | undefined> {
    const response = await this.#request('POST', `/subjects/${encodeURIComponent(subject)}`, { schema })
    if (isMissing(response, subjectNotFound, schemaNotFound)) return undefined
    const { id, version } = this.#expect(response, `look up the schema of ${subject}`)
    return { id: Number(id), version: Number(version) }
  }

  async hasSubject(subject: string): Promise<boolean> {
    const response = await this.#request('GET', `/subjects/${encodeURIComponent(subject)}/versions`)
    if (isMissing(response, subjectNotFound)) return false
    this.#expect(response, `list the versions of ${subject}`)
    return true
  }

  /** Idempotent. @throws ConfigError if it is incompatible with earlier ones, or not valid */
  async register(subject: string, schema: string): Promise<number> {
    const response = await this.#request('POST', `/subjects/${encodeURIComponent(subject)}/versions`, { schema })
    if (response.status === 409) {
      throw new ConfigError([
        `schema of ${subject} cannot read records of its earlier schemas: ${text(response.body.message)}; give new fields a default, or use another topic`
      ])
    }
    return Number(this.#expect(response, `register the schema of ${subject}`).id)
  }

  /** Whether the schema may become the subject's next version. A subject without versions takes any. */
  async compatibility(subject: string, schema: string): Promise<CompatibilityReport> {
    const path = `/compatibility/subjects/${encodeURIComponent(subject)}/versions`
    let response = await this.#request('POST', `${path}?verbose=true`, { schema })
    // Registries before 5.4 know the check against one version only.
    if (response.status === 405 || isMissing(response, 404))
      response = await this.#request('POST', `${path}/latest?verbose=true`, { schema })
    if (isMissing(response, subjectNotFound, versionNotFound)) return { compatible: true, messages: [] }
    const { is_compatible, messages } = this.#expect(response, `check the schema of ${subject}`)
    return { compatible: is_compatible === true, messages: Array.isArray(messages) ? messages.map(text) : [] }
  }

  /** The subject's own compatibility level, or else the registry's. */
  async compatibilityLevel(subject: string): Promise<string> {
    let response = await this.#request('GET', `/config/${encodeURIComponent(subject)}`)
    if (isMissing(response, subjectNotFound, noSubjectCompatibility)) response = await this.#request('GET', '/config')
    return text(this.#expect(response, `read the compatibility level of ${subject}`).compatibilityLevel)
  }

  async setCompatibilityLevel(subject: string, level: string): Promise<void> {
    const response = await this.#request('PUT', `/config/${encodeURIComponent(subject)}`, { compatibility: level })
    this.#expect(response, `set the compatibility level of ${subject}`)
  }

  async #registerIfAllowed(subject: string, schema: string): Promise<number> {
    if (this.#options.register) return this.register(subject, schema)
    throw new ConfigError([
      `the registry at ${this.#address} does not have today's schema of ${subject}, and registry.register is false: run \`mtmi schemas register\` with an account that may write`
    ])
  }

  async #load(id: number): Promise<string> {
    if (id < 0) throw new UnknownSchemaIdError(id)
    const response = await this.#request('GET', `/schemas/ids/${id}`)
    if (isMissing(response, schemaNotFound)) throw this.#unknownId(id)
    const { schema, schemaType = 'AVRO', references = [] } = this.#expect(response, `read schema ${id}`)
    if (schemaType !== 'AVRO' && schemaType !== 'JSON')
      throw this.#unknownId(id, `schema id ${id} is ${text(schemaType)}: only AVRO and JSON are read`)
    const isJson = schemaType === 'JSON'
    const loaded = isJson ? text(schema) : await this.#withReferences(id, text(schema), references as Reference[])
    put(this.#schemas, id, { text: loaded, isJson })
    return loaded
  }

  /** The schema with an attribute `references`, as `avroReader` takes it. */
  async #withReferences(id: number, schema: string, references: readonly Reference[]): Promise<string> {
    if (references.length === 0) return schema
    const definitions = new Map<string, unknown>()
    await this.#collect(id, references, definitions, 0)
    return JSON.stringify({ type: JSON.parse(schema), references: [...definitions.values()] })
  }

  /** Adds the schemas, each after those that it refers to. */
  async #collect(
    id: number,
    references: readonly Reference[],
    definitions: Map<string, unknown>,
    depth: number
  ): Promise<void> {
    if (depth > depthMax) throw this.#unknownId(id, `schema id ${id} has references nested deeper than ${depthMax}`)
    for (const { name, subject, version } of references) {
      const key = `${subject}/${version}`
      if (definitions.has(key)) continue
      const response = await this.#request('GET', `/subjects/${encodeURIComponent(subject)}/versions/${version}`)
      if (isMissing(response, subjectNotFound, versionNotFound))
        throw this.#unknownId(
          id,
          `schema id ${id} refers to ${name}, version ${version} of ${subject}, which the registry does not have`
        )
      const body = this.#expect(response, `read version ${version} of ${subject}`)
      await this.#collect(id, (body.references ?? []) as Reference[], definitions, depth + 1)
      definitions.set(key, JSON.parse(text(body.schema)))
    }
  }

  #unknownId(id: number, message?: string): UnknownSchemaIdError {
    const error = new UnknownSchemaIdError(id, message)
    put(this.#unknown, id, { error, sinceMs: this.#parts.clock.nowMs() })
    return error
  }

  get #address(): string {
    return this.#urls[this.#at % this.#urls.length]!
  }

  /** @throws ConfigError for any other response: a retry would give the same */
  #expect({ status, body }: Response, what: string): Response['body'] {
    if (status >= 200 && status < 300) return body
    const reason = body.message === undefined ? '' : `: ${text(body.message)}`
    if (status === 401 || status === 403) {
      throw new ConfigError([
        `the registry at ${this.#address} does not let us ${what} (${status}${reason}): check registry.username and password, or token`
      ])
    }
    const hint = body.error_code === undefined ? '. This is not how a schema registry answers: check registry.url' : ''
    throw new ConfigError([`the registry at ${this.#address} refuses to ${what} (${status}${reason})${hint}`])
  }

  /** @throws UnavailableError if none of the addresses responds for `retryMaxMs` */
  async #request(method: string, path: string, body?: unknown): Promise<Response> {
    const { clock, rng, onProblem } = this.#parts
    const { signal } = this.#closed
    const beganMs = clock.nowMs()
    const untilMs = beganMs + (this.#parts.retryMaxMs ?? retryMaxMs)
    let backoffMs = this.#parts.retryFirstMs ?? retryFirstMs
    for (let attempts = 1; ; attempts++) {
      const response = await this.#attempt(method, path, body)
      if (typeof response !== 'string') return response
      const waitMs = backoffMs * (0.5 + rng.uniform() / 2)
      backoffMs = Math.min(retryLongestMs, 2 * backoffMs)
      const problem = `the schema registry at ${this.#address} does not answer ${method} ${path}: ${response}`
      this.#at++
      const spentMs = clock.nowMs() - beganMs
      if (signal.aborted || clock.nowMs() + waitMs > untilMs) {
        throw new UnavailableError(
          `${problem} (${attempts} attempts in ${Math.round(spentMs / 1000)} s). Check registry.url (${this.#urls.join(', ')})`
        )
      }
      onProblem?.(`${problem}; trying again in ${Math.round(waitMs)} ms`)
      await pause(waitMs, undefined, { signal }).catch(() => {}) // the next attempt sees that it is closed
    }
  }

  /** The registry's response, be it an error, or why there is none. */
  async #attempt(method: string, path: string, body: unknown): Promise<Response | string> {
    const timeout = AbortSignal.timeout(this.#timeoutMs)
    const signal = AbortSignal.any([timeout, this.#closed.signal])
    const headers: Record<string, string> = { accept: `${contentType}, application/json` }
    if (body !== undefined) headers['content-type'] = contentType
    if (this.#authorization !== undefined) headers.authorization = this.#authorization
    try {
      const sent = body === undefined ? {} : { body: JSON.stringify(body) }
      const response = await fetch(`${this.#address}${path}`, { method, headers, signal, ...sent })
      const content = await response.text()
      const { status } = response
      if (status >= 500 || status === 429 || status === 408) return `status ${status}`
      let parsed: unknown
      try {
        parsed = JSON.parse(content)
      } catch {
        // A proxy in front of it, or another server altogether.
        return response.ok ? 'the answer is not JSON' : { status, body: {} }
      }
      return { status, body: typeof parsed === 'object' && parsed !== null ? (parsed as Response['body']) : {} }
    } catch (error) {
      if (timeout.aborted) return `no answer within ${this.#timeoutMs} ms`
      const { cause, message } = error as Error & { cause?: { code?: string; message?: string } }
      return cause?.code ?? cause?.message ?? message
    }
  }
}

/** 404 with one of the registry's own codes: another server's 404 has none. */
function isMissing({ status, body }: Response, ...codes: number[]): boolean {
  return status === 404 && codes.includes(Number(body.error_code))
}

/** The entry that was put first leaves a full cache. */
function put<T>(cache: Map<number, T>, id: number, entry: T): void {
  cache.set(id, entry)
  if (cache.size > cacheMax) cache.delete(cache.keys().next().value!)
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null)
}
