// Reads what src/train/checkpoint/trainedAudit.ts wrote.

import { existsSync, readFileSync } from 'node:fs'
import { CorruptError } from '../../src/core/errors.ts'

/**
 * Every line that is whole, in the order of writing; none for a file that was never written.
 *
 * @throws CorruptError for a whole line that is none of an audit
 */
export function readTrainedAudit(file: string): { batch: number; examples: string[] }[] {
  if (!existsSync(file)) return []
  const text = readFileSync(file, 'utf8')
  const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n')
  return lines.slice(0, -1).map((line, i) => {
    const parsed = /^(\d+)\t(\d+:\d+(?:,\d+:\d+)*)?$/.exec(line)
    if (parsed === null)
      throw new CorruptError(
        `${file}:${i + 1}: expected a batch, a tab and partition:offset,…, found ${line.slice(0, 80)}`
      )
    return { batch: Number(parsed[1]), examples: parsed[2]?.split(',') ?? [] }
  })
}
