// The main thread's side of the model thread.

import { type BackgroundTasks, untilAborted } from '../../src/core/backgroundTasks.ts'
import { systemClock } from '../../src/core/clock.ts'
import { MtmiError, UnavailableError } from '../../src/core/errors.ts'
import { handledLater } from '../../src/core/promises.ts'
import { startSourceWorker } from '../../src/core/sourceWorker.ts'
import type { BackendReport } from '../../src/model/backend.ts'
import type { EncoderStep } from '../../src/model/encoder.ts'
import type { EncodedSession, SessionEncoder } from '../../src/serve/sessions.ts'
import type { FromModelThread, ModelThreadTask, ToModelThread } from './messages.ts'

/** Sessions that may wait: at a millisecond each, a second of work. */
const encodingMax = 1024
/** A thread that has failed and does not end by itself, because a dependency does not answer, is terminated. */
const failedEndMaxMs = 20_000
/** It reports several times a second; a large checkpoint blocks it for some seconds. */
const silentMaxMs = 60_000

/** `encode` waits for a training step that is running. */
export interface ModelThread extends SessionEncoder {
  readonly backend: BackendReport
  /** While on, batches need not be full, and updates are sent as soon as nothing waits: at the end of a bounded stream. */
  drain(on: boolean): void
  /** Since when it has not reported; undefined: it has, within a minute. */
  silence(): string | undefined
  /** Why it cannot work now: it is silent, or a dependency is away. */
  problem(): string | undefined
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
  let problem: string | undefined
  let reportedMs = systemClock.nowMs()
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
  const silence = () => {
    const silentMs = systemClock.nowMs() - reportedMs
    return silentMs > silentMaxMs ? `the model thread has not reported for ${Math.round(silentMs / 1000)} s` : undefined
  }
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
        const late = new AbortController()
        worker.once('exit', () => late.abort())
        void systemClock.sleep(failedEndMaxMs, late.signal).then(() => worker.terminate())
      } else if (message.kind === 'encoded') sessions.settle(message)
      else if (message.kind === 'ready') {
        reportedMs = systemClock.nowMs()
        resolve({
          backend: message.backend,
          drain: (on) => post({ kind: 'drain', on }),
          encode: (history) => sessions.encode(history),
          silence,
          problem: () => silence() ?? problem,
          stop,
          ended
        })
      } else {
        if (message.kind === 'metrics') {
          reportedMs = systemClock.nowMs()
          problem = message.problem
        }
        onMessage(message)
      }
    })
  })
}

/** A thread that only encodes sessions, replaced when it dies. Resolves when the first is ready. */
export async function keepSessionThread(
  tasks: Pick<BackgroundTasks<'sessions'>, 'keep'>,
  task: ModelThreadTask,
  onMessage: (message: FromModelThread) => void
): Promise<SessionEncoder> {
  let thread: ModelThread | undefined = await startModelThread(task, onMessage)
  // Lists need no broker: that none answers is no reason not to be ready.
  const options = { restarts: true, problem: () => thread?.silence() }
  tasks.keep('sessions', 'the thread that encodes sessions', options, async ({ signal, up }) => {
    thread ??= await startModelThread(task, onMessage)
    up()
    try {
      await Promise.race([thread.ended, untilAborted(signal)])
      if (signal.aborted) await thread.stop()
    } finally {
      thread = undefined
    }
  })
  const away = () =>
    Promise.reject(new UnavailableError('the thread that encodes sessions has ended, and is restarted'))
  return { encode: (history) => thread?.encode(history) ?? away() }
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
