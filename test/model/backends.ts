import test, { type TestContext } from 'node:test'
import { type BackendName, loadBackend } from '../../src/model/backend.ts'

/** Runs the same tests on every backend that loads; says so where one does not. */
export function onEveryBackend(tests: (t: TestContext) => Promise<void>): void {
  for (const backend of ['tensorflow', 'wasm'] satisfies BackendName[]) {
    test(`with ${backend}`, async (t) => {
      try {
        await loadBackend(backend)
      } catch (error) {
        t.skip(`SKIPPED: ${backend} does not load here: ${(error as Error).message}`)
        return
      }
      await tests(t)
    })
  }
}
