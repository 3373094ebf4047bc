// The caller's end of the search thread: a bounded queue of requests, and a new thread in place of one that died.

import type { Worker } from 'node:worker_threads'
import { BadEventError, ConfigError, CorruptError, DivergedError, UnavailableError } from '../../core/errors.ts'
import { startSourceWorker } from '../../core/sourceWorker.ts'
import type { WorkerFailure, WorkerOptions, WorkerReply, WorkerRequest } from './embeddedIndexWorker.ts'

type Unnumbered<T> = T extends unknown ? Omit<T, 'id'> : never
export type ThreadRequest = Unnumbered<WorkerRequest>

interface Waiting {
  resolve(result: unknown): void
  reject(error: Error): void
}

/**
 * Requests that may wait for the thread. At 20 ms a search of a million items this is 20 s of work: more would only
 * make everyone wait longer.
 */
const pendingMax = 1024
/** Threads in a row that may die without having answered anything before the index gives up. */
const deathsMax = 5

const workerFile = new URL('./embeddedIndexWorker', import.meta.url)

export class EmbeddedIndexThread {
  readonly #options: WorkerOptions
  readonly #pending = new Map<number, Waiting>()
  #worker: Worker
  #exited: Promise<void>
  #nextId = 1
  #deathsInARow = 0
  #closing = false
  /** Why no request is taken any more. */
  #failed: Error | undefined

  private constructor(options: WorkerOptions) {
    this.#options = options
    ;[this.#worker, this.#exited] = this.#start()
  }

  /** Resolves when everything is loaded. @throws CorruptError, UnavailableError */
  static async start(options: WorkerOptions): Promise<EmbeddedIndexThread> {
    const thread = new EmbeddedIndexThread(options)
    try {
      await thread.#reply(0)
    } catch (error) {
      thread.#closing = true
      await thread.#exited
      throw error
    }
    return thread
  }

  /**
   * @throws UnavailableError if too many requests wait, or the thread dies before it answers; else what the request met
   */
  async ask<T>(request: ThreadRequest): Promise<T> {
    if (this.#failed !== undefined) throw this.#failed
    if (this.#closing) throw new UnavailableError('the index is closed')
    if (this.#pending.size >= pendingMax) {
      throw new UnavailableError(
        `${pendingMax} searches wait already: the index is asked more than it can answer; try again later`
      )
    }
    const id = this.#nextId++
    this.#worker.postMessage({ ...request, id })
    return (await this.#reply(id)) as T
  }

  /** Ends the thread as a crash would, in the middle of things. For tests of what follows. */
  async kill(): Promise<void> {
    const worker = this.#worker
    await worker.terminate()
  }

  /** Answers what waits, then ends the thread. */
  async close(): Promise<void> {
    if (this.#closing) return this.#exited
    this.#closing = true
    if (this.#failed === undefined)
      this.#worker.postMessage({ kind: 'close', id: this.#nextId++ } satisfies WorkerRequest)
    await this.#exited
  }

  #reply(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }))
  }

  #start(): [Worker, Promise<void>] {
    const worker = startSourceWorker(workerFile, { workerData: this.#options, name: 'mtmi-search' })
    worker.on('message', (reply: WorkerReply) => {
      const waiting = this.#pending.get(reply.id)
      this.#pending.delete(reply.id)
      if ('failure' in reply) {
        const error = errorOf(reply.failure)
        if (reply.id === 0) this.#failed = error // it could not load: another thread could not either
        waiting?.reject(error)
      } else {
        if (reply.id !== 0) this.#deathsInARow = 0
        waiting?.resolve(reply.result)
      }
    })
    let reason = 'it ended by itself'
    worker.on('error', (error: Error) => {
      reason = error.message
    })
    const exited = new Promise<void>((resolve) => {
      worker.on('exit', () => {
        this.#died(reason)
        resolve()
      })
    })
    return [worker, exited]
  }

  #died(reason: string): void {
    const error = new UnavailableError(`the search thread of the index died before it answered: ${reason}`)
    for (const waiting of this.#pending.values()) waiting.reject(error)
    this.#pending.clear()
    if (this.#closing || this.#failed !== undefined) return
    this.#deathsInARow++
    if (this.#deathsInARow > deathsMax) {
      this.#failed = new UnavailableError(
        `the search thread of the index died ${this.#deathsInARow} times in a row, the last time because ${reason}: restart the process`
      )
      return
    }
    ;[this.#worker, this.#exited] = this.#start()
  }
}

const errorClasses = {
  CONFIG: (message: string) => new ConfigError([message]),
  BAD_EVENT: (message: string) => new BadEventError(message)
} as const

function errorOf(failure: WorkerFailure): Error {
  const { code, message } = failure
  if (code === 'UNAVAILABLE') return new UnavailableError(message)
  if (code === 'CORRUPT') return new CorruptError(message)
  if (code === 'DIVERGED') return new DivergedError(message)
  if (code === 'CONFIG' || code === 'BAD_EVENT') return errorClasses[code](message)
  const bug = new Error(message)
  if (failure.stack !== undefined) bug.stack = failure.stack
  return bug
}
