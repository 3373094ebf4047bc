// `mtmi produce`: lines of a file as raw records of a topic, to try a mapping with before the real topic is at hand.

import { existsSync } from 'node:fs'
import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { parseFieldPath } from '../../src/core/fieldPath.ts'
import { z } from '../../src/core/stateFile.ts'
import { note, print } from '../../src/core/terminal.ts'
import { readText } from '../../src/ingest/mapping/readField.ts'
import { readLines } from '../../src/lab/dataset/lineReader.ts'
import type { NewRecord } from '../../src/log/eventLog.ts'
import { parseExactJson } from '../../src/records/avro/exactJson.ts'
import { valueRules } from '../../src/records/value/valueRules.ts'
import { openStageIo } from '../parts.ts'
import { beginRun, runToBegin } from '../runs.ts'

const appendMax = 512
const text = new TextEncoder()

/**
 * @param options.key a path in each line, which is then JSON; without it keys are empty
 * @param options.raw each line is a whole record: `{"key": …, "value": …, "headers": {"name": …}}`, where a string is
 *   text, `{"hex": "00ff"}` bytes and null
 *   nothing
 */
export async function produce(
  config: Config,
  options: { topic: string; data: string; key?: string; raw?: boolean; configFile?: string | null; json?: boolean }
): Promise<void> {
  const { topic, data } = options
  const ours: string[] = Object.values(config.topics).filter((value) => typeof value === 'string')
  if (ours.includes(topic))
    throw new ConfigError([
      `${topic} is what mtmi writes: raw records would be refused there. Choose the topic of a source`
    ])
  if (!existsSync(data)) throw new ConfigError([`there is no file ${data}`])
  const keyPath = options.key === undefined ? undefined : parseFieldPath(options.key)
  const rules = valueRules(config.events)
  const { configFile = null } = options
  const run = runToBegin(config, configFile)
  let count = 0
  await beginRun(
    run,
    { configFile },
    () => run.lock('mtmi produce', []),
    async (_lock, begun) => {
      const io = await openStageIo(config, run)
      begun()
      try {
        let block: NewRecord[] = []
        let number = 0
        for await (const { lines } of readLines(data)) {
          for (const line of lines) {
            number++
            if (line.trim() === '') continue
            if (options.raw === true) block.push(rawRecord(line, `${data}, line ${number}`))
            else
              block.push({
                key: keyPath === undefined ? new Uint8Array() : keyOf(line, keyPath, rules),
                value: text.encode(line)
              })
            if (block.length < appendMax) continue
            await io.log.append(topic, block)
            count += block.length
            block = []
          }
        }
        await io.log.append(topic, block)
        count += block.length
      } finally {
        await io.log.close()
      }
    }
  )
  if (options.json === true) print(`${JSON.stringify({ run: run.name, topic, records: count })}\n`)
  else note(`${count} records → ${topic} in ${run.root}`)
}

/** Empty where the line has none: a topic may well hold what its readers cannot use. */
function keyOf(
  line: string,
  path: ReturnType<typeof parseFieldPath>,
  rules: ReturnType<typeof valueRules>
): Uint8Array {
  try {
    const record = { key: new Uint8Array(), value: null, headers: {}, partition: 0, offset: 0n, timestampMs: 0 }
    return text.encode(readText([path], { topic: '', record, value: parseExactJson(line) }, 'key', rules) ?? '')
  } catch {
    return new Uint8Array() // no key in this line: as the mapping reads it, an empty one
  }
}

const rawBytes = z.union([z.string(), z.strictObject({ hex: z.string().regex(/^(?:[\da-f]{2})*$/i) })], {
  error: 'expected text, or bytes as {"hex": "00ff"}'
})
const rawLine = z.strictObject({
  key: rawBytes.nullish(),
  value: rawBytes.nullable(),
  headers: z.record(z.string(), rawBytes).default({})
})

/** @throws ConfigError naming the line */
function rawRecord(line: string, where: string): NewRecord {
  const bytes = (raw: z.infer<typeof rawBytes>) =>
    typeof raw === 'string' ? text.encode(raw) : Buffer.from(raw.hex, 'hex')
  try {
    const { key, value, headers } = rawLine.parse(JSON.parse(line))
    return {
      key: key === undefined || key === null ? new Uint8Array() : bytes(key),
      value: value === null ? null : bytes(value),
      headers: Object.fromEntries(Object.entries(headers).map(([name, raw]) => [name, bytes(raw)]))
    }
  } catch (error) {
    const problem = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message
    throw new ConfigError([
      `${where}: ${problem}. A line of --raw is {"key": "k", "value": "text", "headers": {}}; null is no value`
    ])
  }
}
