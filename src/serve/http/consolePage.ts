// The console's page: a few files that come with the program and are held in memory.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FastifyInstance } from 'fastify'
import { own } from '../../core/own.ts'
import { ProblemError } from './problem.ts'
import { addTextRoute } from './route.ts'

/** File name → media type and content. */
type ConsoleFiles = ReadonlyMap<string, { readonly type: string; readonly body: Buffer }>

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml'
}

/**
 * Everything comes from this host and no markup is written into the page: the title of an item can never run. Styles
 * that the page sets by script are allowed by the standard without being named here.
 */
const headers = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin'
} as const

/** @returns undefined where the program was installed without them */
export function loadConsoleFiles(): ConsoleFiles | undefined {
  // From src/serve/http, and from dist/src/serve/http.
  const folders = ['../../../infra/console/', '../../../../infra/console/'].map((up) =>
    fileURLToPath(new URL(up, import.meta.url))
  )
  const folder = folders.find((one) => existsSync(path.join(one, 'index.html')))
  if (folder === undefined) return undefined
  const files = new Map<string, { type: string; body: Buffer }>()
  for (const name of readdirSync(folder).sort()) {
    const type = own(types, path.extname(name))
    if (type !== undefined) files.set(name, { type, body: readFileSync(path.join(folder, name)) })
  }
  return files
}

export function addConsolePage(app: FastifyInstance, files: ConsoleFiles): void {
  const page = { url: '/', operationId: 'console', summary: 'The console, a page for people' }
  addTextRoute(app, page, ['text/html'], async (_request, reply) => {
    const { type, body } = files.get('index.html')!
    return reply.headers(headers).type(type).send(body)
  })
  const part = {
    ...{ url: '/console/:file', operationId: 'consoleFile', summary: 'A file of the console' },
    errors: { 404: 'The console has no such file' }
  }
  const mediaTypes = Object.values(types).map((type) => type.split(';', 1)[0]!)
  addTextRoute(app, part, mediaTypes, async ({ params }, reply) => {
    const file = files.get(params.file!)
    if (file !== undefined) return reply.headers(headers).type(file.type).send(file.body)
    throw new ProblemError(404, `the console has no file ${JSON.stringify(params.file!.slice(0, 80))}`)
  })
}
