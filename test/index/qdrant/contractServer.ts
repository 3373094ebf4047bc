// Two loopback servers: one passes requests on to a real Qdrant and writes down what was said, the other says it again,
// and nothing else.

import assert from 'node:assert/strict'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { LoopbackServer } from '../../support/loopbackServer.ts'

export interface Exchange {
  readonly method: string
  /** With its query. */
  readonly path: string
  readonly body?: unknown
  readonly status: number
  readonly answer: unknown
}

export interface Recording {
  /** The server's version. */
  readonly version: string
  readonly exchanges: readonly Exchange[]
}

export interface ContractServer {
  readonly url: string
  close(): Promise<void>
}

/** What the index is given, and each request must carry. */
export const apiKey = 'key of the contract'

/** Passes everything on to `target`. @param take each exchange, in the order of the answers */
export function recordFrom(target: string, take: (exchange: Exchange) => void): Promise<ContractServer> {
  return listen(async (request, response) => {
    checkHeaders(request)
    const text = await bodyOf(request)
    const answered = await fetch(`${target}${request.url}`, {
      method: request.method!,
      headers: { 'content-type': 'application/json', 'accept-encoding': 'identity' },
      ...(text === '' ? {} : { body: text })
    })
    const answer = withoutTimes(JSON.parse(await answered.text()))
    take({
      method: request.method!,
      path: request.url!,
      ...(text === '' ? {} : { body: JSON.parse(text) }),
      status: answered.status,
      answer
    })
    send(response, answered.status, answer)
  })
}

/**
 * Answers what was recorded, requests that are alike in their order; those on their way at the same time may come in
 * any. Whatever was not recorded is refused, and told by `finish`.
 */
export async function replay({ exchanges }: Recording): Promise<ContractServer & { finish(): void }> {
  const waiting = new Map<string, Exchange[]>()
  for (const exchange of exchanges) {
    const key = keyOf(exchange)
    waiting.set(key, [...(waiting.get(key) ?? []), exchange])
  }
  const unexpected: string[] = []
  const server = await listen(async (request, response) => {
    const text = await bodyOf(request)
    const key = keyOf({
      method: request.method!,
      path: request.url!,
      ...(text === '' ? {} : { body: JSON.parse(text) })
    })
    try {
      checkHeaders(request)
    } catch (error) {
      unexpected.push((error as Error).message)
    }
    const exchange = waiting.get(key)?.shift()
    if (exchange !== undefined) send(response, exchange.status, exchange.answer)
    else {
      unexpected.push(key)
      send(response, 400, { status: { error: `not recorded: ${key}` } })
    }
  })
  const finish = () => {
    const unsent = [...waiting].flatMap(([key, left]) => left.map(() => key))
    assert.deepEqual(
      { unexpected, unsent },
      { unexpected: [], unsent: [] },
      'requests differ from those recorded: npm run record:qdrant'
    )
  }
  return { ...server, finish }
}

function keyOf({ method, path, body }: Pick<Exchange, 'method' | 'path' | 'body'>): string {
  return `${method} ${path} ${JSON.stringify(body) ?? ''}`
}

function checkHeaders({ headers }: IncomingMessage): void {
  assert.equal(headers['accept-encoding'], 'identity', 'accept-encoding')
  assert.equal(headers['api-key'], apiKey, 'api-key')
}

/** What takes how long, and how much, is another each time. */
function withoutTimes(answer: unknown): unknown {
  const { time: _, usage: __, ...rest } = answer as Record<string, unknown>
  return rest
}

async function listen(
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>
): Promise<ContractServer> {
  const server = new LoopbackServer((request, response) => {
    handle(request, response).catch((error: Error) => send(response, 400, { status: { error: error.message } }))
  })
  await server.start()
  return { url: server.url, close: () => server.stop() }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts).toString('utf8')
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}
