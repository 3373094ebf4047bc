// `mtmi doctor`: what is here, what is live, and what is missing for what.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { type Config, environmentVariable } from '../src/base/config.ts'
import { type BackendName, type BackendReport, loadBackend } from '../src/model/backend.ts'
import { openIndex, RunDirectory } from './parts.ts'
import { version } from './version.ts'

type Verdict = 'ok' | 'warning' | 'failed'

interface Finding {
  readonly what: string
  readonly verdict: Verdict
  readonly detail: string
}

/** Below this a checkpoint or the log may run out of room soon. */
const diskFreeMin = 2 ** 30

export async function doctor(config: Config, options: { json?: boolean }): Promise<void> {
  const backend = await loadBackend(environmentVariable('MTMI_BACKEND') as BackendName | undefined).catch((error: Error) => error)
  const findings = [node(), platform(), ...engine(backend), buildTools(backend), ...libraries(), dataDirectory(config), await index(config)]
  const failed = findings.some(({ verdict }) => verdict === 'failed')
  if (options.json === true)
    process.stdout.write(`${JSON.stringify({ version, ok: !failed, backend: backend instanceof Error ? null : backend, findings })}\n`)
  else {
    const marks: Readonly<Record<Verdict, string>> = { ok: 'ok     ', warning: 'warning', failed: 'FAILED ' }
    process.stdout.write(
      `mtmi-stream ${version}\n${findings.map(({ what, verdict, detail }) => `${marks[verdict]}  ${what.padEnd(18)} ${detail}`).join('\n')}\n`
    )
  }
  if (failed) process.exitCode = 1
}

function node(): Finding {
  const major = Number(process.versions.node.split('.')[0])
  const supported = major >= 20 && major < 23
  return {
    what: 'Node',
    verdict: supported ? 'ok' : 'failed',
    detail: supported ? process.versions.node : `${process.versions.node}: use Node 20 or 22 (tfjs-node 4.22 fails on 23 and later)`
  }
}

function platform(): Finding {
  const memory = (os.totalmem() / 2 ** 30).toFixed(1)
  return {
    what: 'machine',
    verdict: 'ok',
    detail: `${process.platform} ${process.arch}, ${os.availableParallelism()} cores (${os.cpus()[0]?.model.trim() ?? 'unknown'}), ${memory} GiB`
  }
}

function engine(backend: BackendReport | Error): Finding[] {
  if (backend instanceof Error) return [{ what: 'backend', verdict: 'failed', detail: backend.message }]
  const { tfjs, tensorflow, threads, problems } = backend
  const native = backend.backend === 'tensorflow'
  const detail = native
    ? `tfjs-node, native: libtensorflow ${tensorflow}, tfjs ${tfjs}, ${threads} threads`
    : `WASM, tfjs ${tfjs}, ${threads} thread`
  return [{ what: 'backend', verdict: native ? 'ok' : 'warning', detail: [detail, ...problems].join('. ') }]
}

/** Only of use where the native part is still to be made. */
function buildTools(backend: BackendReport | Error): Finding {
  const has = (command: string, ...args: string[]) => spawnSync(command, args, { stdio: 'ignore' }).status === 0
  const missing = [...(has('python3', '-m', 'pip', '--version') ? [] : ['python3 with pip']), ...(has('g++', '--version') ? [] : ['g++'])]
  const needed = backend instanceof Error || backend.backend !== 'tensorflow'
  if (missing.length === 0) return { what: 'build tools', verdict: 'ok', detail: 'python3 with pip, g++ (to make the native backend)' }
  return {
    what: 'build tools',
    verdict: needed ? 'warning' : 'ok',
    detail: `${missing.join(' and ')} missing: ${needed ? 'install them, then run `node infra/setup.mjs` for the native backend' : 'not needed, the native backend is there'}`
  }
}

function libraries(): Finding[] {
  const require = createRequire(import.meta.url)
  return ['lmdb', 'avsc', 'kafkajs', '@qdrant/js-client-rest', 'prom-client', 'fastify'].map((name) => {
    try {
      const entry = require.resolve(name)
      const folder = path.join('node_modules', ...name.split('/'))
      const root = entry.slice(0, entry.lastIndexOf(folder) + folder.length)
      return {
        what: name,
        verdict: 'ok',
        detail: (JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string }).version
      }
    } catch (error) {
      return {
        what: name,
        verdict: 'failed',
        detail: `does not load: ${(error as Error).message.split('\n')[0]}; run \`node infra/setup.mjs\``
      }
    }
  })
}

function dataDirectory({ dataDir }: Config): Finding {
  const what = 'data directory'
  const full = path.resolve(dataDir)
  try {
    mkdirSync(full, { recursive: true })
    const probe = path.join(full, `.doctor-${process.pid}`)
    writeFileSync(probe, 'x')
    void rm(probe)
    const { bavail, bsize } = statfsSync(full)
    const free = Number(bavail) * Number(bsize)
    const detail = `${full}, ${(free / 2 ** 30).toFixed(1)} GiB free`
    return free < diskFreeMin ? { what, verdict: 'warning', detail: `${detail}: less than 1 GiB` } : { what, verdict: 'ok', detail }
  } catch (error) {
    return { what, verdict: 'failed', detail: `${full} cannot be written: ${(error as Error).message}; set dataDir (--data-dir)` }
  }
}

async function index(config: Config): Promise<Finding> {
  const what = 'index'
  const name = RunDirectory.currentName(config.dataDir)
  try {
    const opened = await openIndex(RunDirectory.current(config.dataDir), { searchThread: false })
    const live = await opened.live()
    await opened.close()
    if (live === undefined) return { what, verdict: 'ok', detail: `run ${name}: nothing published yet` }
    return { what, verdict: 'ok', detail: `run ${name}: space ${live.space}, step ${live.step}, ${live.items} items, ${live.users} users` }
  } catch (error) {
    return { what, verdict: 'failed', detail: (error as Error).message }
  }
}
