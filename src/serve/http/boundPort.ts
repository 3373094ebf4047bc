// A port that is bound before the service behind it exists: a port that is taken is found out before any other work,
// and probes are answered meanwhile.

import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ConfigError, UnavailableError } from '../../core/errors.ts'
import { ProblemError, problemBody, problemContentType } from './problem.ts'

/** How long an idle connection is kept: longer than load balancers do (60 s), so that they are the ones to close it. */
const keepAliveMs = 72_000

export interface BoundPortOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Section of the configuration that errors name. */
  readonly section: 'serve' | 'ops'
  /** For a request to arrive, milliseconds. */
  readonly requestTimeoutMs: number
}

export class BoundPort {
  readonly server: Server
  readonly #options: BoundPortOptions
  #handler: RequestListener = starting

  constructor(options: BoundPortOptions) {
    this.#options = options
    this.server = createServer((request, response) => this.#handler(request, response))
    this.server.requestTimeout = options.requestTimeoutMs
    this.server.keepAliveTimeout = keepAliveMs
  }

  /** @throws UnavailableError if the port is taken, ConfigError if the address cannot be used */
  async bind(): Promise<this> {
    if (this.server.listening) return this
    const { host, port, section } = this.#options
    try {
      await new Promise<void>((resolve, reject) => {
        this.server.once('error', reject)
        this.server.listen({ host, port }, () => {
          this.server.off('error', reject)
          resolve()
        })
      })
    } catch (error) {
      const { code } = error as { code?: string }
      if (code === 'EADDRINUSE')
        throw new UnavailableError(
          `port ${port} of ${host} is taken: stop what listens there, or set ${section}.port to another one (0: ${section === 'ops' ? 'none' : 'any free one'})`,
          { cause: error }
        )
      if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
        throw new ConfigError([
          `${section}.host ${host} with ${section}.port ${port} cannot be listened on (${code}): give an address of this machine and a port above 1023`
        ])
      throw error
    }
    return this
  }

  /** Of a bound port, with the host as an address. */
  get url(): string {
    const { address, family, port } = this.server.address() as AddressInfo
    const shown = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
    return `http://${family === 'IPv6' && !shown.includes('.') ? `[${shown}]` : shown}:${port}`
  }

  /** From now on requests are the handler's. */
  handle(handler: RequestListener): void {
    this.#handler = handler
  }

  /** Accepts no more connections; resolves when those in use are done. Idempotent. */
  async close(): Promise<void> {
    if (!this.server.listening) return
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()))
    this.server.closeIdleConnections()
    await closed
  }
}

/** Alive, but not ready: as a supervisor's probes and a load balancer expect it while a large index is being loaded. */
const starting: RequestListener = (request, response) => {
  const isAlive = request.url === '/livez'
  const problem = problemBody(new ProblemError(503, 'starting: nothing can be answered yet'), {
    instance: request.url?.split('?', 1)[0] ?? '/'
  })
  response.writeHead(isAlive ? 200 : 503, {
    'content-type': isAlive ? 'application/json; charset=utf-8' : problemContentType,
    'cache-control': 'no-store',
    ...(isAlive ? {} : { 'retry-after': '1' })
  })
  response.end(JSON.stringify(isAlive ? { live: true } : problem))
}
