// Requests to the trainer as files of the run: commands write `control.json`, the trainer `control-result.json`.

import type { RunDirectory } from '../src/core/runDirectory.ts'
import { type StateKind, z } from '../src/core/stateFile.ts'
import { versionReasons } from '../src/records/modelUpdate.ts'
import type { ControlRequest, ControlResult, ModelControl } from '../src/train/modelControl.ts'

const version = 1
const request = { id: z.int().min(1), action: z.enum(versionReasons) }
const removed =
  'a request that was not answered is lost, and the next one may get the name of an index version that exists'

export const controlRequest: StateKind<ControlRequest> = {
  file: 'control.json',
  schema: z.looseObject({ ...request, requestedAtMs: z.number() }),
  ...{ version, removed }
}

export const controlResult: StateKind<ControlResult> = {
  file: 'control-result.json',
  schema: z.looseObject({ ...request, outcome: z.enum(['done', 'failed']), atMs: z.number() }),
  ...{ version, removed }
}

export function modelControlFile(run: RunDirectory): ModelControl {
  return {
    request: () => run.state(controlRequest).load(),
    result: () => run.state(controlResult).load(),
    finish: (result) => run.state(controlResult).save(result)
  }
}
