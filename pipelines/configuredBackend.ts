// The engine that the environment asks for.

import { environmentVariable } from '../src/core/config/config.ts'
import { type BackendName, type BackendReport, loadBackend } from '../src/model/backend.ts'

/** @throws UnavailableError if it does not load */
export function loadConfiguredBackend(): Promise<BackendReport> {
  const threads = Number(environmentVariable('TF_NUM_INTRAOP_THREADS') ?? 0)
  return loadBackend(environmentVariable('MTMI_BACKEND') as BackendName | undefined, threads > 0 ? threads : undefined)
}

/** Engine, its version and threads: stands beside every measured number. */
export function describeBackend({ backend, tensorflow, threads }: BackendReport): string {
  return `${backend === 'tensorflow' ? `tfjs-node on libtensorflow ${tensorflow}` : 'WASM'}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`
}
