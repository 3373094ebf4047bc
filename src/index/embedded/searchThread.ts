// The caller's end of the search thread: a bounded queue of requests, and a new thread in place of one that died.

import type { Worker } from 'node:worker_threads'
import { BackgroundTasks, untilAborted } from '../../core/backgroundTasks.ts'
import { systemClock } from '../../core/clock.ts'
import {
  BadEventError,
  ConfigError,
  CorruptError,
  DivergedError,
  MtmiError,
  UnavailableError
} from '../../core/errors.ts'
import { startSourceWorker } from '../../core/sourceWorker.ts'
import type { IndexSearcher } from './indexSearcher.ts'
import type { SearchFailure, SearchMethod, SearchReply, SearchRequest } from './searchWorker.ts'

/** Requests that may wait. At 20 ms a search of a million items this is 20 s of work. */
const pendingMax = 1024

const workerFile = new URL('./searchWorker', import.meta.url)

/** What supervises the thread. */
export type SearchTasks = Pick<BackgroundTasks<'search'>, 'keep'>

interface Pending {
  readonly request: SearchRequest | undefined
  resolve(result: unknown): void
  reject(error: Error): void
}

export class SearchThread {
  readonly #directory: string
  readonly #pending = new Map<number, Pending>()
  /** undefined: it has died, and a new one is about to start. */
  #worker: Worker | undefined
  /** Why the thread ended. */
  #exited!: Promise<Error>
  #nextId = 1
  #closing = false
  /** Why no request is accepted now: the thread keeps dying, or cannot load the items. */
  #away: Error | undefined

  private constructor(directory: string) {
    this.#directory = directory
  }

  /**
   * Resolves when every item is in memory.
   *
   * @param tasks of the process; by default a thread that dies is replaced all the same, without a report
   * @throws CorruptError, UnavailableError
   */
  static async start(directory: string, tasks: SearchTasks = unreported()): Promise<SearchThread> {
    const thread = new SearchThread(directory)
    try {
      await thread.#start()
    } catch (error) {
      thread.#closing = true
      await thread.#exited
      throw error
    }
    tasks.keep('search', 'the search thread of the index', { restarts: true }, async ({ signal, failures, up }) => {
      if (thread.#closing) return untilAborted(signal)
      try {
        if (thread.#worker === undefined) await thread.#start()
        up()
        const died = await Promise.race([thread.#exited, untilAborted(signal)])
        if (died !== undefined && !thread.#closing) throw died
      } catch (error) {
        const isFinal = error instanceof MtmiError && !error.canRetry
        if (failures > 0 || isFinal) thread.#away = error as Error // the first time requests wait for the next thread
        throw error
      }
      await untilAborted(signal)
    })
    return thread
  }

  /** @throws UnavailableError if too many requests wait or the thread dies before it answers; else as the method */
  async call<M extends SearchMethod>(
    method: M,
    args: Parameters<IndexSearcher[M]>
  ): Promise<ReturnType<IndexSearcher[M]>> {
    if (this.#closing) throw new UnavailableError('the index is closed')
    if (this.#away !== undefined) throw this.#away
    if (this.#pending.size >= pendingMax)
      throw new UnavailableError(`${pendingMax} searches of the index are waiting already: try again later`)
    const request = { id: this.#nextId++, method, args } satisfies SearchRequest
    this.#worker?.postMessage(request)
    return (await this.#reply(request.id, request)) as ReturnType<IndexSearcher[M]>
  }

  /** Ends the thread as a crash would. For tests of what follows. */
  async kill(): Promise<void> {
    await this.#worker?.terminate()
  }

  /** Answers the requests that wait, then ends the thread. */
  async close(): Promise<void> {
    if (!this.#closing) this.#worker?.postMessage('close' satisfies SearchRequest)
    this.#closing = true
    if (this.#worker === undefined) this.#rejectAll(new UnavailableError('the index is closed'))
    else await this.#exited
  }

  #reply(id: number, request?: SearchRequest): Promise<unknown> {
    return new Promise((resolve, reject) => this.#pending.set(id, { request, resolve, reject }))
  }

  /** Resolves when the items are loaded. */
  #start(): Promise<unknown> {
    const worker = startSourceWorker(workerFile, { workerData: this.#directory, name: 'mtmi-search' })
    this.#worker = worker
    this.#away = undefined
    worker.on('message', (reply: SearchReply) => {
      const waiting = this.#pending.get(reply.id)
      this.#pending.delete(reply.id)
      if ('failure' in reply) waiting?.reject(errorOf(reply.failure))
      else waiting?.resolve(reply.result)
    })
    let reason = 'it ended without an error'
    worker.on('error', (error: Error) => {
      reason = error.message
    })
    this.#exited = new Promise((resolve) => {
      worker.on('exit', () => {
        const error = new UnavailableError(`the search thread of the index died before it answered: ${reason}`)
        this.#worker = undefined
        this.#rejectAll(error)
        resolve(error)
      })
    })
    for (const { request } of this.#pending.values()) worker.postMessage(request)
    return this.#reply(0)
  }

  #rejectAll(error: Error): void {
    for (const { reject } of this.#pending.values()) reject(error)
    this.#pending.clear()
  }
}

function unreported(): SearchTasks {
  return new BackgroundTasks<'search'>({ clock: systemClock, onProblem: () => {}, onFailure: () => {} })
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
