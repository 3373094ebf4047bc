// The program's own version, from package.json.

import { readFileSync } from 'node:fs'

/** Of the sources, one folder up; of what was built, two. */
const candidates = ['../../package.json', '../../../package.json']

export const version = readVersion()

function readVersion(): string {
  for (const candidate of candidates) {
    try {
      return (JSON.parse(readFileSync(new URL(candidate, import.meta.url), 'utf8')) as { version: string }).version
    } catch {
      // the other one
    }
  }
  return 'unknown'
}
