// `mtmi versions`: what is served, what can be gone back to, and what the gate said of the newest weights.

import type { Config } from '../../src/core/config/config.ts'
import { print } from '../../src/core/terminal.ts'
import type { GateRecord } from '../../src/publish/modelGate.ts'
import { runToRead } from '../runs.ts'
import { collectVersions, gateDetail, heldTexts, type VersionsReport } from '../versionsReport.ts'

export async function versions(config: Config, options: { json?: boolean }): Promise<void> {
  const report = await collectVersions(config, runToRead(config))
  print(options.json === true ? `${JSON.stringify(report)}\n` : `${versionsText(report)}\n`)
}

export function versionsText(report: VersionsReport): string {
  const { live, versions, checkpoints, gates } = report
  const lines: string[] = []
  lines.push(
    live === null
      ? 'nothing is live yet'
      : `live   ${live.indexVersion}, step ${live.step}, ${live.items} items, ${live.users} users`
  )
  for (const indexVersion of versions) if (indexVersion !== live?.indexVersion) lines.push(`kept   ${indexVersion}`)
  for (const text of heldTexts(report)) lines.push(`held   ${text}`)
  lines.push('', checkpoints.length === 0 ? 'no checkpoints' : 'checkpoints (`mtmi rollback STEP`)')
  for (const { step, version, savedAtMs, bytes, examplesLearned, damaged } of checkpoints) {
    const what =
      damaged ??
      `${savedAtMs === null ? '' : time(savedAtMs)}  ${examplesLearned ?? 0} examples  ${(bytes / 1e6).toFixed(1)} MB`
    lines.push(`  ${String(step).padStart(8)}  ${version ? 'version' : '       '}  ${what}`)
  }
  lines.push('', gates.length === 0 ? 'no weights have been tried yet' : 'newest gates')
  for (const gate of gates.slice(0, 10)) lines.push(`  ${String(gate.step).padStart(8)}  ${gateText(gate)}`)
  return lines.join('\n')
}

/** One verdict in a line. */
function gateText(gate: GateRecord): string {
  return [gate.outcome, time(gate.atMs), gateDetail(gate), `${gate.workMs} ms`].filter((part) => part !== '').join('  ')
}

function time(ms: number): string {
  return new Date(ms).toISOString().replace('T', ' ').slice(0, 19)
}
