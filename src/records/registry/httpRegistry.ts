// A Confluent schema registry over HTTP (also Karapace, Redpanda, Apicurio's compatible API): ids ↔ schemas,
// registration, compatibility.
//
// Plain fetch instead of @kafkajs/confluent-schema-registry: that one decodes by itself, with its own longs and without
// bounds, keeps every schema for ever, treats a registry that is away as a bad record, and brings an HTTP client, ajv
// and protobufjs. What is needed is a dozen requests.

import { setTimeout as pause } from 'node:timers/promises'
import type { Clock } from '../../core/clock.ts'
import type { RegistryOptions } from '../../core/config/config.ts'
import { ConfigError, UnavailableError } from '../../core/errors.ts'
import { handledLater } from '../../core/promises.ts'
import type { Rng } from '../../core/rng.ts'
import { definedNames, inlineReferences } from './httpRegistryReferences.ts'
import { type SchemaRegistry, UnknownSchemaIdError } from './schemaRegistry.ts'

export interface HttpRegistryParts {
  readonly clock: Clock
  /** Spreads the retries of many processes. */
  readonly rng: Rng
  /** Told of each failed attempt that is followed by another. */
  readonly onProblem?: (message: string) => void
  /** Before the first retry; each further one waits twice as long, up to 10 s. */
  readonly retryFirstMs?: number
  /** Of one request. Default 5 s. */
  readonly timeoutMs?: number
}

export interface RegisteredSchema {
  readonly id: number
  readonly version: number
}

export interface CompatibilityReport {
  readonly compatible: boolean
  readonly messages: readonly string[]
}

const contentType = 'application/vnd.schemaregistry.v1+json'
const retryFirstMs = 200
const retryLongestMs = 10_000
/** Schemas kept. A topic has a handful of writers' schemas. */
const cacheMax = 10_000
/** An id that was not found is asked for again after this: the registry's own replicas may have been behind. */
const unknownMs = 10_000
/** References of references. */
const depthMax = 16

/** The registry's own error codes. */
const subjectNotFound = 40401
const versionNotFound = 40402
const schemaNotFound = 40403
const noSubjectCompatibility = 40408

interface Answer {
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
  /** Oldest use first. */
  readonly #schemas = new Map<number, string>()
  /** Those of `#schemas` that are JSON Schemas. */
  readonly #json = new Set<number>()
  readonly #unknown = new Map<number, { readonly error: UnknownSchemaIdError; readonly sinceMs: number }>()
  readonly #ids = new Map<string, number>()
  readonly #asking = new Map<number, Promise<string>>()
  readonly #closed = new AbortController()
  /** Which address answered last. */
  #at = 0

  constructor(options: RegistryOptions, parts: HttpRegistryParts) {
    this.#options = options
    this.#parts = parts
    this.#timeoutMs = parts.timeoutMs ?? 5000
    this.#urls = options.url.split(',').map((url) => url.trim().replace(/\/+$/, ''))
    const { username, password, token } = options
    this.#authorization =
      token !== ''
        ? `Bearer ${token}`
        : username !== ''
          ? `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
          : undefined
  }

  async idFor(subject: string, schemaJson: string): Promise<number> {
    const schema = JSON.stringify(JSON.parse(schemaJson))
    const key = `${subject}\n${schema}`
    const known = this.#ids.get(key)
    if (known !== undefined) return known
    // Looked up first: whoever may only read gets on where somebody else has registered it.
    const id = (await this.lookUp(subject, schema))?.id ?? (await this.#registerIfAllowed(subject, schema))
    this.#ids.set(key, id)
    this.#keep(id, schema)
    return id
  }

  async schemaOf(id: number): Promise<string> {
    const cached = this.cached(id)
    if (cached !== undefined) return cached
    const unknown = this.#unknown.get(id)
    if (unknown !== undefined && this.#parts.clock.nowMs() - unknown.sinceMs < unknownMs) throw unknown.error
    let asking = this.#asking.get(id)
    if (asking === undefined) {
      asking = handledLater(this.#ask(id).finally(() => this.#asking.delete(id)))
      this.#asking.set(id, asking)
    }
    return asking
  }

  cached(id: number): string | undefined {
    const schema = this.#schemas.get(id)
    if (schema !== undefined) {
      this.#schemas.delete(id)
      this.#schemas.set(id, schema)
    }
    return schema
  }

  whyUnknown(id: number): UnknownSchemaIdError | undefined {
    return this.#unknown.get(id)?.error
  }

  isJson(id: number): boolean {
    return this.#json.has(id)
  }

  close(): void {
    this.#closed.abort()
  }

  /** undefined: the subject does not have this schema. */
  async lookUp(subject: string, schemaJson: string): Promise<RegisteredSchema | undefined> {
    const { status, body } = await this.#request('POST', `/subjects/${encodeURIComponent(subject)}`, {
      schema: schemaJson
    })
    if (status === 404 && [subjectNotFound, schemaNotFound].includes(Number(body.error_code))) return undefined
    this.#expect(status, body, `look up the schema of ${subject}`)
    return { id: Number(body.id), version: Number(body.version) }
  }

  async hasSubject(subject: string): Promise<boolean> {
    const { status, body } = await this.#request('GET', `/subjects/${encodeURIComponent(subject)}/versions`)
    if (status === 404 && body.error_code === subjectNotFound) return false
    this.#expect(status, body, `list the versions of ${subject}`)
    return true
  }

  /** Idempotent. @throws ConfigError if it is incompatible with earlier ones, or not valid */
  async register(subject: string, schemaJson: string): Promise<number> {
    const { status, body } = await this.#request('POST', `/subjects/${encodeURIComponent(subject)}/versions`, {
      schema: schemaJson
    })
    if (status === 409) {
      throw new ConfigError([
        `schema of ${subject} cannot read records of its earlier schemas: ${text(body.message)}; give new fields a default, or use another topic`
      ])
    }
    this.#expect(status, body, `register the schema of ${subject}`)
    return Number(body.id)
  }

  /** Whether the schema may become the subject's next version. A subject without versions takes any. */
  async compatibility(subject: string, schemaJson: string): Promise<CompatibilityReport> {
    const path = `/compatibility/subjects/${encodeURIComponent(subject)}/versions`
    let { status, body } = await this.#request('POST', `${path}?verbose=true`, { schema: schemaJson })
    // Registries before 5.4 know the check against one version only.
    if (status === 405 || (status === 404 && body.error_code === 404)) {
      ;({ status, body } = await this.#request('POST', `${path}/latest?verbose=true`, { schema: schemaJson }))
    }
    if (status === 404 && [subjectNotFound, versionNotFound].includes(Number(body.error_code)))
      return { compatible: true, messages: [] }
    this.#expect(status, body, `check the schema of ${subject}`)
    const messages = Array.isArray(body.messages) ? body.messages.map(text) : []
    return { compatible: body.is_compatible === true, messages }
  }

  /** The subject's own compatibility level, or else the registry's. */
  async compatibilityLevel(subject: string): Promise<string> {
    const own = await this.#request('GET', `/config/${encodeURIComponent(subject)}`)
    const { status, body } =
      own.status === 404 && [subjectNotFound, noSubjectCompatibility].includes(Number(own.body.error_code))
        ? await this.#request('GET', '/config')
        : own
    this.#expect(status, body, `read the compatibility level of ${subject}`)
    return text(body.compatibilityLevel)
  }

  async setCompatibilityLevel(subject: string, level: string): Promise<void> {
    const { status, body } = await this.#request('PUT', `/config/${encodeURIComponent(subject)}`, {
      compatibility: level
    })
    this.#expect(status, body, `set the compatibility level of ${subject}`)
  }

  async #registerIfAllowed(subject: string, schema: string): Promise<number> {
    if (!this.#options.register) {
      throw new ConfigError([
        `the registry at ${this.#address} does not have today's schema of ${subject}, and registry.register is false: run \`mtmi schemas register\` as somebody who may`
      ])
    }
    return this.register(subject, schema)
  }

  async #ask(id: number): Promise<string> {
    if (id < 0) throw new UnknownSchemaIdError(id)
    const { status, body } = await this.#request('GET', `/schemas/ids/${id}`)
    if (status === 404 && body.error_code === schemaNotFound) throw this.#remember(new UnknownSchemaIdError(id))
    this.#expect(status, body, `read schema ${id}`)
    const type = body.schemaType ?? 'AVRO'
    if (type === 'JSON') this.#json.add(id)
    else if (type !== 'AVRO')
      throw this.#remember(
        new UnknownSchemaIdError(id, `schema id ${id} is ${text(type)}: only AVRO and JSON are read`)
      )
    const schema = type === 'JSON' ? text(body.schema) : await this.#resolved(id, body)
    this.#keep(id, schema)
    return schema
  }

  async #resolved(id: number, body: Readonly<Record<string, unknown>>): Promise<string> {
    const schema = text(body.schema)
    const references = (body.references ?? []) as readonly Reference[]
    if (references.length === 0) return schema
    const definitions = new Map<string, unknown>()
    await this.#collect(id, references, definitions, 0)
    try {
      return JSON.stringify(inlineReferences(JSON.parse(schema), definitions))
    } catch (error) {
      throw this.#remember(
        new UnknownSchemaIdError(id, `schema id ${id} and its references do not fit together: ${String(error)}`)
      )
    }
  }

  async #collect(
    id: number,
    references: readonly Reference[],
    definitions: Map<string, unknown>,
    depth: number
  ): Promise<void> {
    if (depth > depthMax)
      throw this.#remember(
        new UnknownSchemaIdError(id, `schema id ${id} has references nested deeper than ${depthMax}`)
      )
    for (const { name, subject, version } of references) {
      if (definitions.has(name)) continue
      const { status, body } = await this.#request(
        'GET',
        `/subjects/${encodeURIComponent(subject)}/versions/${version}`
      )
      if (status === 404 && [subjectNotFound, versionNotFound].includes(Number(body.error_code))) {
        throw this.#remember(
          new UnknownSchemaIdError(
            id,
            `schema id ${id} refers to ${name}, version ${version} of ${subject}, which the registry does not have`
          )
        )
      }
      this.#expect(status, body, `read version ${version} of ${subject}`)
      const definition: unknown = JSON.parse(text(body.schema))
      // A reference may be named after a file; what it defines has a name of its own.
      for (const known of new Set([name, ...definedNames(definition)])) definitions.set(known, definition)
      await this.#collect(id, (body.references ?? []) as readonly Reference[], definitions, depth + 1)
    }
  }

  #keep(id: number, schema: string): void {
    this.#schemas.delete(id)
    this.#schemas.set(id, schema)
    if (this.#schemas.size <= cacheMax) return
    const [oldest] = this.#schemas.keys()
    this.#schemas.delete(oldest!)
    this.#json.delete(oldest!)
  }

  #remember(error: UnknownSchemaIdError): UnknownSchemaIdError {
    this.#unknown.delete(error.schemaId)
    this.#unknown.set(error.schemaId, { error, sinceMs: this.#parts.clock.nowMs() })
    if (this.#unknown.size > cacheMax) this.#unknown.delete(this.#unknown.keys().next().value!)
    return error
  }

  get #address(): string {
    return this.#urls[this.#at % this.#urls.length]!
  }

  /** Whatever is not expected is for a person to mend: trying again gives the same. */
  #expect(status: number, body: Readonly<Record<string, unknown>>, what: string): void {
    if (status >= 200 && status < 300) return
    const said = body.message === undefined ? '' : `: ${text(body.message)}`
    if (status === 401 || status === 403) {
      throw new ConfigError([
        `the registry at ${this.#address} does not let us ${what} (${status}${said}): check registry.username and password, or token`
      ])
    }
    const hint = body.error_code === undefined ? '. This is not how a schema registry answers: check registry.url' : ''
    throw new ConfigError([`the registry at ${this.#address} refuses to ${what} (${status}${said})${hint}`])
  }

  /**
   * @returns the registry's answer, be it an error. @throws UnavailableError if for `retryMaxMs` none of the addresses
   *   gives one
   */
  async #request(method: string, path: string, body?: unknown): Promise<Answer> {
    const { clock, rng, onProblem } = this.#parts
    const { signal } = this.#closed
    const { retryMaxMs } = this.#options
    const beganMs = clock.nowMs()
    const firstMs = this.#parts.retryFirstMs ?? retryFirstMs
    for (let attempt = 0; ; attempt++) {
      const answer = await this.#once(method, path, body)
      if (typeof answer !== 'string') return answer
      const waitMs = Math.min(retryLongestMs, firstMs * 2 ** Math.min(attempt, 20)) * (0.5 + rng.uniform() / 2)
      const problem = `the schema registry at ${this.#address} does not answer ${method} ${path}: ${answer}`
      this.#at++
      const spentMs = clock.nowMs() - beganMs
      if (signal.aborted || spentMs + waitMs > retryMaxMs) {
        throw new UnavailableError(
          `${problem} (${attempt + 1} attempts in ${Math.round(spentMs / 1000)} s). Check registry.url (${this.#urls.join(', ')})`
        )
      }
      onProblem?.(`${problem}; trying again in ${Math.round(waitMs)} ms`)
      await pause(waitMs, undefined, { signal }).catch(() => {}) // the next attempt sees that it is closed
    }
  }

  /** The answer, or why there is none. */
  async #once(method: string, path: string, body: unknown): Promise<Answer | string> {
    const timeout = AbortSignal.timeout(this.#timeoutMs)
    const signal = AbortSignal.any([timeout, this.#closed.signal])
    const headers: Record<string, string> = { accept: `${contentType}, application/json` }
    if (body !== undefined) headers['content-type'] = contentType
    if (this.#authorization !== undefined) headers.authorization = this.#authorization
    try {
      const response = await fetch(`${this.#address}${path}`, {
        method,
        headers,
        signal,
        ...(body === undefined ? {} : { body: JSON.stringify(body) })
      })
      const content = await response.text()
      if (response.status >= 500 || response.status === 429 || response.status === 408)
        return `status ${response.status}`
      let parsed: unknown
      try {
        parsed = JSON.parse(content)
      } catch {
        // A proxy in front of it, or another server altogether.
        return response.ok ? 'the answer is not JSON' : { status: response.status, body: {} }
      }
      return {
        status: response.status,
        body: typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : {}
      }
    } catch (error) {
      if (timeout.aborted) return `no answer within ${this.#timeoutMs} ms`
      const { cause, message } = error as Error & { cause?: { code?: string; message?: string } }
      return cause?.code ?? cause?.message ?? message
    }
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null)
}
