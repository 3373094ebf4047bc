// What the run that was started last holds, and who is at work on it.

import { existsSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import type { Config } from '../../src/base/config.ts'
import { openIndexToRead, openQdrantIndex, RunDirectory } from '../parts.ts'
import { type Finding, failure, fine } from './finding.ts'

/** A server that takes longer to say its version is as good as none. */
const qdrantTimeoutMs = 5000

export async function runFindings(config: Config): Promise<Finding[]> {
  const directory = RunDirectory.current(config.dataDir)
  const what = `run ${directory.name}`
  if (!existsSync(directory.root)) return [fine(what, 'not begun: `mtmi start` begins one')]
  const users = directory.users()
  const findings = [fine(what, users.length === 0 ? 'no process is at work on it' : `in use by ${users.join(' and ')}`)]
  if (config.log === 'local') findings.push(localLog(directory))
  findings.push(config.index === 'qdrant' ? await qdrant(config, directory) : await index(config, directory))
  return findings
}

function localLog(directory: RunDirectory): Finding {
  const root = directory.path('log')
  const topics = existsSync(root) ? readdirSync(root) : []
  let bytes = 0
  for (const topic of topics) bytes += statSync(path.join(root, topic, 'data.mdb'), { throwIfNoEntry: false })?.size ?? 0
  return fine('log', `local, ${topics.length} topics, ${(bytes / 2 ** 20).toFixed(1)} MiB`)
}

async function index(config: Config, directory: RunDirectory): Promise<Finding> {
  if (!existsSync(directory.path('index'))) return fine('index', 'nothing published yet')
  try {
    const opened = await openIndexToRead(config, directory)
    const live = await opened.live()
    await opened.close()
    if (live === undefined) return fine('index', 'nothing published yet')
    return fine('index', `space ${live.space}, step ${live.step}, ${live.items} items, ${live.users} users`)
  } catch (error) {
    return failure('index', error, 'stop `publish` and `serve`, remove index/ and published.json of the run, start: it is made again')
  }
}

async function qdrant(config: Config, directory: RunDirectory): Promise<Finding> {
  const { url, timeoutMs } = config.qdrant
  const what = `Qdrant ${url}`
  const patience = { timeoutMs: Math.min(timeoutMs, qdrantTimeoutMs), retryMs: 0, searchRetryMs: 0 }
  const opened = openQdrantIndex({ ...config, qdrant: { ...config.qdrant, ...patience } }, directory.name)
  try {
    const version = await opened.version()
    const live = await opened.live()
    if (live === undefined) return fine(what, `version ${version}, nothing published yet`)
    return fine(what, `version ${version}; space ${live.space}, step ${live.step}, ${live.items} items, ${live.users} users`)
  } catch (error) {
    return failure(what, error, 'see qdrant.url and qdrant.apiKey, and whether the server runs and this machine may connect to it')
  } finally {
    await opened.close()
  }
}
