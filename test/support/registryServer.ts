// A small schema registry that speaks Confluent's HTTP API: what the client is tested against.

import type { IncomingMessage, ServerResponse } from 'node:http'
import avro from 'avsc'
import { LoopbackServer } from './loopbackServer.ts'

interface Reference {
  readonly name: string
  readonly subject: string
  readonly version: number
}

interface Stored {
  readonly id: number
  readonly schema: string
  readonly schemaType: string
  readonly references: readonly Reference[]
}

class Refusal extends Error {
  readonly status: number
  readonly code: number
  constructor(status: number, code: number, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

const levels = ['NONE', 'BACKWARD', 'BACKWARD_TRANSITIVE', 'FORWARD', 'FORWARD_TRANSITIVE', 'FULL', 'FULL_TRANSITIVE']

export class RegistryServer {
  /** `METHOD /path` of every request that was let in, for assertions. */
  readonly requests: string[] = []
  /** What `authorization` has to be; others get a 401. */
  authorization: string | undefined
  /** Whether writing is allowed; otherwise a 403. */
  readOnly = false
  readonly #server = new LoopbackServer((request, response) => void this.#answer(request, response))
  #failures = 0
  #failureStatus = 503
  readonly #schemas: Stored[] = []
  readonly #subjects = new Map<string, Stored[]>()
  readonly #levels = new Map<string, string>()
  #level = 'BACKWARD'

  /** On the port that it had before, if it was started before. What is registered outlives a stop. */
  async start(): Promise<this> {
    await this.#server.start()
    return this
  }

  async stop(): Promise<void> {
    await this.#server.stop()
  }

  get url(): string {
    return this.#server.url
  }

  /** The next `count` requests are answered with this status. */
  fail(count: number, status = 503): void {
    this.#failures = count
    this.#failureStatus = status
  }

  /** Registers without the way over HTTP. @returns the id */
  add(subject: string, schema: object | string, references: readonly Reference[] = [], schemaType = 'AVRO'): number {
    const text = typeof schema === 'string' ? schema : JSON.stringify(schema)
    return this.#register(subject, { schema: text, schemaType, references }).id
  }

  /** As after a hard delete. */
  forget(subject: string): void {
    this.#subjects.delete(subject)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = ''
    for await (const chunk of request) text += String(chunk)
    const url = new URL(request.url ?? '/', this.url)
    const send = (status: number, body: unknown) => {
      response.writeHead(status, { 'content-type': 'application/vnd.schemaregistry.v1+json' })
      response.end(JSON.stringify(body))
    }
    try {
      if (this.#failures > 0) {
        this.#failures--
        throw new Refusal(this.#failureStatus, 50001, 'Error in the backend data store')
      }
      if (this.authorization !== undefined && request.headers.authorization !== this.authorization)
        throw new Refusal(401, 401, 'Unauthorized')
      this.requests.push(`${request.method} ${url.pathname}`)
      send(
        200,
        this.#route(request.method ?? 'GET', url, text === '' ? {} : (JSON.parse(text) as Record<string, unknown>))
      )
    } catch (error) {
      if (error instanceof Refusal) send(error.status, { error_code: error.code, message: error.message })
      else send(500, { error_code: 500, message: String(error) })
    }
  }

  #route(method: string, url: URL, body: Record<string, unknown>): unknown {
    const [resource, ...rest] = url.pathname.slice(1).split('/').map(decodeURIComponent)
    const [first = '', second, third] = rest
    const posted = () => ({
      schema: String(body.schema),
      schemaType: String(body.schemaType ?? 'AVRO'),
      references: (body.references ?? []) as Reference[]
    })
    if (resource === 'schemas' && first === 'ids' && method === 'GET') {
      const found = this.#schemas[Number(second) - 1]
      if (found === undefined) throw new Refusal(404, 40403, `Schema ${second} not found`)
      return view(found)
    }
    if (resource === 'subjects') {
      if (first === '') return [...this.#subjects.keys()]
      if (method === 'POST' && second === 'versions') {
        if (this.readOnly) throw new Refusal(403, 40301, 'User is denied operation Write on Subject')
        return { id: this.#register(first, posted()).id }
      }
      if (method === 'POST' && second === undefined) {
        const versions = this.#versions(first)
        const at = versions.findIndex((stored) => same(stored, posted()))
        if (at < 0) throw new Refusal(404, 40403, 'Schema not found')
        return { subject: first, version: at + 1, ...view(versions[at]!), id: versions[at]!.id }
      }
      if (method === 'GET' && second === 'versions' && third === undefined)
        return this.#versions(first).map((_, i) => i + 1)
      if (method === 'GET' && second === 'versions') {
        const versions = this.#versions(first)
        const at = third === 'latest' ? versions.length : Number(third)
        const found = versions[at - 1]
        if (found === undefined) throw new Refusal(404, 40402, `Version ${third} not found.`)
        return { subject: first, version: at, id: found.id, ...view(found) }
      }
    }
    if (resource === 'compatibility' && method === 'POST') {
      const subject = rest[1] ?? ''
      const messages = this.#incompatible(subject, posted(), this.#versions(subject))
      return {
        is_compatible: messages.length === 0,
        ...(url.searchParams.get('verbose') === 'true' ? { messages } : {})
      }
    }
    if (resource === 'config') {
      if (method === 'GET') {
        if (first === '') return { compatibilityLevel: this.#level }
        const level = this.#levels.get(first)
        if (level === undefined)
          throw new Refusal(404, 40408, `Subject '${first}' does not have subject-level compatibility configured`)
        return { compatibilityLevel: level }
      }
      if (method === 'PUT') {
        if (this.readOnly) throw new Refusal(403, 40301, 'User is denied operation WriteCompatibility on Subject')
        const level = String(body.compatibility)
        if (!levels.includes(level)) throw new Refusal(422, 42203, 'Invalid compatibility level')
        if (first === '') this.#level = level
        else this.#levels.set(first, level)
        return { compatibility: level }
      }
    }
    throw new Refusal(404, 404, 'HTTP 404 Not Found')
  }

  #versions(subject: string): Stored[] {
    const versions = this.#subjects.get(subject)
    if (versions === undefined) throw new Refusal(404, 40401, `Subject '${subject}' not found.`)
    return versions
  }

  #register(subject: string, posted: Omit<Stored, 'id'>): Stored {
    const versions = this.#subjects.get(subject) ?? []
    const known = versions.find((stored) => same(stored, posted))
    if (known !== undefined) return known
    const messages = this.#incompatible(subject, posted, versions)
    if (messages.length > 0)
      throw new Refusal(
        409,
        409,
        `Schema being registered is incompatible with an earlier schema: ${messages.join('; ')}`
      )
    let stored = this.#schemas.find((other) => same(other, posted))
    if (stored === undefined) {
      stored = { id: this.#schemas.length + 1, ...posted }
      this.#schemas.push(stored)
    }
    this.#subjects.set(subject, [...versions, stored])
    return stored
  }

  /** What the subject's level, backward or none, finds wrong. */
  #incompatible(subject: string, posted: Omit<Stored, 'id'>, versions: readonly Stored[]): string[] {
    if (posted.schemaType !== 'AVRO') return []
    let type: avro.Type
    try {
      type = this.#parse(posted)
    } catch (error) {
      throw new Refusal(422, 42201, `Input schema is an invalid Avro schema: ${String(error)}`)
    }
    const level = this.#levels.get(subject) ?? this.#level
    if (level === 'NONE') return []
    const messages: string[] = []
    for (const earlier of level.endsWith('TRANSITIVE') ? versions : versions.slice(-1)) {
      try {
        type.createResolver(this.#parse(earlier))
      } catch (error) {
        messages.push(String(error))
      }
    }
    return messages
  }

  #parse({ schema, references }: Omit<Stored, 'id'>): avro.Type {
    const registry = {}
    const loaded = new Set<string>()
    const load = (wanted: readonly Reference[]) => {
      for (const { subject, version } of wanted) {
        if (loaded.has(`${subject}/${version}`)) continue
        loaded.add(`${subject}/${version}`)
        const found = this.#versions(subject)[version - 1]
        if (found === undefined) throw new Error(`no version ${version} of ${subject}`)
        load(found.references)
        avro.Type.forSchema(JSON.parse(found.schema), { registry })
      }
    }
    load(references)
    return avro.Type.forSchema(JSON.parse(schema), { registry })
  }
}

function view({ schema, schemaType, references }: Stored): object {
  return {
    schema,
    ...(schemaType === 'AVRO' ? {} : { schemaType }),
    ...(references.length === 0 ? {} : { references })
  }
}

/** As the registry does it: by what the schema says, not by how it is spaced. */
function same(a: Omit<Stored, 'id'>, b: Omit<Stored, 'id'>): boolean {
  const canonical = ({ schema, schemaType }: Omit<Stored, 'id'>) =>
    schemaType === 'AVRO' ? tryCanonical(schema) : schema
  return a.schemaType === b.schemaType && canonical(a) === canonical(b)
}

function tryCanonical(schema: string): string {
  try {
    return JSON.stringify(JSON.parse(schema))
  } catch {
    return schema
  }
}
