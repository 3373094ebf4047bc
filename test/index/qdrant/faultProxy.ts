// A loopback proxy in front of Qdrant, or of nothing, that does what networks and servers do.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { LoopbackServer } from '../../support/loopbackServer.ts'

/**
 * What becomes of a request: `pass` goes on to the server; `refuse` with a status, before the server hears of it;
 * `lose` its answer, after the server did what was asked; `stall`: passed on, and no answer ever; `break`: the
 * connection ends before the server hears of it.
 */
export type Fate =
  | 'pass'
  | 'break'
  | 'lose'
  | 'stall'
  | { readonly refuse: number; readonly headers?: Readonly<Record<string, string>> }

export interface SeenRequest {
  readonly method: string
  readonly path: string
  readonly body: string
  /** From 0. */
  readonly number: number
}

export class FaultProxy {
  readonly #target: string
  readonly #fate: (request: SeenRequest) => Fate
  readonly requests: SeenRequest[] = []
  readonly #server = new LoopbackServer((request, response) => this.#receive(request, response))
  #open = 0
  /** Most requests that were on their way at one time. */
  openMax = 0

  /** @param target of requests that pass; empty: they are answered with an empty result */
  constructor(target: string, fate: (request: SeenRequest) => Fate) {
    this.#target = target
    this.#fate = fate
  }

  get url(): string {
    return this.#server.url
  }

  /** Listens; after `stop`, at the same port. */
  async start(): Promise<this> {
    await this.#server.start()
    return this
  }

  async stop(): Promise<void> {
    await this.#server.stop()
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    this.#open++
    this.openMax = Math.max(this.openMax, this.#open)
    response.once('close', () => this.#open--)
    this.#handle(request, response).catch(() => response.destroy())
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const seen = {
      method: request.method!,
      path: request.url!,
      body: Buffer.concat(parts).toString('utf8'),
      number: this.requests.length
    }
    this.requests.push(seen)
    const fate = this.#fate(seen)
    if (fate === 'break') return void response.destroy()
    if (typeof fate === 'object') {
      response.writeHead(fate.refuse, { 'content-type': 'application/json', ...fate.headers })
      return void response.end(JSON.stringify({ status: { error: 'as the test wants it' } }))
    }
    const answer = await this.#pass(seen)
    if (fate === 'lose') return void response.destroy()
    if (fate === 'stall') return
    response.writeHead(answer.status, { 'content-type': 'application/json' })
    response.end(answer.text)
  }

  async #pass({ method, path, body }: SeenRequest): Promise<{ status: number; text: string }> {
    if (this.#target === '')
      return {
        status: 200,
        text: JSON.stringify({ result: { count: 0, aliases: [], collections: [] }, version: '1.18.3', status: 'ok' })
      }
    const answer = await fetch(`${this.#target}${path}`, {
      method,
      headers: { 'content-type': 'application/json', 'accept-encoding': 'identity' },
      ...(body === '' ? {} : { body })
    })
    return { status: answer.status, text: await answer.text() }
  }
}
