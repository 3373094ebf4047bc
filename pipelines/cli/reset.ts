// `mtmi reset`: removes the state of one run.

import { existsSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline/promises'
import type { Config } from '../../src/core/config/config.ts'
import { ConfigError, UnavailableError } from '../../src/core/errors.ts'
import { RunDirectory, writerRoles } from '../../src/core/runDirectory.ts'
import { openQdrantIndex } from '../parts.ts'

export async function reset(config: Config, options: { run?: string; yes: boolean; json?: boolean }): Promise<void> {
  const runs = existsSync(config.dataDir)
    ? readdirSync(config.dataDir, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => name)
    : []
  const name = options.run ?? RunDirectory.currentName(config.dataDir)
  if (!runs.includes(name))
    throw new ConfigError([
      `there is no run ${name} in ${path.resolve(config.dataDir)}${runs.length === 0 ? ': nothing to remove' : `; there are ${runs.join(', ')}: choose with --run`}`
    ])
  const root = path.resolve(config.dataDir, name)
  if (!options.yes) {
    if (!process.stdin.isTTY)
      throw new ConfigError([`reset would remove ${root} with its log, histories, model and index: say --yes where nobody can be asked`])
    const ask = createInterface({ input: process.stdin, output: process.stderr })
    const answer = await ask.question(`Remove ${root} with its log, histories, model and index? [y/N] `)
    ask.close()
    if (!/^y(es)?$/i.test(answer.trim())) {
      process.stderr.write('nothing was removed\n')
      return
    }
  }
  const run = new RunDirectory(config.dataDir, name)
  const lock = run.lock('mtmi reset', writerRoles)
  try {
    const others = run.users().filter((user) => !user.startsWith('mtmi reset '))
    if (others.length > 0) throw new UnavailableError(`${root} is in use by ${others.join(' and ')}: end that first. Nothing was removed`)
    // First what is elsewhere: if that fails, the run is still there, and reset may be repeated.
    if (config.index === 'qdrant') {
      const index = await openQdrantIndex(config, name)
      const dropped = await index.clear().finally(() => index.close())
      process.stderr.write(`removed ${dropped.length} collections from Qdrant at ${config.qdrant.url}\n`)
    }
    rmSync(root, { recursive: true })
  } finally {
    lock.release()
  }
  if (RunDirectory.currentName(config.dataDir) === name) rmSync(path.resolve(config.dataDir, 'current'), { force: true })
  process.stderr.write(`removed ${root}\n`)
  if (options.json === true) process.stdout.write(`${JSON.stringify({ removed: root })}\n`)
}
