// Where the events of `mtmi start` and `mtmi replay` come from: a data set, or the simulation.

import path from 'node:path'
import type { Config } from '../src/core/config/config.ts'
import { ConfigError } from '../src/core/errors.ts'
import type { RunDirectory, RunOrigin } from '../src/core/runDirectory.ts'
import { type DatasetReading, openDataset } from '../src/lab/dataset/dataset.ts'
import { type Simulation, simulate } from '../src/lab/simulation/simulation.ts'
import type { CatalogueItem } from '../src/records/catalogueItem.ts'
import type { Interaction } from '../src/records/interaction.ts'
import { valueRules } from '../src/records/value/valueRules.ts'

export interface SourceOptions extends DatasetReading {
  /** A file or folder; undefined: the simulation. */
  readonly data?: string
  /** Events of the simulation. */
  readonly events?: number
}

/** Rows that are appended to the log as one numbered sequence: a restart continues where the last process ended. */
export interface Load {
  /** Two loads with one name are one load. */
  readonly name: string
  /** Number of interactions, repeated and bad ones included. */
  total(): Promise<number>
  items(): AsyncIterable<CatalogueItem> | Iterable<CatalogueItem>
  /** The same ones in the same order at each start. */
  interactions(): AsyncIterable<Interaction> | Iterable<Interaction>
  begin?(): void
  /** All of them are in the log. */
  end?(rows: number): void
}

export interface StartSource {
  readonly title: string
  /** In the order in which they are loaded. */
  readonly loads: readonly Load[]
  /** Rows that could not be read so far. */
  refused(): number
  /** What else is to be said of the rows read so far. */
  notes(): readonly string[]
  readonly simulation?: Simulation
}

export async function openStartSource(
  config: Config,
  { data, events, ...reading }: SourceOptions,
  run: RunDirectory
): Promise<StartSource> {
  const { seed, sequence } = config
  if (data === undefined) {
    const simulation = simulate({ seed, graceMs: sequence.graceMs, ...(events === undefined ? {} : { events }) })
    const { duplicateShare, badShare, events: genuine } = simulation.options
    const load: Load = {
      name: run.name,
      total: async () => Math.round(genuine * (1 + duplicateShare + badShare)),
      items: () => simulation.items(),
      interactions: () => simulation.interactions()
    }
    return { title: 'a simulated clickstream', loads: [load], refused: () => 0, notes: () => [], simulation }
  }
  const { format, columns, items, itemColumns, filters } = reading
  const dataset = await openDataset(data, {
    ...{ seed, rules: valueRules(config.events), deadLetterDir: run.root, tempDir: run.root },
    ...{ format, columns, items, itemColumns, filters }
  })
  const load: Load = {
    name: run.name,
    total: () => dataset.count(),
    items: () => dataset.items(),
    interactions: () => dataset.interactions()
  }
  return {
    title: dataset.describe,
    loads: [load],
    refused: () => dataset.deadLetters,
    notes: () => dataset.notes
  }
}

/** Default name of the run: runs on different data never share state. */
export function runName({ data, events }: SourceOptions): string {
  if (data !== undefined) return path.basename(path.resolve(data)).replace(/[^\w.-]/g, '_')
  return events === undefined ? 'simulation' : `simulation-${events}`
}

export function originOf(
  { seed, sequence }: Config,
  { data, format, columns, items, itemColumns, filters, events }: SourceOptions
): RunOrigin {
  if (data === undefined) return { simulation: { seed, graceMs: sequence.graceMs, events: events ?? 'default' } }
  return {
    data: path.resolve(data),
    format: format ?? 'recognised',
    columns: columns ?? 'recognised',
    ...{ items, itemColumns, filters, seed }
  }
}

/** @throws ConfigError if the run was created from other data: its state would be of both */
export function checkOrigin(run: RunDirectory, origin: RunOrigin): void {
  const before = run.origin()
  if (before === undefined || JSON.stringify(before) === JSON.stringify(origin)) return
  throw new ConfigError([
    `run ${run.name} in ${path.dirname(run.root)} was begun from ${JSON.stringify(before)}, and this is ${JSON.stringify(origin)}. Choose another name with --run, or remove the run: mtmi reset --run ${run.name}`
  ])
}
