// Writes one topic without a break, and opens and closes another while its own transactions are under way. A thread of
// lmdbTurns.test.ts.

import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { systemClock } from '../../src/core/clock.ts'
import { LocalLogTopic } from '../../src/log/local/localLogTopic.ts'

const [root, writes, opens] = process.argv.slice(2) as [string, string, string]
const own = await LocalLogTopic.open(path.join(root, writes), writes, 1)
for (let i = 0; i < 300; i++) {
  const appended = own.append(new Map(), systemClock)
  // By now the transaction has its lock, and waits for this thread.
  await nextTurn()
  const other = await LocalLogTopic.open(path.join(root, opens), opens, 1)
  await appended
  await other.close()
}
await own.close()
