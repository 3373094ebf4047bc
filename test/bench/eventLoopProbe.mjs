// Loaded into a process before its own code (node --import): how long its main thread's event loop was held up, as one
// line on standard error when it ends. Of the time after the first `PROBE_AFTER_MS`, so that loading the program does
// not count.

import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'

const resolutionMs = 1

if (isMainThread) {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs })
  delay.enable()
  const busy = { from: performance.eventLoopUtilization() }
  setTimeout(
    () => {
      delay.reset()
      busy.from = performance.eventLoopUtilization()
    },
    Number(process.env.PROBE_AFTER_MS ?? 0)
  ).unref()
  process.on('exit', () => {
    const ms = (nanoseconds) => Number((nanoseconds / 1e6).toFixed(2))
    const { utilization } = performance.eventLoopUtilization(busy.from)
    const of = {
      samples: delay.count,
      p50: ms(delay.percentile(50)),
      p99: ms(delay.percentile(99)),
      max: ms(delay.max),
      utilization
    }
    process.stderr.write(`event loop ${JSON.stringify(of)}\n`)
  })
}
