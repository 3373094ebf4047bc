// What a stage needs, in memory: for tests of one stage.

import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { ManualClock } from '../../src/core/clock.ts'
import type { StageIo } from '../../src/log/stageIo.ts'
import { createCodecs } from '../../src/records/avro/avroCodecs.ts'
import { LocalRegistry } from '../../src/records/registry/localRegistry.ts'
import { resolveWithLimits } from './limits.ts'
import { MemoryLog } from './memoryLog.ts'

export interface TestStageIo extends StageIo {
  readonly log: MemoryLog
  readonly clock: ManualClock
  dispose(): void
}

/** @param file settings as in a configuration file */
export async function testStageIo(file: unknown = {}): Promise<TestStageIo> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'mtmi-io-'))
  const registry = new LocalRegistry(directory)
  const clock = new ManualClock(Date.UTC(2026, 6, 1)) // after the simulation
  const log = new MemoryLog({ partitions: () => 1, clock })
  return {
    config: resolveWithLimits(file),
    clock,
    log,
    registry,
    codecs: await createCodecs(registry),
    maintain: async () => {},
    dispose: () => rmSync(directory, { recursive: true, force: true })
  }
}
