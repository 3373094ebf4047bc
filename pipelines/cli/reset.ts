// `mtmi reset`: deletes the state of one run.

import { rmSync } from 'node:fs'
import type { Config } from '../../src/core/config/config.ts'
import { ConfigError, UnavailableError } from '../../src/core/errors.ts'
import { writerRoles } from '../../src/core/runDirectory.ts'
import { confirmed, note, print } from '../../src/core/terminal.ts'
import { openQdrantIndex } from '../parts.ts'
import { runToChange } from '../runs.ts'

export async function reset(config: Config, options: { yes: boolean; json?: boolean }): Promise<void> {
  const run = runToChange(config)
  const { name, root } = run
  if (!options.yes) {
    if (!process.stdin.isTTY)
      throw new ConfigError([
        `reset would remove ${root} with its log, histories, model and index: add --yes where no terminal can confirm it`
      ])
    if (!(await confirmed(`Remove ${root} with its log, histories, model and index?`))) {
      note('nothing was removed')
      return
    }
  }
  const lock = run.lock('mtmi reset', writerRoles)
  try {
    const others = run.users().filter((user) => !user.startsWith('mtmi reset '))
    if (others.length > 0)
      throw new UnavailableError(`${root} is in use by ${others.join(' and ')}: end that first. Nothing was removed`)
    // First what is elsewhere: if that fails, the run is still there, and reset may be repeated.
    if (config.index === 'qdrant') {
      const index = await openQdrantIndex(config, name)
      const dropped = await index.clear().finally(() => index.close())
      note(`removed ${dropped.length} collections from Qdrant at ${config.qdrant.url}`)
    }
    rmSync(root, { recursive: true })
  } finally {
    lock.release()
  }
  note(`removed ${root}`)
  if (options.json === true) print(`${JSON.stringify({ removed: root })}\n`)
}
