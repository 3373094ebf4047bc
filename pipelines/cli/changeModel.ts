// `mtmi rollback`, `mtmi publish --rebuild` and `--resume`: asks the trainer, and waits until what comes of it is
// served.

import { existsSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { systemClock } from '../../src/core/clock.ts'
import type { Config } from '../../src/core/config/config.ts'
import { ConfigError, UnavailableError } from '../../src/core/errors.ts'
import type { RunDirectory } from '../../src/core/runDirectory.ts'
import { note, print } from '../../src/core/terminal.ts'
import { blockedBy } from '../../src/publish/publisherReport.ts'
import type { VersionReason } from '../../src/records/modelUpdate.ts'
import { CheckpointFiles } from '../../src/train/checkpoint/checkpointFiles.ts'
import type { ControlRequest, ControlResult } from '../../src/train/modelControl.ts'
import { modelControlFile, writeRequest } from '../modelControlFile.ts'
import { type ModelPreview, openPreviews, previewText } from '../modelPreview.ts'
import { openIndexToRead } from '../parts.ts'
import { runToChange } from '../runs.ts'
import { collectVersions } from '../versionsReport.ts'

const pollMs = 200

export interface ChangeOptions {
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
  await checkpointsOf(config, run).load(version) // complete, or this is where it is reported
  const preview = await refuseLargeLoss(config, run, version, options)
  note(
    `going back to version ${version}${options.hold ? '; the trainer goes on with its own weights, and publishes none until `mtmi publish --resume`' : ''}`
  )
  await change(config, run, { action: 'rollback', version, hold: options.hold }, options, preview)
}

export async function rebuild(config: Config, options: ChangeOptions): Promise<void> {
  await publishNewest(config, 'rebuild', options)
}

/** Also lets weights through that the gate holds back: whoever resumes has looked at them. */
export async function resume(config: Config, options: ChangeOptions): Promise<void> {
  await publishNewest(config, 'resume', options)
}

/** What the trainer has, as of its newest checkpoint: it may be other weights than those that are served. */
async function publishNewest(config: Config, action: 'rebuild' | 'resume', options: ChangeOptions): Promise<void> {
  const run = runToChange(config)
  const newest = (await collectVersions(config, run)).checkpoints.find(({ damaged }) => damaged === undefined)
  const preview = newest === undefined ? undefined : await refuseLargeLoss(config, run, newest.step, options)
  await change(config, run, { action }, options, preview)
}

function checkpointsOf({ train }: Config, run: RunDirectory): CheckpointFiles {
  return new CheckpointFiles({
    directory: run.path('checkpoints'),
    keep: train.checkpointKeep,
    versionKeep: train.versionKeep
  })
}

/** @throws ConfigError if the gate finds a large loss and nobody said yes; nothing has changed */
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

/** Every version on the same targets, beside what is served: what to choose by. */
async function comparison(config: Config, run: RunDirectory): Promise<string> {
  const { checkpoints, live } = await collectVersions(config, run)
  const previews = await openPreviews(config, run)
  const lines = [live === null ? 'nothing is served yet' : `served now: ${live.indexVersion}, step ${live.step}`]
  try {
    for (const { step, version, savedAtMs, examplesLearned, damaged } of checkpoints) {
      const kind = step === checkpoints[0]!.step ? 'newest ' : version ? 'version' : '       '
      const saved = savedAtMs === null ? '' : new Date(savedAtMs).toISOString().replace('T', ' ').slice(0, 19)
      const found = damaged ?? (previews === undefined ? '' : previewText(await previews.try(step)))
      lines.push(`  ${String(step).padStart(8)}  ${kind}  ${saved}  ${examplesLearned ?? 0} examples  ${found}`)
    }
  } finally {
    previews?.close()
  }
  lines.push(
    checkpoints.length === 0
      ? 'There is no checkpoint to go back to: one is kept as a version every train.versionIntervalMs.'
      : 'Choose the newest from before the trouble began that finds about as many targets as what is served. Newer weights have learned these targets, earlier ones have not.'
  )
  return lines.join('\n')
}

async function change(
  config: Config,
  run: RunDirectory,
  asked: { readonly action: VersionReason; readonly version?: number; readonly hold?: boolean },
  options: ChangeOptions,
  preview: ModelPreview | undefined
): Promise<void> {
  if (asked.action !== 'resume') await refuseIfBlocked(config, run, asked.action)
  const control = modelControlFile(run)
  const lock = run.lock(`mtmi ${asked.action}`, ['control'])
  let request: ControlRequest
  let others: string[]
  try {
    const before = control.request()
    const pending = before !== undefined && (control.result()?.id ?? 0) < before.id
    others = run.users().filter((user) => /mtmi (start|replay|train)/.test(user))
    if (pending && others.length > 0)
      throw new UnavailableError(
        `an earlier request (${before.action}, number ${before.id}) is still being carried out: wait for it, then ask again`
      )
    request = { id: (before?.id ?? 0) + 1, ...asked, requestedAtMs: systemClock.nowMs() }
    writeRequest(run, request)
  } finally {
    lock.release()
  }
  if (others.length === 0) {
    note(
      `no trainer is running in ${run.root}: it is carried out when \`mtmi start\`, or \`train\` and \`publish\`, run next`
    )
    tell(options, { run: run.name, preview, request })
    return
  }
  const untilMs = systemClock.nowMs() + options.wait * 1000
  const result = await waitFor(untilMs, () => {
    const found = control.result()
    return Promise.resolve(found !== undefined && found.id >= request.id ? found : undefined)
  })
  if (result === undefined) {
    note(`the trainer has not answered within ${options.wait} s; it will be carried out all the same`)
    tell(options, { run: run.name, preview, request })
    return
  }
  if (result.outcome === 'failed')
    throw new ConfigError([`the trainer could not do it: ${result.message ?? 'no reason given'}`])
  note(`the trainer has sent index version ${result.modelVersion}; waiting until it is complete`)
  const served = await waitFor(untilMs, async () => {
    const index = await openIndexToRead(config, run)
    try {
      const live = await index.live()
      return live?.indexVersion === result.modelVersion ? live : undefined
    } finally {
      await index.close()
    }
  })
  if (served === undefined)
    note(
      `index version ${result.modelVersion} is not live after ${options.wait} s; what was served goes on being served. \`mtmi versions\` tells how far it is`
    )
  else
    note(
      `live: index version ${served.indexVersion}, step ${served.step}, ${served.items} items, ${served.users} users`
    )
  tell(options, { run: run.name, preview, request, result, live: served ?? null })
}

/** @throws ConfigError if no other index version can go live: nothing has been asked for then */
async function refuseIfBlocked(config: Config, run: RunDirectory, action: VersionReason): Promise<void> {
  if (config.index === 'embedded' && !existsSync(run.path('index'))) return
  const index = await openIndexToRead(config, run)
  try {
    const blocked = blockedBy((await index.live())?.users ?? 0)
    if (blocked !== undefined) throw new ConfigError([`the ${action} was not begun: ${blocked}`])
  } finally {
    await index.close()
  }
}

function tell(
  { json }: ChangeOptions,
  answer: {
    run: string
    preview: ModelPreview | undefined
    request: ControlRequest
    result?: ControlResult
    live?: unknown
  }
): void {
  if (json === true) print(`${JSON.stringify(answer)}\n`)
}

async function waitFor<T>(untilMs: number, look: () => Promise<T | undefined>): Promise<T | undefined> {
  for (;;) {
    const found = await look()
    if (found !== undefined || systemClock.nowMs() >= untilMs) return found
    await pause(pollMs)
  }
}
