// What is served, which checkpoints a rollback can use, and what the gate decided: for commands, readiness and the
// console.

import { existsSync, readdirSync } from 'node:fs'
import type { Config } from '../src/core/config/config.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import type { IndexState, VectorIndex } from '../src/index/vectorIndex.ts'
import { type GateRecord, gateHistory, type RejectedCandidate } from '../src/publish/modelGate.ts'
import { type HeldPromotion, heldPromotionState } from '../src/publish/publisherReport.ts'
import type { VersionNumbers } from '../src/serve/answers.ts'
import { CheckpointFiles } from '../src/train/checkpoint/checkpointFiles.ts'
import type { ControlRequest } from '../src/train/modelControl.ts'
import { modelControlFile } from './modelControlFile.ts'
import { hasIndex, readIndex } from './parts.ts'

/** Gates and checkpoints in the console. */
const shownMax = 8

export interface VersionsReport {
  readonly live: IndexState | null
  /** In the index, the live one included. */
  readonly versions: readonly string[]
  /** Newest first: full and damaged checkpoints, and the newest. `mtmi rollback` also takes the incremental ones. */
  readonly checkpoints: readonly CheckpointEntry[]
  /** Newest first. */
  readonly gates: readonly GateRecord[]
  readonly held: RejectedCandidate | null
  /** An index version that does not go live, and why. */
  readonly heldPromotion: HeldPromotion | null
  /** The trainer sends nothing until `mtmi publish --resume`. */
  readonly updatesHeld: boolean
  /** A request that the trainer has not carried out yet. */
  readonly pending: ControlRequest | null
}

interface CheckpointEntry {
  readonly step: number
  /** Kept as a version, beyond `train.checkpointKeep`. */
  readonly version: boolean
  readonly savedAtMs: number | null
  readonly bytes: number
  readonly examplesTrained: number | null
  readonly modelVersion: string | null
  /** Why it cannot be read. */
  readonly damaged?: string
}

type VersionedIndex = Pick<VectorIndex, 'live' | 'versions'>

/** @param index an open one; without it the run's is opened and closed again */
export async function collectVersions(
  config: Config,
  run: RunDirectory,
  index?: VersionedIndex
): Promise<VersionsReport> {
  const histories = publisherFiles(run, 'gates').map((file) => run.state(gateHistory, file).load())
  const promotions = publisherFiles(run, 'promotion').map((file) => run.state(heldPromotionState, file).load()?.held)
  const control = modelControlFile(run)
  const request = control.request()
  return {
    ...(index !== undefined
      ? await indexVersions(index)
      : hasIndex(config, run)
        ? await readIndex(config, run, indexVersions)
        : { live: null, versions: [] }),
    ...(await checkpointsOf(config, run)),
    gates: histories.flatMap((history) => history?.records ?? []).sort((a, b) => b.atMs - a.atMs),
    heldPromotion: promotions.find((held) => held != null) ?? null,
    held: histories.find((history) => history?.held !== undefined)?.held ?? null,
    pending: request !== undefined && request.id > (control.result()?.id ?? 0) ? request : null
  }
}

/** The newest of them, as the console shows them. */
export async function versionNumbers(
  config: Config,
  run: RunDirectory,
  index: VersionedIndex
): Promise<VersionNumbers> {
  const report = await collectVersions(config, run, index)
  const { live, versions, checkpoints, gates } = report
  return {
    live: live === null ? null : `${live.indexVersion}@${live.step}`,
    kept: versions.filter((indexVersion) => indexVersion !== live?.indexVersion),
    gates: gates
      .slice(0, shownMax)
      .map((gate) => ({ step: gate.step, atMs: gate.atMs, outcome: gate.outcome, detail: gateDetail(gate) })),
    checkpoints: checkpoints.slice(0, shownMax).map(({ step, version, savedAtMs, examplesTrained, damaged }) => ({
      ...{ step, version, examplesTrained: examplesTrained ?? 0 },
      ...(savedAtMs === null ? {} : { savedAtMs }),
      ...(damaged === undefined ? {} : { damaged })
    })),
    held: heldTexts(report)
  }
}

/** Why the trainer's newest weights are not served. */
export function heldTexts({ held, heldPromotion, updatesHeld, pending }: VersionsReport): string[] {
  return [
    ...publisherTexts({ held, heldPromotion }),
    ...(updatesHeld ? ['the trainer publishes nothing until `mtmi publish --resume`'] : []),
    ...(pending === null
      ? []
      : [
          `requested and not carried out yet: ${pending.action}${pending.version === undefined ? '' : ` to ${pending.version}`}`
        ])
  ]
}

interface Held {
  readonly held?: RejectedCandidate | null
  readonly heldPromotion?: HeldPromotion | null
}

function publisherTexts({ held, heldPromotion }: Held): string[] {
  const since = (ms: number) => new Date(ms).toISOString()
  return [
    ...(held ? [`weights up to step ${held.step} are held back since ${since(held.sinceMs)}: ${held.text}`] : []),
    ...(heldPromotion ? [`since ${since(heldPromotion.sinceMs)} ${heldPromotion.text}`] : [])
  ]
}

/** What readiness adds: serving continues with earlier weights, so the process stays ready. */
export function heldDetail(publish: Held = {}): string {
  return publisherTexts(publish)
    .map((text) => `; ${text}`)
    .join('')
}

/** What the gate measured, and why it rejected the weights. */
export function gateDetail({ reasons, figures, reason }: GateRecord): string {
  const { hits, targets, overlap, canaries } = figures
  return [
    ...(reason === undefined ? [] : [reason]),
    ...(targets > 0 ? [`found ${hits.candidate} of ${targets}, live ${hits.live}`] : []),
    ...(canaries > 0 ? [`lists keep ${(100 * overlap).toFixed(0)}%`] : []),
    ...reasons.map(({ text }) => text)
  ].join('  ')
}

async function indexVersions(index: VersionedIndex) {
  return { live: (await index.live()) ?? null, versions: await index.versions() }
}

/** Each publisher of a group has its own. */
function publisherFiles(run: RunDirectory, name: 'gates' | 'promotion'): string[] {
  const file = new RegExp(`^${name}(-.*)?\\.json$`)
  return existsSync(run.root) ? readdirSync(run.root).filter((found) => file.test(found)) : []
}

async function checkpointsOf(config: Config, run: RunDirectory) {
  const checkpoints: CheckpointEntry[] = []
  let updatesHeld: boolean | undefined
  if (!existsSync(run.path('checkpoints'))) return { checkpoints, updatesHeld: false }
  const store = new CheckpointFiles({ directory: run.path('checkpoints'), keep: config.train.checkpointKeep })
  const versions = new Set(await store.versions())
  for (const step of (await store.steps()).reverse()) {
    const empty = { bytes: 0, savedAtMs: null, examplesTrained: null, modelVersion: null }
    const entry = { step, version: versions.has(step), ...empty }
    try {
      const { header, bytes, since } = await store.describe(step)
      if (since !== undefined && checkpoints.length > 0) continue
      const state = (header.stage ?? {}) as Partial<CheckpointEntry & { updatesHeld: boolean }>
      const { savedAtMs = null, examplesTrained = null, modelVersion = null } = state
      updatesHeld ??= state.updatesHeld === true
      checkpoints.push({ ...entry, bytes, savedAtMs, examplesTrained, modelVersion })
    } catch (error) {
      checkpoints.push({ ...entry, damaged: (error as Error).message })
    }
  }
  return { checkpoints, updatesHeld: updatesHeld ?? false }
}
