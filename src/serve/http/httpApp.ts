// What every HTTP service here shares: fastify on a bound port, requests checked by ajv, JSON answers, and errors as
// application/problem+json.

import { type RequestListener, STATUS_CODES } from 'node:http'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { BoundPort } from './boundPort.ts'
import { compressed } from './compression.ts'
import { ProblemError, problemBody, problemContentType, problemOf } from './problem.ts'
import { createValidatorCompiler, parseQuery } from './validation.ts'

interface HttpAppOptions {
  readonly port: BoundPort
  /** For a request to arrive, and to be answered, milliseconds. */
  readonly timeoutMs: number
  readonly bodyMaxBytes: number
  /** Characters of a path parameter, at most. */
  readonly paramLengthMax?: number
  readonly onInternalError?: (error: unknown, request: FastifyRequest) => void
}

interface HttpApp {
  readonly app: FastifyInstance
  /** Answers on the port, which must be bound. */
  start(): Promise<void>
}

/** Characters of the path that an answer repeats. */
const instanceMax = 512

export function createHttpApp(options: HttpAppOptions): HttpApp {
  const { port, timeoutMs, bodyMaxBytes, paramLengthMax = 100, onInternalError } = options
  let handler: RequestListener | undefined

  function answer(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const { error: problem, internal } = problemOf(error)
    if (internal) onInternalError?.(error, request)
    const where = {
      instance: pathOf(request).slice(0, instanceMax),
      ...(internal ? { requestId: request.id } : {})
    }
    return reply
      .code(problem.status)
      .headers(problem.headers)
      .type(problemContentType)
      .send(JSON.stringify(problemBody(problem, where)))
  }

  const app = fastify({
    serverFactory: (own) => {
      handler = own
      return port.server
    },
    bodyLimit: bodyMaxBytes,
    routerOptions: { maxParamLength: paramLengthMax, querystringParser: parseQuery as never },
    requestTimeout: timeoutMs,
    handlerTimeout: timeoutMs,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    schemaController: {
      compilersFactory: {
        buildValidator: createValidatorCompiler as never,
        // Schemas describe answers and never change them: a serializer made from a schema drops fields that it lacks
        // (docs/decisions/0051-the-api-by-its-schemas.md).
        buildSerializer: () => () => JSON.stringify
      }
    },
    frameworkErrors: (error, request, reply) => void answer(error, request, reply),
    clientErrorHandler(error, socket) {
      if (error.code === 'ECONNRESET' || !socket.writable) return
      const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400
      const text = 'The request is not valid HTTP/1.1, or took too long to arrive'
      const body = JSON.stringify(problemBody(new ProblemError(status, text)))
      const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: ${problemContentType}\r\n`
      socket.end(`${head}content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`)
    }
  })
  // A web page may send text/plain to any origin without asking; fastify would take it as a body.
  app.removeContentTypeParser('text/plain')
  app.setErrorHandler(answer)
  app.addHook('onSend', async (_request, reply) => {
    reply.header('x-content-type-options', 'nosniff').header('cache-control', 'no-store')
  })
  app.addHook('onSend', compressed)
  return {
    app,
    async start(): Promise<void> {
      await app.ready()
      port.handle(handler!)
    }
  }
}

export function pathOf({ url }: FastifyRequest): string {
  return url.split('?', 1)[0]!
}
