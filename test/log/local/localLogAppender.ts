// Appends 200 records to the topic `t`, one at a time, and tells its parent how many are durable. For the tests of
// several processes and threads.

import { systemClock } from '../../../src/core/clock.ts'
import { LocalLog } from '../../../src/log/local/localLog.ts'

const [directory, name] = process.argv.slice(2)
const log = await LocalLog.open(directory!, { partitions: () => 1, clock: systemClock })
for (let i = 0; i < 200; i++) {
  await log.append('t', [{ key: Buffer.from('k'), value: Buffer.from(`${name}:${i}`) }])
  process.send?.(i + 1)
}
await log.close()
process.disconnect?.()
