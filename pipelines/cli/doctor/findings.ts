// What `mtmi doctor` looks at beside Kafka: this machine, the run, the schema registry, Qdrant.

import { existsSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Config } from '../../../src/core/config/config.ts'
import type { RunDirectory } from '../../../src/core/runDirectory.ts'
import type { IndexState, VectorIndex } from '../../../src/index/vectorIndex.ts'
import type { BackendReport } from '../../../src/model/backend.ts'
import { openHttpRegistry, openQdrantIndex, readIndex } from '../../parts.ts'
import { examineSchemas, levelWanted, type SchemaReport } from '../schemaReports.ts'
import { doubtful, type Finding, failed, failure, fine } from './finding.ts'

/** Below this a checkpoint or the log may run out of room soon. */
const diskFreeMin = 2 ** 30

export function machineFindings(config: Config, backend: BackendReport | Error): Finding[] {
  const memory = (os.totalmem() / 2 ** 30).toFixed(1)
  const cores = `${os.availableParallelism()} cores (${os.cpus()[0]?.model.trim() ?? 'unknown'})`
  return [
    fine('Node', process.versions.node),
    fine('machine', `${process.platform} ${process.arch}, ${cores}, ${memory} GiB`),
    engine(backend),
    dataDirectory(config)
  ]
}

function engine(backend: BackendReport | Error): Finding {
  if (backend instanceof Error) return failed('backend', backend.message, 'run `mtmi setup`')
  const { tfjs, tensorflow, threads, problems } = backend
  if (backend.backend === 'tensorflow') {
    const detail = `tfjs-node, native: libtensorflow ${tensorflow}, tfjs ${tfjs}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`
    return fine('backend', [detail, ...problems].join('. '))
  }
  const detail = [`WASM, tfjs ${tfjs}, ${threads} thread`, ...problems].join('. ')
  return doubtful('backend', detail, 'run `mtmi setup` for the native one, about ten times as fast')
}

function dataDirectory({ dataDir }: Config): Finding {
  const what = 'data directory'
  const full = path.resolve(dataDir)
  // A folder that is missing is not made: another process may be about to make it, and would lose it again.
  let folder = full
  while (!existsSync(folder)) folder = path.dirname(folder)
  try {
    const probe = path.join(folder, `.doctor-${process.pid}`)
    writeFileSync(probe, 'x')
    rmSync(probe)
    const { bavail, bsize } = statfsSync(folder)
    const free = Number(bavail) * Number(bsize)
    const detail = `${full}, ${(free / 2 ** 30).toFixed(1)} GiB free`
    const advice = 'make room: a full disk stops every stage; nothing that was committed is lost'
    return free < diskFreeMin ? doubtful(what, `${detail}: less than 1 GiB`, advice) : fine(what, detail)
  } catch (error) {
    const detail = `${full} cannot be written: ${(error as Error).message}`
    return failed(what, detail, 'correct its permissions, or choose another --data-dir')
  }
}

export async function runFindings(config: Config, directory: RunDirectory): Promise<Finding[]> {
  const what = `run ${directory.name}`
  if (!existsSync(directory.root)) return [fine(what, 'not begun: `mtmi start` begins one')]
  const users = directory.users()
  const used = fine(what, users.length === 0 ? 'no process is at work on it' : `in use by ${users.join(' and ')}`)
  if (config.index !== 'embedded') return [used]
  if (!existsSync(directory.path('index'))) return [used, fine('index', 'nothing published yet')]
  try {
    return [used, fine('index', published(await readIndex(config, directory, (index) => index.live())))]
  } catch (error) {
    const advice = 'stop `publish` and `serve`, remove index/ of the run, start: it is made again'
    return [used, failure('index', error, advice)]
  }
}

function published(live: IndexState | undefined): string {
  if (live === undefined) return 'nothing published yet'
  return `index version ${live.indexVersion}, step ${live.step}, ${live.items} items, ${live.users} users`
}

/** The embedded registry has nothing that could be out of reach. */
export async function registryFindings(config: Config): Promise<Finding[]> {
  const { registry } = config
  if (registry.url === '') return [fine('schema registry', 'embedded, in the data directory')]
  const findings: Finding[] = []
  for (const url of registry.url.split(',').map((text) => text.trim().replace(/\/+$/, ''))) {
    const what = `schema registry ${url}`
    try {
      await openHttpRegistry({ ...config, registry: { ...registry, url } }, 0).hasSubject('mtmi')
      findings.push(fine(what, 'answers'))
    } catch (error) {
      findings.push(failure(what, error, 'check registry.url, that it runs, and that this machine may connect to it'))
    }
  }
  if (findings.every(({ verdict }) => verdict === 'failed')) return findings
  try {
    const reports = await examineSchemas(config, 0)
    return [...findings, ...reports.map((report) => schemaFinding(report, registry.register))]
  } catch (error) {
    return [...findings, failure('schemas', error, 'see registry.username and password, or registry.token')]
  }
}

function schemaFinding(
  { subject, state, id, version, compatibility, messages }: SchemaReport,
  mayRegister: boolean
): Finding {
  const what = `schema ${subject}`
  const register = 'run `mtmi schemas register` with the permission to'
  if (state === 'incompatible') {
    const detail = `cannot read what its earlier schemas wrote: ${messages.join('; ')}`
    return failed(what, detail, 'use the version of this program that wrote them, or other topics', 'CONFIG')
  }
  if (state !== 'registered' && !mayRegister)
    return failed(what, 'is not registered, and registry.register is false', register, 'CONFIG')
  const detail =
    state === 'registered' ? `id ${id}, version ${version}` : 'not registered yet: the first stage that writes does it'
  if (compatibility === levelWanted) return fine(what, detail)
  return doubtful(what, `${detail}; compatibility is ${compatibility}, not ${levelWanted}`, register)
}

/** Whether Qdrant answers, is new enough, and what of ours is live in it. */
export async function qdrantFindings(config: Config, run: string, timeoutMs: number): Promise<Finding[]> {
  const what = `Qdrant ${config.qdrant.url.replace(/\/+$/, '')}`
  const patience = { timeoutMs, retryMs: 0, searchRetryMs: 0 }
  const index = await openQdrantIndex({ ...config, qdrant: { ...config.qdrant, ...patience } }, run)
  try {
    const version = await index.version()
    return [fine(what, `version ${version}; ${published(await (index as VectorIndex).live())}`)]
  } catch (error) {
    const found = failure(
      what,
      error,
      'check qdrant.url, that the server runs, and that this machine may connect to it'
    )
    return [found.code === 'CONFIG' ? { ...found, advice: 'give the key by MTMI_QDRANT_API_KEY_FILE' } : found]
  } finally {
    await index.close()
  }
}
