// This machine: Node, the backend, libraries, and room on the disk.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import type { Config } from '../../../src/core/config/config.ts'
import type { BackendReport } from '../../../src/model/backend.ts'
import { doubtful, type Finding, failed, fine } from './finding.ts'

/** Below this a checkpoint or the log may run out of room soon. */
const diskFreeMin = 2 ** 30

export function machineFindings(config: Config, backend: BackendReport | Error): Finding[] {
  return [
    fine('Node', process.versions.node),
    platform(),
    engine(backend),
    buildTools(backend),
    ...libraries(),
    dataDirectory(config)
  ]
}

function platform(): Finding {
  const memory = (os.totalmem() / 2 ** 30).toFixed(1)
  const cores = `${os.availableParallelism()} cores (${os.cpus()[0]?.model.trim() ?? 'unknown'})`
  return fine('machine', `${process.platform} ${process.arch}, ${cores}, ${memory} GiB`)
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

/** Only of use where the native part is still to be made. */
function buildTools(backend: BackendReport | Error): Finding {
  const has = (command: string, ...args: string[]) => spawnSync(command, args, { stdio: 'ignore' }).status === 0
  const missing = [
    ...(has('python3', '-m', 'pip', '--version') ? [] : ['python3 with pip']),
    ...(has('g++', '--version') ? [] : ['g++'])
  ]
  if (missing.length === 0) return fine('build tools', 'python3 with pip, g++ (to make the native backend)')
  const needed = backend instanceof Error || backend.backend !== 'tensorflow'
  const detail = `${missing.join(' and ')} missing`
  if (!needed) return fine('build tools', `${detail}: not needed, the native backend is there`)
  return doubtful('build tools', detail, 'install them, then run `mtmi setup` for the native backend')
}

function libraries(): Finding[] {
  const require = createRequire(import.meta.url)
  return ['lmdb', 'avsc', 'kafkajs', '@qdrant/js-client-rest', 'prom-client', 'fastify'].map((name) => {
    try {
      const entry = require.resolve(name)
      const folder = path.join('node_modules', ...name.split('/'))
      const root = entry.slice(0, entry.lastIndexOf(folder) + folder.length)
      return fine(
        name,
        (JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string }).version
      )
    } catch (error) {
      return failed(name, `does not load: ${(error as Error).message.split('\n')[0]}`, 'run `node infra/setup.mjs`')
    }
  })
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
    return free < diskFreeMin
      ? doubtful(
          what,
          `${detail}: less than 1 GiB`,
          'make room: a full disk stops every stage; nothing that was committed is lost'
        )
      : fine(what, detail)
  } catch (error) {
    return failed(
      what,
      `${full} cannot be written: ${(error as Error).message}`,
      'correct its permissions, or choose another --data-dir'
    )
  }
}
