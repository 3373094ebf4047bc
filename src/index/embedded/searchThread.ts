// The caller's end of the search thread: a bounded queue of requests, and a new thread in place of one that died.

import type { Worker } from 'node:worker_threads'
import { BadEventError, ConfigError, CorruptError, DivergedError, UnavailableError } from '../../core/errors.ts'
import { startSourceWorker } from '../../core/sourceWorker.ts'
import type { IndexSearcher } from './indexSearcher.ts'
import type { SearchFailure, SearchMethod, SearchReply, SearchRequest } from './searchWorker.ts'

/** Requests that may wait. At 20 ms a search of a million items this is 20 s of work. */
const pendingMax = 1024
/** Threads in a row that may die without having answered before the index gives up. */
const deathsMax = 5

const workerFile = new URL('./searchWorker', import.meta.url)

export class SearchThread {
  readonly #directory: string
  readonly #pending = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>()
  #worker: Worker
  #exited: Promise<void>
  #nextId = 1
  #deathsInARow = 0
  #closing = false
  /** Why no request is accepted any more. */
  #failed: Error | undefined

  private constructor(directory: string) {
    this.#directory = directory
    ;[this.#worker, this.#exited] = this.#start()
  }

  /** Resolves when every item is in memory. @throws CorruptError, UnavailableError */
  static async start(directory: string): Promise<SearchThread> {
    const thread = new SearchThread(directory)
    try {
      await thread.#reply(0)
    } catch (error) {
      thread.#closing = true
      await thread.#exited
      throw error
    }
    return thread
  }

  /** @throws UnavailableError if too many requests wait or the thread dies before it answers; else as the method */
  async call<M extends SearchMethod>(
    method: M,
    args: Parameters<IndexSearcher[M]>
  ): Promise<ReturnType<IndexSearcher[M]>> {
    if (this.#failed !== undefined) throw this.#failed
    if (this.#closing) throw new UnavailableError('the index is closed')
    if (this.#pending.size >= pendingMax)
      throw new UnavailableError(`${pendingMax} searches of the index are waiting already: try again later`)
    const id = this.#nextId++
    this.#worker.postMessage({ id, method, args } satisfies SearchRequest)
    return (await this.#reply(id)) as ReturnType<IndexSearcher[M]>
  }

  /** Ends the thread as a crash would. For tests of what follows. */
  async kill(): Promise<void> {
    await this.#worker.terminate()
  }

  /** Answers the requests that wait, then ends the thread. */
  async close(): Promise<void> {
    if (!this.#closing && this.#failed === undefined) this.#worker.postMessage('close' satisfies SearchRequest)
    this.#closing = true
    await this.#exited
  }

  #reply(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }))
  }

  #start(): [Worker, Promise<void>] {
    const worker = startSourceWorker(workerFile, { workerData: this.#directory, name: 'mtmi-search' })
    worker.on('message', (reply: SearchReply) => {
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
    let reason = 'it ended without an error'
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
    if (++this.#deathsInARow > deathsMax) {
      this.#failed = new UnavailableError(
        `the search thread of the index died ${this.#deathsInARow} times in a row, the last time because ${reason}: restart the process`
      )
      return
    }
    ;[this.#worker, this.#exited] = this.#start()
  }
}

/** The class of an error does not cross threads; it is restored from the code. */
function errorOf({ code, message, stack }: SearchFailure): Error {
  switch (code) {
    case 'UNAVAILABLE':
      return new UnavailableError(message)
    case 'CORRUPT':
      return new CorruptError(message)
    case 'DIVERGED':
      return new DivergedError(message)
    case 'CONFIG':
      return new ConfigError([message])
    case 'BAD_EVENT':
      return new BadEventError(message)
    case undefined:
      return Object.assign(new Error(message), { stack })
  }
}
