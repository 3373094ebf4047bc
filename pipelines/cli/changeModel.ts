// `mtmi rollback`, `mtmi publish --rebuild` and `--resume`: a request to the trainer, and the wait until its result is
// served.

import { setTimeout as pause } from 'node:timers/promises'
import { systemClock } from '../../src/core/clock.ts'
import type { Config } from '../../src/core/config/config.ts'
import { ConfigError, UnavailableError } from '../../src/core/errors.ts'
import type { RunDirectory } from '../../src/core/runDirectory.ts'
import { note, print } from '../../src/core/terminal.ts'
import type { IndexState } from '../../src/index/vectorIndex.ts'
import { CheckpointFiles } from '../../src/train/checkpoint/checkpointFiles.ts'
import type { ControlRequest, ControlResult } from '../../src/train/modelControl.ts'
import { controlRequest, modelControlFile } from '../modelControlFile.ts'
import { type ModelPreview, openPreviews, previewText } from '../modelPreview.ts'
import { readIndex } from '../parts.ts'
import { runToChange } from '../runs.ts'
import { collectVersions } from '../versionsReport.ts'

const pollMs = 200

interface ChangeOptions {
  readonly json?: boolean
  /** Seconds. */
  readonly wait: number
  /** Serve it even where the gate finds a large loss. */
  readonly yes?: boolean
}

/**
 * Serves a checkpoint's weights. Prints first what the gate finds for them and for what is served.
 * @param version step of a checkpoint; without it the versions are compared and nothing is changed
 * @throws ConfigError without a version, and at a large loss without `yes`
 */
export async function rollback(
  config: Config,
  version: number | undefined,
  options: ChangeOptions & { readonly hold: boolean }
): Promise<void> {
  const run = runToChange(config)
  if (version === undefined) {
    if (options.json !== true) print(`${await comparison(config, run)}\n`)
    throw new ConfigError(['rollback needs the step of a checkpoint: `mtmi rollback STEP`. Nothing was changed'])
  }
  const { checkpointKeep: keep, versionKeep } = config.train
  // Reports a checkpoint that does not exist or is damaged.
  await new CheckpointFiles({ directory: run.path('checkpoints'), keep, versionKeep }).load(version)
  const preview = await refuseLargeLoss(config, run, version, options)
  note(
    `going back to version ${version}${options.hold ? '; the trainer continues with its own weights, and publishes none until `mtmi publish --resume`' : ''}`
  )
  await change(config, run, { action: 'rollback', version, hold: options.hold }, options, preview)
}

/**
 * Publishes the trainer's weights as of its newest checkpoint, which may not be the weights that are served. `resume`
 * also accepts weights that the gate rejected.
 */
export async function publishNewest(
  config: Config,
  action: 'rebuild' | 'resume',
  options: ChangeOptions
): Promise<void> {
  const run = runToChange(config)
  const newest = (await collectVersions(config, run)).checkpoints.find(({ damaged }) => damaged === undefined)
  const preview = newest === undefined ? undefined : await refuseLargeLoss(config, run, newest.step, options)
  await change(config, run, { action }, options, preview)
}

/** @throws ConfigError if the gate finds a large loss and `yes` is not given; nothing has changed */
async function refuseLargeLoss(
  config: Config,
  run: RunDirectory,
  step: number,
  { yes = false }: ChangeOptions
): Promise<ModelPreview | undefined> {
  const previews = await openPreviews(config, run)
  if (previews === undefined) {
    note('there is no served model yet to compare it with')
    return undefined
  }
  try {
    const preview = await previews.try(step)
    note(`step ${step}: ${previewText(preview)} (${previews.live.indexVersion}, step ${previews.live.step})`)
    if (preview.losses.length > 0 && !yes)
      throw new ConfigError([
        `step ${step} would serve much worse lists than now: ${preview.losses.join('; ')}. Nothing was changed. ` +
          'Compare the versions with `mtmi rollback`, or add --yes to serve it all the same'
      ])
    return preview
  } finally {
    previews.close()
  }
}

/** Every version on the same targets, beside what is served. */
async function comparison(config: Config, run: RunDirectory): Promise<string> {
  const { checkpoints, live } = await collectVersions(config, run)
  const previews = await openPreviews(config, run)
  const lines = [live === null ? 'nothing is served yet' : `served now: ${live.indexVersion}, step ${live.step}`]
  try {
    for (const { step, version, savedAtMs, examplesTrained, damaged } of checkpoints) {
      const kind = step === checkpoints[0]!.step ? 'newest ' : version ? 'version' : '       '
      const saved = savedAtMs === null ? '' : new Date(savedAtMs).toISOString().replace('T', ' ').slice(0, 19)
      const found = damaged ?? (previews === undefined ? '' : previewText(await previews.try(step)))
      lines.push(`  ${String(step).padStart(8)}  ${kind}  ${saved}  ${examplesTrained ?? 0} examples  ${found}`)
    }
  } finally {
    previews?.close()
  }
  lines.push(
    checkpoints.length === 0
      ? 'There is no checkpoint to go back to: one is kept as a version every train.versionIntervalMs.'
      : 'Choose the newest from before the trouble began that finds about as many targets as what is served. Newer weights were trained on these targets, earlier ones were not.'
  )
  return lines.join('\n')
}

type Change = Pick<ControlRequest, 'action' | 'version' | 'hold'>

async function change(
  config: Config,
  run: RunDirectory,
  change: Change,
  options: ChangeOptions,
  preview: ModelPreview | undefined
): Promise<void> {
  const { request, hasTrainer } = writeRequest(run, change)
  const done = hasTrainer ? await served(config, run, request, options.wait) : {}
  if (!hasTrainer)
    note(
      `no trainer is running in ${run.root}: the request is carried out when \`mtmi start\`, or \`train\` and \`publish\`, run next`
    )
  if (options.json === true) print(`${JSON.stringify({ run: run.name, preview, request, ...done })}\n`)
}

function writeRequest(run: RunDirectory, change: Change): { request: ControlRequest; hasTrainer: boolean } {
  const control = modelControlFile(run)
  const lock = run.lock(`mtmi ${change.action}`, ['control'])
  try {
    const before = control.request()
    const pending = before !== undefined && (control.result()?.id ?? 0) < before.id
    const hasTrainer = run.users().some((user) => /mtmi (start|replay|train)/.test(user))
    if (pending && hasTrainer)
      throw new UnavailableError(
        `an earlier request (${before.action}, number ${before.id}) is still being carried out: wait for it, then request again`
      )
    const request = { id: (before?.id ?? 0) + 1, ...change, requestedAtMs: systemClock.nowMs() }
    run.state(controlRequest).save(request)
    return { request, hasTrainer }
  } finally {
    lock.release()
  }
}

/** Waits for the trainer's result, and until it is served. @throws ConfigError if the trainer could not do it */
async function served(
  config: Config,
  run: RunDirectory,
  { id }: ControlRequest,
  seconds: number
): Promise<{ result?: ControlResult; live?: IndexState | null }> {
  const control = modelControlFile(run)
  const untilMs = systemClock.nowMs() + seconds * 1000
  const result = await waitFor(untilMs, async () => {
    const found = control.result()
    return found !== undefined && found.id >= id ? found : undefined
  })
  if (result === undefined) {
    note(`the trainer has not answered within ${seconds} s; the request stays, and will be carried out`)
    return {}
  }
  if (result.outcome === 'failed')
    throw new ConfigError([`the trainer could not do it: ${result.message ?? 'no reason given'}`])
  note(`the trainer has sent index version ${result.modelVersion}; waiting until it is complete`)
  const live = await waitFor(untilMs, async () => {
    const state = await readIndex(config, run, (index) => index.live())
    return state?.indexVersion === result.modelVersion ? state : undefined
  })
  note(
    live === undefined
      ? `index version ${result.modelVersion} is not live after ${seconds} s; the earlier one is served meanwhile. \`mtmi versions\` shows its state`
      : `live: index version ${live.indexVersion}, step ${live.step}, ${live.items} items, ${live.users} users`
  )
  return { result, live: live ?? null }
}

async function waitFor<T>(untilMs: number, look: () => Promise<T | undefined>): Promise<T | undefined> {
  for (;;) {
    const found = await look()
    if (found !== undefined || systemClock.nowMs() >= untilMs) return found
    await pause(pollMs)
  }
}
