// `mtmi reset`: removes the state of one run.

import { existsSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline/promises'
import type { Config } from '../src/base/config.ts'
import { ConfigError } from '../src/base/errors.ts'
import { RunDirectory } from './parts.ts'

export async function reset(config: Config, options: { run?: string; yes: boolean }): Promise<void> {
  const runs = existsSync(config.dataDir)
    ? readdirSync(config.dataDir, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => name)
    : []
  const name = options.run ?? RunDirectory.currentName(config.dataDir)
  if (!runs.includes(name))
    throw new ConfigError([`there is no run ${name} in ${config.dataDir}${runs.length === 0 ? '' : `; there are ${runs.join(', ')}`}`])
  const root = path.resolve(config.dataDir, name)
  if (!options.yes) {
    if (!process.stdin.isTTY) throw new ConfigError([`reset removes ${root}; say --yes to do so without being asked`])
    const ask = createInterface({ input: process.stdin, output: process.stderr })
    const answer = await ask.question(`Remove ${root} with its log, histories, model and index? [y/N] `)
    ask.close()
    if (!/^y(es)?$/i.test(answer.trim())) {
      process.stderr.write('nothing was removed\n')
      return
    }
  }
  rmSync(root, { recursive: true })
  process.stderr.write(`removed ${root}\n`)
}
