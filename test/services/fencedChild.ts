// Appends 0, 1, 2, … under a fence as fast as it can, and says each that was acknowledged, until it is refused.

import { openLog } from './kafka.ts'

const [topic, fence] = process.argv.slice(2) as [string, string]
const log = await openLog()
try {
  for (let number = 0; ; number++) {
    await log.append(topic, [{ key: Buffer.from('child'), value: Buffer.from(String(number)) }], fence)
    process.stdout.write(`${number}\n`)
  }
} catch (error) {
  process.stdout.write(`refused: ${(error as Error).message}\n`)
} finally {
  await log.close()
}
