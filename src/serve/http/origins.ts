// Protection from web pages that use their visitor's browser: accepted host names, and origins that may read or change
// something (CORS).
//
// A browser sends requests of any page to any address, 127.0.0.1 included. Two headers identify them, and no page can
// forge them: `Host`, the name that the browser resolved (a foreign name that resolves to this machine is DNS
// rebinding), and `Origin`, the site of the page.

import type { IncomingHttpHeaders } from 'node:http'
import type { ServeOptions } from '../../core/config/config.ts'
import { isLoopback, type Role } from './access.ts'
import { ProblemError, shown } from './problem.ts'

/** Roles whose routes a page of `serve.corsOrigins` may use. Never `admin`: reading and erasing users. */
const corsRoles: ReadonlySet<Role | undefined> = new Set<Role>(['read', 'events'])

/** Methods that change nothing (RFC 9110, 9.2.1). */
const safeMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])

/** Seconds for which a browser may cache a preflight answer: the maximum of Chromium. */
const preflightMaxAge = '7200'

type Headers = Readonly<Record<string, string>>

export class Origins {
  readonly #anyHost: boolean
  /** In lower case. */
  readonly #hosts: ReadonlySet<string>
  readonly #allowed: ReadonlySet<string>

  /** @param tokens whether requests need a token: then any host name is accepted, as a foreign page has no token */
  constructor({ hosts, corsOrigins }: Pick<ServeOptions, 'hosts' | 'corsOrigins'>, tokens: boolean) {
    this.#anyHost = tokens || hosts.includes('*')
    this.#hosts = new Set(hosts.map((host) => host.toLowerCase().replace(/^\[|\]$/g, '')))
    this.#allowed = new Set(corsOrigins)
  }

  /** Whether routes of this role answer to pages of other origins. */
  crossOrigin(role: Role | undefined): boolean {
    return this.#allowed.size > 0 && corsRoles.has(role)
  }

  /** @throws ProblemError 421 without tokens, where the host name is neither loopback nor in `serve.hosts` */
  checkHost(host: string | undefined): void {
    if (this.#anyHost) return
    const name = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(host ?? '')
    const asked = (name?.[1] ?? name?.[2])?.toLowerCase()
    if (asked !== undefined && (isLoopback(asked) || this.#hosts.has(asked))) return
    throw new ProblemError(
      421,
      `Host is ${shown(host)}; without tokens only localhost, 127.0.0.1 and [::1] are answered, and serve.hosts. Use one of these, or set serve.readToken, serve.eventsToken or serve.adminToken`
    )
  }

  /** @throws ProblemError 403 for a request to change something, by a page that `serve.corsOrigins` does not allow */
  checkOrigin(method: string, role: Role | undefined, headers: IncomingHttpHeaders): void {
    const { origin, host } = headers
    if (origin === undefined || safeMethods.has(method)) return
    // Set by the browser; needed behind a proxy that changes `Host`.
    if (headers['sec-fetch-site'] === 'same-origin') return
    if (isOf(origin, host) || this.#allows(origin, role)) return
    throw new ProblemError(
      403,
      `pages of ${shown(origin)} may not do this${corsRoles.has(role) ? ': add that origin to serve.corsOrigins' : ', whatever serve.corsOrigins is'}`
    )
  }

  /** Headers that let the page read the answer. */
  answerHeaders(role: Role | undefined, origin: string | undefined): Headers {
    if (!this.crossOrigin(role)) return {}
    const vary: Headers = this.#allowed.has('*') ? {} : { vary: 'Origin' }
    if (origin === undefined || !this.#allows(origin, role)) return vary
    return {
      ...vary,
      'access-control-allow-origin': this.#allowed.has('*') ? '*' : origin,
      'access-control-expose-headers': 'ETag, Retry-After'
    }
  }

  /** Headers of the answer to a preflight request. */
  preflightHeaders(methods: readonly string[], role: Role | undefined, origin: string | undefined): Headers {
    if (origin === undefined || !this.#allows(origin, role)) return {}
    return {
      'access-control-allow-methods': methods.join(', '),
      'access-control-allow-headers': 'Authorization, Content-Type, Idempotency-Key, If-None-Match, Traceparent',
      'access-control-max-age': preflightMaxAge
    }
  }

  #allows(origin: string, role: Role | undefined): boolean {
    return this.crossOrigin(role) && (this.#allowed.has('*') || this.#allowed.has(origin))
  }
}

/** Whether pages of this origin come from this host. */
function isOf(origin: string, host: string | undefined): boolean {
  return host !== undefined && URL.canParse(origin) && new URL(origin).host === host.toLowerCase()
}
