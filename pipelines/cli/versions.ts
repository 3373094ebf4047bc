// `mtmi versions`: what is served, which checkpoints a rollback can use, and what the gate decided.

import type { Config } from '../../src/core/config/config.ts'
import { print } from '../../src/core/terminal.ts'
import { runToRead } from '../runs.ts'
import { collectVersions, gateDetail, heldTexts, type VersionsReport } from '../versionsReport.ts'

export async function versions(config: Config, options: { json?: boolean }): Promise<void> {
  const report = await collectVersions(config, runToRead(config))
  print(options.json === true ? `${JSON.stringify(report)}\n` : `${versionsText(report)}\n`)
}

function versionsText(report: VersionsReport): string {
  const { live, versions, checkpoints, gates } = report
  return [
    live === null
      ? 'nothing is live yet'
      : `live   ${live.indexVersion}, step ${live.step}, ${live.items} items, ${live.users} users`,
    ...versions.filter((version) => version !== live?.indexVersion).map((version) => `kept   ${version}`),
    ...heldTexts(report).map((text) => `held   ${text}`),
    '',
    checkpoints.length === 0 ? 'no checkpoints' : 'checkpoints (`mtmi rollback STEP`)',
    ...checkpoints.map(({ step, version, savedAtMs, bytes, examplesTrained, damaged }) => {
      const saved = savedAtMs === null ? '' : time(savedAtMs)
      const what = damaged ?? `${saved}  ${examplesTrained ?? 0} examples  ${(bytes / 1e6).toFixed(1)} MB`
      return `  ${String(step).padStart(8)}  ${version ? 'version' : '       '}  ${what}`
    }),
    '',
    gates.length === 0 ? 'no weights have been tried yet' : 'newest gates',
    ...gates.slice(0, 10).map((gate) => {
      const parts = [gate.outcome, time(gate.atMs), gateDetail(gate), `${gate.workMs} ms`]
      return `  ${String(gate.step).padStart(8)}  ${parts.filter((part) => part !== '').join('  ')}`
    })
  ].join('\n')
}

function time(ms: number): string {
  return new Date(ms).toISOString().replace('T', ' ').slice(0, 19)
}
