// Requests to the trainer as files of the run: `control.json` by whoever asks, `control-result.json` by the trainer.

import type { RunDirectory } from '../src/core/runDirectory.ts'
import { type StateKind, z } from '../src/core/stateFile.ts'
import { versionReasons } from '../src/records/modelUpdate.ts'
import type { ControlRequest, ControlResult, ModelControl } from '../src/train/modelControl.ts'

const removed =
  'a request that was not answered is forgotten, and the index version of the next one may be one that is there already'

export const controlRequest: StateKind<ControlRequest> = {
  file: 'control.json',
  version: 1,
  schema: z.looseObject({ id: z.int().min(1), action: z.enum(versionReasons), requestedAtMs: z.number() }),
  removed
}

export const controlResult: StateKind<ControlResult> = {
  file: 'control-result.json',
  version: 1,
  schema: z.looseObject({
    id: z.int().min(1),
    action: z.enum(versionReasons),
    outcome: z.enum(['done', 'failed']),
    atMs: z.number()
  }),
  removed
}

export function modelControlFile(run: RunDirectory): ModelControl {
  return {
    request: () => run.state(controlRequest).load(),
    result: () => run.state(controlResult).load(),
    finish: (result) => run.state(controlResult).save(result)
  }
}

export function writeRequest(run: RunDirectory, request: ControlRequest): void {
  run.state(controlRequest).save(request)
}
