// A port that is bound before its service exists: a port that is in use is reported before any other work, and probes
// are answered during the start.

import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ConfigError, UnavailableError } from '../../core/errors.ts'
import { ProblemError, problemBody, problemContentType } from './problem.ts'

/** For idle connections: longer than the 60 s of load balancers, so that those close them. */
const keepAliveMs = 72_000

interface BoundPortOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Section of the configuration, for error messages. */
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
          `port ${port} of ${host} is taken: stop the program that uses it, or set ${section}.port to another one (0: ${section === 'ops' ? 'none' : 'any free one'})`,
          { cause: error }
        )
      if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
        throw new ConfigError([
          `cannot listen on ${section}.host ${host}, ${section}.port ${port} (${code}): set an address of this machine and a port above 1023`
        ])
      throw error
    }
    return this
  }

  /** The port must be bound. */
  get url(): string {
    const { address, family, port } = this.server.address() as AddressInfo
    const shown = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
    return `http://${family === 'IPv6' && !shown.includes('.') ? `[${shown}]` : shown}:${port}`
  }

  /** Replaces the answers of the start. */
  handle(handler: RequestListener): void {
    this.#handler = handler
  }

  /** Accepts no more connections; resolves when the active ones have ended. Idempotent. */
  async close(): Promise<void> {
    if (!this.server.listening) return
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()))
    this.server.closeIdleConnections()
    await closed
  }
}

/** Alive, but not ready: for the probes of supervisors and load balancers while a large index loads. */
const starting: RequestListener = (request, response) => {
  const isAlive = request.url === '/livez'
  const problem = problemBody(new ProblemError(503, 'starting: not ready yet'), {
    instance: request.url?.split('?', 1)[0] ?? '/'
  })
  response.writeHead(isAlive ? 200 : 503, {
    'content-type': isAlive ? 'application/json; charset=utf-8' : problemContentType,
    'cache-control': 'no-store',
    ...(isAlive ? {} : { 'retry-after': '1' })
  })
  response.end(JSON.stringify(isAlive ? { live: true } : problem))
}
