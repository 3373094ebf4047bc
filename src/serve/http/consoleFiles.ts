// The console's page: a handful of files that come with the program and are held in memory.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { own } from '../../core/own.ts'

export interface ConsoleFile {
  readonly type: string
  readonly body: Buffer
}

/** File name → file. */
export type ConsoleFiles = ReadonlyMap<string, ConsoleFile>

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml'
}

/**
 * Everything comes from this host and nothing is written into the page: what an item is called can never run.
 * Styles that the page sets by script are allowed by the standard without being named here.
 */
export const consoleHeaders = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin'
} as const

/** @returns undefined where the program was copied without them */
export function loadConsoleFiles(): ConsoleFiles | undefined {
  // From src/io, and from dist/src/io.
  const folders = ['../../../infra/console/', '../../../../infra/console/'].map((up) =>
    fileURLToPath(new URL(up, import.meta.url))
  )
  const folder = folders.find((one) => existsSync(path.join(one, 'index.html')))
  if (folder === undefined) return undefined
  const files = new Map<string, ConsoleFile>()
  for (const name of readdirSync(folder).sort()) {
    const type = own(types, path.extname(name))
    if (type !== undefined) files.set(name, { type, body: readFileSync(path.join(folder, name)) })
  }
  return files
}
