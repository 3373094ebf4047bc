// How long the main thread, which reads and writes the log for the sequencer and answers HTTP, is held up while the
// model thread trains and publishes.
//
//     npm run bench -- eventloop [--json] [--events N]
//
// `mtmi start` on the simulation, one process; delays are those of a timer that is due every millisecond, from 5 s
// after the start on. The longest wait of the model thread itself, one training step, is in the report beside it: what
// stands on that thread must wait so long. The trainer and the publisher read all partitions without a group, so no
// heartbeat is due there.
//
// What should be possible: the main thread has no work longer than an emission of 4,096 events, some 20 ms of Avro; the
// scheduler of the machine adds its own where there are fewer cores than busy threads.

import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { lastLine, mtmi } from '../support/mtmiProcess.ts'

const { values: flags } = parseArgs({
  options: { json: { type: 'boolean' }, events: { type: 'string', default: '40000' } }
})
const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-event-loop-'))
try {
  const probe = new URL('./eventLoopProbe.mjs', import.meta.url)
  const loadBefore = os.loadavg()[0]
  const { status, stdout, stderr } = await mtmi(
    ['--data-dir', path.join(folder, 'data'), 'start', '--events', flags.events, '--once', '--json'],
    {
      cwd: folder,
      env: { NODE_OPTIONS: `--import=${fileURLToPath(probe)}`, PROBE_AFTER_MS: '5000' }
    }
  )
  if (status !== 0) throw new Error(`ended with status ${status}:\n${stderr.slice(-4000)}`)
  const delayMs = JSON.parse(/event loop (\{.*\})/.exec(stderr)?.[1] ?? 'null') as unknown
  const { examplesTrained, interactions } = lastLine(stdout)
  const result = {
    events: Number(flags.events),
    interactions,
    examplesTrained,
    delayMs,
    load: [loadBefore, os.loadavg()[0]],
    cpu: os.cpus()[0]?.model,
    cores: os.availableParallelism(),
    node: process.version
  }
  process.stdout.write(`${JSON.stringify(result, undefined, flags.json ? undefined : 2)}\n`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
