// Which test files `npm test` runs, and which of them share one process.
//
// Tests that use no process, thread, file, socket or engine take milliseconds each; a process of its own costs each of
// them a third of a second of CPU time. test/units.test.ts imports them all. Everything else runs as a process a file.

import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** Folders with commands of their own. */
const campaigns = ['services', 'crash', 'console', 'infra', 'simulate', 'api', 'node', 'image']
const outside =
  /node:(child_process|worker_threads|fs|net|http|timers)|@tensorflow|\/backends\.ts|support\/(loopbackServer|mtmiProcess|registryServer)|\b(before|after)(Each)?\((async )?\(/

const files = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll('\\', '/'))
  .filter(
    (file) => file.endsWith('.test.ts') && file !== 'units.test.ts' && !campaigns.includes(file.split('/')[0] ?? '')
  )
  .sort()

/** Paths within test/ of the files that share the process of test/units.test.ts. */
export const units = files.filter((file) => !outside.test(readFileSync(path.join(import.meta.dirname, file), 'utf8')))

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const apart = files.filter((file) => !units.includes(file))
  process.stdout.write(['units.test.ts', ...apart].map((file) => `test/${file}\n`).join(''))
}
