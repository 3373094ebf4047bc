// The schema registry: its addresses, and whether our schemas are, or can be, in it.

import type { Clock } from '../../../src/core/clock.ts'
import type { Config } from '../../../src/core/config/config.ts'
import { examineSchemas, levelWanted, type SchemaReport } from '../schemaReports.ts'
import { clockFinding } from './clockFinding.ts'
import { doubtful, type Finding, failed, failure, fine } from './finding.ts'
import { httpProbe } from './httpProbe.ts'

/** The embedded registry has nothing that could be out of reach. */
export async function registryFindings(config: Config, clock: Clock, timeoutMs: number): Promise<Finding[]> {
  const { registry } = config
  if (registry.url === '') return [fine('schema registry', 'embedded, in the data directory')]
  const findings: Finding[] = []
  let reached = 0
  for (const url of registry.url.split(',').map((text) => text.trim().replace(/\/+$/, ''))) {
    const what = `schema registry ${url}`
    try {
      const { status, clockAheadMs } = await httpProbe(url, { clock, timeoutMs })
      findings.push(fine(what, `answers (${status})`), clockFinding(url, clockAheadMs, config))
      reached++
    } catch (error) {
      findings.push(failure(what, error, 'check registry.url, that it runs, and that this machine may connect to it'))
    }
  }
  if (reached === 0) return findings
  try {
    const reports = await examineSchemas({
      ...config,
      registry: { ...registry, retryMaxMs: 0 }
    })
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
