// What the run holds, and which processes use it.

import { existsSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import type { Config } from '../../../src/core/config/config.ts'
import type { RunDirectory } from '../../../src/core/runDirectory.ts'
import { readIndex } from '../../parts.ts'
import { type Finding, failure, fine } from './finding.ts'

export async function runFindings(config: Config, directory: RunDirectory): Promise<Finding[]> {
  const what = `run ${directory.name}`
  if (!existsSync(directory.root)) return [fine(what, 'not begun: `mtmi start` begins one')]
  const users = directory.users()
  const findings = [fine(what, users.length === 0 ? 'no process is at work on it' : `in use by ${users.join(' and ')}`)]
  if (config.log === 'local') findings.push(localLog(directory))
  if (config.index === 'embedded') findings.push(await index(config, directory))
  return findings
}

function localLog(directory: RunDirectory): Finding {
  const root = directory.path('log')
  const topics = existsSync(root) ? readdirSync(root) : []
  let bytes = 0
  for (const topic of topics)
    bytes += statSync(path.join(root, topic, 'data.mdb'), { throwIfNoEntry: false })?.size ?? 0
  return fine('log', `local, ${topics.length} topics, ${(bytes / 2 ** 20).toFixed(1)} MiB`)
}

async function index(config: Config, directory: RunDirectory): Promise<Finding> {
  if (!existsSync(directory.path('index'))) return fine('index', 'nothing published yet')
  try {
    const live = await readIndex(config, directory, (index) => index.live())
    if (live === undefined) return fine('index', 'nothing published yet')
    return fine(
      'index',
      `index version ${live.indexVersion}, step ${live.step}, ${live.items} items, ${live.users} users`
    )
  } catch (error) {
    return failure(
      'index',
      error,
      'stop `publish` and `serve`, remove index/ and published.json of the run, start: it is made again'
    )
  }
}
