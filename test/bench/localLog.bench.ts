// How fast the local log takes and gives records of 200 bytes, in appends of 500, each durable before the next; and how
// fast interactions are encoded and decoded. Prints one line of JSON.
//
// What should be possible: an append is a checksum and a copy of 110 kB and one fsync, so about 500 records per fsync
// (1–4 ms on an SSD); a read is a copy and 500 objects, so millions a second.

import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { systemClock } from '../../src/core/clock.ts'
import { LocalLog } from '../../src/log/local/localLog.ts'
import { createCodecs } from '../../src/records/avro/avroCodecs.ts'
import { LocalRegistry } from '../../src/records/registry/localRegistry.ts'

const batch = 500
const batches = 200
const repeats = 5

const median = (values: number[]) => Math.round(values.sort((a, b) => a - b)[values.length >> 1]!)
const perSecond = (count: number, sinceMs: number) => (count * 1000) / (performance.now() - sinceMs)

const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-bench-'))
const log = await LocalLog.open(path.join(directory, 'log'), { partitions: () => 1, clock: systemClock })
const records = Array.from({ length: batch }, (_, i) => ({
  key: Buffer.from(`user-${i}`),
  value: Buffer.alloc(200, i)
}))
const rates: Record<string, number[]> = { append: [], appendPipelined: [], read: [], encode: [], decode: [] }

for (let repeat = 0; repeat <= repeats; repeat++) {
  const topic = `bench-${repeat}`
  let since = performance.now()
  for (let i = 0; i < batches; i++) await log.append(topic, records)
  const append = perSecond(batch * batches, since)

  since = performance.now()
  const inFlight: Promise<void>[] = []
  for (let i = 0; i < batches; i++) {
    inFlight.push(log.append(`${topic}-pipelined`, records))
    if (inFlight.length === 8) await inFlight.shift()
  }
  await Promise.all(inFlight)
  const appendPipelined = perSecond(batch * batches, since)

  since = performance.now()
  let count = 0
  for await (const event of log.read(topic, {
    resume: async () => 0n,
    signal: new AbortController().signal,
    untilEnd: true
  })) {
    if (event.kind === 'records') count += event.records.length
  }
  const read = perSecond(count, since)

  const codecs = await createCodecs(new LocalRegistry(path.join(directory, 'schemas')))
  const interactions = Array.from({ length: 1000 }, (_, i) => ({
    eventId: `interactions/0/${i}`,
    userId: `user-${i}`,
    itemId: `item-${i}`,
    type: 'click',
    eventTimeMs: 1.7e12 + i
  }))
  const encoded = interactions.map((interaction) => codecs.interaction.encode(interaction))
  since = performance.now()
  for (let i = 0; i < 200; i++) for (const interaction of interactions) codecs.interaction.encode(interaction)
  const encode = perSecond(200_000, since)
  since = performance.now()
  for (let i = 0; i < 200; i++) for (const bytes of encoded) codecs.interaction.decode(bytes)
  const decode = perSecond(200_000, since)

  // The first round warms up.
  if (repeat > 0)
    for (const [name, rate] of Object.entries({ append, appendPipelined, read, encode, decode }))
      rates[name]!.push(rate)
}
await log.close()
rmSync(directory, { recursive: true })

const result = Object.fromEntries(Object.entries(rates).map(([name, values]) => [`${name}PerSecond`, median(values)]))
process.stdout.write(
  `${JSON.stringify({ bench: 'localLog', recordBytes: 200, batch, ...result, node: process.version, cpu: cpus()[0]?.model, cores: cpus().length })}\n`
)
