// Authorization: bearer tokens with roles (RFC 6750). Without tokens, every client that reaches the port may use every
// route.

import { createHash, timingSafeEqual } from 'node:crypto'
import type { ServeOptions } from '../../core/config/config.ts'
import { ConfigError } from '../../core/errors.ts'
import { own } from '../../core/own.ts'
import { ProblemError } from './problem.ts'

/** `read`: lists. `events`: posting interactions. `admin`: both, inspecting users and items, and erasing a user. */
export type Role = 'read' | 'events' | 'admin'

type AccessOptions = Pick<ServeOptions, 'readToken' | 'eventsToken' | 'adminToken'>

/** Role by route pattern. */
const roleOf: Readonly<Record<string, Role>> = {
  '/v1/users/:id/recommendations': 'read',
  '/v1/items/:id/similar': 'read',
  '/v1/recommendations': 'read',
  '/v1/recommendations/batch': 'read',
  '/v1/popular': 'read',
  '/v1/events': 'events'
}

/** The role that a route needs; undefined: none. */
export function neededRole(route: string): Role | undefined {
  return own(roleOf, route) ?? (route.startsWith('/v1/') ? 'admin' : undefined)
}

/** Longer texts are not tokens of ours, and not worth hashing. */
const tokenLengthMax = 1024

export class Access {
  readonly #tokens: readonly { readonly role: Role; readonly hash: Buffer }[]

  constructor({ readToken, eventsToken, adminToken }: AccessOptions) {
    const of = (role: Role, text: string) => tokensOf(text).map((token) => ({ role, hash: hashOf(token) }))
    this.#tokens = [...of('read', readToken), ...of('events', eventsToken), ...of('admin', adminToken)]
  }

  /** Whether requests need a token. */
  get on(): boolean {
    return this.#tokens.length > 0
  }

  /**
   * @param header `Authorization`
   * @returns what tells the token from others, and is not the token; empty where none is needed
   * @throws ProblemError 401 without a known token, 403 where its role is not enough
   */
  check(role: Role, header: string | undefined): string {
    if (!this.on) return ''
    const token = /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1]
    if (token === undefined || token.length > tokenLengthMax)
      throw denied(
        401,
        header === undefined ? 'a token is missing: send Authorization: Bearer …' : 'Authorization must be: Bearer …'
      )
    const hash = hashOf(token)
    // Every token is compared: the time taken shows neither a near match nor a match.
    const roles = new Set(this.#tokens.flatMap((known) => (timingSafeEqual(known.hash, hash) ? [known.role] : [])))
    if (roles.size === 0) throw denied(401, 'the token is unknown', ', error="invalid_token"')
    if (roles.has(role) || roles.has('admin')) return hash.toString('base64')
    const needed = role === 'admin' ? role : `${role} or admin`
    throw denied(
      403,
      `the token is for ${[...roles].join(' and ')}; this needs one for ${needed}`,
      `, error="insufficient_scope", scope="${role}"`
    )
  }
}

function denied(status: 401 | 403, detail: string, parameters = ''): ProblemError {
  return new ProblemError(status, detail, { headers: { 'www-authenticate': `Bearer realm="mtmi"${parameters}` } })
}

/** @throws ConfigError where other machines, or any web page, could use every route without a token */
export function checkExposure(options: AccessOptions & Pick<ServeOptions, 'host' | 'hosts' | 'corsOrigins'>): void {
  if (new Access(options).on) return
  if (options.corsOrigins.includes('*'))
    throw new ConfigError([
      'serve.corsOrigins is * and there is no token: any web page could post events. Set serve.eventsToken, or name the origins'
    ])
  if (options.hosts.length > 0 || isLoopback(options.host)) return
  throw new ConfigError([
    `serve.host ${options.host} can be reached from other machines, and there is no token: any client could read recommendations and post events for any user. ` +
      'Set serve.readToken, serve.eventsToken or serve.adminToken (preferably by MTMI_SERVE_ADMIN_TOKEN_FILE), or, where only trusted programs reach it, serve.hosts with the names that they use'
  ])
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}

/** Separated by commas or blanks: while a token is replaced, the old and the new one are valid. */
function tokensOf(text: string): string[] {
  return text.split(/[\s,]+/).filter((token) => token !== '')
}

/** All of one length, so that they can be compared in constant time. */
function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
