// What is served, what can be gone back to, and what the gate said of the newest weights: for the command and for the
// console.

import { existsSync, readdirSync } from 'node:fs'
import type { Config } from '../src/core/config/config.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import type { IndexState, VectorIndex } from '../src/index/vectorIndex.ts'
import { type GateRecord, gateHistory, type HeldModel } from '../src/publish/modelGate.ts'
import { type HeldPromotion, heldPromotionState } from '../src/publish/publisherReport.ts'
import type { VersionNumbers } from '../src/serve/answers.ts'
import { CheckpointFiles } from '../src/train/checkpoint/checkpointFiles.ts'
import type { ControlRequest } from '../src/train/modelControl.ts'
import { heldText, promotionText } from './heldText.ts'
import { modelControlFile } from './modelControlFile.ts'
import { openIndexToRead } from './parts.ts'

/** Of gates and of checkpoints. */
const shownMax = 8

export interface VersionsReport {
  readonly live: IndexState | null
  /** In the index, the live one included. */
  readonly versions: readonly string[]
  /** Newest first: whole ones, damaged ones and the newest. `mtmi rollback` takes those of changes in between, too. */
  readonly checkpoints: readonly CheckpointEntry[]
  /** Newest first. */
  readonly gates: readonly GateRecord[]
  readonly held: HeldModel | null
  /** An index version that does not go live, and why. */
  readonly heldPromotion: HeldPromotion | null
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
  readonly modelVersion: string | null
  /** Why it cannot be read. */
  readonly damaged?: string
}

/** What a checkpoint's header says that is shown here; an earlier release wrote less. */
interface ShownState {
  readonly savedAtMs?: number
  readonly examplesLearned?: number
  readonly modelVersion?: string
  readonly updatesHeld?: boolean
}

/** @param index one that is open already; without it the run's is opened to be read, and closed again */
export async function collectVersions(
  config: Config,
  run: RunDirectory,
  index?: Pick<VectorIndex, 'live' | 'versions'>
): Promise<VersionsReport> {
  const { live, versions } = index === undefined ? await versionsOnDisk(config, run) : await versionsOf(index)
  const histories = publisherFiles(run, 'gates').map((file) => run.state(gateHistory, file).load())
  const gates = histories.flatMap((history) => history?.records ?? []).sort((a, b) => b.atMs - a.atMs)
  const control = modelControlFile(run)
  const request = control.request()
  const { checkpoints, updatesHeld } = await checkpointsOf(config, run)
  return {
    ...{ live, versions, checkpoints, gates, updatesHeld },
    heldPromotion:
      publisherFiles(run, 'promotion')
        .map((file) => run.state(heldPromotionState, file).load()?.held)
        .find((held) => held != null) ?? null,
    held: histories.find((history) => history?.held !== undefined)?.held ?? null,
    pending: request !== undefined && request.id > (control.result()?.id ?? 0) ? request : null
  }
}

/** For a page that asks again and again: the newest, in words. */
export async function versionNumbers(
  config: Config,
  run: RunDirectory,
  index: Pick<VectorIndex, 'live' | 'versions'>
): Promise<VersionNumbers> {
  const report = await collectVersions(config, run, index)
  const { live, versions, checkpoints, gates } = report
  return {
    live: live === null ? null : `${live.indexVersion}@${live.step}`,
    kept: versions.filter((indexVersion) => indexVersion !== live?.indexVersion),
    gates: gates
      .slice(0, shownMax)
      .map((gate) => ({ step: gate.step, atMs: gate.atMs, outcome: gate.outcome, detail: gateDetail(gate) })),
    checkpoints: checkpoints.slice(0, shownMax).map(({ step, version, savedAtMs, examplesLearned, damaged }) => ({
      ...{ step, version, examplesLearned: examplesLearned ?? 0 },
      ...(savedAtMs === null ? {} : { savedAtMs }),
      ...(damaged === undefined ? {} : { damaged })
    })),
    held: heldTexts(report)
  }
}

/** What keeps the newest of the trainer from those who are served. */
export function heldTexts({ held, heldPromotion, updatesHeld, pending }: VersionsReport): string[] {
  const texts: string[] = []
  if (held !== null) texts.push(heldText(held))
  if (heldPromotion !== null) texts.push(promotionText(heldPromotion))
  if (updatesHeld) texts.push('the trainer publishes nothing until `mtmi publish --resume`')
  if (pending !== null) {
    const { action, version } = pending
    texts.push(`asked for and not carried out yet: ${action}${version === undefined ? '' : ` to ${version}`}`)
  }
  return texts
}

/** What a gate found, and why it refused. */
export function gateDetail({ reasons, figures, reason }: GateRecord): string {
  const { hits, targets, overlap, canaries } = figures
  return [
    ...(reason === undefined ? [] : [reason]),
    ...(targets > 0 ? [`found ${hits.candidate} of ${targets}, live ${hits.live}`] : []),
    ...(canaries > 0 ? [`lists keep ${(100 * overlap).toFixed(0)}%`] : []),
    ...reasons.map(({ text }) => text)
  ].join('  ')
}

interface Versions {
  readonly live: IndexState | null
  readonly versions: readonly string[]
}

async function versionsOnDisk(config: Config, run: RunDirectory): Promise<Versions> {
  if (config.index === 'embedded' && !existsSync(run.path('index'))) return { live: null, versions: [] }
  const index = await openIndexToRead(config, run)
  try {
    return await versionsOf(index)
  } finally {
    await index.close()
  }
}

async function versionsOf(index: Pick<VectorIndex, 'live' | 'versions'>): Promise<Versions> {
  return { live: (await index.live()) ?? null, versions: await index.versions() }
}

/** Several publishers of a group have one each. */
function publisherFiles(run: RunDirectory, name: 'gates' | 'promotion'): string[] {
  return existsSync(run.root)
    ? readdirSync(run.root).filter((file) => file.startsWith(name) && /^[a-z]+(-.*)?\.json$/.test(file))
    : []
}

async function checkpointsOf(
  config: Config,
  run: RunDirectory
): Promise<{ checkpoints: CheckpointEntry[]; updatesHeld: boolean }> {
  if (!existsSync(run.path('checkpoints'))) return { checkpoints: [], updatesHeld: false }
  const store = new CheckpointFiles({ directory: run.path('checkpoints'), keep: config.train.checkpointKeep })
  const versions = new Set(await store.versions())
  const checkpoints: CheckpointEntry[] = []
  let updatesHeld: boolean | undefined
  for (const step of (await store.steps()).reverse()) {
    const version = versions.has(step)
    try {
      const { header, bytes, since } = await store.describe(step)
      if (since !== undefined && checkpoints.length > 0) continue
      const state = (header.stage ?? {}) as ShownState
      updatesHeld ??= state.updatesHeld === true
      const { savedAtMs = null, examplesLearned = null, modelVersion = null } = state
      checkpoints.push({ step, version, bytes, savedAtMs, examplesLearned, modelVersion })
    } catch (error) {
      checkpoints.push({
        step,
        version,
        bytes: 0,
        savedAtMs: null,
        examplesLearned: null,
        modelVersion: null,
        damaged: (error as Error).message
      })
    }
  }
  return { checkpoints, updatesHeld: updatesHeld ?? false }
}
