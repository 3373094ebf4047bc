// Promises that are stored now and awaited later.

/**
 * Marks a promise whose error is met later, where it is awaited: until then Node would end the process for a rejection
 * without a handler. Every promise that is stored goes through here or has its handler where it is made; `npm run
 * check` refuses any other (infra/lint/storedPromises.mjs).
 *
 * @returns the same promise: it still rejects for whoever awaits it
 */
export function handledLater<T>(promise: Promise<T>): Promise<T>
export function handledLater<T>(promise: Promise<T> | undefined): Promise<T> | undefined
export function handledLater<T>(promise: Promise<T> | undefined): Promise<T> | undefined {
  promise?.catch(() => {}) // whoever awaits it later gets the error
  return promise
}
