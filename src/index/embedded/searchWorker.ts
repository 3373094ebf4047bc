// The search thread of the embedded index: loads the items, reports that, then answers one request after the other.

import { parentPort, workerData } from 'node:worker_threads'
import { type ErrorCode, MtmiError } from '../../core/errors.ts'
import { IndexSearcher } from './indexSearcher.ts'
import { IndexStore } from './indexStore.ts'

export type SearchMethod = 'search' | 'candidates' | 'popular' | 'itemsLike' | 'fields' | 'holdsAny'

export type SearchRequest = { readonly id: number; readonly method: SearchMethod; readonly args: unknown[] } | 'close'

export interface SearchFailure {
  readonly code: ErrorCode | undefined
  readonly message: string
  readonly stack: string | undefined
}

/** id 0: the items are loaded, or loading failed. */
export type SearchReply = { readonly id: number } & ({ readonly result: unknown } | { readonly failure: SearchFailure })

/** How often changes are applied between searches, so that the next search has little to do. */
const catchUpMs = 200

function failureOf(error: unknown): SearchFailure {
  const known = error instanceof Error ? error : new Error(String(error))
  return { code: known instanceof MtmiError ? known.code : undefined, message: known.message, stack: known.stack }
}

if (parentPort !== null) {
  const port = parentPort
  let store: IndexStore | undefined
  try {
    store = await IndexStore.open(workerData as string)
    serve(store, new IndexSearcher(store))
  } catch (error) {
    port.postMessage({ id: 0, failure: failureOf(error) } satisfies SearchReply)
    await store?.close()
    port.close()
  }

  function serve(opened: IndexStore, searcher: IndexSearcher): void {
    searcher.catchUp()
    port.postMessage({ id: 0, result: undefined } satisfies SearchReply)
    const timer = setInterval(() => {
      try {
        searcher.catchUp()
      } catch {
        // The next search meets the same error and reports it.
      }
    }, catchUpMs)
    port.on('message', (request: SearchRequest) => {
      if (request !== 'close') {
        const { id, method, args } = request
        try {
          const result = (searcher[method] as (...args: unknown[]) => unknown).apply(searcher, args)
          port.postMessage({ id, result } satisfies SearchReply)
        } catch (error) {
          port.postMessage({ id, failure: failureOf(error) } satisfies SearchReply)
        }
        return
      }
      clearInterval(timer)
      void opened.close().finally(() => port.close())
    })
  }
}
