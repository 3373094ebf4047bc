// The near side of the model thread: starts it, listens, and turns its end into a promise.

import { MtmiError } from '../../src/base/errors.ts'
import { startSourceWorker } from '../../src/io/sourceWorker.ts'
import type { BackendReport } from '../../src/model/backend.ts'
import type { FromModelThread, ModelThreadTask, ToModelThread } from './messages.ts'

export interface ModelThread {
  readonly backend: BackendReport
  /** While on, batches need not be full, and updates are sent as soon as nothing waits: for the end of a bounded stream. */
  hurry(on: boolean): void
  /** Checkpoints, and ends. */
  stop(): Promise<void>
  /** Settles when the thread has ended; rejects with what it failed with. */
  readonly ended: Promise<void>
}

export function startModelThread(task: ModelThreadTask, onMessage: (message: FromModelThread) => void): Promise<ModelThread> {
  const worker = startSourceWorker(new URL('./modelThread', import.meta.url), { workerData: task, name: 'mtmi-model' })
  return new Promise((resolve, reject) => {
    let failure: Error | undefined
    const ended = new Promise<void>((end, fail) => {
      worker.on('error', (error) => {
        failure ??= error
      })
      worker.on('exit', (code) => {
        if (failure === undefined && code === 0) end()
        else fail(failure ?? new Error(`the model thread ended with status ${code}`))
      })
    })
    ended.catch(reject)
    const post = (message: ToModelThread) => worker.postMessage(message)
    worker.on('message', (message: FromModelThread) => {
      if (message.kind === 'failed') {
        failure = message.code === undefined ? new Error(message.message) : new MtmiError(message.code, message.message)
        if (message.stack !== undefined) failure.stack = message.stack
      } else if (message.kind === 'ready') {
        resolve({
          backend: message.backend,
          hurry: (on) => post({ kind: 'hurry', on }),
          stop: () => {
            post({ kind: 'stop' })
            return ended
          },
          ended
        })
      } else onMessage(message)
    })
  })
}
