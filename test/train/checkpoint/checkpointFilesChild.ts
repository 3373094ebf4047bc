// Saves one checkpoint after the other until it is killed. Run by checkpointFiles.test.ts.
import { writeSync } from 'node:fs'
import type { Checkpoint } from '../../../src/model/replica/checkpoint.ts'
import { CheckpointFiles } from '../../../src/train/checkpoint/checkpointFiles.ts'

/** Large enough (8 MB) that a kill falls into the writing. */
export function bigCheckpointOf(step: number): Checkpoint {
  return {
    header: { step },
    parts: [{ name: 'values', arrays: new Map([['values', new Float32Array(2_000_000).fill(step)]]) }]
  }
}

const directory = process.argv[2]
if (process.argv[1] === import.meta.filename && directory !== undefined) {
  const store = new CheckpointFiles({ directory, keep: 2 })
  let step = (await store.latest())?.step ?? 0
  for (;;) {
    step++
    writeSync(1, `begin ${step}\n`)
    await store.save(step, bigCheckpointOf(step))
    writeSync(1, `saved ${step}\n`)
  }
}
