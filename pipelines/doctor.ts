// `mtmi doctor`: what is here, what is live, and what is missing for what.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import type { Config } from '../src/base/config.ts'
import { exitCodes } from '../src/base/errors.ts'
import type { BackendReport } from '../src/model/backend.ts'
import { loadConfiguredBackend } from './configuredBackend.ts'
import { makeFolder, openIndexToRead, RunDirectory } from './parts.ts'
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
  const backend = await loadConfiguredBackend().catch((error: Error) => error)
  const findings = [
    node(),
    platform(),
    ...engine(backend),
    buildTools(backend),
    ...libraries(),
    dataDirectory(config),
    ...(await run(config))
  ]
  const failed = findings.some(({ verdict }) => verdict === 'failed')
  if (options.json === true)
    process.stdout.write(`${JSON.stringify({ version, ok: !failed, backend: backend instanceof Error ? null : backend, findings })}\n`)
  else {
    const marks: Readonly<Record<Verdict, string>> = { ok: 'ok     ', warning: 'warning', failed: 'FAILED ' }
    process.stdout.write(
      `mtmi-stream ${version}\n${findings.map(({ what, verdict, detail }) => `${marks[verdict]}  ${what.padEnd(22)} ${detail}`).join('\n')}\n`
    )
  }
  if (failed) {
    if (options.json !== true) process.stderr.write('\nwhat has FAILED above must be mended before mtmi can run\n')
    process.exitCode = exitCodes.UNAVAILABLE
  }
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
    ? `tfjs-node, native: libtensorflow ${tensorflow}, tfjs ${tfjs}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`
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
    detail: `${missing.join(' and ')} missing: ${needed ? 'install them, then run `mtmi setup` for the native backend' : 'not needed, the native backend is there'}`
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
  const isNew = !existsSync(full)
  try {
    makeFolder(full)
    const probe = path.join(full, `.doctor-${process.pid}`)
    writeFileSync(probe, 'x')
    rmSync(probe)
    const { bavail, bsize } = statfsSync(full)
    if (isNew) rmdirSync(full) // looking leaves nothing behind
    const free = Number(bavail) * Number(bsize)
    const detail = `${full}, ${(free / 2 ** 30).toFixed(1)} GiB free`
    return free < diskFreeMin ? { what, verdict: 'warning', detail: `${detail}: less than 1 GiB` } : { what, verdict: 'ok', detail }
  } catch (error) {
    return { what, verdict: 'failed', detail: `${full} cannot be written: ${(error as Error).message}` }
  }
}

/** What the run that was started last holds, and who is at work on it. */
async function run(config: Config): Promise<Finding[]> {
  const directory = RunDirectory.current(config.dataDir)
  const what = `run ${directory.name}`
  if (!existsSync(directory.root)) return [{ what, verdict: 'ok', detail: 'not begun: `mtmi start` begins one' }]
  const users = directory.users()
  const usedBy: Finding = {
    what,
    verdict: 'ok',
    detail: users.length === 0 ? 'no process is at work on it' : `in use by ${users.join(' and ')}`
  }
  if (!existsSync(directory.path('index'))) return [usedBy, { what: 'index', verdict: 'ok', detail: 'nothing published yet' }]
  try {
    const opened = await openIndexToRead(directory)
    const live = await opened.live()
    await opened.close()
    const detail =
      live === undefined ? 'nothing published yet' : `space ${live.space}, step ${live.step}, ${live.items} items, ${live.users} users`
    return [usedBy, { what: 'index', verdict: 'ok', detail }]
  } catch (error) {
    return [usedBy, { what: 'index', verdict: 'failed', detail: (error as Error).message }]
  }
}
