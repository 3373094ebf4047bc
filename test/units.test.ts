// All tests of the folders below in one process. Each of their files takes milliseconds, and as a process of its own a third of a second of CPU time to load what
// the others have loaded already. A file may still be run by itself; a failure names the file it is in.
//
// Not for folders whose files have hooks (`before`), which would be everybody's, or that depend on what else is loaded.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'node:test'
import { pathToFileURL } from 'node:url'

const folders = ['base', 'batch', 'drift', 'event', 'evaluate', 'recommend', 'retrieval', 'sequence']

for (const folder of folders) {
  const root = path.join(import.meta.dirname, folder)
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.test.ts'))
  for (const file of files.sort()) await import(pathToFileURL(path.join(root, file)).href)
}

test('`npm test` leaves these folders to this file', () => {
  const { scripts } = JSON.parse(readFileSync(path.join(import.meta.dirname, '../package.json'), 'utf8')) as { scripts: { test: string } }
  const others = ['services', 'crash', 'console', 'infra'] // have commands of their own
  const left = [...scripts.test.matchAll(/-not -path 'test\/(\w+)\/\*'/g)].map(([, folder]) => folder)
  assert.deepEqual(left.sort(), [...others, ...folders].sort())
})
