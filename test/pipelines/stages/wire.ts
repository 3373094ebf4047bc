// What a stage needs, in memory: for tests of one stage.

import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Wire } from '../../../pipelines/parts.ts'
import { ManualClock } from '../../../src/base/clock.ts'
import { resolveConfig } from '../../../src/base/config.ts'
import { createCodecs } from '../../../src/io/avro/avroCodecs.ts'
import { LocalRegistry } from '../../../src/io/registry/localRegistry.ts'
import { MemoryLog } from '../../support/memoryLog.ts'

export interface TestWire extends Wire {
  readonly log: MemoryLog
  readonly clock: ManualClock
  dispose(): void
}

/** @param file settings as in a configuration file */
export async function testWire(file: unknown = {}): Promise<TestWire> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'mtmi-wire-'))
  const registry = new LocalRegistry(directory)
  const clock = new ManualClock(Date.UTC(2026, 6, 1)) // after the simulation
  const log = new MemoryLog({ partitions: () => 1, clock })
  return {
    config: resolveConfig(file, {}),
    clock,
    log,
    registry,
    codecs: await createCodecs(registry),
    maintain: async () => {},
    dispose: () => rmSync(directory, { recursive: true, force: true })
  }
}
