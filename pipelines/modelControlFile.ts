// Requests to the trainer as files of the run: `control.json` by whoever asks, `control-result.json` by the trainer.

import type { RunDirectory } from '../src/core/runDirectory.ts'
import type { ControlRequest, ControlResult, ModelControl } from '../src/train/modelControl.ts'

const requestFile = 'control.json'
const resultFile = 'control-result.json'

export function modelControlFile(run: RunDirectory): ModelControl {
  return {
    request: () => run.readJson<ControlRequest>(requestFile),
    result: () => run.readJson<ControlResult>(resultFile),
    finish: (result) => run.writeJson(resultFile, result)
  }
}

export function writeRequest(run: RunDirectory, request: ControlRequest): void {
  run.writeJson(requestFile, request)
}
