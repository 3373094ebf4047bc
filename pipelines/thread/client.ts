// The near side of the model thread: starts it, listens, and turns its end into a promise.

import { MtmiError, UnavailableError } from '../../src/core/errors.ts'
import { handledLater } from '../../src/core/promises.ts'
import { startSourceWorker } from '../../src/core/sourceWorker.ts'
import type { BackendReport } from '../../src/model/backend.ts'
import type { EncoderStep } from '../../src/model/encoder.ts'
import type { EncodedSession } from '../../src/serve/sessionEncoder.ts'
import type { FromModelThread, ModelThreadTask, ToModelThread } from './messages.ts'

/** At a millisecond each a second of work: more would only make everybody wait longer. */
const encodingMax = 1024

export interface ModelThread {
  readonly backend: BackendReport
  /**
   * While on, batches need not be full, and updates are sent as soon as nothing waits: for the end of a bounded stream.
   */
  hurry(on: boolean): void
  /** As SessionEncoder says; waits for a training step that is under way. */
  encode(history: readonly EncoderStep[]): Promise<EncodedSession | undefined>
  /** Checkpoints, and ends. */
  stop(): Promise<void>
  /** Settles when the thread has ended; rejects with what it failed with. */
  readonly ended: Promise<void>
}

export function startModelThread(
  task: ModelThreadTask,
  onMessage: (message: FromModelThread) => void
): Promise<ModelThread> {
  const worker = startSourceWorker(new URL('./modelThread', import.meta.url), { workerData: task, name: 'mtmi-model' })
  return new Promise((resolve, reject) => {
    let failure: Error | undefined
    const ended = handledLater(
      new Promise<void>((end, fail) => {
        worker.on('error', (error) => {
          failure ??= error
        })
        worker.on('exit', (code) => {
          if (failure === undefined && code === 0) end()
          else fail(failure ?? new Error(`the model thread ended with status ${code}`))
        })
      })
    )
    ended.catch(reject)
    const post = (message: ToModelThread) => worker.postMessage(message)
    const encoding = new Map<
      number,
      { resolve(session: EncodedSession | undefined): void; reject(error: Error): void }
    >()
    let nextId = 0
    let over = false
    const giveUp = () => {
      over = true
      for (const { reject } of encoding.values())
        reject(new UnavailableError('the thread that encodes sessions has ended'))
      encoding.clear()
    }
    ended.then(giveUp, giveUp)
    const encode = (history: readonly EncoderStep[]) =>
      new Promise<EncodedSession | undefined>((resolve, reject) => {
        if (over) return reject(new UnavailableError('the thread that encodes sessions has ended'))
        if (encoding.size >= encodingMax)
          return reject(new UnavailableError(`${encodingMax} sessions wait to be encoded already: try again later`))
        encoding.set(nextId, { resolve, reject })
        post({ kind: 'encode', id: nextId++, history })
      })
    worker.on('message', (message: FromModelThread) => {
      if (message.kind === 'failed') {
        failure = message.code === undefined ? new Error(message.message) : new MtmiError(message.code, message.message)
        if (message.stack !== undefined) failure.stack = message.stack
      } else if (message.kind === 'encoded') {
        const { id, session, problem } = message
        const waiting = encoding.get(id)
        encoding.delete(id)
        if (problem === undefined) waiting?.resolve(session)
        else waiting?.reject(new UnavailableError(`the session could not be encoded: ${problem}`))
      } else if (message.kind === 'ready') {
        resolve({
          backend: message.backend,
          hurry: (on) => post({ kind: 'hurry', on }),
          encode,
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
