// `mtmi versions`: what is served, what can be gone back to, and what the gate said of the newest weights.

import { existsSync, readdirSync } from 'node:fs'
import type { Config } from '../src/base/config.ts'
import { CheckpointFiles } from '../src/io/state/checkpointFiles.ts'
import type { IndexState } from '../src/retrieval/vectorIndex.ts'
import { modelControlFile } from './modelControlFile.ts'
import { openIndexToRead, RunDirectory } from './parts.ts'
import type { ControlRequest } from './stages/modelControl.ts'
import type { GateHistory, GateRecord, HeldModel } from './stages/modelGate.ts'

export interface VersionsReport {
  readonly live: IndexState | null
  /** In the index, the live one included. */
  readonly spaces: readonly string[]
  /** Newest first: what `mtmi rollback` takes. */
  readonly checkpoints: readonly CheckpointEntry[]
  /** Newest first. */
  readonly gates: readonly GateRecord[]
  readonly held: HeldModel | null
  /** The trainer sends nothing until `mtmi publish --resume`. */
  readonly updatesHeld: boolean
  /** Asked for and not carried out yet. */
  readonly pending: ControlRequest | null
}

export interface CheckpointEntry {
  readonly step: number
  readonly version: boolean
  readonly savedAtMs: number | null
  readonly bytes: number
  readonly examplesLearned: number | null
  readonly space: string | null
  /** Why it cannot be read. */
  readonly damaged?: string
}

/** What a checkpoint's header says that is shown here; an earlier release wrote less. */
interface ShownState {
  readonly savedAtMs?: number
  readonly examplesLearned?: number
  readonly space?: string
  readonly updatesHeld?: boolean
}

export async function collectVersions(config: Config, run: RunDirectory): Promise<VersionsReport> {
  const { live, spaces } = await spacesOf(config, run)
  const histories = gateFiles(run).map((file) => run.readJson<GateHistory>(file))
  const gates = histories.flatMap((history) => history?.records ?? []).sort((a, b) => b.atMs - a.atMs)
  const control = modelControlFile(run)
  const request = control.request()
  const { checkpoints, updatesHeld } = await checkpointsOf(config, run)
  return {
    ...{ live, spaces, checkpoints, gates, updatesHeld },
    held: histories.find((history) => history?.held !== undefined)?.held ?? null,
    pending: request !== undefined && request.id > (control.result()?.id ?? 0) ? request : null
  }
}

export async function versions(config: Config, options: { json?: boolean }): Promise<void> {
  const report = await collectVersions(config, RunDirectory.current(config.dataDir))
  process.stdout.write(options.json === true ? `${JSON.stringify(report)}\n` : `${versionsText(report)}\n`)
}

export function versionsText({ live, spaces, checkpoints, gates, held, updatesHeld, pending }: VersionsReport): string {
  const lines: string[] = []
  lines.push(live === null ? 'nothing is live yet' : `live   ${live.space}, step ${live.step}, ${live.items} items, ${live.users} users`)
  for (const space of spaces) if (space !== live?.space) lines.push(`kept   ${space}`)
  if (held !== null) lines.push(`held   weights up to step ${held.step}, since ${time(held.sinceMs)}: ${held.text}`)
  if (updatesHeld) lines.push('held   the trainer publishes nothing until `mtmi publish --resume`')
  if (pending !== null)
    lines.push(`asked  ${pending.action}${pending.version === undefined ? '' : ` to ${pending.version}`}, not carried out yet`)
  lines.push('', checkpoints.length === 0 ? 'no checkpoints' : 'checkpoints (`mtmi rollback STEP`)')
  for (const { step, version, savedAtMs, bytes, examplesLearned, damaged } of checkpoints) {
    const what = damaged ?? `${savedAtMs === null ? '' : time(savedAtMs)}  ${examplesLearned ?? 0} examples  ${(bytes / 1e6).toFixed(1)} MB`
    lines.push(`  ${String(step).padStart(8)}  ${version ? 'version' : '       '}  ${what}`)
  }
  lines.push('', gates.length === 0 ? 'no weights have been tried yet' : 'newest gates')
  for (const gate of gates.slice(0, 10)) lines.push(`  ${String(gate.step).padStart(8)}  ${gateText(gate)}`)
  return lines.join('\n')
}

/** One verdict in a line. */
export function gateText({ outcome, reasons, figures, atMs, workMs, reason }: GateRecord): string {
  const { hits, targets, overlap, canaries } = figures
  const parts = [outcome, time(atMs)]
  if (reason !== undefined) parts.push(reason)
  if (targets > 0) parts.push(`found ${hits.candidate} of ${targets}, live ${hits.live}`)
  if (canaries > 0) parts.push(`lists keep ${(100 * overlap).toFixed(0)}%`)
  parts.push(`${workMs} ms`, ...reasons.map(({ text }) => text))
  return parts.join('  ')
}

async function spacesOf(config: Config, run: RunDirectory): Promise<{ live: IndexState | null; spaces: readonly string[] }> {
  if (config.index === 'embedded' && !existsSync(run.path('index'))) return { live: null, spaces: [] }
  const index = await openIndexToRead(config, run)
  try {
    return { live: (await index.live()) ?? null, spaces: await index.spaces() }
  } finally {
    await index.close()
  }
}

/** Several publishers of a group have one each. */
function gateFiles(run: RunDirectory): string[] {
  return existsSync(run.root) ? readdirSync(run.root).filter((file) => /^gates.*\.json$/.test(file)) : []
}

async function checkpointsOf(config: Config, run: RunDirectory): Promise<{ checkpoints: CheckpointEntry[]; updatesHeld: boolean }> {
  if (!existsSync(run.path('checkpoints'))) return { checkpoints: [], updatesHeld: false }
  const store = new CheckpointFiles({ directory: run.path('checkpoints'), keep: config.train.checkpointKeep })
  const versions = new Set(await store.versions())
  const checkpoints: CheckpointEntry[] = []
  let updatesHeld: boolean | undefined
  for (const step of (await store.steps()).reverse()) {
    const version = versions.has(step)
    try {
      const { header, bytes } = await store.describe(step)
      const state = (header.stage ?? {}) as ShownState
      updatesHeld ??= state.updatesHeld === true
      const { savedAtMs = null, examplesLearned = null, space = null } = state
      checkpoints.push({ step, version, bytes, savedAtMs, examplesLearned, space })
    } catch (error) {
      checkpoints.push({ step, version, bytes: 0, savedAtMs: null, examplesLearned: null, space: null, damaged: (error as Error).message })
    }
  }
  return { checkpoints, updatesHeld: updatesHeld ?? false }
}

function time(ms: number): string {
  return new Date(ms).toISOString().replace('T', ' ').slice(0, 19)
}
