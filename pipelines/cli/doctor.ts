// `mtmi doctor`: what is here, what is live, what answers, and for each thing that is wrong what to do. Changes
// nothing.

import type { Config } from '../../src/core/config/config.ts'
import { exitCodes } from '../../src/core/errors.ts'
import { handledLater } from '../../src/core/promises.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { note, print, resultStream } from '../../src/core/terminal.ts'
import { version } from '../../src/core/version.ts'
import { loadConfiguredBackend } from '../configuredBackend.ts'
import { runToRead } from '../runs.ts'
import { type Finding, inTime } from './doctor/finding.ts'
import { machineFindings, qdrantFindings, registryFindings, runFindings } from './doctor/findings.ts'
import { kafkaFindings } from './doctor/kafkaFindings.ts'
import type { StageName } from './doctor/stageNeeds.ts'

interface DoctorOptions {
  readonly json?: boolean
  /** Stage whose Kafka permissions are checked; absent: all stages. */
  readonly stage?: StageName
}

/** The longest that a part outside may keep a doctor waiting. */
const limitMs = 20_000
/** Of a request to Qdrant. */
const requestMs = 5000

export async function doctor(config: Config, options: DoctorOptions): Promise<void> {
  // A run that is named may not have begun yet: that is a finding, not an error.
  const run = config.run === null ? runToRead(config) : new RunDirectory(config.dataDir, config.run)
  const backend = await loadConfiguredBackend().catch((error: Error) => error)
  const outside: Promise<Finding[]>[] = []
  const look = (what: string, waitMs: number, advice: string, find: () => Promise<Finding[]>) => {
    outside.push(handledLater(inTime(what, waitMs, advice, find)))
  }
  look('schema registry', limitMs, 'check registry.url', () => registryFindings(config))
  if (config.index === 'qdrant')
    look('Qdrant', limitMs, 'check qdrant.url', () => qdrantFindings(config, run.name, requestMs))
  if (config.log === 'kafka')
    look('brokers', 2 * limitMs, 'check kafka.brokers', () =>
      kafkaFindings(config, { limitMs, ...(options.stage === undefined ? {} : { stage: options.stage }) })
    )
  const findings = [
    ...machineFindings(config, backend),
    ...(await runFindings(config, run)),
    ...(await Promise.all(outside)).flat()
  ]
  const failures = findings.filter(({ verdict }) => verdict === 'failed')
  if (options.json === true) {
    const live = backend instanceof Error ? null : backend
    print(`${JSON.stringify({ version, ok: failures.length === 0, backend: live, findings })}\n`)
  } else print(`mtmi-stream ${version}\n${findings.flatMap(lines).join('\n')}\n`)
  if (failures.length === 0) return
  if (options.json !== true)
    note(`\n${failures.length} ${failures.length === 1 ? 'thing has' : 'things have'} FAILED and must be fixed`)
  process.exitCode = statusOf(failures)
  // What did not answer may still be waited for.
  resultStream().write('', () => process.exit())
}

function lines({ what, verdict, detail, advice }: Finding): string[] {
  const marks = { ok: 'ok     ', warning: 'warning', failed: 'FAILED ' } as const
  const line = `${marks[verdict]}  ${what.padEnd(22)} ${detail}`
  return advice === undefined ? [line] : [line, `${' '.repeat(32)} → ${advice}`]
}

/** 78 where only configuration, topics or permissions are wrong; otherwise what is down comes first. */
function statusOf(failures: readonly Finding[]): number {
  const codes = new Set(failures.map(({ code }) => code ?? 'UNAVAILABLE'))
  if (codes.has('CORRUPT')) return exitCodes.CORRUPT
  return codes.size === 1 && codes.has('CONFIG') ? exitCodes.CONFIG : exitCodes.UNAVAILABLE
}
