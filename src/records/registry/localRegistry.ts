// The embedded schema registry: one small file per schema, `<id>.json` in a directory.
//
// A file appears under its final name whole or not at all (written aside, then linked), and a link to a name that is
// taken fails: so several processes may register at once without a lock, each id is given once, and nothing needs
// mending after a crash.

import { randomUUID } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import path from 'node:path'
import { ConfigError, CorruptError, UnavailableError } from '../../core/errors.ts'
import { parseSchema } from '../avro/avroSchema.ts'
import { type SchemaRegistry, UnknownSchemaIdError } from './schemaRegistry.ts'

interface Entry {
  readonly id: number
  readonly subject: string
  readonly schema: string
}

export class LocalRegistry implements SchemaRegistry {
  readonly #directory: string
  /**
   * By id, which count from 1 without gaps. A pair of the same schema and another subject is an entry of its own, with
   * a later id.
   */
  readonly #entries: Entry[] = []

  /** @throws CorruptError if a file of it cannot be read back; UnavailableError if the directory cannot be made */
  constructor(directory: string) {
    this.#directory = directory
    try {
      mkdirSync(directory, { recursive: true })
    } catch (error) {
      throw new UnavailableError(`cannot make the schema registry's directory ${directory}: ${String(error)}`, {
        cause: error
      })
    }
    this.#refresh()
  }

  async idFor(subject: string, schemaJson: string): Promise<number> {
    const schema = JSON.stringify(JSON.parse(schemaJson))
    for (;;) {
      this.#refresh()
      const id = this.#entries.length + 1
      const known = this.#entries.find((entry) => entry.schema === schema && entry.subject === subject)
      if (known !== undefined) return 1 + this.#entries.findIndex((entry) => entry.schema === schema)
      this.#checkCompatible(subject, schema)
      if (this.#write({ id, subject, schema })) this.#entries.push({ id, subject, schema })
      // Otherwise another process took the id: see what it wrote, and try the next.
    }
  }

  async schemaOf(id: number): Promise<string> {
    const schema = this.cached(id)
    if (schema === undefined) throw new UnknownSchemaIdError(id)
    return schema
  }

  /** Looks into the directory for an id that is not known yet, so decoding needs no `loadSchemas`. */
  cached(id: number): string | undefined {
    const entry = this.#entries[id - 1]
    if (entry !== undefined) return entry.schema
    // Another process may have registered it since. A made-up id costs one look at a file that is not there.
    this.#refresh()
    return this.#entries[id - 1]?.schema
  }

  #refresh(): void {
    for (;;) {
      const id = this.#entries.length + 1
      const file = path.join(this.#directory, `${id}.json`)
      let text: string
      try {
        text = readFileSync(file, 'utf8')
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
          throw new UnavailableError(`cannot read schema ${file}: ${String(error)}`, { cause: error })
        }
        if (id === 1) this.#checkNoGap()
        return
      }
      try {
        const entry = JSON.parse(text) as Partial<Entry>
        if (entry.id !== id || typeof entry.subject !== 'string' || typeof entry.schema !== 'string')
          throw new Error('fields are missing')
        parseSchema(entry.schema)
        this.#entries.push({ id, subject: entry.subject, schema: entry.schema })
      } catch (error) {
        throw new CorruptError(
          `schema ${file} is not what was written (${String(error)}): restore it, or reset the data directory`,
          {
            cause: error
          }
        )
      }
    }
  }

  /** Assigning an id again that records already carry would let them be read with the wrong schema. */
  #checkNoGap(): void {
    const later = readdirSync(this.#directory).find((name) => /^\d+\.json$/.test(name) && name !== '1.json')
    // Another process may have written 1.json and 2.json between the two looks.
    if (later === undefined || readdirSync(this.#directory).includes('1.json')) return
    throw new CorruptError(`${this.#directory} has ${later} but no 1.json: restore it, or reset the data directory`)
  }

  /** BACKWARD_TRANSITIVE: the new schema reads what any earlier one of the subject wrote. */
  #checkCompatible(subject: string, schema: string): void {
    const problems: string[] = []
    let type: ReturnType<typeof parseSchema>
    try {
      type = parseSchema(schema)
    } catch (error) {
      throw new ConfigError([`schema of ${subject} is not valid Avro: ${String(error)}`])
    }
    for (const entry of this.#entries) {
      if (entry.subject !== subject) continue
      try {
        type.createResolver(parseSchema(entry.schema))
      } catch (error) {
        problems.push(
          `schema of ${subject} cannot read records of its schema ${entry.id}: ${String(error)}; give new fields a default`
        )
      }
    }
    if (problems.length > 0) throw new ConfigError(problems)
  }

  /** False if the id was taken. */
  #write(entry: Entry): boolean {
    const temporary = path.join(this.#directory, `.${entry.id}-${randomUUID()}.tmp`)
    try {
      writeFileSync(temporary, `${JSON.stringify(entry)}\n`, { flush: true })
      linkSync(temporary, path.join(this.#directory, `${entry.id}.json`))
      const directory = openSync(this.#directory, 'r')
      fsyncSync(directory)
      closeSync(directory)
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
      throw new UnavailableError(`cannot write schema ${entry.id} to ${this.#directory}: ${String(error)}`, {
        cause: error
      })
    } finally {
      rmSync(temporary, { force: true })
    }
  }
}
