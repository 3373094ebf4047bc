// The search thread of the embedded index: loads the items, says so, then answers one request after the other.

import { parentPort, workerData } from 'node:worker_threads'
import { MtmiError } from '../../core/errors.ts'
import type { Filter, InterestQuery, VectorWishes } from '../vectorIndex.ts'
import { EmbeddedIndexSearcher } from './embeddedIndexSearcher.ts'
import { EmbeddedIndexStore } from './embeddedIndexStore.ts'

export interface WorkerOptions {
  readonly directory: string
  /** How often changes are taken in while nobody searches, milliseconds: the next search then finds little to do. */
  readonly catchUpMs: number
}

export type WorkerRequest =
  | {
      readonly id: number
      readonly kind: 'search'
      readonly query: InterestQuery
      readonly limit: number
      readonly filter: Filter | undefined
      readonly wishes: VectorWishes | undefined
    }
  | {
      readonly id: number
      readonly kind: 'popular'
      readonly limit: number
      readonly filter: Filter | undefined
      readonly context: string | undefined
    }
  | { readonly id: number; readonly kind: 'like'; readonly text: string; readonly limit: number }
  | { readonly id: number; readonly kind: 'report' }
  | { readonly id: number; readonly kind: 'close' }

/** An error crosses threads without its class: what is needed to make it again. */
export interface WorkerFailure {
  readonly code: string | undefined
  readonly message: string
  readonly stack: string | undefined
}

/** id 0: the first load is done, or has failed. */
export type WorkerReply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly failure: WorkerFailure }

function failureOf(error: unknown): WorkerFailure {
  const known = error instanceof Error ? error : new Error(String(error))
  return { code: known instanceof MtmiError ? known.code : undefined, message: known.message, stack: known.stack }
}

const port = parentPort
if (port !== null) {
  const { directory, catchUpMs } = workerData as WorkerOptions
  const reply = (message: WorkerReply) => port.postMessage(message)
  let store: EmbeddedIndexStore | undefined
  try {
    store = await EmbeddedIndexStore.open(directory)
    const searcher = new EmbeddedIndexSearcher(store)
    searcher.catchUp()
    serve(store, searcher, catchUpMs)
    reply({ id: 0, result: undefined })
  } catch (error) {
    reply({ id: 0, failure: failureOf(error) })
    await store?.close()
    port.close()
  }

  function serve(store: EmbeddedIndexStore, searcher: EmbeddedIndexSearcher, catchUpMs: number): void {
    const timer = setInterval(() => {
      try {
        searcher.catchUp()
      } catch {
        // The next search meets the same error and says so to someone.
      }
    }, catchUpMs)
    port!.on('message', (request: WorkerRequest) => {
      const { id } = request
      if (request.kind === 'close') {
        clearInterval(timer)
        store.close().then(
          () => {
            reply({ id, result: undefined })
            port!.close()
          },
          (error: unknown) => reply({ id, failure: failureOf(error) })
        )
        return
      }
      try {
        if (request.kind === 'search')
          reply({ id, result: searcher.search(request.query, request.limit, request.filter, request.wishes) })
        else if (request.kind === 'popular')
          reply({ id, result: searcher.popular(request.limit, request.filter, request.context) })
        else if (request.kind === 'like') reply({ id, result: searcher.like(request.text, request.limit) })
        else reply({ id, result: searcher.report() })
      } catch (error) {
        reply({ id, failure: failureOf(error) })
      }
    })
  }
}
