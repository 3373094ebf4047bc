// `mtmi simulate`: the simulated clickstream, as JSON lines or into the log.

import { once } from 'node:events'
import { createWriteStream, type WriteStream } from 'node:fs'
import { finished } from 'node:stream/promises'
import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { note, print, resultStream } from '../../src/core/terminal.ts'
import { loadInteractions, loadItems } from '../../src/ingest/load.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import type { Interaction } from '../../src/records/interaction.ts'

import { openStageIo } from '../parts.ts'
import { beginRun, runToBegin } from '../runs.ts'

interface SimulateOptions {
  readonly events?: number
  readonly users?: number
  readonly items?: number
  readonly out?: string
  /** As a shop's own records instead of interactions: what the walk-through of docs/kafka.md maps. */
  readonly shop?: boolean
  /** Of the stages that read the log; null: there is none. */
  readonly configFile?: string | null
  readonly json?: boolean
}

export async function simulateEvents(config: Config, options: SimulateOptions): Promise<void> {
  const { events, users, items } = options
  const simulation = simulate({
    seed: config.seed,
    graceMs: config.sequence.graceMs,
    ...(events === undefined ? {} : { events }),
    ...(users === undefined ? {} : { users }),
    ...(items === undefined ? {} : { items })
  })
  const counts = { events: 0, duplicates: 0, outOfOrder: 0, late: 0, bad: 0 }
  let target: string
  if (options.shop === true && options.out === undefined)
    throw new ConfigError([
      '--shop needs --out FILE: the log takes interactions; `mtmi produce` puts the file into a topic'
    ])
  if (options.out === undefined) target = await intoLog(config, options.configFile ?? null, simulation, counts)
  else {
    if (options.out === '-' && options.json === true)
      throw new ConfigError(['--out - and --json both want standard output: give --out a file'])
    target = options.out
    const stream = options.out === '-' ? resultStream() : await openFile(options.out)
    for (const interaction of simulation.interactions(counts)) {
      const record = options.shop === true ? shopRecord(interaction) : interaction
      if (!stream.write(`${JSON.stringify(record)}\n`)) await once(stream, 'drain')
    }
    if (options.out !== '-') {
      stream.end()
      await finished(stream)
      if (options.shop === true) target += ` and ${await writeCatalogue(options.out, simulation)}`
    }
  }
  if (options.json === true) print(`${JSON.stringify({ ...counts, target })}\n`)
  else
    note(
      `${counts.events} events, besides ${counts.duplicates} repeated and ${counts.bad} bad ones; ${counts.outOfOrder} out of order, ${counts.late} late → ${target}`
    )
}

/**
 * The interaction as an imaginary shop writes it: nested, time in seconds. A tenth are searches, which lead to no
 * interaction.
 */
function shopRecord({ eventId, userId, itemId, eventTimeMs }: Interaction): object {
  const number = (text: string) => Number(/\d+/.exec(text)?.[0] ?? 0)
  const event = number(eventId) % 10 === 0 ? 'search' : number(eventId) % 7 === 0 ? 'order_placed' : 'product_view'
  const items = itemId === '' ? [] : [{ sku: itemId, price: (number(itemId) % 50) + 0.5 }]
  return { event, payload: { user: { id: userId }, items, ts: eventTimeMs / 1000, device: 'phone' } }
}

/** The shop's catalogue, beside its events. @returns its file */
async function writeCatalogue(out: string, simulation: ReturnType<typeof simulate>): Promise<string> {
  const file = `${out.replace(/\.jsonl?$/, '')}.items.jsonl`
  const stream = await openFile(file)
  for (const { itemId, title, features } of simulation.items())
    if (!stream.write(`${JSON.stringify({ sku: itemId, title, ...features })}\n`)) await once(stream, 'drain')
  stream.end()
  await finished(stream)
  return file
}

async function openFile(file: string): Promise<WriteStream> {
  const stream = createWriteStream(file)
  try {
    await once(stream, 'open')
  } catch (error) {
    throw new ConfigError([`--out ${file} cannot be written: ${(error as Error).message}`])
  }
  return stream
}

async function intoLog(
  config: Config,
  configFile: string | null,
  simulation: ReturnType<typeof simulate>,
  counts: Parameters<typeof simulation.interactions>[0]
): Promise<string> {
  const run = runToBegin(config, configFile)
  await beginRun(
    run,
    { configFile },
    () => run.lock('mtmi simulate', []),
    async (_lock, begun) => {
      const io = await openStageIo(config, run)
      begun()
      const { log, codecs } = io
      const { signal } = new AbortController()
      await loadItems(simulation.items(), { log, codecs, topic: config.topics.items, signal })
      const { users, items, events } = simulation.options
      const name = `simulation of seed ${config.seed}, ${users} users, ${items} items, ${events} events`
      await loadInteractions(simulation.interactions(counts), {
        log,
        codecs,
        topic: config.topics.interactions,
        name,
        signal,
        hasRoom: async () => true
      })
      await log.close()
    }
  )
  return `topic ${config.topics.interactions} in ${run.root}`
}
