// Looking at a topic that others still write to, until it holds what is expected.

import { setTimeout as pause } from 'node:timers/promises'
import type { LogRecord } from '../../src/log/eventLog.ts'
import type { StageIo } from '../../src/log/stageIo.ts'

/** How long nothing may happen before what is to come is taken for lost. */
const restMsMax = 180_000

/** What a topic holds, read on from where the look before ended: the machine has other things to do. */
export class TopicTail {
  readonly io: StageIo
  readonly #topic: string
  readonly #next = new Map<number, bigint>()
  readonly #records: LogRecord[] = []

  constructor(io: StageIo, topic: string) {
    this.io = io
    this.#topic = topic
  }

  /** In the order of each partition. */
  async records(): Promise<readonly LogRecord[]> {
    const resume = async (partition: number) => this.#next.get(partition) ?? 0n
    for await (const event of this.io.log.read(this.#topic, {
      resume,
      signal: new AbortController().signal,
      untilEnd: true
    })) {
      if (event.kind !== 'records') continue
      for (const record of event.records) this.#records.push(record)
      this.#next.set(event.partition, event.records.at(-1)!.offset + 1n)
    }
    return this.#records
  }
}

/**
 * Looks until `done`, as long as `amount` goes on changing: how long it takes is the machine's affair, that it goes on
 * is ours. @returns whether it was done
 */
export async function whileMoving(
  look: () => Promise<{ readonly done: boolean; readonly amount: number }>
): Promise<boolean> {
  let amount = -1
  let movedMs = performance.now()
  for (;;) {
    const found = await look()
    if (found.done) return true
    if (found.amount !== amount) {
      amount = found.amount
      movedMs = performance.now()
    }
    if (performance.now() - movedMs > restMsMax) return false
    await pause(500)
  }
}
