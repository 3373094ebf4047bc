// `mtmi rollback`, `mtmi publish --rebuild` and `--resume`: asks the trainer, and waits until what comes of it is served.

import { setTimeout as pause } from 'node:timers/promises'
import { systemClock } from '../../src/core/clock.ts'
import type { Config } from '../../src/core/config/config.ts'
import { ConfigError, UnavailableError } from '../../src/core/errors.ts'
import type { RunDirectory } from '../../src/core/runDirectory.ts'
import type { LineageReason } from '../../src/records/modelUpdate.ts'
import { CheckpointFiles } from '../../src/train/checkpoint/checkpointFiles.ts'
import type { ControlRequest, ControlResult } from '../../src/train/modelControl.ts'
import { modelControlFile, writeRequest } from '../modelControlFile.ts'
import { openIndexToRead } from '../parts.ts'
import { runToChange } from '../runs.ts'

const pollMs = 200
const say = (text: string) => process.stderr.write(`${text}\n`)

export interface ChangeOptions {
  readonly json?: boolean
  /** Seconds. */
  readonly wait: number
}

/** @param version step of a checkpoint; without it the newest version before the newest checkpoints */
export async function rollback(
  config: Config,
  version: number | undefined,
  options: ChangeOptions & { readonly hold: boolean }
): Promise<void> {
  const run = runToChange(config)
  const checkpoints = new CheckpointFiles({
    directory: run.path('checkpoints'),
    keep: config.train.checkpointKeep,
    versionKeep: config.train.versionKeep
  })
  const steps = await checkpoints.steps()
  const target = version ?? (await defaultVersion(checkpoints, steps, run))
  await checkpoints.load(target) // whole, or this is where it is said
  say(
    `going back to version ${target}${options.hold ? '; the trainer goes on with its own weights, and publishes none until `mtmi publish --resume`' : ''}`
  )
  await change(config, run, { action: 'rollback', version: target, hold: options.hold }, options)
}

export async function rebuild(config: Config, options: ChangeOptions): Promise<void> {
  return change(config, runToChange(config), { action: 'rebuild' }, options)
}

/** Also lets weights through that the gate holds back: whoever resumes has looked at them. */
export async function resume(config: Config, options: ChangeOptions): Promise<void> {
  return change(config, runToChange(config), { action: 'resume' }, options)
}

async function defaultVersion(checkpoints: CheckpointFiles, steps: readonly number[], run: RunDirectory): Promise<number> {
  const newest = steps.at(-1)
  const earlier = (await checkpoints.versions()).filter((step) => step !== newest).at(-1) ?? steps.at(-2)
  if (earlier !== undefined) return earlier
  throw new ConfigError([
    `there is no version before the newest checkpoint in ${run.root} to go back to: one is kept every train.versionIntervalMs. \`mtmi versions\` lists them`
  ])
}

async function change(
  config: Config,
  run: RunDirectory,
  asked: { readonly action: LineageReason; readonly version?: number; readonly hold?: boolean },
  options: ChangeOptions
): Promise<void> {
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
    say(`no trainer is running in ${run.root}: it is carried out when \`mtmi start\`, or \`train\` and \`publish\`, run next`)
    tell(options, { request })
    return
  }
  const untilMs = systemClock.nowMs() + options.wait * 1000
  const result = await waitFor(untilMs, () => {
    const found = control.result()
    return Promise.resolve(found !== undefined && found.id >= request.id ? found : undefined)
  })
  if (result === undefined) {
    say(`the trainer has not answered within ${options.wait} s; it will be carried out all the same`)
    tell(options, { request })
    return
  }
  if (result.outcome === 'failed') throw new ConfigError([`the trainer could not do it: ${result.message ?? 'no reason given'}`])
  say(`the trainer has sent space ${result.space}; waiting until it is complete`)
  const served = await waitFor(untilMs, async () => {
    const index = await openIndexToRead(config, run)
    try {
      const live = await index.live()
      return live?.space === result.space ? live : undefined
    } finally {
      await index.close()
    }
  })
  if (served === undefined)
    say(
      `space ${result.space} is not live after ${options.wait} s; what was served goes on being served. \`mtmi versions\` tells how far it is`
    )
  else say(`live: space ${served.space}, step ${served.step}, ${served.items} items, ${served.users} users`)
  tell(options, { request, result, live: served ?? null })
}

function tell({ json }: ChangeOptions, answer: { request: ControlRequest; result?: ControlResult; live?: unknown }): void {
  if (json === true) process.stdout.write(`${JSON.stringify(answer)}\n`)
}

async function waitFor<T>(untilMs: number, look: () => Promise<T | undefined>): Promise<T | undefined> {
  for (;;) {
    const found = await look()
    if (found !== undefined || systemClock.nowMs() >= untilMs) return found
    await pause(pollMs)
  }
}
