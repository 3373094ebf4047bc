// Records of `model-updates` that are known to be of no use only when their commit comes.

import { BadEventError } from '../core/errors.ts'
import type { Codecs } from '../records/avro/avroCodecs.ts'
import { type ModelUpdate, updateKey } from '../records/modelUpdate.ts'
import type { DeadLetters } from './deadLetters.ts'
import type { LogRecord } from './eventLog.ts'

interface UnfitRecord {
  readonly update: ModelUpdate
  readonly problem: string
  /** Offset behind the record. */
  readonly next: bigint
}

/** Makes dead letters of them. @param commit that they came with */
export function addUnfit(
  letters: DeadLetters,
  { modelUpdate }: Pick<Codecs, 'modelUpdate'>,
  commit: LogRecord,
  unfit: readonly UnfitRecord[]
): void {
  for (const { update, problem, next } of unfit) {
    const key = new TextEncoder().encode(updateKey(update))
    const record = { ...commit, headers: {}, key, value: modelUpdate.encode(update), offset: next - 1n }
    letters.add(record, new BadEventError(`${updateKey(update)}: ${problem} (commit at offset ${commit.offset})`))
  }
}
