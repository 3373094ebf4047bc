// The tfjs backend in words and as a metric. Without tfjs, which only the model thread loads.

import { version } from '../src/core/version.ts'
import type { BackendReport } from '../src/model/backend.ts'
import type { BuildInfo } from '../src/monitor/metricsRegistry.ts'

/** Backend, its version and threads: stands beside every measured number. */
export function describeBackend({ backend, tensorflow, threads }: BackendReport): string {
  const name = backend === 'tensorflow' ? `tfjs-node on libtensorflow ${tensorflow}` : 'WASM'
  return `${name}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`
}

export function buildInfo({ backend, tensorflow }: BackendReport): BuildInfo {
  const name = backend === 'tensorflow' ? 'tfjs-node' : backend
  return { version, backend: name, node: process.versions.node, ...(tensorflow === undefined ? {} : { tensorflow }) }
}
