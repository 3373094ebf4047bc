// Who may ask what of the HTTP service: bearer tokens with roles (RFC 6750). Without tokens everybody who reaches the
// port may do everything.

import { createHash, timingSafeEqual } from 'node:crypto'
import type { ServeOptions } from '../../core/config/config.ts'
import { ConfigError } from '../../core/errors.ts'
import { own } from '../../core/own.ts'
import { ProblemError } from './problem.ts'

/**
 * `read`: recommendations and similar items. `events`: posting interactions. `admin`: both, looking at users, items and
 * the state of the flow, and erasing a user.
 */
export type Role = 'read' | 'events' | 'admin'

export type AccessOptions = Pick<ServeOptions, 'readToken' | 'eventsToken' | 'adminToken'>

/** Pattern of a route → who may; a route that is not here tells nothing of any user and is for everybody. */
const roleOf: Readonly<Record<string, Role>> = {
  '/v1/users/:id/recommendations': 'read',
  '/v1/items/:id/similar': 'read',
  '/v1/recommendations': 'read',
  '/v1/events': 'events',
  '/v1/status': 'admin',
  '/v1/versions': 'admin',
  '/v1/users': 'admin',
  '/v1/users/:id': 'admin',
  '/v1/items': 'admin',
  '/v1/items/:id': 'admin'
}

/** The role that a route asks for; undefined: none. */
export function neededRole(route: string): Role | undefined {
  // One that was forgotten above must not be open.
  return own(roleOf, route) ?? (route.startsWith('/v1/') ? 'admin' : undefined)
}

/** Roles that a token may have given, by the role that is asked for. */
const enough: Readonly<Record<Role, readonly Role[]>> = {
  read: ['read', 'admin'],
  events: ['events', 'admin'],
  admin: ['admin']
}

/** Longer is no token of ours, and is not worth hashing. */
const tokenLengthMax = 1024

export class Access {
  readonly #tokens: readonly { readonly role: Role; readonly hash: Buffer }[]

  constructor({ readToken, eventsToken, adminToken }: AccessOptions) {
    const of = (role: Role, text: string) => tokensOf(text).map((token) => ({ role, hash: hashOf(token) }))
    this.#tokens = [...of('read', readToken), ...of('events', eventsToken), ...of('admin', adminToken)]
  }

  /** Whether anybody is asked for a token at all. */
  get on(): boolean {
    return this.#tokens.length > 0
  }

  /**
   * @param header `Authorization`
   * @throws ProblemError 401 without a token that is known, 403 where what is known may not do this
   */
  check(role: Role, header: string | undefined): void {
    if (!this.on) return
    const token = /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1]
    if (token === undefined || token.length > tokenLengthMax) {
      throw new ProblemError(
        401,
        header === undefined ? 'this needs a token: Authorization: Bearer …' : 'Authorization must be: Bearer …',
        {
          headers: { 'www-authenticate': 'Bearer realm="mtmi"' }
        }
      )
    }
    const hash = hashOf(token)
    const roles = new Set<Role>()
    // All of them, equal or not: how long it takes tells nothing of which is near, nor of whether one was found.
    for (const known of this.#tokens) if (timingSafeEqual(known.hash, hash)) roles.add(known.role)
    if (roles.size === 0) {
      throw new ProblemError(401, 'the token is not known', {
        headers: { 'www-authenticate': 'Bearer realm="mtmi", error="invalid_token"' }
      })
    }
    if (!enough[role].some((one) => roles.has(one))) {
      throw new ProblemError(
        403,
        `the token is for ${[...roles].join(' and ')}; this needs one for ${enough[role].join(' or ')}`,
        {
          headers: { 'www-authenticate': `Bearer realm="mtmi", error="insufficient_scope", scope="${role}"` }
        }
      )
    }
  }
}

/** @throws ConfigError where programs of other machines, or any web page, could do everything without a token */
export function checkExposure(options: AccessOptions & Pick<ServeOptions, 'host' | 'hosts' | 'corsOrigins'>): void {
  if (new Access(options).on) return
  if (options.corsOrigins.includes('*'))
    throw new ConfigError([
      'serve.corsOrigins is * and there is no token: any web page could post events. Set serve.eventsToken, or name the origins'
    ])
  if (options.hosts.length > 0 || isLoopback(options.host)) return
  throw new ConfigError([
    `serve.host is ${options.host}, which others reach, and there is no token: they could read anybody's recommendations and post events in anybody's name. ` +
      'Give serve.readToken, serve.eventsToken or serve.adminToken (rather by MTMI_SERVE_ADMIN_TOKEN_FILE), or, where only trusted programs reach it, serve.hosts with the names by which they do'
  ])
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}

/** Several are separated by commas or blanks: while one is changed for another both are good. */
export function tokensOf(text: string): string[] {
  return text.split(/[\s,]+/).filter((token) => token !== '')
}

/** Of one length whatever the token's is, so that they can be compared in constant time. */
function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
