// What the sequencer emits for a simulated stream, without a log between.

import type { EventOptions, SequenceOptions } from '../../src/core/config/config.ts'
import type { Simulation } from '../../src/lab/simulation/simulation.ts'
import { admit, futureProblem, interactionProblem } from '../../src/records/admission.ts'
import type { UserSequence } from '../../src/records/userSequence.ts'
import { Sequencer } from '../../src/sequence/sequencer.ts'
import { MemorySequenceStore } from './memorySequenceStore.ts'

/** 256 events at a time; bad ones are left out. */
export async function* simulatedSequences(
  simulation: Simulation,
  config: { readonly sequence: SequenceOptions; readonly events: EventOptions }
): AsyncGenerator<readonly UserSequence[]> {
  const sequencer = new Sequencer({
    store: new MemorySequenceStore(),
    partition: 0,
    options: config.sequence,
    eventTypes: config.events.types
  })
  let offset = 0n
  let taken = 0
  for (const interaction of simulation.interactions()) {
    const nowMs = simulation.options.startMs + simulation.options.durationMs
    try {
      admit(interactionProblem(interaction) ?? futureProblem(interaction, nowMs, config.events.futureMaxMs))
      sequencer.accept(interaction, offset, nowMs)
    } catch {
      sequencer.reject(offset)
    }
    offset++
    if (++taken % 256 > 0) continue
    yield sequencer.take().sequences
    await sequencer.commit(offset)
  }
  yield sequencer.take().sequences
}
