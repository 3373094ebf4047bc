// Loaded into every thread of a `mtmi` process by NODE_OPTIONS=--require: a file named after a kind of thread, in the
// folder THREAD_FAULTS, ends that thread. Its text says how: `exit`, or `throw`.
const fs = require('node:fs')
const path = require('node:path')
const { isMainThread, workerData } = require('node:worker_threads')

if (!isMainThread) {
  // Node has threads of its own, for loaders.
  const kind = typeof workerData === 'string' ? 'search' : workerData?.stages === undefined ? 'other' : 'model'
  const file = path.join(process.env.THREAD_FAULTS, kind)
  setInterval(() => {
    if (!fs.existsSync(file)) return
    const how = fs.readFileSync(file, 'utf8')
    if (how === '') return // it is being written
    fs.rmSync(file)
    if (how === 'throw') throw new Error('planted fault')
    process.exit(1) // of this thread
  }, 50).unref()
}
