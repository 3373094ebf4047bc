// The main thread's side of the model thread.

import { MtmiError, UnavailableError } from '../../src/core/errors.ts'
import { handledLater } from '../../src/core/promises.ts'
import { startSourceWorker } from '../../src/core/sourceWorker.ts'
import type { BackendReport } from '../../src/model/backend.ts'
import type { EncoderStep } from '../../src/model/encoder.ts'
import type { EncodedSession, SessionEncoder } from '../../src/serve/sessions.ts'
import type { FromModelThread, ModelThreadTask, ToModelThread } from './messages.ts'

/** Sessions that may wait: at a millisecond each, a second of work. */
const encodingMax = 1024

/** `encode` waits for a training step that is running. */
export interface ModelThread extends SessionEncoder {
  readonly backend: BackendReport
  /** While on, batches need not be full, and updates are sent as soon as nothing waits: at the end of a bounded stream. */
  drain(on: boolean): void
  /** Writes a checkpoint and ends the thread. */
  stop(): Promise<void>
  /** Resolves when the thread has ended; rejects with its error. */
  readonly ended: Promise<void>
}

/** Resolves when the thread has loaded a backend and begun its stages. */
export function startModelThread(
  task: ModelThreadTask,
  onMessage: (message: FromModelThread) => void
): Promise<ModelThread> {
  const worker = startSourceWorker(new URL('./modelThread', import.meta.url), { workerData: task, name: 'mtmi-model' })
  const post = (message: ToModelThread) => worker.postMessage(message)
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
  const sessions = new PendingSessions(post)
  const reject = () => sessions.rejectAll()
  ended.then(reject, reject)
  const stop = () => {
    post({ kind: 'stop' })
    return ended
  }
  return new Promise((resolve, reject) => {
    ended.catch(reject)
    worker.on('message', (message: FromModelThread) => {
      if (message.kind === 'failed') {
        failure = message.code === undefined ? new Error(message.message) : new MtmiError(message.code, message.message)
        if (message.stack !== undefined) failure.stack = message.stack
      } else if (message.kind === 'encoded') sessions.settle(message)
      else if (message.kind === 'ready')
        resolve({
          backend: message.backend,
          drain: (on) => post({ kind: 'drain', on }),
          encode: (history) => sessions.encode(history),
          stop,
          ended
        })
      else onMessage(message)
    })
  })
}

/** Sessions that were sent to the thread and have no answer yet. */
class PendingSessions {
  readonly #post: (message: ToModelThread) => void
  readonly #pending = new Map<
    number,
    { resolve(session: EncodedSession | undefined): void; reject(error: Error): void }
  >()
  #nextId = 0
  #hasEnded = false

  constructor(post: (message: ToModelThread) => void) {
    this.#post = post
  }

  encode(history: readonly EncoderStep[]): Promise<EncodedSession | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#hasEnded) return reject(new UnavailableError('the thread that encodes sessions has ended'))
      if (this.#pending.size >= encodingMax)
        return reject(new UnavailableError(`${encodingMax} sessions wait to be encoded already: try again later`))
      const id = this.#nextId++
      this.#pending.set(id, { resolve, reject })
      this.#post({ kind: 'encode', id, history })
    })
  }

  settle({ id, session, problem }: Extract<FromModelThread, { kind: 'encoded' }>): void {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    if (problem === undefined) pending?.resolve(session)
    else pending?.reject(new UnavailableError(`the session could not be encoded: ${problem}`))
  }

  rejectAll(): void {
    this.#hasEnded = true
    for (const { reject } of this.#pending.values())
      reject(new UnavailableError('the thread that encodes sessions has ended'))
    this.#pending.clear()
  }
}
