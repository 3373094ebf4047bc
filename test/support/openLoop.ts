// Requests at a steady rate that does not wait for answers: a late answer delays no other request, so that a stall is
// seen by all who would have met it.

import { Agent, request } from 'node:http'

/**
 * Each request at its own moment, whatever became of those before. Resolves when all have ended.
 *
 * @param act tells of its own failures. `dueMs`: when it was to be sent, by `performance.now()`; what a caller waits
 *   for is measured from there
 */
export async function openLoop(
  ratePerSecond: number,
  goesOn: (i: number) => boolean,
  act: (i: number, dueMs: number) => Promise<void>
): Promise<void> {
  const running = new Set<Promise<void>>()
  const startMs = performance.now()
  await new Promise<void>((resolve) => {
    let i = 0
    const tick = () => {
      while (performance.now() - startMs >= (i * 1000) / ratePerSecond) {
        if (!goesOn(i)) return resolve()
        const one = act(i, startMs + (i * 1000) / ratePerSecond).finally(() => running.delete(one))
        running.add(one)
        i++
      }
      setTimeout(tick, 1)
    }
    tick()
  })
  await Promise.all(running)
}

/** Over connections that are kept. @throws for a status that is not 200 */
export function getter(base: string): { get(path: string): Promise<string>; close(): void } {
  const agent = new Agent({ keepAlive: true, maxSockets: 256 })
  const get = (path: string) =>
    new Promise<string>((resolve, reject) => {
      request(new URL(path, base), { agent }, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (part: string) => {
          text += part
        })
        response.on('end', () =>
          response.statusCode === 200 ? resolve(text) : reject(new Error(`status ${response.statusCode}: ${text}`))
        )
        response.on('error', reject)
      })
        .on('error', reject)
        .end()
    })
  return { get, close: () => agent.destroy() }
}
