// The drift watch behind the sequencer, as it stands in `mtmi sequence`, on a stream without a log.

import { ManualClock } from '../../src/core/clock.ts'
import type { Config } from '../../src/core/config/config.ts'
import type { InputFeature } from '../../src/monitor/drift/inputDrift.ts'
import { DriftWatch } from '../../src/monitor/driftWatch.ts'
import { type CatalogueItem, featureKeys } from '../../src/records/catalogueItem.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { Sequencer } from '../../src/sequence/sequencer.ts'
import { MemorySequenceStore } from './memorySequenceStore.ts'

export interface WatchedStream {
  readonly events: number
  /** Ends of blocks at which features were compared. */
  readonly compared: number
  /** `at`: events that the sequencer had taken by then, to within 256. */
  readonly alarms: readonly { readonly signal: string; readonly psi: number; readonly at: number }[]
  /** The largest PSI as a share of its threshold, by feature; absent where nothing was compared. */
  readonly nearest: ReadonlyMap<InputFeature, number>
}

export async function watchStream(
  {
    catalogue,
    interactions
  }: { readonly catalogue: readonly CatalogueItem[]; readonly interactions: Iterable<Interaction> },
  config: Config
): Promise<WatchedStream> {
  const features = new Map(catalogue.map((item) => [item.itemId, featureKeys(item)]))
  const featuresOf = (itemId: string) => features.get(itemId) ?? []
  const watch = new DriftWatch({ options: config.drift, clock: new ManualClock(), catalogue: { featuresOf } })
  const sequencer = new Sequencer({
    store: new MemorySequenceStore(),
    partition: 0,
    options: config.sequence,
    eventTypes: config.events.types
  })
  const alarms: { signal: string; psi: number; at: number }[] = []
  const nearest = new Map<InputFeature, number>()
  let events = 0
  let compared = 0
  let report = watch.report
  const take = async () => {
    const { sequences } = sequencer.take()
    const known = watch.detections.length
    watch.observe(sequences)
    for (const { signal, value } of watch.detections.slice(known)) alarms.push({ signal, psi: value, at: events })
    if (watch.report !== report && Object.keys(watch.report.features).length > 0) compared++
    report = watch.report
    for (const [feature, { psi, threshold }] of Object.entries(watch.report.features))
      nearest.set(feature as InputFeature, Math.max(nearest.get(feature as InputFeature) ?? 0, psi / threshold))
    await sequencer.commit(BigInt(events))
  }
  for (const interaction of interactions) {
    sequencer.accept(interaction, BigInt(events++), interaction.eventTimeMs)
    if (events % 256 === 0) await take()
  }
  await take()
  return { events, compared, alarms, nearest }
}
