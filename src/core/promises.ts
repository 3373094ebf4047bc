// Promises that are stored now and awaited later, work in turn, and work that is done together.

/**
 * Marks a promise whose error is handled where it is awaited: until then Node would end the process for a rejection
 * without a handler. Every stored promise goes through here or has its handler where it is made; `npm run check`
 * enforces it (infra/lint/storedPromises.mjs).
 *
 * @returns the same promise: it still rejects where it is awaited
 */
export function handledLater<T>(promise: Promise<T>): Promise<T>
export function handledLater<T>(promise: Promise<T> | undefined): Promise<T> | undefined
export function handledLater<T>(promise: Promise<T> | undefined): Promise<T> | undefined {
  promise?.catch(() => {}) // the error is handled where the promise is awaited
  return promise
}

/** Of each input in turn, at most `count` at a time. @returns in the order of the inputs */
export async function mapConcurrently<T, U>(
  inputs: readonly T[],
  count: number,
  of: (input: T) => Promise<U>
): Promise<U[]> {
  const results: U[] = []
  let next = 0
  const worker = async () => {
    while (next < inputs.length) {
      const i = next++
      results[i] = await of(inputs[i]!)
    }
  }
  await Promise.all(Array.from({ length: count }, worker))
  return results
}

/** Work that is done one after the other, in the order of the calls. */
export class Turns {
  #last: Promise<unknown> = handledLater(Promise.resolve())

  /** Waits for the work of the calls before it, whether or not that fails; only its own error is thrown. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const turn = handledLater(this.#last.then(work))
    this.#last = handledLater(turn.catch(() => {})) // the caller of this turn gets the error
    return turn
  }
}
