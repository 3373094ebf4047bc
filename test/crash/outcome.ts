// What a run has left on the disk, in a form in which two runs can be compared.

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import type { NamedArrays } from '../../src/core/namedArrays.ts'
import { named } from '../../src/model/replica/checkpoint.ts'
import { LmdbSequenceStore } from '../../src/sequence/lmdbSequenceStore.ts'
import { CheckpointFiles } from '../../src/train/checkpoint/checkpointFiles.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import { ProgressiveEvaluator } from '../../src/train/progressive/progressive.ts'
import { allArrays } from '../support/copies.ts'
import { resolveWithLimits } from '../support/limits.ts'
import { canonicalWindow, liveWindows } from '../support/windows.ts'
import type { Scenario } from './scenario.ts'
import { readTrainedAudit } from './trainedAudit.ts'

/**
 * User → bytes of the history, by partition and user. Those who have expired are left out, whether or not they have
 * been swept away.
 */
export async function historiesOf(run: string, idleMaxMs: number): Promise<Map<string, string>> {
  const histories = new Map<string, string>()
  const directory = path.join(run, 'sequences')
  for (const name of readdirSync(directory).sort()) {
    const partition = /^sequences-(\d+)\.lmdb$/.exec(name)?.[1]
    if (partition === undefined) continue
    const store = await LmdbSequenceStore.open(directory, Number(partition), { readOnly: true })
    for (const [userId, window] of liveWindows(store, idleMaxMs)) {
      histories.set(`${partition}/${userId}`, Buffer.from(canonicalWindow(userId, window)).toString('latin1'))
    }
    await store.close()
  }
  return histories
}

/**
 * The examples that the weights have learned, by source offset, sorted. A batch that was learned before a crash and
 * again after it counts once, and must have held the same examples in the same order both times; an example in two
 * batches is a failure.
 */
export function trainedOf(auditFile: string): string[] {
  const batches = new Map<number, string>()
  for (const { batch, examples } of readTrainedAudit(auditFile)) {
    const line = examples.join(',')
    assert.equal(batches.get(batch) ?? line, line, `batch ${batch} was learned again with other examples`)
    batches.set(batch, line)
  }
  const learned = new Map<string, number>()
  for (const [batch, line] of batches) {
    for (const example of line.split(',')) {
      assert.ok(!learned.has(example), `example ${example} is in batch ${learned.get(example)} and in batch ${batch}`)
      learned.set(example, batch)
    }
  }
  return [...learned.keys()].sort()
}

/** Looking deletes nothing: more than any run keeps. */
const checkpointsMax = 1000

/** Steps of the checkpoints in a folder, ascending. */
export function checkpointsIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => /^checkpoint-\d+\.mtmi$/.test(name))
    .sort()
}

/**
 * All that the newest checkpoint holds: weights, rows, optimizer state, counts, reservoir, random streams, progressive
 * numbers. Left out is when it was taken, by the clock on the wall: two runs are not at the same time.
 */
export async function newestCheckpoint(
  folder: string,
  settings: Scenario['settings']
): Promise<{ name: string; header: unknown; arrays: ReadonlyMap<string, Buffer> }> {
  const name = checkpointsIn(folder).at(-1)
  assert.ok(name !== undefined, `${folder} has no checkpoint`)
  const found = await new CheckpointFiles({ directory: folder, keep: checkpointsMax }).latest()
  assert.deepEqual(found?.skipped, [], `${folder} has damaged checkpoints`)
  // Which of the checkpoints were whole is the clock's doing: so what the trainer becomes by them is compared.
  const { model, train, sequence, seed } = resolveWithLimits(settings)
  const trainer = new IncrementalTrainer({ model, train, historyMax: sequence.historyMax, seed })
  const evaluator = new ProgressiveEvaluator()
  const { header } = found!.checkpoint
  let last: NamedArrays = new Map()
  trainer.restore(found!.checkpoint, ({ arrays }) => {
    last = arrays
  })
  assert.ok(evaluator.restore((header.stage as { progressive: Record<string, unknown> }).progressive, last))
  const progressive = { header: {}, parts: named('progressive', evaluator.copy().parts) }
  const arrays = new Map([...allArrays(trainer.checkpoint()), ...allArrays(progressive)])
  // What of the memory was sent, and when, is the clock's doing; its counts are not.
  for (const key of arrays.keys())
    if (/^memory.*\b(sent|waiting|numbers|gone|goneLengths)$/.test(key)) arrays.delete(key)
  const { savedAtMs: _, versionAtMs: __, ...stage } = header.stage as Record<string, unknown>
  const bytes = ([key, { buffer, byteOffset, byteLength }]: [string, ArrayBufferView]): [string, Buffer] => [
    key,
    Buffer.from(buffer, byteOffset, byteLength)
  ]
  return { name, header: { ...header, stage }, arrays: new Map([...arrays].map(bytes)) }
}

/** The first few of what one has and the other has not, for a failure's message. */
export function differenceOf(actual: Iterable<string>, expected: Iterable<string>): string {
  const [has, should] = [new Set(actual), new Set(expected)]
  const some = (of: Set<string>, not: Set<string>) => {
    const only = [...of].filter((each) => !not.has(each))
    return `${only.length}: ${only.slice(0, 8).join(' ')}`
  }
  return `too many ${some(has, should)}; missing ${some(should, has)}`
}
