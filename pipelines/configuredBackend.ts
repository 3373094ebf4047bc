// Loads the tfjs backend that the environment variables choose.

import { environmentVariable } from '../src/core/config/config.ts'
import { type BackendName, type BackendReport, loadBackend } from '../src/model/backend.ts'

/** @throws UnavailableError if it does not load */
export function loadConfiguredBackend(): Promise<BackendReport> {
  const threads = Number(environmentVariable('TF_NUM_INTRAOP_THREADS') ?? 0)
  return loadBackend(environmentVariable('MTMI_BACKEND') as BackendName | undefined, threads > 0 ? threads : undefined)
}
